"""``nirgeo evaluate``, ``compare`` and ``prepare`` as they are called."""

from __future__ import annotations

import csv
import json
import re
import sys
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
import rasterio
from evaluation_scenes import BANDS, ground, shifted_place, write_index, write_scene
from helpers import NORTH_UP_10M, random_model, write_raster
from pictures import command, events, listing, start
from stac_items import serve, write_scene_item

from nirgeo.baselines import BASELINES
from nirgeo.evaluation.fitting import learnt_from
from nirgeo.evaluation.predict import ModelPredictor
from nirgeo.modelfile import Model
from nirgeo.radiometry import Quantity
from nirgeo.registry import load_model
from nirgeo.scene_lists import list_scenes
from nirgeo.training.config import TrainingConfig
from nirgeo.training.data import load_scene
from nirgeo.training.networks import model_spec

ATTACK = "\"'><script>alert(1)</script><img src=https://example.org/x onerror=alert(1)>"

# Growing trees takes seconds, and its own test has it.
QUICK = [f"baseline/{name}" for name in BASELINES if name != "trees"]


class Page(HTMLParser):
    """What a browser would make of a report."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.text += data

    def count(self, tag: str) -> int:
        return sum(name == tag for name, _ in self.found)


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """``data`` with four scenes of three places, ``fit`` with two others, and ``index.csv``."""
    root = tmp_path_factory.mktemp("evaluate")
    places = {}
    for k, place in enumerate(["lake", "lake", "hill", "town"]):
        name = f"data/{place}{k}.tif"
        write_scene(root / name, ground(72 + 8 * k, 68, seed=k))
        places[name] = place
    for k in range(2):
        write_scene(root / f"fit/f{k}.tif", ground(80, 80, seed=20 + k))
        places[f"fit/f{k}.tif"] = f"fit{k}"
    write_index(root / "index.csv", places)
    return root


def test_saved_baselines_are_not_written_over(folders: Path, tmp_path: Path) -> None:
    given = ("evaluate", "baseline/table-colour", "--fit", folders / "fit", "-q")
    given += ("--data", folders / "data", "--index", folders / "index.csv")
    given += ("--save-baselines", tmp_path / "saved")
    command(*given)
    (saved,) = (tmp_path / "saved").iterdir()
    before = saved.read_bytes()
    saved.write_bytes(b"mine")
    assert "won't be overwritten" in command(*given, expect=1).stderr
    assert saved.read_bytes() == b"mine"
    command(*given, "--overwrite")
    assert saved.read_bytes() == before


def test_table_json_and_report(folders: Path, tmp_path: Path, tiny: Model) -> None:
    def run(name: str) -> tuple[str, str, str]:
        result = command(
            *("evaluate", tiny.path, *QUICK, "--fit", folders / "fit"),
            *("--data", folders / "data", "--index", folders / "index.csv", "--level", "boa"),
            *("--json", tmp_path / f"{name}.json", "--html", tmp_path / f"{name}.html", "-q"),
            *("--save-baselines", tmp_path / name),
        )
        return (
            result.stdout,
            (tmp_path / f"{name}.json").read_text(encoding="utf-8"),
            (tmp_path / f"{name}.html").read_text(encoding="utf-8"),
        )

    text, data, html = run("one")
    assert (text, data, html) == run("two")

    assert "4 scenes of 3 places · reflectance · level boa" in text
    assert "baseline/oracle-direction (oracle)" in text
    models = json.loads(data)["tasks"][0]["models"]
    assert len(models) == 1 + len(QUICK)
    assert {m["kind"] for m in models} == {"model", "baseline", "oracle"}
    for model in models:
        headline = model["mean_over_places"]["angular"]
        assert headline["places"] == 3
        assert headline["low"] <= headline["value"] <= headline["high"]
        assert headline["value"] == pytest.approx(
            np.mean([place["angular"] for place in model["places"].values()])
        )
        assert f"{headline['value']:.2f}" in text
    assert str(folders) not in data + html

    page = Page(html)
    assert page.count("script") == page.count("link") == page.count("iframe") == 0
    # Best, median and worst scene with four pictures each, and the legend.
    assert page.count("img") == 13
    for _, attributes in page.found:
        for key in ("src", "href", "srcset"):
            value = attributes.get(key)
            assert value is None or value.startswith("data:image/png;base64,")
    assert not re.search(r"url\(|@import|https?://", html)

    saved = tmp_path / "one" / "table-direction-reflectance.safetensors"
    again = command(
        *("evaluate", saved, "--data", folders / "data", "--index", folders / "index.csv"),
        *("--json", tmp_path / "again.json", "-q"),
    )
    assert "baseline/table-direction" in again.stdout
    (loaded,) = json.loads((tmp_path / "again.json").read_text())["tasks"][0]["models"]
    fitted = next(m for m in models if m["label"] == "baseline/table-direction")
    assert loaded["places"] == fitted["places"]


def test_a_model_card_cannot_inject_markup(folders: Path, tmp_path: Path) -> None:
    model = random_model(
        tmp_path, name="evil", summary=ATTACK, licence=ATTACK, attribution=f"</style>{ATTACK}"
    )
    write_scene(tmp_path / "data" / "a&b<i>.tif", ground(64, 64))
    index = write_index(tmp_path / "index.csv", {"data/a&b<i>.tif": f"<b>{ATTACK[2:20]}"})
    report = tmp_path / "r.html"
    command("evaluate", model.path, "--data", tmp_path / "data", "--index", index, "--html", report)
    page = Page(report.read_text(encoding="utf-8"))
    assert ATTACK in page.text  # shown, as text
    assert page.count("script") == page.count("i") == page.count("b") == 0
    assert page.count("style") == 1
    assert not any("onerror" in attributes for _, attributes in page.found)


def test_leaks_are_refused_except_under_their_name(folders: Path) -> None:
    options = ("--data", folders / "data", "--fit", folders / "data", "-q")
    refused = command("evaluate", "baseline/cubic", *options, expect=1)
    assert "both in --fit and in --data" in refused.stderr
    assert refused.stderr.count("\n") == 1
    assert "LEAKY" in command("evaluate", "baseline/cubic", *options, "--leaky").stdout
    # --limit must not hide a shared place.
    limited = command("evaluate", "baseline/cubic", *options, "--limit", 1, expect=1)
    assert "both in --fit and in --data" in limited.stderr


def test_a_network_that_has_learnt_from_a_place_is_told_of(tmp_path: Path) -> None:
    for k in range(3):
        write_scene(tmp_path / "data" / f"{k}.tif", ground(80, 72, seed=k))
    index = write_index(tmp_path / "index.csv", {f"data/{k}.tif": f"lake {k}" for k in range(3)})
    spec = model_spec(
        TrainingConfig(Quantity.REFLECTANCE, width=8, depth=1),
        "mine",
        2,
        places=["place lake 0", "place lake 2", "place pond", str(tmp_path / "elsewhere.tif")],
    )
    assert len(spec.training["places"]) == 3
    assert all(len(mark) == 12 and "lake" not in mark for mark in spec.training["places"])
    entries = list_scenes([tmp_path / "data"], index)
    model = ModelPredictor("mine@1", Model(spec, "mine.safetensors", "0" * 64))
    (told,) = learnt_from([model], entries)
    assert told == (
        "mine@1 has learnt from 2 of these 3 places, so its figures measure memory: lake 0, lake 2"
    )
    assert learnt_from([model], entries[1:2]) == []
    assert learnt_from([model], list_scenes([tmp_path / "data"])) == []  # places of no index
    shipped = ModelPredictor("satellite-nir@5", load_model("satellite-nir"))
    assert learnt_from([shipped], entries) == []


def test_baselines_without_anything_to_learn_from(folders: Path) -> None:
    result = command("evaluate", "--baselines", "--data", folders / "data")
    assert "only baselines that need no --fit" in result.stderr
    assert "no --index: every file counts as a place" in result.stdout
    assert "4 scenes of 4 places" in result.stdout
    assert "baseline/grey" in result.stdout
    assert "cubic" not in result.stdout


def test_scenes_that_an_index_does_not_list_are_told_of(folders: Path, tmp_path: Path) -> None:
    index = write_index(tmp_path / "index.csv", {})
    data = ("evaluate", "baseline/grey", "--data", folders / "data", "--index", index)
    refused = command(*data, "-q", expect=1)
    assert "lists none of 4 scenes" in refused.stderr
    write_index(index, {(folders / "data" / "lake0.tif").as_posix(): "lake"})
    told = command(*data).stderr
    assert "Warning: 3 of 4 scenes have no line in" in told
    assert "Warning" not in command(*data, "-q").stderr


def test_what_evaluate_refuses(folders: Path, tmp_path: Path, tiny_counts: Model) -> None:
    data = ("--data", folders / "data")
    assert command("evaluate", *data, expect=2).exit_code == 2
    for arguments, said in [
        (("nothing", *data), "no model named 'nothing'"),
        (("baseline/nothing", *data), "no baseline 'nothing'"),
        (("baseline/cubic", *data), "--fit"),
        ((tiny_counts.path, *data), "eats counts, and none of the 4 scenes"),
        (("baseline/grey", "--data", tmp_path), "no scene in"),
        (("baseline/grey", *data, "--html", tmp_path), "name a file"),
        (("baseline/grey", *data, "--level", "toa", "--index", folders / "index.csv"), "toa"),
    ]:
        result = command("evaluate", *arguments, "-q", expect=1)
        assert said in result.stderr
        assert result.stderr.startswith("Error: ")
        assert result.stderr.count("\n") == 1
    existing = tmp_path / "keep.json"
    existing.write_text("mine")
    result = command("evaluate", "baseline/grey", *data, "--json", existing, expect=1)
    assert "--overwrite" in result.stderr
    assert existing.read_text() == "mine"


# --- compare --------------------------------------------------------------------------------------


@pytest.fixture
def coloured(tmp_path: Path, tiny: Model) -> Callable[..., tuple[Path, Path]]:
    """``coloured(as_)``: a prediction and the scene it was made of."""

    def make(as_: str = "display", **options: object) -> tuple[Path, Path]:
        values = ground(90, 110, seed=3)
        values[:, 10:20, 10:30] = 0
        scene = write_scene(tmp_path / "scene.tif", values, **options)
        out = tmp_path / f"{as_}.tif"
        command("colorize", scene, "-o", out, "--model", tiny.path, "--as", as_, "-q")
        return out, scene

    return make


@pytest.mark.parametrize("as_", ["display", "reflectance"])
def test_compare_agrees_with_evaluate(
    coloured: Callable[..., tuple[Path, Path]], tmp_path: Path, tiny: Model, as_: str
) -> None:
    prediction, scene = coloured(as_)
    error_map = tmp_path / "angles.tif"
    result = command("compare", prediction, scene, "--json", "--error-map", error_map, "-q")
    found = json.loads(result.stdout)
    assert found["space"] == as_
    assert found["resampled"] is False
    assert found["pixels"] == 90 * 110 - 200
    with rasterio.open(error_map) as opened, rasterio.open(prediction) as predicted:
        angles = opened.read(1)
        assert (opened.crs, opened.transform) == (predicted.crs, predicted.transform)
        assert opened.dtypes == ("float32",)
        assert opened.tags(ns="IMAGE_STRUCTURE")["LAYOUT"] == "COG"
    assert np.isnan(angles[10:20, 10:30]).all()
    assert np.isnan(angles).sum() == 200
    assert np.nanmean(angles) == pytest.approx(found["angular"], rel=1e-6)
    if as_ == "reflectance":
        command(
            *("evaluate", tiny.path, "--data", tmp_path, "--json", tmp_path / "e.json", "-q"),
            expect=0,
        )
        (scored,) = json.loads((tmp_path / "e.json").read_text())["tasks"][0]["models"]
        (per_scene,) = (s for s in scored["per_scene"] if s["scene"] == "scene")
        for key in ("angular", "rmse", "mae", "ssim", "ssim_picture", "ciede2000", "masked"):
            assert found[key] == pytest.approx(per_scene[key], rel=1e-6), key


def test_a_raster_equals_itself(coloured: Callable[..., tuple[Path, Path]]) -> None:
    prediction, _ = coloured()
    found = json.loads(command("compare", prediction, prediction, "--json", "-q").stdout)
    assert found["angular"] == found["rmse"] == found["ciede2000"] == 0
    assert found["psnr"] is None  # infinite, which JSON can't say
    assert found["ssim"] == pytest.approx(1)


def test_truth_on_another_grid_is_resampled(
    coloured: Callable[..., tuple[Path, Path]], tmp_path: Path
) -> None:
    prediction, _ = coloured()
    with rasterio.open(prediction) as opened:
        picture = opened.read()
    # The same picture, every pixel four times, and only its western half.
    fine = picture.repeat(2, axis=1).repeat(2, axis=2)[:, :, :110]
    truth = write_raster(
        tmp_path / "fine.tif",
        fine,
        transform=NORTH_UP_10M * NORTH_UP_10M.scale(0.5),
        photometric="RGB",
    )
    found = json.loads(command("compare", prediction, truth, "--json", "-q").stdout)
    assert found["resampled"] is True
    assert found["masked"] == pytest.approx(0.5, abs=0.05)
    assert found["angular"] < 1  # bilinear sampling between the fine pixels
    text = command("compare", prediction, truth)
    assert "resampled" in text.stderr
    assert text.stdout.startswith(f"{found['pixels']} pixels compared in counts / 255")


def test_what_compare_refuses(coloured: Callable[..., tuple[Path, Path]], tmp_path: Path) -> None:
    prediction, scene = coloured("reflectance")
    picture, _ = coloured("display")
    five = write_raster(tmp_path / "five.tif", np.ones((5, 90, 110), dtype=np.uint8))
    loose = write_raster(tmp_path / "loose.tif", np.ones((3, 9, 9), dtype=np.uint8), crs=None)
    bare = write_raster(
        tmp_path / "bare.tif", np.ones((3, 90, 110), dtype=np.uint8), crs=None, transform=None
    )
    (tmp_path / "stac").mkdir()
    item = write_scene_item(tmp_path / "stac")
    far = write_raster(
        tmp_path / "far.tif", np.ones((3, 90, 110), dtype=np.uint8), transform=shifted_place(50)
    )
    for arguments, said in [
        ((prediction, picture), "prediction is reflectance and the truth a picture"),
        ((picture, five), "name them with --bands"),
        ((picture, scene, "--bands", "1,2"), "--bands: 2 named; need three"),
        ((picture, picture, "--bands", "1,2,9"), "--bands 1,2,9: 9: the scene has bands 1 to 3"),
        ((picture, picture, "--bands", "x,2,3"), "--bands x,2,3: 'x': no band has this name"),
        ((picture, loose), "the truth has no CRS, so they can't be brought onto one grid"),
        ((picture, bare), "both have 110×90 px, but not in the same place, and the truth has no"),
        ((picture, item), "a STAC item is a scene for `nirgeo colorize`"),
        ((picture, far), "no pixel is valid in both"),
        ((picture, tmp_path / "none.tif"), "no such file"),
        ((picture, scene, "--error-map", scene, "--overwrite"), "one of the rasters"),
        ((picture, scene, "--error-map", far), "--overwrite"),
    ]:
        result = command("compare", *arguments, "-q", expect=1)
        assert said in result.stderr
        assert result.stderr.count("\n") == 1
    ordered = command("compare", picture, scene, "--bands", "red,2,3", "--json", "-q")
    assert json.loads(ordered.stdout)["pixels"] > 0


def test_what_a_truth_does_not_say_of_its_values_is_told(
    coloured: Callable[..., tuple[Path, Path]], tmp_path: Path
) -> None:
    prediction, scene = coloured("reflectance")
    with rasterio.open(scene) as opened:
        values = opened.read().astype(np.int16)
    values[:, 40:50] = -9999
    truth = write_raster(tmp_path / "bare.tif", values, descriptions=BANDS)
    said = command("compare", prediction, truth).stderr
    assert "Note: the truth's reflectance = 0.0001 · DN (assumed: reflectance × 10000)" in said
    assert "of red is -9999, which often marks missing pixels" in said
    told = command("compare", prediction, truth, "--nodata", -9999, "--json")
    assert "-9999" not in told.stderr
    found = json.loads(told.stdout)
    assert found["masked"] == pytest.approx((200 + 10 * 110) / (90 * 110))
    plain = json.loads(command("compare", prediction, scene, "--json").stdout)
    assert found["rmse"] == pytest.approx(plain["rmse"], rel=0.2)


def test_missing_pixels_of_a_truth_do_not_tell_its_scaling(
    coloured: Callable[..., tuple[Path, Path]], tmp_path: Path
) -> None:
    prediction, scene = coloured("reflectance")
    with rasterio.open(scene) as opened:
        light = (opened.read() / 10_000).astype(np.float32)
    light[:, 50:] = 65_535
    truth = write_raster(tmp_path / "light.tif", light, descriptions=BANDS)
    found = json.loads(
        command("compare", prediction, truth, "--nodata", 65_535, "--json", "-q").stdout
    )
    plain = json.loads(command("compare", prediction, scene, "--json", "-q").stdout)
    assert "the truth's values are reflectance (floats up to" in found["notes"][0]
    assert found["angular"] == pytest.approx(plain["angular"], rel=0.3)


def test_signatures_of_urls_are_not_shown(
    coloured: Callable[..., tuple[Path, Path]], tmp_path: Path
) -> None:
    prediction, _ = coloured()
    write_raster(tmp_path / "five.tif", np.ones((5, 90, 110), dtype=np.uint8))
    with serve(tmp_path) as server:
        url = f"{server.url}/{prediction.name}"
        found = command("compare", prediction, f"{url}?sig=SECRET", "--json", "-q")
        assert json.loads(found.stdout)["truth"].startswith(url)
        refused = command("compare", prediction, f"{server.url}/five.tif?sig=SECRET", expect=1)
    assert "name them with --bands" in refused.stderr
    assert "SECRET" not in found.stdout + refused.stderr


def test_compare_in_json_lines(coloured: Callable[..., tuple[Path, Path]], tmp_path: Path) -> None:
    prediction, scene = coloured()
    error_map = tmp_path / "angles.tif"
    result = command(
        *("compare", prediction, scene, "--error-map", error_map, "--progress", "jsonl")
    )
    log = events(result.stdout)
    assert log[0] == {"event": "start", "protocol": 1, "total": 1, "resumed": 0}
    assert log[1] == {"event": "progress", "done": 1, "total": 1}
    found = json.loads(command("compare", prediction, scene, "--json", "-q").stdout)
    figures = {key: found[key] for key in found if key not in ("prediction", "truth", "error_map")}
    assert log[2:] == [{"event": "result", "path": str(error_map), "figures": figures}]
    assert "rendered with the curve" in result.stderr
    alone = events(command("compare", prediction, scene, "--progress", "jsonl", "-q").stdout)
    assert alone[-1] == {"event": "result", "figures": figures}


def test_errors_of_compare_in_json_lines(
    coloured: Callable[..., tuple[Path, Path]], tmp_path: Path
) -> None:
    prediction, scene = coloured()
    for arguments, code, status in [
        ((prediction, tmp_path / "none.tif"), "source-unreadable", 1),
        ((prediction, scene, "--error-map", scene), "option", 1),
        ((prediction,), "usage", 2),
    ]:
        result = command("compare", *arguments, "--progress", "jsonl", expect=status)
        (error,) = events(result.stdout)
        assert (error["event"], error["code"]) == ("error", code)


def test_a_terminated_comparison_leaves_nothing(
    coloured: Callable[..., tuple[Path, Path]], tmp_path: Path
) -> None:
    prediction, scene = coloured()
    before = listing(tmp_path)
    prelude = (
        "import time, nirgeo.evaluation.sums as sums\n"
        "def wait(*a, **k):\n    time.sleep(60)\n"
        "sums.measure_block = wait\n"
    )
    child = start(
        *("compare", prediction, scene, "--error-map", tmp_path / "angles.tif"),
        *("--progress", "jsonl"),
        prelude=prelude,
    )
    assert child.stdout is not None
    assert json.loads(child.stdout.readline())["event"] == "start"
    child.terminate()
    out, err = child.communicate(timeout=60)
    assert (child.returncode, events(out)[-1]["code"]) == (143, "terminated"), err
    assert listing(tmp_path) == before


def test_compare_goes_without_scikit_image(
    coloured: Callable[..., tuple[Path, Path]], monkeypatch: pytest.MonkeyPatch
) -> None:
    compare = sys.modules["nirgeo.evaluation.compare"]
    monkeypatch.setattr(compare, "find_spec", lambda name: None)
    found = json.loads(command("compare", *coloured(), "--json", "-q").stdout)
    assert found["ssim"] is None
    assert found["ciede2000"] is None
    assert found["angular"] > 0
    assert any("nirgeo[evaluate]" in note for note in found["notes"])


# --- prepare --------------------------------------------------------------------------------------


@pytest.fixture
def raw(tmp_path: Path) -> Path:
    """Scenes of four neighbourhoods; one whose NIR is shifted, one cloudy, one half empty."""
    folder = tmp_path / "raw"
    for k, east in enumerate([0, 8, 100, 200, 300, 400, 500]):
        values = ground(140, 200, seed=60 + k)
        if k == 4:
            values[3] = np.roll(values[3], 3, axis=1)
        if k == 5:
            values[:3, :, :128] = np.random.default_rng(1).uniform(0.5, 0.55, (3, 140, 128))
        if k == 6:
            values[:, :, 40:] = 0
        name = f"S2A_MSIL2A_2020061{k}T101031_x.tif"
        write_scene(folder / f"sub{k % 2}" / name, values, transform=shifted_place(east))
    (folder / "notes.tif").write_text("not a raster")
    return folder


def test_prepare_checks_cuts_and_splits(raw: Path, tmp_path: Path) -> None:
    options = ("--tile", 128, "--validation", 0.3, "--source", "made up", "--licence", "CC0")
    first, second = tmp_path / "set", tmp_path / "again"
    result = command("prepare", raw, first, *options)
    assert "3.0 px apart" in result.stderr
    assert "notes.tif" in result.stderr
    command("prepare", raw, second, *options, "-q")
    names = sorted(p.relative_to(first).as_posix() for p in first.rglob("*.*"))
    assert names == sorted(p.relative_to(second).as_posix() for p in second.rglob("*.*"))
    for name in names:
        assert (first / name).read_bytes() == (second / name).read_bytes(), name
    assert not list(tmp_path.glob("*.part"))

    with open(first / "index.csv", newline="") as lines:
        rows = list(csv.DictReader(lines))
    assert list(rows[0]) == [
        *("file", "group", "height", "width", "valid_fraction", "lon", "lat", "date"),
        *("source", "level", "licence"),
    ]
    assert {row["level"] for row in rows} == {"boa"}
    assert {row["licence"] for row in rows} == {"CC0"}
    assert {row["date"] for row in rows} == {f"2020-06-{10 + k}" for k in (0, 1, 2, 3, 5)}
    sides: dict[str, set[str]] = {}
    for row in rows:
        sides.setdefault(row["group"], set()).add(row["file"].split("/")[0])
        assert 8.9 < float(row["lon"]) < 16
    assert all(len(side) == 1 for side in sides.values())
    assert {"train"} in sides.values()
    assert {"val"} in sides.values()
    # Eight kilometres apart: one place, in whichever folder its two scenes lay.
    by_date = {row["date"]: row["group"] for row in rows}
    assert by_date["2020-06-10"] == by_date["2020-06-11"]
    assert len(sides) == 4

    report = json.loads((first / "report.json").read_text())
    assert report["tiles"] == len(rows)
    assert set(report["rejected"]) == {
        "notes.tif",
        "sub0/S2A_MSIL2A_20200614T101031_x.tif",
        "sub0/S2A_MSIL2A_20200616T101031_x.tif",
    }
    cloudy = next(s for s in report["scenes"] if "20200615" in s["file"])
    assert (cloudy["tiles"], cloudy["tiles_cloud_like"]) == (1, 1)
    assert str(tmp_path) not in (first / "report.json").read_text()

    # What training reads is what was measured.
    entries = list_scenes([first / "train"], first / "index.csv", ["boa"])
    scene = load_scene(entries[0], ("nir",), Quantity.REFLECTANCE)
    assert scene.shape[0] == 128
    assert scene.place in sides
    original = list_scenes([raw / "sub0"])[0]
    reread = load_scene(original, ("nir",), Quantity.REFLECTANCE)
    tile = next(
        e for e in list_scenes([first]) if "20200610" in e.path.stem and "r0_c0" in e.path.stem
    )
    cut = load_scene(tile, ("nir",), Quantity.REFLECTANCE)
    np.testing.assert_allclose(cut.inputs, reread.inputs[:, :128, :128], atol=1e-6)
    with rasterio.open(tile.path) as opened, rasterio.open(original.path) as source:
        assert opened.transform == source.transform
        assert opened.crs == source.crs


def test_prepare_takes_facts_from_a_table_and_bands_by_number(tmp_path: Path) -> None:
    for name in ("a", "b"):
        values = np.rint(ground(70, 70, seed=ord(name)) * 255).astype(np.uint8)
        path = tmp_path / "in" / f"{name}.tif"
        write_raster(path, values[[3, 0, 1, 2]], crs=None, transform=None)
    table = tmp_path / "facts.csv"
    table.write_text("file,group,date,licence\na.tif,farm,1999-07-01,CC BY\nb.tif,wood,,\n")
    refused = command("prepare", tmp_path / "in", tmp_path / "out", "-q", expect=1)
    assert "--bands R,G,B,N" in refused.stderr
    command(
        *("prepare", tmp_path / "in", tmp_path / "out", "--bands", "2,3,4,1", "-q"),
        *("--index", table, "--licence", "unknown"),
    )
    with open(tmp_path / "out" / "index.csv", newline="") as lines:
        rows = {row["group"]: row for row in csv.DictReader(lines)}
    assert (rows["farm"]["date"], rows["farm"]["licence"]) == ("1999-07-01", "CC BY")
    assert (rows["wood"]["date"], rows["wood"]["licence"]) == ("", "unknown")
    assert rows["farm"]["level"] == "display"
    assert rows["farm"]["lon"] == ""
    assert {row["file"].split("/")[0] for row in rows.values()} == {"train", "val"}
    tile = tmp_path / "out" / rows["farm"]["file"]
    with rasterio.open(tile) as opened:
        assert opened.descriptions == ("red", "green", "blue", "nir")
        assert opened.dtypes[0] == "uint8"


def test_prepare_into_the_folder_one_is_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, east in (("a", 0), ("b", 100)):
        values = ground(70, 70, seed=east)
        write_scene(tmp_path / "in" / f"{name}.tif", values, transform=shifted_place(east))
    (tmp_path / "in" / "東京.tif").write_bytes((tmp_path / "in" / "b.tif").read_bytes())
    table = tmp_path / "facts.csv"
    table.write_text("file,group\na.tif,farm\nb.tif,wood\n", encoding="utf-8-sig")
    made = tmp_path / "made"
    made.mkdir()
    monkeypatch.chdir(made)
    told = command("prepare", "../in", ".", "--index", table).stderr
    assert "Warning: 1 of 3 scenes have no line in --index: 東京.tif" in told
    # The folder that a shell is in is still the one that has this name.
    assert sorted(p.name for p in Path().iterdir()) == ["index.csv", "report.json", "train", "val"]
    assert sorted(p.name for p in made.iterdir()) == sorted(p.name for p in Path().iterdir())
    assert {e.place for e in list_scenes([made], made / "index.csv")} == {"farm", "wood"}
    assert not list(tmp_path.glob("*.part"))
    table.write_text("file,group\nc.tif,farm\n")
    refused = command("prepare", "../in", "../more", "--index", table, "-q", expect=1)
    assert "none of 3 scenes: it names c.tif, and there are a.tif, b.tif" in refused.stderr


def test_what_prepare_refuses(raw: Path, tmp_path: Path) -> None:
    full = tmp_path / "full"
    full.mkdir()
    (full / "mine.txt").write_text("mine")
    for arguments, said in [
        ((tmp_path / "none", tmp_path / "out"), "not a folder"),
        ((full, tmp_path / "out"), "no scene in"),
        ((raw, full), "not empty"),
        ((raw, raw / "out"), "lies inside"),
        ((raw, tmp_path / "no" / "out"), "make it first"),
        ((raw, tmp_path / "out", "--tile", 100), "--tile 100"),
        ((raw, tmp_path / "out", "--bands", "1,2"), "need four"),
        ((raw, tmp_path / "out", "--min-valid", 1, "--max-cloud", 0, "--max-shift", 0.0001), ""),
    ]:
        result = command("prepare", *arguments, "-q", expect=1)
        assert said in result.stderr
        assert result.stderr.count("\n") == 1
    assert not (tmp_path / "out").exists()
    assert (full / "mine.txt").read_text() == "mine"
    assert not list(tmp_path.glob("*.part"))


def test_models_are_scored_with_a_reference_and_beside_it_alone(
    folders: Path, tmp_path: Path
) -> None:
    model = random_model(tmp_path)
    figures = tmp_path / "figures.json"
    arguments = ["evaluate", model.path, "--data", folders / "data", "--json", figures, "-q"]
    said = command(*arguments, "--reference", 8, "--reference", 16).stdout
    assert "reference 8 px alone" in said
    assert "oracle" not in said
    (task,) = json.loads(figures.read_text())["tasks"]
    angles = {p["label"]: p["mean_over_places"]["angular"]["value"] for p in task["models"]}
    name = model.spec.full_name
    assert list(angles) == [
        name,
        f"{name} + reference 8 px",
        "reference 8 px",
        f"{name} + reference 16 px",
        "reference 16 px",
    ]
    # Random weights know nothing; the reference knows nearly everything, less where it is coarse.
    # What is left is mostly their own detail.
    assert angles[f"{name} + reference 8 px"] < 0.6 * angles[name]
    assert angles["reference 8 px"] < angles["reference 16 px"]
    assert command(*arguments, "--reference", 65, "--overwrite", expect=None).exit_code != 0


def test_a_reference_with_gaps_is_scored_on_every_pixel(tmp_path: Path) -> None:
    # Where it knows nothing it would have no angle, and its gaps would be no fault of it.
    for name in ("a", "b"):
        write_scene(tmp_path / "data" / f"{name}.tif", ground(72, 68))
    with rasterio.open(tmp_path / "data" / "b.tif", "r+") as file:
        values = file.read()
        values[:, :, 24:] = 0
        file.write(values)
    (tmp_path / "half.csv").write_text("file,reference\na.tif,b.tif\n")
    (tmp_path / "full.csv").write_text("file,reference\na.tif,a.tif\n")
    model, figures = random_model(tmp_path), tmp_path / "figures.json"
    command(
        *("evaluate", model.path, "--data", tmp_path / "data", "--json", figures, "-q"),
        *("--reference", tmp_path / "half.csv"),
    )
    (task,) = json.loads(figures.read_text())["tasks"]
    found = {p["label"]: p["per_scene"][0] for p in task["models"]}
    command(
        *("evaluate", model.path, "--data", tmp_path / "data", "--json", figures, "-q"),
        *("--reference", tmp_path / "full.csv", "--overwrite"),
    )
    (task,) = json.loads(figures.read_text())["tasks"]
    found |= {p["label"]: p["per_scene"][0] for p in task["models"]}
    assert found["half"]["undefined_prediction"] == 0
    assert found["half"]["angular"] > 1.5 * found["full"]["angular"]


def test_hints_are_for_networks_that_take_one(folders: Path, tmp_path: Path) -> None:
    asked = ("--data", folders / "data", "--hint-error", 0.15)
    refused = command("evaluate", "baseline/grey", *asked, expect=1)
    assert "none of the models takes a hint" in refused.stderr
    assert "Traceback" not in refused.stderr


def test_a_reference_that_is_a_digit_and_no_number(folders: Path, tmp_path: Path) -> None:
    asked = ("--data", folders / "data", "--reference", "²")
    refused = command("evaluate", random_model(tmp_path).path, *asked, expect=None)
    assert refused.exit_code in (1, 2)
    assert "can't be read" in refused.stderr or "no such file" in refused.stderr.lower()


def test_models_are_scored_with_the_references_of_a_table(tmp_path: Path) -> None:
    model = random_model(tmp_path)
    names = ["a.tif", "b.tif", "c.tif"]
    for k, name in enumerate(names):
        write_scene(tmp_path / "data" / name, ground(72, 68, seed=k))
    own, other = tmp_path / "own.csv", tmp_path / "other.csv"
    lines = [f"{name},{name}" for name in names[:2]]
    own.write_text("\n".join(["file,reference", *lines, "elsewhere.tif,nowhere.tif"]))
    other.write_text(f"file,reference\n{names[0]},{names[1]}\n")
    figures = tmp_path / "figures.json"
    arguments = ["evaluate", model.path, "--data", tmp_path / "data", "--json", figures, "-q"]
    angles = {}
    for table in (own, other):
        command(*arguments, "--reference", table, "--overwrite")
        (task,) = json.loads(figures.read_text())["tasks"]
        assert task["scenes"] == (2 if table == own else 1)
        for p in task["models"]:
            angles[p["label"]] = p["mean_over_places"]["angular"]["value"]
    name = model.spec.full_name
    assert set(angles) == {name, f"{name} + own", "own", f"{name} + other", "other"}
    # A scene's own colours know nearly everything, those of another place do not.
    assert angles[f"{name} + own"] < 0.6 * angles[name]
    assert angles["own"] < angles["other"]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("file,other\na.tif,b.tif\n", "has no column 'reference'"),
        ("file,reference\nelsewhere.tif,a.tif\n", "none of its scenes"),
        ("file,reference\nNAME,nowhere.tif\n", "no scene is called 'nowhere.tif'"),
        (b"\xff\xfe\x00", "can't be read"),
        (None, "can't be read"),
    ],
)
def test_a_table_of_references_that_can_not_be_used(
    folders: Path, tmp_path: Path, text: str | bytes | None, said: str
) -> None:
    table = tmp_path / "table.csv"
    name = sorted(path.name for path in (folders / "data").rglob("*.tif"))[0]
    if text is not None:
        table.write_bytes(text if isinstance(text, bytes) else text.replace("NAME", name).encode())
    model = random_model(tmp_path)
    result = command(
        "evaluate", model.path, "--data", folders / "data", "--reference", table, expect=1
    )
    assert said in result.stderr
    assert "Traceback" not in result.stderr


def test_a_reference_of_a_table_lies_on_the_grid_of_its_scene(tmp_path: Path) -> None:
    # The model with it is georeferenced, and what it is compared with is laid pixel on pixel.
    model = random_model(tmp_path)
    write_scene(tmp_path / "data" / "a.tif", ground(72, 68))
    write_scene(tmp_path / "data" / "b.tif", ground(72, 68), transform=shifted_place(0.24))
    table = tmp_path / "table.csv"
    table.write_text("file,reference\na.tif,b.tif\n")
    asked = ("evaluate", model.path, "--data", tmp_path / "data", "--reference", table)
    assert "b.tif does not lie on the grid of a.tif" in command(*asked, expect=1).stderr


def test_references_of_tables_are_looked_for_in_all_of_the_data(tmp_path: Path) -> None:
    model = random_model(tmp_path)
    for k, name in enumerate(("a.tif", "b.tif", "c.tif")):
        write_scene(tmp_path / "data" / name, ground(72, 68, seed=k))
    first, second = tmp_path / "first.csv", tmp_path / "second.csv"
    # As a spreadsheet saves it: with a byte order mark.
    first.write_text("file,reference\na.tif,c.tif\n", encoding="utf-8-sig")
    second.write_text("file,reference\na.tif,b.tif\n")
    done = command(
        *("evaluate", model.path, "--data", tmp_path / "data", "--limit", 1),
        *("--reference", first, "--reference", second),
    )
    assert "+ first" in done.stdout
    assert "+ second" in done.stdout


def test_scenes_that_can_not_be_scored_cost_no_report(
    run_with_errors: Path, tmp_path: Path
) -> None:
    """One without a valid pixel; and, by themselves, some whose truth is black, so has no angle."""
    nothing = np.zeros((4, 70, 66))
    black = ground()
    black[:3] = 0
    write_scene(tmp_path / "some" / "good.tif")
    write_scene(tmp_path / "some" / "empty.tif", nothing)
    write_raster(
        tmp_path / "black" / "black.tif",
        np.rint(black * 10_000).astype(np.uint16),
        descriptions=("red", "green", "blue", "nir"),
        tags={"REFLECTANCE_SCALE": "0.0001"},
    )
    for data in ("some", "black"):
        sheet, figures, page = (tmp_path / f"{data}{end}" for end in (".jpg", ".json", ".html"))
        done = command(
            *("evaluate", run_with_errors, "--data", tmp_path / data, "--contact-sheet", sheet),
            *("--json", figures, "--html", page),
        )
        assert sheet.read_bytes()[:2] == b"\xff\xd8"
        assert page.read_text(encoding="utf-8").startswith("<!")
        (task,) = json.loads(figures.read_text())["tasks"]
        (scored,) = task["models"]
        assert (scored["mean_over_places"]["angular"]["value"] is None) == (data == "black")
        assert (scored["expectation"] is None) == (data == "black")
        assert scored["label"] in done.stdout


@pytest.fixture(scope="module")
def run_with_errors(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model that tells what error it expects; what it printed on the way was its path alone."""
    root = tmp_path_factory.mktemp("errors")
    for side in ("train", "val"):
        for k in range(2):
            write_scene(
                root / side / f"{side}{k}.tif", ground(80, 72, seed=k + 7 * (side == "val"))
            )
    sizes = ("width=8", "depth=1", "steps=4", "batch=2", "validate_every=2")
    asked = ("train", root / "train", "--validation", root / "val", "--out", root / "run")
    done = command(*asked, *(part for size in sizes for part in ("--set", size)))
    best = root / "run" / "best.safetensors"
    assert done.stdout == f"{best}\n"
    out = root / "doubtful.safetensors"
    done = command(
        *("calibrate", best, root / "train", "--validation", root / "val", "-o", out),
        *("--steps", 5),
    )
    assert "learning errors" not in done.stdout
    assert "reading" not in done.stdout
    return out
