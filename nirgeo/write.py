"""Compute a lazy picture and write it: ``write_geotiff``.

Blocks go from dask's workers into the block store as they are finished; the COG is made from the
store at the end. See :mod:`nirgeo.target` for what protects the output, and
:mod:`nirgeo.blockstore` for what survives a kill.
"""

from __future__ import annotations

import ctypes
import errno
import json
import os
import sys
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any

import dask.array as da
import dask.callbacks
import dask.optimization
import dask.threaded
import numpy as np
import xarray as xr
from numpy.typing import NDArray

from nirgeo import cog, handles, provenance
from nirgeo._version import __version__
from nirgeo.blockstore import BlockStore
from nirgeo.errors import EmptySceneError, GridError, OptionError, TargetError
from nirgeo.georeference import grid_of
from nirgeo.inference import intra_op_threads
from nirgeo.journal import Journal
from nirgeo.layers import facts_of
from nirgeo.scene import VALID, digest
from nirgeo.target import Target
from nirgeo.tiling import TILE, ChunkGrid

Progress = Callable[[int, int], None]
"""Called with (chunks done, chunks in all)."""


def write_geotiff(
    rgb: xr.DataArray,
    path: str | os.PathLike[str],
    *,
    overwrite: bool = False,
    resume: bool = False,
    creation_options: Mapping[str, str] | None = None,
    workers: int | None = None,
    on_start: Progress | None = None,
    on_progress: Progress | None = None,
) -> Path:
    """Compute ``rgb`` chunk by chunk and write it as a Cloud Optimized GeoTIFF.

    Nothing ever stands under the final name but the finished file. A run that is killed leaves its
    finished chunks, and ``resume`` continues from them to identical bytes; a run that is
    interrupted (Ctrl-C) or fails removes them, unless ``resume`` was given.

    Parameters
    ----------
    rgb : (band, y, x), uint8 or float32, as :func:`nirgeo.colorize` makes it
    path : the output; local, or one of GDAL's ``/vsi…`` file systems
    overwrite : replace an existing file
    resume : continue an interrupted run if there is one
    creation_options : options of GDAL's COG driver
    workers : threads that compute chunks; all cores by default
    on_start, on_progress : called with (chunks done, chunks in all)

    Raises
    ------
    TargetExistsError, TargetLockedError, TargetError, ResumeError, OptionError, EmptySceneError
    """
    if workers is not None and workers < 1:
        raise OptionError(f"--workers {workers}: need at least one")
    data, valid, grid = _blocks(rgb)
    options = cog.check_creation_options(creation_options or {}, str(data.dtype))
    target = Target(path, overwrite=overwrite, resume=resume)
    identity = _identity(rgb, data) | {"creation_options": options}
    work = digest(identity)
    with target.guarded() as folder, handles.bounded_cache():
        journal = Journal(folder / "journal.jsonl")
        store = BlockStore(folder / "blocks.tif", grid, data.shape[0] + 1, data.dtype)
        try:
            if target.holds(work):
                if on_start is not None:
                    on_start(len(grid), len(grid))
                return Path(path)
            finished = journal.resume(identity) if resume else None
            if finished is not None and not store.open():
                finished = None
            if finished is None:
                journal.close()
                target.clear()
                store.create()
                journal.create(identity)
                finished = {}
            chunks = [(i, j) for i, j, _ in grid.windows()]
            finished = {chunk: finished[chunk] for chunk in chunks if chunk in finished}
            todo = [chunk for chunk in chunks if chunk not in finished]
            if on_start is not None:
                on_start(len(grid) - len(todo), len(grid))
            counts = _compute(data, valid, todo, store, journal, workers, len(grid), on_progress)
            if sum(finished.values()) + counts == 0:
                raise EmptySceneError(
                    "every pixel of the scene is nodata; if that is wrong, give --nodata VALUE"
                )
            store.close()
            _give_memory_back()
            result = folder / "result.tif"
            cog.write_cog(store.path, store.tile, _picture(rgb, data), result, options)
            target.publish(result, work)
            journal.close()
            target.clear()
        except OSError as error:
            if error.errno is None:  # one of nirgeo's own, which says what to do
                raise
            raise _disk_error(error, target) from error
        finally:
            store.close()
            journal.close()
            if not resume:
                target.clear()
    return Path(path)


def _give_memory_back() -> None:
    """Return what the chunks' arrays left in the heap, before GDAL needs memory of its own.

    glibc keeps freed blocks for later; here there is no later.
    """
    if sys.platform == "linux":
        with suppress(OSError, AttributeError):  # another C library
            ctypes.CDLL(None).malloc_trim(0)


def _disk_error(error: OSError, target: Target) -> TargetError:
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return TargetError(
            f"no space left for {target.name}; free some, or choose another place with -o"
        )
    return TargetError(f"{target.name} can't be written ({error})")


