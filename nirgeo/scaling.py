"""What a scene's numbers mean: how digital numbers become reflectance, or are display counts.

The first of these that is known decides, and is recorded with what is made: what a user says, tags,
GDAL's scale, a STAC item's, the product's name, and at last the numbers themselves.
"""

from __future__ import annotations

import math
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nirgeo.errors import RadiometryError
from nirgeo.radiometry import FloatArray, Quantity


@dataclass(frozen=True)
class Scaling:
    """``value = gain · DN + offset``, what the value means, and where this was found."""

    quantity: Quantity
    gain: float
    offset: float
    origin: str

    def __post_init__(self) -> None:
        if not (np.isfinite(self.gain) and np.isfinite(self.offset)) or self.gain <= 0:
            raise RadiometryError(
                f"scaling gain {self.gain} and offset {self.offset} ({self.origin}) can't be used: "
                f"the gain must be a positive finite number; give {_option(self.origin)} "
                "GAIN[,OFFSET]"
            )

    def apply(self, values: NDArray[Any]) -> FloatArray:
        """Digital numbers of any real dtype and shape to float32 values of ``quantity``."""
        scaled = values.astype(np.float64) * self.gain + self.offset
        return scaled.astype(np.float32)

    def describe(self) -> str:
        unit = "reflectance" if self.quantity is Quantity.REFLECTANCE else "display counts"
        if self.gain == 1 and self.offset == 0:
            return f"values are {unit} ({self.origin})"
        offset = f" {'+' if self.offset >= 0 else '−'} {abs(self.offset):g}" if self.offset else ""
        return f"{unit} = {self.gain:g} · DN{offset} ({self.origin})"

    def tag(self) -> str:
        """The form that is written into an output and read back by ``--scale FILE``."""
        return f"{self.quantity.value}:{float(self.gain)!r},{float(self.offset)!r}"

    @classmethod
    def from_tag(cls, text: str, origin: str) -> Scaling:
        """Inverse of :meth:`tag`.

        Raises
        ------
        RadiometryError : the text is not a recorded scaling
        """
        match = re.fullmatch(r"(reflectance|counts):([^,]+),([^,]+)", text.strip())
        try:
            if match is None:
                raise ValueError
            gain, offset = float(match[2]), float(match[3])
        except ValueError:
            raise RadiometryError(f"{origin} records an unreadable scaling: {text!r}") from None
        return cls(Quantity(match[1]), gain, offset, origin)


Scale = str | os.PathLike[str] | float | Scaling
"""How values become what a model eats: a gain, ``"GAIN,OFFSET"``, a result that recorded it."""

_BRIGHTEST = 2.0
"""No reflectance exceeds it, and integers that are to be scaled do."""


def is_assumed(scaling: Scaling) -> bool:
    """Whether nothing that is known of a scene says it."""
    return scaling.origin.startswith("assumed")


def assumption(
    scaling: Scaling, remedy: str, scene: str = "it", high: float | None = None
) -> list[str]:
    """What people should hear of a scaling that is assumed; nothing of any other.

    ``remedy`` is what to do if it is wrong, and ``high`` the 98th percentile of the numbers.
    """
    if not is_assumed(scaling):
        return []
    said = (
        f"nothing in {scene} says how its numbers become reflectance; {scaling.describe()}. If "
        f"that is wrong, {remedy}"
    )
    if high is not None and high * scaling.gain > 1:
        surely = high * scaling.gain > _BRIGHTEST
        said += (
            f". It {'seems to' if surely else 'may well'} be wrong: numbers go up to {high:.0f}, "
            "which would be more light than falls on the ground. Landsat Collection 2 has "
            "0.0000275,-0.2, its Level-1 0.00002,-0.1; drones' 32768 for all light is 0.0000305, a "
            "camera's 65535 0.000015"
        )
    return [said]


def _option(origin: str) -> str:
    """The option that says a scaling, of a scene if it is not known of what."""
    return origin if origin.startswith("--") else "--scale"


TAG_ORIGIN = "REFLECTANCE_SCALE tag"


@dataclass(frozen=True)
class ScalingClues:
    """What a scene tells about its scaling; see :func:`find_scaling` for the order of trust."""

    dtype: str
    reflectance_scale_tag: float | None = None
    reflectance_scale_origin: str = TAG_ORIGIN
    gdal_scale: float | None = None
    gdal_offset: float | None = None
    stac_scale: float | None = None
    stac_offset: float | None = None
    stac_origin: str = "STAC raster:bands"
    product: str | None = None
    processing_baseline: float | None = None
    sun_elevation: float | None = None
    """Degrees above the horizon, where the product's metadata say so."""
    band: str = ""
    """What the band of near infrared is called."""
    low: float | None = None
    high: float | None = None
    """Range (2nd and 98th percentile) of the valid samples on the scene's fixed lattice."""


