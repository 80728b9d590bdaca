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
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import asdict
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import dask.array as da
import dask.callbacks
import dask.optimization
import dask.threaded
import numpy as np
import xarray as xr

from nirgeo import (
    array_blocks,
    cluster,
    cog,
    decoded,
    gdal_settings,
    handles,
    nearby,
    pieces,
    provenance,
)
from nirgeo._version import __version__
from nirgeo.blockstore import MAX_TIFF_TILE_TILES, BlockStore, TiledFile
from nirgeo.cog_source import Picture
from nirgeo.cores import cores
from nirgeo.creation_options import check_creation_options, cog_options
from nirgeo.cube import with_axes
from nirgeo.digest import digest
from nirgeo.errors import (
    ClusterError,
    EmptySceneError,
    GridError,
    ServerError,
    TargetError,
    TargetExistsError,
)
from nirgeo.georeference import grid_of
from nirgeo.given import check_workers
from nirgeo.journal import Finished, Journal
from nirgeo.keeping import Keeper
from nirgeo.layers import facts_of, keys_of, refuse_unknown_chunks
from nirgeo.overviews import Overviews, overviews_for
from nirgeo.own_torch import intra_op_threads
from nirgeo.processes import Processes
from nirgeo.scene_attributes import VALID
from nirgeo.strips_ahead import StripsAhead
from nirgeo.target import Target
from nirgeo.tiling import DEFAULT_CHUNK_TILES, TILE, ChunkGrid, Window, joined

if TYPE_CHECKING:
    from distributed import Client

Progress = Callable[[int, int], None]
"""Called with (chunks done, chunks in all)."""

KeepChunk = Callable[..., None]
"""Called with row and column of a chunk, its colours, and its mask if it has one."""

GPU_WORKERS = 8
"""Threads that read and write around a GPU. On 16 cores, 16 of them were slower: in so many numpy
calls they wait for Python's lock more than they gain."""


