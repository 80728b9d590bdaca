"""``nirgeo colorize`` and ``rio colorize``."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeGuard

import click

from nirgeo.cli import options as shared
from nirgeo.cli.doubts import doubts
from nirgeo.cli.errors import reports_errors
from nirgeo.cli.reporting import OfScene, Reporter, reporter_for
from nirgeo.cli.rio import rio_env, rio_verbosity
from nirgeo.cli.scenes import expand
from nirgeo.cli.told import warnings_told
from nirgeo.cli.usage import JsonLinesCommand
from nirgeo.damage import damage_told_of
from nirgeo.errors import NirgeoError, OptionError, TargetError, TargetExistsError
from nirgeo.hrefs import item_in_document, public

if TYPE_CHECKING:
    from distributed import Client
    from xarray import DataArray

    from nirgeo.acquisition import Acquisition
    from nirgeo.processes import Processes
    from nirgeo.radiometry import Scaling
    from nirgeo.registry import AnyModel
    from nirgeo.scene import SceneView
    from nirgeo.target import Target


@click.command("colorize", cls=JsonLinesCommand, short_help="Natural colour from near infrared.")
@click.argument("scenes", nargs=-1, metavar="SCENE...")
@click.option("-o", "--output", metavar="FILE", help="Output, for a single scene.")
@click.option("--out-dir", metavar="DIR", help="Folder for the outputs of several scenes.")
@shared.band_options
@shared.model_option
@shared.output_kind_option
@click.option("--brightness", type=float, default=1.0, help="Picture only: multiplies the light.")
@click.option("--gamma", type=float, default=1.0, help="Picture only: more lifts the shadows.")
@shared.prior_option
@click.option(
    "--reference",
    metavar="RGB",
    help="A coarser or older natural-colour raster of the place: take its colours.",
)
@click.option(
    "--reference-scale",
    metavar="GAIN[,OFFSET]",
    help="Reference values to reflectance, where its file does not say so.",
)
@shared.uncertainty_option
@click.option(
    "--max-error",
    type=float,
    metavar="DEG",
    help="Mask pixels whose colour is expected to be further off.",
)
@shared.radiometry_options
@shared.bounds_option
@shared.chunk_option
@shared.workers_option
@shared.memory_option
@shared.device_option
@shared.scheduler_option
@shared.runtime_options
@shared.output_options
@click.option("--stac", is_flag=True, help="Write RESULT.json too, a STAC item for catalogues.")
@click.option(
    "--datetime",
    "taken",
    metavar="TIME|START/END",
    help="When the scene was taken, for --stac, if nothing says so.",
)
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

    A SCENE is a raster or a STAC item, as a file or a URL; or a folder of rasters, or a local STAC
    collection or saved search, for every scene in it. The output is SCENE_rgb.tif beside it
    unless -o or --out-dir says otherwise. Georeference and nodata are kept. The colours are
    synthetic: do not compute indices from them.
    """
    quiet = quiet or rio_verbosity(ctx) < 0
    reporter = reporter_for(progress, quiet=quiet)
    ctx.meta["nirgeo.reporter"] = reporter
    stack = shared.stacked(options.pop("stack"))
    scenes = tuple(expand(scenes))
    if not scenes and not stack:
        raise click.UsageError("Name a SCENE, or give its bands with --stack ROLE=FILE.")
    if len(scenes) > 1 and (output is not None or stack):
        raise click.UsageError("-o and --stack are for a single scene; use --out-dir.")
    if output is not None and out_dir is not None:
        raise click.UsageError("-o and --out-dir exclude each other.")
    if options["taken"] is not None and not options["stac"]:
        raise click.UsageError("--datetime is for --stac.")
    jobs = [
        (scene, _target(scene or stack.get("nir") or next(iter(stack.values())), output, out_dir))
        for scene in scenes or (None,)
    ]
    paths = [path for _, (path, _) in jobs]
    twice = sorted(path for path, count in Counter(paths).items() if count > 1)
    if twice:
        raise OptionError(
            f"{twice[0]} would be the result of {paths.count(twice[0])} of these scenes; give "
            "them one at a time, with -o"
        )
    scheduler = options.pop("scheduler")
    with (
        rio_env(ctx),
        _folder(out_dir),
        _others(scheduler, options["workers"], options["device"], reporter) as others,
    ):
        if len(jobs) == 1:
            ((scene, place),) = jobs
            colorize_one(scene, stack, place, reporter, options, others)
            return
        _refuse_early(jobs, options)
        with _all_or_marked(jobs, reporter):
            if _is_cluster(others):
                from nirgeo.cli.many_scenes import colorize_on_workers

                colorize_on_workers(others, jobs, reporter, options)
                return
            for scene, place in jobs:
                with _of_scene(scene or place[0], reporter) as named:
                    colorize_one(scene, stack, place, named, options, others, of_several=True)


