"""Safetensors files, from anywhere, without more memory than they deserve.

The format is a length, a header in JSON, and numbers. The library checks that the header fits the
file; but it takes a header of up to 100 MB, and parsing one takes many times that. Ours need a few
thousand bytes, so a longer one is refused unread.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Literal

from safetensors import SafetensorError, safe_open

MAX_HEADER_BYTES = 4 * 2**20


@contextmanager
def open_tensors(
    path: str | os.PathLike[str],
    *,
    max_bytes: int | None = None,
    framework: Literal["numpy", "pt"] = "numpy",
) -> Iterator[Any]:
    """The file as ``safetensors.safe_open`` gives it.

    Raises
    ------
    SafetensorError : damaged, or larger than ``max_bytes``, or with a header of more than 4 MiB
    OSError : it can't be read
    """
    name = os.fspath(path)
    with open(name, "rb") as file:
        size = os.fstat(file.fileno()).st_size
        first = file.read(8)
    if max_bytes is not None and size > max_bytes:
        raise SafetensorError(f"{size} bytes is more than such a file may have ({max_bytes})")
    if len(first) == 8:
        (length,) = struct.unpack("<Q", first)
        if length > MAX_HEADER_BYTES:
            raise SafetensorError(
                f"a header of {length} bytes is more than such a file may have ({MAX_HEADER_BYTES})"
            )
    with safe_open(name, framework=framework) as opened:
        yield opened
