"""``nirgeo info``: what a scene is, and what colorizing it will take."""

from __future__ import annotations

from typing import Any

import click

from nirgeo._version import __version__
from nirgeo.cli import options as shared
from nirgeo.cli.doubts import doubts
from nirgeo.cli.errors import reports_errors
from nirgeo.cli.reporting import PROTOCOL, Silent, print_json
from nirgeo.cli.told import warnings_told
from nirgeo.hrefs import public
from nirgeo.plaintext import plain
from nirgeo.scaling import assumption


@click.command("info", short_help="What nirgeo sees in a scene.")
@click.argument("scene", required=False)
@shared.band_options
@shared.radiometry_options
@shared.bounds_option
@shared.chunk_option
@shared.workers_option
@shared.memory_option_of_info
@shared.model_option
@shared.output_kind_option
@shared.prior_option
@shared.uncertainty_option
@shared.runtime_options_of_info
@click.option("--json", "as_json", is_flag=True, help="Machine-readable.")
@click.option("--verbose", "-v", is_flag=True, help="Show tracebacks.")
@click.pass_context
@reports_errors
def info_command(
    ctx: click.Context, scene: str | None, as_json: bool, verbose: bool, **options: Any
) -> None:
    """Bands found, scaling and where it came from, chunks, and an estimate of memory and time.

    Memory, time and temporary disk are those of a run on the CPU with the same options, from file
    to file. A reference takes more.

    Without a SCENE: versions, and the protocol of --progress jsonl.
    """
    ctx.meta["nirgeo.reporter"] = Silent()
    stack = shared.stacked(options.pop("stack"))
    known = scene is None and not stack
    facts = versions() if known else describe_scene(scene, stack, options)
    if as_json:
        print_json(facts)
    else:
        for key, value in facts.items():
            text = "; ".join(str(v) for v in value) if isinstance(value, list) else value
            click.echo(f"{key.replace('_', ' '):<18} {plain(str(text))}")


def versions() -> dict[str, Any]:
    """Versions of nirgeo and what it stands on, without importing torch."""
    from importlib.metadata import PackageNotFoundError, version

    found: dict[str, Any] = {"nirgeo": __version__, "protocol": PROTOCOL}
    for package in ("torch", "onnxruntime", "rasterio", "dask", "xarray", "numpy"):
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            found[package] = None
    return found


def describe_scene(
    path: str | None, stack: dict[str, str], options: dict[str, Any]
) -> dict[str, Any]:
    from nirgeo import engine
    from nirgeo.array_scene import band_numbers
    from nirgeo.budget import block_beside, plan_for
    from nirgeo.estimate import estimate
    from nirgeo.georeference import grid_of
    from nirgeo.inference import NetworkColouriser
    from nirgeo.pixel_size import told_sides
    from nirgeo.registry import AUTO, reason_for
    from nirgeo.scene import open_scene, region_of, view_of, with_chunk, xarray_engine
    from nirgeo.tiling import DEFAULT_CHUNK_TILES

    warned: list[str] = []
    cut = options["bounds"] if xarray_engine(path) else None
    with warnings_told(warned.append):
        scene = open_scene(
            path,
            **{r: options[r] for r in ("nir", "red", "green", "nodata", "scale", "chunk")},
            bounds=None if cut else options["bounds"],
            stack=stack or None,
        )
    model, scaling = engine.model_for(scene, options["model"], nodata=options["nodata"])
    plan = plan_for(
        options["memory"],
        scene,
        model,
        runtime=options["runtime"],
        precision=options["precision"],
        chunk=options["chunk"],
        workers=options["workers"],
    )
    scene = with_chunk(scene, plan.chunk)
    # Lazy: nothing but a few sample tiles is read, and what would be refused is refused here.
    rgb = engine.colorize(
        scene,
        model,
        output=options["as_"],
        scale=scaling,
        nodata=options["nodata"],
        prior=not options["no_prior"],
        uncertainty=options["uncertainty"],
    )
    view = view_of(scene)
    if view is not None:
        source, region, grid, tiles = view.source, view.region, view.source.grid, view.chunk_tiles
        bands = [band.label.describe() for band in source.bands]
        roles: dict[str, int] = dict(source.roles)
        notes = list(source.notes)
        blocks = f"{source.block_shape[1]} × {source.block_shape[0]} px"
        block_bytes = block_beside(source, len(model.spec.bands), plan.cache_bytes)
    else:
        grid, tiles = grid_of(scene), options["chunk"] or DEFAULT_CHUNK_TILES
        region = region_of(grid, cut)
        bands = [f"{k}: {name}" for k, name in enumerate(scene["band"].values, start=1)]
        roles = band_numbers(scene)
        notes, blocks, block_bytes = [], "as the variables have them", 0
    sides = grid.pixel_sides()
    asked = options["model"] != AUTO
    reason = "asked for" if asked else reason_for(model.spec, scaling.quantity, sides)
    computing = {name: options[name] for name in ("runtime", "precision")}
    colouriser = engine.colouriser_of(model, prior=not options["no_prior"], **computing)
    cost = estimate(
        region,
        grid.shape,
        tiles,
        colouriser,
        plan.workers,
        cache_bytes=plan.cache_bytes,
        block_bytes=block_bytes,
        stored_bytes=rgb.sizes["band"] * rgb.dtype.itemsize,
    )
    high = None if view is None else view.source.clues.high
    notes = warned + notes + doubts(scene, model, scaling, sides, nodata=options["nodata"])
    notes += assumption(scaling, "give --scale GAIN[,OFFSET]", "the scene", high)
    rows, cols = (-(-side // (tiles * 64)) for side in (region.height, region.width))
    return {
        "scene": ", ".join(public(file) for file in ([path] if path else stack.values())),
        "size": f"{region.width} × {region.height} px",
        "data_type": str(scene.dtype),
        "crs": _crs_name(grid.crs or grid.gcp_crs),
        "pixel": "unknown" if sides is None else told_sides(sides, 4),
        "bands": bands,
        "roles": [f"{role}={number}" for role, number in roles.items()],
        "scaling": scaling.describe(),
        "notes": notes,
        "model": model.spec.full_name,
        "model_reason": reason,
        "colour_hint": rgb.attrs["nirgeo_colour_hint"],
        "runtime": colouriser.runtime.describe()
        if isinstance(colouriser, NetworkColouriser)
        else "numpy",
        "blocks": blocks,
        "chunks": f"{cols} × {rows} of {tiles} × {tiles} tiles",
        "halo": f"{cost.halo} px",
        "computed": f"{cost.useful:.0%} of the pixels read are written",
        "memory": f"about {cost.memory_bytes / 2**20:.0f} MB with {cost.workers} workers",
        "time": f"{_duration(cost.seconds)} on this machine's processor",
        "temporary_disk": f"{cost.disk_bytes / 2**20:.0f} MB beside the result",
    }


def _duration(seconds: float) -> str:
    """No more exact than an estimate is."""
    if seconds < 1:
        return "less than a second"
    if seconds < 120:
        return f"about {seconds:.0f} s"
    if seconds < 2 * 3600:
        return f"about {seconds / 60:.0f} min"
    return f"about {seconds / 3600:.1f} h"


def _crs_name(crs: str | None) -> str:
    if crs is None:
        return "none"
    from rasterio.crs import CRS

    parsed = CRS.from_user_input(crs)
    epsg = parsed.to_epsg()
    return f"EPSG:{epsg}" if epsg else parsed.to_string()
