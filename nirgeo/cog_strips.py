"""A COG whose blocks are encoded strip by strip, on all cores, and then put together.

GDAL's COG driver encodes in as many threads as it is told to, but one thread alone reads the
pixels and hands them out; with more than three cores the others wait for it. A COG, however, is a
header and then, level after level and row after row, encoded blocks that know nothing of each
other. So the driver makes a COG of every strip of a few rows of blocks, each in a thread of its
own, and one of a picture of the whole size without a pixel: that is the header. Behind it the
blocks of the strips follow each other, and their places are written into the header's directories.
The result is the driver's own, byte for byte.
"""

from __future__ import annotations

import shutil
import threading
from collections import deque
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import rasterio
import rasterio.shutil
from numpy.typing import NDArray
from rasterio.env import get_gdal_config

from nirgeo import gdal_settings
from nirgeo.blockstore import TiledFile
from nirgeo.cog_blocks import directories
from nirgeo.cog_source import Picture, write_strip_vrt, write_vrt
from nirgeo.cores import cores
from nirgeo.creation_options import STRIP_ENCODERS, STRIP_OPTIONS
from nirgeo.tiling import Window

_PIXELS = 2**23
"""Pixels of a strip, about: a tenth to a quarter of a second, in which nothing interrupts it."""

_MOST_THREADS = 32
"""More would not be faster, and their strips lie on the disk at the same time."""

_COPIES = 4
"""Times that a thread holds the block it encodes: as read, as copied, with its mask, encoded."""

_BLOCKS_BYTES = 2**28
"""Memory for those of all threads; of usual blocks they need a hundredth of it."""


@dataclass(frozen=True)
class Strip:
    """Rows of blocks of one level (0 is the picture), and where it is not 0."""

    level: int
    window: Window
    parts: tuple[Window, ...]

    @property
    def name(self) -> str:
        """Of the file that it is made as; all of nothing in one level and shape are the same."""
        number = self.window.row if self.parts else f"empty-{self.window.height}"
        return f"strip-{self.level}-{number}"


class UnlikeHeaderError(Exception):
    """The header wants blocks that are encoded otherwise than those of the strips.

    Overviews have settings of their own in GDAL, which the environment may hold; and of sides of
    blocks that are no powers of two they take none.
    """


Places = tuple[NDArray[np.int64], NDArray[np.int64]]
"""Offsets and lengths of blocks."""


def can_be_put_together(given: Mapping[str, str], options: Mapping[str, str]) -> bool:
    """Whether a file with these options is the sum of its strips.

    ``given`` are the user's, ``options`` with the defaults.
    """
    return set(given) <= STRIP_OPTIONS and options["COMPRESS"].upper() in STRIP_ENCODERS


