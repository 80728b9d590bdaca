"""Ctrl-C in a training: what was learnt until then is kept."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import psutil
import pytest
from evaluation_scenes import ground, write_scene
from pictures import command, start

from nirgeo.cli.errors import Terminated, ends_in_its_own_time, terminable
from nirgeo.training.checkpoint import read_facts

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="signals of POSIX")


@pytest.fixture
def options(tmp_path: Path) -> list[object]:
    for number, side in enumerate(("train", "val")):
        write_scene(tmp_path / side / f"{side}.tif", ground(80, 72, seed=number))
    sizes = ("width=8", "depth=1", "batch=1", "validate_every=100000", "steps=100000")
    return [
        *("train", tmp_path / "train", "--validation", tmp_path / "val", "--out", tmp_path / "run"),
        *(part for size in sizes for part in ("--set", size)),
    ]


def steps_done(run: Path) -> int:
    """That the log tells of; every twentieth is there."""
    log = run / "log.jsonl"
    lines = log.read_text().splitlines() if log.exists() else []
    return max((json.loads(line)["step"] for line in lines if line.endswith("}")), default=0)


def under_way(child: subprocess.Popen[str], run: Path, beyond: int = 0) -> None:
    deadline = time.monotonic() + 60
    while steps_done(run) <= beyond:
        assert child.poll() is None, child.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.02)


@pytest.mark.parametrize(
    ("number", "code", "loaders"),
    [
        (signal.SIGINT, 130, 2),
        pytest.param(signal.SIGTERM, 143, 2, marks=pytest.mark.slow),
        pytest.param(signal.SIGINT, 130, 0, marks=pytest.mark.slow),
        pytest.param(signal.SIGTERM, 143, 0, marks=pytest.mark.slow),
    ],
)
def test_what_was_learnt_until_then_is_kept(
    tmp_path: Path, options: list[object], number: signal.Signals, code: int, loaders: int
) -> None:
    run = tmp_path / "run"
    child = start(*options, "--loaders", loaders)
    under_way(child, run)
    if loaders:  # a terminal sends it to all
        for other in psutil.Process(child.pid).children():
            other.send_signal(number)
    child.send_signal(number)
    _, said = child.communicate(timeout=60)
    assert child.returncode == code, said
    assert "ending after the next step" in said
    assert "Traceback" not in said
    kept = read_facts(run / "checkpoint.safetensors")["step"]
    assert kept >= steps_done(run) >= 20
    command(*options, "--minutes", 0, "-q")
    assert read_facts(run / "checkpoint.safetensors")["step"] == kept + 1


def interrupted(*numbers: signal.Signals, events: list[str], rest: str = "the rest") -> None:
    """Work that is sent these signals before it does the rest."""
    with ends_in_its_own_time(lambda: events.append("told")) as ending:
        assert not ending
        for number in numbers:
            os.kill(os.getpid(), number)
        assert ending
        events.append(rest)
        if not rest:
            raise ValueError("meanwhile")


class TestEndsInItsOwnTime:
    @pytest.mark.parametrize(
        ("number", "raised"), [(signal.SIGINT, KeyboardInterrupt), (signal.SIGTERM, Terminated)]
    )
    def test_work_goes_on_until_it_leaves_off(
        self, number: signal.Signals, raised: type[BaseException]
    ) -> None:
        events: list[str] = []
        with terminable():
            handlers = [signal.getsignal(n) for n in (signal.SIGINT, signal.SIGTERM)]
            with pytest.raises(raised):
                interrupted(number, events=events)
            assert handlers == [signal.getsignal(n) for n in (signal.SIGINT, signal.SIGTERM)]
        assert events == ["told", "the rest"]

    def test_the_second_one_ends_it_at_once(self) -> None:
        events: list[str] = []
        with pytest.raises(KeyboardInterrupt):
            interrupted(signal.SIGINT, signal.SIGINT, events=events)
        assert events == ["told"]

    def test_what_goes_wrong_meanwhile_is_what_is_told(self) -> None:
        with pytest.raises(ValueError, match="meanwhile"):
            interrupted(signal.SIGINT, events=[], rest="")

    def test_what_is_ignored_stays_so(self) -> None:
        before = signal.signal(signal.SIGINT, signal.SIG_IGN)
        try:
            with ends_in_its_own_time(lambda: None) as ending:
                os.kill(os.getpid(), signal.SIGINT)
                assert not ending
        finally:
            signal.signal(signal.SIGINT, before)

    def test_another_thread_leaves_signals_alone(self) -> None:
        found = []

        def work() -> None:
            with ends_in_its_own_time(lambda: None) as ending:
                found.append((bool(ending), signal.getsignal(signal.SIGINT)))

        thread = threading.Thread(target=work)
        thread.start()
        thread.join()
        assert found == [(False, signal.getsignal(signal.SIGINT))]
