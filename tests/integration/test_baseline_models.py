"""Baselines as models: the same pipeline, tags and laws as networks, by name and from files."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
from pathlib import Path
from typing import Any, Literal

import dask.array as da
import numpy as np
import pytest
import rasterio
import xarray as xr
from evaluation_scenes import ground, write_scene
from helpers import NORTH_UP_10M, write_raster
from numpy.typing import NDArray
from pictures import (
    COLOURS,
    TO_REFLECTANCE,
    command,
    listing,
    punch_holes,
    read,
    scene_values,
)
from safetensors.numpy import load_file, save_file

import nirgeo
from nirgeo import registry
from nirgeo.baselines import BASELINES, Context, save_baseline
from nirgeo.baselines.model import BaselineColouriser, BaselineModel
from nirgeo.baselines.storage import METADATA_KEY, ORACLES
from nirgeo.engine import colouriser_of
from nirgeo.errors import BandError, ModelError, RadiometryError, ResumeError, UnknownModelError
from nirgeo.evaluation.predict import ModelPredictor, load_predictors
from nirgeo.evaluation.scenes import read_scene
from nirgeo.radiometry import Quantity, from_working, quantize, to_working
from nirgeo.registry import load_model, shipped_baselines
from nirgeo.scaling import Scaling
from nirgeo.scene_attributes import VALID
from nirgeo.scene_lists import SceneEntry

REFLECTANCE, COUNTS = Quantity.REFLECTANCE, Quantity.COUNTS
NAMES = [name for name in BASELINES if name not in ORACLES]
AROUND = ["histogram", "trees", "welsh"]
"""Those that look at more than a pixel; what they make could depend on chunks."""

Output = Literal["display", "reflectance"]
FOLDER = Path(registry.__file__).parent / "weights" / "baselines"


def shipped(name: str, quantity: Quantity = REFLECTANCE) -> BaselineModel:
    model = load_model(f"baseline/{name}", quantity)
    assert isinstance(model, BaselineModel)
    return model


def whole_picture(
    values: NDArray[Any],
    valid: NDArray[np.bool_],
    model: BaselineModel,
    scaling: Scaling = TO_REFLECTANCE,
    output: Output = "display",
) -> NDArray[Any]:
    """The picture made without the machinery under test: the baseline sees the whole array."""
    spec = model.spec
    measured = scaling.apply(values)
    inputs = to_working(measured, spec.quantity)
    inputs[:, ~valid] = 0
    working = model.baseline.predict(inputs, valid, Context(spec.quantity))
    if spec.quantity is COUNTS:
        picture = quantize(working)
    else:
        colours = from_working(working, spec.quantity)
        for colour, band in model.baseline.copies.items():
            colours[COLOURS.index(colour)] = measured[spec.bands.index(band)]
        colours = np.clip(colours, 0, 1)
        picture = colours if output == "reflectance" else spec.curve.apply(colours)
    picture[:, ~valid] = np.nan if output == "reflectance" else 0
    return picture


def make_scene(
    folder: Path, bands: tuple[str, ...], size: tuple[int, int] = (301, 205), dtype: str = "uint16"
) -> tuple[Path, NDArray[Any], NDArray[np.bool_]]:
    """A raster with these bands, nodata 0 in a slanted border and in holes."""
    values = np.stack([scene_values(*size, dtype, seed=k) for k in range(len(bands))])
    valid = punch_holes(*size)
    values[:, ~valid] = 0
    path = write_raster(folder / "scene.tif", values, nodata=0, descriptions=bands)
    return path, values, valid


# --- what is shipped ------------------------------------------------------------------------------


def test_the_registry_lists_every_file_and_no_other() -> None:
    entries = shipped_baselines()
    files = {Path(e.file).name for e in entries}
    assert files == {p.name for p in FOLDER.glob("*.safetensors")}
    assert {(e.name, e.quantity) for e in entries} == {
        (f"baseline/{name}", quantity) for name in NAMES for quantity in Quantity
    }
    assert sum(p.stat().st_size for p in FOLDER.iterdir()) < 1.5 * 2**20
    for entry in entries:
        content = (FOLDER / Path(entry.file).name).read_bytes()
        assert hashlib.sha256(content).hexdigest() == entry.sha256
        model = load_model(entry.full_name, entry.quantity)
        assert isinstance(model, BaselineModel)
        assert model.spec.full_name == entry.full_name
        assert model.spec.quantity is entry.quantity
        assert model.spec.licence == "MIT"
        learnt = bool(model.baseline.arrays())
        assert bool(model.spec.data and model.spec.attribution and model.spec.gsd) is learnt


def test_the_palette_holds_no_picture() -> None:
    # Some hundred rows of statistics, in no order that a place could be recognised by.
    for quantity in Quantity:
        arrays = shipped("welsh", quantity).baseline.arrays()
        assert arrays["swatches"].shape == (256, 4)


def test_models_lists_baselines_apart() -> None:
    listed = json.loads(command("models", "--baselines", "--json").stdout)
    networks = json.loads(command("models", "--json").stdout)
    assert not any(m["name"].startswith("baseline/") for m in networks)
    assert {m["name"] for m in listed} == {f"baseline/{name}" for name in NAMES}
    assert all(set(m) == set(networks[0]) for m in listed)
    text = command("models", "--baselines").stdout
    for model in listed:
        assert f"{model['name']}@{model['version']}" in text
        assert model["summary"] in text
        assert "``" not in model["summary"]
    assert "nirgeo models --baselines" in command("models").stdout


def test_listing_baselines_does_not_import_torch() -> None:
    code = (
        "import sys\nfrom nirgeo.cli.main import main\n"
        "try:\n    main(['models', '--baselines', '--json'])\nexcept SystemExit:\n    pass\n"
        "assert 'torch' not in sys.modules and 'sklearn' not in sys.modules\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


# --- the law --------------------------------------------------------------------------------------


@pytest.mark.parametrize("output", ["display", "reflectance"])
@pytest.mark.parametrize("name", NAMES)
def test_every_chunk_size_writes_the_whole_arrays_pixels(
    tmp_path: Path, name: str, output: Output
) -> None:
    model = shipped(name)
    path, values, valid = make_scene(tmp_path, model.spec.bands)
    whole = whole_picture(values, valid, model, output=output)
    assert len(np.unique(whole[:, valid], axis=1).T) > 100 or name == "mean-colour"
    for chunk, workers in ((1, 2), (3, 1), (16, 2)):
        scene = nirgeo.open_scene(path, chunk=chunk, scale="0.0001")
        rgb = nirgeo.colorize(scene, f"baseline/{name}", output=output)
        assert list(rgb["band"].values) == list(COLOURS)
        target = nirgeo.write_geotiff(rgb, tmp_path / f"{chunk}.tif", workers=workers)
        pixels, mask = read(target)
        np.testing.assert_array_equal(pixels, whole, err_msg=f"chunk {chunk}")
        np.testing.assert_array_equal(mask, valid)


@pytest.mark.parametrize("name", NAMES)
def test_display_counts(tmp_path: Path, name: str) -> None:
    model = shipped(name, COUNTS)
    path, values, valid = make_scene(tmp_path, model.spec.bands, (130, 187), "uint8")
    whole = whole_picture(values, valid, model, Scaling(COUNTS, 1.0, 0.0, "test"))
    for chunk in (1, 2):
        rgb = nirgeo.colorize(nirgeo.open_scene(path, chunk=chunk), f"baseline/{name}")
        assert rgb.attrs["nirgeo_model_sha256"] == model.sha256
        np.testing.assert_array_equal(rgb.values, whole, err_msg=f"chunk {chunk}")


@pytest.mark.parametrize("size", [(1, 1), (1, 300), (64, 64), (67, 131)])
@pytest.mark.parametrize("name", AROUND)
def test_sizes_that_are_no_multiple_of_anything(
    tmp_path: Path, name: str, size: tuple[int, int]
) -> None:
    model = shipped(name)
    path, values, valid = make_scene(tmp_path, ("nir",), size)
    whole = whole_picture(values, valid, model, output="reflectance")
    for chunk in (1, 16):
        scene = nirgeo.open_scene(path, chunk=chunk, scale="0.0001")
        rgb = nirgeo.colorize(scene, model, output="reflectance")
        np.testing.assert_array_equal(rgb.values, whole)


@pytest.mark.parametrize("name", [*AROUND, "linear-blue"])
def test_every_way_in_makes_the_same_pixels(tmp_path: Path, name: str) -> None:
    model = shipped(name)
    path, values, valid = make_scene(tmp_path, model.spec.bands)
    whole = whole_picture(values, valid, model)
    scene = nirgeo.open_scene(path, chunk=2, scale="0.0001")
    loaded = nirgeo.colorize(scene.compute(), model)
    assert isinstance(loaded.data, np.ndarray)
    np.testing.assert_array_equal(loaded.values, whole)
    np.testing.assert_array_equal(loaded[VALID].values, valid)
    for chunks in ((97, 71), ((5, 130, 1, 165), (64, 141)), (301, 66)):
        blocks = da.from_array(values, chunks=((len(values),), *chunks))
        array = xr.DataArray(
            blocks, dims=("band", "y", "x"), coords={"band": list(model.spec.bands)}
        )
        odd = nirgeo.colorize(array, model, scale="0.0001", nodata=0)
        np.testing.assert_array_equal(odd.values, whole, err_msg=f"dask chunks {chunks}")
    elsewhere = nirgeo.colorize(scene, model).compute(scheduler="processes", num_workers=1)
    np.testing.assert_array_equal(elsewhere.values, whole)


@pytest.mark.parametrize("name", AROUND)
def test_bounds_give_exactly_the_pixels_of_the_full_run(tmp_path: Path, name: str) -> None:
    model = shipped(name)
    path, values, valid = make_scene(tmp_path, ("nir",))
    whole = whole_picture(values, valid, model)
    west, north = NORTH_UP_10M @ (51, 37)
    east, south = NORTH_UP_10M @ (51 + 139, 37 + 177)
    inside = (slice(None), slice(37, 37 + 177), slice(51, 51 + 139))
    for chunk in (1, 16):
        part = nirgeo.open_scene(
            path, chunk=chunk, scale="0.0001", bounds=(west, south, east, north)
        )
        np.testing.assert_array_equal(nirgeo.colorize(part, model).values, whole[inside])


@pytest.mark.parametrize("name", AROUND)
def test_what_invalid_pixels_hold_does_not_matter(tmp_path: Path, name: str) -> None:
    _, values, valid = make_scene(tmp_path, ("nir",), (120, 140))
    pictures = []
    for filler in (0, 9_999, 65_535):
        values[:, ~valid] = filler
        path = write_raster(tmp_path / f"{filler}.tif", values, mask=valid)
        scene = nirgeo.open_scene(path, scale="0.0001", chunk=1)
        pictures.append(nirgeo.colorize(scene, f"baseline/{name}").values)
    assert pictures[0].any()
    for picture in pictures[1:]:
        np.testing.assert_array_equal(picture, pictures[0])


@pytest.mark.parametrize("name", ["histogram", "welsh"])
def test_statistics_are_of_the_whole_scene_and_recorded(tmp_path: Path, name: str) -> None:
    # A scene whose halves differ: taken chunk by chunk, each half would be stretched by itself.
    values = scene_values(512, 512).astype(np.float64)
    values[:, 256:] *= 0.3
    path = write_raster(tmp_path / "halves.tif", values.astype(np.uint16))
    scene = nirgeo.open_scene(path, chunk=4, scale="0.0001")
    rgb = nirgeo.colorize(scene, f"baseline/{name}")
    assert rgb.values[1, :, :256].mean() > rgb.values[1, :, 256:].mean() + 20
    target = nirgeo.write_geotiff(rgb, tmp_path / "out.tif")
    with rasterio.open(target) as file:
        recorded = file.tags(ns="NIRGEO")["SCENE_STATISTICS"]
    other = nirgeo.colorize(nirgeo.open_scene(path, chunk=8, scale="0.0001"), f"baseline/{name}")
    assert other.attrs["nirgeo_scene_statistics"] == recorded
    darker = nirgeo.colorize(nirgeo.open_scene(path, scale="0.00008"), f"baseline/{name}")
    assert darker.attrs["nirgeo_scene_statistics"] != recorded


# --- what it is told and what it says -------------------------------------------------------------


def test_tags_and_mask(tmp_path: Path) -> None:
    path, _, valid = make_scene(tmp_path, ("nir",))
    out = tmp_path / "out.tif"
    result = command(
        *("colorize", path, "-o", out, "--model", "baseline/trees", "--scale", "0.0001"),
    )
    assert "model: baseline/trees@2" in result.stderr
    with rasterio.open(out) as file:
        tags = file.tags(ns="NIRGEO")
        assert file.crs.to_epsg() == 32632
        assert file.transform == NORTH_UP_10M
        assert file.descriptions == COLOURS
        np.testing.assert_array_equal(file.dataset_mask() != 0, valid)
    assert tags["MODEL"] == "baseline/trees@2"
    assert tags["MODEL_SHA256"] == shipped("trees").sha256
    assert tags["SYNTHETIC"] == "yes"
    assert tags["COLOUR_HINT"] == "none"
    assert tags["DISPLAY_CURVE"] == "srgb, gain 2.5"
    assert "SCENE_STATISTICS" not in tags
    assert str(tmp_path) not in json.dumps(tags)


@pytest.mark.parametrize("quantity", Quantity)
def test_a_saved_baseline_runs_from_its_file(tmp_path: Path, quantity: Quantity) -> None:
    counts = quantity is COUNTS
    for k in range(2):
        values = ground(96, 96, seed=k)
        data = np.rint(values * 255).astype(np.uint8) if counts else values
        write_scene(tmp_path / "fit" / f"f{k}.tif", data)
    scene = write_scene(
        tmp_path / "data" / "scene.tif",
        np.rint(ground(seed=9) * 255).astype(np.uint8) if counts else ground(seed=9),
    )
    command(
        *("evaluate", "baseline/table-direction", "baseline/welsh", "-q"),
        *("--fit", tmp_path / "fit", "--data", tmp_path / "data"),
        *("--save-baselines", tmp_path / "saved"),
    )
    for name in ("table-direction", "welsh"):
        file = tmp_path / "saved" / f"{name}-{quantity.value}.safetensors"
        command("colorize", scene, "-o", tmp_path / f"{name}.tif", "--model", file, "-q")
        with rasterio.open(tmp_path / f"{name}.tif") as opened:
            tags, pixels = opened.tags(ns="NIRGEO"), opened.read()
        assert tags["MODEL"] == f"baseline/{name}"
        assert tags["MODEL_SHA256"] == hashlib.sha256(file.read_bytes()).hexdigest()
        by_name = nirgeo.colorize(nirgeo.open_scene(scene), f"baseline/{name}").values
        assert (pixels != by_name).any(), "other data, other colours"
        info = json.loads(command("info", scene, "--model", file, "--json").stdout)
        assert info["model"] == f"baseline/{name}"
        assert info["halo"] == f"{2 if name == 'welsh' else 0} px"


def test_measured_bands_are_kept_bit_for_bit(tmp_path: Path) -> None:
    path, values, valid = make_scene(tmp_path, ("red", "green", "nir"), (90, 90))
    scene = nirgeo.open_scene(path, scale="0.0001")
    measured = TO_REFLECTANCE.apply(values)
    for name, kept in (("linear-blue", {0: 0, 1: 1}), ("spot", {0: 0, 2: 1}), ("grey", {1: 2})):
        rgb = nirgeo.colorize(scene, f"baseline/{name}", output="reflectance").values
        for colour, band in kept.items():
            np.testing.assert_array_equal(rgb[colour][valid], measured[band][valid])


def test_counts_by_file_of_a_scene_in_reflectance(tmp_path: Path) -> None:
    # As with networks: the scene is rendered first.
    path, values, valid = make_scene(tmp_path, ("nir",), (70, 70))
    model = shipped("table-colour", COUNTS)
    rgb = nirgeo.colorize(nirgeo.open_scene(path, scale="0.0001"), model)
    rendered = model.spec.curve.apply(TO_REFLECTANCE.apply(values))
    expected = whole_picture(rendered, valid, model, Scaling(COUNTS, 1.0, 0.0, "test"))
    np.testing.assert_array_equal(rgb.values, expected)


def test_info_about_a_baseline(tmp_path: Path) -> None:
    path, _, _ = make_scene(tmp_path, ("nir",))
    for name, halo in (("trees", 16), ("welsh", 2), ("grey", 0)):
        found = json.loads(command("info", path, "--model", f"baseline/{name}", "--json").stdout)
        assert found["model"] == f"baseline/{name}@2"
        assert found["model_reason"] == "asked for"
        assert found["halo"] == f"{halo} px"
        assert found["time"].endswith(" on this machine's processor")


def test_pixels_of_another_size_are_warned_of(tmp_path: Path) -> None:
    values = scene_values(60, 60)
    path = write_raster(
        tmp_path / "coarse.tif", values, transform=rasterio.Affine(900, 0, 5e5, 0, -900, 5e6)
    )
    options = ("--scale", "0.0001", "--overwrite")
    assert "900 m" in command("colorize", path, "--model", "baseline/cubic", *options).stderr
    assert "900 m" not in command("colorize", path, "--model", "baseline/grey", *options).stderr


# --- resume ---------------------------------------------------------------------------------------


def test_an_interrupted_run_goes_on_and_only_with_the_same_parameters(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, _, _ = make_scene(tmp_path, ("nir",))
    scene = nirgeo.open_scene(path, chunk=1, scale="0.0001")
    wanted = nirgeo.write_geotiff(nirgeo.colorize(scene, "baseline/welsh"), tmp_path / "wanted.tif")
    done = 0
    original = BaselineColouriser.paint

    def stops(self: BaselineColouriser, *arguments: Any) -> Any:
        nonlocal done
        done += 1
        if done > 6:
            raise KeyboardInterrupt
        return original(self, *arguments)

    out = tmp_path / "out.tif"

    def run(model: str | BaselineModel) -> tuple[int, int]:
        started: list[tuple[int, int]] = []
        nirgeo.write_geotiff(
            nirgeo.colorize(scene, model),
            out,
            resume=True,
            workers=1,
            on_start=lambda *n: started.append(n),
        )
        return started[0]

    monkeypatch.setattr(BaselineColouriser, "paint", stops)
    with pytest.raises(KeyboardInterrupt):
        run("baseline/welsh")
    monkeypatch.setattr(BaselineColouriser, "paint", original)
    with pytest.raises(ResumeError, match="the interrupted run was other work: model "):
        run("baseline/histogram")
    model = shipped("welsh")
    arrays = {k: v.copy() for k, v in model.baseline.arrays().items()}
    arrays["swatches"][0, 3] += 1e-6
    other = BaselineModel.of(type(model.baseline).from_arrays(arrays, REFLECTANCE), model.card)
    assert other.spec == model.spec
    with pytest.raises(ResumeError, match="model_sha256"):
        run(other)
    finished, total = run("baseline/welsh")
    assert (finished, total) == (6, 20)
    assert out.read_bytes() == wanted.read_bytes()


# --- errors ---------------------------------------------------------------------------------------


def test_what_is_refused(tmp_path: Path) -> None:
    path, _, _ = make_scene(tmp_path, ("nir",))
    eight_bit = write_raster(tmp_path / "aerial.tif", scene_values(60, 60, "uint8"))
    saved = tmp_path / "saved"
    saved.mkdir()
    oracle = saved / "oracle.safetensors"
    save_baseline(oracle, BASELINES["oracle-colour"].fit([], REFLECTANCE))
    reflectance = saved / "table.safetensors"
    save_baseline(reflectance, shipped("table-colour").baseline)
    table = load_file(reflectance)
    damaged = saved / "damaged.safetensors"
    save_file(
        {"colours": table["colours"][:100]},
        damaged,
        metadata={METADATA_KEY: '{"format": 1, "name": "table-colour", "quantity": "reflectance"}'},
    )
    truncated = saved / "truncated.safetensors"
    truncated.write_bytes(reflectance.read_bytes()[:-100])
    before = listing(tmp_path)
    for scene, model, code, said in [
        (path, "baseline/oracle-direction", "model-unusable", "nirgeo evaluate"),
        (path, "baseline/oracle-colour@2", "model-unusable", "nirgeo evaluate"),
        (path, oracle, "model-unusable", "nirgeo evaluate"),
        (path, "baseline/nothing", "model-unknown", "baseline/trees@2"),
        (path, "baseline/cubic@9", "model-unknown", "baseline/cubic@2"),
        (path, "baseline/linear-blue", "band-not-found", "--red"),
        (path, damaged, "model-unusable", "'colours'"),
        (path, truncated, "model-unusable", "truncated.safetensors"),
        (eight_bit, reflectance, "radiometry", "display counts"),
    ]:
        result = command(
            *("colorize", scene, "-o", tmp_path / "out.tif", "--model", model),
            *("--progress", "jsonl"),
            expect=1,
        )
        event = json.loads(result.stdout.splitlines()[-1])
        assert (event["event"], event["code"]) == ("error", code), event
        assert said in event["message"]
    assert listing(tmp_path) == before


def test_arrays_without_the_bands_are_refused() -> None:
    array = xr.DataArray(scene_values(40, 40), dims=("y", "x"))
    with pytest.raises(BandError, match="baseline/spot@2 needs bands red, green, nir"):
        nirgeo.colorize(array, "baseline/spot", scale="0.0001")
    with pytest.raises(RadiometryError, match="eats reflectance"):
        nirgeo.colorize(array.astype(np.uint8), shipped("cubic"))
    with pytest.raises(RadiometryError, match="no reflectance"):
        nirgeo.colorize(array.astype(np.uint8), "baseline/cubic", output="reflectance")


def test_names_need_a_quantity_and_versions_must_exist() -> None:
    assert load_model("baseline/grey@2", COUNTS).spec.quantity is COUNTS
    with pytest.raises(ModelError, match="which quantity"):
        load_model("baseline/grey")
    with pytest.raises(UnknownModelError, match=r"baseline/grey@1"):
        load_model("baseline/grey@1", COUNTS)
    with pytest.raises(ModelError, match="true colours"):
        BaselineModel.of(BASELINES["oracle-colour"].fit([], COUNTS))


def test_a_shipped_file_that_was_changed_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "weights" / "baselines"
    folder.mkdir(parents=True)
    save_baseline(folder / "grey.safetensors", BASELINES["grey"].fit([], COUNTS))
    entry = {"name": "baseline/grey", "version": 1, "quantity": "counts", "sha256": "0" * 64}
    (folder / "registry.json").write_text(json.dumps([entry | {"file": "grey.safetensors"}]))
    monkeypatch.setattr(registry, "_weights_folder", lambda: tmp_path / "weights")
    monkeypatch.setattr(registry, "shipped_models", lambda: ())
    monkeypatch.setattr(registry, "shipped_baselines", lambda: registry._listed("baselines"))
    with pytest.raises(ModelError, match="reinstall nirgeo"):
        load_model("baseline/grey")


# --- evaluate runs the same code ------------------------------------------------------------------


@pytest.mark.parametrize("name", ["welsh", "trees", "linear-blue", "table-direction"])
def test_a_baseline_is_scored_on_the_pixels_that_the_product_makes(
    tmp_path: Path, name: str
) -> None:
    values = ground()
    values[:, 10:20, 30:40] = 0
    path = write_scene(tmp_path / "scene.tif", values)
    (predictor,) = load_predictors([f"baseline/{name}@2"], quantities=[REFLECTANCE])
    assert isinstance(predictor, ModelPredictor)
    prediction = predictor.predict(read_scene(SceneEntry(path, "here")))
    picture = nirgeo.colorize(nirgeo.open_scene(path), f"baseline/{name}")
    np.testing.assert_array_equal(prediction.picture, picture.values)


def test_evaluate_scores_shipped_baselines_without_a_fit(tmp_path: Path) -> None:
    write_scene(tmp_path / "data" / "a.tif", ground(seed=1))
    write_scene(tmp_path / "data" / "b.tif", np.rint(ground(seed=2) * 255).astype(np.uint8))
    report = tmp_path / "r.json"
    names = ("baseline/table-colour@2", "baseline/cubic@2", "baseline/oracle-colour")
    command("evaluate", *names, "--data", tmp_path / "data", "--json", report, "-q")
    tasks = json.loads(report.read_text())["tasks"]
    assert [task["quantity"] for task in tasks] == ["reflectance", "counts"]
    for task in tasks:
        by_label = {m["label"]: m for m in task["models"]}
        assert set(by_label) == set(names)
        assert by_label["baseline/cubic@2"]["kind"] == "baseline"
        assert by_label["baseline/cubic@2"]["relative_to_table"]["table"] == names[0]
        assert by_label["baseline/cubic@2"]["card"]["licence"] == "MIT"


def test_two_files_of_one_baseline_are_both_scored(tmp_path: Path) -> None:
    write_scene(tmp_path / "data" / "a.tif", ground(seed=1))
    for k in range(2):
        write_scene(tmp_path / f"fit{k}" / "f.tif", ground(96, 96, seed=20 + k))
        command(
            *("evaluate", "baseline/cubic", "--fit", tmp_path / f"fit{k}", "-q"),
            *("--data", tmp_path / "data", "--save-baselines", tmp_path / f"saved{k}"),
        )
    files = [tmp_path / f"saved{k}" / "cubic-reflectance.safetensors" for k in range(2)]
    report = tmp_path / "r.json"
    command("evaluate", *files, "--data", tmp_path / "data", "--json", report, "-q")
    (task,) = json.loads(report.read_text())["tasks"]
    labels = [m["label"] for m in task["models"]]
    assert len(set(labels)) == 2
    assert all(label.startswith("baseline/cubic (") for label in labels)


def test_what_runs_a_baseline_knows_nothing_of_devices(tmp_path: Path) -> None:
    path, _, _ = make_scene(tmp_path, ("nir",), (70, 70))
    model = shipped("cubic")
    scene = nirgeo.open_scene(path, scale="0.0001")
    expected = nirgeo.colorize(scene, model).values
    for way in (model.path, Path(str(model.path))):
        found = nirgeo.colorize(scene, way, device="cuda").values
        np.testing.assert_array_equal(found, expected)
    assert "device" not in colouriser_of(model, device="cuda").identity()
