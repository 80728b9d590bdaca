"""The command line as people and front ends use it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from helpers import write_raster
from pictures import command, events, read, scene_values

from nirgeo.modelfile import Model


@pytest.fixture
def scene(tmp_path: Path) -> Path:
    return write_raster(tmp_path / "scene.tif", scene_values(90, 110))


def test_the_result_lies_beside_the_scene(scene: Path, tiny: Model) -> None:
    result = command("colorize", scene, "--model", tiny.path, "--scale", "0.0001")
    target = scene.with_name("scene_rgb.tif")
    assert result.stdout.strip() == str(target)
    assert read(target)[0].shape == (3, 90, 110)
    assert "near infrared: band 1" in result.stderr
    assert "colour hint: none" in result.stderr


def test_several_scenes_into_a_folder(tmp_path: Path, scene: Path, tiny: Model) -> None:
    other = write_raster(tmp_path / "other.tif", scene_values(50, 40))
    out = tmp_path / "new" / "rgb"
    given = ["--out-dir", out, "--model", tiny.path, "--scale", "0.0001", "--progress", "jsonl"]
    result = command("colorize", scene, other, *given)
    assert sorted(p.name for p in out.iterdir()) == ["other_rgb.tif", "scene_rgb.tif"]
    found = events(result.stdout)
    assert [e["event"] for e in found if e["event"] in ("start", "result")] == [
        "start",
        "result",
        "start",
        "result",
    ]
    assert found[0] == {"event": "start", "protocol": 1, "total": 1, "resumed": 0}


def test_a_read_only_folder_sends_the_result_to_the_current_one(
    scene: Path, tiny: Model, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    here = tmp_path / "here"
    here.mkdir()
    monkeypatch.chdir(here)
    real = os.access
    # Tests may run as root, whom no permission stops.
    monkeypatch.setattr(
        os, "access", lambda p, mode, **k: str(p) != str(scene.parent) and real(p, mode, **k)
    )
    result = command("colorize", scene, "--model", tiny.path, "--scale", "0.0001")
    assert "read-only" in result.stderr
    assert [p.name for p in here.iterdir()] == ["scene_rgb.tif"]


def test_stacked_bands(tmp_path: Path, scene: Path, tiny: Model) -> None:
    red = write_raster(tmp_path / "red.tif", scene_values(90, 110, seed=3))
    given = ["--model", tiny.path, "--scale", "0.0001", "-o"]
    command("colorize", scene, *given, tmp_path / "a.tif")
    stack = ["--stack", f"nir={scene}", "--stack", f"red={red}"]
    command("colorize", *stack, *given, tmp_path / "b.tif")
    np.testing.assert_array_equal(read(tmp_path / "a.tif")[0], read(tmp_path / "b.tif")[0])


def test_the_scaling_of_an_earlier_output(tmp_path: Path, scene: Path, tiny: Model) -> None:
    given = ["--model", tiny.path, "-o"]
    command("colorize", scene, "--scale", "0.0002,-0.01", *given, tmp_path / "a.tif")
    command("colorize", scene, "--scale", tmp_path / "a.tif", *given, tmp_path / "b.tif")
    np.testing.assert_array_equal(read(tmp_path / "a.tif")[0], read(tmp_path / "b.tif")[0])


def test_brightness_changes_the_picture(tmp_path: Path, scene: Path, tiny: Model) -> None:
    given = ["--model", tiny.path, "--scale", "0.0001", "-o"]
    command("colorize", scene, *given, tmp_path / "a.tif")
    command("colorize", scene, "--brightness", "2", *given, tmp_path / "b.tif")
    assert read(tmp_path / "b.tif")[0].mean() > read(tmp_path / "a.tif")[0].mean() + 5


def test_rio_colorize(tmp_path: Path, scene: Path, tiny: Model) -> None:
    target = tmp_path / "rio.tif"
    rio = Path(sys.executable).with_name("rio")
    args = ["colorize", scene, "-o", target, "--model", tiny.path, "--scale", "0.0001", "-q"]
    subprocess.run([rio, *map(str, args)], check=True)
    command("colorize", scene, *args[4:], "-o", tmp_path / "nirgeo.tif")
    assert target.read_bytes() == (tmp_path / "nirgeo.tif").read_bytes()


def test_info_about_a_scene(scene: Path) -> None:
    found = json.loads(command("info", scene, "--json").stdout)
    assert found["size"] == "110 × 90 px"
    assert found["roles"] == ["nir=1"]
    assert found["crs"] == "EPSG:32632"
    assert found["model"] == "satellite-nir@1"
    assert "scaling" in command("info", scene).stdout


@pytest.mark.parametrize("args", [["info", "--json"], ["models", "--json"], ["--help"]])
def test_what_front_ends_ask_first_does_not_import_torch(args: list[str]) -> None:
    code = (
        "import sys\nfrom nirgeo.cli.main import main\n"
        f"try:\n    main({args!r})\nexcept SystemExit as end:\n    assert not end.code\n"
        "assert 'torch' not in sys.modules, 'torch'\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    if "--json" in args:
        found = json.loads(done.stdout)
        if args[0] == "info":
            assert found["protocol"] == 1
        else:
            assert {m["name"] for m in found} >= {"aerial-nir", "satellite-nir"}


def test_python_dash_m() -> None:
    done = subprocess.run(
        [sys.executable, "-I", "-m", "nirgeo", "--version"], capture_output=True, text=True
    )
    assert done.returncode == 0
    assert done.stdout.startswith("nirgeo, version ")


@pytest.mark.parametrize(
    "args", [[], ["a.tif", "b.tif", "-o", "c.tif"], ["a.tif", "-o", "b", "--out-dir", "c"]]
)
def test_wrong_usage(args: list[str]) -> None:
    assert "Usage:" in command("colorize", *args, expect=2).stderr
