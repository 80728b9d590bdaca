"""From a block store to the finished Cloud Optimized GeoTIFF.

GDAL's COG driver makes it, in memory that does not grow with the scene: strip by strip on all cores
(:mod:`nirgeo.cog_strips`), or, where the user's options want what strips can't give, all at once.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import rasterio

from nirgeo.blockstore import TiledFile
from nirgeo.cog_blocks import check_blocks
from nirgeo.cog_source import Picture, describe_moved, write_vrt
from nirgeo.cog_strips import UnlikeHeaderError, can_be_put_together, write_strips
from nirgeo.creation_options import (
    MOVED_BY,
    MOVING_OPTIONS,
    WARPING_OPTIONS,
    cog_options,
    leaves_blocks_out,
)
from nirgeo.errors import OptionError, TargetError
from nirgeo.gdal_settings import GDAL_ERRORS, forget_errors, unset
from nirgeo.interruption import copy_raster
from nirgeo.tiling import Window

_FULL = 2**24
"""Bytes that are free on a disk that is full: nobody can write less than a block."""


def write_cog(
    store: TiledFile,
    picture: Picture,
    target: Path,
    options: Mapping[str, str],
    areas: Sequence[Window] | None = None,
    overviews: Sequence[TiledFile] = (),
    on_share: Callable[[float], None] = lambda share: None,
    threads: int | None = None,
    ahead: Collection[str] = (),
) -> None:
    """Copy the block store into a COG at ``target``.

    ``areas`` are all of it that is not 0: of a picture of hardly anything, hardly anything is read.
    Without ``overviews`` (see :func:`nirgeo.cog_source.write_vrt`) GDAL makes them. ``on_share`` is
    told now and then what share of it is done. ``threads`` is how many encode: all cores if None.
    ``ahead`` are the strips that are encoded already (:mod:`nirgeo.strips_ahead`).

    Raises
    ------
    TargetError : the disk is full, or GDAL can't write there
    OptionError : GDAL refuses a creation option that moves the picture to another grid
    """
    made = cog_options(options, threads)
    try:
        together = goes_in_strips(store, options, overviews)
        if together:
            try:
                write_strips(store, picture, target, made, areas, overviews, on_share, ahead)
            except UnlikeHeaderError:
                together = False
        if not together:
            _write_at_once(store, picture, target, made, areas, overviews, on_share)
        with open(target, "rb") as file:
            check_blocks(file, sparse=leaves_blocks_out(options))
    except (BrokenPipeError, OptionError):  # whoever is told of it has gone; or knows already
        raise
    except GDAL_ERRORS as error:
        forget_errors()
        moved = _told(options)
        if moved:
            raise OptionError(
                f"--co {moved}: GDAL can't write a COG with that ({error})"
            ) from error
        full = shutil.disk_usage(target.parent).free < _FULL
        raise TargetError(
            f"{target.parent}: writing the result failed ({error})"
            + ("; its disk is full: free some space" if full else "")
        ) from error


def goes_in_strips(
    store: TiledFile, options: Mapping[str, str], overviews: Sequence[TiledFile]
) -> bool:
    """Whether :func:`write_cog` makes the file strip by strip, for all that can be known before."""
    made = cog_options(options)
    complete = max((store, *overviews)[-1].shape) <= int(made["BLOCKSIZE"])
    return complete and can_be_put_together(options, made)


def _write_at_once(
    store: TiledFile,
    picture: Picture,
    target: Path,
    options: Mapping[str, str],
    areas: Sequence[Window] | None,
    overviews: Sequence[TiledFile],
    on_share: Callable[[float], None],
) -> None:
    vrt = store.path.with_suffix(".vrt")
    write_vrt(vrt, store, picture, areas, overviews)
    total = store.pixel_bytes(areas) + sum(file.pixel_bytes() for file in overviews)
    read = 0

    def on_read(count: int) -> None:
        nonlocal read
        read += count
        on_share(min(1.0, read / total))

    # Overviews are made in a temporary file: beside the result, where there must be room anyway.
    place = unset({"CPL_TMPDIR": str(target.parent)})
    with rasterio.Env(GDAL_TIFF_INTERNAL_MASK="YES", **place):
        made = {"driver": "COG", "COPY_SRC_MDD": "YES", **options}
        if overviews:  # else GDAL makes the mask's once more
            made["OVERVIEWS"] = "FORCE_USE_EXISTING"
        if not MOVING_OPTIONS & set(options):
            copy_raster(vrt, target, on_read=on_read, **made)
            return
        with _moved(vrt, picture, options, on_read) as again:
            copy_raster(again, target, on_read=None, **made)


@contextmanager
def _moved(
    vrt: Path, picture: Picture, options: Mapping[str, str], on_read: Callable[[int], None]
) -> Iterator[Path]:
    """The picture where the options want it, to be written with all of them.

    What GDAL moves loses nirgeo's tags and the bands' names. So it moves a picture first, and then
    they are said again. The second time it finds the picture in its place and leaves pixels alone.

    Raises
    ------
    OptionError : no pixel of it lies there
    """
    moved, again = vrt.with_name("moved.tif"), vrt.with_name("moved.vrt")
    where = {name: value for name, value in options.items() if name in MOVED_BY}
    lossless = {"driver": "COG", "COMPRESS": "LZW", "OVERVIEWS": "NONE", "BIGTIFF": "IF_SAFER"}
    try:
        copy_raster(vrt, moved, on_read=on_read, **(lossless | where))
        if not _any_valid(moved):
            raise OptionError(f"--co {_told(options)}: no pixel of the picture lies there")
        describe_moved(moved, again, picture, as_mask=options["COMPRESS"].upper() == "JPEG")
        yield again
    finally:
        for file in (moved, again):
            file.unlink(missing_ok=True)


def _any_valid(path: Path) -> bool:
    with rasterio.open(path) as opened:
        blocks = (window for _, window in opened.block_windows())
        return any(opened.dataset_mask(window=window).any() for window in blocks)


def _told(options: Mapping[str, str]) -> str:
    """Those of some creation options that say where a picture is to be, for people."""
    return ", ".join(f"{k}={v}" for k, v in options.items() if k in WARPING_OPTIONS)
