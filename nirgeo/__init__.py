"""nirgeo: natural-colour pictures from near-infrared rasters.

Three steps, each usable alone::

    scene = nirgeo.open_scene("scene.tif")      # lazy DataArray
    rgb = nirgeo.colorize(scene)                # lazy DataArray, red-green-blue
    nirgeo.write_geotiff(rgb, "scene_rgb.tif")  # Cloud Optimized GeoTIFF

Importing the package is cheap: rasterio, xarray and torch are loaded when they are first needed.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from nirgeo._version import __version__
from nirgeo.errors import NirgeoError

if TYPE_CHECKING:
    from nirgeo.engine import colorize
    from nirgeo.registry import load_model
    from nirgeo.scene import open_scene
    from nirgeo.write import write_geotiff

__all__ = [
    "NirgeoError",
    "__version__",
    "colorize",
    "load_model",
    "open_scene",
    "write_geotiff",
]

_HOMES = {
    "colorize": "nirgeo.engine",
    "open_scene": "nirgeo.scene",
    "write_geotiff": "nirgeo.write",
    "load_model": "nirgeo.registry",
}


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        value = getattr(import_module(_HOMES[name]), name)
        globals()[name] = value
        return value
    raise AttributeError(f"module 'nirgeo' has no attribute {name!r}")
