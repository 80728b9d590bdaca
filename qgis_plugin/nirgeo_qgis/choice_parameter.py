"""Parameters with a list to choose from, and which widget QGIS shows for them.

Nothing of QGIS's windows is imported here: ``qgis_process`` has none.
"""

from __future__ import annotations

from qgis.core import QgsProcessingParameterString

from .request import AUTO

MODELS = "nirgeo_model"
DEVICES = "nirgeo_device"

_CLASSES = {MODELS: "ModelWidget", DEVICES: "DeviceWidget"}

registered: set[str] = set()
"""Widgets that QGIS knows by name, see :mod:`.widgets`."""


def choice(name: str, label: str, kind: str) -> QgsProcessingParameterString:
    """A text with a list to choose from, which is made when a dialog opens and not before."""
    # Optional, so that a model need not set it.
    parameter = QgsProcessingParameterString(name, label, AUTO, optional=True)
    by_class = {"class": f"{__package__}.old_widgets.{_CLASSES[kind]}"}
    parameter.setMetadata(
        {"widget_wrapper": {"widget_type": kind} if kind in registered else by_class}
    )
    return parameter
