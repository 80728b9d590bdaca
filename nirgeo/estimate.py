"""What a run will take, before it is started."""

from __future__ import annotations

import time
from dataclasses import dataclass

import numpy as np

from nirgeo.colouriser import Colouriser
from nirgeo.cores import cores
from nirgeo.gdal_settings import CACHE_BYTES
from nirgeo.own_torch import intra_op_threads
from nirgeo.tiling import TILE, ChunkGrid, Window, input_window

_BASE_BYTES = 430 * 2**20
"""Interpreter, torch, GDAL without its block cache, the heap between two steps."""

_GUIDED_BYTES = 24
"""Per pixel that is painted for a reference: what is made without it, too, and means over it."""

_AROUND = 85e-9
"""Seconds of one core per pixel for what is not the network: reading, rendering, storing, encoding.

As measured for docs/performance.md; a fast disk or a slow one may halve or double it."""

_START = 2.5
"""Seconds before the first chunk: Python, torch, the model."""

_PROBE = 512
_LONG = 1.0
"""Seconds after which the clock is exact enough, and somebody is waiting."""


@dataclass(frozen=True)
class Estimate:
    """Halo in px; share of the pixels read that are written; bytes; seconds; workers assumed."""

    halo: int
    useful: float
    memory_bytes: int
    disk_bytes: int
    seconds: float
    workers: int


def estimate(
    region: Window,
    raster: tuple[int, int],
    chunk_tiles: int,
    colouriser: Colouriser,
    workers: int | None = None,
    *,
    rate: float | None = None,
    cache_bytes: int = CACHE_BYTES,
    block_bytes: int = 0,
    beyond: int = 0,
    stored_bytes: int | None = None,
) -> Estimate:
    """Costs of colorizing a region of a raster of (height, width), on all cores by default.

    Of a run on the CPU. The memory is a bound that a test holds. The time is that of the command,
    from start to file: scaled up from ``rate``, the network's pixels per second on one core, which
    is measured now on one small block if it is not given, and a constant for the rest; that is
    right within a factor of two. ``cache_bytes`` are for decoded blocks, ``block_bytes`` for one
    that is too large for them, which every worker then has. ``beyond`` is how much farther a
    reference makes it look, in pixels; 0 without one. ``stored_bytes`` are those of all bands of a
    pixel that is written; 1 for each colour if None.
    """
    halo = colouriser.halo + beyond
    grid = ChunkGrid(region.height, region.width, chunk_tiles)

    def read(i: int, j: int) -> tuple[int, int]:
        return input_window(
            grid.window(i, j).shifted(region.row, region.col),
            halo=halo,
            stride=colouriser.stride,
            raster=raster,
        ).shape

    # Rows and columns of a window do not depend on each other, and there may be millions of them.
    down, across = grid.shape
    heights = [read(i, 0)[0] for i in range(down)]
    widths = [read(0, j)[1] for j in range(across)]
    computed, useful = sum(heights) * sum(widths), region.height * region.width
    available = cores()
    workers = workers or available
    stored = len(colouriser.spec.colours) if stored_bytes is None else stored_bytes
    # Whole tiles are written, and their overviews; on them the result, which is compressed.
    down_tiles, across_tiles = (
        [-(-size // TILE) * TILE for size in sizes] for sizes in (grid.row_sizes, grid.col_sizes)
    )
    per_pixel = colouriser.bytes_per_pixel + (_GUIDED_BYTES if beyond else 0)
    one_worker = max(heights) * max(widths) * per_pixel + block_bytes
    rate = pixels_per_second(colouriser) if rate is None else rate
    return Estimate(
        halo=halo,
        useful=useful / computed,
        memory_bytes=_BASE_BYTES + cache_bytes + min(workers, len(grid)) * one_worker,
        disk_bytes=sum(down_tiles) * sum(across_tiles) * (stored + 1) * 4 // 3,
        seconds=_START + (computed / rate + useful * _AROUND) / min(workers, available),
        workers=workers,
    )


def pixels_per_second(colouriser: Colouriser) -> float:
    """Rate of one core, from the best of up to three runs of a small block."""
    square = (_PROBE, _PROBE)
    window = input_window(Window(0, 0, *square), halo=0, stride=1, raster=square)
    shades = np.linspace(0.1, 0.9, _PROBE, dtype=np.float32)
    inputs = np.broadcast_to(shades, (len(colouriser.spec.bands), *square)).copy()
    valid = np.ones(square, dtype=np.bool_)
    best = float("inf")
    with intra_op_threads(1):
        for _ in range(3):
            start = time.perf_counter()
            colouriser.paint(inputs, valid, window)
            best = min(best, time.perf_counter() - start)
            if best > _LONG:
                break
    return _PROBE * _PROBE / best
