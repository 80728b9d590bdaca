"""Finished chunks on disk, safe at any moment: an uncompressed tiled TIFF laid out in advance.

A GeoTIFF that GDAL is writing keeps its block index in memory, so a killed run has nothing. Here
every tile has its place before the first one is written, since nothing is compressed: the file is a
BigTIFF header followed by a hole of the right size. A chunk is written where it belongs and synced;
then, and only then, the journal says so. GDAL reads the result like any TIFF.

Every band has tiles of its own, and those of one place follow each other: a chunk lies in the file
as it lies in memory, and nothing is sorted on the way there or back.
"""

from __future__ import annotations

import copy
import ctypes
import importlib
import os
import struct
import threading
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path
from typing import Any, BinaryIO, Self

import numpy as np
from numpy.typing import NDArray

from nirgeo.tiling import TILE, ChunkGrid, Window, cells

MAX_TIFF_TILE_TILES = 16
_PAGE = 4096

# TIFF field types (TIFF 6.0 and the BigTIFF extension).
_SHORT, _LONG, _LONG8 = 3, 4, 16


def tiff_tile(chunk_tiles: int) -> int:
    """Side in pixels of the store's TIFF tiles: the largest that divides a chunk, at most 1024."""
    limit = min(chunk_tiles, MAX_TIFF_TILE_TILES)
    return TILE * max(d for d in range(1, limit + 1) if chunk_tiles % d == 0)