@contextmanager
def _of_scene(scene: str, reporter: Reporter) -> Iterator[Reporter]:
    """Where there are several, warnings and errors say which they are about."""
    try:
        with damage_told_of():
            yield OfScene(reporter, scene)
    except NirgeoError as error:
        shown = public(scene)
        if shown not in str(error):
            error.args = (f"{shown}: {error}",)
        raise


Jobs = Sequence[tuple[str | None, tuple[str, str | None]]]
"""Scenes, each with the path of its result and a remark."""


def _refuse_early(jobs: Jobs, options: dict[str, Any]) -> None:
    """Of several scenes refuse before the first what would be refused with a later one.

    Raises
    ------
    NirgeoError : an option can't be used, a result exists, or it would be written over a scene
    """
    from nirgeo.registry import check_model
    from nirgeo.scene import check_chunk
    from nirgeo.target import Target

    check_model(options["model"])
    check_chunk(options["chunk"])
    _creation_options(options)
    paths = [path for _, (path, _) in jobs]
    made = []
    try:
        for path in paths:
            target = Target(
                path, overwrite=options["overwrite"], resume=options["resume"], of_several=True
            )
            made += [path] + ([item_target(target)] if options["stac"] else [])
    except TargetExistsError:
        if options["resume"] and all(map(os.path.lexists, paths)):
            _forget(paths)  # of a run that was killed while it did
        raise
    _spare([scene for scene, _ in jobs if scene is not None], made)


@contextmanager
def _all_or_marked(jobs: Jobs, reporter: Reporter) -> Iterator[None]:
    """Which of several scenes are finished is known, for --resume, until all of them are."""
    paths = [path for _, (path, _) in jobs]
    try:
        yield
    except BaseException:
        finished = sum(target.finished for target in _targets(paths))
        if finished:
            reporter.message(
                f"{finished} of {len(paths)} scenes are finished; --resume goes on with the others"
            )
        raise
    _forget(paths)


def _forget(paths: Sequence[str]) -> None:
    for target in _targets(paths):
        target.forget()


def _targets(paths: Sequence[str]) -> Iterator[Target]:
    from nirgeo.target import Target

    for path in paths:
        with suppress(TargetError):
            yield Target(path, overwrite=True)


def _creation_options(options: dict[str, Any]) -> dict[str, str]:
    from nirgeo.creation_options import check_creation_options

    dtype = "float32" if options["as_"] == "reflectance" else "uint8"
    bands = 4 if options["uncertainty"] else 3
    return check_creation_options(dict(options["creation_options"]), dtype, bands)


@contextmanager
def _others(
    scheduler: str | None, workers: int | None, device: str, reporter: Reporter
) -> Iterator[Client | Processes | None]:
    """Who computes, if not this process."""
    if scheduler is None:
        yield None
        return
    from nirgeo import cluster
    from nirgeo.given import check_workers
    from nirgeo.write import GPU_WORKERS

    check_workers(workers)
    if workers is None and scheduler == cluster.PROCESSES:
        on_gpu = shared.resolve_device(device) != "cpu"
        workers = GPU_WORKERS if on_gpu else None
    with cluster.connected(scheduler, workers) as others:
        if others is not None:
            reporter.message(cluster.describe(others))
        yield others


def _is_cluster(others: Client | Processes | None) -> TypeGuard[Client]:
    from nirgeo.processes import Processes

    return others is not None and not isinstance(others, Processes)


@contextmanager
def _folder(path: str | None) -> Iterator[None]:
    """Make the folder for the outputs; after a failure take back what was made and is empty."""
    if path is None or path.startswith("/vsi"):  # GDAL's, whose folders are in names only
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
    from nirgeo.hrefs import is_remote, stem

    if output is not None:
        return output, None
    name = f"{stem(scene)}_rgb.tif"
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


