"""A scene on disk: its bands, grid and masks, found once; its windows, read on demand.

:class:`RasterSource` is a value: small, hashable in effect, cheap to send to another process. It
holds paths, never open files. What it reads is a plain array and a mask.
"""

from __future__ import annotations

import math
import os
import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import rasterio
from numpy.typing import NDArray
from rasterio import Affine
from rasterio.control import GroundControlPoint
from rasterio.crs import CRS
from rasterio.enums import ColorInterp, MaskFlags
from rasterio.errors import CRSError
from rasterio.transform import from_gcps
from rasterio.warp import transform as transform_points
from rasterio.warp import transform_bounds
from rasterio.windows import Window as RasterioWindow

from nirgeo import decoded, handles
from nirgeo.acquisition import Acquisition, find_acquisition
from nirgeo.bands import ROLES, BandLabel, find_roles, listing, wavelength_in, wavelength_of
from nirgeo.errors import BandError, GridError, SourceError
from nirgeo.hrefs import absolute_scene, conceal, public, without_query
from nirgeo.nodata import as_stored, framing_value
from nirgeo.pixel_size import mean_side
from nirgeo.radiometry import (
    ENVI_FACTOR,
    ENVI_ORIGIN,
    TAG_ORIGIN,
    ScalingClues,
    envi_scale,
    kind_of_numbers,
)
from nirgeo.tiling import Window, lattice, look_around

Mask = NDArray[np.bool_]


@dataclass(frozen=True)
class Grid:
    """Size and georeference of a scene, as its file states them."""

    height: int
    width: int
    transform: tuple[float, float, float, float, float, float]
    crs: str | None = None
    gcps: tuple[tuple[float, float, float, float, float], ...] = ()
    """Ground control points as (row, col, x, y, z)."""
    gcp_crs: str | None = None
    rpcs: tuple[tuple[str, str], ...] = ()
    """Rational polynomial coefficients as GDAL writes them."""
    area_or_point: str = "Area"

    @property
    def shape(self) -> tuple[int, int]:
        return self.height, self.width

    @property
    def affine(self) -> rasterio.Affine:
        return rasterio.Affine(*self.transform)

    @property
    def corners(self) -> list[tuple[float, float]]:
        """Where the transform puts the four of them."""
        return [self.affine @ (x, y) for x in (0, self.width) for y in (0, self.height)]

    @property
    def bounds(self) -> tuple[float, float, float, float]:
        """(least x, least y, greatest x, greatest y) of the corners."""
        xs, ys = zip(*self.corners, strict=True)
        return min(xs), min(ys), max(xs), max(ys)

    @property
    def georeferenced(self) -> bool:
        return self.crs is not None or bool(self.gcps) or bool(self.rpcs)

    @property
    def placeless(self) -> bool:
        """Whether nothing says where it lies: a CRS alone, and pixels that count from 0, 0."""
        return self.affine.is_identity

    @property
    def placed(self) -> bool:
        """Whether its CRS and transform say where it lies; control points may do so otherwise."""
        return self.crs is not None and not self.placeless

    def ground_sampling_distance(self) -> float | None:
        """Side of a pixel in metres (geometric mean of both sides), None if the CRS can't tell."""
        sides = self.pixel_sides()
        return None if sides is None else mean_side(sides)

    def pixel_sides(self) -> tuple[float, float] | None:
        """Both sides of a pixel in metres, along rows and columns; None if the CRS can't tell.

        Of degrees those in the middle of the raster, where they are oblong on the ground.
        """
        if self.crs is None or self.placeless:
            return None
        crs = CRS.from_user_input(self.crs)
        a, b, _, d, e, f = self.transform
        if crs.is_geographic:
            latitude = f + e * self.height / 2 + d * self.width / 2
            share = max(0.01, math.cos(math.radians(latitude)))
            degree = 111_320.0
            return degree * math.hypot(a * share, d), degree * math.hypot(b * share, e)
        try:
            _, metres = crs.linear_units_factor
        except CRSError:  # a local or geocentric system, whose axes may mean anything
            return None
        metres *= self._mercators_share(crs)
        return float(metres * math.hypot(a, d)), float(metres * math.hypot(b, e))

    def _mercators_share(self, crs: CRS) -> float:
        """Metres on the ground for one of the map's, where that is Mercator's, which web maps use;
        1 on all others, on which it is about that."""
        if crs.to_dict().get("proj") not in ("merc", "webmerc"):
            return 1.0
        middle = self.affine @ (self.width / 2, self.height / 2)
        try:
            _, latitudes = transform_points(crs, CRS.from_epsg(4326), *([v] for v in middle))
        except handles.GDAL_ERRORS:
            handles.forget_errors()
            return 1.0
        share = math.cos(math.radians(latitudes[0])) if math.isfinite(latitudes[0]) else 1.0
        true_at = float(crs.to_dict().get("lat_ts", 0.0))
        return max(0.01, share) / max(0.01, math.cos(math.radians(true_at)))


