"""Creation options of GDAL's COG driver: which there are, whether it takes them, and defaults."""

from __future__ import annotations

import io
import logging
import re
import threading
from collections.abc import Mapping

import numpy as np
import rasterio
import rasterio.shutil
from rasterio import Affine
from rasterio.crs import CRS
from rasterio.env import get_gdal_config
from rasterio.errors import CRSError
from rasterio.io import MemoryFile

from nirgeo.cog_blocks import check_blocks
from nirgeo.cores import cores
from nirgeo.errors import OptionError
from nirgeo.gdal_settings import GDAL_ERRORS, forget_errors

# Creation options of GDAL's COG driver (GDAL 3.11 documentation). The driver only warns about a
# name it does not know, and a misspelt option then silently does nothing.
COG_OPTIONS = frozenset(
    (
        *("ADD_ALPHA", "ALIGNED_LEVELS", "BIGTIFF", "BLOCKSIZE", "COMPRESS", "EXTENT"),
        *("GEOTIFF_VERSION", "INTERLEAVE", "JXL_ALPHA_DISTANCE", "JXL_DISTANCE", "JXL_EFFORT"),
        *("JXL_LOSSLESS", "LEVEL", "MAX_Z_ERROR", "MAX_Z_ERROR_OVERVIEW", "NBITS", "NUM_THREADS"),
        *("OVERVIEWS", "OVERVIEW_COMPRESS", "OVERVIEW_COUNT", "OVERVIEW_PREDICTOR"),
        *("OVERVIEW_QUALITY", "OVERVIEW_RESAMPLING", "PREDICTOR", "QUALITY", "RES", "RESAMPLING"),
        *("SPARSE_OK", "STATISTICS", "TARGET_SRS", "TILING_SCHEME", "WARP_RESAMPLING"),
        *("ZOOM_LEVEL", "ZOOM_LEVEL_STRATEGY"),
    )
)

# Options that move the picture to another grid; they can't be tried without the picture.
WARPING_OPTIONS = frozenset(
    (
        *("ALIGNED_LEVELS", "EXTENT", "RES", "TARGET_SRS", "TILING_SCHEME", "WARP_RESAMPLING"),
        *("ZOOM_LEVEL", "ZOOM_LEVEL_STRATEGY"),
    )
)

MOVING_OPTIONS = frozenset(("TARGET_SRS", "TILING_SCHEME"))
"""Those that do so; the others say how."""

MOVED_BY = WARPING_OPTIONS | {"BLOCKSIZE", "NUM_THREADS", "RESAMPLING", "ADD_ALPHA"}
"""All that decides which pixels a picture has that is moved so."""

# Options that want other overviews, or another grid: there GDAL makes them.
OVERVIEW_OPTIONS = WARPING_OPTIONS | {
    "OVERVIEWS",
    "OVERVIEW_COUNT",
    "OVERVIEW_RESAMPLING",
    "RESAMPLING",
}

# Options that mean the same for a strip as for the whole, and encoders that keep no tables beside
# the blocks.
STRIP_OPTIONS = frozenset(
    (
        *("BIGTIFF", "BLOCKSIZE", "COMPRESS", "GEOTIFF_VERSION", "LEVEL", "NUM_THREADS"),
        *("PREDICTOR", "SPARSE_OK"),
    )
)
STRIP_ENCODERS = frozenset(("NONE", "LZW", "DEFLATE", "ZSTD"))

_LOSSLESS_LEVELS = {"DEFLATE", "ZSTD", "LERC_DEFLATE", "LERC_ZSTD"}
_PREDICTABLE = {"DEFLATE", "ZSTD", "LZW"}


def check_creation_options(
    options: Mapping[str, str], dtype: str, bands: int = 3
) -> dict[str, str]:
    """Upper-case names, each one known to the COG driver, with values that it takes.

    GDAL ignores what it does not understand, after a warning that is easily lost; and what it
    refuses it refuses at the end of the work. So the options are tried on a small picture first,
    of as many ``bands``.

    Raises
    ------
    OptionError : a name is unknown, or GDAL does not take a value, or would lose the mask
    """
    known = {str(k).upper(): str(v) for k, v in options.items()}
    unknown = sorted(set(known) - COG_OPTIONS)
    if unknown:
        raise OptionError(
            f"--co {unknown[0]}: not a creation option of GDAL's COG driver; it knows "
            + ", ".join(sorted(COG_OPTIONS))
        )
    for name, value in known.items():
        _check_range(name, value)
    needless = sorted(set(known) & WARPING_OPTIONS - MOVING_OPTIONS)
    if needless and not set(known) & MOVING_OPTIONS:
        name, others = needless[0], " or ".join(sorted(MOVING_OPTIONS))
        raise OptionError(f"--co {name}={known[name]}: does nothing without {others}")
    if known.get("STATISTICS", "NO").upper() not in ("NO", "AUTO"):
        raise OptionError(
            f"--co STATISTICS={known['STATISTICS']}: they can't be taken while the file is made; "
            "gdalinfo -stats takes them of the result"
        )
    if "TARGET_SRS" in known:
        try:
            CRS.from_user_input(known["TARGET_SRS"])
        except CRSError as error:
            raise OptionError(
                f"--co TARGET_SRS={known['TARGET_SRS']}: not a coordinate system ({error})"
            ) from error
    moved = sorted(set(known) & MOVING_OPTIONS)
    if moved and (dtype != "uint8" or bands != 3):
        raise OptionError(
            f"--co {moved[0]}={known[moved[0]]}: GDAL loses which pixels are missing when it moves "
            "a picture of reflectance, or one with a band for the expected error; write it "
            "without, and use gdalwarp"
        )
    if moved and known.get("ADD_ALPHA", "YES").upper() in ("NO", "FALSE", "OFF", "0"):
        raise OptionError(
            f"--co ADD_ALPHA={known['ADD_ALPHA']}: beside {moved[0]} GDAL loses which pixels are "
            "missing; leave it away"
        )
    tried = {name: value for name, value in known.items() if name not in WARPING_OPTIONS}
    if tried:
        _try_options(tried, dtype, bands)
    return known


