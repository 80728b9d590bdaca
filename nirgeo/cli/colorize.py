"""``nirgeo colorize`` and ``rio colorize``."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from nirgeo.cli import options as shared
from nirgeo.cli.errors import reports_errors
from nirgeo.cli.one_scene import (
    colorize_one,
    creation_options,
    is_cluster,
    item_target,
    spare,
)
from nirgeo.cli.reporting import OfScene, Reporter, reporter_for
from nirgeo.cli.rio import rio_env, rio_verbosity
from nirgeo.cli.scenes import expand
from nirgeo.cli.usage import JsonLinesCommand
from nirgeo.damage import damage_told_of
from nirgeo.errors import NirgeoError, OptionError, TargetError, TargetExistsError
from nirgeo.hrefs import is_remote, public, stem

if TYPE_CHECKING:
    from distributed import Client

    from nirgeo.processes import Processes
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
            if is_cluster(others):
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
    from nirgeo.chunk_limits import check_chunk
    from nirgeo.registry import check_model
    from nirgeo.target import Target

    check_model(options["model"])
    check_chunk(options["chunk"])
    creation_options(options)
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
    spare([scene for scene, _ in jobs if scene is not None], made)


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