@dataclass(frozen=True)
class SourceBand:
    """Where one band of a scene is read from.

    ``nodata`` is instead of the file's own value; what its mask or its alpha band leaves out stays
    so. ``masked`` is False where an alpha band must not be believed, because it is in truth near
    infrared; nodata values and mask bands still are.
    ``drivers`` are the only formats that the file may have; none means any.
    """

    path: str
    index: int
    label: BandLabel
    dtype: str
    nodata: float | None = None
    masked: bool = True
    warp: handles.WarpTarget | None = None
    drivers: tuple[str, ...] = ()

    def describe(self) -> str:
        """The file as a message may name it."""
        return public(self.path)

    @property
    def resampled(self) -> handles.Warp | None:
        """How it is brought onto the scene's grid; None if it lies there."""
        if self.warp is None:
            return None
        return handles.Warp(self.warp, self.index, self.nodata, self.masked)

    def open(self) -> Any:
        """This thread's dataset of the file on its own grid. Call inside ``handles.gdal_env``."""
        return handles.dataset(self.path, drivers=self.drivers)


@dataclass(frozen=True)
class StackedBand:
    """A band for a stack about which more is known than its file.

    ``index`` None means every band, by the file's own names. The file must have ``count`` bands,
    alpha aside, if that is said. ``nodata`` holds where the file itself marks no pixel as missing.
    ``drivers`` are the only formats that the file may have; none means any.
    """

    path: str
    index: int | None = 1
    count: int | None = None
    description: str = ""
    nodata: float | None = None
    drivers: tuple[str, ...] = ()


