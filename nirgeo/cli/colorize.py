"""``nirgeo colorize`` and ``rio colorize``."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from nirgeo.cli import options as shared
from nirgeo.cli.errors import reports_errors
from nirgeo.cli.reporting import Reporter, reporter_for
from nirgeo.errors import OptionError, TargetError

if TYPE_CHECKING:
    from nirgeo.modelfile import Model
    from nirgeo.scene import SceneView


@click.command("colorize", short_help="Natural colour from near infrared.")
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
    for scene in scenes or (None,):
        target = _target(scene or stack.get("nir") or next(iter(stack.values())), output, out_dir)
        _colorize_one(scene, stack, target, reporter, options)


def _target(scene: str, output: str | None, out_dir: str | None) -> tuple[str, str | None]:
    """Where the result goes, and a remark if that is not where one would look."""
    from nirgeo.handles import is_remote

    if output is not None:
        return output, None
    stem = Path(scene.split("?")[0].rstrip("/")).stem
    name = f"{stem}_rgb.tif"
    if out_dir is not None:
        folder = Path(out_dir)
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise TargetError(f"--out-dir {out_dir} can't be made ({error})") from error
        return str(folder / name), None
    if is_remote(scene) or scene.startswith("/vsi"):
        return name, f"the scene is remote; writing {name} in the current folder"
    parent = Path(scene).parent
    if parent.is_dir() and not os.access(parent, os.W_OK):
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
    from nirgeo import engine
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
    if remark is not None:
        reporter.message(remark)
    if scene is not None and not stack and _same_file(scene, path):
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
    view = view_of(opened)
    if view is not None:
        _explain(view, rgb.attrs, model, reporter)
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
    reporter.result(str(written))


def _same_file(scene: str, path: str) -> bool:
    return os.path.exists(scene) and os.path.exists(path) and os.path.samefile(scene, path)


def _explain(
    view: SceneView, attrs: dict[str, Any], asked: Model | None, reporter: Reporter
) -> None:
    """Say what was found and chosen, and warn where a result can't be expected to be good."""
    from nirgeo.registry import load_model

    source = view.source
    nir = source.bands[source.number_of("nir") - 1].label
    reporter.message(f"near infrared: band {nir.describe()}")
    reporter.message(f"scaling: {view.scaling.describe()}")
    spec = asked.spec if asked is not None else load_model(str(attrs["nirgeo_model"])).spec
    reason = "" if asked is not None else f" (values are {view.scaling.quantity.value})"
    reporter.message(f"model: {spec.full_name}{reason}")
    reporter.message(f"colour hint: {attrs['nirgeo_colour_hint']}")
    for note in source.notes:
        reporter.warning(note)
    gsd = source.grid.ground_sampling_distance()
    if gsd is not None and not spec.gsd[0] <= gsd <= spec.gsd[1]:
        reporter.warning(
            f"pixels of {gsd:.3g} m lie outside the {spec.gsd[0]:g}–{spec.gsd[1]:g} m that "
            f"{spec.full_name} was trained at; colours may be off"
        )
    if view.scaling.origin.startswith("assumed"):
        reporter.warning(
            "nothing in the scene says how its numbers become reflectance; "
            f"{view.scaling.describe()}. If that is wrong, give --scale GAIN[,OFFSET]"
        )
