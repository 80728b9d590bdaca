"""``nirgeo:colorize``: with the real nirgeo, and with doubles that fail in every way."""

from __future__ import annotations

import shutil
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import processing
import pytest
from nirgeo_qgis.scene import NEAR_INFRARED, Scene, _gdal_name, _gdal_name_here, shown
from osgeo import gdal
from plugin_helpers import Fake, is_alive, pid_in, write_reflectance
from processing.gui.Postprocessing import handleAlgorithmResults
from qgis.core import (
    QgsApplication,
    QgsCoordinateReferenceSystem,
    QgsProcessingContext,
    QgsProcessingException,
    QgsProcessingFeedback,
    QgsProcessingModelAlgorithm,
    QgsProcessingModelChildAlgorithm,
    QgsProcessingModelChildParameterSource,
    QgsProcessingModelOutput,
    QgsProcessingModelParameter,
    QgsProcessingOutputLayerDefinition,
    QgsProcessingParameterRasterLayer,
    QgsProject,
    QgsRasterLayer,
    QgsRasterRange,
    QgsRectangle,
    QgsReferencedRectangle,
)
from qgis.PyQt.QtCore import NULL, QTimer

pytestmark = pytest.mark.qgis

gdal.UseExceptions()


def names(folder: Path) -> list[str]:
    return sorted(entry.name for entry in folder.iterdir())


def tags_of(path: object) -> dict[str, str]:
    return gdal.Open(str(path)).GetMetadata("NIRGEO")  # type: ignore[no-any-return]


@pytest.fixture
def out(tmp_path: Path) -> Path:
    folder = tmp_path / "out"
    folder.mkdir()
    return folder


@pytest.fixture(autouse=True)
def emptied_project() -> Iterator[None]:
    """A layer that is left to Python may be deleted after QGIS has ended, which crashes."""
    yield
    QgsProject.instance().clear()


# With the real nirgeo.


def test_a_layer_becomes_a_natural_colour_file(
    real: None, layer: QgsRasterLayer, out: Path, log: Any
) -> None:
    target = out / "rgb.tif"
    result = processing.run(
        "nirgeo:colorize", {"INPUT": layer, "OUTPUT": str(target)}, feedback=log
    )
    assert result["OUTPUT"] == str(target)
    assert names(out) == ["rgb.tif"]
    made = gdal.Open(str(target))
    assert (made.RasterXSize, made.RasterYSize, made.RasterCount) == (64, 64, 3)
    assert made.GetGeoTransform() == (500_000, 10, 0, 5_000_000, 0, -10)
    assert tags_of(target)["SYNTHETIC"] == "yes"
    assert log.percent[-1] == 100
    assert any("near infrared: band 1" in text for text in log.info)
    assert not log.errors


def test_every_parameter_reaches_nirgeo(real: None, out: Path, log: Any) -> None:
    scene = write_reflectance(out / "scene.tif", bands=4)
    processing.run(
        "nirgeo:colorize",
        {
            "INPUT": str(scene),
            "BAND": 4,
            "RED": 3,
            "GREEN": 2,
            "MODEL": "satellite-nir",
            "EXTENT": "500100,500300,4999500,4999900 [EPSG:32632]",
            "SCALE": "0.0002,-0.1",
            "DEVICE": "cpu",
            "CHUNK": 2,
            "OPTIONS": "COMPRESS=LZW|OVERVIEWS=NONE",
            "OUTPUT": str(out / "rgb.tif"),
        },
        feedback=log,
    )
    made = gdal.Open(str(out / "rgb.tif"))
    assert (made.RasterXSize, made.RasterYSize) == (20, 40)
    assert made.GetMetadata("IMAGE_STRUCTURE")["COMPRESSION"] == "LZW"
    assert tags_of(out / "rgb.tif")["MODEL"].startswith("satellite-nir@")
    assert tags_of(out / "rgb.tif")["SCALING"].startswith("reflectance:0.0002,-0.1")
    assert any("near infrared: band 4" in text for text in log.info)


def test_colours_come_from_a_reference(
    real: None, layer: QgsRasterLayer, out: Path, log: Any
) -> None:
    older = gdal.GetDriverByName("GTiff").Create(str(out / "older.tif"), 8, 8, 3, gdal.GDT_Byte)
    older.SetGeoTransform((500_000, 80, 0, 5_000_000, 0, -80))
    older.SetProjection(layer.crs().toWkt())
    for number, level in enumerate((200, 30, 90), start=1):
        older.GetRasterBand(number).Fill(level)
    older = None
    target = out / "rgb.tif"
    parameters = {"INPUT": layer, "REFERENCE": str(out / "older.tif"), "OUTPUT": str(target)}
    processing.run("nirgeo:colorize", parameters, feedback=log)
    made = gdal.Open(str(target))
    for number, level in enumerate((200, 30, 90), start=1):
        # The scene's detail stays, so only the mean is the reference's.
        mean = made.GetRasterBand(number).ComputeStatistics(False)[2]
        assert abs(mean - level) < 5
    assert tags_of(target)["REFERENCE"].startswith("older.tif")


