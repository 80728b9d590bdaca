"""What a run takes of memory, seen from beside it."""

from __future__ import annotations

import time

import psutil
from pictures import start

_EVERY = 0.01
"""Seconds between two looks."""


def peak_memory(*arguments: object) -> int:
    """Peak resident memory of ``nirgeo *arguments`` and its children together, in bytes.

    Seen by looking often: what the system keeps as a process's peak begins with that of the one
    that started it, and so may be that of all the tests before.
    """
    child = start(*arguments)
    process = psutil.Process(child.pid)
    peak = 0
    while child.poll() is None:
        try:
            family = [process, *process.children(recursive=True)]
            peak = max(peak, sum(member.memory_info().rss for member in family))
        except psutil.NoSuchProcess:
            pass
        time.sleep(_EVERY)
    assert child.returncode == 0, child.communicate()
    return peak