def write_strips(
    store: TiledFile,
    picture: Picture,
    target: Path,
    options: Mapping[str, str],
    areas: Sequence[Window] | None,
    overviews: Sequence[TiledFile],
    on_share: Callable[[float], None],
    ahead: Collection[str] = (),
) -> None:
    """Write the COG that GDAL's driver makes with these creation options; see
    :func:`nirgeo.cog.write_cog`.

    ``ahead`` are names of strips that lie beside the store already. What GDAL and Python raise for
    files that can't be written passes through.

    Raises
    ------
    UnlikeHeaderError : the driver would encode overviews otherwise than strips of them
    """
    files = (store, *overviews)
    strips = strips_of(files, areas, int(options["BLOCKSIZE"]))
    folder = store.path.parent
    count = _threads(options, store)
    encodings: list[Mapping[str, int]] = []
    places: dict[tuple[int, int], list[Places]] = {}
    done, total = 0, sum(strip.window.height * strip.window.width for strip in strips)
    pool = ThreadPoolExecutor(
        count,
        "nirgeo-cog",
        initializer=gdal_settings.adopt,
        initargs=(gdal_settings.settings_here(),),
    )
    made: dict[str, Future[None]] = {}
    for name in ahead:
        made[name] = Future()
        made[name].set_result(None)
    turns = Turns()
    # Of files, put down before there may be any: signals come at any time.
    names = ["header", *ahead]
    try:
        header = folder / "header.tif"
        empty = pool.submit(turns.take, _make_header, header, store, picture, options, overviews)
        waiting: deque[Strip] = deque()
        left = iter(strips)
        with open(target, "wb+") as out:
            while True:
                while len(waiting) < 2 * count and (strip := next(left, None)) is not None:
                    waiting.append(strip)
                    if strip.name not in made:
                        path = folder / f"{strip.name}.tif"
                        file = files[strip.level]
                        names.append(strip.name)
                        made[strip.name] = pool.submit(
                            turns.take, encode_strip, path, file, picture, strip, options
                        )
                if not waiting:
                    break
                if not out.tell():
                    empty.result()
                    encodings = _begin(header, out)
                strip = waiting.popleft()
                made[strip.name].result()
                path = folder / f"{strip.name}.tif"
                wanted = [encodings[k] for k in _directories_of(strip.level, len(overviews))]
                for kind, found in enumerate(_append(path, out, wanted)):
                    places.setdefault((strip.level, kind), []).append(found)
                if strip.parts:
                    path.unlink()
                done += strip.window.height * strip.window.width
                on_share(done / total)
            _list_blocks(out, places, len(overviews))
    finally:
        pool.shutdown(wait=True, cancel_futures=True)
        turns.end()
        remove_strips(folder, names)


def remove_strips(folder: Path, names: Iterable[str]) -> None:
    """Remove what is left of strips with these names, and of what they were made from."""
    for name in names:
        for suffix in (".tif", ".vrt"):
            with suppress(OSError):
                (folder / f"{name}{suffix}").unlink()


class Turns:
    """What the threads of a pool are at, those too that it does not know of.

    A signal that comes while a pool waits for a new thread to start makes it forget that one, and
    what was handed over may be in its hands.
    """

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._ended = False
        self._under_way = 0

    def take(self, call: Callable[..., None], *arguments: Any) -> None:
        """Call something, unless the end has come."""
        with self._changed:
            if self._ended:
                return
            self._under_way += 1
        try:
            call(*arguments)
        finally:
            with self._changed:
                self._under_way -= 1
                self._changed.notify_all()

    def end(self) -> None:
        """Let nothing more begin, and wait for what has begun."""
        with self._changed:
            self._ended = True
            self._changed.wait_for(lambda: not self._under_way)