def test_the_place_can_be_left_out(real: None, layer: QgsRasterLayer, out: Path, log: Any) -> None:
    made = {}
    for name, more in (("usual", {}), ("with", {"PRIOR": True}), ("without", {"PRIOR": False})):
        target = out / f"{name}.tif"
        parameters = {"INPUT": layer, "MODEL": "satellite-nir", "OUTPUT": str(target), **more}
        processing.run("nirgeo:colorize", parameters, feedback=log)
        made[name] = gdal.Open(str(target)).ReadAsArray()
    np.testing.assert_array_equal(made["usual"], made["with"])
    assert (made["usual"] != made["without"]).any()


def test_the_expected_error_is_a_fourth_band_and_masks(
    real: None, layer: QgsRasterLayer, out: Path, log: Any
) -> None:
    target = out / "doubts.tif"
    processing.run(
        "nirgeo:colorize",
        {"INPUT": layer, "UNCERTAINTY": True, "OUTPUT": str(target)},
        feedback=log,
    )
    made = gdal.Open(str(target))
    band = made.GetRasterBand(4)
    assert (made.RasterCount, band.GetDescription()) == (4, "expected angular error")
    assert (band.GetScale(), band.GetUnitType()) == (0.25, "degree")
    assert tags_of(target)["UNCERTAINTY"].startswith("band 4")
    degrees = band.ReadAsArray() * 0.25
    limit = float(np.median(degrees))
    masked = out / "masked.tif"
    processing.run("nirgeo:colorize", {"INPUT": layer, "MAX_ERROR": limit, "OUTPUT": str(masked)})
    limited = gdal.Open(str(masked))  # a name: bands do not keep their file open
    kept = limited.GetRasterBand(1).GetMaskBand().ReadAsArray() > 0
    assert 0 < kept.mean() < 1
    assert (degrees[kept] <= limit + 0.125).all()


def test_an_extent_in_another_system_is_brought_to_the_layers(
    real: None, layer: QgsRasterLayer, out: Path
) -> None:
    # The scene lies at 9° east, 45° north; a generous part of it in degrees.
    part = QgsReferencedRectangle(
        QgsRectangle(9.001, 45.149, 9.003, 45.151), QgsCoordinateReferenceSystem("EPSG:4326")
    )
    processing.run(
        "nirgeo:colorize",
        {"INPUT": layer, "EXTENT": part, "OUTPUT": str(out / "rgb.tif")},
    )
    made = gdal.Open(str(out / "rgb.tif"))
    west, _, _, north, _, _ = made.GetGeoTransform()
    assert 500_070 <= west <= 500_090
    assert 14 <= made.RasterXSize <= 18
    assert 20 <= made.RasterYSize <= 26
    assert north < 5_000_000


def test_the_result_on_the_map(real: None, layer: QgsRasterLayer, log: Any) -> None:
    """Styled, named after the input, with its provenance."""
    made = run_and_load({"INPUT": layer, "OUTPUT": temporary()}, log)
    assert made.name() == "Spring scene (natural colour)"
    renderer = made.renderer()
    assert renderer.type() == "multibandcolor"
    assert renderer.usesBands() == [1, 2, 3]
    assert renderer.alphaBand() == 4
    for enhancement in (renderer.redContrastEnhancement(), renderer.blueContrastEnhancement()):
        assert enhancement is None
    metadata = made.metadata()
    assert "Synthetic" in metadata.abstract()
    history = "\n".join(metadata.history())
    for fact in ("Spring scene", "MODEL: ", "MODEL_SHA256: ", "SYNTHETIC: yes", "colorize -o"):
        assert fact in history


def test_a_name_that_the_caller_chose_stays(real: None, layer: QgsRasterLayer, log: Any) -> None:
    chosen = temporary()
    chosen.destinationName = "My picture"
    assert run_and_load({"INPUT": layer, "OUTPUT": chosen}, log).name() == "My picture"


