"""What a run will take, before it is started."""

from __future__ import annotations

import os
import time
from dataclasses import dataclass

import numpy as np

from nirgeo.engine import reach
from nirgeo.inference import Recipe, intra_op_threads, network, run_network
from nirgeo.modelfile import Model
from nirgeo.radiometry import Scaling
from nirgeo.tiling import ChunkGrid, Window, input_window

# Peak memory of one worker, in bytes per pixel of its window: the trunk's activations at a quarter
# of the resolution, the full-resolution fields and lookups around them. Measured on one thread.
_BYTES_PER_PIXEL = 130
_BASE_BYTES = 450 * 2**20
"""Interpreter, torch, GDAL and its block cache."""

_PROBE = 512


@dataclass(frozen=True)
class Estimate:
    """Halo in px; useful share of computed pixels; bytes; seconds; workers assumed."""

    halo: int
    useful: float
    memory_bytes: int
    disk_bytes: int
    seconds: float
    workers: int


def estimate(region: Window, raster: tuple[int, int], chunk_tiles: int, model: Model) -> Estimate:
    """Costs of colorizing a region of a raster of (height, width).

    The time is scaled up from one small block, timed now.
    """
    halo, stride = reach(model)
    grid = ChunkGrid(region.height, region.width, chunk_tiles)
    computed = useful = largest = 0
    for _, _, chunk in grid.windows():
        window = input_window(
            chunk.shifted(region.row, region.col), halo=halo, stride=stride, raster=raster
        )
        size = window.shape[0] * window.shape[1]
        computed += size
        useful += chunk.height * chunk.width
        largest = max(largest, size)
    workers = os.cpu_count() or 1
    samples = len(model.spec.colours) + 1
    return Estimate(
        halo=halo,
        useful=useful / computed,
        memory_bytes=_BASE_BYTES + min(workers, len(grid)) * largest * _BYTES_PER_PIXEL,
        disk_bytes=useful * samples,
        seconds=computed / _pixels_per_second(model) / workers,
        workers=workers,
    )


def _pixels_per_second(model: Model) -> float:
    """Rate of one core, from the best of three runs of a small block."""
    spec = model.spec
    recipe = Recipe(model, Scaling(spec.quantity, 1.0, 0.0, "probe"))
    inputs = np.full((len(spec.bands), _PROBE, _PROBE), 0.5, dtype=np.float32)
    valid = np.ones((_PROBE, _PROBE), dtype=np.bool_)
    network(model)
    best = float("inf")
    with intra_op_threads(1):
        for _ in range(3):
            start = time.perf_counter()
            run_network(inputs, valid, recipe)
            best = min(best, time.perf_counter() - start)
    return _PROBE * _PROBE / best
