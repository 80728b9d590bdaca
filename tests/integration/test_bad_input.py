"""Refusals as a person sees them: in a process of its own, with disks that are really full.

``test_refusals.py`` goes through the kinds of bad input; here it counts that nothing else comes
with the one line, and that no failure, however late, leaves a file.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio.shutil
from helpers import write_random_model, write_raster
from pictures import command, events, listing, process, scene_values, start
from rasterio.enums import Resampling

from nirgeo.modelfile import Model

SCALE = ("--scale", "0.0001")


@pytest.fixture
def scene(tmp_path: Path) -> Path:
    # Nothing georeferences it: rasterio would like to warn about that, again and again.
    return write_raster(tmp_path / "scene.tif", scene_values(90, 110), crs=None, transform=None)


def only_line(text: str) -> str:
    (line,) = text.splitlines()
    assert line.startswith("Error: ")
    return line


# --- one line, from a real process ----------------------------------------------------------------

Case = Callable[[Path, Path, Model], tuple[list[object], str]]


def not_a_raster(folder: Path, scene: Path, tiny: Model) -> tuple[list[object], str]:
    (folder / "notes.tif").write_text("II*\x00 not a raster after all")
    return [folder / "notes.tif"], "notes.tif"


def truncated(folder: Path, scene: Path, tiny: Model) -> tuple[list[object], str]:
    cut = write_raster(folder / "cut.tif", scene_values(900, 900), tiled=True, crs=None)
    os.truncate(cut, cut.stat().st_size * 2 // 3)
    return [cut, "--model", tiny.path, *SCALE], "cut.tif"


def truncated_compressed(folder: Path, scene: Path, tiny: Model) -> tuple[list[object], str]:
    cut = write_raster(folder / "cut.tif", scene_values(900, 900), tiled=True, compress="deflate")
    os.truncate(cut, cut.stat().st_size * 2 // 3)
    return [cut, "--model", tiny.path, *SCALE], "cut.tif"


def wrong_band(folder: Path, scene: Path, tiny: Model) -> tuple[list[object], str]:
    return [scene, "--nir", "3"], "--nir 3"


def wrong_stack(folder: Path, scene: Path, tiny: Model) -> tuple[list[object], str]:
    two = write_raster(folder / "two.tif", np.ones((2, 90, 110), np.uint16))
    return ["--stack", f"nir={two}"], "nir="


def unknown_model(folder: Path, scene: Path, tiny: Model) -> tuple[list[object], str]:
    return [scene, "--model", "no-such-model"], "'no-such-model'"


def unknown_option(folder: Path, scene: Path, tiny: Model) -> tuple[list[object], str]:
    return [scene, "--co", "PREDICTR=2"], "PREDICTR"


def bad_option_value(folder: Path, scene: Path, tiny: Model) -> tuple[list[object], str]:
    return [scene, "--co", "OVERVIEWS=SURELY"], "OVERVIEWS=SURELY"


def bad_resampling(folder: Path, scene: Path, tiny: Model) -> tuple[list[object], str]:
    return [scene, "--co", "OVERVIEW_RESAMPLING=BEST"], "OVERVIEW_RESAMPLING=BEST"


def lossy_for_floats(folder: Path, scene: Path, tiny: Model) -> tuple[list[object], str]:
    options = ["--model", tiny.path, "--as", "reflectance", "--co", "COMPRESS=JPEG"]
    return [scene, *SCALE, *options], "COMPRESS=JPEG"


def target_system(folder: Path, scene: Path, tiny: Model) -> tuple[list[object], str]:
    return [scene, "--co", "TARGET_SRS=EPSG:99999"], "EPSG:99999"


def no_such_device(folder: Path, scene: Path, tiny: Model) -> tuple[list[object], str]:
    return [scene, "--model", tiny.path, *SCALE, "--device", "quantum"], "--device quantum"


def no_workers(folder: Path, scene: Path, tiny: Model) -> tuple[list[object], str]:
    return [scene, "--model", tiny.path, *SCALE, "--workers", 0], "--workers 0"


def no_chunk(folder: Path, scene: Path, tiny: Model) -> tuple[list[object], str]:
    return [scene, "--model", tiny.path, *SCALE, "--chunk", 0], "--chunk 0"


def bounds_without_place(folder: Path, scene: Path, tiny: Model) -> tuple[list[object], str]:
    return [scene, "--bounds", 0, 0, 10, 10], "--bounds"


def weights_spoilt(folder: Path, scene: Path, tiny: Model) -> tuple[list[object], str]:
    path = write_random_model(folder)
    raw = bytearray(path.read_bytes())
    raw[-4:] = np.float32(np.nan).tobytes()
    path.write_bytes(raw)
    return [scene, "--model", path, *SCALE], "NaN"


def weights_cut(folder: Path, scene: Path, tiny: Model) -> tuple[list[object], str]:
    path = write_random_model(folder)
    os.truncate(path, path.stat().st_size - 100)
    return [scene, "--model", path, *SCALE], path.name


def onto_itself(folder: Path, scene: Path, tiny: Model) -> tuple[list[object], str]:
    return [scene, "-o", scene, "--overwrite", "--model", tiny.path, *SCALE], "itself"


def onto_its_stack(folder: Path, scene: Path, tiny: Model) -> tuple[list[object], str]:
    options = ["-o", scene, "--overwrite", "--model", tiny.path, *SCALE]
    return ["--stack", f"nir={scene}", *options], "itself"


def onto_a_url(folder: Path, scene: Path, tiny: Model) -> tuple[list[object], str]:
    return [scene, "-o", "s3://bucket/out.tif"], "/vsis3/"


def two_into_one(folder: Path, scene: Path, tiny: Model) -> tuple[list[object], str]:
    (folder / "b").mkdir()
    other = Path(shutil.copy(scene, folder / "b" / "scene.tif"))
    return [scene, other, "--out-dir", folder / "out", "--model", tiny.path, *SCALE], "2 of these"


def new_folder(folder: Path, scene: Path, tiny: Model) -> tuple[list[object], str]:
    return [folder / "gone.tif", "--out-dir", folder / "new" / "er"], "gone.tif: no such file"


def folder_is_a_file(folder: Path, scene: Path, tiny: Model) -> tuple[list[object], str]:
    return [scene, "--out-dir", scene / "deeper"], "--out-dir"


def lock_is_a_file(folder: Path, scene: Path, tiny: Model) -> tuple[list[object], str]:
    (folder / ".scene_rgb.tif.nirgeo").write_text("in the way")
    return [scene, "--model", tiny.path, *SCALE], "remove it"


def scale_of_no_picture(folder: Path, scene: Path, tiny: Model) -> tuple[list[object], str]:
    return [scene, "--scale", scene], "made by nirgeo"


CASES: list[Case] = [
    not_a_raster,
    truncated,
    truncated_compressed,
    wrong_band,
    wrong_stack,
    unknown_model,
    unknown_option,
    bad_option_value,
    bad_resampling,
    lossy_for_floats,
    target_system,
    no_such_device,
    no_workers,
    no_chunk,
    bounds_without_place,
    weights_spoilt,
    weights_cut,
    onto_itself,
    onto_its_stack,
    onto_a_url,
    two_into_one,
    new_folder,
    folder_is_a_file,
    lock_is_a_file,
    scale_of_no_picture,
]


@pytest.mark.parametrize("case", CASES, ids=lambda f: f.__name__)
def test_one_line_that_names_the_value(
    tmp_path: Path, scene: Path, tiny: Model, case: Case
) -> None:
    arguments, word = case(tmp_path, scene, tiny)
    before = listing(tmp_path)
    for mode in ("none", "jsonl"):
        result = command("colorize", *arguments, "--progress", mode, "-q", expect=1)
        line = only_line(result.stderr)
        assert word in line
        assert len(line) < 700
        assert "Traceback" not in line
        assert "unexpected" not in line.split(" (")[0]  # in brackets stand GDAL's words
        if mode == "jsonl":
            errors = [e for e in events(result.stdout) if e["event"] == "error"]
            (error,) = errors
            assert line == f"Error: {error['message']}"
            assert error["code"] not in ("error", "internal")
        assert listing(tmp_path) == before


@pytest.mark.parametrize("case", [truncated, unknown_option, new_folder], ids=lambda f: f.__name__)
def test_the_process_says_nothing_else(
    tmp_path: Path, scene: Path, tiny: Model, case: Case
) -> None:
    # Neither warnings of libraries, nor GDAL's own words, nor a traceback of a thread.
    arguments, word = case(tmp_path, scene, tiny)
    before = listing(tmp_path)
    code, out, err = process("colorize", *arguments, "-q", cwd=tmp_path)
    assert code == 1
    assert out == ""
    assert word in only_line(err)
    assert listing(tmp_path) == before


def test_a_scene_without_a_place_raises_no_warning(
    tmp_path: Path, scene: Path, tiny: Model
) -> None:
    code, out, err = process("colorize", scene, "--model", tiny.path, *SCALE, "-q")
    assert (code, err) == (0, "")
    assert out.strip() in ("", str(tmp_path / "scene_rgb.tif"))


def test_a_failure_in_the_middle_ends_the_progress_line(
    tmp_path: Path, scene: Path, tiny: Model
) -> None:
    arguments, _ = truncated(tmp_path, scene, tiny)
    result = command("colorize", *arguments, "--chunk", 1, expect=1)
    assert only_line(result.stderr.splitlines()[-1])
    assert not (tmp_path / "cut_rgb.tif").exists()


def test_verbose_adds_the_traceback(tmp_path: Path, scene: Path) -> None:
    result = command("colorize", tmp_path / "gone.tif", "--verbose", expect=1)
    assert "Traceback" in result.stderr
    assert result.stderr.splitlines()[-1].startswith("Error: ")


def test_a_defect_is_one_line_too(
    scene: Path, tiny: Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    from nirgeo import inference

    def defect(*_: object, **__: object) -> None:
        raise ZeroDivisionError("nobody thought of this")

    monkeypatch.setattr(inference, "run_network", defect)
    before = listing(scene.parent)
    result = command("colorize", scene, "--model", tiny.path, *SCALE, "-q", expect=1)
    line = only_line(result.stderr)
    assert "nobody thought of this" in line
    assert "--verbose" in line
    assert listing(scene.parent) == before


def test_a_sound_scene_is_read_after_a_damaged_one(
    tmp_path: Path, scene: Path, tiny: Model
) -> None:
    # GDAL remembers its last error; in a notebook the next scene must not pay for it.
    sound, _ = [scene, "--model", tiny.path, *SCALE, "-q"], command("info", scene)
    for make in (truncated, truncated_compressed):
        arguments, _ = make(tmp_path, scene, tiny)
        command("colorize", *arguments, "-q", expect=1)
        command("colorize", *sound, "--overwrite")


def test_a_scene_that_vanishes_during_the_run(
    tmp_path: Path, tiny: Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    from nirgeo import inference

    moving = write_raster(tmp_path / "in" / "scene.tif", scene_values(300, 300))
    original = inference.run_network

    def vanish(*arguments: Any, **options: Any) -> Any:
        moving.unlink(missing_ok=True)
        return original(*arguments, **options)

    monkeypatch.setattr(inference, "run_network", vanish)
    options = ("--model", tiny.path, *SCALE, "--chunk", 1, "--workers", 1, "-q")
    result = command("colorize", moving, "-o", tmp_path / "out.tif", *options, expect=1)
    assert "scene.tif" in only_line(result.stderr)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["in"]


# --- full disks -----------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def picture(tmp_path_factory: pytest.TempPathFactory, tiny: Model) -> tuple[Path, int]:
    """A scene, and how many bytes its picture takes when it is finished."""
    scene = write_raster(tmp_path_factory.mktemp("full") / "scene.tif", scene_values(1000, 1000))
    target = scene.with_name("out.tif")
    command("colorize", scene, "-o", target, "--model", tiny.path, *SCALE, "-q")
    return scene, target.stat().st_size


def test_a_limit_on_the_size_of_files(
    tmp_path: Path, tiny: Model, picture: tuple[Path, int]
) -> None:
    scene, _ = picture
    prelude = (
        "import resource, signal\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, 200_000))\n"
    )
    arguments = (scene, "-o", tmp_path / "out.tif", "--model", tiny.path, *SCALE, "-q")
    code, out, err = process("colorize", *arguments, prelude=prelude)
    assert (code, out) == (1, "")
    assert "out.tif" in only_line(err)
    assert listing(tmp_path) == {}


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Callable[[int], Path]]:
    """``small_disk(bytes)``: a folder on a file system of this size."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mounted = False

    def mount(size: int) -> Path:
        nonlocal mounted
        options = ["-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(folder)]
        done = subprocess.run(["mount", *options], capture_output=True, text=True)
        if done.returncode:
            pytest.skip(f"mounting a small file system is not permitted here: {done.stderr}")
        mounted = True
        return folder

    if sys.platform != "linux":
        pytest.skip("a small file system is mounted the way Linux does")
    yield mount
    if mounted:
        subprocess.run(["umount", str(folder)], check=True)


# The blocks take 4 bytes a pixel of 1024², the picture about half; overviews and mask pass through
# temporary files. So the disk fills: with the first blocks, with the last, in the COG, at its end.
@pytest.mark.parametrize("share", [0.1, 0.9, 1.1, 1.3, 1.45, 1.6, 2.5])
def test_a_full_disk(
    small_disk: Callable[[int], Path], tiny: Model, picture: tuple[Path, int], share: float
) -> None:
    scene, size = picture
    folder = small_disk(int(share * 4 * 1024**2))
    target = folder / "out.tif"
    arguments = (scene, "-o", target, "--model", tiny.path, "--chunk", "16", *SCALE, "-q")
    result = command("colorize", *arguments, expect=None)
    if result.exit_code:
        assert share < 2, result.stderr
        line = only_line(result.stderr)
        assert str(folder) in line
        assert "free some" in line
        if "--resume" not in line:  # while chunks were computed
            assert share < 1.2
            assert "-o" in line
            assert listing(folder) == {}
            return
        assert share > 1
        assert not target.exists()
        state = {Path(name).name for name in listing(folder)}
        assert {"blocks.tif", "journal.jsonl"} <= state
        assert "result.tif" not in state
        size = f"remount,size={16 * 1024**2}"
        subprocess.run(["mount", "-o", size, str(folder)], check=True)
        command("colorize", *arguments, "--resume")
        assert target.read_bytes() == scene.with_name("out.tif").read_bytes()
        assert list(listing(folder)) == ["out.tif"]
    else:  # what was reported as done is whole
        assert share > 1.3
        assert target.stat().st_size == size
        assert target.read_bytes() == scene.with_name("out.tif").read_bytes()
        assert list(listing(folder)) == ["out.tif"]


@pytest.mark.parametrize("lost", [10, 3000, 200_000])
def test_an_end_that_was_lost_is_noticed(
    tmp_path: Path,
    tiny: Model,
    picture: tuple[Path, int],
    lost: int,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # GDAL may report success for a file whose last bytes found no place.
    original = rasterio.shutil.copy

    def lossy(source: str, target: str, **options: Any) -> None:
        original(source, target, **options)
        os.truncate(target, os.path.getsize(target) - lost)

    monkeypatch.setattr(rasterio.shutil, "copy", lossy)
    scene, _ = picture
    arguments = (scene, "-o", tmp_path / "out.tif", "--model", tiny.path, *SCALE, "-q")
    result = command("colorize", *arguments, expect=1)
    line = only_line(result.stderr)
    assert "writing the result failed" in line
    assert "disk is full" not in line  # it is not
    assert not (tmp_path / "out.tif").exists()
    monkeypatch.undo()
    command("colorize", *arguments, "--resume")
    assert (tmp_path / "out.tif").read_bytes() == scene.with_name("out.tif").read_bytes()
    assert list(listing(tmp_path)) == ["out.tif"]


def test_gdal_failing_without_a_word_is_a_failure_to_write(
    tmp_path: Path, tiny: Model, picture: tuple[Path, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    def wordless(source: str, target: str, **options: Any) -> None:
        raise SystemError("Unknown GDAL Error. To debug: https://rasterio.readthedocs.io")

    monkeypatch.setattr(rasterio.shutil, "copy", wordless)
    scene, _ = picture
    arguments = (scene, "-o", tmp_path / "out.tif", "--model", tiny.path, *SCALE, "-q")
    line = only_line(command("colorize", *arguments, expect=1).stderr)
    assert "writing the result failed (Unknown GDAL Error" in line
    assert "--resume" in line
    monkeypatch.undo()
    command("colorize", *arguments, "--resume")
    assert (tmp_path / "out.tif").read_bytes() == scene.with_name("out.tif").read_bytes()


def test_a_remote_target_that_cannot_be_written(
    tmp_path: Path, scene: Path, tiny: Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    archive = tmp_path / "archive.zip"
    archive.write_bytes(b"not an archive")
    before = listing(tmp_path)
    kept = tmp_path / "temporary"
    kept.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(kept))
    target = f"/vsizip/{archive}/out.tif"
    result = command("colorize", scene, "-o", target, "--model", tiny.path, *SCALE, "-q", expect=1)
    line = only_line(result.stderr)
    assert target in line
    (state,) = kept.iterdir()
    assert f"kept in {state}" in line
    shutil.rmtree(kept)
    assert listing(tmp_path) == before


def test_bands_on_grids_that_cannot_be_brought_together(
    tmp_path: Path, scene: Path, tiny: Model
) -> None:
    fine = write_raster(tmp_path / "fine.tif", scene_values(180, 220), crs=None, transform=None)
    options = ("--model", tiny.path, *SCALE, "-q", "-o", tmp_path / "out.tif")
    stack = ("--stack", f"nir={scene}", "--stack", f"red={fine}")
    result = command("colorize", *stack, *options, expect=1)
    line = only_line(result.stderr)
    assert "220×180" in line
    assert "110×90" in line


def test_resampling_names_are_those_of_gdal(tmp_path: Path, scene: Path, tiny: Model) -> None:
    # The probe of creation options must not refuse what GDAL takes.
    refused = {"gauss", "max", "min", "med", "q1", "q3", "sum"}  # not for overviews
    for method in Resampling:
        if method.name in refused:
            continue
        name = "CUBICSPLINE" if method.name == "cubic_spline" else method.name.upper()
        options = ("--co", f"OVERVIEW_RESAMPLING={name}", "--overwrite", "-q")
        command("colorize", scene, "--model", tiny.path, *SCALE, *options)


def test_a_false_alpha_band_beside_nodata_is_told_once(tmp_path: Path, tiny: Model) -> None:
    values = np.random.default_rng(0).integers(1, 255, (4, 70, 70), dtype=np.uint8)
    scene = write_raster(
        tmp_path / "scene.tif",
        values,
        nodata=0,
        descriptions=("red", "green", "blue", "nir"),
        colorinterp=("red", "green", "blue", "alpha"),
    )
    said = start("colorize", scene, "--model", tiny.path, "--scale", "1e-2", "-q")
    _, text = said.communicate(timeout=120)
    assert said.returncode == 0
    assert "NodataShadowWarning" not in text
    assert ".py:" not in text  # where a warning was given
