"""Threads of one process against processes, on one scene, from file to file.

    python -m benchmarks.processes --folder /dev/shm --json docs/performance/processes.json
    python -m benchmarks page

Ways take turns, each is told by its median. Processes are started for each run, so what they load
is part of it; how long that takes can be seen in the time until the first chunk is done. Then each
of them has an even share of the cores; threads share all. `--device cuda` adds runs on a GPU.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import nirgeo
from benchmarks import machine
from benchmarks.scenes import make_scene
from nirgeo.budget import usual_chunk
from nirgeo.heap import keep_freed_memory
from nirgeo.modelfile import Model
from nirgeo.radiometry import Quantity
from nirgeo.registry import load_model
from nirgeo.runtimes.choice import REFERENCE

PATTERN = 1024
"""Rows of a scene before they come again."""


def one_run(
    scene: Path, model: Model, device: str, scheduler: str, workers: int
) -> dict[str, float]:
    """Seconds until the first chunk is done, for all chunks, and for the file then."""
    moments: list[float] = []

    def now(*_: int) -> None:
        moments.append(time.perf_counter())

    scale = "1e-4" if model.spec.quantity is Quantity.REFLECTANCE else None
    chunk = usual_chunk(model, REFERENCE, device)
    with tempfile.TemporaryDirectory(dir=scene.parent) as folder:
        opened = nirgeo.open_scene(scene, scale=scale, chunk=chunk)
        rgb = nirgeo.colorize(opened, model, device=device, prior=False)
        nirgeo.write_geotiff(
            rgb,
            Path(folder) / "rgb.tif",
            scheduler=scheduler,
            workers=workers,
            on_start=now,
            on_progress=now,
        )
        now()
    return {
        "first": moments[1] - moments[0],
        "chunks": moments[-2] - moments[0],
        "file": moments[-1] - moments[-2],
    }


def measure(
    scene: Path, model: Model, device: str, ways: Sequence[tuple[str, int]], rounds: int, side: int
) -> list[dict[str, Any]]:
    found: dict[tuple[str, int], list[dict[str, float]]] = {way: [] for way in ways}
    for _ in range(rounds):
        for way, runs in found.items():
            runs.append(one_run(scene, model, device, *way))
    rows = []
    for (scheduler, workers), runs in found.items():
        middle = {step: statistics.median(run[step] for run in runs) for step in runs[0]}
        rows.append(
            {
                "model": model.spec.full_name,
                "device": device,
                "scheduler": scheduler,
                "workers": workers,
                "side": side,
                "seconds": middle,
                "mpix_per_s": side**2 / 1e6 / (middle["chunks"] + middle["file"]),
            }
        )
    return rows


def main(arguments: Sequence[str] | None = None) -> None:
    cores = os.cpu_count() or 1
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--side", type=int, default=20_000, help="of the scene in pixels")
    parser.add_argument("--models", nargs="+", default=["satellite-nir"])
    parser.add_argument("--threads", type=int, nargs="*", default=[cores])
    parser.add_argument("--processes", type=int, nargs="*", default=[cores])
    parser.add_argument("--device", help="to measure too, beside the processor")
    parser.add_argument("--gpu-processes", type=int, nargs="*", default=[4, 8])
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--folder", type=Path, help="where scenes go, in memory if that may be")
    parser.add_argument("--json", type=Path)
    chosen = parser.parse_args(arguments)
    if not chosen.threads and not chosen.processes:
        parser.error("nothing to measure: neither threads nor processes")
    if chosen.json:
        chosen.json.parent.mkdir(parents=True, exist_ok=True)
    record: dict[str, Any] = {"machine": machine.describe(), "rounds": chosen.rounds, "rows": []}
    ways = [("threads", n) for n in chosen.threads] + [("processes", n) for n in chosen.processes]
    gpu_ways = [("threads", 8)] + [("processes", n) for n in chosen.gpu_processes]
    with tempfile.TemporaryDirectory(dir=chosen.folder) as folder:
        for device, kinds in (("cpu", ways), (chosen.device, gpu_ways)):
            for name in chosen.models if device else ():
                model = load_model(name)
                assert isinstance(model, Model)
                dtype = "uint16" if model.spec.quantity is Quantity.REFLECTANCE else "uint8"
                path = Path(folder) / f"{dtype}.tif"
                make_scene(path, chosen.side, border=False, dtype=dtype, pattern=PATTERN)
                rows = measure(path, model, device, kinds, chosen.rounds, chosen.side)
                record["rows"] += rows
                for row in rows:
                    print(json.dumps(row), flush=True)
                if chosen.json:
                    chosen.json.write_text(json.dumps(machine.rounded(record), indent=1) + "\n")


if __name__ == "__main__":
    keep_freed_memory()  # as the command does
    main()
