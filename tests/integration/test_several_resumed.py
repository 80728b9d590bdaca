"""Runs of several scenes that end before the last: --resume makes those that are missing."""

from __future__ import annotations

import json
import signal
from pathlib import Path

import pytest
from helpers import write_raster
from pictures import command, events, listing, scene_values, start

from nirgeo.modelfile import Model
from nirgeo.target import Target

SLOW_SECOND = """
import time
import nirgeo.cli.colorize as colorize
colorize_one, seen = colorize.colorize_one, []
def slow(*arguments, **options):
    seen.append(1)
    if len(seen) == 2:
        print("second", flush=True)
        time.sleep(120)
    return colorize_one(*arguments, **options)
colorize.colorize_one = slow
"""


@pytest.fixture
def scenes(tmp_path: Path) -> list[Path]:
    """Three, of which the second is none yet."""
    folder = tmp_path / "scenes"
    folder.mkdir()
    paths = [folder / f"{name}.tif" for name in "abc"]
    for seed, path in enumerate(paths):
        write_raster(path, scene_values(50, 70, seed=seed))
    good = paths[1].read_bytes()
    paths[1].write_bytes(b"broken")
    (tmp_path / "good").write_bytes(good)
    return paths


def mend(scenes: list[Path]) -> None:
    scenes[1].write_bytes((scenes[1].parents[1] / "good").read_bytes())


@pytest.fixture
def given(scenes: list[Path], tmp_path: Path, tiny: Model) -> list[object]:
    options = ["--model", tiny.path, "--scale", "0.0001", "--progress", "jsonl"]
    return ["colorize", *scenes, "--out-dir", tmp_path / "out", *options]


def resumed(text: str) -> list[tuple[int, int]]:
    return [(e["resumed"], e["total"]) for e in events(text) if e["event"] == "start"]


@pytest.mark.parametrize("first", [(), ("--resume",)], ids=["", "resume"])
def test_what_is_finished_is_not_made_again(
    tmp_path: Path, scenes: list[Path], given: list[object], first: tuple[str, ...]
) -> None:
    out = tmp_path / "out"
    failed = command(*given, *first, expect=1)
    assert events(failed.stdout)[-1]["code"] == "source-unreadable"
    assert "1 of 3 scenes are finished; --resume goes on" in failed.stderr
    made = (out / "a_rgb.tif").stat().st_mtime_ns
    mend(scenes)
    # Whoever forgets it once loses nothing.
    assert events(command(*given, expect=1).stdout)[-1]["code"] == "target-exists"
    found = command(*given, "--resume")
    assert resumed(found.stdout) == [(1, 1), (0, 1), (0, 1)]
    assert [Path(e["path"]).name for e in events(found.stdout) if e["event"] == "result"] == [
        "a_rgb.tif",
        "b_rgb.tif",
        "c_rgb.tif",
    ]
    assert (out / "a_rgb.tif").stat().st_mtime_ns == made
    assert list(listing(out)) == ["a_rgb.tif", "b_rgb.tif", "c_rgb.tif"]
    # All are finished, so nothing is left to go on from.
    assert events(command(*given, "--resume", expect=1).stdout)[-1]["code"] == "target-exists"


def test_items_are_written_again(tmp_path: Path, scenes: list[Path], given: list[object]) -> None:
    given += ["--stac", "--datetime", "2024-05-01T10:00:00Z"]
    command(*given, expect=1)
    mend(scenes)
    command(*given, "--resume")
    out = tmp_path / "out"
    assert sorted(listing(out)) == sorted(
        f"{name}_rgb.{suffix}" for name in "abc" for suffix in ("tif", "json")
    )
    assert json.loads((out / "a_rgb.json").read_text())["id"]


def test_a_result_of_other_options_is_kept(
    tmp_path: Path, scenes: list[Path], given: list[object]
) -> None:
    command(*given, expect=1)
    mend(scenes)
    result = tmp_path / "out" / "a_rgb.tif"
    before = result.read_bytes()
    other = command(*given, "--resume", "--gamma", "1.3", expect=1)
    assert events(other.stdout)[-1]["code"] == "target-exists"
    assert result.read_bytes() == before
    assert resumed(command(*given, "--resume").stdout)[0] == (1, 1)


