"""Blocks of a file that one thread has decoded, for all threads of a run.

GDAL's block cache belongs to an open file, and each thread has its own. Chunks that lie side by
side need the same blocks, and are colorized by different threads: without this each of them would
decode nearly all of the file. Here a block is decoded by the first thread that needs it, while the
others wait for it or do something else, and is kept until newer ones need the room.

That holds for local files on the scene's own grid, during :func:`sharing`. Elsewhere GDAL's own
cache has to do: many blocks of a remote file are fetched in one request, and a resampled band has
no blocks of its own.
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
from rasterio.env import get_gdal_config, set_gdal_config

from nirgeo.handles import cache_is_users
from nirgeo.tiling import Window

LIMIT = 48 * 2**20
"""Bytes of decoded blocks at most."""

_SHARE = 0.75
"""Of GDAL's block cache, what blocks kept here take: it has little else to hold then."""

_TILE_SIDE, _STRIP_ROWS = 256, 64
"""Pixels along a unit at least: small blocks are decoded several at a time."""


@dataclass(frozen=True)
class Pixels:
    """Values of one band, and where they are valid, if that is not everywhere; both (h, w)."""

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
        Whatever ``decode`` raises, to all who wait for it; whoever asks later tries again.
        """
        with self._lock:
            future = self._known.get(key)
            mine = future is None
            if future is None:
                future = self._known[key] = Future()
            else:
                self._known.move_to_end(key)
        if not mine:
            return future.result()
        try:
            pixels = decode()
        except BaseException as error:
            with self._lock:
                del self._known[key]
            future.set_exception(error)
            raise
        with self._lock:
            future.set_result(pixels)
            self.decoded += 1
            self._bytes += pixels.nbytes
            self._make_room()
        return pixels

    def _make_room(self) -> None:
        for key, future in list(self._known.items()):
            if self._bytes <= self.limit:
                return
            if future.done():
                del self._known[key]
                self._bytes -= future.result().nbytes


def read_window(
    blocks: SharedBlocks,
    file: Hashable,
    opened: Any,
    index: int,
    window: Window,
    decode: Callable[[Window], Pixels],
) -> Pixels:
    """Pixels of a window, put together from shared blocks.

    Parameters
    ----------
    file : what tells this file, as it is now, and what is read of it from every other
    opened : rasterio's dataset, ``index`` its band (from 1)
    decode : reads a window of that band
    """
    height, width = opened.height, opened.width
    rows, cols = unit_shape(opened.block_shapes[index - 1], (height, width))
    parts = [
        Window(top, left, min(rows, height - top), min(cols, width - left))
        for top in range(window.row - window.row % rows, window.row_stop, rows)
        for left in range(window.col - window.col % cols, window.col_stop, cols)
    ]
    pixel_bytes = np.dtype(opened.dtypes[index - 1]).itemsize + 1
    if sum(part.height * part.width for part in parts) * pixel_bytes > blocks.limit:
        return decode(window)  # long rows: what this window needs would push itself out
    values: NDArray[Any] | None = None
    valid: NDArray[np.bool_] | None = None
    for part in parts:
        known = blocks.get((file, index, part.row, part.col), partial(decode, part))
        here, there = _common(window, part)
        if values is None:
            values = np.empty((window.height, window.width), dtype=known.values.dtype)
        values[here] = known.values[there]
        if known.valid is not None:
            if valid is None:
                valid = np.ones((window.height, window.width), dtype=np.bool_)
            valid[here] = known.valid[there]
    assert values is not None  # a window has pixels
    return Pixels(values, valid)


def unit_shape(block: tuple[int, int], raster: tuple[int, int]) -> tuple[int, int]:
    """(rows, columns) that are decoded at a time: whole blocks, if small ones several."""
    striped = block[1] >= raster[1]
    least = (_STRIP_ROWS if striped else _TILE_SIDE, _TILE_SIDE)
    rows, cols = (side * -(-wanted // side) for side, wanted in zip(block, least, strict=True))
    return min(rows, raster[0]), min(cols, raster[1])


def _common(window: Window, part: Window) -> tuple[tuple[slice, slice], tuple[slice, slice]]:
    """What two windows share, in the pixels of either."""
    top, stop = max(window.row, part.row), min(window.row_stop, part.row_stop)
    left, end = max(window.col, part.col), min(window.col_stop, part.col_stop)
    return (
        (slice(top - window.row, stop - window.row), slice(left - window.col, end - window.col)),
        (slice(top - part.row, stop - part.row), slice(left - part.col, end - part.col)),
    )


class _Sharing:
    """The blocks of the runs that are going on, and the size of GDAL's cache before them."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.users = 0
        self.blocks: SharedBlocks | None = None
        self.cache_before: int | None = None


_sharing = _Sharing()


@contextmanager
def sharing() -> Iterator[None]:
    """Share decoded blocks between the threads of this process, and forget them in the end.

    Memory stays what it was: from the first block on GDAL's block cache is smaller by what is kept
    here, unless the user has set its size.
    """
    with _sharing.lock:
        _sharing.users += 1
    try:
        yield
    finally:
        with _sharing.lock:
            _sharing.users -= 1
            if _sharing.users == 0:
                if _sharing.cache_before is not None:
                    set_gdal_config("GDAL_CACHEMAX", _sharing.cache_before)
                _sharing.blocks = _sharing.cache_before = None


def shared() -> SharedBlocks | None:
    """The blocks to share, None outside :func:`sharing`."""
    if _sharing.users == 0 or _sharing.blocks is not None:
        return _sharing.blocks
    with _sharing.lock:
        if _sharing.users > 0 and _sharing.blocks is None:
            size = int(get_gdal_config("GDAL_CACHEMAX"))
            limit = min(LIMIT, int(size * _SHARE))
            if not cache_is_users():
                set_gdal_config("GDAL_CACHEMAX", size - limit)
                _sharing.cache_before = size
            _sharing.blocks = SharedBlocks(limit)
        return _sharing.blocks
