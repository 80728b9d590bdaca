"""``nirgeo colorize`` as a process that is watched, and stopped at a chosen moment."""

from __future__ import annotations

import hashlib
import json
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from large_scenes import BLOCK, write_blocks
from numpy.typing import NDArray
from pictures import reflectance

PATIENCE = 1200.0
"""Seconds after which a run counts as hanging."""


@dataclass(frozen=True)
class Whole:
    """What an uninterrupted run makes, and how long that takes."""

    size: int
    sha256: str
    seconds: float

    @classmethod
    def of(cls, path: Path, seconds: float = 0.0) -> Whole:
        return cls(path.stat().st_size, sha256_of(path), seconds)


@dataclass
class Run:
    """A run that has ended."""

    code: int
    events: list[dict[str, Any]]
    stderr: str
    seconds: float
    stopped: bool = False
    problems: list[str] = field(default_factory=list)

    @property
    def total(self) -> int:
        return next((e["total"] for e in self.events if e["event"] == "start"), 0)

    @property
    def resumed(self) -> int:
        return next((e["resumed"] for e in self.events if e["event"] == "start"), 0)

    @property
    def done(self) -> int:
        """Chunks that were done when it ended, those of an earlier run included."""
        return max([self.resumed, *(e["done"] for e in self.events if e["event"] == "progress")])

    @property
    def computed(self) -> int:
        return sum(e["event"] == "progress" for e in self.events)

    @property
    def error(self) -> str | None:
        return next((e["code"] for e in self.events if e["event"] == "error"), None)

    def stage(self, target: Path) -> str:
        """Where a run was when it was stopped."""
        if target.exists():
            return "after the file had its name"
        if not self.done:
            return "before its first chunk was done"
        return "among its chunks" if self.done < self.total else "while it made the file"


def sha256_of(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def arguments(scene: Path, target: Path, *more: object, model: object) -> list[str]:
    options = ("--model", model, "--scale", "1e-4", "--workers", 2, "--progress", "jsonl")
    return [str(a) for a in ("colorize", scene, "-o", target, *options, *more)]


class Watched:
    """A run in the making, and a look-out for a file under the final name that is not whole."""

    def __init__(self, arguments: Sequence[str], target: Path, whole: Whole | None) -> None:
        self._target, self._whole = target, whole
        self._out, self._err = (tempfile.TemporaryFile("w+") for _ in "12")  # noqa: SIM115
        self._begun = time.monotonic()
        self._seen = target.exists()
        self._problems: list[str] = []
        self.child = subprocess.Popen(
            [sys.executable, "-m", "nirgeo", *arguments], stdout=self._out, stderr=self._err
        )

    @property
    def seconds(self) -> float:
        return time.monotonic() - self._begun

    def look(self) -> bool:
        """Look at the final name; True while the process lives."""
        alive = self.child.poll() is None
        if self._whole is not None and not self._seen:
            try:
                size = self._target.stat().st_size
            except OSError:
                return alive
            self._seen = True
            if size != self._whole.size or sha256_of(self._target) != self._whole.sha256:
                self._problems.append(f"an incomplete file of {size} bytes under the final name")
        return alive

    def end(self, moment: float = PATIENCE, number: signal.Signals = signal.SIGKILL) -> Run:
        """Wait for its end; at ``moment`` (seconds after its start) the signal is sent."""
        stopped = False
        while self.look():
            if not stopped and self.seconds >= moment:
                self.child.send_signal(number)
                stopped = True
            if self.seconds > moment + PATIENCE / 2:
                self._problems.append("hangs")
                self.child.kill()
            time.sleep(0.002)
        if moment == PATIENCE and stopped:
            self._problems.append("hangs")
        texts = []
        for file in (self._out, self._err):
            file.seek(0)
            texts.append(file.read())
            file.close()
        return Run(
            self.child.returncode,
            _events(texts[0]),
            texts[1],
            self.seconds,
            stopped,
            self._problems,
        )


def _events(text: str) -> list[dict[str, Any]]:
    lines = text.splitlines(keepends=True)
    if lines and not lines[-1].endswith("\n"):  # killed in the middle of a line
        lines.pop()
    return [json.loads(line) for line in lines]


def scene_of(path: Path, side: int) -> Path:
    """A scene of ``side``² pixels, no two of its blocks alike."""
    pattern = np.rint(reflectance(1024, 1024) * 10_000).astype(np.uint16)
    across = -(-side // BLOCK)

    def block(i: int, j: int) -> NDArray[np.uint16]:
        number = i * across + j
        rolled = np.roll(pattern, (37 * number, 101 * number), (0, 1))[:BLOCK, :BLOCK]
        return np.asarray(rolled + number % 50, dtype=np.uint16)

    return write_blocks(path, side, block)


def left_behind(folder: Path, *allowed: str) -> list[str]:
    """A problem for every entry of a folder that should not be there."""
    return [f"left behind: {p.name}" for p in sorted(folder.iterdir()) if p.name not in allowed]
