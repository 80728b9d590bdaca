"""How many processors this process may use, which may be fewer than the machine has.

A scheduler of a cluster hands out some of a machine's processors (affinity), and a container a
share of their time (cgroups). Whoever starts a worker for every processor of the machine there
takes memory for workers that can't run.
"""

from __future__ import annotations

import math
import os
import sys
from collections.abc import Iterator
from pathlib import Path

_CGROUPS = Path("/sys/fs/cgroup")
_OWN = Path("/proc/self/cgroup")


def cores() -> int:
    """At least 1."""
    of_python = getattr(os, "process_cpu_count", None)  # from Python 3.13 on, and -X cpu_count
    affinity = getattr(os, "sched_getaffinity", None)
    if of_python is not None:
        found = of_python()
    elif affinity is not None:
        found = len(affinity(0))
    else:
        found = os.cpu_count()
    quota = _quota() if sys.platform == "linux" else None
    bounds = [found or 1] + ([] if quota is None else [math.ceil(quota)])
    return max(1, min(bounds))


def _quota() -> float | None:
    """Processors' worth of time that the groups of this process have; None if that is not bounded.

    What a group may have bounds those within it too.
    """
    shares = []
    for text in _limits():
        try:
            quota, period = (float(part) for part in text.split())
        except ValueError:  # "max", or another kernel's idea of it
            continue
        if quota > 0 and period > 0:
            shares.append(quota / period)
    return min(shares, default=None)


def _limits() -> Iterator[str]:
    """ "QUOTA PERIOD" of every group that this process is in, as far as they can be seen."""
    for group in _groups():
        for parent in (group, *group.parents):
            if parent != _CGROUPS and _CGROUPS not in parent.parents:
                break
            if (text := _read(parent / "cpu.max")) is not None:
                yield text
            old = [_read(parent / f"cpu.cfs_{name}_us") for name in ("quota", "period")]
            if None not in old:
                yield " ".join(str(part).strip() for part in old)


def _groups() -> Iterator[Path]:
    for line in (_read(_OWN) or "").splitlines():
        _, controllers, path = [*line.split(":", 2), "", ""][:3]
        if controllers == "":
            yield _CGROUPS / path.lstrip("/")
        elif "cpu" in controllers.split(","):
            yield _CGROUPS / controllers / path.lstrip("/")
            yield _CGROUPS / "cpu" / path.lstrip("/")


def _read(path: Path) -> str | None:
    try:
        return path.read_text(encoding="ascii")
    except (OSError, ValueError):
        return None
