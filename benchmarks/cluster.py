"""Chunks per second with one, two or more workers of a cluster, from file to file.

    python benchmarks/cluster.py --json docs/performance/cluster.json
    python tools/write_scaling.py

Workers are processes of one thread each on this machine, so it needs as many idle cores; the
process that writes takes some of one too, and what it takes is part of the result. Numbers of
workers take turns, each is told by its median, and the time counts from the first chunk to the
last: starting workers and making the file are measured by themselves.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import tempfile
import time
from pathlib import Path

from distributed import Client, LocalCluster
from scenes import make_scene

import nirgeo
from nirgeo.registry import load_model

# As docs/cluster.md tells: dask makes workers give every freed array back to the system.
WORKERS_MEMORY = {
    "MALLOC_MMAP_THRESHOLD_": "1073741824",
    "MALLOC_TRIM_THRESHOLD_": "2147483647",
}


def one_run(
    scene: Path, target: Path, workers: int, model: str, chunk: int
) -> tuple[float, float, float]:
    """Seconds for the chunks, for the file afterwards, and of this process's for the chunks."""
    moments: list[float] = []
    used: list[float] = []

    def now(*_: int) -> None:
        moments.append(time.perf_counter())
        used.append(time.process_time())

    with (
        LocalCluster(n_workers=workers, threads_per_worker=1, dashboard_address=None) as cluster,
        Client(cluster, set_as_default=False) as client,
    ):
        picture = nirgeo.colorize(nirgeo.open_scene(scene, scale="1e-4", chunk=chunk), model)
        # Workers load torch and the model with their first chunk: once here, each, not below.
        client.run(load, scene, model)
        nirgeo.write_geotiff(
            picture,
            target,
            overwrite=True,
            scheduler=client,
            on_start=now,
            on_progress=now,
        )
        now()
    return moments[-2] - moments[0], moments[-1] - moments[-2], used[-2] - used[0]


def load(scene: Path, model: str) -> None:
    """On a worker: one chunk, and nothing kept of it."""
    corner = nirgeo.open_scene(scene, scale="1e-4", chunk=1)[:, :64, :64]
    nirgeo.colorize(corner, model).compute(scheduler="synchronous")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--side", type=int, default=8192, help="side of the scene in pixels")
    parser.add_argument("--chunk", type=int, default=8, help="side of a chunk in tiles")
    parser.add_argument("--model", default="satellite-nir")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--workers", type=int, nargs="+", default=[1, 2], help="1 and 2 among them")
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    os.environ |= WORKERS_MEMORY
    if not {1, 2} <= set(arguments.workers):
        parser.error("--workers needs 1, which the others are compared with, and 2, for the page")
    seconds: dict[int, list[float]] = {workers: [] for workers in arguments.workers}
    copying: list[float] = []
    writing: list[float] = []
    with tempfile.TemporaryDirectory() as folder:
        scene = make_scene(Path(folder) / "scene.tif", arguments.side, border=False)
        for _ in range(arguments.rounds):
            for workers, found in seconds.items():
                chunks, copy, own = one_run(
                    scene, Path(folder) / "rgb.tif", workers, arguments.model, arguments.chunk
                )
                found.append(chunks)
                copying.append(copy)
                writing.append(own)
    pixels = arguments.side**2
    medians = {workers: statistics.median(found) for workers, found in seconds.items()}
    record = {
        "machine": f"{os.cpu_count()} cores, {platform.machine()}",
        "model": load_model(arguments.model).spec.full_name,
        "side": arguments.side,
        "chunk_tiles": arguments.chunk,
        "seconds": {str(workers): found for workers, found in seconds.items()},
        "file_seconds": copying,
        "writers_processor_seconds": writing,
        "load_after": os.getloadavg()[2],
        "pixels_per_second": {str(workers): pixels / each for workers, each in medians.items()},
        "efficiency": {
            str(workers): medians[1] / each / workers for workers, each in medians.items()
        },
        "file_pixels_per_second": pixels / statistics.median(copying),
    }
    print(json.dumps(record, indent=2))
    if arguments.json:
        arguments.json.parent.mkdir(parents=True, exist_ok=True)
        arguments.json.write_text(json.dumps(record, indent=2) + "\n")


if __name__ == "__main__":
    main()
