"""Scenes in folders and the places they belong to: what is learnt from, and what is scored."""

from __future__ import annotations

import hashlib
import os
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nirgeo.bands import COLOURS
from nirgeo.errors import TrainingError
from nirgeo.hrefs import SCENE_SUFFIXES
from nirgeo.nodata import DECLARE_NODATA, suspected_nodata
from nirgeo.scaling import Scaling, assumption, is_assumed
from nirgeo.tables import first_few, name_here, read_rows

_PLACE = "place "


@dataclass(frozen=True)
class SceneEntry:
    """A file, the place it belongs to, and its longitude and latitude if an index tells them."""

    path: Path
    place: str
    position: tuple[float, float] | None = None
    alone: bool = False
    """Whether it counts as a place of its own because no index says where it belongs."""

    @property
    def origin(self) -> str:
        """The same for two scenes of one place only; what places are called may depend on what
        other scenes there are."""
        return str(self.path.resolve()) if self.alone else f"{_PLACE}{self.place}"


def place_marks(origins: Iterable[str]) -> set[str]:
    """Marks of the places that an index names: short hashes, which tell no name.

    ``origins`` as :attr:`SceneEntry.origin` has them. Scenes that no index lists are places on one
    machine only.
    """
    named = {origin for origin in origins if origin.startswith(_PLACE)}
    return {hashlib.sha256(origin.encode()).hexdigest()[:12] for origin in named}


def learnt_places(
    training: Mapping[str, Any], origins: Mapping[str, str], called: str, so: str
) -> list[str]:
    """What a user should hear of places that a model says it has learnt from, and that judge it.

    ``training`` is that of its file, ``origins`` the place of every :attr:`SceneEntry.origin`, and
    ``so`` what comes of it.
    """
    places = {mark: place for origin, place in origins.items() for mark in place_marks([origin])}
    shared = sorted(places[mark] for mark in training.get("places", ()) if mark in places)
    if not shared:
        return []
    return [
        f"{called} has learnt from {len(shared)} of these {len(places)} places, {so}: "
        f"{first_few(shared)}"
    ]


def list_scenes(
    folders: Sequence[Path],
    index: Path | None = None,
    levels: Iterable[str] = (),
) -> list[SceneEntry]:
    """Every GeoTIFF under ``folders`` with the place it belongs to.

    ``index`` is a CSV with columns ``file`` (relative to it), ``group`` (the place) and ``level``,
    and perhaps ``lon`` and ``lat`` in degrees; with ``levels`` given only scenes of these
    processing levels are kept. Without an index every file counts as a place of its own, and so
    does one that the index does not list; see :func:`index_notes`.

    Raises
    ------
    TrainingError : no such folder, no scene found, or the index can't be read, lacks a column or
        lists none of the scenes
    """
    listed = {} if index is None else _read_index(index)
    wanted = set(levels)
    paths = _scene_files(folders)
    if index is not None and paths and not any(path.resolve() in listed for path in paths):
        raise TrainingError(
            f"{index} lists none of {len(paths)} scenes, so nothing says which of them share a "
            f"place; it lists {first_few(_names(listed, index)) or 'no file'}, and from the folder "
            f"it lies in, what its column 'file' counts from, the scenes are "
            f"{first_few(_names(paths, index))}"
        )
    entries = []
    stems = Counter(path.stem for path in paths)
    for path in paths:
        # A folder per scene: files of one name are not of one place.
        alone = path.stem if stems[path.stem] == 1 else str(path.resolve().with_suffix(""))
        known = listed.get(path.resolve())
        place, level, position = known or (alone, "", None)
        if not wanted or level in wanted:
            entries.append(SceneEntry(path, place, position, alone=known is None))
    if not entries:
        said = ""
        if wanted:
            said = f" with level {', '.join(sorted(wanted))}"
            if paths and index is None:
                said += ": levels are a column of --index, and there is none"
            elif paths and not any(level for _, level, _ in listed.values()):
                said += f": {index} tells no level of any"
        raise TrainingError(f"no training scene in {', '.join(map(str, folders))}{said}")
    return entries


