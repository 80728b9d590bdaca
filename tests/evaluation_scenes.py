"""Small scenes whose colours follow from their near infrared, for tests of evaluation."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import rasterio
from helpers import NORTH_UP_10M, write_raster
from numpy.typing import NDArray

BANDS = ("red", "green", "blue", "nir")


def ground(height: int = 70, width: int = 66, seed: int = 0) -> NDArray[np.float64]:
    """(4, H, W) reflectance of fields: red, green, blue, nir, with edges at the same places."""
    random = np.random.default_rng([seed, height, width])
    count = max(2, height * width // 60)
    # Fields around scattered points: a regular lattice would look the same after a shift.
    points = random.uniform(0, 1, (count, 2)) * (height, width)
    rows, cols = np.indices((height, width))
    nearest = np.full((height, width), np.inf)
    field = np.zeros((height, width), dtype=int)
    for k, (row, col) in enumerate(points):
        distance = (rows - row) ** 2 + (cols - col) ** 2
        field[distance < nearest] = k
        nearest = np.minimum(nearest, distance)
    plant, light = random.random((2, count))[:, field]
    plant, light = (x + random.normal(0, 0.02, x.shape) for x in (plant, light))
    red = 0.05 + 0.25 * light * (1.2 - plant)
    green, blue = 0.06 + 0.18 * light, 0.03 + 0.10 * light
    nir = 0.10 + 0.25 * light + 0.25 * plant
    return np.clip(np.stack((red, green, blue, nir)), 0.005, 0.95)


def write_scene(path: Path, values: NDArray[Any] | None = None, **options: Any) -> Path:
    """A scene of reflectance × 10000 as uint16 with 0 for nodata, or of 8-bit counts."""
    reflectance = ground() if values is None else values
    counts = reflectance.dtype == np.uint8
    stored = reflectance if counts else np.rint(reflectance * 10_000).astype(np.uint16)
    scale = "1" if counts else "0.0001"
    return write_raster(
        path,
        stored,
        nodata=None if counts else 0,
        descriptions=BANDS,
        tags={"REFLECTANCE_SCALE": scale},
        **options,
    )


def shifted_place(east_km: float) -> rasterio.Affine:
    """A transform so many kilometres further east."""
    return NORTH_UP_10M.translation(east_km * 1000, 0) @ NORTH_UP_10M


def write_index(path: Path, rows: dict[str, str], level: str = "boa") -> Path:
    """An index with the place of each file."""
    lines = ["file,group,level", *(f"{file},{place},{level}" for file, place in rows.items())]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path
