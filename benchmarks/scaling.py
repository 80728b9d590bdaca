"""The whole command against scene size, chunk size and workers.

python -m benchmarks scaling [--sides 1024 2048 4096 8192 20480] [--rounds 1]
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks.child import run
from benchmarks.scenes import make_scene

CHUNKS = (2, 4, 8, 16, 32)
WAYS = (("torch", "fp32"), ("torch", "int8"))


def colorize(
    scene: Path, target: Path, model: str, way: tuple[str, str], *options: str
) -> dict[str, Any]:
    chosen = ("--runtime", way[0], "--precision", way[1], "--device", "cpu", "--no-prior")
    common = ("--overwrite", "--progress", "none", "--model", model)
    found = run(["-m", "nirgeo", "colorize", str(scene), "-o", str(target), *chosen, *common,
                 *options])  # fmt: skip
    return {key: found[key] for key in ("wall", "cpu", "peak_mb")}


def measure(
    folder: Path,
    sides: Sequence[int],
    rounds: int,
    middle: int = 4096,
    model: str = "satellite-nir",
) -> dict[str, Any]:
    cores = os.cpu_count() or 1
    target = folder / "scaling.tif"
    cases: list[dict[str, Any]] = []
    for way in WAYS:
        cases += [{"what": "size", "way": way, "side": side, "options": ()} for side in sides]
        cases += [
            {
                "what": "chunk",
                "way": way,
                "side": middle,
                "value": c,
                "options": ("--chunk", str(c)),
            }
            for c in CHUNKS
        ]
        cases += [
            {"what": "workers", "way": way, "side": middle, "value": n,
             "options": ("--workers", str(n))}
            for n in range(1, cores + 1)
        ]  # fmt: skip
    found: list[list[dict[str, Any]]] = [[] for _ in cases]
    for _ in range(rounds):
        for case, runs in zip(cases, found, strict=True):
            scene = make_scene(folder / f"scene-{case['side']}.tif", case["side"])
            runs.append(colorize(scene, target, model, case["way"], *case["options"]))
    rows = []
    for case, runs in zip(cases, found, strict=True):
        middle_run = {key: median(run[key] for run in runs) for key in runs[0]}
        rows.append(
            {
                "what": case["what"],
                "way": " ".join(case["way"]),
                "side": case["side"],
                "value": case.get("value", case["side"]),
                **middle_run,
                "mpix_per_s": case["side"] ** 2 / 1e6 / middle_run["wall"],
            }
        )
    return {"model": model, "rounds": rounds, "in_turn": True, "middle": middle, "rows": rows}
