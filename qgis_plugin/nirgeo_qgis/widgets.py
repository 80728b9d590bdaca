"""The lists as widgets that QGIS 4.4 and later find by name."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from qgis.core import (
    QgsProcessingContext,
    QgsProcessingOutputString,
    QgsProcessingParameterDefinition,
    QgsProcessingParameterString,
)
from qgis.gui import (
    QgsAbstractProcessingParameterWidgetWrapper,
    QgsGui,
    QgsProcessingGui,
    QgsProcessingParameterWidgetFactoryInterface,
)
from qgis.PyQt import sip
from qgis.PyQt.QtWidgets import QWidget

from .choice_parameter import DEVICES, MODELS, registered
from .choices import ChoiceBox, DeviceBox, ModelBox

_BOXES: dict[str, Callable[[], ChoiceBox]] = {MODELS: ModelBox, DEVICES: DeviceBox}

# Until QGIS 4.4 (its issue 67401), nothing there keeps the Python half of a wrapper.
_ALIVE: list[QgsAbstractProcessingParameterWidgetWrapper] = []

_factories: list[ChoiceFactory] = []


class ChoiceWrapper(QgsAbstractProcessingParameterWidgetWrapper):
    """Hands values from and to a list."""

    def __init__(
        self,
        box: Callable[[], ChoiceBox],
        parameter: QgsProcessingParameterDefinition,
        kind: QgsProcessingGui.WidgetType,
    ) -> None:
        super().__init__(parameter, kind)
        self._make = box
        self._box: ChoiceBox | None = None

    def createWidget(self) -> QWidget:
        self._box = self._make()
        self._box.combo.currentTextChanged.connect(self._tell)
        return self._box.widget

    def _tell(self) -> None:
        if not sip.isdeleted(self):
            self.widgetValueHasChanged.emit(self)

    def setWidgetValue(self, value: Any, context: QgsProcessingContext) -> None:
        if self._box is not None:
            self._box.setValue(value)

    def widgetValue(self) -> Any:
        return None if self._box is None else self._box.value()


class ChoiceFactory(QgsProcessingParameterWidgetFactoryInterface):
    """Makes the widgets of one name."""

    def __init__(self, name: str) -> None:
        super().__init__()
        self._name = name

    def parameterType(self) -> str:
        return self._name

    def createWidgetWrapper(
        self, parameter: QgsProcessingParameterDefinition, kind: QgsProcessingGui.WidgetType
    ) -> ChoiceWrapper:
        _ALIVE[:] = [wrapper for wrapper in _ALIVE if not sip.isdeleted(wrapper)]
        wrapper = ChoiceWrapper(_BOXES[self._name], parameter, kind)
        _ALIVE.append(wrapper)
        return wrapper

    def compatibleParameterTypes(self) -> list[str]:
        return [QgsProcessingParameterString.typeName()]

    def compatibleOutputTypes(self) -> list[str]:
        return [QgsProcessingOutputString.typeName()]


def needed() -> bool:
    """Whether QGIS no longer has what :mod:`.old_widgets` is made of."""
    try:
        from processing.gui.wrappers import WidgetWrapper  # noqa: F401
    except ImportError:
        return True
    return False


def register() -> None:
    """Make the lists known to QGIS; to be done before the tools are."""
    for name in _BOXES:
        factory = ChoiceFactory(name)
        if QgsGui.processingGuiRegistry().addParameterWidgetFactory(factory):
            _factories.append(factory)
            registered.add(name)


def unregister() -> None:
    while _factories:
        factory = _factories.pop()
        registered.discard(factory.parameterType())
        QgsGui.processingGuiRegistry().removeParameterWidgetFactory(factory)
