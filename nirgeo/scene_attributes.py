"""What an opened scene says of itself, in names that slices and copies of it keep."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import xarray as xr

from nirgeo.scaling import (
    ENVI_FACTOR,
    ENVI_ORIGIN,
    TAG_ORIGIN,
    Scaling,
    ScalingClues,
    cf_scaling,
    envi_scale,
    find_scaling,
)

SCALING_ATTR = "nirgeo_scaling"
SCALING_ORIGIN_ATTR = "nirgeo_scaling_origin"

PRODUCT_ATTR = "nirgeo_product"
"""What says of a scene's product that the air was not removed, for slices of it: other models are
for those. Its whole name may tell of folders, and is nobody's business."""

VALID = "valid"
"""Name of the coordinate that tells which pixels are valid."""


def stated_scaling(attributes: Mapping[Any, Any], dtype: str) -> Scaling | None:
    """What an array's attributes say of its values: nirgeo's own record, else CF's, else the tag
    of a file, or ENVI's factor, as rioxarray keeps them."""
    recorded = attributes.get(SCALING_ATTR)
    if recorded is None:
        found = cf_scaling(attributes)
        tag, origin = attributes.get("REFLECTANCE_SCALE"), TAG_ORIGIN
        if tag is None:
            tag, origin = envi_scale(attributes.get(ENVI_FACTOR)), ENVI_ORIGIN
        if found is not None or tag is None:
            return found
        clues = ScalingClues(
            dtype, reflectance_scale_tag=float(tag), reflectance_scale_origin=origin
        )
        return find_scaling(clues)
    origin = attributes.get(SCALING_ORIGIN_ATTR, "recorded in the array")
    return Scaling.from_tag(str(recorded), str(origin))


def product_of(scene: xr.DataArray) -> str:
    """What an opened scene, or a part of it, says of its product; mostly nothing."""
    return str(scene.attrs.get(PRODUCT_ATTR, ""))


def stated_nodata(array: xr.DataArray) -> float | None:
    """The value of missing pixels that an array states; NaN of one that was decoded.

    rioxarray takes an encoded value for a sign that numbers were decoded to floats. Whole numbers
    were not: whoever writes them so says which of them is missing.
    """
    encoded = array.rio.encoded_nodata
    whole = array.dtype.kind in "ui" and encoded is not None
    value = encoded if whole else array.rio.nodata
    return None if value is None else float(value)
