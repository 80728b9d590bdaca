"""The command line as people and front ends use it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
from helpers import NORTH_UP_10M, write_raster
from pictures import command, events, listing, process, read, scene_values

import nirgeo
from nirgeo import errors, registry
from nirgeo.cli.colorize import colorize_command
from nirgeo.cli.named_option import named_option
from nirgeo.engine import colouriser_of, reach
from nirgeo.estimate import estimate
from nirgeo.modelfile import Model
from nirgeo.tiling import Window


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
    assert found["model"] == "satellite-nir@5"
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


def test_json_lines_and_nothing_else(tmp_path: Path, scene: Path, tiny: Model) -> None:
    # A process of its own, so that what libraries print is seen too; verbose, and with a warning.
    four = np.stack([scene_values(130, 150, "uint8", seed=k) for k in range(4)])
    colours = ("red", "green", "blue", "alpha")
    path = write_raster(tmp_path / "four.tif", four, colorinterp=colours, crs=None, transform=None)
    options = ("--model", tiny.path, "--scale", "0.005", "--chunk", 1, "--progress", "jsonl", "-v")
    code, out, err = process("colorize", path, "--overwrite", *options)
    assert code == 0, err
    log = events(out)
    assert [e["event"] for e in log] == ["warning", "start"] + ["progress"] * 9 + ["result"]
    assert "alpha" in log[0]["message"]
    assert log[1] == {"event": "start", "protocol": 1, "total": 9, "resumed": 0}
    assert [e["done"] for e in log[2:-1]] == list(range(1, 10))
    assert {e["total"] for e in log[2:-1]} == {9}
    target = tmp_path / "four_rgb.tif"
    with rasterio.open(target) as made:
        tags = made.tags(ns="NIRGEO")
    assert log[-1] == {"event": "result", "path": str(target), "tags": tags}
    assert tags["SYNTHETIC"] == "yes"
    assert "near infrared: band 4" in err  # for people, who read stderr


def test_how_much_is_said(scene: Path, tiny: Model) -> None:
    options = ("--model", tiny.path, "--scale", "0.0001", "--overwrite")
    target = f"{scene.with_name('scene_rgb.tif')}\n"
    talkative = command("colorize", scene, *options)
    assert (talkative.stdout, "colorizing" in talkative.stderr) == (target, True)
    for quiet in (("-q",), ("--progress", "none")):
        result = command("colorize", scene, *options, *quiet)
        assert (result.stdout, result.stderr) == ("", "")
    quiet_json = command("colorize", scene, *options, "-q", "--progress", "jsonl")
    assert quiet_json.stderr == ""
    assert events(quiet_json.stdout)[-1]["event"] == "result"


@pytest.mark.parametrize(
    ("crs", "options", "said"),
    [
        (None, (), "none (the scene has no place on the map, so the land's colour is a guess)"),
        ("EPSG:32632", (), "none (no land is known there, so the land's colour is a guess)"),
        (None, ("--no-prior",), "none"),
    ],
)
def test_why_there_is_no_colour_hint(
    tmp_path: Path, crs: str | None, options: tuple[str, ...], said: str
) -> None:
    at_sea = rasterio.Affine(10, 0, 0, 0, -10, 0) if crs else rasterio.Affine.identity()
    values = np.full((70, 80), 2500, dtype=np.uint16)
    scene = write_raster(
        tmp_path / "s.tif", values, crs=crs, transform=at_sea, descriptions=("nir",)
    )
    result = command("colorize", scene, *options)
    assert f"colour hint: {said}" in result.stderr.splitlines()


def test_warnings_say_what_may_be_wrong(scene: Path, tmp_path: Path, weights: Path) -> None:
    from pictures import painting_model

    narrow = painting_model(weights, name="narrow", gsd=(0.5, 1.0))
    result = command("colorize", scene, "--model", narrow.path, "--progress", "jsonl")
    warnings = [e for e in events(result.stdout) if e["event"] == "warning"]
    (far,) = (w for w in warnings if "10 m" in w["message"] and "0.5–1 m" in w["message"])
    assert "option" not in far
    (unsure,) = (w for w in warnings if "--scale GAIN" in w["message"])
    assert unsure["option"] == "--scale"


@pytest.mark.parametrize(
    ("arguments", "code", "option"),
    [
        (["--nir", 7], "band-not-found", "--nir"),
        (["--model", "no-such"], "model-unknown", "--model"),  # the words name no option
        (["--chunk", 0], "option", "--chunk"),
        (["-o", "/nowhere/a.tif"], "target-unwritable", "--output"),
        (["--co", "a=b"], "option", "--co"),
    ],
)
def test_errors_name_the_option_they_are_about(
    scene: Path, arguments: list[object], code: str, option: str
) -> None:
    result = command("colorize", scene, *arguments, "--progress", "jsonl", expect=1)
    (error,) = events(result.stdout)
    assert (error["code"], error["option"]) == (code, option)


@pytest.mark.parametrize(
    ("text", "option"),
    [
        ("choose another place with -o", "--output"),
        ("the `--overwrite` option; or --nir", "--overwrite"),
        ("use smaller chunks (--chunk)", "--chunk"),
        ("/data/x--nir.tif and a-o.tif, band -1, --nirvana, --epochs", None),
    ],
)
def test_the_first_option_that_a_text_names(text: str, option: str | None) -> None:
    assert named_option(text, colorize_command) == option


def test_every_code_is_documented() -> None:
    text = (Path(__file__).parents[2] / "docs" / "json-lines.md").read_text("utf-8")
    kinds = [kind for kind in vars(errors).values() if isinstance(kind, type)]
    codes = {kind.code for kind in kinds if issubclass(kind, errors.NirgeoError)} - {"error"}
    codes |= {"usage", "memory", "interrupted", "terminated", "internal"}
    assert [code for code in sorted(codes) if f"`{code}`" not in text] == []


def test_an_error_without_an_option_names_none(tmp_path: Path) -> None:
    result = command("colorize", tmp_path / "none.tif", "--progress", "jsonl", expect=1)
    (error,) = events(result.stdout)
    assert set(error) == {"event", "code", "message"}


@pytest.mark.parametrize(
    ("arguments", "option", "word"),
    [
        (["--progress", "jsonl", "--chunk", "x"], "--chunk", "'x' is not a valid integer"),
        (["--chunk", "x", "--progress=jsonl"], "--chunk", "'x' is not a valid integer"),
        (["a.tif", "--progress", "jsonl", "--frobnicate"], None, "--frobnicate"),
        (["--progress", "jsonl", "a.tif", "b.tif", "-o", "c.tif"], "--output", "--out-dir"),
        (["--progress", "jsonl"], "--stack", "Name a SCENE"),
    ],
)
def test_wrong_usage_is_an_event_too(arguments: list[str], option: str | None, word: str) -> None:
    result = command("colorize", *arguments, expect=2)
    (error,) = events(result.stdout)
    assert (error["event"], error["code"], error.get("option")) == ("error", "usage", option)
    assert word in error["message"]
    assert result.stderr.count("Error: ") == 1
    assert "Usage:" in result.stderr


@pytest.mark.parametrize(
    "arguments",
    [
        ["--chunk", "x"],
        ["--progress", "jsonl", "--progress", "none", "--chunk", "x"],
        ["--chunk", "x", "--", "--progress", "jsonl"],
        ["--chunk", "x", "--progress"],
    ],
)
def test_wrong_usage_is_no_event_where_nobody_asked(arguments: list[str]) -> None:
    assert command("colorize", *arguments, expect=2).stdout == ""


def test_bounds_reflectance_and_options_together(tmp_path: Path, scene: Path, tiny: Model) -> None:
    options = ("--model", tiny.path, "--scale", "0.0001", "--as", "reflectance")
    command("colorize", scene, *options, "-o", tmp_path / "whole.tif")
    west, north = NORTH_UP_10M @ (20, 30)
    east, south = NORTH_UP_10M @ (80, 70)
    box = ("--bounds", west, south, east, north, "--co", "compress=zstd", "--workers", 1)
    command("colorize", scene, *options, *box, "-o", tmp_path / "part.tif")
    with rasterio.open(tmp_path / "part.tif") as file:
        assert file.compression.value == "ZSTD"
        assert file.dtypes[0] == "float32"
        assert file.transform == NORTH_UP_10M @ rasterio.Affine.translation(20, 30)
    whole, part = read(tmp_path / "whole.tif")[0], read(tmp_path / "part.tif")[0]
    np.testing.assert_array_equal(part, whole[:, 30:70, 20:80])


def test_bands_by_number_and_name(tmp_path: Path, tiny: Model) -> None:
    bands = np.stack([scene_values(60, 70, seed=k) for k in range(3)])
    path = write_raster(tmp_path / "three.tif", bands, descriptions=("a", "b", "c"))
    options = ("--model", tiny.path, "--scale", "0.0001", "-o")
    for name, asked in (("number", 2), ("name", "b")):
        command("colorize", path, "--nir", asked, *options, tmp_path / f"{name}.tif")
    alone = write_raster(tmp_path / "alone.tif", bands[1])
    command("colorize", alone, *options, tmp_path / "alone_rgb.tif")
    wanted = read(tmp_path / "alone_rgb.tif")[0]
    for name in ("number", "name"):
        np.testing.assert_array_equal(read(tmp_path / f"{name}.tif")[0], wanted)


def test_default_names(tmp_path: Path, tiny: Model, monkeypatch: pytest.MonkeyPatch) -> None:
    here = tmp_path / "here"
    here.mkdir()
    monkeypatch.chdir(here)
    options = ("--model", tiny.path, "--scale", "0.0001")
    dotted = write_raster(tmp_path / "in" / "a.b.c.TIF", scene_values(40, 40))
    assert command("colorize", dotted, *options).stdout.strip().endswith("in/a.b.c_rgb.tif")
    # Of two separate bands the near infrared one gives the name.
    red = write_raster(tmp_path / "in" / "red.tif", scene_values(40, 40))
    nir = write_raster(tmp_path / "in" / "nir.tif", scene_values(40, 40, seed=1))
    stack = ("--stack", f"red={red}", "--stack", f"nir={nir}")
    assert command("colorize", *stack, *options).stdout.strip().endswith("in/nir_rgb.tif")
    assert list(listing(here)) == []
    # What lies in no folder one could write to ends up here, and a message says so.
    remote = "/vsimem/nirgeo-cli/remote.tif"
    with rasterio.open(dotted) as file:
        rasterio.shutil.copy(file, remote, driver="GTiff")
    result = command("colorize", remote, *options)
    assert result.stdout.strip() == "remote_rgb.tif"
    assert "remote_rgb.tif in the current folder" in result.stderr
    part = command("colorize", f"GTIFF_DIR:1:{dotted}", *options)
    assert part.stdout.strip() == "a.b.c_rgb.tif"
    assert "in the current folder" in part.stderr
    assert sorted(listing(here)) == ["a.b.c_rgb.tif", "remote_rgb.tif"]
    np.testing.assert_array_equal(
        read(here / "a.b.c_rgb.tif")[0], read(tmp_path / "in" / "a.b.c_rgb.tif")[0]
    )


def test_one_scene_of_several_fails(tmp_path: Path, scene: Path, tiny: Model) -> None:
    # What was finished before stays, and front ends have been told of it.
    out = tmp_path / "out"
    given = ("--out-dir", out, "--model", tiny.path, "--scale", "0.0001", "--progress", "jsonl")
    result = command("colorize", scene, tmp_path / "gone.tif", *given, expect=1)
    log = events(result.stdout)
    assert [e["event"] for e in log if e["event"] in ("result", "error")] == ["result", "error"]
    mark = ".scene_rgb.tif.nirgeo"  # for --resume
    assert list(listing(out)) == [mark, f"{mark}/published.json", "scene_rgb.tif"]


def test_info_as_text_and_json_say_the_same(tmp_path: Path, tiny: Model) -> None:
    values = np.stack([scene_values(700, 800, seed=k) for k in range(2)])
    path = write_raster(tmp_path / "two.tif", values, descriptions=("red", "nir"), tiled=True)
    before = listing(tmp_path)
    options = ("--model", tiny.path, "--scale", "0.0002,-0.01", "--chunk", 4)
    found = json.loads(command("info", path, *options, "--json").stdout)
    text = command("info", path, *options).stdout
    assert found["roles"] == ["red=1", "nir=2"]
    assert found["scaling"] == "reflectance = 0.0002 · DN − 0.01 (--scale)"
    assert found["chunks"] == "4 × 3 of 4 × 4 tiles"
    assert found["blocks"] == "256 × 256 px"
    assert found["model"] == tiny.spec.full_name
    assert found["halo"] == f"{reach(tiny)[0]} px"
    whole = Window(0, 0, 700, 800)
    cost = estimate(whole, (700, 800), 4, colouriser_of(tiny), None)
    megabytes = cost.memory_bytes / 1e6 / 1.048576
    assert found["memory"] == f"about {megabytes:.0f} MB with {cost.workers} workers"
    assert found["time"].endswith(" on this machine's processor")
    for key in ("size", "scaling", "chunks", "model", "crs", "pixel"):
        assert found[key] in text
    assert listing(tmp_path) == before
    part = json.loads(
        command(
            "info", path, *options, "--json", "--bounds", 500_000, 4_999_000, 501_000, 5_000_000
        ).stdout
    )
    assert part["size"] == "100 × 100 px"


def test_what_is_told_of_a_model_is_what_colours(
    scene: Path, tmp_path: Path, tiny: Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Read once to be refused before the work, once to be used; no third reading could differ."""
    read_paths = []
    read_model = registry.read_model

    def counted(path: str) -> Model:
        read_paths.append(path)
        return read_model(path)

    monkeypatch.setattr(registry, "read_model", counted)
    done = command("colorize", scene, "-o", tmp_path / "a.tif", "--model", tiny.path)
    assert f"model: {tiny.spec.full_name}" in done.stderr
    assert len(read_paths) == 2
    command("info", scene, "--model", tiny.path)
    assert len(read_paths) == 3