# Landsat Collection 2 Level-2 surface reflectance (USGS LSDS-1619, section 6.1).
_LANDSAT_C2_L2 = re.compile(r"L[COTEM]0[4-9]_L2S[PR]_\d{6}_\d{8}_\d{8}_02", re.IGNORECASE)

# Collection 1's, as ESPA delivered it, under the name of the Level-1 scene it was made of.
_LANDSAT_C1_SR = re.compile(r"L[COTE]0[4-9]_L1\w+_01_\w+?_sr_band\d", re.IGNORECASE)

# Level-1 of OLI: reflectance at the top of the atmosphere but for the sun's height, with the same
# two numbers for every scene (USGS LSDS-1574, section 5). 0 is 5000.
_LANDSAT_L1 = re.compile(
    r"L[CO]0[89]_L1(?:TP|GT|GS)_\d{6}_\d{8}_\d{8}_0[12]_(?:T1|T2|RT)(?!\w*_sr_)", re.IGNORECASE
)

_LANDSAT_L1_LEAST = 4500

# Harmonized Landsat Sentinel-2 (HLS v2.0 user guide): reflectance × 10000.
_HLS = re.compile(r"HLS\.[LS]30", re.IGNORECASE)

# Sentinel-2 product names carry the baseline as _Nbbbb_; images inside a product do not, but they
# do carry when they were taken.
_S2_BASELINE = re.compile(r"S2[A-D]_MSIL[12][AC]_.*?_N(\d{2})(\d{2})_", re.IGNORECASE)

_S2_IMAGE = re.compile(r"(?<![A-Z0-9])T\d{2}[C-X][A-Z]{2}_(20\d{6})T\d{6}_B\d", re.IGNORECASE)

_S2_OFFSET_SINCE = "20220125"
"""When ESA began to make everything with baseline 04.00, which adds 1000."""

_S2_LEAST = 900
"""Numbers below that are none to which 1000 was added: somebody has taken it away."""

# Collection 2's names of bands, those of Earth Engine too (Collection 1 had them in lower case, or
# none), and the least of its numbers for what is not darker than black.
_LANDSAT_C2_BAND = re.compile(r"(?<![A-Za-z0-9])SR_B\d(?!\d)")

_LANDSAT_C2_BANDS = "Landsat Collection 2's bands SR_B…"

_LANDSAT_C2_LEAST = 6500

_LANDSAT_C2_DARKEST = 4000
"""What is darker is none of them, whatever its file is called."""


def _from_product(clues: ScalingClues) -> Scaling | None:
    """What a product's name says of the numbers that its maker delivers."""
    eight_bit, fractions = clues.dtype == "uint8", clues.dtype.startswith("float")
    if eight_bit or (fractions and clues.high is not None and clues.high <= _BRIGHTEST):
        return None  # a picture beside it, or what somebody has scaled
    name = clues.product or ""
    high_numbers = clues.low is not None and clues.low >= _LANDSAT_C2_LEAST
    if _LANDSAT_C2_BAND.search(clues.band) and high_numbers:
        return Scaling(Quantity.REFLECTANCE, 2.75e-5, -0.2, _LANDSAT_C2_BANDS)
    if _LANDSAT_C2_L2.search(name) and (clues.low is None or clues.low >= _LANDSAT_C2_DARKEST):
        return Scaling(Quantity.REFLECTANCE, 2.75e-5, -0.2, "Landsat Collection 2 Level-2 product")
    if _LANDSAT_C1_SR.search(name):
        return Scaling(Quantity.REFLECTANCE, 1e-4, 0.0, "Landsat Collection 1 surface reflectance")
    if _LANDSAT_L1.search(name) and (clues.low is None or clues.low >= _LANDSAT_L1_LEAST):
        return _level_1_of_oli(clues.sun_elevation)
    if _HLS.search(name):
        return Scaling(Quantity.REFLECTANCE, 1e-4, 0.0, "HLS product")
    baseline = clues.processing_baseline
    match = _S2_BASELINE.search(name)
    if baseline is None and match is not None:
        baseline = int(match[1]) + int(match[2]) / 100
    if baseline is not None and baseline < 90:  # N9999 marks reprocessed test products
        offset = -0.1 if baseline >= 4 else 0.0
        return Scaling(
            Quantity.REFLECTANCE, 1e-4, offset, f"Sentinel-2 processing baseline {baseline:05.2f}"
        )
    taken = _S2_IMAGE.search(name)
    still_there = clues.low is None or clues.low >= _S2_LEAST
    if baseline is None and taken is not None and taken[1] >= _S2_OFFSET_SINCE and still_there:
        day = f"{taken[1][:4]}-{taken[1][4:6]}-{taken[1][6:]}"
        return Scaling(Quantity.REFLECTANCE, 1e-4, -0.1, f"Sentinel-2 image of {day}")
    return None


