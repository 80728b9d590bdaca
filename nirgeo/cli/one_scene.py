"""One scene of ``nirgeo colorize``, from its file to its result; here, or on a worker."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, TypeGuard

from nirgeo.cli import options as shared
from nirgeo.cli.doubts import doubts
from nirgeo.cli.reporting import Reporter
from nirgeo.cli.told import warnings_told
from nirgeo.errors import OptionError
from nirgeo.hrefs import item_in_document
from nirgeo.scaling import Scaling, assumption, is_surface

if TYPE_CHECKING:
    from distributed import Client
    from xarray import DataArray

    from nirgeo.acquisition import Acquisition
    from nirgeo.processes import Processes
    from nirgeo.registry import AnyModel
    from nirgeo.scene import SceneView
    from nirgeo.target import Target


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
    from nirgeo.gdal_settings import cache_of
    from nirgeo.georeference import grid_of
    from nirgeo.handles import files_behind
    from nirgeo.modelfile import Model
    from nirgeo.registry import check_model
    from nirgeo.scene import open_scene, region_of, view_of, with_chunk, xarray_engine
    from nirgeo.source import stamps_of
    from nirgeo.target import Target
    from nirgeo.write import write_geotiff

    path, remark = place
    # What can be refused without looking at the scene is refused first.
    creation = creation_options(options)
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
    spare([file for file in (scene, *stack.values(), *reference) if file is not None], made)
    taken = None if options["taken"] is None else parse_interval(options["taken"])
    # An array is colorized whole, chunk by chunk, and only what is left of the picture is computed.
    cut = options["bounds"] if xarray_engine(scene) else None
    with warnings_told(reporter.warning):
        opened = open_scene(
            scene,
            nir=options["nir"],
            red=options["red"],
            green=options["green"],
            stack=stack or None,
            nodata=options["nodata"],
            scale=options["scale"],
            bounds=None if cut else options["bounds"],
            chunk=options["chunk"],
        )
    client = others if is_cluster(others) else None
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
    if cut is not None:
        region = region_of(grid_of(opened), cut)
        rgb = rgb.isel(dict(zip(("y", "x"), region.slices, strict=True)))
    view = view_of(opened)
    # A VRT, a mask beside the scene, a file in an archive: what is measured may have other names.
    behind = [] if view is None else [file for file, _ in stamps_of(view.source)]
    if options["reference"] is not None:
        behind += files_behind(options["reference"])
    spare(behind, made)
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
            creation_options=creation,
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


def is_cluster(others: Client | Processes | None) -> TypeGuard[Client]:
    from nirgeo.processes import Processes

    return others is not None and not isinstance(others, Processes)


def creation_options(options: dict[str, Any]) -> dict[str, str]:
    from nirgeo.creation_options import check_creation_options

    dtype = "float32" if options["as_"] == "reflectance" else "uint8"
    bands = 4 if options["uncertainty"] else 3
    return check_creation_options(dict(options["creation_options"]), dtype, bands)


def item_target(target: Target) -> str:
    """Where the result's STAC item goes; refused before the work, like the result itself."""
    from nirgeo.stac.result import item_path
    from nirgeo.target import Target

    item = item_path(target.name)
    Target(item, overwrite=target.overwrite or (target.takes_finished and target.finished))
    return item


def spare(scenes: Sequence[str], made: Sequence[str]) -> None:
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
