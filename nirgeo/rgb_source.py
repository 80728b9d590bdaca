"""The colours of any raster: a picture, nirgeo's own output, or a scene with more bands."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rasterio.enums import ColorInterp

from nirgeo import gdal_settings, handles
from nirgeo.bands import COLOURS
from nirgeo.errors import (
    BandError,
    BandWarning,
    EvaluationError,
    GridError,
    NirgeoError,
    RadiometryError,
    SourceError,
)
from nirgeo.grid import Grid
from nirgeo.hrefs import is_remote, public, without_query
from nirgeo.opening import open_source
from nirgeo.provenance import NAMESPACE
from nirgeo.radiometry import DisplayCurve, Quantity
from nirgeo.scaling import Scaling, find_scaling
from nirgeo.source import RasterSource
from nirgeo.tiling import Window
from nirgeo.unheard import unheard

FloatArray = NDArray[np.float32]
Mask = NDArray[np.bool_]

_CURVE = DisplayCurve()


@dataclass(frozen=True)
class Rendering:
    """How reflectance became a picture; that of nirgeo unless a file records another."""

    curve: DisplayCurve = _CURVE
    brightness: float = 1.0
    gamma: float = 1.0
    recorded: bool = False

    def unit(self, reflectance: FloatArray) -> FloatArray:
        """Counts / 255 of a picture of this reflectance, which may hold NaN."""
        picture = self.curve.apply(
            np.nan_to_num(reflectance, nan=0.0), brightness=self.brightness, gamma=self.gamma
        )
        return picture.astype(np.float32) / np.float32(255)

    def reflectance(self, unit: FloatArray) -> FloatArray:
        """Inverse of :meth:`unit`, but for what was clipped or rounded."""
        return self.curve.invert(unit, brightness=self.brightness, gamma=self.gamma)


@dataclass(frozen=True)
class RgbSource:
    """Red, green and blue of a raster; read in windows, as reflectance or as counts / 255."""

    source: RasterSource
    scaling: Scaling
    rendering: Rendering

    @property
    def quantity(self) -> Quantity:
        return self.scaling.quantity

    @property
    def grid(self) -> Grid:
        return self.source.grid

    def read(self, window: Window) -> tuple[FloatArray, Mask]:
        """(3, h, w) reflectance or counts / 255, not below 0, and (h, w) where all are valid."""
        values, valid = self.read_numbers(window)
        return np.where(valid, self.scaled(values), np.float32(0)), valid

    def read_numbers(self, window: Window) -> tuple[NDArray[Any], Mask]:
        """(3, h, w) as the file has them, and (h, w) where all are valid."""
        return self.source.read(window, [self.source.number_of(colour) for colour in COLOURS])

    def scaled(self, values: NDArray[Any]) -> FloatArray:
        """Numbers of the file as reflectance or counts / 255, not below 0. Any shape."""
        with np.errstate(invalid="ignore", over="ignore"):
            scaled = self.scaling.apply(values)
        if self.quantity is Quantity.COUNTS:
            scaled = scaled / np.float32(255)
        return np.maximum(scaled, np.float32(0))

    def on_grid(self, grid: Grid) -> RgbSource:
        """The same raster resampled (bilinear) to another grid, pixels beyond it not valid.

        Raises
        ------
        GridError : either of the two has no CRS
        """
        if grid.crs is None or self.grid.crs is None:
            bare = [what for what, of in (("the prediction", grid), ("the truth", self.grid))
                    if of.crs is None]  # fmt: skip
            lacking = f"{' and '.join(bare)} {'have' if len(bare) > 1 else 'has'} no CRS"
            if grid.shape == self.grid.shape:
                raise GridError(
                    f"both have {grid.width}×{grid.height} px, but not in the same place, and "
                    f"{lacking}; if their pixels do match, give both the same georeference, or none"
                )
            raise GridError(
                f"the truth has {self.grid.width}×{self.grid.height} px and the prediction "
                f"{grid.width}×{grid.height} px, and {lacking}, so they can't be brought onto one "
                "grid; resample one of them first"
            )
        warp = handles.WarpTarget(grid.height, grid.width, grid.transform, grid.crs)
        bands = tuple(replace(band, warp=warp) for band in self.source.bands)
        return replace(self, source=replace(self.source, bands=bands, grid=grid))


def open_rgb(
    path: str,
    *,
    bands: Sequence[str] | None = None,
    scale: str | Scaling | None = None,
    nodata: float | None = None,
    advice: str = "describe them so (rio edit-info, gdal_edit.py)",
) -> RgbSource:
    """Find red, green and blue: by ``bands``, names, colour interpretation, or order.

    The order counts only in a file of three bands, or of three and an alpha band.

    Parameters
    ----------
    path : any raster that GDAL opens
    bands : numbers or names of red, green and blue
    scale : ``"GAIN[,OFFSET]"`` to reflectance, instead of what the file says
    nodata : value of missing pixels, instead of what the file says
    advice : what to do where nothing tells the colours, for people

    Raises
    ------
    SourceError, BandError, RadiometryError
    EvaluationError : ``bands`` does not name three
    """
    _refuse_item(path)
    if bands is not None and len(bands) != 3:
        raise EvaluationError(f"--bands: {len(bands)} named; need three: red, green and blue")
    if bands is not None and len(set(bands)) != 3:
        raise EvaluationError(f"--bands {','.join(bands)}: a band is named twice")
    roles = (
        dict(zip(COLOURS, bands, strict=True)) if bands is not None else _find_colours(path, advice)
    )
    # The reader wants to know which band is near infrared. Here red stands in for it: its scaling
    # is that of the colours, and nothing else is made of it.
    try:
        source = open_source(path, roles={"nir": roles["red"], **roles}, nodata=nodata)
    except BandError as error:
        if bands is None:
            raise
        reason = re.sub(r"^--\w+ ", "", str(error))  # nobody has given --red
        raise BandError(f"--bands {','.join(bands)}: {reason}") from error
    if scale is None:
        _refuse_uneven(source, path)
    return RgbSource(source, find_scaling(source.clues, scale), _rendering(path))


def _refuse_item(path: str) -> None:
    """An item's colours are files of their own, each with what it says of its values."""
    from nirgeo.stac.document import has_json_suffix
    from nirgeo.stac.scene import find_item

    if not has_json_suffix(without_query(path)) or is_remote(path):
        return

    if find_item(path) is not None:
        raise SourceError(
            f"{path}: a STAC item is a scene for `nirgeo colorize`; of its colours make one raster "
            "(gdalbuildvrt -separate rgb.vrt RED GREEN BLUE), and name that"
        )


