"""What colour the land has at a place: NASA's Blue Marble as a colour hint.

A near-infrared value can't tell a red desert from a green plain; the place can. The hint is a
function of the georeference alone: it is looked up at the nodes of a fixed lattice over the whole
scene and interpolated between them, so it does not depend on chunks.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any

import numpy as np
import rasterio
from numpy.typing import NDArray
from rasterio.crs import CRS

from nirgeo import hints
from nirgeo.errors import ModelError
from nirgeo.georeference import map_positions
from nirgeo.grid import Grid
from nirgeo.tiling import TILE

PRIOR_FILE = str(files("nirgeo") / "weights" / "blue-marble.tif")

# Coding of the raster: level 1 is −RANGE, level LEVELS is +RANGE, 0 is no land.
RANGE = 1.0
LEVELS = 255
NODATA = 0

MAX_NODES = 64
"""Nodes of the lattice along a side, at most."""


@dataclass(frozen=True)
class ToneMap:
    """From Blue Marble's tones to a model's: ``ratios = offset + matrix · blue_marble_ratios``.

    Fitted to places with known colours by ``tools/fit_tone_map.py``. ``error`` is the standard
    error of the two log ratios at places left out of the fit.
    """

    offset: tuple[float, float]
    matrix: tuple[tuple[float, float], tuple[float, float]]
    error: tuple[float, float]

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> ToneMap:
        """
        Raises
        ------
        ModelError : not three lists of the right shape with finite numbers
        """
        try:
            offset = np.asarray(data["offset"], dtype=np.float64)
            matrix = np.asarray(data["matrix"], dtype=np.float64)
            error = np.asarray(data["error"], dtype=np.float64)
            sound = offset.shape == error.shape == (2,) and matrix.shape == (2, 2)
            sound = sound and all(np.isfinite(a).all() for a in (offset, matrix, error))
            if not sound or (error < 0).any():
                raise ValueError("wrong shape or not finite")
        except (KeyError, TypeError, ValueError) as problem:
            raise ModelError(f"damaged tone map in the model's metadata ({problem})") from problem
        (a, b), (c, d) = matrix.tolist()
        o1, o2 = offset.tolist()
        e1, e2 = error.tolist()
        return cls((o1, o2), ((a, b), (c, d)), (e1, e2))

    def to_json(self) -> dict[str, Any]:
        return {
            "offset": list(self.offset),
            "matrix": [list(row) for row in self.matrix],
            "error": list(self.error),
        }

    def apply(self, ratios: NDArray[np.float64]) -> NDArray[np.float64]:
        """Blue Marble's log ratios (2, …) to the model's."""
        return np.tensordot(np.array(self.matrix), ratios, axes=1) + np.reshape(
            self.offset, (2,) + (1,) * (ratios.ndim - 1)
        )


@dataclass(frozen=True, eq=False)
class HintField:
    """Hint channels (3, rows, cols) at nodes ``spacing`` pixels apart, from the raster's origin."""

    spacing: int
    nodes: NDArray[np.float32]
    origin: str = "location prior (Blue Marble)"

    def cells(
        self, row: int, col: int, height: int, width: int, stride: int
    ) -> NDArray[np.float32]:
        """The hint at the coarse cells of a window that starts at pixel (row, col).

        ``height`` and ``width`` count cells of ``stride`` pixels. The value of a cell depends on
        its place in the raster alone.
        """
        rows = (row + (np.arange(height) + 0.5) * stride) / self.spacing
        cols = (col + (np.arange(width) + 0.5) * stride) / self.spacing
        return hints.interpolate(self.nodes, rows, cols)

    def identity(self) -> str:
        content = hashlib.sha256(np.ascontiguousarray(self.nodes).tobytes())
        return f"{self.spacing}:{content.hexdigest()[:16]}"

    def describe(self) -> str:
        """Means over the nodes where something is known."""
        known = self.nodes[2] > 0
        if not known.any():
            return "none"
        trusted = float(self.nodes[2][known].mean())
        red, blue = (float((self.nodes[c][known] / self.nodes[2][known]).mean()) for c in (0, 1))
        return f"{self.origin}: log(R/G) {red:.3f}, log(B/G) {blue:.3f}, trust {trusted:.2f}"


