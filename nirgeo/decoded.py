"""Blocks of a file that one thread has decoded, for all threads of a run.

GDAL's block cache belongs to an open file, and each thread has its own. Chunks that lie side by
side need the same blocks, and are colorized by different threads: without this each of them would
decode nearly all of the file. Here a block is decoded by the first thread that needs it, while the
others wait for it or do something else, and is kept until newer ones need the room.

That holds for local files whose blocks are their own, on the scene's grid, during :func:`sharing`.
Elsewhere GDAL's cache has to do: many blocks of a remote file are fetched in one request, a VRT
has other files' blocks, and a resampled band has none.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nirgeo import gdal_settings, handles
from nirgeo.tiling import Window, cells

_OF_CACHE, _LEFT_TO_GDAL = 0.5, 0.25
"""Parts of GDAL's cache: what blocks here take, and what stays GDAL's. The rest is for the blocks
that are being decoded."""

_TILE_SIDE, _STRIP_ROWS = 256, 64
"""Pixels along a unit at least: small blocks are decoded several at a time."""

_UNITS = 8
"""How many units must fit at least; larger ones are not worth sharing."""


@dataclass(frozen=True)
class Pixels:
    """Values (bands, h, w), and where all bands are valid (h, w), if that is not everywhere."""

    values: NDArray[Any]
    valid: NDArray[np.bool_] | None = None

    @property
    def nbytes(self) -> int:
        return self.values.nbytes + (0 if self.valid is None else self.valid.nbytes)


class SharedBlocks:
    """What was decoded last, at most ``limit`` bytes of it. Safe to call from several threads."""

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.decoded = 0
        """How often something was decoded."""
        self._lock = threading.Lock()
        self._known: OrderedDict[Hashable, Future[Pixels]] = OrderedDict()
        self._bytes = 0

    def get(self, key: Hashable, decode: Callable[[], Pixels]) -> Pixels:
        """What ``decode`` returns, or has returned for this key to whoever asked first.

        Raises
        ------
        Whatever ``decode`` raises. Others who waited for it try for themselves.
        """
        mine: Future[Pixels] = Future()
        with self._lock:
            future = self._known.setdefault(key, mine)
            self._known.move_to_end(key)
        if future is not mine:
            return future.result() if future.exception() is None else decode()
        try:
            pixels = decode()
        except BaseException as error:
            with self._lock:
                del self._known[key]
            mine.set_exception(error)
            raise
        with self._lock:
            mine.set_result(pixels)
            self.decoded += 1
            self._bytes += pixels.nbytes
            if self._bytes > self.limit:
                self._make_room()
        return pixels

    def _make_room(self) -> None:
        while self._bytes > self.limit:
            key, future = next(iter(self._known.items()))
            if not future.done():  # somebody is at it, and will need it in a moment
                self._known.move_to_end(key)
                continue
            del self._known[key]
            self._bytes -= future.result().nbytes


def read_window(
    file: Hashable,
    opened: Any,
    indexes: list[int],
    window: Window,
    decode: Callable[[Window], Pixels],
) -> Pixels:
    """Pixels of a window, put together from shared blocks where that pays.

    Call it while :func:`is_shared`.

    Parameters
    ----------
    file : what tells this file, as it is now, and what is read of it from every other
    opened : rasterio's dataset, ``indexes`` its bands (from 1), which have one data type
    decode : reads a window of these bands
    """
    raster = (opened.height, opened.width)
    rows, cols = unit_shape(opened.block_shapes[indexes[0] - 1], raster)
    parts = list(cells(window, rows, cols))
    dtype = np.dtype(handles.types(opened)[indexes[0] - 1])
    pixel_bytes = len(indexes) * dtype.itemsize
    if max(len(parts), _UNITS) * rows * cols * pixel_bytes > _sharing.limit:
        return decode(window)  # what this window needs would push itself out
    blocks = _sharing.take()
    values = np.empty((len(indexes), window.height, window.width), dtype=dtype)
    valid: NDArray[np.bool_] | None = None
    for (row, col), here, there in parts:
        part = Window(row, col, min(rows, raster[0] - row), min(cols, raster[1] - col))
        known = blocks.get((file, row, col), partial(decode, part))
        values[(slice(None), *here)] = known.values[(slice(None), *there)]
        if known.valid is not None:
            if valid is None:
                valid = np.ones((window.height, window.width), dtype=np.bool_)
            valid[here] = known.valid[there]
    return Pixels(values, valid)


def unit_shape(block: tuple[int, int], raster: tuple[int, int]) -> tuple[int, int]:
    """(rows, columns) that are decoded at a time: whole blocks, if small ones several."""
    striped = block[1] >= raster[1]
    least = (_STRIP_ROWS if striped else _TILE_SIDE, _TILE_SIDE)
    rows, cols = (side * -(-wanted // side) for side, wanted in zip(block, least, strict=True))
    return min(rows, raster[0]), min(cols, raster[1])


def cache_for_strips(
    window: int, block: tuple[int, int], raster: tuple[int, int], row_bytes: int
) -> int:
    """Bytes that GDAL's cache has to have, for a row of windows of a striped file to be shared.

    Parameters
    ----------
    window : rows of such a window
    block, raster : shapes of the file's blocks and of its raster
    row_bytes : of one row of all bands that are read
    """
    rows, _ = unit_shape(block, raster)
    units = max(-(-window // rows) + 1, _UNITS)
    # With room for some more, since threads do not all read the same rows.
    return int(1.25 * units * rows * row_bytes / _OF_CACHE)


class _Sharing:
    """The blocks of the runs that are going on."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.users = 0
        self.limit = 0
        self.blocks: SharedBlocks | None = None

    def take(self) -> SharedBlocks:
        """The blocks; GDAL's cache makes room for the first."""
        with self.lock:
            if self.blocks is None:
                self.blocks = SharedBlocks(self.limit)
                gdal_settings.leave_to_gdal(_LEFT_TO_GDAL)
            return self.blocks

    def end(self) -> None:
        if self.blocks is not None:
            gdal_settings.leave_to_gdal(1)
            self.blocks = None


_sharing = _Sharing()


@contextmanager
def sharing() -> Iterator[None]:
    """Share decoded blocks between the threads of this process, and forget them in the end.

    Memory stays what it was: from the first block on GDAL's block cache is smaller by what is kept
    here, unless the user has set its size.
    """
    with _sharing.lock:
        if _sharing.users == 0:
            _sharing.limit = int(gdal_settings.cache_bytes() * _OF_CACHE)
        _sharing.users += 1
    try:
        yield
    finally:
        with _sharing.lock:
            _sharing.users -= 1
            if _sharing.users == 0:
                _sharing.end()


def is_shared() -> bool:
    """Whether blocks are shared now."""
    return _sharing.users > 0


def shared() -> SharedBlocks | None:
    """The blocks that are shared; None before the first."""
    return _sharing.blocks
