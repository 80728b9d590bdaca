"""Whether all blocks of a COG are in its file, as they were written.

GDAL can lose the end of a file on a full disk without a word. In a COG of GDAL's driver every block
stands between its length and a copy of its last four bytes (GDAL's documentation of the COG driver,
*header ghost area*). So a look at both ends of each block that the file's directories name is
enough to see that none is missing, cut off or moved. To decode them all would find hardly more:
what was just written is read from memory, not from the disk.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Iterator
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

_GHOST_AREA = 512
"""Within so many bytes of its start a file says how it is laid out."""

_LAYOUT = (b"BLOCK_LEADER=SIZE_AS_UINT4", b"BLOCK_TRAILER=LAST_4_BYTES_REPEATED")

# TIFF 6.0 and its BigTIFF extension: where blocks lie, how long they are, and types of numbers.
_OFFSETS, _LENGTHS = 324, 325
_TYPES = {3: "u2", 4: "u4", 16: "u8"}


def check_blocks(file: BinaryIO, *, sparse: bool = False) -> None:
    """Look at both ends of all blocks of a COG that GDAL has just written.

    ``sparse``: a block of nothing may have no place. Otherwise it is one that an encoder failed on:
    those that run in threads of their own tell nobody.

    Raises
    ------
    OSError : a block is missing or not whole, or the file is no such COG
    """
    size = file.seek(0, os.SEEK_END)
    file.seek(0)
    start = file.read(_GHOST_AREA)
    if not all(word in start for word in _LAYOUT):
        raise OSError("the file does not say how its blocks are laid out")
    for directory in _directories(file):
        if not {_OFFSETS, _LENGTHS} <= directory.keys():
            raise OSError("a directory of the file lists no blocks")
        places = zip(directory[_OFFSETS].tolist(), directory[_LENGTHS].tolist(), strict=True)
        for offset, length in places:
            if not offset and not sparse:
                raise OSError("a block could not be encoded")
            if offset and not _is_whole(file, offset, length):
                raise OSError(f"the block at byte {offset} of {size} is not whole")


def _is_whole(file: BinaryIO, offset: int, length: int) -> bool:
    file.seek(offset - 4)
    leader = file.read(4)
    file.seek(offset + length - 4)
    last = file.read(8)
    return leader == struct.pack("<I", length) and len(last) == 8 and last[:4] == last[4:]


def _directories(file: BinaryIO) -> Iterator[dict[int, NDArray[Any]]]:
    """Places and lengths of the blocks, by tag: of the picture, its overviews and their masks."""
    file.seek(0)
    header = file.read(16)
    order = "<" if header[:2] == b"II" else ">"
    big = struct.unpack(order + "H", header[2:4])[0] == 43
    number, count, entry = ("Q", "Q", "HHQ8s") if big else ("I", "H", "HHI4s")
    (position,) = struct.unpack_from(order + number, header, 8 if big else 4)
    while position:
        file.seek(position)
        (entries,) = _read(file, order + count)
        found = [_read(file, order + entry) for _ in range(entries)]
        (position,) = _read(file, order + number)
        yield {
            tag: _numbers(file, order, kind, length, value)
            for tag, kind, length, value in found
            if tag in (_OFFSETS, _LENGTHS)
        }


def _numbers(file: BinaryIO, order: str, kind: int, count: int, value: bytes) -> NDArray[Any]:
    """The numbers of one entry, which stand in it if they are few and where it says if not."""
    dtype = np.dtype(order + _TYPES[kind])
    needed = count * dtype.itemsize
    if needed > len(value):
        file.seek(struct.unpack(order + ("Q" if len(value) == 8 else "I"), value)[0])
        value = file.read(needed)
        if len(value) < needed:
            raise OSError("a directory of the file is cut off")
    return np.frombuffer(value, dtype, count)


def _read(file: BinaryIO, form: str) -> tuple[Any, ...]:
    data = file.read(struct.calcsize(form))
    if len(data) < struct.calcsize(form):
        raise OSError("a directory of the file is cut off")
    return struct.unpack(form, data)
