"""Damaged and strange files: a clear error or the right picture, and what the fuzz once found."""

from __future__ import annotations

import json
import os
import struct
import subprocess
import sys
import time
import zlib
from pathlib import Path

import numpy as np
import pytest
import rasterio
from helpers import write_raster
from hypothesis import HealthCheck, given, settings
from pictures import command, scene_values
from torture.fuzz import CLEAR
from torture.rasters import Strange, judged_raster, strange_rasters

import nirgeo
from nirgeo.chunk_limits import MAX_CHUNKS
from nirgeo.errors import BandError, GridError, OptionError, SourceError
from nirgeo.modelfile import Model
from nirgeo.opening import open_source
from nirgeo.tiling import Window

TESTS = Path(__file__).parents[1]


# --- small campaigns; the large ones are run by `make torture` ------------------------------------


@pytest.mark.parametrize(
    ("campaign", "cases"),
    [
        *(("scenes", 12), ("models", 10), ("ranges", 5), ("shipped-models", 10), ("journals", 4)),
        *(
            pytest.param(name, 1, marks=pytest.mark.slow)
            for name in ("kills", "interruptions", "changed-scenes", "two-at-once")
        ),
    ],
)
def test_a_small_campaign_finds_nothing(tmp_path: Path, campaign: str, cases: int) -> None:
    # In a process of its own: it forks, and this one has threads.
    record = tmp_path / "record.json"
    options = ("--seed", "7", "--cases", str(cases), "--record", str(record))
    done = subprocess.run(
        [sys.executable, "-m", "torture", campaign, *options],
        env={**os.environ, "PYTHONPATH": os.pathsep.join((str(TESTS), str(TESTS / "integration")))},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    found = json.loads(record.read_text())[f"{campaign}, seed 7"]
    assert found["cases"] == sum(found["outcomes"].values()) >= 0.9 * cases
    if cases > 1 and campaign != "journals":
        assert any(outcome.startswith("refused") for outcome in found["outcomes"])


def test_the_judge_tells_what_ends_badly() -> None:
    look = (
        "import os, time\n"
        "from torture.judge import judged\n"
        "grow = lambda: (bytearray(200 * 2**20), ('fine', []))[1]\n"
        "cases = [('crash', lambda: os.kill(os.getpid(), 9)), ('hang', lambda: time.sleep(60)),\n"
        "         ('error', lambda: 1 / 0), ('grow', grow), ('fine', lambda: ('fine', []))]\n"
        "for verdict in judged(cases, jobs=1, seconds=1, memory=100 * 2**20):\n"
        "    print(verdict.name, bool(verdict.problems))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", look],
        env={**os.environ, "PYTHONPATH": os.pathsep.join((str(TESTS), str(TESTS / "integration")))},
        capture_output=True,
        text=True,
        check=True,
    )
    bad = ("crash", "hang", "error", "grow")
    assert done.stdout.splitlines() == [*(f"{name} True" for name in bad), "fine False"]


@settings(max_examples=30, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(raster=strange_rasters())
def test_strange_rasters(
    tmp_path_factory: pytest.TempPathFactory, tiny: Model, tiny_counts: Model, raster: Strange
) -> None:
    place = tmp_path_factory.mktemp("strange")
    outcome, problems = judged_raster(place, raster, (tiny, tiny_counts))
    assert not problems
    assert outcome.removeprefix("refused: ") in {
        *CLEAR,
        "right picture",
        "GDAL writes no such file",
    }


# --- what it found --------------------------------------------------------------------------------


def entry_of(raw: bytes, tag: int) -> int:
    """Where the directory of a little-endian TIFF speaks of a tag."""
    (start,) = struct.unpack_from("<I", raw, 4)
    (count,) = struct.unpack_from("<H", raw, start)
    places = range(start + 2, start + 2 + 12 * count, 12)
    return next(place for place in places if struct.unpack_from("<H", raw, place)[0] == tag)


def test_a_georeference_that_can_not_be_read(tmp_path: Path, tiny: Model) -> None:
    # Its keys point to texts that are no longer there; GDAL opens the file all the same.
    corners = [(0, 0, 7, 50, 0), (0, 90, 8, 50, 0), (80, 0, 7, 49, 0)]
    scene = write_raster(tmp_path / "scene.tif", scene_values(80, 90), gcps=corners)
    raw = bytearray(scene.read_bytes())
    struct.pack_into("<H", raw, entry_of(raw, 34737), 34738)  # GeoAsciiParams under another name
    scene.write_bytes(raw)
    with rasterio.open(scene) as file:
        assert file.shape == (80, 90)
    with pytest.raises(SourceError, match=r"scene\.tif: .*damaged"):
        nirgeo.open_scene(scene)
    assert "internal" not in command("info", scene, "--json", expect=1).output


def scene_of_two_bands(tmp_path: Path) -> tuple[Path, bytes]:
    pixels = np.stack([scene_values(80, 90, seed=k) for k in range(2)])
    scene = write_raster(tmp_path / "scene.tif", pixels, descriptions=("nir", "green"))
    return scene, scene.read_bytes()


def test_a_description_in_another_encoding(tmp_path: Path, tiny: Model) -> None:
    # "grün" as older software wrote it. Its bands have numbers all the same.
    scene, raw = scene_of_two_bands(tmp_path)
    options = ("--model", tiny.path, "--scale", "1e-4", "-o", tmp_path / "rgb.tif")
    command("colorize", scene, *options)
    expected = (tmp_path / "rgb.tif").read_bytes()
    scene.write_bytes(raw.replace(b"green", b"gr\xfcn "))
    with rasterio.open(scene) as file, pytest.raises(UnicodeDecodeError):
        assert file.descriptions
    line = command("colorize", scene, *options, "--overwrite", expect=1).stderr
    assert "nothing says which band is near infrared" in line
    said = command("colorize", scene, *options, "--overwrite", "--nir", 1).stderr
    assert "scene.tif: its descriptions of bands are not UTF-8, and not used" in said
    assert (tmp_path / "rgb.tif").read_bytes() == expected
    assert "not UTF-8" in command("info", scene, "--nir", 1).output


def test_a_message_of_gdal_that_is_no_text_stays_out_of_sight(tmp_path: Path, tiny: Model) -> None:
    # GDAL names the attribute that it does not understand, with the bytes that it has.
    scene, raw = scene_of_two_bands(tmp_path)
    scene.write_bytes(raw.replace(b'<Item name="', b'<Ite\xed\xa0name="', 1))
    options = ("--nir", 1, "--model", tiny.path, "--scale", "1e-4", "-q")
    code = (
        "import sys\nfrom nirgeo.cli.main import main\n"
        "before = sys.excepthook, sys.unraisablehook\n"
        "try: main()\nfinally: assert (sys.excepthook, sys.unraisablehook) == before"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, *map(str, ("colorize", scene, *options))],
        capture_output=True,
        text=True,
    )
    assert (done.returncode, done.stderr) == (0, "")