def colorize_one(
    scene: str | None,
    stack: dict[str, str],
    place: tuple[str, str | None],
    reporter: Reporter,
    options: dict[str, Any],
    others: Client | Processes | None = None,
    *,
    of_several: bool = False,
    again: bool = False,
) -> None:
    # Imported here so that --help answers at once.
    from nirgeo import engine, provenance
    from nirgeo.acquisition import parse_interval
    from nirgeo.budget import plan_for
    from nirgeo.handles import cache_of, files_behind
    from nirgeo.modelfile import Model
    from nirgeo.registry import check_model
    from nirgeo.scene import open_scene, stamps_of, view_of, with_chunk
    from nirgeo.target import Target
    from nirgeo.write import write_geotiff

    path, remark = place
    # What can be refused without looking at the scene is refused first.
    creation_options = _creation_options(options)
    target = Target(
        path,
        overwrite=options["overwrite"],
        resume=options["resume"],
        of_several=of_several,
        again=again,
    )
    check_model(options["model"])
    reference = [] if options["reference"] is None else [options["reference"]]
    made = [path] + ([item_target(target)] if options["stac"] else [])
    _spare([file for file in (scene, *stack.values(), *reference) if file is not None], made)
    taken = None if options["taken"] is None else parse_interval(options["taken"])
    with warnings_told(reporter.warning):
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
    client = others if _is_cluster(others) else None
    device = shared.resolve_device(options["device"], client)
    model, scaling = engine.model_for(opened, options["model"], nodata=options["nodata"])
    budgeted = options["memory"] is not None
    plan = plan_for(
        options["memory"],
        opened,
        model,
        device=device,
        runtime=options["runtime"],
        precision=options["precision"],
        chunk=options["chunk"],
        # A budget is that of one worker of a cluster, or of one process.
        workers=1 if budgeted and others is not None else options["workers"],
        reference=options["reference"],
        reference_scale=options["reference_scale"],
    )
    opened = with_chunk(opened, plan.chunk)
    rgb = engine.colorize(
        opened,
        model,
        output=options["as_"],
        scale=scaling,
        nodata=options["nodata"],
        brightness=options["brightness"],
        gamma=options["gamma"],
        prior=not options["no_prior"],
        reference=options["reference"],
        reference_scale=options["reference_scale"],
        uncertainty=options["uncertainty"],
        max_error=options["max_error"],
        device=device,
        runtime=options["runtime"],
        precision=options["precision"],
    )
    view = view_of(opened)
    # A VRT, a mask beside the scene, a file in an archive: what is measured may have other names.
    behind = [] if view is None else [file for file, _ in stamps_of(view.source)]
    if options["reference"] is not None:
        behind += files_behind(options["reference"])
    _spare(behind, made)
    if taken is None and view is not None:
        taken = view.source.acquisition
    if options["stac"] and taken is None:
        raise OptionError(
            "nothing says when the scene was taken, and a STAC item must; give --datetime TIME"
        )
    if remark is not None:
        reporter.message(remark)
    _explain(opened, view, rgb, model, scaling, options, reporter)
    if isinstance(model, Model) and device != "cpu":  # baselines run on the CPU whatever it is
        reporter.message(f"device: {_device_for_people(device, client)}")
    with cache_of(plan.cache_bytes):
        write_geotiff(
            rgb,
            target,
            creation_options=creation_options,
            workers=plan.workers if others is None else options["workers"],
            scheduler="threads" if others is None else others,
            on_start=reporter.start,
            on_progress=reporter.progress,
            on_writing=reporter.writing,
        )
    # Beside the file itself, where that is checked, if the result is a link.
    item = _write_item(target.name, taken, view, reporter) if options["stac"] else None
    if options["overwrite"] and not options["stac"]:
        _remove_item(target.name, reporter)
    reporter.result(path, tags=provenance.tags(rgb.attrs), item=item)


def _device_for_people(device: str, client: Client | None) -> str:
    """A device, and what it is where this process can see it."""
    import torch

    if client is not None:
        return f"{device}, of the cluster's workers"
    if device.partition(":")[0] != "cuda" or not torch.cuda.is_available():
        return device
    try:
        return f"{device} ({torch.cuda.get_device_name(device)})"
    except (RuntimeError, AssertionError):  # there is none of that number, as the first chunk tells
        return device


