"""The tools in a model of the model designer: one after the other, and by ``qgis_process``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import processing
import pytest
from installed import Install
from osgeo import gdal
from plugin_helpers import write_reflectance
from qgis.core import (
    QgsProcessingException,
    QgsProcessingModelAlgorithm,
    QgsProcessingModelChildAlgorithm,
    QgsProcessingModelChildParameterSource,
    QgsProcessingModelOutput,
    QgsProcessingModelParameter,
    QgsProcessingParameterRasterLayer,
    QgsProject,
    QgsRasterLayer,
)

pytestmark = pytest.mark.qgis

gdal.UseExceptions()

SOURCE = QgsProcessingModelChildParameterSource


@pytest.fixture
def model(provider: Any) -> QgsProcessingModelAlgorithm:
    """Colorizes a scene and compares the picture with a truth; results: picture and error."""
    made = QgsProcessingModelAlgorithm("colorize and compare", "tests")
    for name in ("scene", "truth"):
        made.addModelParameter(
            QgsProcessingParameterRasterLayer(name), QgsProcessingModelParameter(name)
        )
    inputs = {
        "colorize": {
            "INPUT": SOURCE.fromModelParameter("scene"),
            "BAND": SOURCE.fromExpression("2 + 2"),
            "MODEL": SOURCE.fromStaticValue("satellite-nir"),
        },
        "evaluate": {
            "INPUT": SOURCE.fromChildOutput("colorize", "OUTPUT"),
            "TRUTH": SOURCE.fromModelParameter("truth"),
            **{f"TRUTH_{c}": SOURCE.fromStaticValue(n) for n, c in ((3, "RED"), (2, "GREEN"))},
            "TRUTH_BLUE": SOURCE.fromStaticValue(1),
            "SCALE": SOURCE.fromStaticValue("0.0001"),
        },
    }
    for tool, result in (("colorize", "picture"), ("evaluate", "error")):
        child = QgsProcessingModelChildAlgorithm(f"nirgeo:{tool}")
        child.setChildId(tool)
        for name, source in inputs[tool].items():
            child.addParameterSources(name, [source])
        output = QgsProcessingModelOutput(result, result)
        output.setChildId(tool)
        output.setChildOutputName("OUTPUT")
        child.setModelOutputs({result: output})
        made.addChildAlgorithm(child)
    ok, problems = made.validate()
    assert ok, problems
    return made


@pytest.fixture
def rasters(tmp_path: Path) -> dict[str, str]:
    """A scene of four bands, and its colours as the truth."""
    scene = write_reflectance(tmp_path / "scene.tif", bands=4)
    return {"scene": str(scene), "truth": str(scene)}


def results_in(folder: Path) -> dict[str, str]:
    return {
        "colorize:picture": str(folder / "picture.tif"),
        "evaluate:error": str(folder / "error.tif"),
    }


def check(folder: Path) -> None:
    picture, error = (gdal.Open(str(folder / f"{name}.tif")) for name in ("picture", "error"))
    tags = picture.GetMetadata("NIRGEO")
    assert tags["SYNTHETIC"] == "yes"
    assert tags["MODEL"].startswith("satellite-nir@")
    assert (picture.RasterCount, error.RasterCount) == (3, 1)
    angles = error.ReadAsArray()
    assert ((angles >= 0) & (angles < 90)).all()


def test_one_tool_feeds_the_other(
    real: None,
    model: QgsProcessingModelAlgorithm,
    rasters: dict[str, str],
    tmp_path: Path,
    log: Any,
) -> None:
    processing.run(model, {**rasters, **results_in(tmp_path)}, feedback=log)
    check(tmp_path)
    assert any("near infrared: band 4" in text for text in log.info)


def test_results_of_a_model_are_styled_and_keep_the_names_it_gave(
    real: None, model: QgsProcessingModelAlgorithm, rasters: dict[str, str]
) -> None:
    temporary = dict.fromkeys(results_in(Path()), "TEMPORARY_OUTPUT")
    before = set(QgsProject.instance().mapLayers())
    try:
        processing.runAndLoadResults(model, {**rasters, **temporary})
        new = set(QgsProject.instance().mapLayers()) - before
        layers = {layer.name(): layer for layer in map(QgsProject.instance().mapLayer, new)}
        assert set(layers) == {"picture", "error"}
        assert layers["picture"].renderer().type() == "multibandcolor"
        assert layers["picture"].renderer().alphaBand() == 4
        assert layers["error"].renderer().type() == "singlebandpseudocolor"
        assert any("SYNTHETIC" in fact for fact in layers["picture"].metadata().history())
    finally:
        QgsProject.instance().clear()


def test_a_failing_step_ends_the_model_and_tells_its_reason(
    real: None,
    model: QgsProcessingModelAlgorithm,
    rasters: dict[str, str],
    tmp_path: Path,
    log: Any,
) -> None:
    apart = write_reflectance(tmp_path / "apart.tif")  # of one band: no colours to compare with
    out = tmp_path / "out"
    out.mkdir()
    with pytest.raises(QgsProcessingException):
        processing.run(model, {**rasters, "truth": str(apart), **results_in(out)}, feedback=log)
    assert any("“True red, green and blue band” 3,2,1" in text for text in log.errors)
    assert [path.name for path in out.iterdir()] == ["picture.tif"]  # of the step before


def test_a_layer_may_be_an_input(
    real: None, model: QgsProcessingModelAlgorithm, rasters: dict[str, str], tmp_path: Path
) -> None:
    layer = QgsRasterLayer(rasters["scene"], "a layer")
    processing.run(model, {"scene": layer, "truth": layer, **results_in(tmp_path)})
    check(tmp_path)


def test_a_saved_model_runs_by_qgis_process(
    model: QgsProcessingModelAlgorithm,
    rasters: dict[str, str],
    real_python: str,
    install: Install,
    tmp_path: Path,
) -> None:
    file = tmp_path / "colorize and compare.model3"
    assert model.toFile(str(file))
    qgis_process = install(real_python)
    given = {**rasters, **results_in(tmp_path)}
    code, said = qgis_process(
        "run", str(file), "--", *(f"{name}={value}" for name, value in given.items())
    )
    assert code == 0, said
    check(tmp_path)