def test_a_single_band_labelled_red_is_coloured_with_a_warning(tmp_path: Path, tiny: Model) -> None:
    path = write_raster(tmp_path / "B04.tif", scene_values(70, 80)[None], descriptions=("red",))
    options = ("--model", tiny.path, "--scale", "0.0001")
    done = command("colorize", path, "-o", tmp_path / "a.tif", *options)
    (line,) = [x for x in done.stderr.splitlines() if "label" in x]
    assert line.startswith("Warning: the only band (1: red) is taken for near infrared")
    assert "--nir 1" in line
    found = json.loads(command("info", path, *options, "--json").stdout)
    assert line == f"Warning: {found['notes'][0]}"
    again = command("colorize", path, "-o", tmp_path / "b.tif", *options, "--progress", "jsonl")
    told = events(again.stdout)
    assert {"event": "warning", "message": found["notes"][0], "option": "--nir"} in told
    with pytest.warns(errors.BandWarning, match=r"1: red"):
        nirgeo.open_scene(path)
    # Asked for, it is nothing to speak of; and the pixels are the same.
    meant = command("colorize", path, "-o", tmp_path / "c.tif", "--nir", 1, *options)
    assert "label" not in meant.stderr
    np.testing.assert_array_equal(read(tmp_path / "c.tif")[0], read(tmp_path / "a.tif")[0])


