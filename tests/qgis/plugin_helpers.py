"""What the plugin's tests share: a double of nirgeo, small rasters, and a look at processes.

Nothing here imports more than the standard library, see ``conftest.py``.
"""

from __future__ import annotations

import os
import stat
import struct
import sys
import time
from collections.abc import Callable
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]

POISON = {
    "PYTHONHOME": "/usr",
    "PYTHONPATH": "/usr/lib/python3/dist-packages",
    "PROJ_LIB": "/usr/share/proj",
    "GDAL_DATA": "/usr/share/gdal",
    "LD_LIBRARY_PATH": "/usr/lib/qgis",
}
"""What a QGIS on Linux may have in its environment: right for itself, wrong for its child."""

Fake = Callable[..., Path]

_FAKE = """#!{python} -I
import json, os, signal, sys, time

def say(**event):
    print(json.dumps(event), flush=True)

arguments = sys.argv[1:]
assert arguments[:5] == ["-I", "-X", "utf8", "-m", "nirgeo"], arguments
arguments = arguments[5:]
command = arguments[0]
if command == "info" and arguments[-1] == "--json":
    print(json.dumps({{"nirgeo": "9.9.9", "protocol": {protocol!r}}}))
    sys.exit()
if command == "models":
    print(json.dumps([{{"name": "some-nir", "version": 2, "bands": ["nir"],
                        "quantity": "reflectance", "gsd": [10, 30], "summary": ""}}]))
    sys.exit()
output = "".join(value for option, value in zip(arguments, arguments[1:])
                 if option in ("-o", "--error-map"))
{body}
"""


def write_fake_python(folder: Path, body: str, protocol: object = 1) -> Path:
    """An executable that answers like a Python with nirgeo.

    ``body`` is Python and stands for ``colorize`` and ``compare``; it has ``arguments``, ``output``
    and ``say``, which writes an event.
    """
    path = folder / "fake environment" / "bin" / "python"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(_FAKE.format(python=sys.executable, protocol=protocol, body=body), "utf-8")
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
    return path


def write_reflectance(path: Path, size: int = 64, bands: int = 1) -> Path:
    """A GeoTIFF of reflectance × 10000 in EPSG:32632, pixels of 10 m from (500000, 5000000).

    Written by hand: of all that reads and writes rasters, neither of the two environments that run
    these tests has what the other has.
    """
    pixels = [
        1500 + 15 * (x + y) + 500 * band
        for y in range(size)
        for x in range(size)
        for band in range(bands)
    ]
    short, long, double, text = (3, "H", 2), (4, "I", 4), (12, "d", 8), (2, "s", 1)
    metadata = b'<GDALMetadata><Item name="REFLECTANCE_SCALE">0.0001</Item></GDALMetadata>\0'
    fields: dict[int, tuple[tuple[int, str, int], tuple[object, ...]]] = {
        256: (short, (size,)),
        257: (short, (size,)),
        258: (short, (16,) * bands),
        259: (short, (1,)),  # not compressed
        262: (short, (1,)),  # grey
        273: (long, (0,)),  # where the pixels are, known below
        277: (short, (bands,)),
        278: (short, (size,)),  # one strip
        279: (long, (2 * len(pixels),)),
        338: (short, (0,) * (bands - 1)),
        339: (short, (1,) * bands),
        33550: (double, (10.0, 10.0, 0.0)),
        33922: (double, (0.0, 0.0, 0.0, 500_000.0, 5_000_000.0, 0.0)),
        34735: (short, (1, 1, 0, 3, 1024, 0, 1, 1, 1025, 0, 1, 1, 3072, 0, 1, 32632)),
        42112: (text, (metadata,)),
    }
    fields = {tag: field for tag, field in fields.items() if field[1]}
    head = 8 + 2 + 12 * len(fields) + 4

    def packed(field: tuple[tuple[int, str, int], tuple[object, ...]]) -> bytes:
        (_, letter, _), values = field
        return values[0] if letter == "s" else struct.pack(f"<{len(values)}{letter}", *values)  # type: ignore[return-value]

    def laid_out() -> tuple[bytes, bytes]:
        table, apart = b"", b""
        for tag, field in sorted(fields.items()):
            data = packed(field)
            table += struct.pack("<HHI", tag, field[0][0], len(data) // field[0][2])
            if len(data) <= 4:
                table += data.ljust(4, b"\0")
            else:
                table += struct.pack("<I", head + len(apart))
                apart += data + b"\0" * (len(data) % 2)
        return table, apart

    fields[273] = (long, (head + len(laid_out()[1]),))
    table, apart = laid_out()
    path.write_bytes(
        struct.pack("<2sHIH", b"II", 42, 8, len(fields))
        + table
        + struct.pack("<I", 0)
        + apart
        + struct.pack(f"<{len(pixels)}H", *pixels)
    )
    return path


def is_alive(pid: int) -> bool:
    """Whether a process runs; one that has ended and was not waited for does not."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    state = Path(f"/proc/{pid}/stat")
    return not (state.exists() and state.read_text().rpartition(")")[2].split()[0] == "Z")


def is_gone_within(pid: int, seconds: float) -> bool:
    deadline = time.monotonic() + seconds
    while is_alive(pid):
        if time.monotonic() > deadline:
            return False
        time.sleep(0.02)
    return True


def pid_in(path: Path, patience: float = 10.0) -> int:
    """The number that a child writes into a file once it is at work."""
    deadline = time.monotonic() + patience
    while True:
        text = path.read_text() if path.exists() else ""
        if text.endswith("\n"):
            return int(text)
        if time.monotonic() > deadline:
            raise AssertionError(f"no child wrote {path}")
        time.sleep(0.02)
