"""``nirgeo info``: what a scene is, and what colorizing it will take."""

from __future__ import annotations

from typing import Any

import click

from nirgeo._version import __version__
from nirgeo.cli import options as shared
from nirgeo.cli.errors import reports_errors
from nirgeo.cli.reporting import PROTOCOL, Silent, print_json


@click.command("info", short_help="What nirgeo sees in a scene.")
@click.argument("scene", required=False)
@shared.band_options
@shared.radiometry_options
@shared.bounds_option
@shared.chunk_option
@shared.model_option
@click.option("--json", "as_json", is_flag=True, help="Machine-readable.")
@click.option("--verbose", "-v", is_flag=True, help="Show tracebacks.")
@click.pass_context
@reports_errors
def info_command(
    ctx: click.Context, scene: str | None, as_json: bool, verbose: bool, **options: Any
) -> None:
    """Bands found, scaling and where it came from, chunks, and an estimate of memory and time.

    Without a SCENE: versions, and the protocol of --progress jsonl.
    """
    ctx.meta["nirgeo.reporter"] = Silent()
    stack = dict(options.pop("stack"))
    known = scene is None and not stack
    facts = versions() if known else describe_scene(scene, stack, options)
    if as_json:
        print_json(facts)
    else:
        for key, value in facts.items():
            text = "; ".join(str(v) for v in value) if isinstance(value, list) else value
            click.echo(f"{key.replace('_', ' '):<18} {text}")


def versions() -> dict[str, Any]:
    """Versions of nirgeo and what it stands on, without importing torch."""
    from importlib.metadata import PackageNotFoundError, version

    found: dict[str, Any] = {"nirgeo": __version__, "protocol": PROTOCOL}
    for package in ("torch", "rasterio", "dask", "xarray", "numpy"):
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            found[package] = None
    return found


def describe_scene(
    path: str | None, stack: dict[str, str], options: dict[str, Any]
) -> dict[str, Any]:
    from nirgeo.estimate import estimate
    from nirgeo.radiometry import find_scaling
    from nirgeo.registry import choose_model, load_model
    from nirgeo.scene import SceneView, check_chunk, region_of, resolve_scale
    from nirgeo.source import open_source

    roles = {r: options[r] for r in ("nir", "red", "green") if options[r] is not None}
    source = open_source(path, stack=stack, roles=roles, nodata=options["nodata"])
    scaling = find_scaling(source.clues, resolve_scale(options["scale"]))
    region = region_of(source.grid, options["bounds"])
    view = SceneView(source, region, check_chunk(options["chunk"]), scaling)
    if options["model"] == "auto":
        model, reason = choose_model(scaling.quantity)
    else:
        model, reason = load_model(options["model"]), "asked for"
    cost = estimate(view, model)
    gsd = source.grid.ground_sampling_distance()
    rows, cols = view.chunk_grid.shape
    return {
        "scene": path or ", ".join(stack.values()),
        "size": f"{region.width} × {region.height} px",
        "data_type": str(source.dtype),
        "crs": _crs_name(source.grid.crs or source.grid.gcp_crs),
        "pixel": "unknown" if gsd is None else f"{gsd:.4g} m",
        "bands": [band.label.describe() for band in source.bands],
        "roles": [f"{role}={number}" for role, number in source.roles],
        "scaling": scaling.describe(),
        "notes": list(source.notes),
        "model": model.spec.full_name,
        "model_reason": reason,
        "blocks": f"{source.block_shape[1]} × {source.block_shape[0]} px",
        "chunks": f"{cols} × {rows} of {view.chunk_tiles} × {view.chunk_tiles} tiles",
        "halo": f"{cost.halo} px",
        "computed": f"{cost.useful:.0%} of the pixels computed are written",
        "memory": f"about {cost.memory_bytes / 2**20:.0f} MB with {cost.workers} workers",
        "time": f"about {cost.seconds:.0f} s on this machine's processor",
        "temporary_disk": f"{cost.disk_bytes / 2**20:.0f} MB",
    }


def _crs_name(crs: str | None) -> str:
    if crs is None:
        return "none"
    from rasterio.crs import CRS

    parsed = CRS.from_user_input(crs)
    epsg = parsed.to_epsg()
    return f"EPSG:{epsg}" if epsg else parsed.to_string()
