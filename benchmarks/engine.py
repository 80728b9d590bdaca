"""End to end against the bare network, on the same windows, in one process, turn by turn.

    python -m benchmarks engine [--side 8192] [--rounds 3]

For the model that is named and for a wide one. *Bare* is the network alone on the windows of the
run, values in memory, in the better of two ways to use the cores: one worker per core, or one
worker with all cores. *End to end* is ``open_scene`` → ``colorize`` → ``write_geotiff``: reading,
network, block store, COG.
"""

from __future__ import annotations

import os
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

import nirgeo
from benchmarks.network import convolution_flops
from benchmarks.scenes import make_scene
from nirgeo import engine as nirgeo_engine
from nirgeo.heap import keep_freed_memory
from nirgeo.inference import run_network
from nirgeo.modelfile import Model
from nirgeo.networks import network
from nirgeo.own_torch import intra_op_threads
from nirgeo.registry import load_model
from nirgeo.runtimes.choice import choose_runtime
from nirgeo.scene import view_of
from nirgeo.tiling import input_window

WAYS = (("torch", "fp32"), ("torch", "int8"), ("onnx", "fp32"), ("onnx", "int8"))
WIDE = ("aerial-nir", 4096)
"""A network with several times the operations, and the side of its scene."""

Piece = tuple[np.ndarray, np.ndarray, tuple[slice, slice]]


def windows_in_memory(path: Path, model: Model) -> list[Piece]:
    """Inputs and masks of every chunk's window, as the network gets them, and its target."""
    view = view_of(nirgeo.open_scene(path))
    assert view is not None
    halo, stride = nirgeo_engine.reach(model)
    found = []
    for _, _, chunk in view.chunk_grid.windows():
        window = input_window(chunk, halo=halo, stride=stride, raster=view.source.grid.shape)
        values, valid = view.source.read(window.read, [1])
        pad = ((0, window.pad_bottom), (0, window.pad_right))
        inputs = np.sqrt(np.clip(view.scaling.apply(values), 0, None)).astype(np.float32)
        inputs[:, ~valid] = 0
        padded = np.pad(inputs, ((0, 0), *pad), mode="edge"), np.pad(valid, pad, mode="edge")
        found.append((*padded, window.crop))
    return found


def bare(
    windows: list[Piece], model: Model, way: tuple[str, str], workers: int
) -> tuple[float, float]:
    """Wall and processor seconds."""
    runtime = choose_runtime(*way)
    cores = os.cpu_count() or 1
    wall, cpu = time.perf_counter(), time.process_time()
    with intra_op_threads(cores // workers), ThreadPoolExecutor(workers) as pool:
        jobs = [
            pool.submit(run_network, x, v, model, "cpu", None, runtime, target=crop)
            for x, v, crop in windows
        ]
        for job in jobs:
            job.result()
    return time.perf_counter() - wall, time.process_time() - cpu


def end_to_end(path: Path, target: Path, model: Model, way: tuple[str, str]) -> dict[str, float]:
    """Seconds of a whole run, and of the part after the last chunk (the COG)."""
    last = 0.0

    def progress(done: int, total: int) -> None:
        nonlocal last
        last = time.perf_counter()

    wall, cpu = time.perf_counter(), time.process_time()
    rgb = nirgeo.colorize(
        nirgeo.open_scene(path), model, prior=False, runtime=way[0], precision=way[1]
    )
    nirgeo.write_geotiff(rgb, target, overwrite=True, on_progress=progress)
    end = time.perf_counter()
    return {"wall": end - wall, "cpu": time.process_time() - cpu, "cog": end - last}


def measure(folder: Path, side: int, rounds: int, name: str = "satellite-nir") -> dict[str, Any]:
    models = [(name, side), (WIDE[0], min(side, WIDE[1]))]
    return {"rounds": rounds, "models": [_of(folder, s, rounds, m) for m, s in models]}


def _of(folder: Path, side: int, rounds: int, name: str) -> dict[str, Any]:
    keep_freed_memory()
    model = load_model(name)
    assert isinstance(model, Model)
    scene = make_scene(folder / f"scene-{side}.tif", side)
    windows = windows_in_memory(scene, model)
    computed = sum(v.size for _, v, _ in windows)
    cores = os.cpu_count() or 1
    shapes = sorted({1, cores})
    for way in WAYS:  # builds networks and sessions
        for workers in shapes:
            bare(windows[:1], model, way, workers)
    rows: dict[tuple[str, str], dict[str, list[Any]]] = {
        way: {"bare": [], "run": []} for way in WAYS
    }
    for _ in range(rounds):
        for way in WAYS:
            bares = [bare(windows, model, way, workers) for workers in shapes]
            rows[way]["bare"].append(min(bares))
            rows[way]["run"].append(end_to_end(scene, folder / "engine.tif", model, way))
    found = []
    for (runtime, precision), row in rows.items():
        runs = row["run"]
        found.append(
            {
                "runtime": runtime,
                "precision": precision,
                "bare_wall": median(b[0] for b in row["bare"]),
                "bare_cpu": median(b[1] for b in row["bare"]),
                "wall": median(r["wall"] for r in runs),
                "cpu": median(r["cpu"] for r in runs),
                "efficiency": median(
                    b[0] / r["wall"] for b, r in zip(row["bare"], runs, strict=True)
                ),
                "cog_share": median(r["cog"] / r["wall"] for r in runs),
                "mpix_per_s": side * side / 1e6 / median(r["wall"] for r in runs),
            }
        )
    return {
        "model": model.spec.full_name,
        "side": side,
        "flops_per_pixel": convolution_flops(network(model).config, side, (0, side)) / side**2,
        "useful": side * side / computed,
        "rows": found,
    }
