"""Open datasets, one set per thread.

A GDAL dataset must not be used by two threads at once, and opening one costs more than reading a
block from it. So every thread keeps the few it used last. The key holds the file's size and time of
change: a file that is replaced while a notebook is open is opened anew.
"""

from __future__ import annotations

import os
import re
import threading
import weakref
import xml.etree.ElementTree as ElementTree
from collections import OrderedDict
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import rasterio
from rasterio.enums import ColorInterp, MaskFlags, Resampling
from rasterio.io import DatasetReader, MemoryFile
from rasterio.vrt import WarpedVRT

from nirgeo.errors import GridError, SourceError
from nirgeo.gdal_settings import GDAL_ERRORS, forget_errors, gdal_env
from nirgeo.hrefs import absolute, conceal, is_remote, public

MAX_OPEN_PER_THREAD = 16

MAX_OPEN = 256
"""Of all threads together, about: a service has many, and a process 1024 open files at most, where
nobody has said otherwise. Each thread may keep its share."""

_LEAST_PER_THREAD = 2


PIXEL_DRIVERS = ("GTiff", "JP2OpenJPEG")
"""GeoTIFF and JPEG 2000: formats whose files hold their pixels, and name no other file."""


@dataclass(frozen=True)
class WarpTarget:
    """The grid that a band on another grid is resampled to."""

    height: int
    width: int
    transform: tuple[float, ...]
    crs: str


@dataclass(frozen=True)
class Warp:
    """How a band (from 1) is resampled.

    ``nodata`` are values that must not be mixed into their neighbours, instead of what the file
    says. ``masked`` is False where the file's alpha band must not be believed.
    """

    target: WarpTarget
    index: int
    nodata: float | None = None
    masked: bool = True


class _Open(OrderedDict[Any, Any]):
    """One thread's datasets; hashable, so that they can be counted."""

    __hash__ = object.__hash__  # type: ignore[assignment]


_all: weakref.WeakSet[_Open] = weakref.WeakSet()
_all_lock = threading.Lock()


def _new() -> _Open:
    made = _Open()
    with _all_lock:
        _all.add(made)
    return made


def _share(mine: _Open) -> int:
    """How many datasets this thread may keep, for all threads to have ``MAX_OPEN``."""
    with _all_lock:
        others = sum(len(each) for each in _all if each is not mine)
    return max(_LEAST_PER_THREAD, min(MAX_OPEN_PER_THREAD, MAX_OPEN - others))


class _ThreadHandles(threading.local):
    def __init__(self) -> None:
        self.open = _new()
        self.process = os.getpid()
        self.inherited: list[Any] = []


_handles = _ThreadHandles()


def _own() -> _Open:
    """The calling thread's open datasets.

    A copy of a process (``fork``) has those of its original, and both would move one place of
    reading in each file. It opens files anew, and does not close what may be locked.
    """
    if _handles.process != os.getpid():
        _handles.inherited.append(_handles.open)
        _handles.open, _handles.process = _new(), os.getpid()
    return _handles.open


_ARCHIVE = re.compile(r"/vsi(?:zip|tar|gzip|7z|rar)/\{?(?P<inner>[^}]*)")


def _archive_of(path: str) -> str:
    """The archive that a file lies in, if its name says so and there is one; else the file."""
    found = _ARCHIVE.match(path)
    if found is None:
        return path
    inner = found["inner"]
    candidates = [inner, *map(str, Path(inner).parents)]
    return next((name for name in candidates if os.path.isfile(name)), path)


def files_behind(path: str, drivers: tuple[str, ...] = ()) -> list[str]:
    """Every file that GDAL reads for ``path``: itself, masks beside it, the sources of a VRT.

    Not what comes and goes when somebody looks at it: statistics, and overviews, which are never
    read. ``drivers`` are those that :func:`dataset` is given.

    Raises
    ------
    SourceError : GDAL can't open it
    """
    with gdal_env(path):
        found = [path, *dataset(path, drivers=drivers).files]
    # Of a VRT only its own sources are named, which may be VRTs.
    seen = {os.path.realpath(path)}
    for file in found:
        if os.path.realpath(file) in seen:
            continue
        seen.add(os.path.realpath(file))
        if file.lower().endswith(".vrt") and os.path.isfile(file):
            with suppress(SourceError), gdal_env(file):
                found += [deeper for deeper in dataset(file).files if deeper not in found]
    return [f for f in dict.fromkeys(found) if not f.endswith((".aux.xml", ".ovr"))]


