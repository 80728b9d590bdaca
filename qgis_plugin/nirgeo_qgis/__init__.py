"""nirgeo in QGIS: a Processing provider that runs the nirgeo command line in another Python."""

from __future__ import annotations

from typing import Any


def classFactory(iface: Any) -> Any:
    """What QGIS calls to make the plugin; ``iface`` is None in ``qgis_process``."""
    # Imported here so that the modules without QGIS can be used and tested where there is none.
    from .plugin import NirgeoPlugin

    return NirgeoPlugin()
