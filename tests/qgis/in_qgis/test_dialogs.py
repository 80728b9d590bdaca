"""The forms: the tool's dialog, batch rows and the model designer."""

from __future__ import annotations

import gc
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from plugin_helpers import Fake, is_alive, pid_in
from processing.gui.AlgorithmDialog import AlgorithmDialog
from processing.gui.BatchAlgorithmDialog import BatchAlgorithmDialog
from processing.gui.wrappers import WidgetWrapperFactory
from processing.modeler.ModelerParametersDialog import ModelerParametersDialog
from qgis.core import (
    QgsApplication,
    QgsProcessingContext,
    QgsProcessingModelAlgorithm,
    QgsProcessingModelParameter,
    QgsProcessingParameterString,
    QgsProxyProgressTask,
    QgsRasterLayer,
)
from qgis.gui import QgsGui, QgsProcessingGui
from qgis.PyQt import sip
from qgis.PyQt.QtCore import QCoreApplication, QTimer
from qgis.PyQt.QtWidgets import QComboBox, QDialog, QTextEdit

pytestmark = pytest.mark.qgis


@pytest.fixture(autouse=True)
def surroundings(monkeypatch: pytest.MonkeyPatch) -> None:
    """No main window, as its double is refused by QGIS's classes; and no models known yet."""
    from nirgeo_qgis import choices

    for module in ("ParametersPanel", "BatchPanel", "AlgorithmDialog", "BatchAlgorithmDialog"):
        monkeypatch.setattr(f"processing.gui.{module}.iface", None, raising=False)
    monkeypatch.setattr("processing.modeler.ModelerParametersDialog.iface", None, raising=False)
    monkeypatch.setattr(choices, "_catalogue", None)


def tool(provider: Any) -> Any:
    return provider.algorithm("colorize").create()


def offered(wrapper: Any) -> list[str]:
    return [wrapper.box.combo.itemText(i) for i in range(wrapper.box.combo.count())]


def wait_for_models() -> None:
    from nirgeo_qgis import choices

    deadline = time.monotonic() + 20
    while not choices.catalogue().choices:
        assert time.monotonic() < deadline, "no models arrived"
        time.sleep(0.02)
        QCoreApplication.processEvents()
    QCoreApplication.processEvents()


def test_the_dialog_lists_models_and_hands_over_names(
    provider: Any, use_fake: Fake, layer: QgsRasterLayer
) -> None:
    use_fake()
    dialog = AlgorithmDialog(tool(provider))
    model = dialog.mainWidget().wrappers["MODEL"]
    assert model.value() == "auto"
    wait_for_models()
    assert offered(model)[1] == "some-nir@2: nir, reflectance, 10–30 m"
    assert model.value() == "auto"
    model.box.combo.setCurrentIndex(1)
    parameters = dialog.createProcessingParameters()
    assert parameters["MODEL"] == "some-nir"
    assert parameters["DEVICE"] == "auto"
    assert parameters["INPUT"]
    dialog.close()


def test_a_model_file_can_be_typed(provider: Any, use_fake: Fake) -> None:
    use_fake()
    dialog = AlgorithmDialog(tool(provider))
    model = dialog.mainWidget().wrappers["MODEL"]
    model.box.combo.setEditText("/models/mine.safetensors")
    wait_for_models()  # the list that arrives does not change what was typed
    assert model.value() == "/models/mine.safetensors"
    dialog.close()