@dataclass(frozen=True)
class RasterSource:
    """A scene: bands that share one grid, and what is known about their values."""

    bands: tuple[SourceBand, ...]
    grid: Grid
    roles: tuple[tuple[str, int], ...]
    clues: ScalingClues
    block_shape: tuple[int, int]
    stamps: tuple[tuple[str, tuple[int, int] | None], ...]
    notes: tuple[str, ...] = field(default=(), compare=False)
    acquisition: Acquisition | None = field(default=None, compare=False)
    """When the scene was taken, where something says so."""
    uneven: tuple[str, ...] = field(default=(), compare=False)
    """Roles of bands whose file gives them another scale or offset than near infrared."""

    @property
    def dtype(self) -> np.dtype[Any]:
        """One type that holds the values of every band; complex bands can't be read at all."""
        real = [band.dtype for band in self.bands if np.dtype(band.dtype).kind != "c"]
        return np.result_type(*map(np.dtype, real or ["float64"]))

    @property
    def names(self) -> tuple[str, ...]:
        """A unique name per band: its role, else its description, else ``band_N``."""
        by_number = {number: role for role, number in self.roles}
        names: list[str] = []
        taken: set[str] = set()  # there may be tens of thousands
        for number, band in enumerate(self.bands, start=1):
            name = by_number.get(number) or band.label.description or f"band_{number}"
            names.append(name if name not in taken else f"{name}_{number}")
            taken.add(names[-1])
        return tuple(names)

    def number_of(self, role: str) -> int:
        """The band number (from 1) that serves ``role``.

        Raises
        ------
        BandError : no band was found for it
        """
        for name, number in self.roles:
            if name == role:
                return number
        how = f"name it with --{role} NUMBER or NAME. " if role in ROLES else ""
        raise BandError(
            f"the model needs a {role} band and none was found; {how}"
            + listing([band.label for band in self.bands])
        )

    def read(self, window: Window, numbers: Sequence[int]) -> tuple[NDArray[Any], Mask]:
        """Bands ``numbers`` (from 1) of a window: (bands, height, width), (height, width) valid.

        Values keep the scene's data type. A pixel is valid where every band read is valid.

        Raises
        ------
        SourceError : the file is damaged there, gone, or has changed since it was opened
        GridError : the window reaches beyond the scene
        BandError : there is no such band, or it is complex
        """
        if not window.within(self.grid.shape):
            raise GridError(
                f"{window} does not lie inside a scene of {self.grid.width}×{self.grid.height} px"
            )
        for number in numbers:
            if not 1 <= number <= len(self.bands):
                raise BandError(f"there is no band {number}; the scene has 1 to {len(self.bands)}")
            _refuse_complex(self.bands[number - 1])
        shape = (window.height, window.width)
        values = np.empty((len(numbers), *shape), dtype=self.dtype)
        valid = np.ones(shape, dtype=np.bool_)
        for positions in self._by_file(numbers):
            bands = [self.bands[numbers[position] - 1] for position in positions]
            pixels = self._pixels(bands, window)
            for position, band, data in zip(positions, bands, pixels.values, strict=True):
                values[position] = data
                if band.nodata is not None:
                    marks = as_stored(data.dtype, band.nodata)
                    if marks is not None:  # NaN equals nothing; it is masked below
                        valid &= data != marks
                if data.dtype.kind == "f":
                    valid &= np.isfinite(data)
            if pixels.valid is not None:
                valid &= pixels.valid
        self._refuse_change([self.bands[number - 1].path for number in numbers])
        return values, valid

    def samples(self, bands: Sequence[int | str]) -> list[tuple[NDArray[Any], Mask]]:
        """Bands, by number or role, and masks of the scene's tiles; see
        :func:`nirgeo.tiling.look_around`.

        Raises
        ------
        SourceError, BandError : see :meth:`read`
        """
        numbers = [self.number_of(b) if isinstance(b, str) else b for b in bands]
        return look_around(
            self.grid.shape,
            lambda windows: [self.read(window, numbers) for window in windows],
            lambda tiles: any(valid.any() for _, valid in tiles),
        )

    def _by_file(self, numbers: Sequence[int]) -> list[list[int]]:
        """Positions in ``numbers`` of bands that lie in one file and are decoded together."""
        together: dict[Any, list[int]] = {}
        for position, number in enumerate(numbers):
            band = self.bands[number - 1]
            alone = position if band.warp is not None else None
            together.setdefault((band.path, band.drivers, band.dtype, alone), []).append(position)
        return list(together.values())

    def _pixels(self, bands: Sequence[SourceBand], window: Window) -> decoded.Pixels:
        """Bands of one file as it stores them, and where its masks say that they are valid.

        Raises
        ------
        SourceError : see :meth:`read`
        """
        first = bands[0]
        stamp = dict(self.stamps).get(first.path)
        with handles.gdal_env(first.path):
            opened = handles.dataset(first.path, first.resampled, first.drivers)
            own_blocks = first.warp is None and opened.driver in handles.PIXEL_DRIVERS
            if decoded.is_shared() and own_blocks and stamp is not None:
                indexes = [band.index for band in bands]
                file = (first.path, stamp, tuple(bands))
                try:
                    return decoded.read_window(
                        file, opened, indexes, window, partial(_read, opened, bands)
                    )
                except SourceError:
                    pass  # perhaps the damage lies in the same block, and outside the window
            return _read(opened, bands, window)

    def absolute(self) -> RasterSource:
        """The same scene for whoever stands in another folder: a thread later on, a worker."""
        bands = tuple(replace(band, path=absolute_scene(band.path)) for band in self.bands)
        stamps = tuple((absolute_scene(path), stamp) for path, stamp in self.stamps)
        return replace(self, bands=bands, stamps=stamps)

    def of_one_scaling(self, asked_for: Collection[str]) -> RasterSource:
        """The same scene without roles whose bands are scaled otherwise than near infrared.

        Raises
        ------
        BandError : one of them was asked for
        """
        if not self.uneven:
            return self
        notes = list(self.notes)
        for role in self.uneven:
            band = self.bands[self.number_of(role) - 1]
            said = f"{role}: {band.describe()}, band {band.index}, is scaled otherwise than nir"
            if role in asked_for:
                raise BandError(
                    f"{said}; the two can't be read together, unless --scale holds for both"
                )
            notes.append(f"{said}; it is left out")
        roles = tuple((role, number) for role, number in self.roles if role not in self.uneven)
        return replace(self, roles=roles, notes=tuple(notes), uneven=())

    def with_nodata(self, nodata: float) -> RasterSource:
        """The same scene with another value for missing pixels, instead of what its files say."""
        return replace(self, bands=tuple(replace(band, nodata=nodata) for band in self.bands))

    def _refuse_change(self, paths: Sequence[str]) -> None:
        """Half of a picture from one file and half from another would be nobody's picture.

        Asked after reading: what changes a moment later is found by the next read.
        """
        stamps = dict(self.stamps)
        own = {band.path for band in self.bands}
        behind = [path for path in stamps if path not in own]
        for path in dict.fromkeys([*paths, *behind]):
            if stamps.get(path) not in (None, handles.file_stamp(path)):
                raise SourceError(
                    f"{public(path)}: has changed since it was opened; open it again, or run again "
                    "when nothing writes to it"
                )


def _stamps(files: Mapping[str, tuple[str, ...]]) -> tuple[tuple[str, tuple[int, int] | None], ...]:
    """Of the files that are named, and of the local ones behind them."""
    named = {file: handles.file_stamp(file) for file in files}
    behind = {
        f: handles.file_stamp(f)
        for file, drivers in files.items()
        for f in handles.files_behind(file, drivers)
    }
    return tuple((named | {f: at for f, at in behind.items() if at is not None}).items())


def _read(opened: Any, bands: Sequence[SourceBand], window: Window) -> decoded.Pixels:
    """A window of some bands of an open file."""
    target = RasterioWindow(window.col, window.row, window.width, window.height)
    shape = (len(bands), window.height, window.width)
    values = np.empty(shape, dtype=bands[0].dtype)
    valid: Mask | None = None
    masks: dict[int, Mask] = {}
    for band, out in zip(bands, values, strict=True):
        try:
            index, alpha = band.index, None
            if (warp := band.resampled) is not None:
                index, alpha = handles.bands_of(opened, warp)
            else:
                given = band.nodata is not None
                alpha = handles.alpha_of(opened, band.index, masked=band.masked, replaced=given)
            opened.read(index, window=target, out=out)
            mask = _mask(opened, band, alpha, target, masks, out)
        except handles.GDAL_ERRORS as error:
            handles.forget_errors()
            raise SourceError(
                f"{band.describe()}: band {band.index} can't be read at row {window.row}, "
                f"column {window.col} ({conceal(error.__cause__ or error, band.path)}); "
                "the file may be truncated or damaged"
            ) from error
        if mask is not None:
            valid = mask if valid is None else valid & mask
    everywhere = valid is None or bool(valid.all())
    return decoded.Pixels(values, None if everywhere else valid)