def write_geotiff(
    rgb: xr.DataArray,
    path: str | os.PathLike[str] | Target,
    *,
    overwrite: bool = False,
    resume: bool = False,
    creation_options: Mapping[str, str] | None = None,
    workers: int | None = None,
    scheduler: str | Client | Processes | None = None,
    on_start: Progress | None = None,
    on_progress: Progress | None = None,
    on_writing: Progress | None = None,
) -> Path:
    """Compute ``rgb`` chunk by chunk and write it as a Cloud Optimized GeoTIFF.

    Nothing ever stands under the final name but the finished file. A run that is killed leaves its
    finished chunks, and ``resume`` continues from them to identical bytes; a run that is
    interrupted (Ctrl-C) or fails removes them, unless ``resume`` was given, a cluster was lost, the
    scene's server did not answer, or all were finished and only the file could not be made.

    Parameters
    ----------
    rgb : (band, y, x), uint8 or float32, as :func:`nirgeo.colorize` makes it
    path : the output; local, or one of GDAL's ``/vsi…`` file systems. A ``Target`` has its own
        ``overwrite`` and ``resume``
    overwrite : replace an existing file
    resume : continue an interrupted run if there is one
    creation_options : options of GDAL's COG driver
    workers : threads that compute chunks, and then encode the file; all cores by default, of which
        8 compute chunks around a GPU
    scheduler : a ``dask.distributed`` client, a scheduler's address or file: its workers compute,
        this process writes. ``"processes"`` are as many on this machine as there are ``workers``;
        ``"threads"`` is this process alone. None is the active client if there is one
    on_start, on_progress : called with (chunks done, chunks in all)
    on_writing : called with (percent, 100) while the file is made of them, about once a second, if
        that takes longer than a second

    Raises
    ------
    TargetExistsError, TargetLockedError, TargetError, ResumeError, OptionError, EmptySceneError
    GridError : what is given is no picture
    ClusterError : the scheduler is gone, or can't do the work
    """
    check_workers(workers)
    if not isinstance(rgb, xr.DataArray):
        raise GridError(f"a {type(rgb).__name__} is no picture; give the DataArray of colorize")
    rgb, _ = with_axes(rgb)
    data, valid, grid = _blocks(rgb)
    options = check_creation_options(creation_options or {}, str(data.dtype), len(data))
    target = path if isinstance(path, Target) else Target(path, overwrite=overwrite, resume=resume)
    identity = _identity(rgb, data, valid) | {"creation_options": options}
    picture = _picture(rgb, data)
    work = digest(identity | {"picture": asdict(picture)})  # all that the file holds
    keep = target.resume
    on_gpu = identity.get("device", "cpu") != "cpu"
    computing = workers or (GPU_WORKERS if on_gpu else None)
    with (
        cluster.connected(scheduler, computing) as others,
        target.guarded() as folder,
        gdal_settings.bounded_cache(),
    ):
        journal = Journal(folder / "journal.jsonl")
        samples = data.shape[0] + 1
        store = BlockStore(folder / BlockStore.NAME, grid, samples, data.dtype)
        overviews = overviews_for(folder, grid, samples, data.dtype, options)
        ahead: StripsAhead | None = None
        try:
            if target.holds(work):
                if on_start is not None:
                    on_start(len(grid), len(grid))
                keep = True
                return Path(target.name)
            finished = journal.resume(identity) if target.resume else None
            if finished is not None and not store.open():
                finished = None
            if finished is None:
                journal.close()
                target.clear()
                store.create()
                journal.create(identity)
                finished = {}
            if overviews is not None:
                overviews.create()
            keeper = Keeper(store, journal, overviews)
            if others is None and not on_gpu:  # fewer threads compute there than can encode
                ahead = _strips_ahead(rgb, store, picture, options, overviews)
            chunks = _in_order(data, grid)
            finished = {
                chunk: finished[chunk]
                for chunk in chunks
                if chunk in finished and keeper.recover(finished[chunk])
            }
            todo = [chunk for chunk in chunks if chunk not in finished]
            if ahead is not None:
                for chunk, kept in finished.items():
                    ahead.kept(*chunk, kept.valid, encode=False)
            if on_start is not None:
                on_start(len(finished), len(grid))
            report = _reporter(keeper, len(finished), len(grid), on_progress)
            there = None if others is None else nearby.offer(folder, store, overviews).keep
            with keeper:
                keep_chunk = _keeping(keeper, ahead, len(todo) - 2 * (workers or cores()))
                _compute(
                    data, valid, todo, keep_chunk, keeper.written, computing, report,
                    others, there, on_gpu=on_gpu,
                )  # fmt: skip
            report()
            counts = {chunk: kept.valid for chunk, kept in finished.items()} | keeper.valid
            if missing := len(grid) - len(counts):  # of workers that say more than they do
                raise ClusterError(
                    f"{missing} of {len(grid)} chunks are missing; run again with --resume"
                )
            if not any(counts.values()):
                raise EmptySceneError(_why_empty(rgb))
            result = folder / "result.tif"
            areas = _filled(rgb, grid, counts)
            share = _each_second(on_writing)
            here = others is None or isinstance(others, Processes)
            threads = workers if here else None  # a cluster's are elsewhere
            try:
                levels = _closed(store, overviews)
                _give_memory_back()
                made = () if ahead is None else ahead.made
                cog.write_cog(store, picture, result, options, areas, levels, share, threads, made)
                target.publish(result, work)
            except BrokenPipeError:
                raise
            except OSError as error:
                keep = True  # all of it is computed
                with suppress(OSError):
                    result.unlink()
                raise _kept_error(error, target, folder) from error
            journal.close()
            target.settle()
            keep = True
        except ClusterError:
            # Nobody asked for the end, and it may have been a day's work of many.
            keep = keep or journal.has_chunks
            raise
        except ServerError as error:  # nor here; and a server comes back
            if journal.has_chunks:
                keep = True
                error.args = (f"{error}. What is computed is kept; run again with --resume",)
            raise
        except BrokenPipeError:  # whoever is told of it has gone, and there is nobody to tell
            raise
        except OSError as error:
            if error.errno is None:  # one of nirgeo's own, which says what to do
                raise
            raise _disk_error(error, target) from error
        finally:
            if ahead is not None:
                ahead.remove()
            store.close()
            if overviews is not None:
                overviews.close()
            journal.close()
            if not keep:
                target.clear()
            handles.close_all()  # what the scene was looked at with: Windows deletes no open file
    return Path(target.name)


