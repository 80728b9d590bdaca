"""Scenes with their truth, read with the product's own reader and radiometry."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from nirgeo.bands import COLOURS
from nirgeo.errors import EvaluationError, NirgeoError, TrainingError
from nirgeo.opening import open_source
from nirgeo.radiometry import DisplayCurve, Quantity, quantize, to_working
from nirgeo.scaling import find_scaling
from nirgeo.scene import open_scene, view_of
from nirgeo.scene_lists import SceneEntry, list_scenes, scene_notes
from nirgeo.tiling import Window

FloatArray = NDArray[np.float32]
Mask = NDArray[np.bool_]
Picture = NDArray[np.uint8]

ROLES = (*COLOURS, "nir")

CURVE = DisplayCurve()
"""How reflectance is shown in every evaluation: one curve for all models, so figures compare."""


@dataclass(frozen=True)
class EvaluationScene:
    """One scene whole.

    ``lazy`` is what :func:`nirgeo.open_scene` gives and what a model colorizes. ``bands`` holds
    red, green, blue and nir, each (H, W), in reflectance or in counts. ``valid`` (H, W) marks
    pixels where all four were measured; only these are scored. ``position`` is longitude and
    latitude in degrees where an index tells them and the file itself has no place.
    """

    name: str
    place: str
    quantity: Quantity
    lazy: xr.DataArray
    bands: Mapping[str, FloatArray]
    valid: Mask
    position: tuple[float, float] | None = None
    notes: tuple[str, ...] = ()
    """Why its values may not be what they are taken for."""

    @property
    def shape(self) -> tuple[int, int]:
        return self.valid.shape[0], self.valid.shape[1]

    @property
    def truth(self) -> FloatArray:
        """True colours (3, H, W): reflectance, or counts / 255.

        Negative reflectance, which an atmospheric correction leaves in dark water, is 0: it has no
        colour.
        """
        unit = np.float32(1 if self.quantity is Quantity.REFLECTANCE else 255)
        colours = np.stack([self.bands[colour] for colour in COLOURS]) / unit
        return np.where(self.valid, np.maximum(colours, 0), np.float32(0))

    @property
    def picture(self) -> Picture:
        """The truth as it is shown, (3, H, W)."""
        return render(self.truth, self.quantity)

    def working(self, roles: Iterable[str]) -> FloatArray:
        """Bands in the networks' working space (bands, H, W), 0 where not valid."""
        values = to_working(np.stack([self.bands[role] for role in roles]), self.quantity)
        return np.where(self.valid, values, np.float32(0))


def render(values: FloatArray, quantity: Quantity) -> Picture:
    """Reflectance, or counts / 255, as an 8-bit picture of the same shape; NaN becomes 0."""
    if quantity is Quantity.COUNTS:
        return quantize(values)
    return CURVE.apply(np.nan_to_num(values, nan=0.0))


def find_scenes(
    folders: Sequence[Path],
    index: Path | None = None,
    levels: Iterable[str] = (),
    limit: int | None = None,
) -> list[SceneEntry]:
    """The scenes under ``folders`` and their places; see :func:`nirgeo.scene_lists.list_scenes`.

    With ``limit``, that many of them, spread evenly over the sorted list. A file that two folders
    share counts once.

    Raises
    ------
    EvaluationError : no scene, no such folder or index, a column missing, or a limit below 1
    """
    for folder in folders:
        if not folder.is_dir():
            raise EvaluationError(f"{folder} is not a folder; name one that holds scenes")
    if index is not None and not index.is_file():
        raise EvaluationError(f"--index {index}: no such file")
    if limit is not None and limit < 1:
        raise EvaluationError(f"--limit {limit}: need at least one scene")
    try:
        listed = list_scenes(folders, index, levels)
    except TrainingError as error:
        raise EvaluationError(str(error).replace("training scene", "scene")) from error
    entries = list({entry.path.resolve(): entry for entry in listed}.values())
    if limit is None or limit >= len(entries):
        return entries
    return [entries[round(k * (len(entries) - 1) / max(1, limit - 1))] for k in range(limit)]


def read_scene(entry: SceneEntry) -> EvaluationScene:
    """Read one scene whole.

    Raises
    ------
    EvaluationError : it can't be read, lacks a colour, or has no pixel with all four bands
    """
    try:
        lazy = open_scene(entry.path)
        view = view_of(lazy)
        if view is None:
            raise EvaluationError("not a raster that GDAL reads; convert it to GeoTIFF")
        known = dict(view.source.roles)
        missing = [role for role in ROLES if role not in known]
        if missing:
            raise EvaluationError(
                f"no band is called {' or '.join(missing)}; describe the bands as red, green, blue "
                "and nir"
            )
        numbers = [known[role] for role in ROLES]
        values, valid = view.source.read(Window(0, 0, *view.source.grid.shape), numbers)
    except NirgeoError as error:
        raise EvaluationError(f"{entry.path.name}: {error}") from error
    if not valid.any():
        raise EvaluationError(f"{entry.path.name}: no pixel has all of {', '.join(ROLES)}")
    notes = scene_notes(values, valid, ROLES, view.scaling)
    scaled = view.scaling.apply(values)
    return EvaluationScene(
        name=entry.path.stem,
        place=entry.place,
        quantity=view.scaling.quantity,
        lazy=lazy,
        bands=dict(zip(ROLES, scaled, strict=True)),
        valid=valid,
        position=None if view.source.grid.placed else entry.position,
        notes=notes,
    )


def quantities_of(entries: Iterable[SceneEntry]) -> list[Quantity]:
    """The quantities that scenes hold, without reading them whole.

    Raises
    ------
    EvaluationError : none of them can be opened
    """
    found = set()
    first = ""
    for entry in entries:
        try:
            found.add(find_scaling(open_source(entry.path).clues).quantity)
        except NirgeoError as error:
            first = first or f"{entry.path.name}: {error}"
    if not found:
        raise EvaluationError(f"no scene can be opened; the first: {first}")
    return sorted(found)
