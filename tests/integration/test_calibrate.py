"""``nirgeo calibrate``: from a trained model to one that tells what error to expect."""

from __future__ import annotations

import json
import os
from importlib.resources import files
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from evaluation_scenes import ground, write_index, write_scene
from pictures import command, read
from safetensors.numpy import load_file

import nirgeo
from nirgeo.cli.main import main
from nirgeo.cli.train import read_sides
from nirgeo.errors import TrainingError
from nirgeo.modelfile import Model, read_model
from nirgeo.networks import load_generator
from nirgeo.radiometry import Quantity
from nirgeo.registry import shipped_baselines
from nirgeo.training.config import TrainingConfig


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Scenes to learn from (``train``) and of other places (``val``), an index, and a training."""
    root = tmp_path_factory.mktemp("calibrate")
    places = {}
    for side, count in (("train", 3), ("val", 3)):
        for k in range(count):
            name = f"{side}/{side}{k}.tif"
            write_scene(root / name, ground(80, 72, seed=10 * count + k + (side == "val") * 50))
            places[name] = f"{side}{k}"
    write_index(root / "index.csv", places)
    sizes = ("width=8", "depth=1", "steps=4", "batch=2", "validate_every=2")
    command(
        *("train", root / "train", "--validation", root / "val", "--out", root / "run", "-q"),
        *(part for size in sizes for part in ("--set", size)),
    )
    return root


def calibrated(run: Path, out: Path, *options: object) -> str:
    return command(
        *("calibrate", run / "run" / "best.safetensors", run / "train", "--validation"),
        *(run / "val", "--index", run / "index.csv", "-o", out, "--steps", 5, *options),
    ).stdout


def test_colours_stay_and_a_fourth_band_can_be_had(run: Path, tmp_path: Path) -> None:
    out = tmp_path / "doubtful.safetensors"
    said = calibrated(run, out)
    assert "3 places left out one by one" in said
    spec = read_model(out).spec
    assert spec.uncertainty is not None
    assert (spec.uncertainty["places"], spec.uncertainty["level"]) == (3, 0.9)
    nir = spec.domain["nir"]
    assert nir.low < nir.median_low <= nir.median_high < nir.high < 0.96
    scene = run / "val" / "val0.tif"
    for name, model, options in (
        ("plain.tif", run / "run" / "best.safetensors", []),
        ("doubts.tif", out, ["--uncertainty"]),
    ):
        command("colorize", scene, "--model", model, "-o", tmp_path / name, *options)
    plain, doubts = read(tmp_path / "plain.tif")[0], read(tmp_path / "doubts.tif")[0]
    np.testing.assert_array_equal(doubts[:3], plain)
    assert doubts[3].max() > 0


def test_equal_work_makes_equal_bytes(run: Path, tmp_path: Path) -> None:
    one, two = tmp_path / "one.safetensors", tmp_path / "two.safetensors"
    calibrated(run, one)
    calibrated(run, two)
    assert one.read_bytes() == two.read_bytes()


def test_an_evaluation_tells_how_far_expectations_hold(run: Path, tmp_path: Path) -> None:
    out = tmp_path / "doubtful.safetensors"
    calibrated(run, out)
    report, sheet = tmp_path / "report.json", tmp_path / "sheet.jpg"
    text = command(
        *("evaluate", out, "--data", run / "val", "--index", run / "index.csv", "-q"),
        *("--json", report, "--html", tmp_path / "report.html", "--contact-sheet", sheet),
    ).stdout
    assert "expected errors, over places" in text
    (model,) = json.loads(report.read_text())["tasks"][0]["models"]
    found = model["expectation"]
    # Scale and interval were fitted to these very places, so they hold on average.
    assert found["expected"] == pytest.approx(found["actual"], rel=0.35)
    assert 0.6 < found["coverage"] <= 1
    assert {cover["name"] for cover in found["land_cover"]} >= {"water", "vegetation"}
    assert "Expected errors" in (tmp_path / "report.html").read_text()
    assert sheet.read_bytes()[:3] == b"\xff\xd8\xff"


def test_a_scene_beyond_the_training_is_warned_of(run: Path, tmp_path: Path) -> None:
    out = tmp_path / "doubtful.safetensors"
    calibrated(run, out)
    snow = write_scene(tmp_path / "snow.tif", np.full((4, 64, 64), 1.2))
    result = command("colorize", snow, "--model", out, "-o", tmp_path / "rgb.tif", "--nir", 4)
    assert "100% of the near infrared lies outside the reflectance" in result.stderr
    usual = command(
        "colorize", run / "train" / "train0.tif", "--model", out, "-o", tmp_path / "usual.tif"
    )
    assert "lies outside the reflectance" not in usual.stderr


def test_a_place_that_can_not_be_written_to_is_refused_before_the_work(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "access", lambda path, mode: mode != os.W_OK)  # root may do anything
    for arguments in (
        ("calibrate", "nowhere.safetensors", "nowhere", "--validation", "nowhere"),
        ("evaluate", "satellite-nir", "--data", "nowhere", "--json"),
    ):
        out = ("-o", tmp_path / "out") if arguments[0] == "calibrate" else (tmp_path / "out",)
        said = CliRunner().invoke(main, [str(a) for a in (*arguments, *out)])
        assert said.exit_code == 1
        assert f"{tmp_path} can't be written to" in said.stderr


@pytest.mark.parametrize("model", ["baseline/grey-reflectance", "baseline/grey"])
def test_what_was_not_trained_here_can_not_be_calibrated(
    run: Path, tmp_path: Path, model: str
) -> None:
    result = command(
        *("calibrate", model, run / "train", "--validation", run / "val"),
        *("-o", tmp_path / "out.safetensors"),
        expect=None,
    )
    assert result.exit_code != 0
    assert not (tmp_path / "out.safetensors").exists()


def test_places_that_were_learnt_from_do_not_judge(run: Path, tmp_path: Path) -> None:
    arguments = ("calibrate", run / "run" / "best.safetensors", run / "train", "--validation")
    out = tmp_path / "doubtful.safetensors"
    done = command(*arguments, run / "train", "-o", out, "--steps", 3, expect=1)
    assert "share places" in done.stderr
    assert command(*arguments, run / "val", "-o", out, "--steps", 0, expect=2).stderr
    assert list(tmp_path.iterdir()) == []


def test_places_that_a_model_remembers_are_told_of(run: Path, tmp_path: Path) -> None:
    index = ("--index", run / "index.csv")
    sizes = ("width=8", "depth=1", "steps=1", "batch=2")
    shape = [part for size in sizes for part in ("--set", size)]
    train, val = (run / "train", "--validation", run / "val"), (run / "val", "--validation")
    one, two = tmp_path / "one" / "best.safetensors", tmp_path / "two" / "best.safetensors"
    command("train", *train, "--out", one.parent, *index, *shape, "-q")
    done = command(
        *("calibrate", one, *val, run / "train", *index, "--steps", 1),
        *("-o", tmp_path / "doubtful.safetensors"),
    )
    remembered = "satellite-nir@1 has learnt from 3 of these 3 places, so "
    assert f"{remembered}the errors that it will expect elsewhere are too small" in done.stderr
    # Nor does a second training make forget what the first one saw.
    done = command(
        *("train", *val, run / "train", "--out", two.parent, *index, *shape, "--init", one)
    )
    assert f"{remembered}what is measured there is in part memory" in done.stderr
    assert len(read_model(two).spec.training["places"]) == 6


def test_an_existing_file_is_kept(run: Path, tmp_path: Path) -> None:
    out = tmp_path / "out.safetensors"
    out.write_text("mine")
    result = command(
        *("calibrate", run / "run" / "best.safetensors", run / "train"),
        *("--validation", run / "val", "-o", out),
        expect=None,
    )
    assert result.exit_code != 0
    assert "--overwrite" in result.stderr
    assert out.read_text() == "mine"


class TestWithout:
    def test_nothing_is_learnt_from_a_place_left_out(self, run: Path, tmp_path: Path) -> None:
        kept, without = tmp_path / "kept", tmp_path / "without"
        for name in ("train0", "train1"):
            (kept / "train").mkdir(parents=True, exist_ok=True)
            (kept / "train" / f"{name}.tif").write_bytes(
                (run / "train" / f"{name}.tif").read_bytes()
            )
        sizes = ("width=8", "depth=1", "steps=2", "batch=2", "validate_every=2")
        options = [part for size in sizes for part in ("--set", size)]
        sides = ("--validation", run / "val", "-q", *options)
        places = {(kept / f"train/train{k}.tif").as_posix(): f"train{k}" for k in range(2)}
        places |= {(run / f"val/val{k}.tif").as_posix(): f"val{k}" for k in range(3)}
        index = write_index(kept / "index.csv", places)
        command("train", kept / "train", *sides, "--index", index, "--out", kept / "run")
        command(
            *("train", run / "train", *sides, "--out", without, "--without", "train2"),
            *("--index", run / "index.csv"),
        )
        one, two = kept / "run" / "best.safetensors", without / "best.safetensors"
        assert one.read_bytes() == two.read_bytes()
        assert len(read_model(one).spec.training["places"]) == 2

    def test_a_place_that_is_not_there(self, run: Path, tmp_path: Path) -> None:
        result = command(
            *("train", run / "train", "--validation", run / "val", "--out", tmp_path / "run"),
            *("--without", "atlantis", "-q"),
            expect=None,
        )
        assert result.exit_code != 0
        assert "--without atlantis: no scene to learn from is of that place" in result.stderr
        assert not (tmp_path / "run").exists()


class TestGoingOn:
    def arguments(self, run: Path, out: Path, *more: str) -> list[object]:
        sides = ["train", run / "train", "--validation", run / "val", "--out", out, "-q"]
        return [*sides, "--preset", "satellite-nir-pupil", "--set", "steps=1", *more]

    def test_a_shipped_model_is_where_a_training_starts(self, run: Path, tmp_path: Path) -> None:
        command(*self.arguments(run, tmp_path / "out", "--init", "satellite-nir"))
        command(*self.arguments(run, tmp_path / "fresh"))
        shipped = nirgeo.load_model("satellite-nir")
        assert isinstance(shipped, Model)
        assert shipped.spec.licence == "MIT"
        assert shipped.spec.attribution
        for name, owed in (("out", shipped.spec.attribution), ("fresh", "")):
            spec = read_model(tmp_path / name / "best.safetensors").spec
            assert (spec.licence, spec.attribution) == ("", owed)  # not nirgeo's to give
        before = load_generator(shipped).state_dict()["stem.weight"].numpy()
        # What was trained, not the best: scenes unlike the shipped model's suit a table better.
        out, fresh = (
            load_file(tmp_path / name / "checkpoint.safetensors")["network/stem.weight"]
            for name in ("out", "fresh")
        )
        assert np.abs(out - before).max() < 0.01 < np.abs(fresh - before).max()

    def test_of_another_shape_it_is_refused_before_the_scenes_are_read(
        self, run: Path, tmp_path: Path
    ) -> None:
        done = command(
            *("train", "nowhere", "--validation", "nowhere", "--out", tmp_path / "out"),
            *("--init", "satellite-nir"),  # with the preset of its name, as one tries first
            expect=1,
        )
        assert "or --set width=32 --set depth=4" in done.stderr
        assert not (tmp_path / "out").exists()

    def test_it_is_meant_for_pixels_like_those_it_learnt_from(
        self, run: Path, tmp_path: Path
    ) -> None:
        command(*self.arguments(run, tmp_path / "fresh", "--set", "zoom=0"))
        command(*self.arguments(run, tmp_path / "zoomed", "--set", "zoom=1"))
        command(
            *self.arguments(run, tmp_path / "out", "--init", "satellite-nir", "--set", "zoom=0")
        )
        (low, high), (lowest, highest), out = (
            read_model(tmp_path / name / "best.safetensors").spec.gsd
            for name in ("fresh", "zoomed", "out")
        )
        assert (low, high) == (pytest.approx(8.0), pytest.approx(12.5))  # of 10 m
        assert (lowest, highest) == (pytest.approx(10 / np.e), pytest.approx(10 * np.e))
        assert out == nirgeo.load_model("satellite-nir").spec.gsd

    def test_its_maker_says_under_which_licence_a_model_is(self, run: Path, tmp_path: Path) -> None:
        told = ("--licence", "CC0-1.0", "--attribution", "the flying club")
        for name, more in (("fresh", ()), ("out", ("--init", "satellite-nir"))):
            command(*self.arguments(run, tmp_path / name, *told, *more))
        fresh, out = (
            read_model(tmp_path / name / "best.safetensors").spec for name in ("fresh", "out")
        )
        assert fresh.licence == out.licence == "CC0-1.0"
        assert fresh.attribution == "the flying club"
        shipped = nirgeo.load_model("satellite-nir").spec
        assert out.attribution == f"{shipped.attribution}; the flying club"
        again = ("--init", str(tmp_path / "out" / "best.safetensors"))
        command(*self.arguments(run, tmp_path / "more", *told, *again))
        more = read_model(tmp_path / "more" / "best.safetensors").spec
        assert more.attribution == out.attribution  # each once

    def test_what_is_unfinished_says_so(self, run: Path, tmp_path: Path) -> None:
        arguments = [a for a in self.arguments(run, tmp_path, "--set", "steps=2") if a != "-q"]
        said = command(*arguments, "--minutes", 0).stderr
        assert "saved at step 1 of 2; the same command goes on from there" in said
        assert "saved at step" not in command(*arguments).stderr

    def test_what_its_maker_says_later_holds_too(self, run: Path, tmp_path: Path) -> None:
        best = tmp_path / "best.safetensors"
        command(*self.arguments(run, tmp_path))
        weights, before = load_file(best), best.read_bytes()
        command(*self.arguments(run, tmp_path))
        assert best.read_bytes() == before
        command(*self.arguments(run, tmp_path, "--licence", "CC0-1.0", "--name", "mine"))
        spec = read_model(best).spec
        assert (spec.licence, spec.name) == ("CC0-1.0", "mine")
        for name, value in load_file(best).items():
            np.testing.assert_array_equal(value, weights[name])

    def test_a_baseline_is_not(self, run: Path, tmp_path: Path) -> None:
        baseline = files("nirgeo") / "weights" / shipped_baselines()[0].file
        result = command(
            *self.arguments(run, tmp_path / "out", "--init", str(baseline)),
            expect=None,
        )
        assert result.exit_code != 0
        assert "is no network" in result.stderr


def test_scenes_that_an_index_does_not_list_are_told_of(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    lines = {(run / name).as_posix(): "lake" for name in ("train/train0.tif", "val/val0.tif")}
    index = write_index(tmp_path / "index.csv", lines)
    sides = (([str(run / "train")], []), ([str(run / "val")], []))
    config = TrainingConfig(Quantity.REFLECTANCE)
    learnt, others = read_sides(config, *sides, str(index), [], quiet=False)
    assert [scene.place for scene in learnt] == ["lake", "train1", "train2"]
    assert [scene.place for scene in others] == ["lake", "val1", "val2"]
    assert f"Warning: 4 of 6 scenes have no line in {index}" in capsys.readouterr().err
    read_sides(config, *sides, str(index), [], quiet=True)
    assert "Warning" not in capsys.readouterr().err
    write_index(index, {(run / "train/train0.tif").as_posix(): "lake"})
    with pytest.raises(TrainingError, match="lists none of 3 scenes"):
        read_sides(config, *sides, str(index), [], quiet=True)


def test_places_beside_those_of_the_training_are_told_of(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    where = {"train/train0": (-116.6, 32.6), "val/val0": (-116.6, 32.7), "val/val1": (10.0, 45.0)}
    rows = [f"{run / name}.tif,{name[-6:]},boa,{lon},{lat}" for name, (lon, lat) in where.items()]
    index = tmp_path / "index.csv"
    index.write_text("\n".join(["file,group,level,lon,lat", *rows]))
    sides = (([str(run / "train")], []), ([str(run / "val")], []))
    config = TrainingConfig(Quantity.REFLECTANCE)
    read_sides(config, *sides, str(index), [], quiet=False)
    told = [line for line in capsys.readouterr().err.splitlines() if "within 20 km" in line]
    (line,) = told
    assert line.startswith("Warning: l/val0 of validation lies within 20 km of train0 of training")
    assert "val1" not in line
