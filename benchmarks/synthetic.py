"""Scenes for benchmarks: every pixel measured, with texture, in blocks of 512."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import rasterio
from rasterio.windows import Window


def write_scene(path: Path, side: int) -> Path:
    """A near-infrared scene of ``side``² 16-bit pixels, reflectance × 10000; returns its path."""
    profile = {
        "driver": "GTiff",
        "count": 1,
        "dtype": "uint16",
        "height": side,
        "width": side,
        "tiled": True,
        "blockxsize": 512,
        "blockysize": 512,
        "compress": "DEFLATE",
        "zlevel": 1,
        "predictor": 2,
        "crs": "EPSG:32633",
        "transform": rasterio.Affine(10, 0, 4e5, 0, -10, 6e6),
    }
    random = np.random.default_rng(0)
    with rasterio.open(path, "w", **profile) as file:
        for row in range(0, side, 512):
            height = min(512, side - row)
            fields = random.beta(1.5, 3.0, (height // 16 + 1, side // 16 + 1)) * 8000 + 200
            coarse = np.kron(fields, np.ones((16, 16)))[:height, :side]
            values = coarse + random.normal(0, 100, (height, side))
            file.write(
                np.clip(values, 1, 10_000).astype(np.uint16), 1, window=Window(0, row, side, height)
            )
    return path
