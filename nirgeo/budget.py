"""How large chunks may be, and how many at once, so that a run stays within so much memory.

Large chunks waste less of the network on halo; more workers use more cores. Of all pairs that fit
into the budget the one that promises the most pixels per second is taken.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass

import xarray as xr

from nirgeo import decoded
from nirgeo.colouriser import Colouriser
from nirgeo.cores import cores
from nirgeo.engine import colouriser_of, model_for
from nirgeo.errors import OptionError
from nirgeo.estimate import Estimate, estimate
from nirgeo.gdal_settings import CACHE_BYTES
from nirgeo.georeference import grid_of
from nirgeo.given import check_workers
from nirgeo.modelfile import Model
from nirgeo.reference import open_reference
from nirgeo.registry import AnyModel
from nirgeo.runtimes.choice import FP32, ONNX, TORCH, Runtime, choose_runtime
from nirgeo.scene import view_of
from nirgeo.source import RasterSource
from nirgeo.tiling import DEFAULT_CHUNK_TILES, TILE, Window

SIDES = (16, 12, 8, 6, 4, 3, 2, 1)
"""Sides of a chunk in tiles that are tried."""

_NARROW = 32
"""Channels of the widest trunk whose activations fit at the default chunk."""

_SMALLER = 8
"""Side of a chunk in tiles for a wider one."""

_LEAST_CACHE = 2**25
"""Holds a row of blocks of a scene that a small budget may be for."""

_MOST_CACHE = 2**29
"""Where it would take more, strips of a very wide scene are decoded more than once."""

_UNITS = {"K": 2**10, "M": 2**20, "G": 2**30, "T": 2**40}
_SIZE = re.compile(r"(\d+(?:\.\d+)?)\s*([KMGT])(?:i?B)?", re.IGNORECASE)


def parse_size(text: str) -> int:
    """``600M``, ``1.5G``, ``2 GiB`` as bytes; units are powers of 1024.

    Raises
    ------
    OptionError : not a size
    """
    found = _SIZE.fullmatch(text.strip())
    if found is None or float(found[1]) == 0:
        raise OptionError(f"--memory {text}: need a size such as 600M or 2G")
    return int(float(found[1]) * _UNITS[found[2].upper()])


def cache_within(memory: int, wanted: int = 0) -> int:
    """Bytes for decoded blocks in a budget: a sixteenth of it, what it is anyway at most.

    A quarter of it where so many are ``wanted``.
    """
    usual = min(CACHE_BYTES, max(memory // 16, _LEAST_CACHE))
    return max(usual, min(wanted, memory // 4))


def cache_for(source: RasterSource, chunk_tiles: int, colouriser: Colouriser) -> int:
    """Bytes for decoded blocks, so that none of a scene is decoded twice, or nearly none.

    Chunks of a scene in tiles are taken from columns of a fixed width, which the usual cache holds.
    One in strips comes in whole rows of chunks: until a row is done all its strips are needed.
    """
    rows, cols = source.block_shape
    if cols < source.grid.width:
        return CACHE_BYTES
    row_bytes = cols * source.dtype.itemsize * len(colouriser.spec.bands)
    window = min(source.grid.height, chunk_tiles * TILE + 2 * colouriser.halo)
    wanted = decoded.cache_for_strips(window, (rows, cols), source.grid.shape, row_bytes)
    return CACHE_BYTES if wanted > _MOST_CACHE else max(CACHE_BYTES, wanted)


def block_beside(source: RasterSource, bands: int, cache_bytes: int) -> int:
    """Bytes that a worker needs for a block of a scene that the cache can't hold; 0 if it can.

    Such as that of a large scene in one strip. Decoded and, while it is read, as it is stored,
    which is no more than that.
    """
    rows, cols = source.block_shape
    decoded_bytes = rows * cols * source.dtype.itemsize * bands
    return 2 * decoded_bytes if decoded_bytes > cache_bytes else 0


@dataclass(frozen=True)
class Plan:
    """Side of a chunk in tiles, number of workers, bytes for decoded blocks.

    ``workers`` is None where nobody asked for a number: as many as there are cores.
    """

    chunk: int
    workers: int | None
    cache_bytes: int = CACHE_BYTES


def fit(
    memory: int,
    cost_of: Callable[[int, int], Estimate],
    *,
    chunk: int | None = None,
    workers: int | None = None,
    cache_bytes: int | None = None,
) -> Plan:
    """Chunk and workers for a budget of ``memory`` bytes.

    Parameters
    ----------
    cost_of : estimate for (side of a chunk in tiles, workers)
    chunk, workers : what was asked for, and stays
    cache_bytes : what the estimates count for decoded blocks, if not :func:`cache_within`

    Raises
    ------
    OptionError : the budget is too small for that
    """
    available = cores()
    best: Plan | None = None
    most = 0.0
    least: int | None = None
    for side in SIDES if chunk is None else (chunk,):
        for count in range(available, 0, -1) if workers is None else (workers,):
            cost = cost_of(side, count)
            least = cost.memory_bytes if least is None else min(least, cost.memory_bytes)
            if cost.memory_bytes > memory:
                continue
            rate = min(count, available) * cost.useful
            if rate > most:
                best, most = Plan(side, count, cache_bytes or cache_within(memory)), rate
            break  # fewer workers would be slower
    if best is None:
        assert least is not None
        given = "" if chunk is None and workers is None else " with this --chunk and --workers"
        raise OptionError(
            f"--memory {_megabytes(memory)} is too little: this scene and model need at least "
            f"{_megabytes(least)}{given}"
        )
    return best


def _megabytes(size: int) -> str:
    return f"{-(-size // 2**20)}M"


def usual_chunk(model: AnyModel, runtime: Runtime, device: str = "cpu") -> int:
    """Side of a chunk in tiles where nobody chose one: so that two workers need some 600 MB.

    A wide network's activations take more memory per pixel, and ONNX Runtime's too. A GPU has
    memory of its own for them, and is far from busy with small ones.
    """
    if device != "cpu" and isinstance(model, Model):
        return SIDES[0]
    wide = isinstance(model, Model) and model.spec.generator.get("width", 0) > _NARROW
    return _SMALLER if wide or runtime.name == ONNX else DEFAULT_CHUNK_TILES


def plan_for(
    memory: str | None,
    scene: xr.DataArray,
    model: str | AnyModel,
    *,
    device: str = "cpu",
    runtime: str = TORCH,
    precision: str = FP32,
    chunk: int | None = None,
    workers: int | None = None,
    reference: str | None = None,
    reference_scale: str | None = None,
) -> Plan:
    """:func:`fit` for a scene of :func:`nirgeo.open_scene`, or what is usual without a budget.

    Nothing is read for that but, with a ``reference``, its size.

    Raises
    ------
    OptionError : ``memory`` is no size, or too small a one; or see
        :func:`nirgeo.runtimes.choice.choose_runtime`
    GridError, SourceError, BandError, RadiometryError : see
        :func:`nirgeo.reference.open_reference`
    ModelError, UnknownModelError : see :func:`nirgeo.registry.pick_model`
    """
    check_workers(workers)
    view = view_of(scene)
    if isinstance(model, str):
        model, _ = model_for(scene, model)
    usual = chunk or usual_chunk(model, choose_runtime(runtime, precision, device), device)
    if view is None and memory is None:
        return Plan(usual, workers)
    colouriser = colouriser_of(model, device=device, runtime=runtime, precision=precision)
    wanted = CACHE_BYTES if view is None else cache_for(view.source, usual, colouriser)
    if memory is None:
        return Plan(usual, workers, wanted)
    size = parse_size(memory)
    if view is None:  # its chunks are those of the file behind it
        shape = grid_of(scene).shape
        region, chunk = Window(0, 0, *shape), chunk or DEFAULT_CHUNK_TILES
    else:
        shape, region = view.source.grid.shape, view.region
    cache, beyond = cache_within(size, wanted if wanted > CACHE_BYTES else 0), 0
    block = 0 if view is None else block_beside(view.source, len(colouriser.spec.bands), cache)
    if reference is not None:
        grid = grid_of(scene) if view is None else view.source.grid
        beyond = open_reference(reference, grid, reference_scale).halo

    def cost_of(side: int, count: int) -> Estimate:
        return estimate(
            region,
            shape,
            side,
            colouriser,
            count,
            rate=1.0,
            cache_bytes=cache,
            block_bytes=block,
            beyond=beyond,
        )

    return fit(size, cost_of, chunk=chunk, workers=workers, cache_bytes=cache)
