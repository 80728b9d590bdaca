"""Where a result goes: what is no file is left alone, and what was a file keeps its access."""

from __future__ import annotations

import os
import stat
import sys
from pathlib import Path

import numpy as np
import pytest
from helpers import write_raster
from pictures import command, read, scene_values, start

import nirgeo
from nirgeo import hrefs
from nirgeo.errors import OptionError, TargetError, TargetExistsError
from nirgeo.modelfile import Model
from nirgeo.target import _as_accessible_as

posix = pytest.mark.skipif(os.name != "posix", reason="links, pipes and modes of POSIX")


@pytest.fixture
def scene(tmp_path: Path) -> Path:
    return write_raster(tmp_path / "scene.tif", scene_values(70, 66))


def colorize(scene: Path, target: Path | str, model: Model, **options: bool) -> None:
    rgb = nirgeo.colorize(nirgeo.open_scene(scene, scale="0.0001"), model)
    nirgeo.write_geotiff(rgb, target, **options)


@posix
@pytest.mark.parametrize("linked", [False, True])
def test_a_pipe_stays_a_pipe(tmp_path: Path, scene: Path, tiny: Model, linked: bool) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    target = pipe
    if linked:  # as /dev/stdout is
        target = tmp_path / "link"
        target.symlink_to(pipe)
    before = sorted(tmp_path.iterdir())
    for overwrite in (False, True):
        with pytest.raises(TargetError, match="a pipe or a stream; results are written to files"):
            colorize(scene, target, tiny, overwrite=overwrite)
    assert stat.S_ISFIFO(pipe.stat().st_mode)
    assert target.is_symlink() == linked
    assert sorted(tmp_path.iterdir()) == before


@pytest.mark.parametrize("name", ["/vsistdout/", "/vsistdout/x.tif", "/vsistdin/"])
def test_streams_are_refused_before_the_work(scene: Path, tiny: Model, name: str) -> None:
    with pytest.raises(TargetError, match="results are written to files"):
        colorize(scene, name, tiny)


def test_a_name_that_no_file_has(tmp_path: Path, scene: Path, tiny: Model) -> None:
    with pytest.raises(TargetError, match="is no name of a file"):
        colorize(scene, f"{tmp_path}/a\0b.tif", tiny)


@posix
def test_a_link_is_written_through(tmp_path: Path, scene: Path, tiny: Model) -> None:
    expected = tmp_path / "expected.tif"
    colorize(scene, expected, tiny)
    place = tmp_path / "bulk"
    place.mkdir()
    link = tmp_path / "latest.tif"
    link.symlink_to(place / "real.tif")
    colorize(scene, link, tiny)  # which is not there yet
    assert (place / "real.tif").read_bytes() == expected.read_bytes()
    (place / "real.tif").write_text("old")
    with pytest.raises(TargetExistsError, match="--overwrite"):
        colorize(scene, link, tiny)
    colorize(scene, link, tiny, overwrite=True)
    assert link.is_symlink()
    assert (place / "real.tif").read_bytes() == expected.read_bytes()
    assert [entry.name for entry in place.iterdir()] == ["real.tif"]


@posix
def test_a_file_in_the_place_of_another_is_for_the_same_people(
    tmp_path: Path, scene: Path, tiny: Model
) -> None:
    target = tmp_path / "rgb.tif"
    target.write_text("old")
    for mode in (0o640, 0o600, 0o444):
        target.chmod(mode)
        colorize(scene, target, tiny, overwrite=True)
        assert stat.S_IMODE(target.stat().st_mode) == mode
    assert read(target)[0].shape == (3, 70, 66)
    fresh = tmp_path / "fresh.tif"
    before = os.umask(0o027)
    try:
        colorize(scene, fresh, tiny)
    finally:
        os.umask(before)
    assert stat.S_IMODE(fresh.stat().st_mode) == 0o640