def with_a_hole(folder: Path, transform: tuple[float, ...] | None = None) -> QgsRasterLayer:
    """A scene whose first 20 columns are missing, at another place if ``transform`` says so."""
    scene = write_reflectance(folder / "scene.tif")
    dataset = gdal.Open(str(scene), gdal.GA_Update)
    if transform is not None:
        dataset.SetGeoTransform(transform)
    pixels = dataset.ReadAsArray()
    pixels[:, :20] = 0
    dataset.GetRasterBand(1).WriteArray(pixels)
    dataset.GetRasterBand(1).SetNoDataValue(0)
    del dataset
    return QgsRasterLayer(str(scene), "with a hole")


def test_a_mask_is_transparent(real: None, tmp_path: Path, log: Any) -> None:
    layer = with_a_hole(tmp_path)
    made = run_and_load({"INPUT": layer, "OUTPUT": temporary()}, log)
    block = made.renderer().block(1, made.extent(), 64, 64)
    assert block.color(5, 5) >> 24 == 0
    assert block.color(5, 50) >> 24 == 255


@pytest.mark.parametrize("placed", ["rotated", "north below"])
def test_what_is_missing_is_transparent_where_qgis_turns_the_picture(
    real: None, tmp_path: Path, log: Any, placed: str
) -> None:
    """QGIS shows such a picture through a warped one, which has no mask."""
    turned = {
        "rotated": (500_000, 8, 6, 5_000_000, 6, -8),
        "north below": (500_000, 10, 0, 5_000_000, 0, 10),
    }
    layer = with_a_hole(tmp_path, turned[placed])
    made = run_and_load({"INPUT": layer, "OUTPUT": temporary()}, log)
    block = made.renderer().block(1, made.extent(), 64, 64)
    opaque = np.array([[block.color(r, c) >> 24 == 255 for c in range(64)] for r in range(64)])
    clear = np.array([[block.color(r, c) >> 24 == 0 for c in range(64)] for r in range(64)])
    assert (opaque | clear).all()
    share = 44 / 64 * {"rotated": (10 / 14) ** 2, "north below": 1}[placed]
    assert opaque.mean() == pytest.approx(share, abs=0.05)


def test_a_system_given_by_hand_is_kept(real: None, tmp_path: Path, log: Any) -> None:
    plain = tmp_path / "plain.tif"
    gdal.Translate(str(plain), str(write_reflectance(tmp_path / "s.tif")), noData="none")
    dataset = gdal.Open(str(plain), gdal.GA_Update)
    dataset.SetProjection("")
    del dataset
    layer = QgsRasterLayer(str(plain), "no system")
    layer.setCrs(QgsCoordinateReferenceSystem("EPSG:32632"))
    made = run_and_load({"INPUT": layer, "OUTPUT": temporary()}, log)
    assert made.crs().authid() == "EPSG:32632"


def test_in_a_model(real: None, layer: QgsRasterLayer, out: Path, log: Any) -> None:
    model = QgsProcessingModelAlgorithm("natural colour", "tests")
    model.addModelParameter(
        QgsProcessingParameterRasterLayer("scene"), QgsProcessingModelParameter("scene")
    )
    child = QgsProcessingModelChildAlgorithm("nirgeo:colorize")
    child.setChildId("colorize")
    source = QgsProcessingModelChildParameterSource
    child.addParameterSources("INPUT", [source.fromModelParameter("scene")])
    child.addParameterSources("MODEL", [source.fromStaticValue("auto")])
    result = QgsProcessingModelOutput("picture", "picture")
    result.setChildId("colorize")
    result.setChildOutputName("OUTPUT")
    child.setModelOutputs({"picture": result})
    model.addChildAlgorithm(child)
    ok, problems = model.validate()
    assert ok, problems
    target = out / "rgb.tif"
    processing.run(
        model,
        {"scene": layer, "colorize:picture": str(target)},
        feedback=log,
    )
    assert tags_of(target)["SYNTHETIC"] == "yes"


def test_an_existing_output_is_replaced(real: None, layer: QgsRasterLayer, out: Path) -> None:
    target = out / "rgb.tif"
    shutil.copy(layer.source(), target)
    processing.run("nirgeo:colorize", {"INPUT": layer, "OUTPUT": str(target)})
    assert tags_of(target)["SYNTHETIC"] == "yes"


def test_a_refusal_is_told_in_words_of_the_form(
    real: None, layer: QgsRasterLayer, out: Path
) -> None:
    with pytest.raises(QgsProcessingException, match="no model named"):
        processing.run(
            "nirgeo:colorize",
            {"INPUT": layer, "MODEL": "no-such", "OUTPUT": str(out / "rgb.tif")},
        )
    assert names(out) == []