def test_a_block_that_ends_early_holds_no_leftovers_of_memory(tmp_path: Path) -> None:
    values = scene_values(64, 64)
    scene = write_raster(
        tmp_path / "scene.tif", values, compress="deflate", tiled=True, blockxsize=64, blockysize=64
    )
    raw = bytearray(scene.read_bytes())
    (place,) = struct.unpack_from("<I", raw, entry_of(raw, 324) + 8)
    (length,) = struct.unpack_from("<I", raw, entry_of(raw, 325) + 8)
    short = zlib.compress(values.tobytes()[:3000], 9)
    raw[place : place + length] = short.ljust(length, b"\0")
    scene.write_bytes(raw)
    seen = set()
    for k in range(30):
        litter = [np.full(8192, k, np.uint8) for _ in range(20)]
        del litter
        try:
            opened = nirgeo.open_scene(scene, nir=1, scale="1e-4")
            seen.add(opened.values.tobytes())
        except SourceError:
            seen.add(b"refused")
        nirgeo.handles.close_all()
    assert len(seen) == 1


@pytest.mark.parametrize(
    "transform",
    [
        (0.0, 0.0, 5e5, 0.0, 0.0, 5e6),
        (1e-12, 0.0, 5e5, 0.0, -1e-12, 5e6),
        (1.0, 2.0, 0.0, 2.0, 4.0, 0.0),
        (1e308, 0.0, 1e308, 0.0, -1e308, 0.0),
    ],
    ids=["zero", "too small beside the origin", "a line", "too large"],
)
def test_a_transform_that_tells_no_pixels_apart(
    tmp_path: Path, transform: tuple[float, ...]
) -> None:
    scene = write_raster(
        tmp_path / "scene.tif", scene_values(40, 50), transform=rasterio.Affine(*transform)
    )
    with pytest.raises(GridError, match=r"scene\.tif: its transform .* -unsetgt"):
        nirgeo.open_scene(scene)


@pytest.mark.parametrize("side", [2**20, 2**31 - 1])
def test_a_few_bytes_that_declare_a_huge_scene(tmp_path: Path, side: int) -> None:
    scene = tmp_path / "scene.vrt"
    scene.write_text(
        f'<VRTDataset rasterXSize="{side}" rasterYSize="{side}">'
        '<VRTRasterBand dataType="UInt16" band="1"/></VRTDataset>'
    )
    begun = time.process_time()
    with pytest.raises(OptionError, match=f"chunks of 768² px, more than {MAX_CHUNKS}") as caught:
        nirgeo.open_scene(scene, scale="1e-4")
    assert time.process_time() - begun < 5
    assert "--bounds" in str(caught.value)
    assert ("--chunk 48)" in str(caught.value)) == (side == 2**20)


def test_a_file_that_says_it_has_thirty_thousand_bands(tmp_path: Path) -> None:
    """What is asked of the file for every band once more would take minutes."""
    count = 30_000
    tags = {256: 1, 257: 1, 258: 8, 259: 1, 262: 1, 273: 0, 277: count, 278: 1, 279: count, 284: 1}
    pixels = 8 + 2 + 12 * len(tags) + 4
    directory = struct.pack("<H", len(tags))
    for tag, value in tags.items():
        directory += struct.pack("<HHII", tag, 4, 1, pixels if tag == 273 else value)
    path = tmp_path / "many.tif"
    path.write_bytes(b"II*\0" + struct.pack("<I", 8) + directory + bytes(4) + bytes([7]) * count)
    with pytest.raises(BandError, match="nothing says which band is near infrared"):
        open_source(path)
    source = open_source(path, roles={"nir": "29999"})
    assert len(source.bands) == count
    assert source.read(Window(0, 0, 1, 1), [source.number_of("nir")])[0] == 7


def test_a_block_that_would_fill_the_memory_is_refused(tmp_path: Path) -> None:
    values = np.zeros((3, 64, 64), dtype=np.uint16)
    path = write_raster(
        tmp_path / "a.tif", values, tiled=True, blockxsize=64, blockysize=64, compress="deflate"
    )
    raw = bytearray(path.read_bytes())
    for tag, value in ((256, 16384), (257, 16384), (322, 16384), (323, 16384)):
        at = entry_of(raw, tag)
        raw[at + 2 : at + 12] = struct.pack("<HII", 4, 1, value)
    path.write_bytes(raw)
    with pytest.raises(SourceError, match=r"16384 × 16384 px of all its 3 bands, 1536 MB"):
        open_source(path)
