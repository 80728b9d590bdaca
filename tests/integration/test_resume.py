"""Runs that are killed, interrupted, repeated and run twice at once."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import threading
import time
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import dask.array as da
import numpy as np
import pytest
import rasterio
import xarray as xr
from helpers import random_model, write_raster
from numpy.typing import NDArray
from pictures import command, events, listing, punch_holes, read, scene_values, start
from rasterio.io import MemoryFile

import nirgeo
from nirgeo.blockstore import BlockStore
from nirgeo.errors import GridError, ResumeError, TargetExistsError, TargetLockedError
from nirgeo.journal import Finished, Journal
from nirgeo.modelfile import Model
from nirgeo.target import Target

CHUNKS = 30  # of one tile each
EMPTY = (2, 1)  # the one without a valid pixel

# Chunks take their time, and the last one is not kept before the run is told to end, or a file says
# that it may. So a run that is stopped among its chunks can't be done before, however slow the
# machine is for whoever stops it.
SLOW = """
import os, threading, time
from concurrent.futures import ThreadPoolExecutor
import nirgeo.inference as inference
from nirgeo.blockstore import BlockStore
run_network, write, shutdown = inference.run_network, BlockStore.write, ThreadPoolExecutor.shutdown
ending = threading.Event()
def slow(*arguments, **options):
    time.sleep(0.05)
    return run_network(*arguments, **options)
def write_last(self, i, j, *arguments, **options):
    last = (len(self.grid.row_sizes) - 1, len(self.grid.col_sizes) - 1)
    for _ in range(6000):  # two minutes, so that a test that fails leaves nothing running
        if (i, j) != last or ending.is_set() or os.path.exists({released!r}):
            break
        time.sleep(0.02)
    return write(self, i, j, *arguments, **options)
def noted_shutdown(*arguments, **options):
    ending.set()
    shutdown(*arguments, **options)
inference.run_network, BlockStore.write = slow, write_last
ThreadPoolExecutor.shutdown = noted_shutdown
"""


def slow_chunks(released: Path | str = "") -> str:
    return SLOW.format(released=str(released))


# The last step waits, before it or after it, for the signal that ends the run: after it the result
# lies in the working folder, unpublished. A file says when it has come so far.
WAITING_COPY = """
import pathlib, time
import nirgeo.cog as cog
write_cog = cog.write_cog
def wait():
    pathlib.Path({reached!r}).touch()
    time.sleep(120)
def waiting(*arguments):
    if {before}:
        wait()
    write_cog(*arguments)
    wait()
cog.write_cog = waiting
"""
# Here it is GDAL's own part of the last step that takes its time: where it makes the file at once,
# and where its strips are made side by side.
SLOW_READING = """
import time
from nirgeo.interruption import _Reader
read = _Reader.read
def slow(self, size=-1):
    time.sleep(0.5)
    return read(self, size)
_Reader.read = slow
"""
SLOW_STRIPS = """
import time
from nirgeo import cog_strips
encode = cog_strips.encode_strip
def slow(*arguments):
    time.sleep(2)
    encode(*arguments)
cog_strips.encode_strip, cog_strips._PIXELS = slow, 1
"""
MAKING = {
    "at once": (SLOW_READING, "blocks.vrt", ("--co", "OVERVIEW_RESAMPLING=AVERAGE")),
    "strips": (SLOW_STRIPS, "header.vrt", ("--co", "BLOCKSIZE=128")),  # six of them
}
"""What slows it down, a file that tells that it has begun, and options."""


# And here what follows the renaming of the finished file.
SLOW_END = """
import time
from nirgeo.target import Target
publish = Target.publish
def slow(self, *arguments):
    publish(self, *arguments)
    time.sleep(60)
