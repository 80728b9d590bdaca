"""Small slips that a user makes, and what nirgeo says of them."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
import torch
from click.testing import CliRunner
from evaluation_scenes import ground, write_scene
from helpers import NORTH_UP_10M, UTM, write_raster
from pictures import command, listing, read, scene_values

import nirgeo
from nirgeo.cli.main import main
from nirgeo.errors import BandError, GridError, OptionError, TargetError
from nirgeo.modelfile import Model
from nirgeo.nodata import suspected_nodata
from nirgeo.opening import open_source
from nirgeo.reference import open_reference
from nirgeo.rgb_source import open_rgb

SCALE = ("--scale", "0.0001")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return write_raster(tmp_path / "scene.tif", scene_values(90, 70))


def refused(*arguments: object) -> str:
    """What a command says before it ends with 1; a line, after those about the scene."""
    *_, line = command(*arguments, expect=1).stderr.splitlines()
    assert line.startswith("Error: ")
    assert "unexpected" not in line
    return line


# --- what a scene may be called, and a result -----------------------------------------------------


def test_an_empty_name_is_not_the_folder(
    path: Path, tiny: Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(path.parent)
    assert "'' names no scene" in refused("colorize", "", "--model", tiny.path, *SCALE)
    done = refused("colorize", path, "-o", "", "--model", tiny.path, *SCALE)
    assert "'' names no file" in done
    assert sorted(listing(path.parent)) == ["scene.tif"]


@pytest.mark.parametrize("name", ["rgb.png", "rgb.JPG", "rgb.vrt", "rgb.zarr", "-"])
def test_a_name_that_promises_another_format(path: Path, tiny: Model, name: str) -> None:
    target = path.with_name(name) if name != "-" else name
    assert "GeoTIFF" in refused("colorize", path, "-o", target, "--model", tiny.path, *SCALE)
    assert sorted(listing(path.parent)) == ["scene.tif"]


def test_a_name_too_long(path: Path, tiny: Model) -> None:
    rgb = nirgeo.colorize(nirgeo.open_scene(path, scale="0.0001"), tiny)
    longest = path.with_name("x" * 243 + ".tif")
    with pytest.raises(TargetError, match="1 bytes too long"):
        nirgeo.write_geotiff(rgb, longest.with_name("x" + longest.name))
    nirgeo.write_geotiff(rgb, longest)
    assert longest.exists()


def test_what_lay_beside_an_overwritten_result_goes_with_it(path: Path, tiny: Model) -> None:
    target = path.with_name("rgb.tif")
    write_raster(target, np.full((3, 90, 70), 200, dtype=np.uint8))
    with rasterio.Env(TIFF_USE_OVR=True), rasterio.open(target, "r+") as file:
        file.build_overviews([2])
    assert target.with_name("rgb.tif.ovr").exists()
    command("colorize", path, "-o", target, "--model", tiny.path, *SCALE, "--overwrite")
    assert sorted(listing(path.parent)) == ["rgb.tif", "scene.tif"]
    with rasterio.open(target) as file:
        small = file.read(out_shape=(3, 45, 35))
    assert (small != 200).any()


def test_a_path_is_no_array(path: Path) -> None:
    with pytest.raises(OptionError, match="open_scene"):
        nirgeo.colorize(str(path))  # type: ignore[arg-type]


def test_bounds_beside_a_rotated_scene_hear_where_it_lies(tmp_path: Path) -> None:
    turned = NORTH_UP_10M @ rasterio.Affine.rotation(30)
    path = write_raster(tmp_path / "turned.tif", scene_values(90, 70), transform=turned)
    corners = np.array([turned @ (x, y) for x in (0, 70) for y in (0, 90)])
    with pytest.raises(GridError) as caught:
        nirgeo.open_scene(path, bounds=(0, 0, 1, 1))
    numbers = [float(word) for word in str(caught.value).split()[-4:]]
    np.testing.assert_allclose(numbers, [*corners.min(axis=0), *corners.max(axis=0)], atol=0.01)


@pytest.mark.parametrize(
    ("stack", "said"),
    [(("nir", "gren"), "the roles are"), (("nir", "nir"), "more than once")],
    ids=str,
)
@pytest.mark.parametrize("name", ["colorize", "info"])
def test_roles_of_a_stack(path: Path, name: str, stack: tuple[str, str], said: str) -> None:
    bands = (part for role in stack for part in ("--stack", f"{role}={path}"))
    assert said in refused(name, *bands)


# --- devices, folders -----------------------------------------------------------------------------


@pytest.mark.parametrize("device", ["cuda", "cuda:1", "meta", "typewriter"])
def test_a_device_that_is_not_there(tmp_path: Path, path: Path, tiny: Model, device: str) -> None:
    if device.startswith("cuda") and torch.cuda.is_available():
        pytest.skip("there is a GPU")
    write_scene(tmp_path / "set" / "a.tif", ground(80, 72))
    write_scene(tmp_path / "val" / "b.tif", ground(80, 72, seed=1))
    sides = (tmp_path / "set", "--validation", tmp_path / "val", "--out", tmp_path / "run", "-q")
    for command_line in (
        ("colorize", path, "--model", tiny.path, *SCALE),
        ("train", *sides),
    ):
        line = refused(*command_line, "--device", device)
        assert line.startswith(f"Error: --device {device}: not available")


def test_folders_of_a_training(tmp_path: Path) -> None:
    counts = np.random.default_rng(0).integers(1, 255, (4, 70, 70), dtype=np.uint8)
    names = ("red", "green", "blue", "nir")
    write_raster(tmp_path / "counts" / "a.tif", counts, descriptions=names)
    write_scene(tmp_path / "val" / "b.tif", ground(80, 72))
    options = ("--validation", tmp_path / "val", "--out", tmp_path / "run", "-q")
    assert "no such folder" in refused("train", tmp_path / "nowhere", *options)
    line = refused("train", tmp_path / "counts", *options)
    assert "none of 1 scenes can be used" in line
    assert "holds counts, wanted reflectance" in line
    write_scene(tmp_path / "set" / "a.tif", ground(80, 72, seed=5))
    (tmp_path / "run").write_text("a file")
    assert str(tmp_path / "run") in refused("train", tmp_path / "set", *options)


def test_reports_need_a_file_each(tmp_path: Path) -> None:
    write_scene(tmp_path / "set" / "a.tif", ground(80, 72))
    there = ("--data", tmp_path / "set", "--json", tmp_path / "q", "--html", tmp_path / "q")
    done = command("evaluate", "baseline/grey@2", *there, expect=2)
    assert "a file each" in done.stderr
    assert not (tmp_path / "q").exists()


# --- what is no natural colour --------------------------------------------------------------------


@pytest.mark.parametrize("shown", [False, True], ids=["plain", "shown as red, green, blue"])
def test_colour_infrared_is_no_natural_colour(tmp_path: Path, path: Path, shown: bool) -> None:
    values = np.stack([scene_values(90, 70, "uint8", seed=k) for k in range(3)])
    more: dict[str, Any] = {"photometric": "rgb"} if shown else {}
    names = ("nir", "red", "green")
    infrared = write_raster(tmp_path / "cir.tif", values, descriptions=names, **more)
    line = refused("colorize", path, *SCALE, "--reference", infrared)
    assert "which bands are red, green and blue" in line
    assert "--bands" not in line
    assert "--bands" in refused("compare", write_raster(tmp_path / "a.tif", values), infrared)
    natural = write_raster(tmp_path / "rgb.tif", values, descriptions=("a", "b", "c"), **more)
    source = open_rgb(str(natural)).source
    assert [source.number_of(c) for c in ("red", "green", "blue")] == [1, 2, 3]


def test_one_that_says_nothing_of_blue(tmp_path: Path) -> None:
    values = np.stack([scene_values(90, 70, "uint8", seed=k) for k in range(3)])
    with pytest.raises(BandError, match="1: nir, 2: red, 3: green"):
        open_rgb(
            str(write_raster(tmp_path / "c.tif", values, descriptions=("nir", "red", "green")))
        )


# --- references that do overlap -------------------------------------------------------------------


def test_a_small_reference_within_a_large_scene(tmp_path: Path) -> None:
    coarse = np.ones((3, 20, 20), dtype=np.uint8)
    place = NORTH_UP_10M @ rasterio.Affine.translation(2010, 3010) @ rasterio.Affine.scale(2)
    path = write_raster(tmp_path / "small.tif", coarse, transform=place)
    big = write_raster(tmp_path / "big.tif", scene_values(64, 64), transform=NORTH_UP_10M)
    grid = open_source(big).grid
    large = type(grid)(40_000, 40_000, grid.transform, grid.crs)
    assert open_reference(str(path), large).size == pytest.approx(8)


def test_a_local_reference_within_a_scene_of_the_world(tmp_path: Path) -> None:
    degrees = rasterio.Affine(0.1, 0, -180, 0, -0.1, 90)
    world = write_raster(
        tmp_path / "world.tif", scene_values(1800, 3600), crs="EPSG:4326", transform=degrees
    )
    coarse = np.ones((3, 10, 10), dtype=np.uint8)
    place = rasterio.Affine(50_000, 0, 300_000, 0, -50_000, 5_500_000)
    path = write_raster(tmp_path / "utm.tif", coarse, crs=UTM, transform=place)
    assert 2 < open_reference(str(path), open_source(world).grid).size < 64


@pytest.mark.parametrize(("value", "dtype"), [(-9999, "int16"), (-9999.0, "float32")])
def test_a_value_that_looks_like_missing_pixels_is_told(
    tmp_path: Path, tiny: Model, value: float, dtype: str
) -> None:
    values = scene_values(192, 192).astype(np.float64)
    values = (values if dtype == "int16" else values / 10_000).astype(dtype)
    values[:6, :90] = value  # 1.5 %: too few to leave the range that a model has seen
    path = write_raster(tmp_path / "scene.tif", values)
    scale = "0.0001" if dtype == "int16" else "1"
    asked = ("colorize", path, "-o", tmp_path / "out.tif", "--model", tiny.path, "--scale", scale)
    told = command(*asked).output
    assert "of nir is -9999, which often marks missing pixels" in told
    assert "give --nodata -9999" in told
    declared = command(*asked, "--overwrite", "--nodata", "-9999").output
    assert "missing pixels" not in declared
    _, mask = read(tmp_path / "out.tif")
    assert (mask == 0).sum() == 6 * 90


# --- where the answer goes ------------------------------------------------------------------------


def run(path: Path, tiny: Model, redirection: str, *options: str) -> tuple[int, str]:
    line = [sys.executable, "-m", "nirgeo", "colorize", path, "-o", path.with_name("rgb.tif")]
    line += ["--model", tiny.path, *SCALE, *options]
    text = " ".join(shlex.quote(str(part)) for part in line)
    done = subprocess.run(f"{text} {redirection}", shell=True, capture_output=True, text=True)
    return done.returncode, done.stderr


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="no device that is always full")
@pytest.mark.parametrize(
    ("redirection", "options", "code"),
    [
        (">/dev/full", (), 1),
        (">/dev/full", ("--progress", "jsonl"), 1),
        (">&-", ("--progress", "jsonl"), 1),
        (">&-", (), 0),
    ],
)
def test_a_stdout_that_takes_nothing(
    path: Path, tiny: Model, redirection: str, options: tuple[str, ...], code: int
) -> None:
    status, err = run(path, tiny, redirection, *options)
    assert status == code
    assert "Traceback" not in err
    assert "unexpected" not in err
    assert ("stdout can't be written" in err) == bool(code)
    if not options:
        assert path.with_name("rgb.tif").exists()
        assert ("rgb.tif is written" in err) == bool(code)


def test_the_module_of_the_command_is_the_command(path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "nirgeo.cli.main", "colorize", path.with_name("gone.tif")],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 1
    assert "no such file" in done.stderr


def test_bands_of_two_places_share_no_pixel(path: Path, tiny: Model) -> None:
    elsewhere = rasterio.Affine.translation(500_000, 0) @ NORTH_UP_10M
    red = write_raster(path.with_name("red.tif"), scene_values(90, 70), transform=elsewhere)
    said = refused("info", path, "--nir", 1, "--stack", f"red={red}")
    assert "lies somewhere else than" in said
    # In degrees beside metres, and across 180°, where both ways count.
    degrees = rasterio.Affine(0.001, 0, 179.95, 0, -0.001, 10)
    nir = write_raster(
        path.with_name("n.tif"), scene_values(90, 90), crs="EPSG:4326", transform=degrees
    )
    turned = rasterio.Affine(0.001, 0, -180.05, 0, -0.001, 10)
    red = write_raster(
        path.with_name("r.tif"), scene_values(90, 90), crs="EPSG:4326", transform=turned
    )
    assert dict(open_source(stack={"nir": nir, "red": red}).roles) == {"nir": 1, "red": 2}


def test_a_band_that_is_to_be_two(tmp_path: Path, tiny: Model) -> None:
    values = np.stack([scene_values(90, 70, seed=k) for k in range(3)])
    cir = write_raster(tmp_path / "cir.tif", values)
    said = refused("colorize", cir, "--nir", 1, "--red", 1, "--green", 3, "-o", tmp_path / "x.tif")
    assert "--nir and --red name the same band, 1" in said
    picture = write_raster(tmp_path / "p.tif", (values // 20).astype(np.uint8))
    assert "named twice" in refused("compare", picture, picture, "--bands", "3,2,2")


def test_control_points_of_two_places(tmp_path: Path) -> None:
    def points(east: float) -> list[tuple[float, float, float, float, float]]:
        corners = [(0, 0), (0, 70), (90, 0), (90, 70)]
        return [(r, c, east + c * 1e-3, 52 - r * 1e-3, 0) for r, c in corners]

    def placed(name: str, east: float) -> Path:
        place: dict[str, Any] = {"crs": None, "transform": None, "gcps": points(east)}
        return write_raster(tmp_path / name, scene_values(90, 70), **place)

    nir, near, far = placed("n.tif", 13), placed("near.tif", 13.0001), placed("far.tif", 23)
    assert len(open_source(stack={"nir": nir, "red": near}).bands) == 2
    with pytest.raises(GridError, match="not in the same place"):
        open_source(stack={"nir": nir, "red": far})


def test_tags_of_two_scales_are_not_read_alike(tmp_path: Path) -> None:
    nir = write_raster(tmp_path / "n.tif", scene_values(90, 70))
    tag = {"REFLECTANCE_SCALE": "0.0002"}
    red = write_raster(tmp_path / "r.tif", scene_values(90, 70, seed=1), tags=tag)
    assert "scaled otherwise than nir" in refused(
        "info", "--stack", f"nir={nir}", "--stack", f"red={red}"
    )


def test_the_value_of_an_advice_does_what_it_says(tmp_path: Path) -> None:
    values = scene_values(90, 70).astype(np.float32) * np.float32(1e-4)
    values[:20] = np.finfo(np.float32).min
    path = write_raster(tmp_path / "f.tif", values)
    (said,), _ = suspected_nodata(open_source(path).samples(["nir"]), ["nir"])
    value = said.rpartition(" ")[2]
    assert suspected_nodata(open_source(path, nodata=float(value)).samples(["nir"]), ["nir"]) == (
        [],
        None,
    )


def test_a_pixel_of_a_web_map_is_smaller_on_the_ground(tmp_path: Path) -> None:
    web = rasterio.Affine(15, 0, 1_500_000, 0, -15, 8_400_000)  # at 60° north
    path = write_raster(tmp_path / "w.tif", scene_values(90, 70), crs="EPSG:3857", transform=web)
    assert open_source(path).grid.ground_sampling_distance() == pytest.approx(7.5, rel=0.02)
    usual = write_raster(tmp_path / "u.tif", scene_values(90, 70))
    assert open_source(usual).grid.ground_sampling_distance() == pytest.approx(10)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--out", "file/run"), r"--out file/run: .*file is no folder; name another one"),
        (("--out", "file"), r"--out file: .*file is no folder"),
        (("--out", "run", "--name", "Mein_Modell"), "'Mein_Modell' must be .* lower-case words"),
    ],
)
def test_what_is_asked_for_is_looked_at_before_the_scenes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, options: tuple[str, ...], said: str
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("file").touch()
    # Without scenes: that would be the next thing to be said.
    done = CliRunner().invoke(main, ["train", "none", "--validation", "none", *options])
    assert done.exit_code == 1
    assert re.search(said, done.stderr), done.stderr
    assert not Path("run").exists()