def _threads(options: Mapping[str, str], file: TiledFile) -> int:
    """How many strips are encoded at once: as many as asked for, if GDAL and the memory allow."""
    wanted = str(options.get("NUM_THREADS") or get_gdal_config("GDAL_NUM_THREADS"))
    count = int(wanted) if wanted.isascii() and wanted.isdigit() else cores()
    # The file behind each of their VRTs takes a place among those that GDAL keeps open.
    pool = str(get_gdal_config("GDAL_MAX_DATASET_POOL_SIZE") or 100)
    count = min(count, _MOST_THREADS, int(pool) // 2 if pool.isdigit() else _MOST_THREADS)
    block = int(options["BLOCKSIZE"]) ** 2 * file.samples * file.dtype.itemsize
    return max(1, min(count, _BLOCKS_BYTES // (_COPIES * block)))


def strips_of(
    files: Sequence[TiledFile], areas: Sequence[Window] | None, block: int
) -> list[Strip]:
    """All levels from the smallest on, as they lie in a COG, each from its top."""
    strips = []
    for level in reversed(range(len(files))):
        height, width = files[level].shape
        rows = max(1, _PIXELS // (width * block)) * block
        for row in range(0, height, rows):
            window = Window(row, 0, min(rows, height - row), width)
            strips.append(Strip(level, window, tuple(parts_of(window, areas, 2**level))))
    return strips


def parts_of(strip: Window, areas: Sequence[Window] | None, scale: int) -> list[Window]:
    """What of a strip, of a picture made smaller by ``scale``, has pixels."""
    if areas is None:
        return [strip]
    top, bottom = strip.row * scale, strip.row_stop * scale
    met = [area for area in areas if area.row < bottom and area.row_stop > top]
    if scale > 1:
        return [strip] if met else []
    rows = [(max(top, area.row), min(bottom, area.row_stop)) for area in met]
    return [
        Window(start, area.col, stop - start, area.width)
        for area, (start, stop) in zip(met, rows, strict=True)
    ]


def _make_header(
    path: Path,
    store: TiledFile,
    picture: Picture,
    options: Mapping[str, str],
    overviews: Sequence[TiledFile],
) -> None:
    """A COG of the whole size that says everything and holds nothing."""
    vrt = path.with_suffix(".vrt")
    write_vrt(vrt, store, picture, (), overviews)
    existing = {"OVERVIEWS": "FORCE_USE_EXISTING"} if overviews else {}
    _copy(vrt, path, {**options, **existing, "COPY_SRC_MDD": "YES", "SPARSE_OK": "YES"})


def encode_strip(
    path: Path, file: TiledFile, picture: Picture, strip: Strip, options: Mapping[str, str]
) -> None:
    """Make the COG of a strip of the file, a VRT beside it for as long as that takes."""
    vrt = path.with_suffix(".vrt")
    write_strip_vrt(vrt, file, picture, strip.window, strip.parts)
    _copy(vrt, path, {**options, "OVERVIEWS": "NONE", "BIGTIFF": "IF_SAFER"})
    vrt.unlink()


def _copy(source: Path, target: Path, options: Mapping[str, str]) -> None:
    with rasterio.Env(GDAL_TIFF_INTERNAL_MASK="YES"):
        made = {**options, "NUM_THREADS": "1"}
        rasterio.shutil.copy(str(source), str(target), driver="COG", **made)


def _begin(header: Path, out: BinaryIO) -> list[Mapping[str, int]]:
    """Copy what stands before the first block; the driver writes some even of nothing.

    Returns how the blocks of every directory are encoded.
    """
    with open(header, "rb") as file:
        listed = list(directories(file))
        size = _first_block([each.offsets.values for each in listed])
        file.seek(0)
        out.write(file.read(-1 if size is None else size))
    return [each.encoding for each in listed]


def _append(path: Path, out: BinaryIO, encodings: Sequence[Mapping[str, int]]) -> list[Places]:
    """Add the blocks of a strip to the file; returns where those of picture and mask came to lie.

    Blocks of nothing that were left out keep the place 0. ``encodings`` are what the header says
    of these two.
    """
    with open(path, "rb") as file:
        listed = list(directories(file))
        if [each.encoding for each in listed] != list(encodings):
            raise UnlikeHeaderError
        found = [
            (each.offsets.values.astype(np.int64), each.lengths.values.astype(np.int64))
            for each in listed
        ]
        first = _first_block([offsets for offsets, _ in found])
        if first is None:
            return found
        moved = out.tell() - first
        file.seek(first)
        shutil.copyfileobj(file, out, 2**20)
    return [(np.where(offsets > 0, offsets + moved, 0), lengths) for offsets, lengths in found]


def _first_block(offsets: Sequence[NDArray[Any]]) -> int | None:
    """Where the first block begins, with the number before it that says how long it is."""
    used = np.concatenate(offsets)
    used = used[used > 0]
    return int(used.min()) - _LEADER if len(used) else None


_LEADER = 4
"""Bytes of that number."""


def _list_blocks(
    out: BinaryIO, places: Mapping[tuple[int, int], Sequence[Places]], overviews: int
) -> None:
    """Write into the directories where the blocks are."""
    listed = list(directories(out))
    for (level, kind), parts in places.items():
        directory = listed[_directories_of(level, overviews)[kind]]
        offsets, lengths = (np.concatenate(each) for each in zip(*parts, strict=True))
        directory.offsets.replaced(out, offsets)
        directory.lengths.replaced(out, lengths)


def _directories_of(level: int, overviews: int) -> tuple[int, int]:
    """Which directories are a level's and its mask's.

    The driver's order is the picture, its mask, the overviews, and their masks.
    """
    return (0, 1) if level == 0 else (1 + level, 1 + overviews + level)