def test_a_band_that_is_not_there_is_refused(real: None, layer: QgsRasterLayer, out: Path) -> None:
    with pytest.raises(QgsProcessingException, match="7"):
        processing.run(
            "nirgeo:colorize", {"INPUT": layer, "BAND": 7, "OUTPUT": str(out / "rgb.tif")}
        )
    assert names(out) == []


# Layers that are not files.


def test_a_layer_in_memory_is_exported_first(
    real: None, scene: Path, out: Path, log: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    temporary_files = tmp_path / "temporary"
    temporary_files.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(temporary_files))
    gdal.FileFromMemBuffer("/vsimem/scene.tif", scene.read_bytes())
    layer = QgsRasterLayer("/vsimem/scene.tif", "in memory")
    assert layer.isValid()
    try:
        processing.run(
            "nirgeo:colorize", {"INPUT": layer, "OUTPUT": str(out / "memory.tif")}, feedback=log
        )
    finally:
        gdal.Unlink("/vsimem/scene.tif")
    processing.run("nirgeo:colorize", {"INPUT": str(scene), "OUTPUT": str(out / "file.tif")})
    assert any("copied to a temporary one" in text for text in log.info)
    assert pixels(out / "memory.tif") == pixels(out / "file.tif")
    assert names(temporary_files) == []


def test_missing_pixels_survive_the_copy(real: None, scene: Path, out: Path) -> None:
    dataset = gdal.Open(str(scene), gdal.GA_Update)
    values = dataset.ReadAsArray()
    values[:, :20] = 7
    dataset.WriteArray(values)
    dataset.GetRasterBand(1).SetNoDataValue(7)
    del dataset
    gdal.FileFromMemBuffer("/vsimem/scene.tif", scene.read_bytes())
    try:
        layer = QgsRasterLayer("/vsimem/scene.tif", "in memory")
        processing.run(
            "nirgeo:colorize",
            {"INPUT": layer, "SCALE": "0.0001", "OUTPUT": str(out / "memory.tif")},
        )
    finally:
        gdal.Unlink("/vsimem/scene.tif")
    mask = mask_of(out / "memory.tif")
    assert (mask[:, :20] == 0).all()
    assert (mask[:, 20:] == 255).all()


def test_a_mask_survives_the_copy_and_so_do_names(real: None, scene: Path, out: Path) -> None:
    gdal.SetConfigOption("GDAL_TIFF_INTERNAL_MASK", "YES")
    try:
        dataset = gdal.Open(str(scene), gdal.GA_Update)
        dataset.GetRasterBand(1).SetDescription("nir")
        dataset.CreateMaskBand(gdal.GMF_PER_DATASET)
        band = dataset.GetRasterBand(1).GetMaskBand()
        valid = np.full((band.YSize, band.XSize), 255, np.uint8)
        valid[:, :20] = 0
        band.WriteArray(valid)
        del band, dataset
    finally:
        gdal.SetConfigOption("GDAL_TIFF_INTERNAL_MASK", None)
    gdal.FileFromMemBuffer("/vsimem/scene.tif", scene.read_bytes())
    try:
        layer = QgsRasterLayer("/vsimem/scene.tif", "in memory")
        with Scene.of(layer, NEAR_INFRARED).as_file(QgsProcessingFeedback()) as path:
            assert gdal.Open(path).GetRasterBand(1).GetDescription() == "nir"
        processing.run("nirgeo:colorize", {"INPUT": layer, "OUTPUT": str(out / "memory.tif")})
    finally:
        gdal.Unlink("/vsimem/scene.tif")
    processing.run("nirgeo:colorize", {"INPUT": str(scene), "OUTPUT": str(out / "file.tif")})
    np.testing.assert_array_equal(mask_of(out / "memory.tif"), valid)
    assert pixels(out / "memory.tif") == pixels(out / "file.tif")


def test_options_of_a_layer_are_heeded(scene: Path) -> None:
    dataset = gdal.Open(str(scene), gdal.GA_Update)
    dataset.BuildOverviews("NEAREST", [2])
    width = dataset.RasterXSize
    del dataset
    layer = QgsRasterLayer(f"{scene}|option:OVERVIEW_LEVEL=0", "smaller")
    assert layer.width() == width // 2
    with Scene.of(layer, NEAR_INFRARED).as_file(QgsProcessingFeedback()) as path:
        assert path != str(scene)
        assert gdal.Open(path).RasterXSize == width // 2


@pytest.mark.parametrize("part", ["|credential:AWS_SECRET_ACCESS_KEY=x", "|authcfg=abc1234"])
def test_names_that_another_program_can_not_open(part: str) -> None:
    assert _gdal_name(f"/vsis3/bucket/x.tif{part}") is None
    assert _gdal_name_here(f"/vsis3/bucket/x.tif{part}") is None
    assert _gdal_name("/vsis3/bucket/x.tif") == "/vsis3/bucket/x.tif"


