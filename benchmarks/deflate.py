"""What it costs to read deflate with zlib, which notices damage, and not with libdeflate.

    python -m benchmarks deflate [--side 8192] [--rounds 3]

GDAL's own choice is libdeflate; nirgeo reads with zlib (:mod:`nirgeo.handles` says why), unless
``GDAL_TIFF_DEFLATE_SUBCODEC`` is set. *Reading* is all blocks of the scene, on one thread, without
nirgeo; *a run* is the whole command. Both in turn, one with each.
"""

from __future__ import annotations

import time
from pathlib import Path
from statistics import median
from typing import Any

import rasterio

from benchmarks import child
from benchmarks.scenes import make_scene

OPTION = "GDAL_TIFF_DEFLATE_SUBCODEC"
CODECS = ("ZLIB", "LIBDEFLATE")


def reading(path: Path, codec: str) -> float:
    """Seconds in which every block is read once. A dataset takes its blocks along when closed."""
    begun = time.perf_counter()
    with rasterio.Env(**{OPTION: codec}), rasterio.open(path) as file:
        for _, window in file.block_windows(1):
            file.read(1, window=window)
    return time.perf_counter() - begun


def measure(folder: Path, side: int, rounds: int, name: str = "satellite-nir") -> dict[str, Any]:
    scene = make_scene(folder / f"scene-{side}.tif", side)
    command = ["-m", "nirgeo", "colorize", str(scene), "--model", name, "--no-prior", "-q"]
    command += ["--overwrite", "-o", str(folder / "deflate.tif")]
    reads: dict[str, list[float]] = {codec: [] for codec in CODECS}
    runs: dict[str, list[dict[str, Any]]] = {codec: [] for codec in CODECS}
    reading(scene, CODECS[0])  # the first of all reads the disk
    for _ in range(rounds):
        for codec in CODECS:
            reads[codec].append(reading(scene, codec))
            # nirgeo's own choice is left to nirgeo: set from outside it would hold for writing too.
            runs[codec].append(child.run(command, env={} if codec == "ZLIB" else {OPTION: codec}))
    return {
        "model": name,
        "side": side,
        "rounds": rounds,
        "rows": [
            {
                "codec": codec.lower(),
                "read": median(reads[codec]),
                "read_mb_per_s": 2 * side * side / 1e6 / median(reads[codec]),
                "wall": median(run["wall"] for run in runs[codec]),
                "cpu": median(run["cpu"] for run in runs[codec]),
            }
            for codec in CODECS
        ],
    }
