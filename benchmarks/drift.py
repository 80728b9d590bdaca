"""What a device and what 16 bits in the trunk change of a picture, in levels of 255.

    python -m benchmarks.drift --model satellite-nir --scene scene.tif --device cuda

Against 32 bits on the processor, over one window of a scene (a synthetic one without `--scene`):
mean, 99th percentile and maximum of the difference, the share of pixels that differ at all, and the
mean angle between the colours. `--device cpu` runs as well: 16 bits round the same everywhere up to
the order of sums.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.scenes import make_scene
from nirgeo.accelerator import Accelerator, NetworkKey
from nirgeo.inference import run_network
from nirgeo.lane import Block
from nirgeo.modelfile import Model
from nirgeo.radiometry import Quantity, from_working, quantize, to_working
from nirgeo.registry import load_model
from nirgeo.scaling import Scaling
from nirgeo.scene import open_scene
from nirgeo.scene_attributes import SCALING_ATTR


def measure(
    model: Model,
    device: str,
    scene: Path | None = None,
    scale: str | None = None,
    side: int = 1024,
) -> dict[str, Any]:
    """``fp32`` and ``fp16`` on a device, each against 32 bits on the processor."""
    with tempfile.TemporaryDirectory() as folder:
        if scene is None:
            counts = model.spec.quantity is Quantity.COUNTS
            dtype, scale = ("uint8", None) if counts else ("uint16", "1e-4")
            scene = make_scene(Path(folder) / "scene.tif", side, border=False, dtype=dtype)
        inputs, valid = _window(model, scene, scale, side)
    exact = _levels(run_network(inputs, valid, model), model)[:, valid]
    there = Accelerator(device)
    found: dict[str, Any] = {"model": model.spec.full_name, "pixels": int(valid.sum())}
    for precision, half in (("fp32", False), ("fp16", True)):
        block = Block(NetworkKey(model, half=half), inputs, valid)
        made = np.asarray(there.start([block]).results()[0])
        found[precision] = _change(exact, _levels(made, model)[:, valid])
    return found


def _window(
    model: Model, path: Path, scale: str | None, side: int
) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """What the network eats of a scene's first rows and columns."""
    scene = open_scene(path, scale=scale)
    side = min(side, scene.sizes["y"], scene.sizes["x"]) // 8 * 8
    part = scene.isel(y=slice(0, side), x=slice(0, side))
    scaling = Scaling.from_tag(str(scene.attrs[SCALING_ATTR]), "scene")
    values = part.sel(band=list(model.spec.bands)).values
    valid = np.ascontiguousarray(part["valid"].values)
    inputs = to_working(scaling.apply(values), model.spec.quantity)
    inputs[:, ~valid] = 0
    return inputs, valid


def _levels(made: NDArray[np.float32], model: Model) -> NDArray[np.float64]:
    if model.spec.quantity is Quantity.COUNTS:
        return quantize(made).astype(np.float64)
    reflectance = np.clip(from_working(made, model.spec.quantity), 0, 1)
    return model.spec.curve.apply(reflectance).astype(np.float64)


def _change(exact: NDArray[np.float64], found: NDArray[np.float64]) -> dict[str, float]:
    change = np.abs(found - exact)
    lengths = np.linalg.norm(exact, axis=0) * np.linalg.norm(found, axis=0)
    cosine = (exact * found).sum(axis=0)[lengths > 0] / lengths[lengths > 0]
    return {
        "mean_levels": float(change.mean()),
        "p99_levels": float(np.percentile(change, 99)),
        "max_levels": float(change.max()),
        "differing_per_million": float((change > 0).any(axis=0).mean() * 1e6),
        "mean_angle_degrees": float(np.degrees(np.arccos(np.clip(cosine, -1, 1))).mean()),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", default="satellite-nir")
    parser.add_argument("--scene", type=Path)
    parser.add_argument("--scale")
    parser.add_argument("--side", type=int, default=1024)
    parser.add_argument("--device", default="cpu")
    chosen = parser.parse_args()
    model = load_model(chosen.model)
    assert isinstance(model, Model)
    found = measure(model, chosen.device, chosen.scene, chosen.scale, chosen.side)
    print(json.dumps(found, indent=2))


if __name__ == "__main__":
    main()