def _mask(
    opened: Any,
    band: SourceBand,
    alpha: int | None,
    target: RasterioWindow,
    alphas: dict[int, Mask],
    values: NDArray[Any],
) -> Mask | None:
    """Where the file says that ``band`` is valid; None where it marks no pixel as missing.

    ``alpha`` is the band that says so, if one does. ``alphas`` keeps what was read of it, for the
    other bands of the file. ``values`` are the band's own.
    """
    if alpha is not None:
        # The alpha band itself: as a mask GDAL honours it for 8 and 16 bits only.
        if alpha not in alphas:
            alphas[alpha] = opened.read(alpha, window=target) != 0
        return alphas[alpha]
    flags = opened.mask_flag_enums[band.index - 1]
    if MaskFlags.all_valid in flags or MaskFlags.alpha in flags:
        return None
    if band.nodata is not None and MaskFlags.per_dataset not in flags:
        return None  # the file's own value, instead of which another one is given
    mask: Mask = opened.read_masks(band.index, window=target) != 0
    if MaskFlags.per_dataset in flags:
        # GDAL asks the mask alone then; but a value that is said to be missing is no measurement.
        stored = opened.nodatavals[band.index - 1] if band.nodata is None else None
        marks = None if stored is None else as_stored(values.dtype, stored)
        if marks is not None:
            mask &= values != marks
    return mask


def _refuse_complex(band: SourceBand) -> None:
    if np.dtype(band.dtype).kind == "c":
        raise BandError(
            f"{band.describe()}: band {band.index} is complex ({band.dtype}); nirgeo colorizes "
            "measured intensities, take the magnitude first"
        )


def _labels(opened: Any, path: str, first_number: int) -> list[BandLabel]:
    stem = Path(without_query(path)).stem
    # Asked for once: of a file of fifty thousand bands, which damage can make, each takes long.
    told, kinds = handles.descriptions(opened) or ("",) * opened.count, opened.colorinterp
    camera = _camera_band(opened) if opened.count == 1 else ""
    labels = []
    for index in range(1, opened.count + 1):
        tags = {k.lower(): v for k, v in opened.tags(index).items()}
        description = told[index - 1] or tags.get("band_description", "") or camera
        labels.append(
            BandLabel(
                number=first_number + index - 1,
                description=description,
                common_name=tags.get("common_name", tags.get("eo:common_name", "")),
                colorinterp=kinds[index - 1].name,
                file_stem=stem,
                wavelength=_wavelength(opened, index, tags, description),
            )
        )
    return labels


def _wavelength(opened: Any, index: int, tags: Mapping[str, str], description: str) -> float | None:
    """Of a band, in µm: as GDAL's raster data model says it, or ENVI's header, or its name."""
    imagery = opened.tags(index, ns="IMAGERY")
    return (
        wavelength_of(imagery.get("CENTRAL_WAVELENGTH_UM", ""), "µm")
        or wavelength_in(_number(tags, "wavelength") or 0.0, tags.get("wavelength_units"))
        or wavelength_of(description)
    )


_XMP_BAND = re.compile(r'\bBandName(?:="|>\s*(?:<rdf:(?:Seq|Bag)>\s*<rdf:li>\s*)?)([^"<>]{1,40})')


def _camera_band(opened: Any) -> str:
    """What a drone's multispectral camera calls the band of a picture, in its XMP (MicaSense's and
    Parrot's ``Camera:BandName``)."""
    found = _XMP_BAND.search(" ".join(opened.tags(ns="xml:XMP").values()))
    return "" if found is None else found[1].strip()


def read_grid(opened: Any) -> Grid:
    """Size and georeference of an open dataset."""
    identity = opened.transform.is_identity
    # What has a transform has its place: GDAL hands on points beside it too, ArcGIS's for example.
    gcps, gcp_crs = opened.gcps if identity else ([], None)
    rpcs = opened.rpcs
    crs = opened.crs
    return Grid(
        height=opened.height,
        width=opened.width,
        transform=tuple(opened.transform)[:6],
        crs=crs.to_wkt() if crs and not gcps else None,
        gcps=tuple((g.row, g.col, g.x, g.y, g.z or 0.0) for g in gcps),
        gcp_crs=gcp_crs.to_wkt() if gcps and gcp_crs else None,
        rpcs=tuple(sorted(rpcs.to_gdal().items())) if rpcs else (),
        area_or_point=opened.tags().get("AREA_OR_POINT", "Area"),
    )