@cache
def _prior_raster() -> NDArray[Any]:
    """Blue Marble's log ratios (2, rows, cols) as coded in its file, a byte each.

    As numbers they would be fifty megabytes of a run's memory for the few places that are asked.
    """
    with rasterio.open(PRIOR_FILE) as file:
        coded: NDArray[Any] = file.read()
    return coded


def look_up(
    longitude: NDArray[np.float64], latitude: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Blue Marble at places: log ratios (2, …) and share of land around (…), bilinear.

    Longitudes wrap around; places that are not finite have no land.
    """
    coded = _prior_raster()
    rows, cols = coded.shape[1:]
    sound = np.isfinite(longitude) & np.isfinite(latitude) & (np.abs(latitude) <= 90)
    x = (np.where(sound, longitude, 0) + 180) / 360 * cols - 0.5
    y = (90 - np.where(sound, latitude, 0)) / 180 * rows - 0.5
    x0, y0 = np.floor(x).astype(np.intp), np.floor(y).astype(np.intp)
    total = np.zeros((2, *x.shape))
    weight = np.zeros(x.shape)
    for down in (0, 1):
        for across in (0, 1):
            row = np.clip(y0 + down, 0, rows - 1)
            col = (x0 + across) % cols
            found = coded[:, row, col]
            land = (found != NODATA).all(axis=0)
            ratios = (found.astype(np.float64) - 1) / (LEVELS - 1) * (2 * RANGE) - RANGE
            share = np.abs(1 - down - (y - y0)) * np.abs(1 - across - (x - x0)) * land
            total += ratios * share
            weight += share
    weight = np.where(sound, weight, 0.0)
    return np.where(weight > 0, total / np.maximum(weight, 1e-12), 0.0), weight


def hint_field(grid: Grid, tones: ToneMap) -> HintField | None:
    """The location prior for a scene; None where the scene has no place or lies at sea."""
    side = max(grid.height, grid.width)
    spacing = TILE * max(1, math.ceil(side / TILE / (MAX_NODES - 1)))
    rows, cols = np.meshgrid(
        np.arange(max(2, math.ceil(grid.height / spacing) + 1)) * float(spacing),
        np.arange(max(2, math.ceil(grid.width / spacing) + 1)) * float(spacing),
        indexing="ij",
    )
    place = map_positions(grid, rows, cols, CRS.from_epsg(4326))
    if place is None:
        return None
    ratios, land = look_up(*place)
    if not (land > 0).any():
        return None
    trusted = np.where(land > 0, hints.trust(float(np.mean(tones.error))), 0.0)
    return HintField(spacing, hints.encode(tones.apply(ratios), trusted))


def uniform_hint(ratios: NDArray[Any], error: float, origin: str) -> HintField:
    """One expected colour for a whole scene of any size.

    Parameters
    ----------
    ratios : expected log(R/G) and log(B/G), (2,)
    error : standard error of both
    origin : where it comes from, for the output's tags
    """
    cell = hints.encode(np.asarray(ratios, dtype=np.float64), hints.trust(error))
    return HintField(TILE, np.tile(cell[:, None, None], (1, 2, 2)), origin)


def hint_at(longitude: float, latitude: float, tones: ToneMap) -> HintField | None:
    """The location prior of a place, for a scene without georeference; None at sea."""
    ratios, land = look_up(np.array([longitude]), np.array([latitude]))
    if not land[0] > 0:
        return None
    expected = tones.apply(ratios)[:, 0]
    return uniform_hint(expected, float(np.mean(tones.error)), HintField.origin)