def _blocks(rgb: xr.DataArray) -> tuple[da.Array, da.Array | None, ChunkGrid]:
    """The array as dask blocks on a chunk grid, and its mask on the same grid."""
    if rgb.dims != ("band", "y", "x") or rgb.dtype not in (np.uint8, np.float32):
        raise GridError(
            "need dimensions ('band', 'y', 'x') of uint8 or float32, got "
            f"{tuple(rgb.dims)} of {rgb.dtype}"
        )
    data = rgb.data if isinstance(rgb.data, da.Array) else da.from_array(rgb.values)
    rows, cols = data.chunks[1], data.chunks[2]
    step = max(rows[0], cols[0])
    regular = (
        step % TILE == 0
        and ChunkGrid(data.shape[1], data.shape[2], step // TILE).row_sizes == rows
        and ChunkGrid(data.shape[1], data.shape[2], step // TILE).col_sizes == cols
    )
    if not regular:
        single = len(rows) == len(cols) == 1
        step = -(-step // TILE) * TILE if single and step <= 16 * TILE else 16 * TILE
        data = data.rechunk({0: -1, 1: step, 2: step})
    grid = ChunkGrid(data.shape[1], data.shape[2], step // TILE)
    valid = None
    if VALID in rgb.coords and rgb.coords[VALID].dims == ("y", "x"):
        valid = da.asarray(rgb.coords[VALID].data).rechunk((grid.row_sizes, grid.col_sizes))
    return data.rechunk({0: -1}), valid, grid


def _identity(rgb: xr.DataArray, data: da.Array) -> dict[str, Any]:
    """What a run must share with an interrupted one to continue from it."""
    facts = facts_of(rgb.data)
    known = dict(facts) if isinstance(facts, dict) else {"array": data.name}
    # Another version may make other pixels, and half a picture of each would be neither's.
    known |= {"software": f"nirgeo {__version__}, torch {version('torch')}"}
    return json.loads(json.dumps(known | {"pixels": [str(data.dtype), *data.shape]}))


def _store_block(
    store: BlockStore,
    journal: Journal,
    i: int,
    j: int,
    colours: NDArray[Any],
    valid: NDArray[np.bool_] | None = None,
) -> int:
    """Put one finished chunk on disk, then into the journal; returns its number of valid pixels."""
    if valid is None:
        finite = np.isfinite(colours).all(axis=0) if colours.dtype.kind == "f" else None
        valid = np.ones(colours.shape[1:], dtype=np.bool_) if finite is None else finite
    mask = np.where(valid, 255, 0).astype(colours.dtype)
    store.write(i, j, np.concatenate((colours, mask[None])))
    count = int(valid.sum())
    journal.done(i, j, count)
    return count


def _compute(
    data: da.Array,
    valid: da.Array | None,
    todo: list[tuple[int, int]],
    store: BlockStore,
    journal: Journal,
    workers: int | None,
    total: int,
    on_progress: Progress | None,
) -> int:
    """Run every chunk in ``todo`` through dask; returns the number of valid pixels written."""
    if not todo:
        return 0
    graph: dict[Any, Any] = {}
    graph.update(data.dask)
    if valid is not None:
        graph.update(valid.dask)
    done = total - len(todo)

    def report(key: Any, result: Any, *_: Any) -> None:
        nonlocal done
        if isinstance(key, tuple) and key[0] == "nirgeo-store":
            done += 1
            if on_progress is not None:
                on_progress(done, total)

    keys = []
    for i, j in todo:
        key = ("nirgeo-store", i, j)
        blocks = [(data.name, 0, i, j)] + ([(valid.name, i, j)] if valid is not None else [])
        graph[key] = (partial(_store_block, store, journal, i, j), *blocks)
        keys.append(key)
    graph, _ = dask.optimization.cull(graph, keys)
    cores = os.cpu_count() or 1
    count = min(workers or cores, len(todo))
    # Workers times threads per operation fill the cores; more workers than threads, since one
    # worker then reads while another computes.
    threads = max(1, cores // count)
    pool = ThreadPoolExecutor(
        count,
        thread_name_prefix="nirgeo",
        initializer=handles.adopt,
        initargs=(handles.settings_here(),),
    )
    try:
        with intra_op_threads(threads), dask.callbacks.Callback(posttask=report):
            results = dask.threaded.get(graph, keys, pool=pool, num_workers=count)
    finally:
        pool.shutdown(wait=True, cancel_futures=True)
    return int(sum(results))


def _picture(rgb: xr.DataArray, data: da.Array) -> cog.Picture:
    return cog.Picture(
        grid=grid_of(rgb),
        bands=_band_names(rgb),
        dtype=str(data.dtype),
        tags=provenance.tags(rgb.attrs),
    )


def _band_names(rgb: xr.DataArray) -> tuple[str, ...]:
    if "band" in rgb.coords:
        return tuple(str(b) for b in rgb["band"].values)
    return ("red", "green", "blue")[: rgb.sizes["band"]]