def test_signatures_are_not_shown() -> None:
    assert shown("/vsicurl/https://a/x.tif?sig=b&c") == "/vsicurl/https://a/x.tif"
    assert shown("/data/what?.tif") == "/data/what?.tif"
    assert shown("--nodata") == "--nodata"


def test_a_crs_chosen_by_hand_is_that_of_the_result(
    real: None, layer: QgsRasterLayer, log: Any
) -> None:
    chosen = QgsCoordinateReferenceSystem("EPSG:32611")
    assert layer.crs() != chosen
    layer.setCrs(chosen)
    assert run_and_load({"INPUT": layer, "OUTPUT": temporary()}, log).crs() == chosen


def test_a_refused_run_leaves_what_another_has_made(use_fake: Fake, out: Path) -> None:
    """Another run finishes between the start of this one and its refusal."""
    use_fake(
        'open(output, "w").write("another\'s")\n'
        'say(event="error", code="target-locked", message="another run is writing it")\n'
        "sys.exit(1)"
    )
    with pytest.raises(QgsProcessingException, match="another run"):
        processing.run(
            "nirgeo:colorize",
            {"INPUT": str(write_reflectance(out.parent / "s.tif")), "OUTPUT": str(out / "rgb.tif")},
        )
    assert (out / "rgb.tif").read_text() == "another's"


def test_a_value_of_missing_pixels_can_be_given(real: None, scene: Path, out: Path) -> None:
    dataset = gdal.Open(str(scene), gdal.GA_Update)
    values = dataset.ReadAsArray()
    values[:, :20] = 7
    dataset.WriteArray(values)
    del dataset
    processing.run(
        "nirgeo:colorize", {"INPUT": str(scene), "NODATA": 7, "OUTPUT": str(out / "rgb.tif")}
    )
    mask = mask_of(out / "rgb.tif")
    assert (mask[:, :20] == 0).all()
    assert (mask[:, 20:] == 255).all()


def test_a_layer_that_qgis_computes_is_exported_first(
    real: None, layer: QgsRasterLayer, out: Path, log: Any
) -> None:
    for name, given in (("computed", computed(layer)), ("file", layer)):
        processing.run(
            "nirgeo:colorize",
            {"INPUT": given, "SCALE": "0.0001", "OUTPUT": str(out / f"{name}.tif")},
            feedback=log,
        )
    assert sum("copied to a temporary one" in text for text in log.info) == 1
    assert pixels(out / "computed.tif") == pixels(out / "file.tif")


def test_the_copy_has_the_computed_values(layer: QgsRasterLayer) -> None:
    scene = Scene.of(computed(layer), NEAR_INFRARED)
    with scene.as_file(QgsProcessingFeedback()) as path:
        copied = gdal.Open(path).ReadAsArray()
    np.testing.assert_array_equal(copied, gdal.Open(layer.source()).ReadAsArray())


@pytest.mark.parametrize("by", ["thread", "event"])
def test_cancelling_the_copy_leaves_no_file(
    use_fake: Fake, out: Path, log: Any, monkeypatch: pytest.MonkeyPatch, by: str
) -> None:
    """A copy that would take some seconds; the event is a click while a batch is run."""
    use_fake('open(output, "w").write("x")')
    temporary_files = out.parent / "temporary"
    temporary_files.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(temporary_files))
    cancelled: list[float] = []

    def cancel() -> None:
        cancelled.append(time.monotonic())
        log.cancel()

    def cancel_in_the_middle() -> None:
        while not any(temporary_files.glob("*/scene.tif")):
            time.sleep(0.01)
        cancel()

    if by == "thread":
        canceller = threading.Thread(target=cancel_in_the_middle)
        canceller.start()
    else:
        log.on_info = lambda text: "copied" in text and QTimer.singleShot(200, cancel)
    result = processing.run(
        "nirgeo:colorize",
        {"INPUT": computed(large_layer(out.parent)), "OUTPUT": str(out / "rgb.tif")},
        feedback=log,
    )
    assert time.monotonic() - cancelled[0] < 2
    assert not any("-m nirgeo colorize" in text for text in log.info), "copied to the end"
    assert result == {}
    assert any("Cancelled" in text for text in log.info)
    assert names(out) == []
    assert names(temporary_files) == []