def _header(
    height: int, width: int, samples: int, tile: int, dtype: np.dtype[Any]
) -> tuple[bytes, int, int]:
    """The file up to its pixels: (bytes, position of the first tile, bytes per tile of a band)."""
    down, across = -(-height // tile), -(-width // tile)
    places = down * across
    count = places * samples
    tile_bytes = tile * tile * dtype.itemsize
    bits = dtype.itemsize * 8
    sample_format = 3 if dtype.kind == "f" else 1
    fields: list[tuple[int, int, list[int]]] = [
        (256, _LONG, [width]),
        (257, _LONG, [height]),
        (258, _SHORT, [bits] * samples),
        (259, _SHORT, [1]),  # no compression
        (262, _SHORT, [1]),  # black is zero; colour comes with the final file
        (277, _SHORT, [samples]),
        (284, _SHORT, [2]),  # every band by itself
        (322, _LONG, [tile]),
        (323, _LONG, [tile]),
        (324, _LONG8, []),  # offsets, filled in below
        (325, _LONG8, [tile_bytes] * count),
        (338, _SHORT, [0] * (samples - 1)),
        (339, _SHORT, [sample_format] * samples),
    ]
    sizes = {_SHORT: 2, _LONG: 4, _LONG8: 8}
    codes = {_SHORT: "H", _LONG: "I", _LONG8: "Q"}
    directory_bytes = 8 + len(fields) * 20 + 8
    outside = 16 + directory_bytes
    counts = {tag: count if tag == 324 else len(values) for tag, _, values in fields}
    positions = {}
    for tag, kind, _ in fields:
        length = counts[tag] * sizes[kind]
        if length > 8:
            positions[tag] = outside
            outside += -(-length // 8) * 8
    first = -(-outside // _PAGE) * _PAGE
    # TIFF lists all tiles of the first band, then all of the second.
    offsets = [
        first + (place * samples + band) * tile_bytes
        for band in range(samples)
        for place in range(places)
    ]
    out = bytearray(first)
    struct.pack_into("<2sHHHQ", out, 0, b"II", 43, 8, 0, 16)
    struct.pack_into("<Q", out, 16, len(fields))
    cursor = 24
    for tag, kind, values in fields:
        data = offsets if tag == 324 else values
        packed = struct.pack(f"<{len(data)}{codes[kind]}", *data)
        struct.pack_into("<HHQ", out, cursor, tag, kind, len(data))
        if tag in positions:
            struct.pack_into("<Q", out, cursor + 12, positions[tag])
            out[positions[tag] : positions[tag] + len(packed)] = packed
        else:
            out[cursor + 12 : cursor + 12 + len(packed)] = packed
        cursor += 20
    return bytes(out), first, tile_bytes


class TiledFile:
    """A TIFF of ``samples`` bands whose tiles have their place before anything is written.

    Safe to call from several threads. Pixels never written are 0.
    """

    def __init__(
        self, path: Path, shape: tuple[int, int], samples: int, tile: int, dtype: Any
    ) -> None:
        self.path = path
        self.shape = shape
        self.samples = samples
        self.tile = tile
        self.dtype = np.dtype(dtype).newbyteorder("<")
        self._across = -(-shape[1] // tile)
        self._header, self._first, self._plane_bytes = _header(*shape, samples, tile, self.dtype)
        self._tile_bytes = samples * self._plane_bytes
        tiles = self._across * -(-shape[0] // tile)
        self.size = self._first + tiles * self._tile_bytes
        self._fd = -1
        self._lock = threading.Lock()

    def create(self) -> None:
        """Lay the file out, empty. It takes next to no space until chunks are written."""
        self._fd = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_TRUNC | _FLAGS, 0o666)
        self._write_at(self._header, 0)
        _lengthen(self._fd, self.size)
        _sync(self._fd)

    @contextmanager
    def attached(self) -> Iterator[Self]:
        """A handle of its own on the file that another process has laid out like this.

        Raises
        ------
        OSError : it is not there, or may not be written
        """
        mine = copy.copy(self)
        mine._fd = os.open(self.path, os.O_RDWR | _FLAGS)
        try:
            yield mine
        finally:
            mine.close()

    def sync(self) -> None:
        """Everything written so far is on disk when this returns."""
        _sync(self._fd)

    def _write_at(self, data: bytes | memoryview, position: int) -> None:
        if hasattr(os, "pwrite"):
            view = memoryview(data).cast("B")
            while view:
                written = os.pwrite(self._fd, view, position)
                view, position = view[written:], position + written
            return
        with self._lock:  # Windows has no positioned write
            os.lseek(self._fd, position, os.SEEK_SET)
            view = memoryview(data).cast("B")
            while view:
                view = view[os.write(self._fd, view) :]

    def close(self) -> None:
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def pixel_bytes(self, areas: Sequence[Window] | None = None) -> int:
        """Bytes of the pixels in these windows, or of all."""
        pixels = self.shape[0] * self.shape[1]
        if areas is not None:
            pixels = sum(window.height * window.width for window in areas)
        return pixels * self.samples * self.dtype.itemsize

    def write_part(self, row: int, col: int, part: NDArray[Any]) -> None:
        """Write pixels from this row and column on: ``part`` is (samples, height, width).

        Zeros are not written: they are what the file reads as anyway.
        """
        if not part.any():
            return
        for tile, here, there in cells(Window(row, col, *part.shape[1:]), self.tile, self.tile):
            position = self._position(*tile)
            pixels = part[(slice(None), *here)].astype(self.dtype, copy=False)
            inside = [min(self.tile, n - at) for n, at in zip(self.shape, tile, strict=True)]
            if pixels.shape[1:] == tuple(inside):  # all of the tile that the picture has
                self._write_tile(self._padded(pixels), inside[0], position)
                continue
            rows, cols = there
            for band, plane in enumerate(pixels):
                for r, line in enumerate(plane, start=rows.start):
                    offset = (r * self.tile + cols.start) * self.dtype.itemsize
                    self._write_at(
                        np.ascontiguousarray(line).data,
                        position + band * self._plane_bytes + offset,
                    )

    def read_part(self, row: int, col: int, height: int, width: int) -> NDArray[Any]:
        """Pixels from this row and column on: (samples, height, width)."""
        part = np.empty((self.samples, height, width), dtype=self.dtype)
        window = Window(row, col, height, width)
        with open(self.path, "rb") as file:
            for tile, here, there in cells(window, self.tile, self.tile):
                file.seek(self._position(*tile))
                part[(slice(None), *here)] = self._tile(file)[(slice(None), *there)]
        return part

    def _padded(self, pixels: NDArray[Any]) -> NDArray[Any]:
        """A whole tile, of what the picture has of one at its edge."""
        tile = np.ascontiguousarray(pixels, dtype=self.dtype)
        if tile.shape[1:] == (self.tile, self.tile):
            return tile
        return np.pad(tile, ((0, 0), *((0, self.tile - side) for side in tile.shape[1:])))

    def _write_tile(self, tile: NDArray[Any], rows: int, position: int) -> None:
        """Write a whole tile; of one that the picture's lower edge cuts, the rows that it has."""
        if rows == self.tile:
            self._write_at(tile.data, position)
            return
        for band, plane in enumerate(tile):
            self._write_at(plane[:rows].data, position + band * self._plane_bytes)

    def _tile(self, file: BinaryIO) -> NDArray[Any]:
        """The tile that begins where the file stands: (samples, tile, tile)."""
        values = np.frombuffer(file.read(self._tile_bytes), dtype=self.dtype)
        return values.reshape(self.samples, self.tile, self.tile)

    def _position(self, row: int, col: int) -> int:
        """Where the tile that begins at this pixel lies in the file."""
        return self._first + (row // self.tile * self._across + col // self.tile) * self._tile_bytes


class BlockStore(TiledFile):
    """A raster of ``samples`` bands on disk that is written chunk by chunk, in any order."""

    NAME = "blocks.tif"

    def __init__(self, path: Path, grid: ChunkGrid, samples: int, dtype: Any) -> None:
        super().__init__(path, (grid.height, grid.width), samples, tiff_tile(grid.tiles), dtype)
        self.grid = grid
        self.resumed = False
        """Whether an earlier run may have written something already."""

    def open(self) -> bool:
        """Open what an earlier run left; False if it does not have this layout."""
        try:
            self._fd = os.open(self.path, os.O_RDWR | _FLAGS)
        except FileNotFoundError:
            return False
        with open(self.path, "rb") as file:
            same = file.read(len(self._header)) == self._header
        if same and os.fstat(self._fd).st_size == self.size:
            self.resumed = True
            return True
        self.close()
        return False

    def write(self, i: int, j: int, block: NDArray[Any], *, sync: bool = True) -> int:
        """Write chunk (i, j): ``block`` is (samples, height, width). Returns its checksum.

        Zeros are not written where the file reads as zeros anyway, so it stays sparse. Without
        ``sync`` the chunk is safe after the next :meth:`sync`.
        """
        window = self.grid.window(i, j)
        expected = (self.samples, window.height, window.width)
        if block.shape != expected:
            raise ValueError(f"chunk ({i}, {j}) is {expected}, got {block.shape}")
        if not block.any():
            empty = _checksum_of_zeros(len(list(self._tiles(window))), self._tile_bytes)
            if not self.resumed or self.recovered(i, j, empty) is not None:
                return empty
        checksum = 0
        for top, left, position in self._tiles(window):
            tile = block[:, top : top + self.tile, left : left + self.tile]
            tile = self._padded(tile)
            checksum = zlib.crc32(tile.data, checksum)
            self._write_tile(tile, min(self.tile, window.height - top), position)
        if sync:
            self.sync()
        return checksum

    def recovered(self, i: int, j: int, checksum: int) -> NDArray[Any] | None:
        """Chunk (i, j) as it was when :meth:`write` returned this checksum: (samples, h, w).

        None if something else stands there.
        """
        window = self.grid.window(i, j)
        block = np.empty((self.samples, window.height, window.width), dtype=self.dtype)
        found = 0
        with open(self.path, "rb") as file:
            for top, left, position in self._tiles(window):
                file.seek(position)
                tile = self._tile(file)
                found = zlib.crc32(tile.data, found)
                part = block[:, top : top + self.tile, left : left + self.tile]
                part[:] = tile[:, : part.shape[1], : part.shape[2]]
        return block if found == checksum else None

    def _tiles(self, window: Window) -> Iterator[tuple[int, int, int]]:
        """The TIFF tiles of a chunk: (row and column in the chunk, position in the file)."""
        for top in range(0, window.height, self.tile):
            for left in range(0, window.width, self.tile):
                yield top, left, self._position(window.row + top, window.col + left)


_FLAGS = getattr(os, "O_FLAGS", 0) | getattr(os, "O_NOFOLLOW", 0)
"""Bytes as they are, and of the file itself: a link in its place leads somewhere else."""


@cache
def _checksum_of_zeros(tiles: int, tile_bytes: int) -> int:
    found, zeros = 0, bytes(tile_bytes)
    for _ in range(tiles):
        found = zlib.crc32(zeros, found)
    return found


def _sync(fd: int) -> None:
    getattr(os, "fdatasync", os.fsync)(fd)


def _lengthen(fd: int, size: int) -> None:
    """Give a file a length; what was not written is a hole, which reads as zeros.

    Windows would write the zeros of a file that it was not told to keep holes in.
    """
    if os.name != "nt":
        os.ftruncate(fd, size)
        return
    msvcrt: Any = importlib.import_module("msvcrt")
    windows: Any = vars(ctypes)["windll"].kernel32
    set_sparse, returned = 0x900C4, ctypes.c_ulong()
    with suppress(OSError, AttributeError):  # a file system that knows no holes
        windows.DeviceIoControl(
            ctypes.c_void_p(msvcrt.get_osfhandle(fd)),
            *(set_sparse, None, 0, None, 0, ctypes.byref(returned), None),
        )
    os.lseek(fd, size - 1, os.SEEK_SET)
    os.write(fd, b"\0")
