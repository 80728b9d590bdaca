"""Attributes of a scene that are true of its picture too.

A title, a sensor, a cloud cover or a history hold for both. What describes the scene's values
(nodata, scaling, units, statistics) does not, and what older readers put down as georeference is in
the coordinates already.
"""

from __future__ import annotations

import re
from collections.abc import Hashable, Mapping
from typing import Any

import numpy as np

# CF conventions 1.11, appendix A; GDAL's metadata; nirgeo's tags; xarray's former open_rasterio and
# stackstac, whose transform, CRS and resolution are those of the coordinates.
_OF_VALUES = re.compile(
    r"_?Fill_?Value|missing_value|nodata(vals)?|scale_factor|add_offset|scales?|offsets?"
    r"|units?|long_name|standard_name|actual_range|valid_(min|max|range)|flag_\w+|cell_\w+"
    r"|ancillary_variables|coordinates|grid_mapping|dtype|_Unsigned|descriptions"
    r"|REFLECTANCE_SCALE(?:_FACTOR)?|wavelength\w*|Band_\d+|STATISTICS_\w+|COLORINTERP|nirgeo_\w+"
    r"|crs|transform|res|resolution|spec|is_tiled",
    re.IGNORECASE,
)


def of_the_scene(attributes: Mapping[Hashable, Any]) -> dict[str, Any]:
    """Those to keep: about the scene and not its values, and of types that files can hold."""
    return {
        key: value
        for key, value in attributes.items()
        if isinstance(key, str) and not _OF_VALUES.fullmatch(key) and _is_plain(value)
    }


def _is_plain(value: Any) -> bool:
    """Text, a number, or a list of one of them: what netCDF, Zarr and tags take."""
    if isinstance(value, list | tuple):
        return all(isinstance(item, str | int | float | np.number) for item in value)
    if isinstance(value, np.ndarray):
        return value.ndim <= 1 and value.dtype.kind in "iufU"
    return isinstance(value, str | int | float | np.number)