def test_a_changed_scene_is_not_taken_as_finished(
    tmp_path: Path, scenes: list[Path], given: list[object]
) -> None:
    command(*given, expect=1)
    mend(scenes)
    write_raster(scenes[0], scene_values(50, 70, seed=9))
    before = (tmp_path / "out" / "a_rgb.tif").read_bytes()
    found = command(*given, "--resume", expect=1)
    assert events(found.stdout)[-1]["code"] == "target-exists"
    assert (tmp_path / "out" / "a_rgb.tif").read_bytes() == before
    assert resumed(command(*given, "--resume", "--overwrite").stdout) == [(0, 1)] * 3
    assert (tmp_path / "out" / "a_rgb.tif").read_bytes() != before
    assert list(listing(tmp_path / "out")) == ["a_rgb.tif", "b_rgb.tif", "c_rgb.tif"]


def test_what_somebody_else_wrote_meanwhile_is_kept(
    tmp_path: Path, scenes: list[Path], given: list[object]
) -> None:
    command(*given, expect=1)
    mend(scenes)
    (tmp_path / "out" / "a_rgb.tif").write_bytes(b"somebody else's")
    found = command(*given, "--resume", expect=1)
    assert events(found.stdout)[-1]["code"] == "target-exists"
    assert (tmp_path / "out" / "a_rgb.tif").read_bytes() == b"somebody else's"


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGINT], ids=lambda s: s.name)
def test_a_run_that_was_stopped_goes_on_with_the_next(
    tmp_path: Path, scenes: list[Path], given: list[object], how: signal.Signals
) -> None:
    mend(scenes)
    child = start(*given, prelude=SLOW_SECOND)
    assert child.stdout is not None
    assert any("second" in line for line in child.stdout)
    child.send_signal(how)
    child.communicate(timeout=60)
    assert resumed(command(*given, "--resume").stdout) == [(1, 1), (0, 1), (0, 1)]
    assert list(listing(tmp_path / "out")) == ["a_rgb.tif", "b_rgb.tif", "c_rgb.tif"]


def test_scenes_that_all_worked_leave_nothing(
    tmp_path: Path, scenes: list[Path], given: list[object]
) -> None:
    mend(scenes)
    command(*given)
    assert list(listing(tmp_path / "out")) == ["a_rgb.tif", "b_rgb.tif", "c_rgb.tif"]


def test_another_spelling_of_a_scene_is_the_same_scene(
    tmp_path: Path, scenes: list[Path], given: list[object], monkeypatch: pytest.MonkeyPatch
) -> None:
    command(*given, expect=1)
    mend(scenes)
    monkeypatch.chdir(tmp_path)
    spelt = [Path("scenes") / ".." / "scenes" / path.name for path in scenes]
    again = ["colorize", *spelt, *given[4:], "--resume"]
    assert resumed(command(*again).stdout) == [(1, 1), (0, 1), (0, 1)]


def test_all_there_and_some_marked_is_the_end(
    tmp_path: Path, scenes: list[Path], given: list[object], monkeypatch: pytest.MonkeyPatch
) -> None:
    mend(scenes)
    with monkeypatch.context() as patched:
        patched.setattr(Target, "forget", lambda self: None)
        command(*given)
    assert len(listing(tmp_path / "out")) == 9
    Target(tmp_path / "out" / "a_rgb.tif", overwrite=True).forget()  # killed after the first
    command(*given, "--resume", expect=1)
    assert list(listing(tmp_path / "out")) == ["a_rgb.tif", "b_rgb.tif", "c_rgb.tif"]


def test_what_is_wrong_with_options_is_not_blamed_on_a_scene(
    tmp_path: Path, scenes: list[Path]
) -> None:
    for wrong in (("--model", "nope"), ("--chunk", 9999), ("--co", "NOPE=1")):
        failed = command("colorize", *scenes, "--out-dir", tmp_path / "o", *wrong, expect=1)
        assert "scenes" not in failed.stderr.splitlines()[-1]
