"""Cases in processes of their own, each with a clock and a limit on its memory.

A case that ends the interpreter, hangs, or takes too much memory ends its own process only. The
processes are forks of this one, which has imported everything, so a case costs its own work alone.
"""

from __future__ import annotations

import json
import os
import resource
import signal
import tempfile
import time
import traceback
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import psutil

SECONDS = 60.0
MEMORY_BYTES = 512 * 2**20
"""How much a case may grow: a small scene, one chunk at a time, and GDAL's cache of 128 MiB."""
_STOP_BYTES = 6 * 2**30

Case = Callable[[], tuple[str, list[str]]]
"""Does something, and returns how it ended and what was wrong with that."""


@dataclass(frozen=True)
class Verdict:
    name: str
    outcome: str
    problems: list[str]
    seconds: float
    growth_bytes: int


@dataclass
class _Running:
    name: str
    pid: int
    report: str
    begun: float


def judged(
    cases: Iterable[tuple[str, Case]],
    *,
    jobs: int = 2,
    seconds: float = SECONDS,
    memory: int = MEMORY_BYTES,
) -> Iterator[Verdict]:
    """Run named cases, a few at a time, and judge each of them."""
    waiting = iter(cases)
    running: deque[_Running] = deque()
    with tempfile.TemporaryDirectory() as folder:
        while True:
            while len(running) < jobs and (case := next(waiting, None)) is not None:
                running.append(_begin(*case, Path(folder)))
            if not running:
                return
            one = running.popleft()
            pid, status = os.waitpid(one.pid, os.WNOHANG)
            elapsed = time.monotonic() - one.begun
            if pid == 0 and elapsed > seconds:
                os.kill(one.pid, signal.SIGKILL)
                os.waitpid(one.pid, 0)
                yield Verdict(one.name, "hangs", [f"no end after {seconds:g} s"], elapsed, 0)
            elif pid == 0:
                running.append(one)
                time.sleep(0.002)
            else:
                yield _verdict(one, status, elapsed, memory)


def _begin(name: str, case: Case, folder: Path) -> _Running:
    file, report = tempfile.mkstemp(dir=folder)
    begun = time.monotonic()
    pid = os.fork()
    if pid:
        os.close(file)
        return _Running(name, pid, report, begun)
    try:
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        taken = psutil.Process().memory_info().vms
        resource.setrlimit(resource.RLIMIT_AS, (taken + _STOP_BYTES, taken + _STOP_BYTES))
        quiet = os.open(os.devnull, os.O_WRONLY)
        os.dup2(quiet, 1)
        os.dup2(quiet, 2)
        before = psutil.Process().memory_info().rss
        try:
            found = case()
        except BaseException:
            found = ("exception", [traceback.format_exc()[-1500:]])
        growth = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 - before
        os.write(file, json.dumps([*found, growth]).encode())
    finally:
        os._exit(0)


def _verdict(one: _Running, status: int, elapsed: float, memory: int) -> Verdict:
    text = Path(one.report).read_bytes()
    os.unlink(one.report)
    if not text:
        code = os.waitstatus_to_exitcode(status)
        return Verdict(one.name, "crash", [f"the interpreter ended with {code}"], elapsed, 0)
    outcome, problems, growth = json.loads(text)
    if growth > memory:
        problems = [*problems, f"grew by {growth >> 20} MiB"]
    return Verdict(one.name, outcome, problems, elapsed, growth)


def apart(work: Callable[[], None]) -> int:
    """Do something in a fork, and return its exit code.

    What runs threads, as every run of nirgeo does, must not run in the process that is forked.
    """
    pid = os.fork()
    if pid == 0:
        try:
            work()
        except BaseException:
            traceback.print_exc()
            os._exit(1)
        os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
