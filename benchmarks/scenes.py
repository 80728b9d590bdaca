"""Near-infrared scenes of any size, made up: fields, texture, and a slanted border of nodata."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import rasterio
from rasterio.windows import Window

BLOCK = 512


def make_scene(
    path: Path, side: int, *, border: bool = True, dtype: str = "uint16", pattern: int | None = None
) -> Path:
    """A square scene, tiled and deflated, of reflectance × 10000 or, in uint8, counts.

    Kept if it exists. ``border``: along the left side pixels are missing, as satellites' tracks
    leave them. With ``pattern`` the same so many rows come again and again: large scenes are there
    sooner.
    """
    if path.exists():
        return path
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(path.name + ".part")
    profile = {"count": 1, "height": side, "width": side, "dtype": dtype, "nodata": 0}
    place = {"crs": "EPSG:32632", "transform": rasterio.Affine(10, 0, 5e5, 0, -10, 5.3e6)}
    layout = {"tiled": True, "blockxsize": BLOCK, "blockysize": BLOCK, "compress": "deflate"}
    made: dict[int, np.ndarray] = {}
    with rasterio.open(
        partial, "w", driver="GTiff", zlevel=1, predictor=2, bigtiff="if_safer",
        num_threads="all_cpus", **profile, **place, **layout,
    ) as file:  # fmt: skip
        file.set_band_description(1, "nir")
        for row in range(0, side, BLOCK):
            height = min(BLOCK, side - row)
            source = row if pattern is None else row % pattern
            if source not in made:
                if pattern is None:
                    made.clear()
                made[source] = _strip(source, height if pattern is None else BLOCK, side, dtype)
            strip = made[source][:height]
            if border:
                strip = strip.copy()
                rows, cols = np.indices(strip.shape)
                strip[cols < (rows + row) * 0.05 - side * 0.01] = 0
            file.write(strip, 1, window=Window(0, row, side, height))
    partial.replace(path)
    return path


def _strip(row: int, height: int, side: int, dtype: str) -> np.ndarray:
    random = np.random.default_rng([row, side])
    fields = random.beta(2.0, 3.0, (height // 32 + 1, side // 32 + 1))
    coarse = np.kron(fields, np.ones((32, 32)))[:height, :side]
    texture = random.normal(0, 0.015, (height, side))
    reflectance = coarse * 0.5 + 0.05 + texture
    if dtype == "uint8":
        return np.clip(reflectance * 400, 1, 255).astype(np.uint8)
    return np.clip(reflectance * 10_000, 1, 12_000).astype(np.uint16)
