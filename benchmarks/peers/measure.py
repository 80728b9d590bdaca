"""All contestants in turn, each run in a process of its own.

    pip install --no-deps --target build/peers -r benchmarks/peers/requirements.txt
    python -m benchmarks peers [--side 4096] [--rounds 3]

Time is counted from an open network to a closed file; imports are left out. Memory is the process's
peak, imports included. Pictures are compared with the whole array's.
"""

from __future__ import annotations

from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import rasterio

from benchmarks.child import ROOT, run
from benchmarks.scenes import make_scene

PEERS = ROOT / "build" / "peers"


def measure(
    folder: Path, side: int, rounds: int, model: str = "satellite-nir", names: tuple[str, ...] = ()
) -> dict[str, Any]:
    from benchmarks.peers.contestants import CONTESTANTS

    scene = make_scene(folder / f"scene-{side}.tif", side)
    chosen = names or tuple(CONTESTANTS)
    runs: dict[str, list[dict[str, Any]]] = {name: [] for name in chosen}
    targets = {name: folder / f"peer-{k}.tif" for k, name in enumerate(chosen)}
    for _ in range(rounds):
        for name, target in targets.items():
            target.unlink(missing_ok=True)
            arguments = ["-m", "benchmarks.peers.one", name, str(scene), str(target), model]
            found = run(arguments, {"PYTHONPATH": str(PEERS)})
            runs[name].append({**found["said"], "peak_mb": found["peak_mb"]})
    with rasterio.open(targets["whole array"]) as file:
        reference = file.read().astype(np.int16)
    rows = []
    for name, target in targets.items():
        with rasterio.open(target) as file:
            levels = np.abs(file.read().astype(np.int16) - reference)
        rows.append(
            {
                "name": name,
                **{k: median(r[k] for r in runs[name]) for k in ("wall", "cpu", "peak_mb")},
                "max_difference": int(levels.max()),
                "differing": float((levels > 0).any(axis=0).mean()),
            }
        )
        for key in ("wall", "cpu"):
            pairs = zip(runs["whole array"], runs[name], strict=True)
            rows[-1][f"{key}_of_whole"] = median(own[key] / whole[key] for whole, own in pairs)
    return {"model": model, "side": side, "rounds": rounds, "rows": rows}