def _level_1_of_oli(sun_elevation: float | None) -> Scaling:
    if sun_elevation is None or not 0 < sun_elevation <= 90:
        return Scaling(
            Quantity.REFLECTANCE, 2e-5, -0.1, "Landsat Level-1 product, sun's height unknown"
        )
    light = math.sin(math.radians(sun_elevation))
    origin = f"Landsat Level-1 product, sun {sun_elevation:.1f}° high"
    return Scaling(Quantity.REFLECTANCE, 2e-5 / light, -0.1 / light, origin)


_DIVISOR = 100.0
"""No whole number stands for so much reflectance: a scale as large as this divides, as that of
MODIS's HDF files does, which GDAL hands on."""


def find_scaling(clues: ScalingClues, override: str | Scaling | None = None) -> Scaling:
    """The scaling of a scene: the first of these that is known.

    1. ``override``: ``"GAIN"``, ``"GAIN,OFFSET"`` (reflectance), or a recorded :class:`Scaling`;
    2. a ``REFLECTANCE_SCALE`` tag (1 on uint8 files means display counts), or the factor in an
       ENVI header;
    3. GDAL's scale and offset of the band, when they are not 1 and 0 (a scale of 100 and more on
       whole numbers divides);
    4. a STAC item's scale and offset;
    5. the product's name or metadata (Landsat Collection 2, HLS, Sentinel-2 baseline), or the names
       of its bands or images, where the numbers can be its maker's;
    6. the data type and the range of a sample: uint8 is display counts, and so are values whose
       98th percentile lies in 2–255, none of the lowest 2 % aside below 0; floats up to 2 are
       reflectance; other numbers are reflectance × 10000.

    Raises
    ------
    RadiometryError : the override can't be parsed, or a scaling found has no positive finite gain
    """
    if isinstance(override, Scaling):
        return override
    if override is not None:
        return parse_scale(override)
    eight_bit = clues.dtype == "uint8"
    tag = clues.reflectance_scale_tag
    if tag is not None:
        if eight_bit and tag == 1:
            return Scaling(Quantity.COUNTS, 1.0, 0.0, "REFLECTANCE_SCALE tag of 1 on 8-bit counts")
        return Scaling(Quantity.REFLECTANCE, tag, 0.0, clues.reflectance_scale_origin)
    divides = not clues.dtype.startswith("float") and (clues.gdal_scale or 0) >= _DIVISOR
    if divides and clues.gdal_scale is not None and not clues.gdal_offset:
        return Scaling(
            Quantity.REFLECTANCE, 1 / clues.gdal_scale, 0.0, "GDAL scale, which divides as MODIS's"
        )
    if clues.gdal_scale is not None or clues.gdal_offset is not None:
        return Scaling(
            Quantity.REFLECTANCE,
            1.0 if clues.gdal_scale is None else clues.gdal_scale,
            0.0 if clues.gdal_offset is None else clues.gdal_offset,
            "GDAL scale and offset",
        )
    if clues.stac_scale is not None:
        return Scaling(
            Quantity.REFLECTANCE, clues.stac_scale, clues.stac_offset or 0.0, clues.stac_origin
        )
    product = _from_product(clues)
    if product is not None:
        return product
    if eight_bit:
        return Scaling(Quantity.COUNTS, 1.0, 0.0, "8-bit data")
    high = clues.high
    if high is not None and clues.dtype.startswith("float") and high <= 2:
        return Scaling(Quantity.REFLECTANCE, 1.0, 0.0, f"floats up to {high:.3g}")
    if high is not None and 2 < high <= 255 and (clues.low or 0) >= 0:
        return Scaling(Quantity.COUNTS, 1.0, 0.0, f"values up to {high:.3g}, the range of 8 bits")
    return Scaling(Quantity.REFLECTANCE, 1e-4, 0.0, "assumed: reflectance × 10000")


ENVI_FACTOR = "reflectance_scale_factor"

ENVI_ORIGIN = "reflectance scale factor of the ENVI header"


def envi_scale(value: object) -> float | None:
    """What the numbers of a file are multiplied with, by ENVI's factor, which divides them."""
    try:
        factor = float(str(value))
    except ValueError:
        return None
    return 1 / factor if math.isfinite(factor) and factor > 0 else None