def file_stamp(path: str) -> tuple[int, int] | None:
    """(size, time of change in ns) of a local file; None for what is not a local file.

    Of a file in a local archive (``/vsizip/…``) those of the archive.
    """
    try:
        status = os.stat(_archive_of(path))
    except (OSError, ValueError):
        return None
    return status.st_size, status.st_mtime_ns


def dataset(
    path: str,
    warp: Warp | None = None,
    drivers: tuple[str, ...] = (),
) -> DatasetReader | WarpedVRT:
    """This thread's dataset for ``path``, opened if need be. Call inside :func:`gdal_env`.

    With ``warp`` it is resampled, see :func:`bands_of`. ``drivers`` are GDAL's names of the formats
    that the file may have; none means any.

    Raises
    ------
    SourceError : GDAL can't open it
    GridError : it can't be resampled to the grid of ``warp``
    """
    # repr: a NaN equals no other NaN, and then every call would open the file once more.
    # Absolute, or a run that samples a scene by the name it was given, and reads its chunks by the
    # whole one, decodes the same blocks twice.
    known = absolute(path) if os.path.exists(path) else path
    key = (known, repr(warp), drivers, file_stamp(path))
    mine = _own()
    cached = mine.get(key)
    if cached is not None and not cached.closed:
        mine.move_to_end(key)
        return cached
    opened = open_dataset(path, drivers)
    if warp is not None:
        opened = _warped(opened, warp, drivers)
    mine[key] = opened
    while len(mine) > _share(mine):
        _, oldest = mine.popitem(last=False)
        oldest.close()
    return opened


def _warped(source: DatasetReader, warp: Warp, drivers: tuple[str, ...]) -> WarpedVRT:
    """A band of ``source`` on another grid, and an alpha band that says where it has values.

    Without one, pixels beyond the source, and those its mask leaves out, would read as valid
    zeros. And GDAL would resample every window by itself instead of in fixed blocks, so that a
    pixel's value depended on the window it is read with, wherever the grids are not parallel.
    """
    # A VRT would open the file once more, by whatever driver; and one with a place has no GCPs.
    together = source.count == 1 or bool(drivers) or bool(source.gcps[0])
    alone = source if together else _alone(source, warp)
    try:
        return WarpedVRT(
            alone,
            crs=warp.target.crs,
            transform=rasterio.Affine(*warp.target.transform),
            height=warp.target.height,
            width=warp.target.width,
            resampling=Resampling.bilinear,
            add_alpha=ColorInterp.alpha not in alone.colorinterp,  # GDAL refuses a second one
            **({} if warp.nodata is None else {"src_nodata": warp.nodata}),
        )
    except GDAL_ERRORS as error:  # its text holds both CRSs in full, too long for a message
        raise GridError(
            f"{public(source.name)}: its CRS can't be transformed to that of the other bands; "
            "bring all bands onto one grid first"
        ) from error


def _alone(source: DatasetReader, warp: Warp) -> DatasetReader:
    """One band of ``source``, and its alpha band if that is believed.

    Of several bands GDAL would take a pixel for missing only where all of them miss it, and mix
    what one of them misses into that one's neighbours. An alpha band that is not believed it would
    believe.
    """
    name = source.name
    if os.path.exists(name):
        name = str(Path(name).absolute())
    root = ElementTree.Element(
        "VRTDataset", rasterXSize=str(source.width), rasterYSize=str(source.height)
    )

    def add(parent: ElementTree.Element, number: int | None, band: str, kind: str) -> Any:
        made = ElementTree.SubElement(parent, "VRTRasterBand", {"dataType": kind})
        if number is not None:
            made.set("band", str(number))
        simple = ElementTree.SubElement(made, "SimpleSource")
        ElementTree.SubElement(simple, "SourceFilename", relativeToVRT="0").text = name
        ElementTree.SubElement(simple, "SourceBand").text = band
        return made

    if source.crs is not None:
        ElementTree.SubElement(root, "SRS").text = source.crs.to_wkt()
    place = ", ".join(repr(float(number)) for number in source.transform.to_gdal())
    ElementTree.SubElement(root, "GeoTransform").text = place
    kinds = [_GDAL_TYPES[kind] for kind in source.dtypes]
    own = add(root, 1, str(warp.index), kinds[warp.index - 1])
    flags = source.mask_flag_enums[warp.index - 1]
    alpha = None if warp.nodata is not None else alpha_of(source, warp.index, masked=warp.masked)
    if MaskFlags.nodata in flags:
        value = source.nodatavals[warp.index - 1]
        ElementTree.SubElement(own, "NoDataValue").text = repr(value)
    elif alpha is not None:
        second = add(root, ALPHA, str(alpha), kinds[alpha - 1])
        ElementTree.SubElement(second, "ColorInterp").text = "Alpha"
    elif MaskFlags.per_dataset in flags and MaskFlags.alpha not in flags:
        mask = ElementTree.SubElement(root, "MaskBand")
        add(mask, None, f"mask,{warp.index}", "Byte")
    with MemoryFile(ElementTree.tostring(root), ext=".vrt") as file:
        return rasterio.open(file.name)  # which reads all of the file now