def item_target(target: Target) -> str:
    """Where the result's STAC item goes; refused before the work, like the result itself."""
    from nirgeo.stac.result import item_path
    from nirgeo.target import Target

    item = item_path(target.name)
    Target(item, overwrite=target.overwrite or (target.takes_finished and target.finished))
    return item


def _write_item(
    result: str, taken: Acquisition | None, view: SceneView | None, reporter: Reporter
) -> str:
    from nirgeo.stac.result import write_item

    assert taken is not None
    known = None if view is None else view.source.acquisition
    if known is not None:  # --datetime changes the time, not where the scene is from
        taken = replace(taken, item=known.item, instrument=known.instrument)
    item = write_item(result, taken)
    reporter.message(f"STAC item: {item} (time from {taken.origin})")
    return item


def _remove_item(result: str, reporter: Reporter) -> None:
    """An item of the result that was written over would tell of one that is gone."""
    from nirgeo.stac.result import changed_item, remove_item

    removed, kept = remove_item(result), changed_item(result)
    if removed is not None:
        reporter.message(f"removed {removed}, the item of the former result; --stac writes one")
    elif kept is not None:
        reporter.warning(f"{kept} is kept, since somebody changed it; it tells of a former result")


def _spare(scenes: Sequence[str], made: Sequence[str]) -> None:
    """Refuse to write over a file of a scene."""
    files = {_file_number(item_in_document(scene)[0]) for scene in scenes} - {None}
    for path in made:
        if _file_number(path) in files:
            raise OptionError(
                f"{path} is a file of the scene itself; choose another output with -o or --out-dir"
            )


def _file_number(path: str) -> tuple[int, int] | None:
    """The same for every name of a file; None if there is none."""
    try:
        status = os.stat(path)
    except (OSError, ValueError):
        return None
    return status.st_dev, status.st_ino


def _explain(
    opened: DataArray,
    view: SceneView | None,
    rgb: DataArray,
    model: AnyModel,
    scaling: Scaling,
    options: dict[str, Any],
    reporter: Reporter,
) -> None:
    """Say what was found and chosen, and warn where a result can't be expected to be good."""
    from nirgeo.georeference import grid_of
    from nirgeo.nodata import DECLARE_NODATA
    from nirgeo.radiometry import assumption, is_surface
    from nirgeo.reference import ASSUMED, FRAMED, NOTHING_FOUND, SCALE_OPTION
    from nirgeo.registry import AUTO, reason_for

    attrs = rgb.attrs
    if view is not None:
        nir = view.source.bands[view.source.number_of("nir") - 1].label
        reporter.message(f"near infrared: band {nir.describe()}")
    reporter.message(f"scaling: {scaling.describe()}")
    grid = grid_of(rgb) if view is None else view.source.grid
    sides = grid.pixel_sides()
    asked, spec = options["model"], model.spec
    reason = f" ({reason_for(spec, scaling.quantity, sides)})" if asked == AUTO else ""
    reporter.message(f"model: {spec.full_name}{reason}")
    product = "" if view is None else view.source.clues.product or ""
    if asked == AUTO and spec.name == "satellite-rgn" and not is_surface(product, scaling):
        reporter.message(
            "--model satellite-rgn-toa suits scenes that are not corrected for the atmosphere"
        )
    hint = attrs["nirgeo_colour_hint"]
    if hint == "none" and getattr(spec, "tones", None) is not None and not options["no_prior"]:
        nowhere = not grid.placed and not grid.gcps
        why = "the scene has no place on the map" if nowhere else "no land is known there"
        hint += f" ({why}, so the land's colour is a guess)"
    reporter.message(f"colour hint: {hint}")
    if "nirgeo_reference" in attrs:
        said = f"reference: {attrs['nirgeo_reference']}"
        if ASSUMED in said:
            said += f". If that is wrong, give {SCALE_OPTION} GAIN[,OFFSET]"
        if FRAMED in said:
            said += f". If that marks missing pixels, {DECLARE_NODATA} VALUE"
        warned = any(doubt in said for doubt in (NOTHING_FOUND, ASSUMED, FRAMED))
        (reporter.warning if warned else reporter.message)(said)
    for note in () if view is None else view.source.notes:
        reporter.warning(note)
    for doubt in doubts(opened, model, scaling, sides, nodata=options["nodata"]):
        reporter.warning(doubt)
    high = None if view is None else view.source.clues.high
    for remark in assumption(scaling, "give --scale GAIN[,OFFSET]", "the scene", high):
        reporter.warning(remark)
