"""Where the blocks of a COG lie in its file, and whether they are there as they were written.

GDAL can lose the end of a file on a full disk without a word. In a COG of GDAL's driver every block
stands between its length and a copy of its last four bytes (GDAL's documentation of the COG driver,
*header ghost area*). So a look at both ends of each block that the file's directories name is
enough to see that none is missing, cut off or moved. To decode them all would find hardly more:
what was just written is read from memory, not from the disk.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

_GHOST_AREA = 512
"""Within so many bytes of its start a file says how it is laid out."""

_LAYOUT = (b"BLOCK_LEADER=SIZE_AS_UINT4", b"BLOCK_TRAILER=LAST_4_BYTES_REPEATED")

# TIFF 6.0 and its BigTIFF extension: where blocks lie, how long they are, and types of numbers.
_OFFSETS, _LENGTHS = 324, 325
_ENCODING = {259: "compression", 284: "planes", 317: "predictor", 322: "width", 323: "height"}
"""Tags that say how blocks are encoded; each holds one number."""
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
    for directory in directories(file):
        offsets, lengths = directory.offsets.values, directory.lengths.values
        for offset, length in zip(offsets.tolist(), lengths.tolist(), strict=True):
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


@dataclass(frozen=True)
class Numbers:
    """Numbers that a directory lists, and at which byte of the file they begin."""

    position: int
    values: NDArray[Any]

    def replaced(self, file: BinaryIO, values: NDArray[np.int64]) -> None:
        """Write others in their place.

        Raises
        ------
        OSError : they are not as many, or larger than the file's numbers can be
        """
        if values.shape != self.values.shape:
            raise OSError(f"{len(values)} blocks for a directory of {len(self.values)}")
        if values.max(initial=0) > np.iinfo(self.values.dtype).max:
            raise OSError("the file is too large for a TIFF that is not a BigTIFF")
        file.seek(self.position)
        file.write(values.astype(self.values.dtype).tobytes())


@dataclass(frozen=True)
class Directory:
    """Offsets and lengths, in bytes, of the blocks of a picture, an overview, or a mask of one."""

    offsets: Numbers
    lengths: Numbers
    encoding: Mapping[str, int]
    """How blocks are encoded, by the names of the tags above; what a file leaves out is missing."""


def directories(file: BinaryIO) -> Iterator[Directory]:
    """All directories of a TIFF, in their order.

    Raises
    ------
    OSError : one of them lists no blocks, or is cut off
    """
    file.seek(0)
    header = file.read(16)
    order = "<" if header[:2] == b"II" else ">"
    big = struct.unpack(order + "H", header[2:4])[0] == 43
    number, count, entry = ("Q", "Q", "HHQ8s") if big else ("I", "H", "HHI4s")
    (position,) = struct.unpack_from(order + number, header, 8 if big else 4)
    while position:
        file.seek(position)
        (entries,) = _read(file, order + count)
        found = {}
        for _ in range(entries):
            tag, kind, length, value = _read(file, order + entry)
            if tag in (_OFFSETS, _LENGTHS, *_ENCODING):
                found[tag] = file.tell() - len(value), kind, length, value
        (position,) = _read(file, order + number)
        if not {_OFFSETS, _LENGTHS} <= found.keys():
            raise OSError("a directory of the file lists no blocks")
        numbers = {tag: _numbers(file, order, *each) for tag, each in found.items()}
        encoding = {
            name: int(numbers[tag].values[0]) for tag, name in _ENCODING.items() if tag in numbers
        }
        yield Directory(numbers[_OFFSETS], numbers[_LENGTHS], encoding)


def _numbers(
    file: BinaryIO, order: str, position: int, kind: int, count: int, value: bytes
) -> Numbers:
    """The numbers of one entry, which stand in it if they are few and where it says if not."""
    dtype = np.dtype(order + _TYPES[kind])
    needed = count * dtype.itemsize
    if needed > len(value):
        (position,) = struct.unpack(order + ("Q" if len(value) == 8 else "I"), value)
        file.seek(position)
        value = file.read(needed)
        if len(value) < needed:
            raise OSError("a directory of the file is cut off")
    return Numbers(position, np.frombuffer(value, dtype, count))


def _read(file: BinaryIO, form: str) -> tuple[Any, ...]:
    data = file.read(struct.calcsize(form))
    if len(data) < struct.calcsize(form):
        raise OSError("a directory of the file is cut off")
    return struct.unpack(form, data)