_listening = threading.Lock()


class _Warnings(logging.Handler):
    """Collects what GDAL warns this thread about, which rasterio writes to its log.

    One at a time is entered, since it may have to change the level of that log.
    """

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.texts: list[str] = []
        self._log = logging.getLogger("rasterio")
        self._thread = threading.get_ident()

    def emit(self, record: logging.LogRecord) -> None:
        if record.thread == self._thread:
            self.texts.append(record.getMessage())

    def __enter__(self) -> _Warnings:
        _listening.acquire()
        self._before = (self._log.level, self._log.propagate)
        self._log.addHandler(self)
        if not self._log.isEnabledFor(logging.WARNING):  # a quiet program; the ears are ours alone
            self._log.setLevel(logging.WARNING)
            self._log.propagate = False
        return self

    def __exit__(self, *_: object) -> None:
        self._log.removeHandler(self)
        level, self._log.propagate = self._before
        self._log.setLevel(level)
        _listening.release()


def _try_options(options: Mapping[str, str], dtype: str, bands: int) -> None:
    """Write a small picture, large enough to have an overview, and listen for complaints."""
    side = min(int(options.get("BLOCKSIZE", 512)), 2048) + 1
    chosen = ", ".join(f"{k}={v}" for k, v in options.items())
    try:
        with (
            _Warnings() as heard,
            rasterio.Env(GDAL_TIFF_INTERNAL_MASK="YES"),
            MemoryFile() as source,
            MemoryFile() as made,
        ):
            shape = {"count": bands, "height": side, "width": side}
            # Without a georeference rasterio warns; and of one like none.
            place = {"crs": "EPSG:3857", "transform": Affine(2.0, 0.0, 0.0, 0.0, -2.0, 0.0)}
            with source.open(driver="GTiff", dtype=dtype, tiled=True, **shape, **place) as picture:
                picture.write_mask(np.full((side, side), 255, dtype=np.uint8))
            # In this thread, whose encoder's complaints are heard.
            tried = cog_options({"NUM_THREADS": "1", **options})
            rasterio.shutil.copy(source.name, made.name, driver="COG", **tried)
            check_blocks(io.BytesIO(made.read()), sparse=leaves_blocks_out(options))
    except (*GDAL_ERRORS, MemoryError) as error:
        forget_errors()
        raise OptionError(f"--co {chosen}: GDAL can't write a COG with that ({error})") from error
    if heard.texts:
        said = re.sub(r"^CPLE_\w+ in ", "", heard.texts[0])
        raise OptionError(f"--co {chosen}: GDAL can't write a COG with that ({said})")


def leaves_blocks_out(options: Mapping[str, str]) -> bool:
    """Whether blocks of nothing are to be left out of the file."""
    return options.get("SPARSE_OK", "NO").upper() in ("YES", "TRUE", "ON", "1")


# Whole numbers that the driver takes without a word where it should not, and tells nobody.
_RANGES = {
    "BLOCKSIZE": (128, 8192, 16),
    "LEVEL": (1, 22, 1),
    "OVERVIEW_COUNT": (1, 30, 1),
    "QUALITY": (1, 100, 1),
}


def _check_range(name: str, value: str) -> None:
    """Refuse what the trial can't: it would pass, or be too large to try."""
    if name not in _RANGES:
        return
    low, high, step = _RANGES[name]
    number = value.isascii() and value.isdigit()
    if not (number and low <= int(value) <= high and int(value) % step == 0):
        steps = f", in steps of {step}" if step > 1 else ""
        raise OptionError(
            f"--co {name}={value}: must be a whole number from {low} to {high}{steps}"
        )


def cog_options(given: Mapping[str, str], threads: int | None = None) -> dict[str, str]:
    """Defaults with the user's options over them; ``threads`` are all cores if nobody chose.

    Deflate is read by everything; level 1 costs a quarter of the time of level 6 for a twentieth
    more bytes.
    """
    options = {
        "COMPRESS": "DEFLATE",
        "BLOCKSIZE": "512",
        "BIGTIFF": "IF_SAFER",
    }
    if get_gdal_config("GDAL_NUM_THREADS") is None:  # what the driver itself looks at
        options["NUM_THREADS"] = str(threads or cores())
    options |= given
    options.setdefault("OVERVIEW_RESAMPLING", options.get("RESAMPLING", "AVERAGE"))
    compress = options["COMPRESS"].upper()
    if compress in _LOSSLESS_LEVELS:
        options.setdefault("LEVEL", "1")
    if compress in _PREDICTABLE:
        options.setdefault("PREDICTOR", "YES")
    return options
