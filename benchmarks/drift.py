"""What 16 bits in the trunk change of a picture, in levels of 255.

    python benchmarks/drift.py --model satellite-nir --scene scene.tif

Prints mean, 99th percentile and maximum of the difference, and the mean angle between the colours,
over one window of a scene (a synthetic one without `--scene`). Runs on a CPU as well: 16 bits round
the same everywhere up to the order of sums.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from pathlib import Path

import numpy as np
from scenes import make_scene

from nirgeo.accelerator import Accelerator, NetworkKey
from nirgeo.lane import Block
from nirgeo.radiometry import Quantity, from_working, to_working
from nirgeo.registry import load_model
from nirgeo.scene import open_scene


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", default="satellite-nir")
    parser.add_argument("--scene", type=Path)
    parser.add_argument("--scale")
    parser.add_argument("--side", type=int, default=1024)
    parser.add_argument("--device", default="cpu")
    arguments = parser.parse_args()
    model = load_model(arguments.model)
    with tempfile.TemporaryDirectory() as folder:
        path, scale = arguments.scene, arguments.scale
        if path is None:
            path = make_scene(Path(folder) / "scene.tif", arguments.side, border=False)
            scale = "1e-4"
        scene = open_scene(path, scale=scale)
        side = min(arguments.side, scene.sizes["y"], scene.sizes["x"]) // 8 * 8
        part = scene.isel(y=slice(0, side), x=slice(0, side))
        from nirgeo.radiometry import Scaling
        from nirgeo.scene import SCALING_ATTR

        scaling = Scaling.from_tag(str(scene.attrs[SCALING_ATTR]), "scene")
        values = part.sel(band=list(model.spec.bands)).values
        valid = np.ascontiguousarray(part["valid"].values)
        inputs = to_working(scaling.apply(values), model.spec.quantity)
        inputs[:, ~valid] = 0
    device = Accelerator(arguments.device)

    def levels(half: bool) -> np.ndarray:
        block = Block(NetworkKey(model, half=half), inputs, valid)
        made = np.asarray(device.start([block]).results()[0])
        if model.spec.quantity is Quantity.COUNTS:
            return np.clip(made, 0, 1) * 255
        return model.spec.curve.apply(np.clip(from_working(made, model.spec.quantity), 0, 1))

    exact, half = (levels(h)[:, valid].astype(np.float64) for h in (False, True))
    change = np.abs(half - exact)
    lengths = np.linalg.norm(exact, axis=0) * np.linalg.norm(half, axis=0)
    cosine = (exact * half).sum(axis=0)[lengths > 0] / lengths[lengths > 0]
    print(
        json.dumps(
            {
                "model": model.spec.full_name,
                "pixels": int(valid.sum()),
                "mean_levels": float(change.mean()),
                "p99_levels": float(np.percentile(change, 99)),
                "max_levels": float(change.max()),
                "mean_angle_degrees": float(np.degrees(np.arccos(np.clip(cosine, -1, 1))).mean()),
            },
            indent=2,
        )
    )


if __name__ == "__main__":
    main()
