"""Scenes that are too large to be an array, written block after block."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import rasterio
from numpy.typing import NDArray
from rasterio.windows import Window

BLOCK = 512

Block = NDArray[np.uint16]


def write_blocks(
    path: Path, side: int, block: Callable[[int, int], Block | None], **profile: Any
) -> Path:
    """A scene of ``side``² 16-bit pixels in blocks of 512²; returns its path.

    ``block`` is given the position of a block (row and column, in blocks) and returns its pixels,
    of which those outside the scene are cut off; or None, and the block is never written.
    """
    layout = {"tiled": True, "blockxsize": BLOCK, "blockysize": BLOCK}
    place = {"crs": "EPSG:32633", "transform": rasterio.Affine(10, 0, 4e5, 0, -10, 6e6)}
    size = {"count": 1, "dtype": "uint16", "height": side, "width": side}
    with rasterio.open(path, "w", driver="GTiff", **size, **layout, **place, **profile) as file:
        for i, row in enumerate(range(0, side, BLOCK)):
            for j, col in enumerate(range(0, side, BLOCK)):
                values = block(i, j)
                if values is None:
                    continue
                height, width = min(BLOCK, side - row), min(BLOCK, side - col)
                file.write(values[:height, :width], 1, window=Window(col, row, width, height))
    return path


def sparse_scene(path: Path, side: int, *, every: int = 2048) -> Path:
    """Mostly nodata; one filled block of 512² in every ``every``², and never written elsewhere."""
    rng = np.random.default_rng(0)

    def block(i: int, j: int) -> Block | None:
        inside = max(i, j) * BLOCK < side - BLOCK
        if not inside or (i * BLOCK) % every or (j * BLOCK) % every:
            return None
        return rng.integers(500, 4000, (BLOCK, BLOCK), dtype=np.uint16)

    return write_blocks(path, side, block, nodata=0, sparse_ok=True, bigtiff="yes")


def dense_scene(path: Path, side: int) -> Path:
    """Every pixel measured, none alike: nothing that a reader or a writer could skip."""
    rng = np.random.default_rng(1)
    return write_blocks(
        path, side, lambda i, j: rng.integers(500, 4000, (BLOCK, BLOCK), dtype=np.uint16)
    )