def _other_numbers(band: SourceBand, nir: SourceBand) -> bool:
    """Whether what one of two bands holds can't mean what the other's numbers do.

    Fractions beside whole numbers, or display counts beside digital numbers: if they are not said
    to be scaled, each would be taken for something else.
    """
    if "complex" in band.dtype or "complex" in nir.dtype:
        return False
    return kind_of_numbers(np.dtype(band.dtype)) != kind_of_numbers(np.dtype(nir.dtype))


def _number(tags: Mapping[str, str], name: str) -> float | None:
    try:
        return float(tags[name])
    except (KeyError, ValueError):
        return None


def _product_names(path: str) -> str:
    """The parts of a path that may name a product: the file, its folder, and any ``.SAFE`` above.

    Inside a Sentinel-2 product only the outermost folder tells the processing baseline, and with
    it whether 1000 must be subtracted. A local path is made absolute first: where one stands when
    naming a file must not change its radiometry.
    """
    plain = without_query(path)
    whole = Path(path).absolute() if handles.file_stamp(path) is not None else Path(plain)
    products = [part for part in whole.parts[:-2] if part.upper().endswith(".SAFE")]
    return " ".join([whole.name, whole.parent.name, *products])


def _product_in_tags(tags: Mapping[str, str]) -> str:
    """What a file's tags say of product and mission: bands, scaling and date are told by the same.

    Names of products first, since the first mission that is named counts.
    """
    names = ("LANDSAT_PRODUCT_ID", "PRODUCT_URI", "PRODUCT_ID", "SPACECRAFT_ID", "PLATFORM")
    said = [tags[name] for name in names if name in tags]
    if "MISSION_INDEX" in tags:  # of SPOT's DIMAP files
        said.append(f"{tags.get('MISSION', '')}{tags['MISSION_INDEX']}")
    return " ".join(said)


def _first_clues(opened: Any, index: int, path: str) -> ScalingClues:
    """What the file of the NIR band says; the range of values is added only where it decides."""
    tags = opened.tags()
    scale, offset = opened.scales[index - 1], opened.offsets[index - 1]
    given = scale != 1 or offset != 0
    baseline = _number(tags, "PROCESSING_BASELINE")
    named = handles.descriptions(opened)
    described = (named[index - 1] if named is not None else None) or ""
    product = f"{_product_names(path)} {_product_in_tags(tags)}"
    tag, origin = _reflectance_scale(opened, index)
    return ScalingClues(
        dtype=handles.types(opened)[index - 1],
        reflectance_scale_tag=tag,
        reflectance_scale_origin=origin,
        gdal_scale=scale if given else None,
        gdal_offset=offset if given else None,
        product=product,
        processing_baseline=baseline,
        sun_elevation=_sun_elevation(opened),
        band=f"{described} {Path(without_query(path)).stem}",
    )


def _sun_elevation(opened: Any) -> float | None:
    """What a Landsat scene's own metadata file says, if it lies beside it: GDAL reads it."""
    metadata = opened.tags(ns="IMD")
    name = next((key for key in metadata if key.endswith("IMAGE_ATTRIBUTES.SUN_ELEVATION")), None)
    return None if name is None else _number(metadata, name)


def stored_scaling(band: SourceBand) -> tuple[float, float, float | None]:
    """Scale and offset that a band's file gives it, and the tag that goes before both."""
    with handles.gdal_env(band.path):
        opened = band.open()
        tag, _ = _reflectance_scale(opened, band.index)
        return opened.scales[band.index - 1], opened.offsets[band.index - 1], tag


def _reflectance_scale(opened: Any, index: int) -> tuple[float | None, str]:
    """What a file says goes before scale and offset, and where it says so."""
    for tags in (opened.tags(), opened.tags(index)):
        if (found := _number(tags, "REFLECTANCE_SCALE")) is not None:
            return found, TAG_ORIGIN
    return envi_scale(opened.tags(ns="ENVI").get(ENVI_FACTOR)), ENVI_ORIGIN


def _alpha_is_data(source: RasterSource, number: int) -> bool:
    """Whether a band flagged as alpha holds measurements, and no mask.

    Of what is not clear, most of a mask is opaque, however soft its edges are; measurements seldom
    are. Clear pixels tell nothing: where nothing was measured, there is 0 as well. Nor do those
    that are white in all bands, as frames are.
    """
    dtype = np.dtype(source.bands[number - 1].dtype)
    highest = 1 if dtype.kind == "f" else np.iinfo(dtype).max
    # Opaque is 255, or the highest number of a wider type, or 1 among floats.
    opaque = [255, highest]
    alike = [n for n, band in enumerate(source.bands, start=1) if band.dtype == dtype.name]
    numbers = sorted({*alike[:3], number})  # colours; a damaged file may declare any number more
    between = total = 0
    different: set[Any] = set()
    for window in lattice(*source.grid.shape):
        everything, _ = source.read(window, numbers)
        values = everything[numbers.index(number)]
        seen = (values != 0) & ~(everything == highest).all(axis=0)
        between += int((seen & ~np.isin(values, opaque)).sum())
        total += int(seen.sum())
        different |= {values[seen].min(), values[seen].max()} if seen.any() else set()
    # A single value is a mask too, such as 1.
    return between > 0.5 * total and len(different) > 1


