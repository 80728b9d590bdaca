"""Scenes as xarray users have them: a variable per band, more dimensions than a raster.

odc-stac and stackstac make cubes of ``time``, ``y`` and ``x``, one variable per band or a ``band``
dimension; in degrees the axes are ``latitude`` and ``longitude``. Here they become what
:func:`nirgeo.colorize` takes, one raster after the other, and its pictures become a cube again.
Nothing is computed for that.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import xarray as xr

from nirgeo.attributes import of_the_scene
from nirgeo.bands import ROLES, BandLabel, find_roles, wavelength_in, wavelength_of
from nirgeo.errors import BandError, GridError, RadiometryError
from nirgeo.georeference import CORNERS_ATTR, RPC_ATTR
from nirgeo.radiometry import Quantity
from nirgeo.scaling import (
    ENVI_FACTOR,
    Scale,
    Scaling,
    ScalingClues,
    find_scaling,
    kind_of_numbers,
    may_have_been_applied,
    refuse_what_was_applied,
    sampled_clues,
)
from nirgeo.scene_attributes import (
    PRODUCT_ATTR,
    SCALING_ATTR,
    SCALING_ORIGIN_ATTR,
    VALID,
    stated_nodata,
    stated_scaling,
)
from nirgeo.tiling import Window, look_around

AXES = {"latitude": "y", "longitude": "x", "lat": "y", "lon": "x"}
"""Other names of the axes, which come back in the result."""

RASTER = ("band", "y", "x")

_NODATA = ("_FillValue", "missing_value", "fill_value", "nodata", "nodatavals")
"""Where rioxarray looks for the value of missing pixels."""

_OF_BANDS = (*_NODATA, "scale_factor", "add_offset")
"""What holds for the values of a band."""

_OF_ALL = (
    *("REFLECTANCE_SCALE", ENVI_FACTOR, SCALING_ATTR, SCALING_ORIGIN_ATTR, PRODUCT_ATTR),
    *(RPC_ATTR, CORNERS_ATTR, "crs"),
)
"""What holds for every band of a scene, and so may stand with the dataset."""

_COMMON_NAMES = ("common_name", "eo:common_name")
"""Coordinates along ``band`` with STAC's common names, as stackstac attaches them."""

_WAVELENGTHS = ("wavelength", "wavelengths", "center_wavelength", "eo:center_wavelength")
"""The same for wavelengths."""

_POOLED_RASTERS = 64
"""So many rasters give every pixel of their sample tiles; of more, fewer pixels are taken of each,
so that a long cube's sample needs no more memory."""


def as_array(dataset: xr.Dataset) -> xr.DataArray:
    """Variables whose names tell a role, as one array with a ``band`` dimension.

    What must hold for every value, nodata and scaling, must be the same for all of them.

    Raises
    ------
    BandError : no variable is near infrared, or nodata or scaling differ
    """
    names = [str(name) for name, values in dataset.data_vars.items() if values.ndim >= 2]
    labels = [BandLabel(number, description=name) for number, name in enumerate(names, start=1)]
    if not labels:
        raise BandError("the dataset has no variable with two dimensions")
    if len(names) == 1 and "band" in dataset[names[0]].dims:
        return dataset[names[0]]  # a scene that was stored whole
    roles = find_roles(labels, in_array=True)
    chosen = {role: dataset[names[number - 1]] for role, number in roles.items()}
    facts: dict[str, Any] = {}
    # ``to_dataset`` leaves all attributes with the dataset. Where bands have some of their own,
    # what it says of values is not about them.
    bare = not any(values.attrs for values in chosen.values())
    for key in (*_OF_BANDS, *_OF_ALL):
        values = {
            role: values.attrs.get(key, values.encoding.get(key) if key == "_FillValue" else None)
            for role, values in chosen.items()
        }
        distinct = {repr(value): value for value in values.values()}
        if len(distinct) > 1:
            listed = ", ".join(f"{role} {value}" for role, value in values.items())
            raise BandError(f"bands with different {key} can't be put together: {listed}")
        (value,) = distinct.values()
        if value is None and (bare or key in _OF_ALL):
            value = dataset.attrs.get(key)
        if value is not None:
            facts[key] = value
    kinds = {role: kind_of_numbers(values.dtype) for role, values in chosen.items()}
    if len(set(kinds.values())) > 1:
        listed = ", ".join(f"{role} {values.dtype}" for role, values in chosen.items())
        raise BandError(f"bands of different numbers can't be put together: {listed}")
    crs = dataset.rio.crs
    array = xr.concat(
        [values.drop_attrs(deep=False) for values in chosen.values()],
        dim=xr.Variable("band", list(chosen)),
        coords="minimal",
        compat="override",
    ).assign_attrs(of_the_scene(dataset.attrs) | facts)
    # Written again, it would lose what stands beside it: transform and ground control points.
    return array if crs is None or array.rio.crs == crs else array.rio.write_crs(crs)