Target.publish = slow
"""


@dataclass(frozen=True)
class Work:
    """A scene, a model, and what an uninterrupted run makes of them."""

    scene: Path
    model: Model
    finished: bytes

    def arguments(self, target: Path, *more: object) -> list[object]:
        options = ("--model", self.model.path, "--chunk", 1, "--progress", "jsonl", "-o", target)
        return ["colorize", self.scene, "--scale", "0.0001", "--workers", 2, *options, *more]

    def begin(
        self, target: Path, *more: object, prelude: str | None = None
    ) -> subprocess.Popen[str]:
        return start(*self.arguments(target, *more), prelude=prelude or slow_chunks())

    def run(self, target: Path, *more: object, expect: int = 0) -> list[dict[str, Any]]:
        return events(command(*self.arguments(target, *more), expect=expect).stdout)


@pytest.fixture(scope="module")
def work(tmp_path_factory: pytest.TempPathFactory, tiny: Model) -> Work:
    folder = tmp_path_factory.mktemp("work")
    values, valid = scene_values(310, 370), punch_holes(310, 370)
    values[~valid] = 0
    values[128:192, 64:128] = 0
    scene = write_raster(folder / "scene.tif", values, nodata=0)
    unfinished = Work(scene, tiny, b"")
    unfinished.run(folder / "whole.tif")
    return Work(scene, tiny, (folder / "whole.tif").read_bytes())


def wait_for(child: subprocess.Popen[str], done: int) -> None:
    """Until so many chunks are done."""
    assert child.stdout is not None
    for line in child.stdout:
        event = json.loads(line)
        assert event["event"] in ("start", "progress"), event
        if event.get("done", 0) >= done:
            return
    raise AssertionError(f"the run ended early: {child.communicate()}")


def stop(child: subprocess.Popen[str], number: signal.Signals) -> tuple[int, str, str]:
    child.send_signal(number)
    out, err = child.communicate(timeout=60)
    return child.returncode, out, err


def wait_until(condition: Callable[[], bool], patience: float = 60.0) -> None:
    deadline = time.monotonic() + patience
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def kinds(log: list[dict[str, Any]]) -> list[str]:
    """What a run told, but for how far the file is, which only a slow machine is told."""
    return [event["event"] for event in log if event["event"] != "writing"]


def kill_at(work: Work, target: Path, done: int) -> int:
    """Kill a run when so many chunks are in its journal; returns of how many it has told.

    It tells of one when it ends the next, so nothing may be waited for that it tells at the end.
    """
    child = work.begin(target)
    journal = state_of(target) / "journal.jsonl"
    wait_until(lambda: journal.exists() and journal.read_bytes().count(b"\n") > done)
    return kill(child, target)


def kill(child: subprocess.Popen[str], target: Path) -> int:
    code, out, _ = stop(child, signal.SIGKILL)
    assert code == -signal.SIGKILL
    assert (state_of(target) / "journal.jsonl").exists()
    whole = [json.loads(line) for line in out.splitlines(keepends=True) if line.endswith("\n")]
    return max([0, *(event["done"] for event in whole if event["event"] == "progress")])


@pytest.fixture(scope="module")
def killed(work: Work, tmp_path_factory: pytest.TempPathFactory) -> Callable[[Path], None]:
    """``killed(target)``: leaves beside ``target`` what a killed run leaves."""
    state = tmp_path_factory.mktemp("killed") / ".out.tif.nirgeo"
    kill_at(work, state.parent / "out.tif", 12)

    def copy(target: Path) -> None:
        shutil.copytree(state, target.parent / f".{target.name}.nirgeo")

    return copy


@pytest.fixture
def reached(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where a run says that it has come to what a test waits for."""
    return tmp_path_factory.mktemp("sign") / "reached"


def state_of(target: Path) -> Path:
    return target.parent / f".{target.name}.nirgeo"


# --- SIGKILL --------------------------------------------------------------------------------------


@pytest.mark.parametrize("done", [1, pytest.param(13, marks=pytest.mark.slow), CHUNKS - 1])
def test_a_killed_run_is_resumed_to_identical_bytes(tmp_path: Path, work: Work, done: int) -> None:
    target = tmp_path / "out.tif"
    told = kill_at(work, target, done)
    assert not target.exists()
    log = work.run(target, "--resume")
    assert log[0]["event"] == "start"
    assert max(done, told) <= log[0]["resumed"] < CHUNKS
    assert log[0]["total"] == CHUNKS
    assert log[1] == {"event": "progress", "done": log[0]["resumed"] + 1, "total": CHUNKS}
    assert (log[-1]["event"], log[-1]["path"]) == ("result", str(target))
    assert target.read_bytes() == work.finished
    assert list(listing(tmp_path)) == ["out.tif"]


@pytest.mark.parametrize("before", [True, False], ids=["before", "after"])
def test_a_run_killed_while_it_made_the_file(
    tmp_path: Path, reached: Path, work: Work, before: bool
) -> None:
    target = tmp_path / "out.tif"
    copying = WAITING_COPY.format(before=before, reached=str(reached))
    child = work.begin(target, prelude=copying)
    wait_for(child, CHUNKS)
    wait_until(reached.exists)
    kill(child, target)
    assert not target.exists()
    assert (state_of(target) / "result.tif").exists() != before
    log = work.run(target, "--resume")
    assert log[0] == {"event": "start", "protocol": 1, "total": CHUNKS, "resumed": CHUNKS}
    assert kinds(log) == ["start", "result"]
    assert target.read_bytes() == work.finished
    assert list(listing(tmp_path)) == ["out.tif"]


@pytest.fixture
def named_and_killed(tmp_path: Path, work: Work) -> Path:
    """A run that was killed just after its result got its name."""
    target = tmp_path / "out.tif"
    child = work.begin(target, prelude=SLOW_END)
    wait_for(child, CHUNKS)
    wait_until(target.exists)
    stop(child, signal.SIGKILL)
    assert (state_of(target) / "blocks.tif").exists()
    return target


@pytest.mark.parametrize("cleared", [0, 1, 2], ids="{} files gone".format)
def test_a_run_killed_after_its_result_got_its_name_is_finished_by_resume(
    work: Work, named_and_killed: Path, cleared: int
) -> None:
    target = named_and_killed
    for name in ("blocks.tif", "journal.jsonl")[:cleared]:
        (state_of(target) / name).unlink()
    stamp = target.stat().st_mtime_ns
    log = work.run(target, "--resume")
    assert log[0] == {"event": "start", "protocol": 1, "total": CHUNKS, "resumed": CHUNKS}
    assert kinds(log) == ["start", "result"]
    assert target.stat().st_mtime_ns == stamp  # not made again
    assert target.read_bytes() == work.finished
    assert list(listing(target.parent)) == ["out.tif"]