def sample_range(source: RasterSource, number: int) -> tuple[float | None, float | None]:
    """2nd and 98th percentile of a band's valid samples on the fixed lattice; None without any.

    What seems to lie around the scene is no sample of it.
    """
    tiles = source.samples([number])
    pooled = np.concatenate([values[0][valid] for values, valid in tiles])
    frame = framing_value(tiles)
    if frame is not None:
        pooled = pooled[pooled != frame]
    if pooled.size == 0:
        return None, None
    low, high = np.percentile(pooled.astype(np.float64), (2, 98))
    return float(low), float(high)


def open_source(
    path: str | os.PathLike[str] | StackedBand | None = None,
    *,
    stack: Mapping[str, str | os.PathLike[str] | StackedBand] | None = None,
    roles: Mapping[str, str] | None = None,
    nodata: float | None = None,
) -> RasterSource:
    """Look at a scene without reading more than a few tiles of it.

    Parameters
    ----------
    path : any raster that GDAL opens; None when every band comes from ``stack``
    stack : further bands by role, for example ``{"nir": "B08.tif", "red": "B04.tif"}``; a file must
        have a single band unless a :class:`StackedBand` says which
    roles : explicit band numbers or names by role
    nodata : value that marks missing pixels, instead of what the files say (NaN is allowed)

    Raises
    ------
    SourceError : a file is not a raster, or damaged
    BandError : no band can be near infrared, or the one asked for is not there or complex
    GridError : bands on different grids can't be brought onto NIR's
    """
    entries: list[tuple[str | StackedBand, str | None]] = []
    if path is not None:
        entries.append((path if isinstance(path, StackedBand) else os.fspath(path), None))
    entries += [
        (file if isinstance(file, StackedBand) else os.fspath(file), role)
        for role, file in (stack or {}).items()
    ]
    if not entries:
        raise SourceError("no scene given: name a file, or bands with --stack ROLE=FILE")
    try:
        return _look(entries, dict(roles or {}), nodata)
    except (handles.GdalError, UnicodeDecodeError) as error:
        # GDAL opens a file whose georeference it can't read, or hands on what is no text.
        handles.forget_errors()
        handles.close_all()  # an open dataset would say it once and then work without
        names = ", ".join(
            public(entry.path if isinstance(entry, StackedBand) else entry) for entry, _ in entries
        )
        raise SourceError(
            f"{names}: GDAL can't read all that it says about itself ({error}); it may be damaged"
        ) from error


def _look(
    entries: Sequence[tuple[str | StackedBand, str | None]],
    explicit: dict[str, str],
    nodata: float | None,
) -> RasterSource:
    """:func:`open_source` for files with the role that each one has in a stack."""
    bands: list[SourceBand] = []
    grids: list[Grid] = []
    notes: list[str] = []
    for entry, wanted in entries:
        found_bands, grid, note = _entry_bands(entry, wanted, len(bands) + 1, nodata)
        notes += [note] if note else []
        if wanted is not None:
            explicit.setdefault(wanted, str(found_bands[0].label.number))
        bands += found_bands
        grids += [grid] * len(found_bands)

    files = list(dict.fromkeys(band.path for band in bands))
    labels = [band.label for band in bands]
    product = " ".join(_product_names(file) for file in files)
    with handles.gdal_env(bands[0].path):
        mission = _product_in_tags(bands[0].open().tags())
    found = find_roles(
        labels, product=f"{mission} {product}", dtype=bands[0].dtype, explicit=explicit
    )
    nir = bands[found["nir"] - 1]
    for band in bands:
        if band.label.number in found.values():
            _refuse_complex(band)
    grid = grids[found["nir"] - 1]
    _refuse_bad_transform(nir, grid)
    _refuse_bad_points(nir, grid)
    for position, (band, other) in enumerate(zip(bands, grids, strict=True)):
        if not same_grid(grid, other):
            bands[position] = replace(band, warp=_warp_target(other, grid, band, nir))
            if band.label.number in found.values() and _apart(other, grid):
                raise GridError(
                    f"{band.describe()} lies somewhere else than {nir.describe()}: they share no "
                    "pixel"
                )
            notes.append(
                f"{Path(without_query(band.path)).name} ({other.width}×{other.height} px) is "
                f"resampled to the grid of near infrared ({grid.width}×{grid.height} px)"
            )

    with handles.gdal_env(nir.path):
        opened = nir.open()
        clues = _first_clues(opened, nir.index, nir.path)
        acquisition = find_acquisition(
            opened.tags(), opened.tags(ns="IMAGERY"), [nir.path, *files], mission
        )
        block_shape = opened.block_shapes[nir.index - 1]
    scalings = {role: stored_scaling(bands[number - 1]) for role, number in found.items()}
    source = RasterSource(
        bands=tuple(bands),
        grid=grid,
        roles=tuple(found.items()),
        clues=clues,
        block_shape=block_shape,
        stamps=_stamps({band.path: band.drivers for band in bands}),
        notes=tuple(notes),
        acquisition=acquisition,
        uneven=tuple(
            role
            for role in ("red", "green")
            if scalings.get(role, scalings["nir"]) != scalings["nir"]
            or (role in found and _other_numbers(bands[found[role] - 1], nir))
        ),
    )
    source = _distrust_false_alpha(source)
    nir = source.bands[found["nir"] - 1]
    named = "nir" in explicit or nir.label.description or nir.label.common_name
    if nir.masked and nir.label.colorinterp == ColorInterp.alpha.name and not named:
        raise BandError(
            f"{nir.describe()}: band {nir.index} would be taken for near infrared, but it is an "
            "alpha band and looks like one (most of it is 0 or 255); name the band with --nir "
            "NUMBER or NAME"
        )
    if clues.reflectance_scale_tag is None and clues.dtype != "uint8":
        low, high = sample_range(source, found["nir"])
        source = replace(source, clues=replace(clues, low=low, high=high))
    return source