@pytest.mark.skipif(sys.platform == "win32", reason="Windows keeps a folder that is somebody's")
def test_whole_names_need_no_current_folder(tmp_path: Path, scene: Path, tiny: Model) -> None:
    """As of a service whose folder was replaced; torch's oneMKL wants one when it is loaded."""
    gone = tmp_path / "gone"
    gone.mkdir()
    load = "import torch; torch.ones(64, 64).sqrt() @ torch.ones(64, 64)"
    leave = f"{load}; import os; os.chdir({str(gone)!r}); os.rmdir({str(gone)!r})"
    target = tmp_path / "rgb.tif"
    options = ["--model", tiny.path, "--scale", "1e-4", "-q"]
    child = start("colorize", scene, "-o", target, *options, prelude=leave)
    _, said = child.communicate(timeout=60)
    assert child.returncode == 0, said
    command("colorize", scene, "-o", tmp_path / "here.tif", *options)
    np.testing.assert_array_equal(read(target)[0], read(tmp_path / "here.tif")[0])


def test_names_are_whole_and_short(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    assert hrefs.absolute("a/./b.tif") == str(tmp_path / "a" / "b.tif")
    assert hrefs.absolute(f"{tmp_path}//b.tif") == str(tmp_path / "b.tif")


@pytest.mark.parametrize("given", [{"nir": "a.tif"}, b"a.tif"])
def test_what_is_no_scene(given: object) -> None:
    with pytest.raises(OptionError, match="scene: "):
        nirgeo.open_scene(given)


@pytest.mark.parametrize("given", [b"a.tif", None, 3])
def test_what_is_no_file_of_a_stack(scene: Path, given: object) -> None:
    with pytest.raises(OptionError, match="--stack red: "):
        nirgeo.open_scene(scene, stack={"red": given})


def test_an_open_file_is_no_scene(scene: Path) -> None:
    with open(scene, "rb") as file, pytest.raises(OptionError, match="scene: a BufferedReader"):
        nirgeo.open_scene(file)


FIRST_CALLS = """
import threading
import nirgeo
failed = []

def go(number):
    try:
        rgb = nirgeo.colorize(nirgeo.open_scene({scene!r}))
        rgb.values if number % 2 else nirgeo.write_geotiff(rgb, {out!r}.format(number))
    except BaseException as error:
        failed.append(repr(error))

threads = [threading.Thread(target=go, args=(number,)) for number in range(8)]
[thread.start() for thread in threads]
[thread.join() for thread in threads]
assert not failed, failed
"""


def test_first_calls_of_several_threads(tmp_path: Path, scene: Path) -> None:
    """Whoever comes first imports what all need."""
    code = FIRST_CALLS.format(scene=str(scene), out=f"{tmp_path}/rgb-{{}}.tif")
    child = start("models", prelude=code)
    _, said = child.communicate(timeout=120)
    assert child.returncode == 0, said
    results = {read(tmp_path / f"rgb-{number}.tif")[0].tobytes() for number in (0, 2, 4, 6)}
    assert len(results) == 1


@posix
def test_beside_a_link_only_what_tells_of_the_former_file_goes(
    tmp_path: Path, scene: Path, tiny: Model
) -> None:
    (tmp_path / "bulk").mkdir()
    link = tmp_path / "link.tif"
    link.symlink_to(tmp_path / "bulk" / "real.tif")
    mine = tmp_path / "link.json"
    mine.write_text("mine")
    statistics = tmp_path / "link.tif.aux.xml"
    statistics.write_text("<PAMDataset/>")
    options = ("--model", tiny.path, "--scale", "1e-4", "-q", "--datetime", "2024-05-01T00:00:00Z")
    command("colorize", scene, "-o", link, "--stac", *options)
    assert mine.read_text() == "mine"
    assert (tmp_path / "bulk" / "real.json").exists()
    assert not statistics.exists()


@posix
def test_a_file_of_a_group_stays_the_group_s(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who is a member may give a file to the group, and only root to somebody else."""
    former, finished = tmp_path / "former.tif", tmp_path / "finished.tif"
    for path in (former, finished):
        path.write_text("x")
    former.chmod(0o660)
    given: list[int] = []

    def chown(path: Path, owner: int, group: int) -> None:
        if owner != -1:
            raise PermissionError
        given.append(group)

    monkeypatch.setattr(os, "chown", chown)
    _as_accessible_as(former, finished)
    assert given == [former.stat().st_gid]
    assert stat.S_IMODE(finished.stat().st_mode) == 0o660
