"""The whole of it: look at every scene, keep what is sound, cut, split, write, and keep a record.

Scenes are files of a folder, items of STAC catalogues, or both.

The record is ``index.csv`` (one line per tile) and ``report.json`` (one entry per scene: what
became of it and why). Equal scenes and options make equal files.
"""

from __future__ import annotations

import csv
import json
import os
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rasterio.crs import CRS
from rasterio.warp import transform, transform_bounds

from nirgeo.acquisition import FILE_TIME
from nirgeo.errors import (
    BandError,
    GridError,
    NirgeoError,
    OptionError,
    TargetError,
    TargetExistsError,
    TrainingError,
)
from nirgeo.gdal_settings import GDAL_ERRORS, forget_errors
from nirgeo.grid import Grid
from nirgeo.nodata import DECLARE_NODATA, suspected_nodata
from nirgeo.preparation.candidates import (
    Candidate,
    Facts,
    from_folder,
    from_items,
    named,
    table_notes,
)
from nirgeo.preparation.clouds import cloud_like
from nirgeo.preparation.places import (
    SAME_PLACE_KM,
    Footprint,
    footprint,
    group_scenes,
    split_places,
)
from nirgeo.preparation.registration import Shift, find_shift
from nirgeo.preparation.tiles import BANDS, tile_windows, write_tile
from nirgeo.radiometry import Quantity, to_working
from nirgeo.scaling import Scaling, assumption, find_scaling, is_surface, processing_level
from nirgeo.scene import region_of
from nirgeo.scene_lists import picture_colours
from nirgeo.source import RasterSource
from nirgeo.stac.item import Item
from nirgeo.stac.query import Box
from nirgeo.tables import first_few, first_few_notes
from nirgeo.tiling import TILE, Window, lattice

COLUMNS = (
    *("file", "group", "height", "width", "valid_fraction", "lon", "lat", "date"),
    *("source", "level", "licence"),
)

_REGISTRATION_WINDOW = 512
_REGISTRATION_WINDOWS = 3
"""Per side: nine windows tell for a whole scene."""


@dataclass(frozen=True)
class Rules:
    """What is kept, and how it is divided.

    ``tile`` is the side of a tile in px. A tile is kept with at least ``min_valid`` of its pixels
    valid in all four bands and at most ``max_cloud`` of these cloud-like. A scene is rejected when
    its bands are known to lie more than ``max_shift`` px apart. Scenes within ``distance_km`` are
    one place, and ``validation`` is the share of the pixels that goes to ``val``.
    """

    tile: int = 256
    min_valid: float = 0.5
    max_cloud: float = 0.2
    max_shift: float = 1.0
    distance_km: float = SAME_PLACE_KM
    validation: float = 0.2
    seed: int = 0

    def __post_init__(self) -> None:
        if self.tile < TILE or self.tile % TILE:
            raise OptionError(f"--tile {self.tile}: need a multiple of {TILE} px")
        for name in ("min_valid", "max_cloud", "validation"):
            value = getattr(self, name)
            if not 0 <= value <= 1:
                raise OptionError(f"--{name.replace('_', '-')} {value:g}: need a share, 0 to 1")
        if not (self.max_shift > 0 and self.distance_km >= 0):
            raise OptionError(
                f"--max-shift {self.max_shift:g} must be positive, and --distance "
                f"{self.distance_km:g} not negative"
            )


@dataclass(frozen=True)
class _Scene:
    candidate: Candidate
    name: str
    source: RasterSource
    region: Window
    scaling: Scaling
    place: Footprint | None
    shifts: Mapping[str, Shift]
    doubts: tuple[str, ...] = ()
    """Why its values may not be what they are taken for."""

    @property
    def file(self) -> str:
        return self.candidate.file

    def read(self, window: Window) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
        """(4, h, w) reflectance or counts, and (h, w) where all four are valid."""
        values, valid = self.source.read(window, [self.source.number_of(role) for role in BANDS])
        with np.errstate(invalid="ignore", over="ignore"):
            return self.scaling.apply(values), valid