def _entry_bands(
    entry: str | StackedBand, role: str | None, first_number: int, nodata: float | None
) -> tuple[list[SourceBand], Grid, str]:
    """The bands of one file, or the one of a stack, on its own grid; and what to say about it."""
    stacked = entry if isinstance(entry, StackedBand) else None
    file = entry.path if isinstance(entry, StackedBand) else entry
    drivers = stacked.drivers if stacked is not None else ()
    with handles.gdal_env(file):
        opened = handles.dataset(file, drivers=drivers)
        if opened.count == 0:
            raise SourceError(
                f"{public(file)}: holds no band itself; name one of its subdatasets: "
                + ", ".join(opened.subdatasets[:8])
            )
        _refuse_huge_blocks(opened, file)
        labels, types = _labels(opened, file, first_number), handles.types(opened)
        numbers = range(1, opened.count + 1)
        if stacked is not None and stacked.index is not None:
            if stacked.count not in (None, opened.count, _without_alpha(opened)):
                raise BandError(
                    f"{public(file)}: has {opened.count} bands, and {stacked.count} are described; "
                    "which is which can't be told. Name the file itself as the scene"
                )
            if stacked.index not in numbers:
                raise BandError(
                    f"{public(file)}: has bands 1 to {opened.count}, no band {stacked.index}"
                )
            numbers = range(stacked.index, stacked.index + 1)
        elif role is not None and opened.count != 1:
            raise BandError(f"--stack {role}={file}: has {opened.count} bands, needs exactly one")
        bands = []
        for index in numbers:
            label = labels[index - 1]
            missing = nodata
            if role is not None:
                label = replace(label, number=first_number, common_name=role)
            if stacked is not None:
                label = replace(label, description=stacked.description or label.description)
                marked = MaskFlags.all_valid not in opened.mask_flag_enums[index - 1]
                if nodata is None and not marked:
                    missing = stacked.nodata
            bands.append(SourceBand(file, index, label, types[index - 1], missing, drivers=drivers))
        note = ""
        if handles.descriptions(opened) is None:
            name = Path(without_query(file)).name
            note = f"{name}: its descriptions of bands are not UTF-8, and not used"
        return bands, read_grid(opened), note


def count_bands(file: StackedBand) -> int:
    """How many bands a file has, alpha aside.

    Raises
    ------
    SourceError : it is no raster
    """
    with handles.gdal_env(file.path):
        return _without_alpha(handles.dataset(file.path, drivers=file.drivers))


def _without_alpha(opened: Any) -> int:
    return sum(kind != ColorInterp.alpha for kind in opened.colorinterp)


_LARGEST_BLOCK = 2**29
"""Bytes of a block that GDAL must decode whole for one of its bands. Those of sound files have a
hundredth of it; a damaged one may say anything."""


def _refuse_huge_blocks(opened: Any, file: str) -> None:
    """Where bands lie pixel by pixel, a block holds all of them."""
    interleaved = opened.tags(ns="IMAGE_STRUCTURE").get("INTERLEAVE", "")
    if opened.count == 1 or interleaved.upper() != "PIXEL":
        return
    height, width = opened.block_shapes[0]
    size = opened.count * height * width * np.dtype(handles.types(opened)[0]).itemsize
    if size > _LARGEST_BLOCK:
        raise SourceError(
            f"{public(file)}: a block holds {width} × {height} px of all its {opened.count} bands, "
            f"{size / 2**20:.0f} MB; if it is not damaged, write it band by band first: "
            "gdal_translate -co TILED=YES -co INTERLEAVE=BAND"
        )


