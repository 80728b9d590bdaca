"""A run in a process of its own: wall, processor time and peak memory, of it and its children."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]

# A new process inherits the peak of the one that starts it, so a small one stands between.
_BETWEEN = """
import json, os, subprocess, sys, time
start = time.perf_counter()
process = subprocess.Popen([sys.executable, *sys.argv[1:]])
_, status, usage = os.wait4(process.pid, 0)
found = {
    "wall": time.perf_counter() - start,
    "cpu": usage.ru_utime + usage.ru_stime,
    "peak_mb": usage.ru_maxrss / 1024,
    "code": os.waitstatus_to_exitcode(status),
}
print(json.dumps(found))
"""


def run(arguments: Sequence[str], env: dict[str, str] | None = None) -> dict[str, Any]:
    """Run ``python ARGUMENTS``; its last line of output, if JSON, is in ``said``.

    Raises
    ------
    RuntimeError : it failed; with what it wrote
    """
    done = subprocess.run(
        [sys.executable, "-S", "-c", _BETWEEN, *arguments],
        cwd=ROOT,
        env={**os.environ, **(env or {})},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=True,
    )
    *lines, last = done.stdout.strip().splitlines()
    found: dict[str, Any] = json.loads(last)
    if found.pop("code"):
        raise RuntimeError(f"{' '.join(arguments)}\n{done.stdout[-3000:]}")
    try:
        found["said"] = json.loads(lines[-1])
    except (IndexError, ValueError):
        found["said"] = None
    return found
