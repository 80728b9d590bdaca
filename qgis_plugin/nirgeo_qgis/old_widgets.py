"""The lists as widgets of the kind that QGIS has had since version 2.

They work up to QGIS 4.2; QGIS 4.4 drops their base class (its enhancement proposal 427) and uses
:mod:`.widgets`, which older versions can't attach to a parameter of a known type.
"""

from __future__ import annotations

from typing import Any

from processing.gui.wrappers import DIALOG_MODELER, WidgetWrapper
from qgis.core import QgsProcessingOutputString, QgsProcessingParameterString
from qgis.PyQt.QtWidgets import QWidget

from .choices import ChoiceBox, DeviceBox, ModelBox


class ChoiceWidget(WidgetWrapper):
    """A list in a dialog, in a row of a batch, or in the model designer."""

    BOX = ChoiceBox

    def createWidget(self) -> QWidget:
        self.box = self.BOX(self._sources())
        return self.box.widget

    def _sources(self) -> list[tuple[str, Any]]:
        """In the model designer: what else in the model could give the value."""
        if self.dialogType != DIALOG_MODELER:
            return []
        sources = self.dialog.getAvailableValuesOfType(
            QgsProcessingParameterString, QgsProcessingOutputString
        )
        return [(self.dialog.resolveValueDescription(source), source) for source in sources]

    def setValue(self, value: Any) -> None:
        self.box.setValue(value)

    def value(self) -> Any:
        return self.box.value()


class DeviceWidget(ChoiceWidget):
    BOX = DeviceBox


class ModelWidget(ChoiceWidget):
    BOX = ModelBox