def test_a_map_service_is_refused(use_fake: Fake, out: Path) -> None:
    use_fake()
    with pytest.raises(QgsProcessingException, match="near infrared can't be read from it"):
        processing.run("nirgeo:colorize", {"INPUT": tiles(), "OUTPUT": str(out / "rgb.tif")})


def test_a_map_service_as_reference_is_refused_by_the_form(
    use_fake: Fake, layer: QgsRasterLayer, out: Path
) -> None:
    use_fake()
    tool = QgsApplication.processingRegistry().algorithmById("nirgeo:colorize").create()
    possible, message = tool.checkParameterValues(
        {"INPUT": layer, "REFERENCE": tiles(), "OUTPUT": str(out / "rgb.tif")},
        QgsProcessingContext(),
    )
    assert not possible
    assert message.startswith("tiles comes from a map service (wms)")
    assert "near infrared" not in message


def test_a_copied_reference_is_not_announced_as_near_infrared(
    use_fake: Fake, layer: QgsRasterLayer, out: Path, log: Any
) -> None:
    use_fake("say(event='error', code='x', message='enough')\nexit(1)")
    with pytest.raises(QgsProcessingException, match="enough"):
        processing.run(
            "nirgeo:colorize",
            {"INPUT": layer, "REFERENCE": computed(layer), "OUTPUT": str(out / "rgb.tif")},
            feedback=log,
        )
    (told,) = [text for text in log.info if "copied to a temporary one" in text]
    assert "near infrared" not in told
    assert "red, green and blue in this order" in told


# Failing and cancelled children.

HALF_MADE = """
folder, name = os.path.split(output)
os.mkdir(os.path.join(folder, "." + name + ".nirgeo"))
open(os.path.join(folder, "." + name + ".nirgeo", "blocks"), "w").write("x")
open(output + ".part", "w").write("x")
say(event="start", protocol=1, total=2, resumed=0)
say(event="progress", done=1, total=2)
"""

WAITING = (
    HALF_MADE
    + """
open(os.path.join(folder, "..", "pid"), "w").write(f"{os.getpid()}\\n")
time.sleep(60)
"""
)


def test_a_child_that_is_killed_leaves_nothing(
    use_fake: Fake, layer: QgsRasterLayer, out: Path
) -> None:
    use_fake(HALF_MADE + "os.kill(os.getpid(), signal.SIGKILL)")
    with pytest.raises(QgsProcessingException, match="memory ran out"):
        processing.run("nirgeo:colorize", {"INPUT": layer, "OUTPUT": str(out / "rgb.tif")})
    assert names(out) == []


def test_a_failing_child_tells_its_reason(
    use_fake: Fake, layer: QgsRasterLayer, out: Path, log: Any
) -> None:
    use_fake("say(event='error', code='target-unwritable', message='disk full')\nexit(1)")
    with pytest.raises(QgsProcessingException, match="disk full"):
        processing.run(
            "nirgeo:colorize", {"INPUT": layer, "OUTPUT": str(out / "rgb.tif")}, feedback=log
        )
    assert names(out) == []


@pytest.mark.parametrize("stubborn", [False, True])
def test_cancelling_leaves_no_child_and_no_file(
    use_fake: Fake, layer: QgsRasterLayer, out: Path, log: Any, stubborn: bool
) -> None:
    ignore = "signal.signal(signal.SIGTERM, signal.SIG_IGN)\n" if stubborn else ""
    use_fake(ignore + WAITING)
    cancelled: list[float] = []

    def cancel_when_at_work() -> None:
        pid_in(out.parent / "pid")
        cancelled.append(time.monotonic())
        log.cancel()

    thread = threading.Thread(target=cancel_when_at_work)
    thread.start()
    processing.run(
        "nirgeo:colorize", {"INPUT": layer, "OUTPUT": str(out / "rgb.tif")}, feedback=log
    )
    thread.join()
    took = time.monotonic() - cancelled[0]
    assert took < (6 if stubborn else 2.5)
    assert not is_alive(pid_in(out.parent / "pid"))
    assert names(out) == []
    assert log.percent[0] == 50
    assert any("Cancelled" in text for text in log.info)


def test_cancelling_the_real_nirgeo_leaves_no_child_and_no_file(
    real: None, out: Path, log: Any
) -> None:
    scene = write_reflectance(out.parent / "large.tif", size=1024)
    threading.Timer(1.5, log.cancel).start()  # while torch is being imported, or soon after
    processing.run(
        "nirgeo:colorize",
        {"INPUT": str(scene), "CHUNK": 1, "OUTPUT": str(out / "rgb.tif")},
        feedback=log,
    )
    assert names(out) == []
    assert any("Cancelled" in text for text in log.info)


