"""The forms: the tool's dialog, batch rows and the model designer."""

from __future__ import annotations

import time
from typing import Any

import pytest
from plugin_helpers import Fake
from processing.gui.AlgorithmDialog import AlgorithmDialog
from processing.gui.BatchAlgorithmDialog import BatchAlgorithmDialog
from processing.gui.wrappers import WidgetWrapperFactory
from processing.modeler.ModelerParametersDialog import ModelerParametersDialog
from qgis.core import QgsProcessingContext, QgsProcessingModelAlgorithm, QgsRasterLayer
from qgis.PyQt.QtCore import QCoreApplication
from qgis.PyQt.QtWidgets import QDialog

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
    return [wrapper.combo.itemText(i) for i in range(wrapper.combo.count())]


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
    model.combo.setCurrentIndex(1)
    parameters = dialog.createProcessingParameters()
    assert parameters["MODEL"] == "some-nir"
    assert parameters["DEVICE"] == "auto"
    assert parameters["INPUT"]
    dialog.close()


def test_a_model_file_can_be_typed(provider: Any, use_fake: Fake) -> None:
    use_fake()
    dialog = AlgorithmDialog(tool(provider))
    model = dialog.mainWidget().wrappers["MODEL"]
    model.combo.setEditText("/models/mine.safetensors")
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


def test_the_model_designer(provider: Any, use_fake: Fake) -> None:
    use_fake()
    model = QgsProcessingModelAlgorithm("m", "g")
    dialog = ModelerParametersDialog(tool(provider), model)
    child = dialog.createAlgorithm()
    assert child.parameterSources()["MODEL"][0].staticValue() == "auto"
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
