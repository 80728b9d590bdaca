"""From files to a scene: ``open_source`` looks at what they say, and where that does not decide, at
a few tiles."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from rasterio.enums import ColorInterp, MaskFlags

from nirgeo import gdal_settings, handles
from nirgeo.acquisition import find_acquisition
from nirgeo.bands import find_roles
from nirgeo.errors import BandError, GridError, SourceError
from nirgeo.file_facts import first_clues, labels_of, product_in_tags, product_names
from nirgeo.grid import (
    Grid,
    apart,
    read_grid,
    refuse_bad_points,
    refuse_bad_transform,
    same_grid,
)
from nirgeo.hrefs import public, without_query
from nirgeo.nodata import framing_value
from nirgeo.scaling import kind_of_numbers
from nirgeo.source import RasterSource, SourceBand, refuse_complex, stamps_of_files
from nirgeo.tiling import lattice


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
    except (gdal_settings.GdalError, UnicodeDecodeError) as error:
        # GDAL opens a file whose georeference it can't read, or hands on what is no text.
        gdal_settings.forget_errors()
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
    product = " ".join(product_names(file) for file in files)
    with gdal_settings.gdal_env(bands[0].path):
        mission = product_in_tags(bands[0].open().tags())
    found = find_roles(
        labels, product=f"{mission} {product}", dtype=bands[0].dtype, explicit=explicit
    )
    nir = bands[found["nir"] - 1]
    for band in bands:
        if band.label.number in found.values():
            refuse_complex(band)
    grid = grids[found["nir"] - 1]
    refuse_bad_transform(grid, nir.describe())
    refuse_bad_points(grid, nir.describe())
    for position, (band, other) in enumerate(zip(bands, grids, strict=True)):
        if not same_grid(grid, other):
            bands[position] = replace(band, warp=_warp_target(other, grid, band, nir))
            if band.label.number in found.values() and apart(other, grid):
                raise GridError(
                    f"{band.describe()} lies somewhere else than {nir.describe()}: they share no "
                    "pixel"
                )
            notes.append(
                f"{Path(without_query(band.path)).name} ({other.width}×{other.height} px) is "
                f"resampled to the grid of near infrared ({grid.width}×{grid.height} px)"
            )

    with gdal_settings.gdal_env(nir.path):
        opened = nir.open()
        clues = first_clues(opened, nir.index, nir.path)
        acquisition = find_acquisition(
            opened.tags(), opened.tags(ns="IMAGERY"), [nir.path, *files], mission
        )
        block_shape = opened.block_shapes[nir.index - 1]
    scalings = {role: bands[number - 1].stored_scaling() for role, number in found.items()}
    source = RasterSource(
        bands=tuple(bands),
        grid=grid,
        roles=tuple(found.items()),
        clues=clues,
        block_shape=block_shape,
        stamps=stamps_of_files({band.path: band.drivers for band in bands}),
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
    mask = nir.masked and nir.label.colorinterp == ColorInterp.alpha.name
    if nir.dtype == "uint8" and nir.label.colorinterp == ColorInterp.undefined.name:
        # The last of four, say, which nobody says is a mask, and which is one all the same.
        mask = len(bands) > 1 and not _alpha_is_data(source, found["nir"])
    if mask and not named:
        raise BandError(
            f"{nir.describe()}: band {nir.index} would be taken for near infrared, but it looks "
            "like an alpha band (most of it is 0 or 255); name the band with --nir NUMBER or NAME"
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
    with gdal_settings.gdal_env(file):
        opened = handles.dataset(file, drivers=drivers)
        if opened.count == 0:
            raise SourceError(
                f"{public(file)}: holds no band itself; name one of its subdatasets: "
                + ", ".join(opened.subdatasets[:8])
            )
        _refuse_huge_blocks(opened, file)
        labels, types = labels_of(opened, file, first_number), handles.types(opened)
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
    with gdal_settings.gdal_env(file.path):
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


def _other_numbers(band: SourceBand, nir: SourceBand) -> bool:
    """Whether what one of two bands holds can't mean what the other's numbers do.

    Fractions beside whole numbers, or display counts beside digital numbers: if they are not said
    to be scaled, each would be taken for something else.
    """
    if "complex" in band.dtype or "complex" in nir.dtype:
        return False
    return kind_of_numbers(np.dtype(band.dtype)) != kind_of_numbers(np.dtype(nir.dtype))


def _warp_target(other: Grid, grid: Grid, band: SourceBand, nir: SourceBand) -> handles.WarpTarget:
    if other.crs is None or grid.crs is None:
        raise GridError(
            f"{band.describe()} has {other.width}×{other.height} px and {nir.describe()} has "
            f"{grid.width}×{grid.height} px"
            + (", but not in the same place" if other.shape == grid.shape else "")
            + "; without a CRS on both they can't be brought onto one grid; resample them first"
        )
    return handles.WarpTarget(grid.height, grid.width, grid.transform, grid.crs)


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