def _refuse_bad_transform(band: SourceBand, grid: Grid) -> None:
    """A transform that maps pixels onto each other can't be carried over, and places nothing."""
    a, b, c, d, e, f = grid.transform
    far = grid.affine @ (grid.width, grid.height)
    finite = all(math.isfinite(v) for v in (*grid.transform, *far))
    # A double has 52 binary digits: smaller steps vanish beside the origin.
    steps = abs(a) + abs(b) > abs(c) * 2**-50 and abs(d) + abs(e) > abs(f) * 2**-50
    if not finite or not steps or a * e == b * d:
        raise GridError(
            f"{band.describe()}: its transform ({a:g}, {b:g}, {c:g}, {d:g}, {e:g}, {f:g}) tells no "
            "pixel from its neighbour; correct it (gdal_edit.py -a_ullr ULX ULY LRX LRY FILE) or "
            "remove it (gdal_edit.py -unsetgt FILE)"
        )


def _refuse_bad_points(band: SourceBand, grid: Grid) -> None:
    """The same of ground control points: too few, all in one place or on one line, or no numbers.

    rasterio does not look whether GDAL could fit a transform to them, and hands on what lay in
    memory.
    """
    if not grid.gcps:
        return
    points = np.array([point[:4] for point in grid.gcps])  # row, col, x, y
    with np.errstate(all="ignore"):
        spans = np.ptp(points, axis=0)
    tell = bool(np.isfinite(points).all() and np.isfinite(spans).all() and (spans > 0).all())
    if tell and len(points) > 2:
        unit = (points - points.mean(axis=0)) / spans
        tell = all(np.linalg.matrix_rank(unit[:, pair], tol=1e-6) == 2 for pair in ([0, 1], [2, 3]))
    if not tell:
        raise GridError(
            f"{band.describe()}: its {len(points)} ground control points tell no pixel from its "
            "neighbour; correct them (gdal_translate -gcp), or remove them (gdal_edit.py -unsetgcp)"
        )


def _distrust_false_alpha(source: RasterSource) -> RasterSource:
    """GDAL calls the fourth band of an RGB file *alpha*; where it holds data, it masks nothing."""
    changed = list(source.bands)
    note = None
    for file in dict.fromkeys(band.path for band in source.bands):
        members = [k for k, band in enumerate(source.bands) if band.path == file]
        alphas = [k for k in members if source.bands[k].label.colorinterp == ColorInterp.alpha.name]
        for k in alphas:
            unmasked = replace(
                source, bands=tuple(replace(band, masked=False) for band in source.bands)
            )
            if _alpha_is_data(unmasked, k + 1):
                for member in members:
                    changed[member] = replace(changed[member], masked=False)
                note = (
                    f"{Path(without_query(file)).name}: band {source.bands[k].index} is flagged as "
                    "alpha but holds measurements; it is not used as a mask"
                )
    if note is None:
        return source
    return replace(source, bands=tuple(changed), notes=(*source.notes, note))


def same_grid(a: Grid, b: Grid, tolerance: float = 1e-3) -> bool:
    """Whether the corners of two rasters of one size agree to a thousandth of a pixel of ``a``."""
    if a is b:
        return True
    if a.shape != b.shape or (a.crs is None) != (b.crs is None):
        return False
    if a.crs != b.crs and CRS.from_user_input(a.crs) != CRS.from_user_input(b.crs):
        return False
    first, second = a.affine, b.affine
    if a.gcps and b.gcps:  # which are a pixel's business: bands may have points of their own
        if CRS.from_user_input(a.gcp_crs) != CRS.from_user_input(b.gcp_crs):
            return False
        first, second, tolerance = _affine_of_points(a), _affine_of_points(b), 1.0
    between = ~first @ second
    corners = [(x, y) for x in (0, a.width) for y in (0, a.height)]
    moved = [between @ corner for corner in corners]
    return bool(np.abs(np.subtract(moved, corners)).max() <= tolerance)


def _affine_of_points(grid: Grid) -> Affine:
    return from_gcps([GroundControlPoint(row, col, x, y) for row, col, x, y, _ in grid.gcps])


def _apart(other: Grid, grid: Grid) -> bool:
    """Whether two rasters with a transform surely share no place; across 180° both ways count."""
    if other.crs is None or grid.crs is None or other.gcps or grid.gcps:
        return False
    crs = CRS.from_user_input(grid.crs)
    try:
        west, south, east, north = transform_bounds(
            CRS.from_user_input(other.crs), crs, *other.bounds, densify_pts=21
        )
    except handles.GDAL_ERRORS:
        handles.forget_errors()
        return False
    if not all(map(math.isfinite, (west, south, east, north))) or west > east:
        return False
    left, low, right, high = grid.bounds
    turns = (-360, 0, 360) if crs.is_geographic else (0,)
    aside = all(east + turn < left or west + turn > right for turn in turns)
    return aside or north < low or south > high


def _warp_target(other: Grid, grid: Grid, band: SourceBand, nir: SourceBand) -> handles.WarpTarget:
    if other.crs is None or grid.crs is None:
        raise GridError(
            f"{band.describe()} has {other.width}×{other.height} px and {nir.describe()} has "
            f"{grid.width}×{grid.height} px"
            + (", but not in the same place" if other.shape == grid.shape else "")
            + "; without a CRS on both they can't be brought onto one grid; resample them first"
        )
    return handles.WarpTarget(grid.height, grid.width, grid.transform, grid.crs)
