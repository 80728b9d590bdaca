"""Lists to choose from in the tool's dialog, in batch rows and in the model designer.

The list of models comes from ``nirgeo models --json``, asked in the background when a dialog opens:
QGIS does not wait for it, and without an answer "auto" can still be chosen.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable
from typing import Any

from processing.gui.wrappers import DIALOG_MODELER, WidgetWrapper
from qgis.core import QgsProcessingOutputString, QgsProcessingParameterString
from qgis.PyQt.QtCore import QObject, pyqtSignal
from qgis.PyQt.QtWidgets import QComboBox, QFileDialog, QHBoxLayout, QToolButton, QWidget

from .events import RunError
from .interpreter import InterpreterError
from .nirgeo_cli import NirgeoCommand
from .request import AUTO
from .settings import nirgeo_command


class ModelCatalogue(QObject):
    """The models of the installation in use; asked again only when that changes."""

    changed = pyqtSignal()

    def __init__(self) -> None:
        super().__init__()
        self.choices: list[tuple[str, str]] = []
        self._interpreter = ""

    def refresh(self) -> None:
        """Ask in the background; ``changed`` is emitted when there is an answer."""
        try:
            nirgeo = nirgeo_command()
        except InterpreterError:
            return  # the tool itself says what to do
        if nirgeo.interpreter.path == self._interpreter:
            return
        self._interpreter = nirgeo.interpreter.path
        threading.Thread(target=self._ask, args=(nirgeo,), daemon=True).start()

    def _ask(self, nirgeo: NirgeoCommand) -> None:
        try:
            models = nirgeo.models()
        except RunError:
            self._interpreter = ""  # it may be mended by the time the next dialog opens
            return
        self.choices = [(model.describe(), model.name) for model in models]
        self.changed.emit()


_catalogue: ModelCatalogue | None = None


def catalogue() -> ModelCatalogue:
    """The one catalogue; made at its first use, in the main thread."""
    global _catalogue
    if _catalogue is None:
        _catalogue = ModelCatalogue()
    return _catalogue


class ChoiceWidget(WidgetWrapper):
    """An editable list: what is offered is a help, not a limit."""

    def createWidget(self) -> QWidget:
        self.combo = QComboBox()
        self.combo.setEditable(True)
        # Long entries would make the whole dialog wide.
        policy = QComboBox.SizeAdjustPolicy.AdjustToMinimumContentsLengthWithIcon
        self.combo.setSizeAdjustPolicy(policy)
        self.combo.setMinimumContentsLength(12)
        self.offer(self.offered())
        return self.combo

    def offered(self) -> Iterable[tuple[str, str]]:
        return [(AUTO, AUTO)]

    def offer(self, choices: Iterable[tuple[str, str]]) -> None:
        """Fill the list, keeping what is chosen."""
        chosen = self.value() if self.combo.count() else None
        self.combo.clear()
        for text, data in choices:
            self.combo.addItem(text, data)
        if self.dialogType == DIALOG_MODELER:
            for source in self.dialog.getAvailableValuesOfType(
                QgsProcessingParameterString, QgsProcessingOutputString
            ):
                self.combo.addItem(self.dialog.resolveValueDescription(source), source)
        # The list may be wider than its field: summaries are there to be read.
        self.combo.view().setMinimumWidth(self.combo.view().sizeHintForColumn(0) + 24)
        if chosen is not None:
            self.setValue(chosen)

    def setValue(self, value: Any) -> None:
        self.setComboValue(value, self.combo)

    def value(self) -> Any:
        return self.comboValue(combobox=self.combo)


class DeviceWidget(ChoiceWidget):
    """Where the network runs."""

    def offered(self) -> Iterable[tuple[str, str]]:
        yield "auto: a GPU if there is one", AUTO
        yield "cpu", "cpu"
        yield "cuda: NVIDIA or AMD GPU", "cuda"
        yield "mps: Apple GPU", "mps"


class ModelWidget(ChoiceWidget):
    """Shipped models by name, and a button to choose a model file."""

    def createWidget(self) -> QWidget:
        combo = super().createWidget()
        button = QToolButton()
        button.setText("…")
        button.setToolTip("Choose a model file")
        button.clicked.connect(self._choose_file)
        row = QWidget()
        layout = QHBoxLayout(row)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(combo, 1)
        layout.addWidget(button)
        # Bound to an object of this widget, the connection ends with it.
        catalogue().changed.connect(self._refill)
        catalogue().refresh()
        return row

    def offered(self) -> Iterable[tuple[str, str]]:
        yield "auto: by the kind of values in the input", AUTO
        yield from catalogue().choices

    def _refill(self) -> None:
        self.offer(self.offered())

    def _choose_file(self) -> None:
        path, _ = QFileDialog.getOpenFileName(
            self.combo, "Model file", "", "nirgeo models (*.safetensors)"
        )
        if path:
            self.setValue(path)