def test_cancelling_while_the_file_is_made(real: None, out: Path, log: Any) -> None:
    """GDAL's own part of the work, which takes long here: noise, and the most thorough packing.

    GDAL finishes the blocks it is packing, so that the child has to be killed in the end.
    """
    side = 2048
    made = gdal.GetDriverByName("GTiff").Create(
        str(out.parent / "noise.tif"), side, side, 1, gdal.GDT_UInt16
    )
    made.WriteArray(np.random.default_rng(0).integers(1, 9999, (side, side), dtype=np.uint16))
    del made
    children: set[int] = set()
    cancelled: list[float] = []

    def cancel_in_the_last_step() -> None:
        while not any("writing the result" in text for text in log.info):
            time.sleep(0.05)
        time.sleep(1)
        children.update(children_of_this_process())
        cancelled.append(time.monotonic())
        log.cancel()

    thread = threading.Thread(target=cancel_in_the_last_step)
    thread.start()
    processing.run(
        "nirgeo:colorize",
        {
            "INPUT": str(out.parent / "noise.tif"),
            "SCALE": "0.0001",
            "OPTIONS": "COMPRESS=ZSTD|LEVEL=22",
            "OUTPUT": str(out / "rgb.tif"),
        },
        feedback=log,
    )
    thread.join()
    assert time.monotonic() - cancelled[0] < 6
    assert children
    assert not any(map(is_alive, children))
    assert names(out) == []
    assert any("Cancelled" in text for text in log.info)


def test_two_runs_at_once(real: None, scene: Path, out: Path) -> None:
    """As batch and the task manager do: one tool, several background threads."""
    outputs = [out / "a.tif", out / "b.tif"]
    failures: list[BaseException] = []

    def run(target: Path) -> None:
        try:
            tool = QgsApplication.processingRegistry().algorithmById("nirgeo:colorize").create()
            context = QgsProcessingContext()
            _, ok = tool.run(
                {"INPUT": str(scene), "OUTPUT": str(target)}, context, QgsProcessingFeedback()
            )
            assert ok
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=run, args=(target,)) for target in outputs]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures
    assert outputs[0].read_bytes() == outputs[1].read_bytes()


# Helpers.


def computed(layer: QgsRasterLayer) -> QgsRasterLayer:
    """A virtual raster, in the project, with the first band of a layer."""
    extent = layer.extent()
    uri = (
        f"?crs=EPSG:32632&extent={extent.xMinimum()},{extent.yMinimum()},{extent.xMaximum()},"
        f"{extent.yMaximum()}&width={layer.width()}&height={layer.height()}"
        f"&formula=%22a@1%22&a:uri={layer.source()}&a:provider=gdal"
    )
    made = QgsRasterLayer(uri, "computed", "virtualraster")
    assert made.isValid()
    QgsProject.instance().addMapLayer(made)
    return made


def large_layer(folder: Path) -> QgsRasterLayer:
    """12000² pixels that take no room: GDAL leaves out blocks that were never written."""
    made = gdal.GetDriverByName("GTiff").Create(
        str(folder / "large.tif"), 12_000, 12_000, 1, gdal.GDT_UInt16, ["SPARSE_OK=TRUE"]
    )
    made.SetGeoTransform((500_000, 10, 0, 5_000_000, 0, -10))
    made.SetProjection(QgsCoordinateReferenceSystem("EPSG:32632").toWkt())
    del made
    return QgsRasterLayer(str(folder / "large.tif"), "large")


def tiles() -> QgsRasterLayer:
    made = QgsRasterLayer("type=xyz&url=http://localhost:9/{z}/{x}/{y}.png", "tiles", "wms")
    assert made.isValid()
    return made


def children_of_this_process() -> set[int]:
    lists = Path("/proc/self/task").glob("*/children")
    return {int(number) for text in lists for number in text.read_text().split()}


def mask_of(path: Path) -> Any:
    dataset = gdal.Open(str(path))  # kept, as the band does not keep it
    return dataset.GetRasterBand(1).GetMaskBand().ReadAsArray()


def pixels(path: Path) -> bytes:
    return gdal.Open(str(path)).ReadAsArray().tobytes()  # type: ignore[no-any-return]


def temporary() -> QgsProcessingOutputLayerDefinition:
    return QgsProcessingOutputLayerDefinition("TEMPORARY_OUTPUT", QgsProject.instance())


