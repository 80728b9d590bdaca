"""A run in a process of its own: wall, processor time and peak memory, of it and its children."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]


def run(arguments: Sequence[str], env: dict[str, str] | None = None) -> dict[str, Any]:
    """Run ``python ARGUMENTS``; its last line of output, if JSON, is in ``said``.

    Raises
    ------
    RuntimeError : it failed; with what it wrote
    """
    start = time.perf_counter()
    process = subprocess.Popen(
        [sys.executable, *arguments],
        cwd=ROOT,
        env={**os.environ, **(env or {})},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    assert process.stdout is not None
    output = process.stdout.read()
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise RuntimeError(f"{' '.join(arguments)}\n{output[-3000:]}")
    found = {
        "wall": time.perf_counter() - start,
        "cpu": usage.ru_utime + usage.ru_stime,
        "peak_mb": usage.ru_maxrss / 1024,
    }
    lines = output.strip().splitlines()
    try:
        found["said"] = json.loads(lines[-1])
    except (IndexError, ValueError):
        found["said"] = None
    return found