@pytest.mark.parametrize(
    "more", [(), ("--resume", "--gamma", 1.2), ("--reference", "gone.tif")], ids=str
)
def test_whoever_comes_next_tidies_up_what_such_a_run_left(
    work: Work, named_and_killed: Path, more: tuple[object, ...]
) -> None:
    target = named_and_killed
    assert work.run(target, *more, expect=1)[-1]["code"] == "target-exists"
    assert target.read_bytes() == work.finished
    assert list(listing(target.parent)) == ["out.tif"]


@pytest.mark.parametrize("more", [(), ("--resume",)], ids=["anew", "resume"])
def test_and_may_write_something_else_over_it(
    work: Work, named_and_killed: Path, more: tuple[object, ...]
) -> None:
    target = named_and_killed
    assert work.run(target, "--overwrite", "--gamma", 1.2, *more)[0]["resumed"] == 0
    assert target.read_bytes() != work.finished
    assert list(listing(target.parent)) == ["out.tif"]


def test_a_file_that_took_the_name_since_is_not_taken_for_the_result(
    work: Work, named_and_killed: Path
) -> None:
    target = named_and_killed
    target.write_bytes(b"somebody else's")
    assert work.run(target, "--resume", expect=1)[-1]["code"] == "target-exists"
    assert target.read_bytes() == b"somebody else's"
    assert list(listing(target.parent)) == ["out.tif"]


@pytest.mark.slow
def test_killed_again_and_again(tmp_path: Path, work: Work) -> None:
    target = tmp_path / "out.tif"
    resumed = []
    for _ in range(3):
        child = work.begin(target, "--resume")
        assert child.stdout is not None
        resumed.append(json.loads(child.stdout.readline())["resumed"])
        wait_for(child, resumed[-1] + 5)
        stop(child, signal.SIGKILL)
    assert resumed[0] == 0
    assert resumed[1] >= 5
    assert resumed[2] >= resumed[1] + 5
    assert work.run(target, "--resume")[0]["resumed"] >= resumed[2] + 5
    assert target.read_bytes() == work.finished
    assert list(listing(tmp_path)) == ["out.tif"]


def test_without_resume_a_killed_run_is_forgotten(
    tmp_path: Path, work: Work, killed: Callable[[Path], None]
) -> None:
    target = tmp_path / "out.tif"
    killed(target)
    log = work.run(target)
    assert log[0]["resumed"] == 0
    assert target.read_bytes() == work.finished
    assert list(listing(tmp_path)) == ["out.tif"]


# --- Ctrl-C and SIGTERM ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("number", "code", "word"),
    [
        (signal.SIGINT, 130, "interrupted"),
        (signal.SIGTERM, 143, "terminated"),
        (getattr(signal, "SIGHUP", signal.SIGTERM), 143, "terminated"),
    ],
    ids=["SIGINT", "SIGTERM", "SIGHUP"],
)
def test_an_interrupted_run_leaves_nothing(
    tmp_path: Path, work: Work, number: signal.Signals, code: int, word: str
) -> None:
    if signal.getsignal(number) == signal.SIG_IGN:
        pytest.skip("this signal is ignored here, as under nohup, and so by what is started")
    target = tmp_path / "out.tif"
    child = work.begin(target)
    wait_for(child, 5)
    status, out, err = stop(child, number)
    assert status == code
    assert events(out)[-1] == {"event": "error", "code": word, "message": word}
    assert err.splitlines()[-1] == f"Error: {word}"
    assert "Traceback" not in err
    assert listing(tmp_path) == {}


@pytest.mark.parametrize(
    ("number", "code"),
    [(signal.SIGINT, 130), pytest.param(signal.SIGTERM, 143, marks=pytest.mark.slow)],
    ids=["SIGINT", "SIGTERM"],
)
def test_with_resume_an_interrupted_run_keeps_its_chunks(
    tmp_path: Path, work: Work, number: signal.Signals, code: int
) -> None:
    target = tmp_path / "out.tif"
    child = work.begin(target, "--resume")
    wait_for(child, 5)
    assert stop(child, number)[0] == code
    assert not target.exists()
    assert (state_of(target) / "journal.jsonl").exists()
    assert work.run(target, "--resume")[0]["resumed"] >= 5
    assert target.read_bytes() == work.finished
    assert list(listing(tmp_path)) == ["out.tif"]


@pytest.mark.parametrize("before", [True, False], ids=["before", "after"])
def test_interrupted_while_it_made_the_file(
    tmp_path: Path, reached: Path, work: Work, before: bool
) -> None:
    copying = WAITING_COPY.format(before=before, reached=str(reached))
    child = work.begin(tmp_path / "out.tif", prelude=copying)
    wait_for(child, CHUNKS)
    wait_until(reached.exists)
    assert stop(child, signal.SIGINT)[0] == 130
    assert listing(tmp_path) == {}