def scaling_of_bands(array: xr.DataArray, numbers: Mapping[str, int]) -> dict[str, float]:
    """CF's attributes for bands whose scales rioxarray keeps one by one, where those agree that
    have a role (``numbers`` count from 1); nothing where it does not.

    Raises
    ------
    RadiometryError : they do not
    """
    attributes = array.attrs
    listed = {key: attributes.get(key) for key in ("scales", "offsets")}
    if SCALING_ATTR in attributes or all(value is None for value in listed.values()):
        return {}
    found = {}
    for role, number in numbers.items():
        own = []
        for key, single, usual in (("scales", "scale_factor", 1), ("offsets", "add_offset", 0)):
            values = listed[key]
            if values is None:
                own.append(float(attributes.get(single, usual)))
            elif len(values) != array.sizes["band"]:
                raise RadiometryError(
                    f"the array has {array.sizes['band']} bands and {len(values)} {key}, so whose "
                    "they are can't be told; give the scale, as GAIN[,OFFSET]"
                )
            else:
                own.append(float(values[number - 1]))
        found[role] = tuple(own)
    if len(set(found.values())) > 1:
        told = ", ".join(
            f"{role} {gain:g} and {offset:g}" for role, (gain, offset) in found.items()
        )
        raise RadiometryError(
            f"the bands are scaled each in its own way ({told}); scale them first, then give "
            'scale="1"'
        )
    gain, offset = next(iter(found.values()))
    return {"scale_factor": gain, "add_offset": offset}


def band_labels(array: xr.DataArray) -> list[BandLabel]:
    """What an array says of its bands: names along ``band``, or descriptions beside numbers.

    rioxarray numbers the bands of a file, and keeps their descriptions in ``long_name``. Beside
    either there may be STAC's common names, which count unless a band is called by a role itself:
    whoever renames a band does not think of them. Wavelengths are a coordinate, as rioxarray reads
    them from ENVI's headers.
    """
    count = array.sizes["band"]
    names = list(np.atleast_1d(array["band"].values)) if "band" in array.coords else [0] * count
    words = ["" if np.issubdtype(type(name), np.number) else str(name) for name in names]
    described = array.attrs.get("long_name")
    if not any(words) and isinstance(described, tuple | list) and len(described) == count:
        words = [str(word or "") for word in described]
    told = zip(words, _common_names(array), _wavelengths(array), strict=True)
    return [
        BandLabel(
            number,
            description=word,
            common_name="" if word in ROLES else common,
            wavelength=at or wavelength_of(word),
        )
        for number, (word, common, at) in enumerate(told, start=1)
    ]


def _common_names(array: xr.DataArray) -> list[str]:
    count = array.sizes["band"]
    for key in _COMMON_NAMES:
        names = np.atleast_1d(array.coords[key].values) if key in array.coords else np.empty(0)
        if names.shape == (count,):  # over band; or of the only one
            return [name if isinstance(name, str) else "" for name in names]
    return [""] * count


def _wavelengths(array: xr.DataArray) -> list[float | None]:
    """In micrometres; numbers without a unit are nanometres if they can't be micrometres."""
    count = array.sizes["band"]
    for key in _WAVELENGTHS:
        if key not in array.coords:
            continue
        coordinate = array.coords[key]
        values = np.atleast_1d(coordinate.values)
        if values.shape != (count,) or values.dtype.kind not in "iuf":
            continue
        unit = coordinate.attrs.get("units") or array.attrs.get("wavelength_units")
        return [wavelength_in(value, unit and str(unit)) for value in values.tolist()]
    return [None] * count


def with_axes(array: xr.DataArray) -> tuple[xr.DataArray, dict[str, str]]:
    """The array with axes ``y`` and ``x``, and what they were called before.

    Raises
    ------
    GridError : something else is called y or x already
    """
    axes = {str(dim): AXES.get(str(dim).lower(), str(dim)) for dim in array.dims}
    renamed = {dim: axis for dim, axis in axes.items() if dim != axis}
    taken = [axis for axis in renamed.values() if axis in array.coords or axis in array.dims]
    if taken:
        raise GridError(
            f"the array has axes {', '.join(renamed)} and something else called "
            f"{' and '.join(taken)}; drop or rename that"
        )
    return array.rename(renamed), {new: old for old, new in renamed.items()}


