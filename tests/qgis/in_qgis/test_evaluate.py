"""``nirgeo:evaluate``: held against the formula, written down a second time in numpy."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import numpy as np
import processing
import pytest
from numpy.typing import NDArray
from osgeo import gdal, osr
from plugin_helpers import Fake, is_alive, pid_in
from qgis.core import QgsProcessingException, QgsProject, QgsRasterLayer

pytestmark = pytest.mark.qgis

gdal.UseExceptions()

SIZE = 40


def write(
    path: Path,
    array: NDArray[Any],
    mask: NDArray[np.bool_] | None = None,
    shift: float = 0,
    pixel: float = 10,
) -> Path:
    """A GeoTIFF in UTM with an internal mask, if one is given."""
    kind = {"uint8": gdal.GDT_Byte, "uint16": gdal.GDT_UInt16, "float32": gdal.GDT_Float32}
    bands, height, width = array.shape
    gdal.SetConfigOption("GDAL_TIFF_INTERNAL_MASK", "YES")
    made = gdal.GetDriverByName("GTiff").Create(
        str(path), width, height, bands, kind[array.dtype.name]
    )
    made.SetGeoTransform((500_000 + shift, pixel, 0, 5_000_000, 0, -pixel))
    system = osr.SpatialReference()
    system.ImportFromEPSG(32632)
    made.SetProjection(system.ExportToWkt())
    for number, band in enumerate(array, start=1):
        made.GetRasterBand(number).WriteArray(band)
    if mask is not None:
        made.CreateMaskBand(gdal.GMF_PER_DATASET)
        made.GetRasterBand(1).GetMaskBand().WriteArray(mask.astype(np.uint8) * 255)
    del made
    return path


def angles_of(a: NDArray[Any], b: NDArray[Any]) -> NDArray[np.float64]:
    a, b = a.astype(np.float64), b.astype(np.float64)
    cross = np.linalg.norm(np.cross(a, b, axis=0), axis=0)
    angles = np.degrees(np.arctan2(cross, (a * b).sum(axis=0)))
    return np.where((a.max(axis=0) > 0) & (b.max(axis=0) > 0), angles, np.nan)


@pytest.fixture
def pictures() -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    random = np.random.default_rng(1)
    truth = random.integers(0, 256, (3, SIZE, SIZE), dtype=np.uint8)
    noise = random.integers(-20, 21, truth.shape)
    prediction = np.clip(truth + noise, 0, 255).astype(np.uint8)
    prediction[:, 0, 0] = 0  # black here: no angle, yet an error
    truth[:, 1, 1] = 0
    truth[:, 2, 2] = prediction[:, 2, 2]  # the same
    truth[:, 3, 3], prediction[:, 3, 3] = (255, 0, 0), (0, 0, 255)  # as far apart as can be
    return prediction, truth


def compare(prediction: object, truth: object, feedback: Any = None, **more: object) -> Any:
    given = {"INPUT": _source(prediction), "TRUTH": _source(truth), **more}
    return processing.run("nirgeo:evaluate", given, feedback=feedback)


def _source(layer: object) -> object:
    return layer if isinstance(layer, QgsRasterLayer) else str(layer)


def test_figures_and_map(real: None, pictures: tuple[Any, Any], tmp_path: Path, log: Any) -> None:
    prediction, truth = pictures
    masks = np.ones((2, SIZE, SIZE), bool)
    masks[0, :5], masks[1, :, -3:] = False, False
    valid = masks.all(axis=0)
    output = tmp_path / "error.tif"
    found = compare(
        write(tmp_path / "p.tif", prediction, masks[0]),
        write(tmp_path / "t.tif", truth, masks[1]),
        log,
        OUTPUT=str(output),
        TABLE=str(tmp_path / "table.html"),
    )
    expected = np.where(valid, angles_of(prediction, truth), np.nan)
    seen = expected[np.isfinite(expected)]
    difference = (prediction.astype(float) - truth)[:, valid] / 255
    assert found["PIXELS"] == valid.sum()
    assert found["MEAN"] == pytest.approx(seen.mean(), abs=1e-4)
    assert found["SD"] == pytest.approx(seen.std(), rel=1e-2)
    assert found["MEDIAN"] == pytest.approx(np.median(seen), abs=0.05)
    assert found["P95"] == pytest.approx(np.quantile(seen, 0.95), abs=0.2)
    rmse = np.sqrt((difference**2).mean())
    assert found["RMSE"] == pytest.approx(rmse, rel=1e-5)
    assert found["MAE"] == pytest.approx(np.abs(difference).mean(), rel=1e-5)
    assert found["PSNR"] == pytest.approx(-20 * np.log10(rmse), rel=1e-5)
    dataset = gdal.Open(str(output))
    np.testing.assert_allclose(dataset.GetRasterBand(1).ReadAsArray(), expected, atol=1e-4)
    assert dataset.GetGeoTransform() == (500_000, 10, 0, 5_000_000, 0, -10)
    page = (tmp_path / "table.html").read_text("utf-8")
    assert "Mean angular error" in page
    assert "pictures" in page
    assert log.percent[-1] == 100
    assert any("Mean angular error" in text for text in log.info)
    assert not log.warnings
    assert {entry.name for entry in tmp_path.iterdir()} <= {
        *("p.tif", "t.tif", "error.tif", "table.html", "p.tif.aux.xml", "t.tif.aux.xml")
    }


def test_a_perfect_prediction(real: None, pictures: tuple[Any, Any], tmp_path: Path) -> None:
    found = compare(*(write(tmp_path / f"{name}.tif", pictures[0]) for name in "pt"))
    assert (found["MEAN"], found["RMSE"], found["PSNR"]) == (0, 0, None)
    assert "OUTPUT" not in found


def test_a_layer_is_not_compared_with_itself(provider: Any, tmp_path: Path) -> None:
    path = write(tmp_path / "p.tif", np.ones((3, 9, 9), np.uint8))
    with pytest.raises(QgsProcessingException, match="the same layer"):
        compare(path, path)


def test_bands_of_the_truth_may_be_in_another_order(
    real: None, pictures: tuple[Any, Any], tmp_path: Path
) -> None:
    prediction, truth = pictures
    paths = write(tmp_path / "p.tif", prediction), write(tmp_path / "t.tif", truth[::-1])
    found = compare(*paths, TRUTH_RED=3, TRUTH_GREEN=2, TRUTH_BLUE=1)
    assert found["MEAN"] == pytest.approx(np.nanmean(angles_of(prediction, truth)), abs=1e-4)
    with pytest.raises(QgsProcessingException, match="all three bands"):
        compare(*paths, TRUTH_RED=3)


def test_a_truth_in_reflectance_on_another_grid_in_another_system(
    real: None, tmp_path: Path, log: Any
) -> None:
    """What only the command line can do: reproject, and render as the prediction was."""
    random = np.random.default_rng(3)
    smooth = np.kron(random.integers(500, 3000, (3, 5, 5)), np.ones((1, 16, 16)))
    utm = write(tmp_path / "utm.tif", smooth.astype(np.uint16))
    degrees = tmp_path / "degrees.tif"
    gdal.Warp(str(degrees), str(utm), dstSRS="EPSG:4326", dstNodata=0)
    scene = write(tmp_path / "scene.tif", smooth[:1].astype(np.uint16))
    prediction = processing.run(
        "nirgeo:colorize",
        {"INPUT": str(scene), "SCALE": "0.0001", "OUTPUT": str(tmp_path / "rgb.tif")},
    )["OUTPUT"]
    same = compare(prediction, utm, SCALE="0.0001")
    found = compare(prediction, degrees, log, SCALE="0.0001", OUTPUT=str(tmp_path / "e.tif"))
    assert found["MEAN"] == pytest.approx(same["MEAN"], abs=1.5)
    assert 0.8 * same["PIXELS"] < found["PIXELS"] <= same["PIXELS"] == 80 * 80
    assert gdal.Open(str(tmp_path / "e.tif")).GetGeoTransform()[1] == 10
    assert any("resampled" in text for text in log.info)
    assert any("rendered with the curve recorded in the prediction" in text for text in log.info)


@pytest.mark.parametrize(
    ("truth", "shift", "complaint"),
    [
        (np.ones((2, 9, 9), np.uint8), 0, "“True red, green and blue band”"),
        (np.ones((3, 9, 9), np.uint8), 5000, "no pixel is valid in both"),
    ],
)
def test_what_can_not_be_compared_is_refused(
    real: None, truth: NDArray[Any], shift: float, complaint: str, tmp_path: Path
) -> None:
    prediction = write(tmp_path / "p.tif", np.ones((3, 9, 9), np.uint8))
    path = write(tmp_path / "t.tif", truth, shift=shift)
    out = tmp_path / "out"
    out.mkdir()
    with pytest.raises(QgsProcessingException, match=complaint):
        compare(prediction, path, OUTPUT=str(out / "error.tif"))
    assert list(out.iterdir()) == []


def test_a_map_service_is_refused(provider: Any, tmp_path: Path) -> None:
    tiles = QgsRasterLayer("type=xyz&url=http://localhost:9/{z}/{x}/{y}.png", "tiles", "wms")
    path = write(tmp_path / "p.tif", np.ones((3, 9, 9), np.uint8))
    for pair in ((path, tiles), (tiles, path)):
        with pytest.raises(QgsProcessingException, match=r"not measurements: colours .* compared"):
            compare(*pair)


def test_layers_in_memory_are_exported_first(
    real: None, pictures: tuple[Any, Any], tmp_path: Path, log: Any
) -> None:
    mask = np.ones((SIZE, SIZE), bool)
    mask[:5] = False
    layers = []
    for name, array in zip(("prediction", "truth"), pictures, strict=True):
        path = write(tmp_path / f"{name}.tif", array, mask)
        gdal.FileFromMemBuffer(f"/vsimem/{name}.tif", path.read_bytes())
        layers.append(QgsRasterLayer(f"/vsimem/{name}.tif", name))
    try:
        found = compare(*layers, log)
    finally:
        for layer in layers:
            gdal.Unlink(layer.source())
    files = [tmp_path / f"{name}.tif" for name in ("prediction", "truth")]
    assert found == compare(*files)
    assert found["PIXELS"] == mask.sum()
    assert sum("copied to a temporary one" in text for text in log.info) == 2
    assert not any("lost" in text for text in log.info)


WAITING = """
open(output + ".part", "w").write("x")
say(event="start", protocol=1, total=2, resumed=0)
say(event="progress", done=1, total=2)
open(os.path.join(os.path.dirname(output), "..", "pid"), "w").write(f"{os.getpid()}\\n")
time.sleep(60)
"""


def test_cancelling_leaves_no_child_and_no_file(
    use_fake: Fake, pictures: tuple[Any, Any], tmp_path: Path, log: Any
) -> None:
    use_fake(WAITING)
    paths = [write(tmp_path / f"{name}.tif", pictures[0]) for name in "pt"]
    out = tmp_path / "out"
    out.mkdir()

    def cancel_when_at_work() -> None:
        pid_in(tmp_path / "pid")
        log.cancel()

    thread = threading.Thread(target=cancel_when_at_work)
    thread.start()
    assert compare(*paths, log, OUTPUT=str(out / "error.tif")) == {}
    thread.join()
    assert not is_alive(pid_in(tmp_path / "pid"))
    assert list(out.iterdir()) == []
    assert log.percent == [50]
    assert any("Cancelled" in text for text in log.info)


def test_a_failing_child_tells_its_reason(
    use_fake: Fake, pictures: tuple[Any, Any], tmp_path: Path
) -> None:
    use_fake("say(event='error', code='x', message='disk full', option='--error-map')\nexit(1)")
    paths = [write(tmp_path / f"{name}.tif", pictures[0]) for name in "pt"]
    with pytest.raises(QgsProcessingException, match=r"^Angular error: disk full$"):
        compare(*paths, OUTPUT=str(tmp_path / "error.tif"))


@pytest.mark.parametrize("place", ["", "missing/table.html", "p.tif/table.html"])
def test_a_table_that_can_not_be_written_is_told_before_the_run(
    use_fake: Fake, pictures: tuple[Any, Any], tmp_path: Path, place: str
) -> None:
    use_fake("open(output, 'w').write('x')\nsay(event='error', code='x', message='run')\nexit(1)")
    paths = [write(tmp_path / f"{name}.tif", pictures[0]) for name in "pt"]
    with pytest.raises(QgsProcessingException, match=r"^Table of errors: .* can't be written \("):
        compare(*paths, TABLE=str(tmp_path / place), OUTPUT=str(tmp_path / "error.tif"))
    assert not (tmp_path / "error.tif").exists()


def test_the_map_is_styled(real: None, pictures: tuple[Any, Any], tmp_path: Path, log: Any) -> None:
    prediction = QgsRasterLayer(str(write(tmp_path / "p.tif", pictures[0])), "guess")
    truth = QgsRasterLayer(str(write(tmp_path / "t.tif", pictures[1])), "truth")
    QgsProject.instance().addMapLayers([prediction, truth])
    before = set(QgsProject.instance().mapLayers())
    try:
        processing.runAndLoadResults(
            "nirgeo:evaluate",
            {"INPUT": prediction, "TRUTH": truth, "OUTPUT": "TEMPORARY_OUTPUT"},
            feedback=log,
        )
        (new,) = set(QgsProject.instance().mapLayers()) - before
        made = QgsProject.instance().mapLayer(new)
        assert made.name() == "Angular error of guess"
        assert made.renderer().type() == "singlebandpseudocolor"
        assert made.renderer().classificationMax() == 20
        history = "\n".join(made.metadata().history())
        assert "Mean angular error in degrees: " in history
        assert "compare" in history
    finally:
        QgsProject.instance().clear()