def _refuse_uneven(source: RasterSource, path: str) -> None:
    """One scaling is applied to all three."""
    found = {
        colour: source.bands[source.number_of(colour) - 1].stored_scaling() for colour in COLOURS
    }
    if len(set(found.values())) > 1:
        said = ", ".join(
            f"{colour} {gain:g}, {by:g}" + ("" if tag is None else f", REFLECTANCE_SCALE {tag:g}")
            for colour, (gain, by, tag) in found.items()
        )
        raise RadiometryError(
            f"{public(path)}: its colours are scaled each in its own way (gain, offset: {said}); "
            "apply that first: gdal_translate -unscale -ot Float32"
        )


_SENTINEL_2 = {"red": "b04", "green": "b03", "blue": "b02"}
"""With a zero before the number they are nobody else's."""


def _colours_in_words(names: Sequence[str]) -> dict[str, str] | None:
    """Numbers of the bands that words in their names call red, green and blue, one of each.

    Or that are called as Sentinel-2's. ``names`` are lower case.
    """
    words = [set(re.findall(r"[a-z]+\d*", name)) for name in names]
    plain = [own if not own & {"edge", "rededge", "near", "nir"} else set() for own in words]
    for called in ({colour: colour for colour in COLOURS}, _SENTINEL_2):
        found = {
            colour: [number for number, own in enumerate(plain, start=1) if word in own]
            for colour, word in called.items()
        }
        numbers = [hits[0] for hits in found.values() if len(hits) == 1]
        if len(set(numbers)) == len(COLOURS):
            return {colour: str(hits[0]) for colour, hits in found.items()}
    return None


def _find_colours(path: str, advice: str) -> dict[str, str]:
    with gdal_settings.gdal_env(path):
        opened = handles.dataset(path)
        told = handles.descriptions(opened) or ("",) * opened.count
        names = [text.lower() for text in told]
        kinds = list(opened.colorinterp)
    if kinds == [ColorInterp.palette]:
        raise BandError(
            f"{public(path)}: its colours stand in a palette; expand it first: gdal_translate "
            "-expand rgb"
        )
    if all(names.count(colour) == 1 for colour in COLOURS):
        return {colour: str(names.index(colour) + 1) for colour in COLOURS}
    by_words = _colours_in_words(names)
    if by_words is not None:
        return by_words
    try:
        with unheard(BandWarning):  # of what would be near infrared, which nobody wants
            found = dict(open_source(path).roles)
    except BandError:
        found = {}
    shown = [kind.name for kind in kinds]
    guessed: dict[str, int] = {}
    if all(shown.count(colour) == 1 for colour in COLOURS):
        guessed = {colour: shown.index(colour) + 1 for colour in COLOURS}
    elif len(kinds) == 3 or (len(kinds) == 4 and kinds[3] is ColorInterp.alpha):
        guessed = {colour: number for number, colour in enumerate(COLOURS, start=1)}
    # How a file is to be shown, or its order, is nothing against names: colour infrared is shown in
    # red, green and blue too.
    if guessed and found.get("nir") not in guessed.values():
        return {colour: str(number) for colour, number in guessed.items()}
    if not set(COLOURS) <= set(found):
        listed = ", ".join(f"{k}: {name or '–'}" for k, name in enumerate(names, start=1))
        raise BandError(
            f"{public(path)}: nothing says which bands are red, green and blue; {advice}. Bands: "
            f"{listed}"
        )
    return {colour: str(found[colour]) for colour in COLOURS}


def _rendering(path: str) -> Rendering:
    """The rendering that an output of nirgeo records."""
    with gdal_settings.gdal_env(path):
        tags: Mapping[str, str] = handles.dataset(path).tags(ns=NAMESPACE)
    curve = re.fullmatch(r"srgb, gain (\S+)", tags.get("DISPLAY_CURVE", ""))
    if curve is None:
        return Rendering()
    picture = re.fullmatch(r"brightness (\S+), gamma (\S+)", tags.get("PICTURE", ""))
    try:
        brightness, gamma = (float(v) for v in picture.groups()) if picture else (1.0, 1.0)
        return Rendering(DisplayCurve(float(curve[1])), brightness, gamma, recorded=True)
    except ValueError as error:
        raise _damaged(path) from error


def _damaged(path: str) -> NirgeoError:
    return EvaluationError(
        f"{public(path)}: its tags record an unreadable display curve; write it anew"
    )