_GDAL_TYPES = {
    "uint8": "Byte",
    "int8": "Int8",
    "uint16": "UInt16",
    "int16": "Int16",
    "uint32": "UInt32",
    "int32": "Int32",
    "uint64": "UInt64",
    "int64": "Int64",
    "float32": "Float32",
    "float64": "Float64",
    "complex_int16": "CInt16",
    "complex64": "CFloat32",
    "complex128": "CFloat64",
}
"""GDAL's names of data types by rasterio's."""

ALPHA = 2


def bands_of(opened: WarpedVRT, warp: Warp) -> tuple[int, int]:
    """Numbers (from 1) of a resampled band and of the one that is 0 where it has no value."""
    alpha = int(opened.colorinterp.index(ColorInterp.alpha)) + 1
    return (1 if opened.count == ALPHA else warp.index), alpha


def alpha_of(
    opened: DatasetReader, index: int, *, masked: bool, replaced: bool = False
) -> int | None:
    """The alpha band (from 1) that says where another one is valid; None if something else does.

    GDAL asks it in files of two and of four bands only; those of drone cameras have six or more.
    ``masked`` is False where the file's alpha band must not be believed; ``replaced`` is True where
    another value counts instead of its nodata value.
    """
    kinds = list(opened.colorinterp)
    if not masked or ColorInterp.alpha not in kinds:
        return None
    alpha = kinds.index(ColorInterp.alpha) + 1
    flags = opened.mask_flag_enums[index - 1]
    asked = MaskFlags.all_valid in flags or MaskFlags.alpha in flags
    asked = asked or (replaced and MaskFlags.nodata in flags)
    return alpha if asked and alpha != index else None


def open_dataset(path: str, drivers: tuple[str, ...] = ()) -> DatasetReader:
    """``rasterio.open`` with an error that says what to do."""
    failure: Exception | None = None
    for driver in drivers or (None,):  # rasterio speaks of a list of drivers and refuses one
        try:
            return rasterio.open(path, driver=driver)
        except GDAL_ERRORS as error:
            forget_errors()
            failure = failure or error
    if not is_remote(path) and not path.startswith("/vsi") and not os.path.exists(path):
        raise SourceError(f"{path}: no such file") from failure
    wanted = "a GeoTIFF or JPEG 2000 file" if drivers else "a raster"
    raise SourceError(
        f"{public(path)}: not {wanted} that GDAL can read ({conceal(failure, path)})"
    ) from failure


def descriptions(opened: DatasetReader | WarpedVRT) -> tuple[str, ...] | None:
    """What a file says of each of its bands; None if one of that is not UTF-8.

    GeoTIFF asks for no encoding of such text, and older software used that of its machine.
    """
    try:
        return tuple((text or "").strip() for text in opened.descriptions)
    except UnicodeDecodeError:
        return None


def types(opened: DatasetReader | WarpedVRT) -> tuple[str, ...]:
    """The data type of each band, by numpy's name; pairs of integers are read as complex floats."""
    return tuple("complex64" if name == "complex_int16" else name for name in opened.dtypes)


def close_all() -> None:
    """Close the calling thread's datasets."""
    mine = _own()
    while mine:
        _, opened = mine.popitem()
        opened.close()