def test_info_refuses_what_colorize_refuses(tmp_path: Path, tiny: Model) -> None:
    path = write_raster(tmp_path / "six.tif", np.ones((6, 40, 40), dtype=np.uint16))
    for arguments, word in (
        ((path,), "--nir"),
        ((path, "--nir", 9), "bands 1 to 6"),
        ((tmp_path / "gone.tif",), "no such file"),
        ((path, "--nir", 1, "--model", "none"), "'none'"),
        ((path, "--nir", 1, "--scale", "x"), "--scale"),
    ):
        result = command("info", *arguments, "--json", expect=1)
        assert result.stdout == ""
        (line,) = result.stderr.splitlines()
        assert word in line


def test_models_for_people() -> None:
    text = command("models").stdout
    listed = json.loads(command("models", "--json").stdout)
    assert len(listed) >= 2
    for model in listed:
        assert f"{model['name']}@{model['version']}" in text
        assert model["licence"] in text
        assert len(model["sha256"]) == 64
        assert model["quantity"] in ("reflectance", "counts")


def test_versions_for_people_and_front_ends() -> None:
    found = json.loads(command("info", "--json").stdout)
    import torch

    import nirgeo

    assert found["nirgeo"] == nirgeo.__version__
    assert found["torch"] == torch.__version__
    assert found["rasterio"] == rasterio.__version__
    assert f"protocol           {found['protocol']}" in command("info").stdout


