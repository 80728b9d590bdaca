"""Any array as a scene: its bands, which of them is which, its nodata and its scaling.

What :mod:`nirgeo.opening` finds out about files, of arrays that came another way.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import dask.array as da
import numpy as np
import xarray as xr
from numpy.typing import NDArray

from nirgeo.bands import find_roles
from nirgeo.cube import band_labels, scaling_of_bands
from nirgeo.errors import BandError, GridError
from nirgeo.layers import refuse_unknown_chunks
from nirgeo.recipe import Recipe
from nirgeo.scaling import (
    Scale,
    Scaling,
    ScalingClues,
    find_scaling,
    may_have_been_applied,
    refuse_what_was_applied,
    sampled_clues,
)
from nirgeo.scene import resolve_scale
from nirgeo.scene_attributes import stated_nodata, stated_scaling
from nirgeo.tiling import DEFAULT_CHUNK_TILES, TILE, Window, look_around


def array_parts(
    scene: xr.DataArray,
    scale: Scale | None,
    nodata: float | None,
) -> tuple[xr.DataArray, da.Array, dict[str, int], Scaling]:
    """An array as bands, its blocks, band numbers by role, and its scaling."""
    array = _as_bands(scene)
    blocks = array.data if isinstance(array.data, da.Array) else _in_chunks(array.values)
    refuse_unknown_chunks(blocks)
    numbers = band_numbers(array)
    if scale is None:
        array = array.assign_attrs(scaling_of_bands(array, numbers))
    scaling = _array_scaling(array, blocks[numbers["nir"] - 1], scale, nodata)
    return array, blocks, numbers, scaling


def _as_bands(scene: xr.DataArray) -> xr.DataArray:
    """The array with dimensions (band, y, x), whatever order they came in."""
    if "y" not in scene.dims or "x" not in scene.dims:
        raise GridError(f"need dimensions 'y' and 'x' (and 'band'), got {tuple(scene.dims)}")
    if "band" not in scene.dims:
        label = scene["band"].item() if "band" in scene.coords else None
        name = label if isinstance(label, str) else "nir"
        scene = scene.drop_vars("band", errors="ignore").expand_dims(band=[name])
    if scene.dtype.kind not in "uif":
        raise BandError(f"values of type {scene.dtype} are not measured intensities")
    return scene.transpose("band", "y", "x")


def band_numbers(array: xr.DataArray) -> dict[str, int]:
    """Band numbers (from 1) by role, from what the array says of its bands."""
    return find_roles(band_labels(array), dtype=str(array.dtype), in_array=True)


def _in_chunks(values: NDArray[Any]) -> da.Array:
    """An array in memory (bands, H, W) in chunks as those of a file, not in dask's of 128 MB."""
    side = DEFAULT_CHUNK_TILES * TILE
    return da.from_array(values, chunks=(-1, side, side))


def eaten_bands(
    array: xr.DataArray, blocks: da.Array, numbers: dict[str, int], recipe: Recipe
) -> da.Array:
    """The bands that the model eats, in its order.

    Raises
    ------
    BandError : one is missing
    """
    if any(role not in numbers for role in recipe.spec.bands):
        raise BandError(
            f"{recipe.spec.full_name} needs bands {', '.join(recipe.spec.bands)}; the "
            f"array has {', '.join(str(b) for b in np.atleast_1d(array['band'].values))}"
        )
    return blocks[[numbers[role] - 1 for role in recipe.spec.bands]]


def array_nodata(array: xr.DataArray, nodata: float | None) -> float | None:
    if nodata is not None:
        return nodata
    return stated_nodata(array)


def _array_scaling(
    array: xr.DataArray,
    nir: da.Array,
    scale: Scale | None,
    nodata: float | None,
) -> Scaling:
    """Scaling of an array: explicit, recorded, CF attributes, or from its type and range.

    The range is looked at only where nothing else tells, floats without a word about their unit;
    and of floats that are to be scaled as integers are, which somebody may have done already.

    Raises
    ------
    RadiometryError : somebody has
    """
    if scale is not None:
        return scaling_of(ScalingClues(array.dtype.name), scale)
    stated = stated_scaling(array.attrs, array.dtype.name)
    if stated is not None:
        if may_have_been_applied(stated, str(array.dtype)):
            refuse_what_was_applied(stated, _sampled(array, nir, nodata).high)
        return stated
    clues = ScalingClues(array.dtype.name)
    if array.dtype != np.uint8:
        clues = _sampled(array, nir, nodata)
    return find_scaling(clues)


def _sampled(array: xr.DataArray, nir: da.Array, nodata: float | None) -> ScalingClues:
    """The range of a band on the lattice; of a denser one if nothing is valid there."""

    def look(windows: Sequence[Window]) -> ScalingClues:
        sample = da.concatenate([nir[window.slices].ravel() for window in windows]).compute()
        return sampled_clues(array.dtype.name, sample, array_nodata(array, nodata))

    return look_around((nir.shape[0], nir.shape[1]), look, lambda clues: clues.high is not None)


def scaling_of(clues: ScalingClues, scale: Scale) -> Scaling:
    return find_scaling(clues, resolve_scale(scale))