@pytest.mark.parametrize(
    ("number", "code"),
    [
        (signal.SIGINT, 130),
        pytest.param(signal.SIGTERM, 143, marks=pytest.mark.slow),
        pytest.param(getattr(signal, "SIGHUP", signal.SIGTERM), 143, marks=pytest.mark.slow),
    ],
    ids=["SIGINT", "SIGTERM", "SIGHUP"],
)
@pytest.mark.parametrize("how", [pytest.param("at once", marks=pytest.mark.slow), "strips"])
def test_interrupted_while_gdal_made_the_file(
    tmp_path: Path, work: Work, number: signal.Signals, code: int, how: str
) -> None:
    if signal.getsignal(number) == signal.SIG_IGN:
        pytest.skip(f"{number.name} is ignored here, as under nohup")
    target = tmp_path / "out.tif"
    slow, begun, options = MAKING[how]
    child = work.begin(target, *options, prelude=slow)
    wait_for(child, CHUNKS)
    wait_until((state_of(target) / begun).exists)
    time.sleep(2)
    started = time.monotonic()
    status, out, err = stop(child, number)
    assert status == code, err
    assert time.monotonic() - started < 10
    assert kinds(events(out)) == ["error"]
    assert err.splitlines()[-1] == f"Error: {events(out)[-1]['code']}"
    assert "Traceback" not in err
    assert "ignored" not in err
    assert listing(tmp_path) == {}


@pytest.mark.parametrize("how", [pytest.param("at once", marks=pytest.mark.slow), "strips"])
def test_with_resume_an_interruption_while_gdal_made_the_file_costs_no_chunk(
    tmp_path: Path, work: Work, how: str
) -> None:
    target = tmp_path / "out.tif"
    slow, begun, options = MAKING[how]
    child = work.begin(target, "--resume", *options, prelude=slow)
    wait_for(child, CHUNKS)
    wait_until((state_of(target) / begun).exists)
    assert stop(child, signal.SIGTERM)[0] == 143
    assert not target.exists()
    assert not list(state_of(target).glob("strip-*"))
    assert work.run(target, "--resume", *options)[0]["resumed"] == CHUNKS
    with rasterio.open(target) as made, MemoryFile(work.finished) as held, held.open() as whole:
        assert (made.read() == whole.read()).all()
    assert list(listing(tmp_path)) == ["out.tif"]


def test_interrupted_before_it_began(tmp_path: Path, reached: Path, work: Work) -> None:
    # While the scene is opened there is no state yet; nothing may appear.
    prelude = (
        "import pathlib, time, nirgeo.scene as s\n"
        f"def wait(*a, **k):\n    pathlib.Path({str(reached)!r}).touch()\n    time.sleep(60)\n"
        "s.open_scene = wait\n"
    )
    child = work.begin(tmp_path / "out.tif", prelude=prelude)
    wait_until(reached.exists)
    code, out, err = stop(child, signal.SIGINT)
    assert code == 130, err
    assert events(out)[-1]["code"] == "interrupted"
    assert listing(tmp_path) == {}


# --- what can't be resumed ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "word"),
    [
        (("--chunk", 2), "chunk"),
        (("--gamma", 1.2), "gamma"),
        (("--brightness", 1.1), "brightness"),
        (("--scale", "0.0002"), "scaling"),
        (("--as", "reflectance"), "output"),
        (("--nodata", 1), "scene"),
        (("--co", "COMPRESS=ZSTD"), "creation_options"),
        (("--bounds", 500_000, 4_997_000, 502_000, 5_000_000), "region"),
        (("--model", "MODEL"), "model"),
        (("SCENE",), "scene"),
    ],
    ids=lambda c: str(c[0]) if isinstance(c, tuple) else None,
)
def test_other_work_is_not_resumed(
    tmp_path: Path,
    work: Work,
    killed: Callable[[Path], None],
    change: tuple[object, ...],
    word: str,
) -> None:
    target = tmp_path / "out.tif"
    killed(target)
    before = listing(tmp_path)
    arguments = work.arguments(target, "--resume")
    if change == ("SCENE",):
        other = tmp_path / "scene.tif"
        shutil.copy2(work.scene, other)
        before = listing(tmp_path)
        arguments[1] = other
    elif "MODEL" in change:
        arguments += ["--model", random_model(tmp_path / "m", seed=99).path]
        before = listing(tmp_path)
    else:
        arguments += change
    result = command(*arguments, expect=1)
    (error,) = [e for e in events(result.stdout) if e["event"] == "error"]
    assert error["code"] == "resume-mismatch"
    assert word in error["message"]
    assert "--resume" in error["message"]
    assert result.stderr.splitlines()[-1] == f"Error: {error['message']}"
    assert "\n" not in error["message"]
    assert len(error["message"]) < 400
    after = listing(tmp_path)
    assert {k: v for k, v in after.items() if not k.endswith(("lock", ".nirgeo"))} == {
        k: v for k, v in before.items() if not k.endswith(("lock", ".nirgeo"))
    }
    # And the right options still continue it.
    log = work.run(target, "--resume")
    assert log[0]["resumed"] >= 12
    assert target.read_bytes() == work.finished