def index_notes(folders: Sequence[Path], index: Path | None) -> list[str]:
    """What a user should hear of an index: how many scenes it does not list, and the first.

    Raises
    ------
    TrainingError : as :func:`list_scenes`
    """
    if index is None:
        return []
    listed = _read_index(index)
    paths = {path.resolve(): path for path in _scene_files(folders)}
    missing = [path for key, path in paths.items() if key not in listed]
    if not missing:
        return []
    return [
        f"{len(missing)} of {len(paths)} scenes have no line in {index}, so each counts as a place "
        f"of its own and has no level: {first_few(_names(missing, index))}"
    ]


def _scene_files(folders: Sequence[Path]) -> list[Path]:
    """
    Raises
    ------
    TrainingError : no such folder
    """
    paths: list[Path] = []
    for folder in folders:
        if not Path(folder).is_dir():
            raise TrainingError(f"{folder}: there is no such folder")
        paths += sorted(p for p in Path(folder).rglob("*") if p.suffix.lower() in SCENE_SUFFIXES)
    # A file that two of the folders hold is one scene.
    return list({path.resolve(): path for path in reversed(paths)}.values())[::-1]


def _names(paths: Iterable[Path], index: Path) -> Iterator[str]:
    """What an index would call files."""
    folder = index.parent.resolve()
    for path in paths:
        try:
            yield Path(os.path.relpath(path.resolve(), folder)).as_posix()
        except ValueError:  # on another drive
            yield path.as_posix()


def _read_index(index: Path) -> dict[Path, tuple[str, str, tuple[float, float] | None]]:
    """Place, level and position of every file that the index lists."""
    listed: dict[Path, tuple[str, str, tuple[float, float] | None]] = {}
    rows = read_rows(index, ("file", "group"), called=str(index), error=TrainingError)
    try:
        for row in rows:
            key = (index.parent / name_here(row["file"], index.parent)).resolve()
            listed[key] = (row["group"] or key.stem, row.get("level", ""), _position(row))
    except (OSError, ValueError) as error:
        raise TrainingError(f"{index}: can't be read ({error})") from error
    return listed


def _position(row: Mapping[str, str]) -> tuple[float, float] | None:
    """Longitude and latitude of a row that has both."""
    if not (row.get("lon") and row.get("lat")):
        return None
    return float(row["lon"]), float(row["lat"])


def scene_notes(
    values: NDArray[Any], valid: NDArray[np.bool_], roles: Sequence[str], scaling: Scaling
) -> tuple[str, ...]:
    """Why the values of a scene may not be what they are taken for: what `colorize` asks too."""
    declare = "write it into the file, as scale and offset of its bands"
    missing, _ = suspected_nodata([(values, valid)], roles, DECLARE_NODATA)
    pictures = picture_colours([(values, valid)], roles, scaling)
    return (*assumption(scaling, declare), *pictures, *missing)


_OF_A_PICTURE = 255
"""The highest number of 8 bits. As reflectance × 10000 it is darker than any ground but water."""


def picture_colours(
    tiles: Sequence[tuple[NDArray[Any], NDArray[np.bool_]]],
    roles: Sequence[str],
    scaling: Scaling,
) -> list[str]:
    """What a user should hear of colours that seem to come from an 8-bit picture, beside
    near-infrared numbers of more bits: one scaling can't hold for both.

    ``tiles`` are some of a scene's, with a band for each of ``roles``.
    """
    if not is_assumed(scaling):
        return []
    colours = [k for k, role in enumerate(roles) if role in COLOURS]
    nir = [k for k, role in enumerate(roles) if role == "nir"]
    seen = [(values[:, valid][colours], values[:, valid][nir]) for values, valid in tiles]
    seen = [(visible, infrared) for visible, infrared in seen if visible.size and infrared.size]
    if not seen:
        return []
    highest = max(visible.max() for visible, _ in seen)
    usual = float(np.median(np.concatenate([infrared.ravel() for _, infrared in seen])))
    if not (_OF_A_PICTURE / 4 < highest <= _OF_A_PICTURE < usual / 2):
        return []
    return [
        f"red, green and blue go up to {highest:.0f} and near infrared is {usual:.0f} in the "
        "middle, as if these colours were an 8-bit picture; all four need one scaling, so take "
        "colours in the unit of near infrared"
    ]