def further_dimensions(array: xr.DataArray) -> list[str]:
    """Dimensions besides those of a raster, outermost first."""
    return [str(dim) for dim in array.dims if dim not in RASTER]


Colorize = Callable[[xr.DataArray, Scale | None], xr.DataArray]
"""A raster and its scaling to its picture."""


def over_dimensions(
    cube: xr.DataArray, colorize: Colorize, scale: Scale | None, nodata: float | None
) -> xr.DataArray:
    """``colorize`` on every raster of a cube; (…, band, y, x), the further dimensions first.

    Each raster has statistics of its own, but what the values are, and with it the model, is found
    out once, from all of them. Of a lazy cube none is looked at: floats must say what they are.

    Raises
    ------
    RadiometryError : a lazy cube of floats without a word about their unit
    GridError : a dimension is empty
    """
    dimensions = further_dimensions(cube)
    for dimension in dimensions:
        if cube.sizes[dimension] == 0:
            raise GridError(f"dimension {dimension} is empty; there is nothing to colorize")
    known = _scaling(cube, nodata) if scale is None else scale
    return _over(cube, dimensions, colorize, known)


def _over(
    cube: xr.DataArray,
    dimensions: list[str],
    colorize: Colorize,
    scale: Scale | None,
) -> xr.DataArray:
    if not dimensions:
        return colorize(cube, scale)
    first, *rest = dimensions
    parts = [
        _over(cube.isel({first: number}), rest, colorize, scale)
        for number in range(cube.sizes[first])
    ]
    # By name: to find out which coordinates differ, xarray would compute the masks. What is said of
    # the scene's bands is not true of colours, and no picture has it.
    along = [
        str(name)
        for name, values in cube.coords.items()
        if first in values.dims and "band" not in values.dims
    ]
    joined = xr.concat(
        parts,
        dim=first,
        coords=[VALID, *(name for name in along if name != first)],
        compat="override",
        combine_attrs="drop_conflicts",
    )
    return joined.transpose(first, *rest, "band", "y", "x")


def _scaling(cube: xr.DataArray, nodata: float | None) -> Scaling | None:
    """What the values of a cube are; None where every raster tells that itself."""
    stated = stated_scaling(cube.attrs, cube.dtype.name)
    if stated is not None:
        if cube.chunks is None and may_have_been_applied(stated, str(cube.dtype)):
            refuse_what_was_applied(stated, _pooled_clues(cube, nodata).high)
        return stated
    if cube.dtype == np.uint8:
        return None
    if cube.dtype.kind not in "uif":
        return None  # refused with the first raster
    if cube.chunks is None:
        return find_scaling(_pooled_clues(cube, nodata))
    if cube.dtype.kind == "f":
        raise RadiometryError(
            f"a lazy cube of {cube.dtype} does not say whether it holds reflectance, and looking "
            "would compute it; give scale='1' for reflectance, or scale='0.0001' for reflectance "
            "× 10000"
        )
    return Scaling(Quantity.REFLECTANCE, 1e-4, 0.0, "assumed: reflectance × 10000")


def _pooled_clues(cube: xr.DataArray, nodata: float | None) -> ScalingClues:
    """What the tiles that one raster's scaling is told from tell for all rasters together.

    A dark date alone would look like display counts, and get another model than its neighbours.
    """
    nir = cube
    if "band" in cube.dims:
        number = 1
        if cube.sizes["band"] > 1:  # of a single one the rasters warn, if its label is another's
            number = find_roles(band_labels(cube), dtype=str(cube.dtype), in_array=True)["nir"]
        nir = cube.isel(band=number - 1)
    nir = nir.transpose(..., "y", "x")  # a step through the values then goes through every raster
    rasters = math.prod(nir.sizes[name] for name in further_dimensions(nir))
    step = math.ceil(rasters / _POOLED_RASTERS)
    missing = stated_nodata(cube) if nodata is None else nodata

    def look(windows: Sequence[Window]) -> ScalingClues:
        tiles = [nir.isel(dict(zip("yx", window.slices, strict=True))) for window in windows]
        pooled = np.concatenate([tile.values.ravel()[::step] for tile in tiles])
        return sampled_clues(cube.dtype.name, pooled, missing)

    shape = nir.sizes["y"], nir.sizes["x"]
    return look_around(shape, look, lambda clues: clues.high is not None)
