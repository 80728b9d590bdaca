"""``nirgeo:evaluate``: held against the formulas, written down a second time in numpy."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import processing
import pytest
from numpy.typing import NDArray
from osgeo import gdal, osr
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
    """A GeoTIFF with an internal mask, if one is given."""
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


def test_figures_and_map(
    provider: Any, pictures: tuple[Any, Any], tmp_path: Path, log: Any
) -> None:
    prediction, truth = pictures
    masks = np.ones((2, SIZE, SIZE), bool)
    masks[0, :5], masks[1, :, -3:] = False, False
    valid = masks.all(axis=0)
    output = tmp_path / "error.tif"
    found = processing.run(
        "nirgeo:evaluate",
        {
            "INPUT": str(write(tmp_path / "p.tif", prediction, masks[0])),
            "TRUTH": str(write(tmp_path / "t.tif", truth, masks[1])),
            "OUTPUT": str(output),
            "TABLE": str(tmp_path / "table.html"),
        },
        feedback=log,
    )
    expected = np.where(valid, angles_of(prediction, truth), np.nan)
    seen = expected[np.isfinite(expected)]
    difference = (prediction.astype(float) - truth)[:, valid]
    assert found["PIXELS"] == valid.sum()
    assert found["MEAN"] == pytest.approx(seen.mean(), abs=1e-4)
    assert found["SD"] == pytest.approx(seen.std(ddof=1), abs=1e-4)
    assert found["MEDIAN"] == pytest.approx(np.median(seen), abs=0.05)
    assert found["P95"] == pytest.approx(np.quantile(seen, 0.95), abs=0.2)
    rmse = np.sqrt((difference**2).mean())
    assert found["RMSE"] == pytest.approx(rmse, rel=1e-5)
    assert found["MAE"] == pytest.approx(np.abs(difference).mean(), rel=1e-5)
    assert found["PSNR"] == pytest.approx(20 * np.log10(255 / rmse), rel=1e-5)
    dataset = gdal.Open(str(output))
    band = dataset.GetRasterBand(1)
    angles = band.ReadAsArray().astype(float)
    angles[angles == band.GetNoDataValue()] = np.nan
    np.testing.assert_allclose(angles, expected, atol=1e-4)
    assert "Mean angular error" in (tmp_path / "table.html").read_text("utf-8")
    assert not log.warnings
    assert {entry.name for entry in tmp_path.iterdir()} <= {
        *("p.tif", "t.tif", "error.tif", "table.html", "p.tif.aux.xml", "t.tif.aux.xml")
    }


def test_known_angles(provider: Any, tmp_path: Path) -> None:
    """Equal colours are at 0° exactly, pure red and pure blue at 90°."""
    truth = np.zeros((3, 1, 4), np.uint8)
    truth[:, 0] = np.array([[255, 0, 0], [3, 2, 1], [10, 10, 10], [0, 200, 0]]).T
    prediction = np.zeros_like(truth)
    prediction[:, 0] = np.array([[0, 0, 255], [3, 2, 1], [200, 200, 200], [0, 0, 0]]).T
    output = tmp_path / "error.tif"
    found = processing.run(
        "nirgeo:evaluate",
        {
            "INPUT": str(write(tmp_path / "p.tif", prediction)),
            "TRUTH": str(write(tmp_path / "t.tif", truth)),
            "OUTPUT": str(output),
        },
    )
    dataset = gdal.Open(str(output))  # kept, as the band does not keep it
    band = dataset.GetRasterBand(1)
    assert band.ReadAsArray()[0].tolist() == pytest.approx([90, 0, 0, band.GetNoDataValue()])
    assert found["PIXELS"] == 4
    assert found["MEAN"] == pytest.approx(30)


def test_a_perfect_prediction(provider: Any, pictures: tuple[Any, Any], tmp_path: Path) -> None:
    path = str(write(tmp_path / "p.tif", pictures[0]))
    found = processing.run("nirgeo:evaluate", {"INPUT": path, "TRUTH": path})
    assert (found["MEAN"], found["RMSE"], found["PSNR"]) == (0, 0, float("inf"))


def test_bands_of_the_truth_may_be_in_another_order(
    provider: Any, pictures: tuple[Any, Any], tmp_path: Path
) -> None:
    prediction, truth = pictures
    found = processing.run(
        "nirgeo:evaluate",
        {
            "INPUT": str(write(tmp_path / "p.tif", prediction)),
            "TRUTH": str(write(tmp_path / "t.tif", truth[::-1])),
            "TRUTH_RED": 3,
            "TRUTH_GREEN": 2,
            "TRUTH_BLUE": 1,
        },
    )
    assert found["MEAN"] == pytest.approx(np.nanmean(angles_of(prediction, truth)), abs=1e-4)


def test_near_infrared_that_gdal_calls_alpha_is_no_mask(
    provider: Any, pictures: tuple[Any, Any], tmp_path: Path
) -> None:
    prediction, truth = pictures
    nir = np.random.default_rng(2).integers(0, 200, (1, SIZE, SIZE), dtype=np.uint8)
    nir[:, :10] = 0  # water
    path = write(tmp_path / "t.tif", np.concatenate([truth, nir]))
    dataset = gdal.Open(str(path), gdal.GA_Update)
    for band, name in enumerate(("Red", "Green", "Blue", "Alpha"), start=1):
        dataset.GetRasterBand(band).SetColorInterpretation(getattr(gdal, f"GCI_{name}Band"))
    del dataset
    found = processing.run(
        "nirgeo:evaluate",
        {"INPUT": str(write(tmp_path / "p.tif", prediction)), "TRUTH": str(path)},
    )
    assert found["PIXELS"] == SIZE * SIZE


def test_another_grid_is_remarked(
    provider: Any, pictures: tuple[Any, Any], tmp_path: Path, log: Any
) -> None:
    prediction, truth = pictures
    finer = truth.repeat(2, axis=1).repeat(2, axis=2)
    found = processing.run(
        "nirgeo:evaluate",
        {
            "INPUT": str(write(tmp_path / "p.tif", prediction)),
            "TRUTH": str(write(tmp_path / "t.tif", finer, pixel=5)),
        },
        feedback=log,
    )
    assert found["MEAN"] == pytest.approx(np.nanmean(angles_of(prediction, truth)), abs=1e-4)
    assert any("another grid" in text for text in log.warnings)


@pytest.mark.parametrize(
    ("truth", "shift", "complaint"),
    [
        (np.ones((3, 9, 9), np.float32), 0, "holds 8-bit numbers and t floating-point ones"),
        (np.ones((1, 9, 9), np.uint8), 0, r"t has 1 band\(s\), but band 3 is needed"),
        (np.ones((3, 9, 9), np.uint8), 5000, "no pixel in common"),
    ],
)
def test_what_can_not_be_compared_is_refused(
    provider: Any, truth: NDArray[Any], shift: float, complaint: str, tmp_path: Path
) -> None:
    prediction = write(tmp_path / "p.tif", np.ones((3, 9, 9), np.uint8))
    with pytest.raises(QgsProcessingException, match=complaint):
        processing.run(
            "nirgeo:evaluate",
            {
                "INPUT": str(prediction),
                "TRUTH": str(write(tmp_path / "t.tif", truth, shift=shift)),
                "OUTPUT": str(tmp_path / "error.tif"),
            },
        )
    assert not (tmp_path / "error.tif").exists()


def test_it_needs_no_nirgeo(
    provider: Any, pictures: tuple[Any, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NIRGEO_PYTHON", "/nowhere/python")
    path = str(write(tmp_path / "p.tif", pictures[0]))
    assert processing.run("nirgeo:evaluate", {"INPUT": path, "TRUTH": path})["MEAN"] == 0


def test_cancelling_leaves_nothing(
    provider: Any, pictures: tuple[Any, Any], tmp_path: Path, log: Any
) -> None:
    path = str(write(tmp_path / "p.tif", pictures[0]))
    output = tmp_path / "error.tif"
    log.cancel()
    processing.run(
        "nirgeo:evaluate", {"INPUT": path, "TRUTH": path, "OUTPUT": str(output)}, feedback=log
    )
    assert not output.exists()
    assert any("Cancelled" in text for text in log.info)


def test_the_map_is_styled(
    provider: Any, pictures: tuple[Any, Any], tmp_path: Path, log: Any
) -> None:
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
        assert made.name() == "guess (angular error)"
        assert made.renderer().type() == "singlebandpseudocolor"
        assert made.renderer().classificationMax() == 30
    finally:
        QgsProject.instance().clear()
