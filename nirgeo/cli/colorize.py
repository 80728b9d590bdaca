"""``nirgeo colorize`` and ``rio colorize``."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from nirgeo.cli import options as shared
from nirgeo.cli.errors import reports_errors
from nirgeo.cli.reporting import Reporter, reporter_for
from nirgeo.cli.usage import JsonLinesCommand
from nirgeo.errors import OptionError, TargetError

if TYPE_CHECKING:
    from xarray import DataArray

    from nirgeo.modelfile import Model
    from nirgeo.scene import SceneView


@click.command("colorize", cls=JsonLinesCommand, short_help="Natural colour from near infrared.")
@click.argument("scenes", nargs=-1, metavar="SCENE...")
@click.option("-o", "--output", metavar="FILE", help="Output, for a single scene.")
@click.option("--out-dir", metavar="DIR", help="Folder for the outputs of several scenes.")
@shared.band_options
@shared.model_option
@click.option(
    "--as",
    "as_",
    type=click.Choice(["display", "reflectance"]),
    default="display",
    show_default=True,
    help="8-bit picture, or float32 reflectance (0-1).",
)
@click.option("--brightness", type=float, default=1.0, help="Picture only: multiplies the light.")
@click.option("--gamma", type=float, default=1.0, help="Picture only: more lifts the shadows.")
@click.option(
    "--no-prior", is_flag=True, help="Do not use the known colour of the land at the scene's place."
)
@shared.radiometry_options
@shared.bounds_option
@shared.chunk_option
@click.option("--workers", type=int, metavar="N", help="Threads.  [default: all cores]")
@shared.device_option
@shared.output_options
@shared.progress_options
@click.pass_context
@reports_errors
def colorize_command(
    ctx: click.Context,
    scenes: tuple[str, ...],
    output: str | None,
    out_dir: str | None,
    progress: str,
    quiet: bool,
    verbose: bool,
    **options: Any,
) -> None:
    """Write a natural-colour Cloud Optimized GeoTIFF for each near-infrared SCENE.

    The output is SCENE_rgb.tif beside the scene unless -o or --out-dir says otherwise. Georeference
    and nodata are kept. The colours are synthetic: do not compute indices from them.
    """
    reporter = reporter_for(progress, quiet=quiet)
    ctx.meta["nirgeo.reporter"] = reporter
    stack = dict(options.pop("stack"))
    if not scenes and not stack:
        raise click.UsageError("Name a SCENE, or give its bands with --stack ROLE=FILE.")
    if len(scenes) > 1 and (output is not None or stack):
        raise click.UsageError("-o and --stack are for a single scene; use --out-dir.")
    if output is not None and out_dir is not None:
        raise click.UsageError("-o and --out-dir exclude each other.")
    jobs = [
        (scene, _target(scene or stack.get("nir") or next(iter(stack.values())), output, out_dir))
        for scene in scenes or (None,)
    ]
    paths = [path for _, (path, _) in jobs]
    twice = sorted({path for path in paths if paths.count(path) > 1})
    if twice:
        raise OptionError(
            f"{twice[0]} would be the result of {paths.count(twice[0])} of these scenes; give "
            "them one at a time, with -o"
        )
    with _folder(out_dir):
        for scene, target in jobs:
            _colorize_one(scene, stack, target, reporter, options)


@contextmanager
def _folder(path: str | None) -> Iterator[None]:
    """Make the folder for the outputs; after a failure take back what was made and is empty."""
    if path is None:
        yield
        return
    folder = Path(path)
    made = [place for place in (folder, *folder.parents) if not place.exists()]
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise TargetError(f"--out-dir {path} can't be made ({error})") from error
    try:
        yield
    except BaseException:
        with suppress(OSError):
            for place in made:
                place.rmdir()
        raise


def _target(scene: str, output: str | None, out_dir: str | None) -> tuple[str, str | None]:
    """Where the result goes, and a remark if that is not where one would look."""
    from nirgeo.handles import is_remote

    if output is not None:
        return output, None
    stem = Path(scene.split("?")[0].rstrip("/")).stem
    name = f"{stem}_rgb.tif"
    if out_dir is not None:
        return str(Path(out_dir) / name), None
    if is_remote(scene) or scene.startswith("/vsi"):
        return name, f"the scene is remote; writing {name} in the current folder"
    parent = Path(scene).parent
    if not parent.is_dir():  # GDAL's name for a part of a file
        return name, f"{scene} names no folder; writing {name} in the current folder"
    if not os.access(parent, os.W_OK):
        return name, f"{parent} is read-only; writing {name} in the current folder"
    return str(parent / name), None


def _colorize_one(
    scene: str | None,
    stack: dict[str, str],
    target: tuple[str, str | None],
    reporter: Reporter,
    options: dict[str, Any],
) -> None:
    # Imported here so that --help answers at once.
    from nirgeo import engine, provenance
    from nirgeo.cog import check_creation_options
    from nirgeo.registry import load_model
    from nirgeo.scene import open_scene, view_of
    from nirgeo.target import Target
    from nirgeo.write import write_geotiff

    path, remark = target
    # What can be refused without looking at the scene is refused first.
    dtype = "float32" if options["as_"] == "reflectance" else "uint8"
    creation_options = check_creation_options(dict(options["creation_options"]), dtype)
    Target(path, overwrite=options["overwrite"])
    model = None if options["model"] == "auto" else load_model(options["model"])
    for source in (scene, *stack.values()):
        if source is not None and _same_file(source, path):
            raise OptionError(f"-o {path} is the scene itself; choose another output")
    opened = open_scene(
        scene,
        nir=options["nir"],
        red=options["red"],
        green=options["green"],
        stack=stack or None,
        nodata=options["nodata"],
        scale=options["scale"],
        bounds=options["bounds"],
        chunk=options["chunk"],
    )
    rgb = engine.colorize(
        opened,
        "auto" if model is None else model,
        output=options["as_"],
        nodata=options["nodata"],
        brightness=options["brightness"],
        gamma=options["gamma"],
        prior=not options["no_prior"],
        device=shared.resolve_device(options["device"]),
    )
    if remark is not None:
        reporter.message(remark)
    _explain(view_of(opened), rgb, model, reporter)
    written = write_geotiff(
        rgb,
        path,
        overwrite=options["overwrite"],
        resume=options["resume"],
        creation_options=creation_options,
        workers=options["workers"],
        on_start=reporter.start,
        on_progress=reporter.progress,
    )
    reporter.result(str(written), tags=provenance.tags(rgb.attrs))


def _same_file(scene: str, path: str) -> bool:
    return os.path.exists(scene) and os.path.exists(path) and os.path.samefile(scene, path)


def _explain(
    view: SceneView | None, rgb: DataArray, asked: Model | None, reporter: Reporter
) -> None:
    """Say what was found and chosen, and warn where a result can't be expected to be good."""
    from nirgeo.georeference import grid_of
    from nirgeo.radiometry import Scaling
    from nirgeo.registry import load_model

    attrs = rgb.attrs
    scaling = Scaling.from_tag(attrs["nirgeo_scaling"], attrs["nirgeo_scaling_origin"])
    if view is not None:
        nir = view.source.bands[view.source.number_of("nir") - 1].label
        reporter.message(f"near infrared: band {nir.describe()}")
    reporter.message(f"scaling: {scaling.describe()}")
    spec = asked.spec if asked is not None else load_model(str(attrs["nirgeo_model"])).spec
    reason = "" if asked is not None else f" (values are {scaling.quantity.value})"
    reporter.message(f"model: {spec.full_name}{reason}")
    reporter.message(f"colour hint: {attrs['nirgeo_colour_hint']}")
    for note in () if view is None else view.source.notes:
        reporter.warning(note)
    grid = grid_of(rgb) if view is None else view.source.grid
    gsd = grid.ground_sampling_distance()
    if gsd is not None and not spec.gsd[0] <= gsd <= spec.gsd[1]:
        reporter.warning(
            f"pixels of {gsd:.3g} m lie outside the {spec.gsd[0]:g}–{spec.gsd[1]:g} m that "
            f"{spec.full_name} was trained at; colours may be off"
        )
    if scaling.origin.startswith("assumed"):
        reporter.warning(
            "nothing in the scene says how its numbers become reflectance; "
            f"{scaling.describe()}. If that is wrong, give --scale GAIN[,OFFSET]"
        )
