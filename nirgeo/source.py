"""A scene on disk: its bands, grid and masks, found once; its windows, read on demand.

:class:`RasterSource` is a value: small, hashable in effect, cheap to send to another process. It
holds paths, never open files. What it reads is a plain array and a mask.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rasterio.enums import MaskFlags
from rasterio.windows import Window as RasterioWindow

from nirgeo import decoded, gdal_settings, handles
from nirgeo.acquisition import Acquisition
from nirgeo.bands import NAMED, BandLabel, listing
from nirgeo.errors import BandError, GridError, ServerError, SourceError
from nirgeo.file_facts import reflectance_scale
from nirgeo.grid import Grid
from nirgeo.hrefs import absolute_scene, conceal, is_remote, public
from nirgeo.nodata import as_stored
from nirgeo.scaling import ScalingClues
from nirgeo.tiling import Window, look_around

Mask = NDArray[np.bool_]


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
        """This thread's dataset of the file on its own grid. Call inside ``gdal_env``."""
        return handles.dataset(self.path, drivers=self.drivers)

    def stored_scaling(self) -> tuple[float, float, float | None]:
        """Scale and offset that the file gives the band, and the tag that goes before both."""
        with gdal_settings.gdal_env(self.path):
            opened = self.open()
            tag, _ = reflectance_scale(opened, self.index)
            return opened.scales[self.index - 1], opened.offsets[self.index - 1], tag


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
        how = f"name it with --{role} NUMBER or NAME. " if role in NAMED else ""
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
        ServerError : its server did not send what was asked for
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
            refuse_complex(self.bands[number - 1])
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
        with gdal_settings.gdal_env(first.path):
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


def stamps_of_files(
    files: Mapping[str, tuple[str, ...]],
) -> tuple[tuple[str, tuple[int, int] | None], ...]:
    """Of the files that are named, and of the local ones behind them."""
    named = {file: handles.file_stamp(file) for file in files}
    behind = {
        f: handles.file_stamp(f)
        for file, drivers in files.items()
        for f in handles.files_behind(file, drivers)
    }
    return tuple((named | {f: at for f, at in behind.items() if at is not None}).items())


def stamps_of(source: RasterSource) -> list[tuple[str, tuple[int, int] | None]]:
    """Size and time of change of every file behind a scene: masks beside it, sources of a VRT.

    Not of what comes and goes when somebody looks at the scene: statistics, and overviews, which
    are never read.
    """
    files = {public(path): stamp for path, stamp in source.stamps}
    for path, band in {band.path: band for band in source.bands}.items():
        with gdal_settings.gdal_env(path):
            behind = [public(f) for f in band.open().files]
        files |= {f: handles.file_stamp(f) for f in behind if not f.endswith((".aux.xml", ".ovr"))}
    return sorted(files.items())


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
        except gdal_settings.GDAL_ERRORS as error:
            gdal_settings.forget_errors()
            why = conceal(error.__cause__ or error, band.path)
            remedy, kind = "the file may be truncated or damaged", SourceError
            if "Too many open files" in why:
                remedy = "allow more (ulimit -n), or use fewer --workers"
            elif _not_sent(opened, band, error):
                remedy, kind = _NOT_SENT, ServerError
            raise kind(
                f"{band.describe()}: band {band.index} can't be read at row {window.row}, "
                f"column {window.col} ({why}); {remedy}"
            ) from error
        if mask is not None:
            valid = mask if valid is None else valid & mask
    everywhere = valid is None or bool(valid.all())
    return decoded.Pixels(values, None if everywhere else valid)


_NOT_SENT = (
    "the server did not send all that was asked for: it may have stopped answering, the signature "
    "of the URL may have expired, or the file may end early"
)

_SHORT = re.compile(r"Read error at |got \d+ bytes, expected|Stream too short|get_decoded_tile")
"""GDAL's words for bytes that did not come; of JPEG 2000 it has no others for damage."""


def _not_sent(opened: Any, band: SourceBand, error: BaseException) -> bool:
    """Whether what failed is the way from a server rather than what came from there.

    GDAL tells nobody what the server answered.
    """
    # Of a VRT its sources are asked for.
    if not is_remote(band.path) and not any(map(is_remote, opened.files)):
        return False
    cause: BaseException | None = error
    while cause is not None and not _SHORT.search(str(cause)):
        cause = cause.__cause__
    return cause is not None


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
    if MaskFlags.per_dataset not in flags and values.dtype.kind in "ui":
        # As GDAL compares whole numbers; but rasterio would warn of an alpha band beside it, which
        # near infrared is taken for in most aerial pictures.
        stored = opened.nodatavals[band.index - 1]
        marks = None if stored is None else as_stored(values.dtype, stored)
        if marks is not None:
            missing: Mask = values == marks
            return ~missing
    mask: Mask = opened.read_masks(band.index, window=target) != 0
    if MaskFlags.per_dataset in flags:
        # GDAL asks the mask alone then; but a value that is said to be missing is no measurement.
        stored = opened.nodatavals[band.index - 1] if band.nodata is None else None
        marks = None if stored is None else as_stored(values.dtype, stored)
        if marks is not None:
            mask &= values != marks
    return mask


def refuse_complex(band: SourceBand) -> None:
    if np.dtype(band.dtype).kind == "c":
        raise BandError(
            f"{band.describe()}: band {band.index} is complex ({band.dtype}); nirgeo colorizes "
            "measured intensities, take the magnitude first"
        )
