"""Strips of the result that are encoded while chunks further down are still computed.

A strip of the picture itself needs those chunks only that lie in it (its overviews need more). So
whichever worker keeps the last of them encodes the strip, and goes on to the next chunk. What is
left for the end is a quarter of the pixels and putting everything together. That takes the same
seconds of the processor, but on many cores, where chunks wait for Python's lock, those that would
do nothing: encoders hold no lock.
"""

from __future__ import annotations

import shutil
import threading
from collections.abc import Mapping

from nirgeo.blockstore import BlockStore
from nirgeo.cog_source import Picture
from nirgeo.cog_strips import Strip, Turns, encode_strip, parts_of, remove_strips, strips_of
from nirgeo.gdal_settings import GDAL_ERRORS, forget_errors
from nirgeo.tiling import Window, joined


class StripsAhead:
    """Encodes strips of a store as its chunks come in. Safe to call from several threads.

    Nothing depends on it: a strip that it does not make is made at the end.
    """

    def __init__(
        self,
        store: BlockStore,
        picture: Picture,
        options: Mapping[str, str],
        *,
        everywhere: bool,
    ) -> None:
        """
        Parameters
        ----------
        options : all options of the COG driver, of a file that can be put together of strips
        everywhere : chunks without a valid pixel may hold something else than zeros
        """
        self._store, self._picture, self._options = store, picture, options
        self._everywhere = everywhere
        self._turns = Turns()
        self._changed = threading.Lock()
        self._valid: dict[tuple[int, int], int] = {}
        windows = [strip.window for strip in strips_of([store], None, int(options["BLOCKSIZE"]))]
        self._needs = {window: self._chunks_in(window) for window in windows}
        self._stopped = False
        self._begun: list[str] = []
        self.made: set[str] = set()
        """Names of the strips that stand in the store's folder, whole."""

    def kept(self, i: int, j: int, valid: int, *, encode: bool = True) -> None:
        """Take note of a chunk that was written, with so many valid pixels; and ``encode`` a strip
        that now has all it needs, if there is room on the disk."""
        with self._changed:
            self._valid[i, j] = valid
            ready = [w for w, chunks in self._needs.items() if chunks <= self._valid.keys()]
            for window in ready:
                del self._needs[window]
        for window in ready if encode else ():
            self._turns.take(self._make, window)

    def remove(self) -> None:
        """Wait for strips that are being encoded, and remove all that are left."""
        self._turns.end()
        remove_strips(self._store.path.parent, self._begun)

    def _make(self, window: Window) -> None:
        strip = Strip(0, window, self._parts(window))
        if self._stopped or not strip.parts or not self._has_room(window):
            return
        self._begun.append(strip.name)
        path = self._store.path.parent / f"{strip.name}.tif"
        try:
            encode_strip(path, self._store, self._picture, strip, self._options)
        except GDAL_ERRORS:  # what it is will be told at the end, if it is still so
            forget_errors()
            self._stopped = True
            return
        self.made.add(strip.name)

    def _parts(self, window: Window) -> tuple[Window, ...]:
        if self._everywhere:
            return (window,)
        grid = self._store.grid
        filled = sorted(chunk for chunk in self._chunks_in(window) if self._valid[chunk])
        return tuple(parts_of(window, joined(grid.window(*chunk) for chunk in filled), 1))

    def _has_room(self, window: Window) -> bool:
        """Whether all chunks to come find room beside the strip: what is computed goes first."""
        with self._changed:
            missing = 1 - len(self._valid) / len(self._store.grid)
        needed = missing * self._store.pixel_bytes() + self._store.pixel_bytes([window])
        try:
            return shutil.disk_usage(self._store.path.parent).free > needed
        except OSError:
            return False

    def _chunks_in(self, window: Window) -> frozenset[tuple[int, int]]:
        step = self._store.grid.step
        rows = range(window.row // step, -(-window.row_stop // step))
        return frozenset((i, j) for i in rows for j in range(-(-window.width // step)))
