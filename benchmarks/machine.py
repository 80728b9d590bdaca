"""What a record says about where it was made, nothing that names a machine; and its numbers."""

from __future__ import annotations

import os
import platform
from pathlib import Path
from typing import Any

from nirgeo.runtimes.choice import installed_version


def describe() -> dict[str, Any]:
    packages = ("torch", "onnxruntime", "rasterio", "dask", "numpy")
    found = {name: installed_version(name) for name in packages}
    return {
        "cores": os.cpu_count(),
        "processor": _processor(),
        "python": platform.python_version(),
        "versions": {name: number for name, number in found.items() if number},
        "load_before": round(os.getloadavg()[0], 1),
    }


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.machine()
    return next((x.split(":")[1].strip() for x in lines if x.startswith("model name")), "unknown")


def rounded(value: Any) -> Any:
    """A record with five digits of every number that is not whole."""
    if isinstance(value, dict):
        return {k: rounded(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [rounded(v) for v in value]
    return float(f"{value:.5g}") if isinstance(value, float) else value