def test_help_lists_every_option_of_the_contract() -> None:
    text = command("colorize", "--help").stdout
    options = (
        *("--output", "--out-dir", "--nir", "--red", "--green", "--stack"),
        *("--model", "--as", "--scale", "--nodata", "--bounds", "--no-prior"),
        *("--chunk", "--workers", "--device", "--co", "--overwrite", "--resume"),
        *("--progress", "--quiet", "--verbose"),
    )
    assert [o for o in options if o not in text] == []


def test_a_reader_that_goes_away(scene: Path, tiny: Model) -> None:
    # ``nirgeo colorize … | head -1``: no traceback, and nothing half-made.
    arguments = ["colorize", scene, "--model", tiny.path, "--scale", "0.0001", "--chunk", "1"]
    child = subprocess.Popen(
        [sys.executable, "-m", "nirgeo", *map(str, arguments), "--progress", "jsonl"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert child.stdout is not None
    child.stdout.close()
    assert child.stderr is not None
    err = child.stderr.read()
    assert child.wait(timeout=60) != 0
    assert "Traceback" not in err
    assert list(listing(scene.parent)) == ["scene.tif"]


def test_output_that_is_read_in_an_older_encoding(tmp_path: Path, scene: Path, tiny: Model) -> None:
    """As on Windows, where the output goes to a file or a pipe."""
    name = "łąka.tif"
    for arguments in (
        ("colorize", scene, "-o", tmp_path / name, "--model", tiny.path),
        ("compare", tmp_path / name, tmp_path / name),
        ("info", scene, "--scale", "0.0001,-0.1"),
    ):
        done = subprocess.run(
            [sys.executable, "-m", "nirgeo", *map(str, arguments)],
            env={**os.environ, "PYTHONIOENCODING": "cp1252"},
            capture_output=True,
        )
        out, err = done.stdout.decode("cp1252"), done.stderr.decode("cp1252")
        assert done.returncode == 0, err
        assert "unexpected" not in err
        assert out


def test_what_is_written_decides_how_much_disk_it_takes(tmp_path: Path) -> None:
    path = write_raster(tmp_path / "s.tif", scene_values(1500, 1400))

    def told(*options: str) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(command("info", path, "--json", *options).stdout)
        return found

    def megabytes(*options: str) -> int:
        return int(told(*options)["temporary_disk"].split()[0])

    whole_tiles = 1536 * 1408 * 4 / 3 / 2**20
    usual = megabytes()
    assert usual == round(4 * whole_tiles)
    assert megabytes("--uncertainty") == round(5 * whole_tiles)
    assert megabytes("--as", "reflectance") == round(13 * whole_tiles)
    assert megabytes("--as", "reflectance", "--uncertainty") == round(17 * whole_tiles)
    assert told()["colour_hint"].startswith("location prior")
    assert told("--no-prior")["colour_hint"] == "none"