@pytest.mark.parametrize("kind", ["tif", "vrt", "mask"])
def test_a_scene_that_changed_is_noticed(tmp_path: Path, tiny: Model, kind: str) -> None:
    values = scene_values(200, 200)
    tif = write_raster(tmp_path / "in" / "scene.tif", values)
    scene = tif
    if kind == "vrt":
        scene = tmp_path / "in" / "scene.vrt"
        from rasterio.shutil import copy

        copy(tif, scene, driver="VRT")
    changing = tif
    if kind == "mask":
        import rasterio

        with rasterio.Env(GDAL_TIFF_INTERNAL_MASK=False), rasterio.open(tif, "r+") as file:
            file.write_mask(values > 300)
        changing = Path(f"{tif}.msk")
    work = Work(scene, tiny, b"")
    target = tmp_path / "out.tif"
    child = work.begin(target)
    wait_for(child, 3)
    stop(child, signal.SIGKILL)
    status = changing.stat()
    os.utime(changing, ns=(status.st_atime_ns, status.st_mtime_ns + 1))
    log = work.run(target, "--resume", expect=1)
    assert log[-1]["code"] == "resume-mismatch"
    assert "scene" in log[-1]["message"]


def test_looking_at_a_scene_does_not_change_it(
    tmp_path: Path, tiny: Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    # A GIS that opens it writes statistics beside it, or overviews.
    import rasterio

    scene = write_raster(tmp_path / "in" / "scene.tif", scene_values(200, 200))
    work = Work(scene, tiny, b"")
    target = tmp_path / "out.tif"
    child = work.begin(target)
    wait_for(child, 3)
    stop(child, signal.SIGKILL)
    Path(f"{scene}.aux.xml").write_text("<PAMDataset></PAMDataset>")
    with rasterio.open(scene) as file:
        shape = dict(file.profile, driver="GTiff", width=100, height=100)
    with rasterio.open(f"{scene}.ovr", "w", **shape) as file:
        file.write(np.ones((1, 100, 100), np.uint16))
    assert work.run(target, "--resume")[0]["resumed"] >= 3


def test_another_version_does_not_continue(
    tmp_path: Path, work: Work, killed: Callable[[Path], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    target = tmp_path / "out.tif"
    killed(target)
    from nirgeo import write

    monkeypatch.setattr(write, "__version__", "99.0")
    error = work.run(target, "--resume", expect=1)[-1]
    assert error["code"] == "resume-mismatch"
    assert "99.0" in error["message"]


def test_resume_with_nothing_to_resume_starts_anew(tmp_path: Path, work: Work) -> None:
    target = tmp_path / "out.tif"
    assert work.run(target, "--resume")[0]["resumed"] == 0
    assert target.read_bytes() == work.finished
    assert work.run(target, "--resume", expect=1)[-1]["code"] == "target-exists"
    target.write_bytes(b"older")
    log = work.run(target, "--resume", "--overwrite")
    assert log[0]["resumed"] == 0
    assert target.read_bytes() == work.finished
    assert list(listing(tmp_path)) == ["out.tif"]


def test_resume_goes_with_overwrite(
    tmp_path: Path, work: Work, killed: Callable[[Path], None]
) -> None:
    target = tmp_path / "out.tif"
    target.write_bytes(b"older")
    killed(target)
    assert work.run(target, "--resume", expect=1)[-1]["code"] == "target-exists"
    assert target.read_bytes() == b"older"
    assert work.run(target, "--resume", "--overwrite")[0]["resumed"] >= 12
    assert target.read_bytes() == work.finished
    assert list(listing(tmp_path)) == ["out.tif"]


# --- damaged state --------------------------------------------------------------------------------


def line_of(record: dict[str, Any]) -> str:
    return (
        json.dumps({**record, "crc": zlib.crc32(json.dumps(record, sort_keys=True).encode())})
        + "\n"
    )


def tear_last_line(state: Path) -> int:
    journal = state / "journal.jsonl"
    lines = journal.read_bytes().splitlines(keepends=True)
    journal.write_bytes(b"".join(lines[:-1]) + lines[-1][:9])
    return len(lines) - 2


def spoil_sixth_chunk(state: Path) -> int:
    journal = state / "journal.jsonl"
    lines = journal.read_bytes().splitlines(keepends=True)
    lines[6] = b"\x00\xff garbage\n"
    journal.write_bytes(b"".join(lines))
    return 5


def spoil_first_line(state: Path) -> int:
    journal = state / "journal.jsonl"
    lines = journal.read_bytes().splitlines(keepends=True)
    journal.write_bytes(b"".join([b"{\n", *lines[1:]]))
    return 0


def add_impossible_chunks(state: Path) -> int:
    journal = state / "journal.jsonl"
    before = journal.read_bytes()
    with journal.open("a") as file:
        for chunk in ([99, 0], [-1, 0]):
            file.write(line_of({"chunk": chunk, "valid": 5, "pixels": 0}))
    return before.count(b"\n") - 1


def claim_a_chunk_that_is_not_there(state: Path) -> int:
    # A damaged line that still reads as JSON.
    journal = state / "journal.jsonl"
    *lines, last = journal.read_bytes().splitlines(keepends=True)
    written = b"".join([*lines, last])
    chunks = [b'"chunk": [%d, %d]' % (i, j) for i in range(5) for j in range(6)]
    missing = next(chunk for chunk in chunks if chunk not in written)
    claimed = re.sub(rb'"chunk": \[\d, \d\]', missing, last)
    assert claimed != last
    journal.write_bytes(b"".join([*lines, claimed]))
    return len(lines) - 1


def repeat_a_chunk(state: Path) -> int:
    journal = state / "journal.jsonl"
    lines = journal.read_bytes().splitlines(keepends=True)
    journal.write_bytes(b"".join([*lines, lines[3]]))
    return len(lines) - 1


def empty_journal(state: Path) -> int:
    (state / "journal.jsonl").write_bytes(b"")
    return 0


def no_journal(state: Path) -> int:
    (state / "journal.jsonl").unlink()
    return 0


def other_format(state: Path) -> int:
    (state / "journal.jsonl").write_text(line_of({"format": 99, "identity": {}}))
    return 0


def without_checksums_of_pixels(state: Path) -> int:
    """A journal of the format before: with nothing to hold its pixels against, none is taken."""
    journal = state / "journal.jsonl"
    first, *chunks = map(json.loads, journal.read_bytes().splitlines())
    lines = [{"format": 2, "identity": first["identity"]}]
    lines += [{"chunk": chunk["chunk"], "valid": chunk["valid"]} for chunk in chunks]
    journal.write_text("".join(map(line_of, lines)))
    return 0


def change_a_pixel(state: Path) -> int:
    return change_a_chunk(state, lambda data: bytes([data[0] ^ 1]) + data[1:])


def lose_half_a_chunk(state: Path) -> int:
    """As a disk does that said too early that all was written."""
    return change_a_chunk(state, lambda data: data[: len(data) // 2] + bytes(len(data) // 2))


def colour_an_empty_chunk(state: Path) -> int:
    return change_a_chunk(state, lambda data: b"\x01" + data[1:], EMPTY)


def change_a_chunk(
    state: Path, change: Callable[[bytes], bytes], chosen: tuple[int, int] | None = None
) -> int:
    """Change the pixels of a chunk behind the journal's back: of a finished one, if none is chosen.
    Returns how many finished ones are as they were."""
    _, *chunks = map(json.loads, (state / "journal.jsonl").read_bytes().splitlines())
    finished = [tuple(chunk["chunk"]) for chunk in chunks]
    i, j = chosen or next(chunk for chunk in finished if chunk != EMPTY)
    with rasterio.open(state / "blocks.tif") as file:
        start = int(file.get_tag_item(f"BLOCK_OFFSET_{j}_{i}", "TIFF", bidx=1))
        length = int(file.get_tag_item(f"BLOCK_SIZE_{j}_{i}", "TIFF", bidx=1))
    with (state / "blocks.tif").open("r+b") as store:
        store.seek(start)
        before = store.read(length)
        after = change(before)
        assert len(after) == length
        assert after != before
        store.seek(start)
        store.write(after)
    return len(finished) - finished.count((i, j))


def no_store(state: Path) -> int:
    (state / "blocks.tif").unlink()
    return 0


def short_store(state: Path) -> int:
    os.truncate(state / "blocks.tif", 1000)
    return 0


def store_without_its_end(state: Path) -> int:
    os.truncate(state / "blocks.tif", (state / "blocks.tif").stat().st_size - 1)
    return 0


def store_that_places_tiles_elsewhere(state: Path) -> int:
    with rasterio.open(state / "blocks.tif") as file:
        first = int(file.get_tag_item("BLOCK_OFFSET_0_0", "TIFF", bidx=1))
    raw = (state / "blocks.tif").read_bytes()
    place = raw.index(first.to_bytes(8, "little"))  # TIFF's list of offsets begins there
    (state / "blocks.tif").write_bytes(raw[:place] + raw[place + 8 : place + 16] + raw[place + 8 :])
    return 0


@pytest.mark.parametrize(
    "damage",
    [
        tear_last_line,
        spoil_sixth_chunk,
        spoil_first_line,
        add_impossible_chunks,
        claim_a_chunk_that_is_not_there,
        repeat_a_chunk,
        empty_journal,
        no_journal,
        other_format,
        without_checksums_of_pixels,
        change_a_pixel,
        lose_half_a_chunk,
        colour_an_empty_chunk,
        no_store,
        short_store,
        store_without_its_end,
        store_that_places_tiles_elsewhere,
    ],
    ids=lambda f: f.__name__,
)
def test_damaged_state_costs_work_and_nothing_else(
    tmp_path: Path,
    work: Work,
    killed: Callable[[Path], None],
    damage: Callable[[Path], int],
) -> None:
    target = tmp_path / "out.tif"
    killed(target)
    left = damage(state_of(target))
    log = work.run(target, "--resume")
    assert log[0]["resumed"] == left
    assert target.read_bytes() == work.finished
    assert list(listing(tmp_path)) == ["out.tif"]


def test_a_journal_stays_whole_while_it_is_rewritten(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Killed while it cleans the journal of an earlier run, a run must not lose that run's chunks.
    journal = Journal(tmp_path / "journal.jsonl")
    journal.create({"work": 1})
    for k in range(5):
        journal.done([Finished(0, k, 7, k)])
    journal.close()
    before = journal.path.read_bytes()

    class Killed(BaseException):
        pass

    def die(*_: object) -> None:
        raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(os, "replace", die)
        with pytest.raises(Killed):
            Journal(journal.path).resume({"work": 1})
    assert journal.path.read_bytes() == before
    assert Journal(journal.path).resume({"work": 1}) == {
        (0, k): Finished(0, k, 7, k) for k in range(5)
    }
    with pytest.raises(ResumeError, match="work"):
        Journal(journal.path).resume({"work": 2})


# --- two at once ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "options",
    [
        (),
        pytest.param(("--overwrite",), marks=pytest.mark.slow),
        pytest.param(("--resume",), marks=pytest.mark.slow),
    ],
    ids=str,
)
def test_a_target_that_is_being_written_is_refused(
    tmp_path: Path, reached: Path, work: Work, options: tuple[str, ...]
) -> None:
    target = tmp_path / "out.tif"
    first = work.begin(target, prelude=slow_chunks(released=reached))
    wait_for(first, 1)
    log = work.run(target, *options, expect=1)
    reached.touch()
    (error,) = [e for e in log if e["event"] == "error"]
    assert error["code"] == "target-locked"
    assert str(target) in error["message"]
    assert "another run" in error["message"]
    _, rest = first.communicate(timeout=120)
    assert first.returncode == 0, rest
    assert target.read_bytes() == work.finished
    assert list(listing(tmp_path)) == ["out.tif"]


def test_the_lock_lets_one_in_and_never_loses_a_folder(tmp_path: Path) -> None:
    # Threads take, use and give back one target as fast as they can. Locks of the operating system
    # hold between open files, so threads stand for processes here.
    inside: list[int] = []
    problems: list[BaseException | str] = []
    entered = [0] * 6

    def worker(number: int) -> None:
        stop_at = time.monotonic() + 2
        while time.monotonic() < stop_at:
            try:
                with Target(tmp_path / "out.tif", overwrite=True).guarded() as folder:
                    inside.append(number)
                    mine = folder / "journal.jsonl"
                    mine.write_text(str(number))
                    if inside != [number]:
                        problems.append(f"{inside} at once")
                    if mine.read_text() != str(number):
                        problems.append("another run's journal")
                    mine.unlink()
                    entered[number] += 1
                    inside.remove(number)
            except TargetLockedError:
                time.sleep(0.0002)
            except BaseException as error:
                problems.append(error)
                return

    threads = [threading.Thread(target=worker, args=(k,)) for k in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not problems
    assert sum(entered) > 50
    assert list(listing(tmp_path)) == []


# --- the same from Python -------------------------------------------------------------------------


def failing_at(
    rgb: xr.DataArray, where: tuple[int, int, int], computed: list[Any]
) -> Iterator[xr.DataArray]:
    """Twice the same lazy picture: the first fails at a chunk, the second does not."""
    broken = [True]

    def pass_on(block: NDArray[Any], block_id: tuple[int, ...] | None = None) -> NDArray[Any]:
        if block_id == where and broken[0]:
            raise RuntimeError("this chunk fails")
        computed.append(block_id)
        return block

    data = rgb.data.map_blocks(
        pass_on, dtype=rgb.dtype, meta=np.empty((0, 0, 0), rgb.dtype), name="may-fail"
    )
    yield rgb.copy(data=data)
    broken[0] = False
    yield rgb.copy(data=data)


def test_only_missing_chunks_are_computed_again(tmp_path: Path, work: Work) -> None:
    scene = nirgeo.open_scene(work.scene, scale="0.0001", chunk=1)
    rgb = nirgeo.colorize(scene, work.model)
    computed: list[Any] = []
    attempts = failing_at(rgb, (0, 3, 2), computed)
    target = tmp_path / "out.tif"
    with pytest.raises(RuntimeError, match="this chunk fails"):
        nirgeo.write_geotiff(next(attempts), target, resume=True, workers=1)
    first = list(computed)
    assert 0 < len(first) < CHUNKS
    computed.clear()
    starts: list[tuple[int, int]] = []
    nirgeo.write_geotiff(
        next(attempts), target, resume=True, workers=1, on_start=lambda *s: starts.append(s)
    )
    assert starts == [(len(first), CHUNKS)]
    assert sorted(first + computed) == [(0, i, j) for i in range(5) for j in range(6)]
    assert target.read_bytes() == work.finished


def stop_at_the_fourth(done: int, total: int) -> None:
    if done == 4:
        raise RuntimeError("stopped")


def test_arrays_can_be_resumed_too(tmp_path: Path, tiny: Model) -> None:
    # In memory or dask: a run is recognised by the values it is made from.
    values = scene_values(200, 260)
    target = tmp_path / "out.tif"

    def rgb(seed_value: int) -> xr.DataArray:
        changed = values.copy()
        changed[0, 0] = seed_value
        array = xr.DataArray(da.from_array(changed, chunks=64), dims=("y", "x"))
        return nirgeo.colorize(array, tiny, scale="0.0001")

    with pytest.raises(RuntimeError, match="stopped"):
        nirgeo.write_geotiff(rgb(1000), target, resume=True, on_progress=stop_at_the_fourth)
    with pytest.raises(ResumeError, match="array"):
        nirgeo.write_geotiff(rgb(1001), target, resume=True)
    starts: list[tuple[int, int]] = []
    nirgeo.write_geotiff(rgb(1000), target, resume=True, on_start=lambda *s: starts.append(s))
    assert starts[0][0] >= 4
    np.testing.assert_array_equal(read(target)[0], rgb(1000).values)
    assert list(listing(tmp_path)) == ["out.tif"]


def test_a_mask_of_one_s_own_is_a_part_of_the_work(tmp_path: Path, work: Work) -> None:
    scene = nirgeo.open_scene(work.scene, scale="0.0001", chunk=1)
    rgb = nirgeo.colorize(scene, work.model)
    target = tmp_path / "out.tif"

    def clouded(rows: int) -> xr.DataArray:
        valid = rgb["valid"].copy()
        return rgb.assign_coords(valid=valid & (np.arange(rgb.sizes["y"]) >= rows)[:, None])

    with pytest.raises(RuntimeError, match="stopped"):
        nirgeo.write_geotiff(clouded(70), target, resume=True, on_progress=stop_at_the_fourth)
    with pytest.raises(ResumeError, match="mask"):
        nirgeo.write_geotiff(clouded(90), target, resume=True)
    nirgeo.write_geotiff(clouded(70), target, resume=True)
    with rasterio.open(target) as file:
        assert not file.dataset_mask()[:70].any()


def test_what_a_finished_file_says_is_a_part_of_the_work(tmp_path: Path, work: Work) -> None:
    rgb = nirgeo.colorize(nirgeo.open_scene(work.scene, scale="0.0001"), work.model)

    def again(picture: xr.DataArray, *, overwrite: bool = False) -> None:
        path = tmp_path / "out.tif"
        target = Target(path, resume=True, overwrite=overwrite, of_several=True)
        nirgeo.write_geotiff(picture, target)

    again(rgb)
    again(rgb)  # there it is
    elsewhere = rgb.assign_attrs(nirgeo_note="moved").rio.write_crs("EPSG:32634")
    with pytest.raises(TargetExistsError, match="other options"):
        again(elsewhere)
    again(elsewhere, overwrite=True)
    with rasterio.open(tmp_path / "out.tif") as file:
        assert file.crs.to_epsg() == 32634
        assert file.tags(ns="NIRGEO")["NOTE"] == "moved"


def test_a_place_that_no_file_can_tell_is_refused_before_the_work(
    tmp_path: Path, work: Work
) -> None:
    rgb = nirgeo.colorize(nirgeo.open_scene(work.scene, scale="0.0001"), work.model)
    rows = [row for row in range(rgb.sizes["y"]) if not 100 <= row < 102]
    told: list[tuple[int, int]] = []
    with pytest.raises(GridError, match="equal distances"):
        nirgeo.write_geotiff(
            rgb.isel(y=rows), tmp_path / "out.tif", on_start=lambda *s: told.append(s)
        )
    assert not told


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="names of open files are asked for")
def test_what_is_said_to_be_safe_was_synced(
    tmp_path: Path, tiny: Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A killed process loses nothing that it has written; a machine without power does."""
    log: list[tuple[str, str]] = []
    stood: list[str] = []  # the journal, as each of its syncs found it
    store_write = BlockStore.write
    link = os.link

    def name(fd: int) -> str:
        return os.path.basename(os.readlink(f"/proc/self/fd/{fd}"))

    def note(call: str) -> None:
        original = getattr(os, call)

        def noted(fd: int) -> None:
            if name(fd).startswith("journal"):
                stood.append(Path(os.readlink(f"/proc/self/fd/{fd}")).read_text())
            # Chunks are written while others are synced: only what stood when a sync began is safe.
            log.append(("sync begins", name(fd)))
            original(fd)
            log.append(("sync", name(fd)))

        monkeypatch.setattr(os, call, noted)

    def written(store: BlockStore, i: int, j: int, *rest: Any, **options: Any) -> int:
        checksum = store_write(store, i, j, *rest, **options)
        log.append(("written", f"{i} {j}"))
        return checksum

    def named(source: Any, target: Any) -> None:
        link(source, target)
        log.append(("named", os.path.basename(target)))

    note("fsync")
    note("fdatasync")
    monkeypatch.setattr(BlockStore, "write", written)
    monkeypatch.setattr(os, "link", named)
    folder = tmp_path / "out"
    folder.mkdir()
    scene = write_raster(tmp_path / "scene.tif", scene_values(200, 150))
    rgb = nirgeo.colorize(nirgeo.open_scene(scene, scale="1e-4", chunk=1), tiny)
    nirgeo.write_geotiff(rgb, folder / "out.tif", workers=1)
    journal = [at for at, entry in enumerate(log) if entry == ("sync begins", "journal.jsonl")]
    assert len(journal) == len(stood) > 1
    seen = 0
    for at, text in zip(journal, stood, strict=True):
        lines = [json.loads(line) for line in text.splitlines()]
        for line in lines[max(seen, 1) :]:  # the first one only says what is being made
            stands = log.index(("written", "{} {}".format(*line["chunk"])))
            begins = log.index(("sync begins", "blocks.tif"), stands)
            assert log.index(("sync", "blocks.tif"), begins) < at
        seen = len(lines)
    assert seen - 1 == sum(what == "written" for what, _ in log) > 1
    finished = log.index(("named", "out.tif"))
    assert ("sync", "result.tif") in log[:finished]
    assert ("sync", "published.json") in log[:finished]
    assert ("sync", "out") in log[finished:]