def parse_scale(text: str, option: str = "--scale") -> Scaling:
    """``"GAIN[,OFFSET]"`` to reflectance, as it was given with an option.

    Raises
    ------
    RadiometryError : it is something else
    """
    parts = text.split(",")
    try:
        if len(parts) not in (1, 2):
            raise ValueError
        numbers = [float(part) for part in parts]
    except ValueError:
        raise RadiometryError(
            f"--scale {text!r} is neither GAIN[,OFFSET] nor an existing file made by nirgeo"
            if option == "--scale"
            else f"{option} {text!r} is not GAIN[,OFFSET]"
        ) from None
    return Scaling(
        Quantity.REFLECTANCE, numbers[0], numbers[1] if len(numbers) == 2 else 0.0, option
    )


def kind_of_numbers(dtype: np.dtype[Any]) -> str:
    """Fractions, display counts or digital numbers: what is scaled alike."""
    if dtype.kind == "f":
        return "fractions"
    return "counts" if dtype == np.uint8 else "numbers"


def sampled_clues(dtype: str, sample: NDArray[Any], nodata: float | None) -> ScalingClues:
    """What a sample of an array's near infrared tells: the range of what is not missing in it."""
    values = sample.astype(np.float64)
    values = values[np.isfinite(values) & (values != (np.nan if nodata is None else nodata))]
    if not values.size:
        return ScalingClues(dtype)
    low, high = np.percentile(values, (2, 98))
    return ScalingClues(dtype, low=float(low), high=float(high))


def cf_scaling(attributes: Mapping[Any, Any]) -> Scaling | None:
    """The scaling in an array's attributes, one of which may be missing (CF conventions, 8.1); None
    for 1 and 0, which rioxarray always says."""
    factor, offset = attributes.get("scale_factor"), attributes.get("add_offset")
    gain, added = float(1 if factor is None else factor), float(0 if offset is None else offset)
    if (gain, added) == (1, 0):
        return None
    return Scaling(Quantity.REFLECTANCE, gain, added, "scale_factor and add_offset")


_OF_INTEGERS = 0.01
"""Gains up to this are those of integers."""


def may_have_been_applied(scaling: Scaling, dtype: str) -> bool:
    """Whether attributes may tell what was done already: xarray keeps them through arithmetic."""
    integers = scaling.quantity is Quantity.REFLECTANCE and 0 < scaling.gain <= _OF_INTEGERS
    return integers and np.dtype(dtype).kind == "f"


def refuse_what_was_applied(scaling: Scaling, high: float | None) -> None:
    """``high`` is the 98th percentile of the values.

    Raises
    ------
    RadiometryError : they are reflectance as they are
    """
    if high is not None and 0 < high <= _BRIGHTEST:
        raise RadiometryError(
            f"the array says {scaling.describe()}, but its values go up to {high:.2g}, as if they "
            'were reflectance already; give scale="1", or the scale again to insist'
        )


# Products that are not corrected for the atmosphere, by their makers' names: Sentinel-2 Level-1C
# (ESA), Landsat Level-1 (USGS LSDS-1619), ASTER Level 1 (LP DAAC).
_LEVEL_1 = re.compile(
    r"MSIL1C|(?<![a-z0-9])S2[A-D]_\w+_L1C(?![a-z0-9])|Sentinel.?2.?L1C(?![a-z0-9])|AST_?L1[ABT]"
    r"|(?<![a-z])L[COTEM]0[1-9]_L1(?:TP|GT|GS)|(?<![a-z0-9])L[COTEM][1-9]\d{13}[A-Z]{3}\d{2}",
    re.IGNORECASE,
)

_SURFACE = re.compile(r"_sr_(?:band|cloud|evi|ndvi)", re.IGNORECASE)
"""Of Collection 1, whose surface reflectance keeps the name of the Level-1 scene."""


def level_1_mark(product: str) -> str:
    """The part of a product's name that says that the air was not removed; nothing if none does."""
    found = _LEVEL_1.search(product)
    return "" if found is None or _SURFACE.search(product) else found[0]


# Words of levels alone. Not enough to choose a model by, since folders are called so too; but
# enough for an index, which people read.
_SAYS_SURFACE = re.compile(r"L2A|L2SP|L2SR|HLS\.[LS]30|MOD09|MYD09", re.IGNORECASE)

_SAYS_LEVEL_1 = re.compile(r"L1C|L1TP|L1GT", re.IGNORECASE)


def processing_level(product: str) -> str:
    """``boa``, ``toa`` or ``unknown`` by what a product is called; for an index."""
    if _SURFACE.search(product) or _SAYS_SURFACE.search(product):
        return "boa"
    return "toa" if level_1_mark(product) or _SAYS_LEVEL_1.search(product) else "unknown"


def is_surface(product: str, scaling: Scaling) -> bool:
    """Whether a product is known to be corrected for the air, by its name or its numbers."""
    return processing_level(product) == "boa" or scaling.origin == _LANDSAT_C2_BANDS
