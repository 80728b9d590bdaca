"""Lists to choose from: models and devices.

The list of models comes from ``nirgeo models --json``, asked in the background when a dialog opens:
QGIS does not wait for it, and without an answer "auto" can still be chosen.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable
from typing import Any

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


class ChoiceBox(QObject):
    """An editable list: what is offered is a help, not a limit.

    ``widget`` is what QGIS shows. It is no class of its own, since QGIS may hand it on as a plain
    widget, and then nothing of a class in Python would be left.
    """

    def __init__(self, more: Iterable[tuple[str, Any]] = ()) -> None:
        """``more`` is offered besides: texts, and the values they stand for."""
        self.widget = QWidget()
        super().__init__(self.widget)  # lives as long as it
        self._more = list(more)
        self.combo = QComboBox()
        self.combo.setEditable(True)
        # Long entries would make the whole dialog wide.
        policy = QComboBox.SizeAdjustPolicy.AdjustToMinimumContentsLengthWithIcon
        self.combo.setSizeAdjustPolicy(policy)
        self.combo.setMinimumContentsLength(12)
        self.row = QHBoxLayout(self.widget)
        self.row.setContentsMargins(0, 0, 0, 0)
        self.row.addWidget(self.combo, 1)
        self.refill()

    def offered(self) -> Iterable[tuple[str, Any]]:
        return [(AUTO, AUTO)]

    def refill(self) -> None:
        """Offer what there is now, keeping what is chosen."""
        chosen = self.value() if self.combo.count() else None
        self.combo.clear()
        for text, value in [*self.offered(), *self._more]:
            self.combo.addItem(text, value)
        # The list may be wider than its field: summaries are there to be read.
        self.combo.view().setMinimumWidth(self.combo.view().sizeHintForColumn(0) + 24)
        if chosen is not None:
            self.setValue(chosen)

    def setValue(self, value: Any) -> None:
        # Compared in Python: a value in the model designer is an object that Qt can't compare.
        values = [self.combo.itemData(number) for number in range(self.combo.count())]
        if value in values:
            self.combo.setCurrentIndex(values.index(value))
        else:
            self.combo.setEditText("" if value is None else str(value))

    def value(self) -> Any:
        """What was chosen, or what was typed."""
        text = self.combo.currentText()
        number = self.combo.findText(text)
        return text.strip() if number < 0 else self.combo.itemData(number)


class DeviceBox(ChoiceBox):
    """Where the network runs."""

    def offered(self) -> Iterable[tuple[str, str]]:
        yield "auto: a GPU if there is one", AUTO
        yield "cpu", "cpu"
        yield "cuda: NVIDIA or AMD GPU", "cuda"
        yield "mps: Apple GPU", "mps"


class ModelBox(ChoiceBox):
    """Shipped models by name, and a button to choose a model file."""

    def __init__(self, more: Iterable[tuple[str, Any]] = ()) -> None:
        super().__init__(more)
        button = QToolButton()
        button.setText("…")
        button.setToolTip("Choose a model file")
        button.clicked.connect(self._choose_file)
        self.row.addWidget(button)
        # Bound to an object that belongs to the widget, the connection ends with it.
        catalogue().changed.connect(self.refill)
        catalogue().refresh()

    def offered(self) -> Iterable[tuple[str, str]]:
        yield "auto: by the kind of values in the input", AUTO
        yield from catalogue().choices

    def _choose_file(self) -> None:
        path, _ = QFileDialog.getOpenFileName(
            self.combo, "Model file", "", "nirgeo models (*.safetensors)"
        )
        if path:
            self.setValue(path)