def _strips_ahead(
    rgb: xr.DataArray,
    store: BlockStore,
    picture: Picture,
    options: Mapping[str, str],
    overviews: Overviews | None,
) -> StripsAhead | None:
    """What encodes strips of the result between chunks; None where it is not made of strips."""
    levels = () if overviews is None else overviews.levels
    if not cog.goes_in_strips(store, options, levels):
        return None
    everywhere = not _empty_is_zero(rgb)
    return StripsAhead(store, picture, cog_options(options), everywhere=everywhere)


def _keeping(keeper: Keeper, ahead: StripsAhead | None, until: int) -> KeepChunk:
    """Keep a chunk, and encode the strip that it was the last one of.

    Not after ``until`` chunks: a worker would still encode when the others have no more to do. What
    is left then is encoded on all cores.
    """
    if ahead is None:
        return keeper.put

    def keep(i: int, j: int, *block: Any) -> None:
        keeper.put(i, j, *block)
        ahead.kept(i, j, keeper.valid[i, j], encode=len(keeper.valid) <= until)

    return keep


def _why_empty(rgb: xr.DataArray) -> str:
    limit = rgb.attrs.get(f"{provenance.ATTR_PREFIX}max_error")
    if limit is not None:
        return f"no pixel is expected to be within {limit} of its colour; raise --max-error"
    return "every pixel of the scene is nodata; if that is wrong, give --nodata VALUE"


def _filled(
    rgb: xr.DataArray, grid: ChunkGrid, counts: Mapping[tuple[int, int], int]
) -> list[Window] | None:
    """Where chunks have valid pixels, if that is not everywhere; the rest is 0, and not read again.

    None for reflectance, where nothing is NaN, and for pictures with another mask than their own,
    which may have colours under it.
    """
    if not _empty_is_zero(rgb) or all(counts.values()):
        return None
    return joined(grid.window(*chunk) for chunk in sorted(counts) if counts[chunk])


def _empty_is_zero(rgb: xr.DataArray) -> bool:
    """Whether a chunk without a valid pixel holds nothing but zeros."""
    return rgb.dtype == np.uint8 and _own_mask(rgb)


def _closed(store: BlockStore, overviews: Overviews | None) -> Sequence[TiledFile]:
    """The overviews, if they were made chunk by chunk; they and the store are whole, and closed."""
    store.close()
    if overviews is None:
        return ()
    overviews.finish()
    for level in overviews.levels:
        level.close()
    return overviews.levels


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


def _kept_error(error: OSError, target: Target, folder: Path) -> OSError:
    """What to raise where all chunks are there, and no file could be made of them."""
    told = error if error.errno is None else _disk_error(error, target)
    if not folder.is_dir():
        return type(told)(f"{told}. Its folder is gone, and with it what was computed")
    again = "--resume"
    if isinstance(told, TargetExistsError):
        again += " --overwrite, or with --resume once the file is away"
    return type(told)(
        f"{told}. What is computed is kept in {folder}: run again with {again}, or remove it"
    )