def run_and_load(parameters: dict[str, Any], feedback: Any) -> QgsRasterLayer:
    """Run as the dialog does, and return the layer that has come onto the map."""
    tool = QgsApplication.processingRegistry().algorithmById("nirgeo:colorize").create()
    context = QgsProcessingContext()
    context.setProject(QgsProject.instance())
    # The dialog fills in the output's name like this.
    if not parameters["OUTPUT"].destinationName:
        parameters["OUTPUT"].destinationName = tool.parameterDefinition("OUTPUT").description()
    before = set(QgsProject.instance().mapLayers())
    _, ok = tool.run(parameters, context, feedback)
    assert ok, feedback.errors
    assert handleAlgorithmResults(tool, context, feedback)
    (new,) = set(QgsProject.instance().mapLayers()) - before
    return QgsProject.instance().mapLayer(new)


# What a layer hides.


def in_project(layer: QgsRasterLayer) -> QgsRasterLayer:
    """A failure keeps what its test has held, and a layer's owner must end with QGIS."""
    QgsProject.instance().addMapLayer(layer)
    return layer


def test_a_layer_with_options_is_not_written_over(real: None, scene: Path, out: Path) -> None:
    before = scene.read_bytes()
    layer = in_project(QgsRasterLayer(f"{scene}|option:NUM_THREADS=2", "Opt"))
    with pytest.raises(QgsProcessingException, match="would be lost"):
        processing.run("nirgeo:colorize", {"INPUT": layer, "OUTPUT": str(scene)})
    with pytest.raises(QgsProcessingException, match="would be lost"):
        processing.run("nirgeo:info", {"INPUT": layer, "OUTPUT": str(scene)})
    assert scene.read_bytes() == before


def test_a_crs_chosen_by_hand_is_that_of_the_run(real: None, scene: Path, out: Path) -> None:
    expected = out / "expected.tif"
    processing.run("nirgeo:colorize", {"INPUT": str(scene), "OUTPUT": str(expected)})
    bare = out / "bare.tif"
    shutil.copy(scene, bare)
    opened = gdal.Open(str(bare), gdal.GA_Update)
    opened.SetProjection("")
    del opened
    layer = in_project(QgsRasterLayer(str(bare), "Bare"))
    layer.setCrs(QgsCoordinateReferenceSystem("EPSG:32632"))
    made = out / "made.tif"
    processing.run("nirgeo:colorize", {"INPUT": layer, "OUTPUT": str(made)})
    one, two = gdal.Open(str(expected)), gdal.Open(str(made))
    np.testing.assert_array_equal(one.ReadAsArray(), two.ReadAsArray())
    assert in_project(QgsRasterLayer(str(made), "made")).crs().authid() == "EPSG:32632"


def test_what_refers_to_a_file_is_called_and_lies_as_it_does(scene: Path, log: Any) -> None:
    product = scene.parent / "S2A_MSIL2A_20220701T101611_N0400_R065_T32TQM_20220701T162310.SAFE"
    file = product / "GRANULE" / "R10m" / "T32TQM_20220701T101611_B08_10m.tif"
    file.parent.mkdir(parents=True)
    shutil.copy(scene, file)
    layer = in_project(QgsRasterLayer(f"{file}|option:NUM_THREADS=2", "B08"))
    with Scene.of(layer, NEAR_INFRARED).as_file(log) as path:
        assert Path(path).parts[-3:] == (product.name, "R10m", f"{file.stem}.vrt")
        np.testing.assert_array_equal(
            gdal.Open(path).ReadAsArray(), gdal.Open(str(scene)).ReadAsArray()
        )
    assert not Path(path).exists()


def test_values_hidden_in_qgis_are_told_of(real: None, scene: Path, out: Path, log: Any) -> None:
    layer = in_project(QgsRasterLayer(str(scene), "Scene"))
    layer.dataProvider().setUserNoDataValue(1, [QgsRasterRange(0, 100)])
    processing.run(
        "nirgeo:colorize", {"INPUT": layer, "OUTPUT": str(out / "rgb.tif")}, feedback=log
    )
    assert any("additional no-data values" in text for text in log.warnings)


def test_null_is_nothing_and_junk_is_no_number(real: None, scene: Path, out: Path) -> None:
    texts = dict.fromkeys(("SCALE", "OPTIONS", "REFERENCE_SCALE"), NULL)
    target = str(out / "rgb.tif")
    processing.run("nirgeo:colorize", {"INPUT": str(scene), **texts, "OUTPUT": target})
    with pytest.raises(QgsProcessingException, match="'none' is no number"):
        processing.run("nirgeo:colorize", {"INPUT": str(scene), "NODATA": "none", "OUTPUT": target})


def test_passwords_are_not_shown() -> None:
    assert shown("/vsicurl/https://me:secret@host/x.tif?sig=1") == "/vsicurl/https://host/x.tif"