@dataclass
class Prepared:
    """What became of a folder."""

    tiles: int = 0
    places: int = 0
    validation_places: int = 0
    rejected: dict[str, str] = field(default_factory=dict)
    scenes: list[dict[str, Any]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    """What a user should hear besides."""

    def to_json(self, rules: Rules) -> dict[str, Any]:
        return {
            "rules": vars(rules),
            "tiles": self.tiles,
            "places": self.places,
            "validation_places": self.validation_places,
            "scenes": self.scenes,
            "rejected": self.rejected,
        }


def prepare(
    folder: Path | None,
    out: Path,
    *,
    items: Sequence[Item] = (),
    unusable: Mapping[str, str] | None = None,
    area: Box | None = None,
    rules: Rules | None = None,
    facts: Facts | None = None,
    bands: Sequence[str] | None = None,
    scale: str | None = None,
    on_progress: Callable[[int, int], None] = lambda done, total: None,
) -> Prepared:
    """Make a training set of every scene under ``folder``, and of STAC items.

    ``out`` gets ``train/``, ``val/``, ``index.csv`` and ``report.json``, all at once at the end. Of
    a remote scene nothing is read but windows of its four bands.

    Parameters
    ----------
    folder : scenes with red, green, blue and near-infrared bands; None for items only
    out : a folder that does not exist, or is empty
    items : scenes of STAC catalogues
    unusable : what was found there but is no scene, and why, for the report
    area : west, south, east, north in degrees; nothing outside of it is used
    bands : numbers or names of red, green, blue and nir, where scenes do not say
    scale : ``"GAIN[,OFFSET]"`` to reflectance, for all scenes
    on_progress : called with (scenes done, scenes in all)

    Raises
    ------
    TrainingError : there is no scene, the table of ``facts`` has a line for none, or nothing of any
        is kept
    TargetExistsError : ``out`` is not empty
    TargetError, OptionError
    """
    rules, facts = rules or Rules(), facts or Facts()
    if bands is not None and len(bands) != len(BANDS):
        raise OptionError(f"--bands: {len(bands)} named; need four: red, green, blue and nir")
    roles = None if bands is None else dict(zip(BANDS, bands, strict=True))
    check_folders(folder, out)
    candidates = [] if folder is None else from_folder(folder, roles)
    candidates += from_items(items, roles, scale, facts)
    if not candidates:
        raise TrainingError("no STAC item meets these conditions")
    notes = table_notes(facts.table, [candidate.file for candidate in candidates])
    done = Prepared(rejected=dict(unusable or {}), notes=notes)
    scenes: list[_Scene] = []
    doubted: list[str] = []
    for number, (candidate, name) in enumerate(named(candidates), start=1):
        try:
            scene = _look(candidate, name, scale, area, rules, roles is not None)
            scenes.append(scene)
            doubted += [f"{scene.file}: {doubt}" for doubt in scene.doubts]
        except NirgeoError as error:
            done.rejected[candidate.file] = candidate.without_folder(str(error))
        on_progress(number, 2 * len(candidates))
    done.notes += first_few_notes(doubted, further=", see report.json")
    places = group_scenes(
        [scene.name for scene in scenes],
        [scene.place for scene in scenes],
        [facts.get(scene.file, "group") or None for scene in scenes],
        rules.distance_km,
    )
    lost = [s.file for s in scenes if s.place is None and not facts.get(s.file, "group")]
    if lost and len(scenes) > 1:
        done.notes.append(
            f"{len(lost)} of {len(scenes)} scenes say nothing of where they lie, so each counts as "
            "a place of its own, and two of one place may come to both sides; name places in "
            f"column group of --index: {first_few(lost)}"
        )
    # "." and ".." have no name to put anything beside.
    target = out.resolve()
    partial = target.with_name(target.name + ".part")
    try:
        partial.mkdir()
    except FileExistsError:
        raise TargetExistsError(
            f"{partial} exists, where the set would be made; remove it if an interrupted run has "
            "left it there"
        ) from None
    except OSError as error:
        raise TargetError(f"{out} can't be written ({error})") from error
    try:
        tiles = partial / "tiles"
        tiles.mkdir()
        rows = []
        for number, (scene, place) in enumerate(zip(scenes, places, strict=True), start=1):
            rows += _cut(scene, place, tiles, rules, facts, done)
            on_progress(len(candidates) + number, len(candidates) + len(scenes))
        if not rows:
            raise TrainingError(
                f"nothing of {len(candidates)} scenes is kept"
                + (f"; the first: {next(iter(done.rejected.values()))}" if done.rejected else "")
            )
        _divide(rows, partial, rules, done)
        report = json.dumps(done.to_json(rules), indent=1, ensure_ascii=False)
        (partial / "report.json").write_text(report + "\n", encoding="utf-8")
        _give_name(partial, target)
    except OSError as error:
        if isinstance(error, NirgeoError):
            raise
        raise TargetError(f"{out} can't be written ({error})") from error
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return done


def _give_name(partial: Path, target: Path) -> None:
    """Put a finished set in place of an empty folder, or of none."""
    if target == Path.cwd():
        # Who works in a folder must not find it gone; the index, which training asks for, is last.
        for path in sorted(partial.iterdir(), key=lambda path: path.name == "index.csv"):
            os.replace(path, target / path.name)
        return
    if target.is_dir():
        target.rmdir()
    os.replace(partial, target)


def check_folders(folder: Path | None, out: Path) -> None:
    """
    Raises
    ------
    TrainingError : ``folder`` is none
    OptionError, TargetExistsError, TargetError : ``out`` can't be made there
    """
    if folder is not None and not folder.is_dir():
        raise TrainingError(f"{folder} is not a folder; name one that holds scenes")
    if folder is not None and out.resolve().is_relative_to(folder.resolve()):
        raise OptionError(f"{out} lies inside {folder}, whose scenes are read; name another place")
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise TargetExistsError(f"{out} exists and is not empty; name another folder")
    if not out.absolute().parent.is_dir():
        raise TargetError(f"{out.absolute().parent} is not a folder; make it first")


def _look(
    candidate: Candidate,
    name: str,
    scale: str | None,
    area: Box | None,
    rules: Rules,
    told: bool,
) -> _Scene:
    """Open a scene and check that its bands lie on each other.

    ``told`` : whether an option names the bands, so that what is wrong with them is its fault
    """
    said = "name them with --bands R,G,B,N"
    try:
        source = candidate.open()
    except BandError as error:
        if told or candidate.item is not None:
            raise
        raise TrainingError(f"nothing says which band is near infrared; {said}") from error
    missing = [role for role in BANDS if role not in dict(source.roles)]
    if missing:
        notes = "".join(f"; {note}" for note in source.notes) if candidate.item else ""
        raise TrainingError(f"nothing says which bands are {', '.join(missing)}; {said}{notes}")
    region = _region(source.grid, area)
    if min(region.height, region.width) < TILE:
        raise TrainingError(
            f"{region.width}×{region.height} px is less than a tile of {TILE}×{TILE}"
        )
    scaling, place = find_scaling(source.clues, scale), footprint(source.grid)
    scene = _Scene(candidate, name, source, region, scaling, place, {})
    shifts = band_shifts(scene)
    for pair, shift in shifts.items():
        if shift.known and shift.pixels > rules.max_shift:
            raise TrainingError(
                f"{pair} lie {shift.pixels:.1f} px apart ({shift.down:+.1f} down, "
                f"{shift.right:+.1f} right), more than {rules.max_shift:g}; co-register them first"
            )
    return replace(scene, shifts=shifts, doubts=_doubts(scene))


def _doubts(scene: _Scene) -> tuple[str, ...]:
    """Why the values of a scene may not be what they are taken for: a look at some tiles."""
    high = scene.source.clues.high
    doubts = assumption(scene.scaling, "give --scale GAIN[,OFFSET]", high=high)
    region, numbers = scene.region, [scene.source.number_of(role) for role in BANDS]
    windows = [
        window.shifted(region.row, region.col) for window in lattice(region.height, region.width)
    ]
    try:
        tiles = [scene.source.read(window, numbers) for window in windows]
    except NirgeoError:  # what can't be read there may be nobody's business; tiles are read anew
        return tuple(doubts)
    missing, _ = suspected_nodata(tiles, BANDS, DECLARE_NODATA)
    return (*doubts, *picture_colours(tiles, BANDS, scene.scaling), *missing)


def _region(grid: Grid, area: Box | None) -> Window:
    """The pixels of a scene that may be used."""
    if area is None:
        return Window(0, 0, grid.height, grid.width)
    if not grid.placed:
        raise TrainingError("has no coordinate system, so nothing says what of it is in --bbox")
    try:
        bounds = transform_bounds(CRS.from_epsg(4326), CRS.from_user_input(grid.crs), *area)
        return region_of(grid, bounds)
    except GridError as error:
        raise TrainingError("lies outside --bbox") from error
    except (OptionError, *GDAL_ERRORS) as error:
        forget_errors()
        raise TrainingError("its coordinate system does not reach as far as --bbox") from error


def band_shifts(scene: _Scene) -> dict[str, Shift]:
    """NIR against the mean of the visible bands, and these among themselves."""
    region = scene.region
    shape = (region.height, region.width)
    size = [min(_REGISTRATION_WINDOW, side) for side in shape]
    count = [
        min(_REGISTRATION_WINDOWS, side // extent) for side, extent in zip(shape, size, strict=True)
    ]
    starts = [
        [round(k * (side - extent) / max(1, n - 1)) for k in range(n)]
        for side, extent, n in zip(shape, size, count, strict=True)
    ]
    windows = []
    for row in starts[0]:
        for col in starts[1]:
            window = Window(row, col, *size).shifted(region.row, region.col)
            values, valid = scene.read(window)
            windows.append((to_working(np.nan_to_num(values), scene.scaling.quantity), valid))
    return {
        "visible and nir": find_shift((w[:3].mean(axis=0), w[3], v) for w, v in windows),
        "green and red": find_shift((w[1], w[0], v) for w, v in windows),
        "green and blue": find_shift((w[1], w[2], v) for w, v in windows),
    }


def _cut(
    scene: _Scene, place: str, folder: Path, rules: Rules, facts: Facts, done: Prepared
) -> list[dict[str, Any]]:
    """Write the tiles that are kept; returns their lines of the index, still without a side."""
    rows: list[dict[str, Any]] = []
    empty = cloudy = 0
    quantity = scene.scaling.quantity
    region, known = scene.region, dict(scene.candidate.known)
    known["date"] = known.get("date") or _day(scene.source)
    for row, col, part in tile_windows((region.height, region.width), rules.tile):
        window = part.shifted(region.row, region.col)
        try:
            values, valid = scene.read(window)
        except NirgeoError as error:
            done.rejected[scene.file] = scene.candidate.without_folder(str(error))
            for written in rows:
                (folder / written["file"]).unlink()
            return []
        if not valid.any() or valid.mean() < rules.min_valid:
            empty += 1
            continue
        if cloud_like(values[:3, valid], quantity).mean() > rules.max_cloud:
            cloudy += 1
            continue
        name = f"{scene.name}_r{row}_c{col}.tif"
        write_tile(folder / name, values, valid, quantity, scene.source.grid, window)
        lon, lat = _lonlat(scene.source.grid, window)
        rows.append(
            {
                "file": name,
                "group": place,
                "height": window.height,
                "width": window.width,
                "valid_fraction": round(float(valid.mean()), 4),
                "lon": lon if lon != "" else known.get("lon", ""),
                "lat": lat if lat != "" else known.get("lat", ""),
                "level": facts.get(scene.file, "level") or _level(scene),
                **{
                    column: facts.get(scene.file, column) or known.get(column, "")
                    for column in ("date", "source", "licence")
                },
            }
        )
    if not rows:
        # What is taken for cloud may be numbers that are taken for too much light.
        doubts = "".join(f"; {doubt}" for doubt in scene.doubts)
        done.rejected.setdefault(
            scene.file,
            f"no tile is kept: {empty} with too little data, {cloudy} cloud-like{doubts}",
        )
    done.scenes.append(
        {
            "file": scene.file,
            **scene.candidate.origin(),
            "group": place,
            "tiles": len(rows),
            "tiles_without_data": empty,
            "tiles_cloud_like": cloudy,
            "scaling": scene.scaling.describe(),
            "doubts": list(scene.doubts),
            "shifts": {
                pair: {
                    "down": round(shift.down, 2),
                    "right": round(shift.right, 2),
                    "significance": round(shift.significance, 1),
                    "known": shift.known,
                }
                for pair, shift in scene.shifts.items()
            },
        }
    )
    return rows


def _divide(rows: list[dict[str, Any]], partial: Path, rules: Rules, done: Prepared) -> None:
    """Move every tile to its side and write the index."""
    sizes: dict[str, int] = {}
    for row in rows:
        sizes[row["group"]] = sizes.get(row["group"], 0) + row["height"] * row["width"]
    validation = split_places(sizes, rules.validation, rules.seed)
    for side in ("train", "val"):
        (partial / side).mkdir()
    for row in rows:
        side = "val" if row["group"] in validation else "train"
        os.replace(partial / "tiles" / row["file"], partial / side / row["file"])
        row["file"] = f"{side}/{row['file']}"
    (partial / "tiles").rmdir()
    with open(partial / "index.csv", "w", newline="", encoding="utf-8") as lines:
        writer = csv.DictWriter(lines, COLUMNS, lineterminator="\n")
        writer.writeheader()
        writer.writerows(sorted(rows, key=lambda row: row["file"]))
    done.tiles, done.places, done.validation_places = len(rows), len(sizes), len(validation)


def _lonlat(grid: Grid, window: Window) -> tuple[float | str, float | str]:
    """The centre of a tile in degrees; empty where nothing says."""
    if not grid.placed:
        return "", ""
    x, y = grid.affine @ (window.col + window.width / 2, window.row + window.height / 2)
    try:
        lons, lats = transform(CRS.from_user_input(grid.crs), CRS.from_epsg(4326), [x], [y])
    except GDAL_ERRORS:
        forget_errors()
        return "", ""
    if not np.isfinite([lons[0], lats[0]]).all():
        return "", ""
    return round(lons[0], 5), round(lats[0], 5)


def _day(source: RasterSource) -> str:
    """When a scene was taken, if its tags or its product's name say so; not when it was made."""
    taken = source.acquisition
    if taken is None or taken.origin == FILE_TIME:
        return ""
    return taken.start.date().isoformat()


def _level(scene: _Scene) -> str:
    """``boa`` and ``toa`` by what products are called; ``display`` for counts."""
    if scene.scaling.quantity is Quantity.COUNTS:
        return "display"
    product = f"{scene.candidate.level_text} {scene.source.clues.product or ''}"
    return "boa" if is_surface(product, scene.scaling) else processing_level(product)
