"""How a result was made, read from the file itself.

nirgeo writes model, hash, scaling and its "synthetic" mark as GDAL metadata in a namespace of its
own. QGIS shows only the default namespace, and rasterio can't be imported here; the metadata is
one XML string in the TIFF's first directory, though, which takes no library to find.
"""

from __future__ import annotations

import html
import re
import struct
from typing import BinaryIO

NAMESPACE = "NIRGEO"

_GDAL_METADATA = 42112
_MAX_ENTRIES = 4096
_MAX_BYTES = 1 << 20
_ITEM = re.compile(r'<Item name="([^"]+)" domain="NIRGEO"[^>]*>(.*?)</Item>', re.DOTALL)


def read_provenance(path: str) -> dict[str, str]:
    """The tags in nirgeo's namespace; empty for a file that is no TIFF or has none."""
    try:
        with open(path, "rb") as file:
            text = _metadata_xml(file)
    except (OSError, ValueError, OverflowError, struct.error):
        return {}
    return {html.unescape(name): html.unescape(value) for name, value in _ITEM.findall(text)}


def _metadata_xml(file: BinaryIO) -> str:
    """Contents of the GDAL_METADATA tag, of a classic TIFF or a BigTIFF."""
    order = {b"II": "<", b"MM": ">"}.get(file.read(2))
    if order is None:
        return ""
    kind = _number(file, order + "H")
    if kind == 42:
        directory, count_format, entry_format = _number(file, order + "I"), "H", "HHI4s"
    elif kind == 43:
        _number(file, order + "I")  # size of offsets, always 8
        directory, count_format, entry_format = _number(file, order + "Q"), "Q", "HHQ8s"
    else:
        return ""
    file.seek(directory)
    count = _number(file, order + count_format)
    entry = struct.Struct(order + entry_format)
    for _ in range(min(count, _MAX_ENTRIES)):
        tag, _type, length, value = entry.unpack(file.read(entry.size))
        if tag == _GDAL_METADATA and length <= _MAX_BYTES:
            if length > len(value):
                file.seek(struct.unpack(order + ("I" if len(value) == 4 else "Q"), value)[0])
                value = file.read(length)
            return str(value, "utf-8", "replace").rstrip("\0")
    return ""


def _number(file: BinaryIO, fmt: str) -> int:
    value: int = struct.unpack(fmt, file.read(struct.calcsize(fmt)))[0]
    return value