def _blocks(rgb: xr.DataArray) -> tuple[da.Array, da.Array | None, ChunkGrid]:
    """The array as dask blocks on a chunk grid, and its mask on the same grid."""
    if rgb.dims != ("band", "y", "x") or rgb.dtype not in (np.uint8, np.float32):
        raise GridError(
            "need dimensions ('band', 'y', 'x') of uint8 or float32, got "
            f"{tuple(rgb.dims)} of {rgb.dtype}"
        )
    data = rgb.data if isinstance(rgb.data, da.Array) else da.from_array(rgb.values)
    refuse_unknown_chunks(data)
    rows, cols = data.chunks[1], data.chunks[2]
    step = max(rows[0], cols[0])
    regular = (
        step % TILE == 0
        and ChunkGrid(data.shape[1], data.shape[2], step // TILE).row_sizes == rows
        and ChunkGrid(data.shape[1], data.shape[2], step // TILE).col_sizes == cols
    )
    if not regular:
        single = len(rows) == len(cols) == 1
        alone = single and step <= MAX_TIFF_TILE_TILES * TILE  # then it is one tile of the store
        step = -(-step // TILE) * TILE if alone else DEFAULT_CHUNK_TILES * TILE
        data = data.rechunk({0: -1, 1: step, 2: step})
    elif step < array_blocks.WIDE_ENOUGH and _in_groups(rgb):
        step *= -(-array_blocks.WIDE_ENOUGH // step)  # what is computed together is kept together
        data = data.rechunk({1: step, 2: step})
    grid = ChunkGrid(data.shape[1], data.shape[2], step // TILE)
    valid = None
    if VALID in rgb.coords:
        valid = array_blocks.mask_of(rgb).rechunk((grid.row_sizes, grid.col_sizes))
    data = data.rechunk({0: -1})
    filler = rgb.rio.nodata
    if facts_of(rgb.data) is None and filler is not None and not np.isnan(filler):
        # Others have put it there, such as rioxarray's reproject beyond the picture's edge.
        known = (data != data.dtype.type(filler)).any(axis=0)
        valid = known if valid is None else valid & known
    if facts_of(rgb.data) is None and data.dtype.kind == "f":
        finite = da.isfinite(data).all(axis=0)
        valid = finite if valid is None else valid & finite
    return data, valid, grid


def _in_groups(rgb: xr.DataArray) -> bool:
    """Whether small chunks are computed together, as those of arrays are."""
    facts = facts_of(rgb.data)
    return isinstance(facts, dict) and "array" in facts


def _in_order(data: da.Array, grid: ChunkGrid) -> list[tuple[int, int]]:
    """The chunks of the grid in the order in which they are computed."""
    keys = keys_of(data)
    return [(i, j) for i, j, _ in grid.windows()] if keys is None else [key[2:] for key in keys]


def _own_mask(rgb: xr.DataArray) -> bool:
    """Whether the picture's mask is the one that was made with it, by the same tasks."""
    facts = facts_of(rgb.data)
    return facts is not None and VALID in rgb.coords and facts_of(rgb[VALID].data) == facts


def _identity(rgb: xr.DataArray, data: da.Array, valid: da.Array | None) -> dict[str, Any]:
    """What a run must share with an interrupted one to continue from its chunks."""
    facts = facts_of(rgb.data)
    known = dict(facts) if isinstance(facts, dict) else {"array": data.name}
    if valid is not None and not _own_mask(rgb):
        known["mask"] = valid.name
    # Another version may make other pixels, and half a picture of each would be neither's.
    known |= {"software": f"nirgeo {__version__}, torch {version('torch')}"}
    return json.loads(json.dumps(known | {"pixels": [str(data.dtype), *data.shape]}))


def _reporter(
    keeper: Keeper, before: int, total: int, on_progress: Progress | None
) -> Callable[[], None]:
    """Tells of every chunk that has become safe since it was called last."""
    told = 0

    def report() -> None:
        nonlocal told
        while told < keeper.kept:
            told += 1
            if on_progress is not None:
                on_progress(before + told, total)

    return report


def _compute(
    data: da.Array,
    valid: da.Array | None,
    todo: list[tuple[int, int]],
    keep: KeepChunk,
    written: Callable[[Finished], None],
    workers: int | None,
    report: Callable[[], None],
    others: Client | Processes | None,
    there: Callable[..., Any] | None,
    *,
    on_gpu: bool,
) -> None:
    """Compute every chunk in ``todo`` and keep it; ``report`` is called after each.

    ``written`` takes those that somebody else has kept, ``there``.
    """
    if not todo:
        return
    graph: dict[Any, Any] = {}
    graph.update(data.dask)
    if valid is not None:
        graph.update(valid.dask)
    blocks = {
        (i, j): [(data.name, 0, i, j)] + ([(valid.name, i, j)] if valid is not None else [])
        for i, j in todo
    }
    if isinstance(others, Processes):
        own = None if pieces.has_futures(graph) else pieces.cut(graph, blocks)
        if own is not None and there is not None:
            others.compute(own, blocks, there, written, report)
            return
        others = None  # they need each other's blocks, or what lies on a cluster
    if others is None:
        _in_threads(pieces.fetched(graph), blocks, keep, workers, report)
        return
    cluster.compute(others, graph, blocks, keep, report, on_gpu=on_gpu, there=there, done=written)


def _in_threads(
    graph: dict[Any, Any],
    blocks: Mapping[tuple[int, int], list[Any]],
    keep: KeepChunk,
    workers: int | None,
    report: Callable[[], None],
) -> None:
    """Dask's threads in this process; each keeps the chunks it has computed."""

    def after_task(key: Any, *_: Any) -> None:
        if isinstance(key, tuple) and key[0] == "nirgeo-store":
            report()

    keys = [("nirgeo-store", i, j) for i, j in blocks]
    own = pieces.cut(graph, blocks)
    if own is not None:
        # Dask has an order of its own for tasks that need nothing of each other, by the text of
        # their keys; so which chunk a task computes is decided when it starts.
        waiting = deque(blocks)

        def compute_and_keep() -> None:
            chunk = waiting.popleft()
            keep(*chunk, *pieces.run(own.pop(chunk), blocks[chunk]))

        graph = dict.fromkeys(keys, (compute_and_keep,))
    else:
        for key in keys:
            graph[key] = (partial(keep, *key[1:]), *blocks[key[1:]])
        graph, _ = dask.optimization.cull(graph, keys)
    available = cores()
    count = min(workers or available, len(keys))
    # Workers times threads per operation fill the cores; more workers than threads, since one
    # worker then reads while another computes.
    threads = max(1, available // count)
    if cluster.in_a_task():  # other workers of this machine have scenes of their own
        import torch

        threads = min(threads, torch.get_num_threads())
    pool = ThreadPoolExecutor(
        count,
        thread_name_prefix="nirgeo",
        initializer=gdal_settings.adopt,
        initargs=(gdal_settings.settings_here(),),
    )
    # Handed over, not entered: dask keeps entered ones in one set for all threads, and whichever
    # run of this process starts next would take it.
    callbacks = [(None, None, None, after_task, None), *dask.callbacks.Callback.active]
    with decoded.sharing():
        try:
            with intra_op_threads(threads):
                dask.threaded.get(graph, keys, pool=pool, num_workers=count, callbacks=callbacks)
        finally:
            pool.shutdown(wait=True, cancel_futures=True)


def _each_second(on_writing: Progress | None) -> Callable[[float], None]:
    """Passes a share on as per cent, a second after the last time."""
    told = time.monotonic()

    def share(done: float) -> None:
        nonlocal told
        if on_writing is not None and time.monotonic() - told >= 1:
            told = time.monotonic()
            on_writing(int(100 * done), 100)

    return share


def _picture(rgb: xr.DataArray, data: da.Array) -> Picture:
    return Picture(
        grid=grid_of(rgb),
        bands=_band_names(rgb),
        dtype=str(data.dtype),
        tags=provenance.tags(rgb.attrs),
    )


def _band_names(rgb: xr.DataArray) -> tuple[str, ...]:
    if "band" in rgb.coords:
        return tuple(str(b) for b in rgb["band"].values)
    return ("red", "green", "blue")[: rgb.sizes["band"]]