def test_without_nirgeo_the_dialog_still_opens(
    provider: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NIRGEO_PYTHON", "/nowhere/python")
    dialog = AlgorithmDialog(tool(provider))
    assert len(offered(dialog.mainWidget().wrappers["MODEL"])) == 1
    dialog.close()


def test_a_dialog_may_close_before_the_models_arrive(provider: Any, use_fake: Fake) -> None:
    use_fake()
    dialog = AlgorithmDialog(tool(provider))
    dialog.close()
    dialog.deleteLater()
    del dialog
    wait_for_models()


def test_batch_rows(provider: Any, use_fake: Fake) -> None:
    use_fake()
    dialog = BatchAlgorithmDialog(tool(provider))
    wait_for_models()
    panel = dialog.mainWidget()
    wrappers = [wrapper for wrapper in panel.wrappers[0] if wrapper is not None]
    (model,) = (w for w in wrappers if w.parameterDefinition().name() == "MODEL")
    assert len(offered(model)) == 2
    model.setParameterValue("some-nir", QgsProcessingContext())
    assert model.parameterValue() == "some-nir"
    dialog.close()


@pytest.fixture
def batch(provider: Any) -> Iterator[Any]:
    """``batch(rows)``: a batch dialog with these rows filled in."""
    dialogs = []

    def fill(rows: list[dict[str, object]]) -> BatchAlgorithmDialog:
        dialog = BatchAlgorithmDialog(tool(provider))
        dialogs.append(dialog)
        panel = dialog.mainWidget()
        panel.addRow(len(rows) - panel.batchRowCount())
        for row, values in enumerate(rows):
            for name, value in values.items():
                column = panel.parameter_to_column[name]
                if name == "OUTPUT":
                    panel.tblParameters.cellWidget(row + 1, column).setValue(value)
                else:
                    wrapper = panel.wrappers[row][column]
                    wrapper.setParameterValue(value, QgsProcessingContext())
        return dialog

    yield fill
    for dialog in dialogs:
        dialog.close()
        sip.delete(dialog)
    # QGIS never lets go of an exception that a tool raised, nor of the frames it passed, nor of the
    # progress task in one of them: at the end, Qt would wait for that for ever.
    for task in QgsApplication.taskManager().activeTasks():
        sip.cast(task, QgsProxyProgressTask).finalize(True)


def test_a_batch_runs_row_by_row_and_goes_on_after_a_failure(
    real: None, layer: QgsRasterLayer, batch: Any, tmp_path: Path
) -> None:
    dialog = batch(
        [
            {"INPUT": layer.source(), "OUTPUT": str(tmp_path / "a.tif")},
            {"INPUT": layer.source(), "MODEL": "no-such", "OUTPUT": str(tmp_path / "b.tif")},
            {"INPUT": layer.source(), "CHUNK": 1, "OUTPUT": str(tmp_path / "c.tif")},
        ]
    )
    dialog.runAlgorithm()
    made = sorted(path.name for path in tmp_path.glob("*.tif"))
    assert made == ["a.tif", "c.tif"]
    assert (tmp_path / "a.tif").read_bytes() == (tmp_path / "c.tif").read_bytes()
    assert "“Model”: no model named" in dialog_log(dialog) or "Model: no model" in dialog_log(
        dialog
    )


def test_a_batch_can_be_cancelled_while_a_child_is_silent(
    use_fake: Fake, layer: QgsRasterLayer, batch: Any, tmp_path: Path
) -> None:
    pid_file = tmp_path / "pid"
    use_fake(f"open({str(pid_file)!r}, 'w').write(f'{{os.getpid()}}\\n')\ntime.sleep(60)")
    rows = [
        {"INPUT": layer.source(), "OUTPUT": str(tmp_path / name)} for name in ("a.tif", "b.tif")
    ]
    dialog = batch(rows)

    def cancel() -> None:
        if pid_file.exists():
            dialog.cancelButton().click()
        else:
            QTimer.singleShot(100, cancel)

    QTimer.singleShot(100, cancel)
    started = time.monotonic()
    dialog.runAlgorithm()
    assert time.monotonic() - started < 20
    assert not is_alive(pid_in(pid_file))
    assert not list(tmp_path.glob("*.tif*"))


def dialog_log(dialog: Any) -> str:
    return dialog.findChild(QTextEdit, "txtLog").toPlainText()  # type: ignore[no-any-return]


def test_the_model_designer(provider: Any, use_fake: Fake) -> None:
    use_fake()
    model = QgsProcessingModelAlgorithm("m", "g")
    dialog = ModelerParametersDialog(tool(provider), model)
    child = dialog.createAlgorithm()
    assert child.parameterSources()["MODEL"][0].staticValue() == "auto"
    dialog.close()


def test_in_the_model_designer_an_input_of_the_model_can_be_chosen(
    provider: Any, use_fake: Fake
) -> None:
    use_fake()
    model = QgsProcessingModelAlgorithm("m", "g")
    model.addModelParameter(
        QgsProcessingParameterString("which", "Which model"), QgsProcessingModelParameter("which")
    )
    dialog = ModelerParametersDialog(tool(provider), model)
    wrapper = dialog.widget.widget.wrappers["MODEL"]
    wait_for_models()
    wrapper.box.combo.setCurrentText("Which model")
    (source,) = dialog.createAlgorithm().parameterSources()["MODEL"]
    assert source.parameterName() == "which"
    dialog.setPreviousValues()
    dialog.close()


@pytest.mark.parametrize("name", ["MODEL", "DEVICE"])
def test_values_survive_the_widgets(provider: Any, use_fake: Fake, name: str) -> None:
    use_fake()
    dialog = QDialog()
    wrapper = WidgetWrapperFactory.create_wrapper(
        provider.algorithm("colorize").parameterDefinition(name), dialog
    )
    for value in ("auto", "cpu", "cuda:1", "some-nir@3"):
        wrapper.setParameterValue(value, QgsProcessingContext())
        assert wrapper.parameterValue() == value


# What QGIS 4.4 and later will use: the registry of widgets, which this one has too.


@pytest.fixture
def registry(provider: Any) -> Iterator[Any]:
    from nirgeo_qgis import widgets

    widgets.register()
    yield QgsGui.processingGuiRegistry()
    widgets.unregister()


def of_the_registry(registry: Any, kind: str) -> tuple[Any, Any]:
    """A wrapper and its widget, made as QGIS makes them: by name."""
    parameter = Named(kind)
    wrapper = registry.createParameterWidgetWrapper(parameter, QgsProcessingGui.Standard)
    widget = wrapper.createWrappedWidget(QgsProcessingContext())
    gc.collect()
    wrapper.kept = parameter  # QGIS holds a pointer to it
    return wrapper, widget


class Named(QgsProcessingParameterString):
    """Older versions have no other way to a widget of a certain name than a type of that name."""

    def __init__(self, kind: str) -> None:
        super().__init__("WHICH", "Which", "auto", optional=True)
        self._kind = kind

    def type(self) -> str:
        return self._kind


def test_widgets_by_name(registry: Any, use_fake: Fake) -> None:
    from nirgeo_qgis.choice_parameter import DEVICES, MODELS

    use_fake()
    context = QgsProcessingContext()
    for kind, value in ((MODELS, "some-nir"), (DEVICES, "cuda")):
        wrapper, widget = of_the_registry(registry, kind)
        assert wrapper.parameterValue() == "auto"
        wait_for_models()
        for chosen in (value, "typed by hand", "auto"):
            wrapper.setParameterValue(chosen, context)
            assert wrapper.parameterValue() == chosen
        widget.findChild(QComboBox).setCurrentIndex(1)
        assert wrapper.parameterValue() != "auto"
        widget.deleteLater()


def test_parameters_name_their_widget_only_once_it_is_registered(provider: Any) -> None:
    from nirgeo_qgis import widgets

    def described() -> Any:
        made = tool(provider)  # kept: its parameters go with it
        return made.parameterDefinition("MODEL").metadata()["widget_wrapper"]

    assert described() == {"class": "nirgeo_qgis.old_widgets.ModelWidget"}
    widgets.register()
    try:
        assert described() == {"widget_type": "nirgeo_model"}
    finally:
        widgets.unregister()
    assert "class" in described()


def test_the_plugin_takes_the_way_that_qgis_has(
    qgis_processing: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    from nirgeo_qgis import choice_parameter, classFactory
    from processing.gui import wrappers

    plugin = classFactory(None)
    plugin.initGui()
    assert not choice_parameter.registered
    plugin.unload()
    monkeypatch.delattr(wrappers, "WidgetWrapper")
    plugin = classFactory(None)
    plugin.initGui()
    assert choice_parameter.registered == {"nirgeo_model", "nirgeo_device"}
    plugin.unload()
    assert not choice_parameter.registered
