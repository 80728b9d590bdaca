"""A scene cut into tiles, and one tile as a file."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import rasterio
from numpy.typing import NDArray
from rasterio.crs import CRS

from nirgeo.errors import TargetError
from nirgeo.gdal_settings import GDAL_ERRORS
from nirgeo.grid import Grid
from nirgeo.radiometry import Quantity
from nirgeo.tiling import TILE, Window

BANDS = ("red", "green", "blue", "nir")
REFLECTANCE_GAIN = 1e-4


def tile_windows(shape: tuple[int, int], side: int) -> Iterator[tuple[int, int, Window]]:
    """(row, column, window) of every tile of ``side`` px; a rest of less than 64 px is left out."""
    height, width = shape
    for row, top in enumerate(range(0, height, side)):
        for col, left in enumerate(range(0, width, side)):
            size = (min(side, height - top), min(side, width - left))
            if min(size) >= TILE:
                yield row, col, Window(top, left, *size)


def write_tile(
    path: Path,
    values: NDArray[np.float32],
    valid: NDArray[np.bool_],
    quantity: Quantity,
    grid: Grid,
    window: Window,
) -> None:
    """Write red, green, blue and nir of one tile as nirgeo's training reads them.

    Reflectance becomes uint16, × 10000, with 0 for nodata; counts become uint8, with a mask if a
    pixel is missing. A tag says which it is.

    Parameters
    ----------
    values : (4, h, w) reflectance or counts
    valid : (h, w)
    grid, window : the scene, and where in it the tile lies

    Raises
    ------
    TargetError : the file can't be written
    """
    if quantity is Quantity.REFLECTANCE:
        counts = np.clip(np.rint(values / np.float32(REFLECTANCE_GAIN)), 1, 65535)
        stored: NDArray[Any] = np.where(valid, counts, 0).astype(np.uint16)
        scale, nodata = f"{REFLECTANCE_GAIN:g}", 0.0
    else:
        stored = np.where(valid, np.clip(np.rint(values), 0, 255), 0).astype(np.uint8)
        scale, nodata = "1", None
    place: dict[str, Any] = {}
    if grid.placed:
        shift = grid.affine.translation(window.col, window.row)
        place = {"crs": CRS.from_user_input(grid.crs), "transform": grid.affine @ shift}
    try:
        with (
            rasterio.Env(GDAL_TIFF_INTERNAL_MASK=True),
            rasterio.open(
                path,
                "w",
                driver="GTiff",
                count=len(BANDS),
                height=window.height,
                width=window.width,
                dtype=stored.dtype,
                nodata=nodata,
                compress="deflate",
                predictor=2,
                photometric="MINISBLACK",
                **place,
            ) as file,
        ):
            file.descriptions = BANDS
            file.update_tags(REFLECTANCE_SCALE=scale)
            file.write(stored)
            if nodata is None and not valid.all():
                file.write_mask(valid)
    except GDAL_ERRORS as error:
        raise TargetError(f"{path} can't be written ({error})") from error
