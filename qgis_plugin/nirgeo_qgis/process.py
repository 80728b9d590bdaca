"""A child process whose output is handed over line by line, and that can be cancelled.

Two threads read its two streams, since a child that fills one pipe while the other is read would
stand still for ever. The lines come out in the caller's thread, which also looks for a
cancellation several times a second, whether the child says something or not.
"""

from __future__ import annotations

import os
import queue
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import IO, Any

TICK = 0.1
"""Seconds between two looks for a cancellation."""

GRACE = 3.0
"""Seconds a child has to end by itself after it was asked to."""

_DRAIN = 1.0
"""Seconds to wait for the last output of a child that has ended."""

STDOUT = "stdout"
STDERR = "stderr"


@dataclass(frozen=True)
class Ended:
    """How a child ended. ``timed_out`` says that it was stopped because its time was over."""

    returncode: int
    cancelled: bool = False
    timed_out: bool = False


def run_child(
    command: Sequence[str],
    environment: Mapping[str, str],
    *,
    on_line: Callable[[str, str], None],
    is_cancelled: Callable[[], bool] = lambda: False,
    timeout: float | None = None,
    grace: float = GRACE,
) -> Ended:
    """Run a command to its end.

    Parameters
    ----------
    command : executable and arguments; no shell sees them
    environment : all variables of the child
    on_line : called in this thread with ``"stdout"`` or ``"stderr"`` and a line without its end
    is_cancelled : asked about every tenth of a second
    timeout : seconds after which the child is stopped
    grace : seconds between asking the child to end and killing it

    Raises
    ------
    OSError : the child can't be started
    """
    child = subprocess.Popen(
        list(command),
        env=dict(environment),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        **_apart(),
    )
    lines: queue.Queue[tuple[str, bytes | None]] = queue.Queue()
    for name, stream in ((STDOUT, child.stdout), (STDERR, child.stderr)):
        threading.Thread(target=_read, args=(name, stream, lines), daemon=True).start()
    try:
        return _attend(child, lines, on_line, is_cancelled, timeout, grace)
    finally:
        if child.poll() is None:  # a callback raised: no child outlives the call
            _kill(child)
            child.wait()


def _attend(
    child: subprocess.Popen[bytes],
    lines: queue.Queue[tuple[str, bytes | None]],
    on_line: Callable[[str, str], None],
    is_cancelled: Callable[[], bool],
    timeout: float | None,
    grace: float,
) -> Ended:
    """Hand over lines until the child has ended and said everything."""
    deadline = None if timeout is None else time.monotonic() + timeout
    kill_at = drained_at = None
    cancelled = timed_out = False
    open_streams = 2
    while open_streams or child.poll() is None:
        try:
            name, data = lines.get(timeout=TICK)
        except queue.Empty:
            pass
        else:
            if data is None:
                open_streams -= 1
            else:
                on_line(name, data.decode("utf-8", "replace").rstrip("\r\n"))
        now = time.monotonic()
        if kill_at is None:
            cancelled = is_cancelled()
            timed_out = not cancelled and deadline is not None and now > deadline
            if cancelled or timed_out:
                _terminate(child)
                kill_at = now + grace
        elif now > kill_at:
            _kill(child)
        if drained_at is None and child.poll() is not None:
            # A grandchild may keep the pipes open long after the child is gone.
            drained_at = now + _DRAIN
        if drained_at is not None and now > drained_at and lines.empty():
            break
    if cancelled or timed_out:
        _kill(child)  # whatever a wrapper script started and left behind
    return Ended(child.wait(), cancelled, timed_out)


def _read(name: str, stream: IO[bytes], lines: queue.Queue[tuple[str, bytes | None]]) -> None:
    with stream:
        for line in stream:
            lines.put((name, line))
    lines.put((name, None))


def _apart() -> dict[str, Any]:
    """Arguments that keep a child's window and signals apart from those of QGIS.

    A group of its own lets us end a wrapper script together with what it started, and keeps
    Ctrl-C in the terminal from reaching the child before QGIS has said what it means.
    """
    if os.name == "nt":
        return {"creationflags": getattr(subprocess, "CREATE_NO_WINDOW", 0)}
    return {"start_new_session": True}


def _terminate(child: subprocess.Popen[bytes]) -> None:
    if os.name == "nt":
        child.terminate()
    else:
        _signal_group(child, signal.SIGTERM)


def _kill(child: subprocess.Popen[bytes]) -> None:
    if os.name == "nt":
        child.kill()  # does nothing to a child that has ended
    else:
        _signal_group(child, signal.SIGKILL)


def _signal_group(child: subprocess.Popen[bytes], number: int) -> None:
    with suppress(ProcessLookupError, PermissionError):  # the group is gone
        os.killpg(child.pid, number)
