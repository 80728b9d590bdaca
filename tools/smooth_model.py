"""Average a trained network's gains and offsets over a square of its cells.

    python tools/smooth_model.py MODEL CELLS FILE INDEX.csv FOLDER [LEVEL]

A network that learnt cell by cell paints soft blotches into uniform ground. Averaging afterwards
takes them away and costs a few pixels of halo. CELLS is odd; what it should be, validation decides
(see docs/experiments.md). FILE is a model like any other, for `nirgeo evaluate` and
`nirgeo calibrate`; its figures are measured anew on the validation scenes in FOLDER.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.numpy import load_file
from usage import arguments

from nirgeo.generator import GeneratorConfig, LocalAffineGenerator, channels_last
from nirgeo.modelfile import Model, ModelSpec, write_model
from nirgeo.registry import load_model
from nirgeo.scene_lists import list_scenes
from nirgeo.training.data import load_scene
from nirgeo.training.validation import place_means


def smooth(
    name: str, cells: int, target: Path, index: Path, folder: Path, levels: list[str]
) -> None:
    model = load_model(name)
    if not isinstance(model, Model):
        sys.exit(f"{name} is no network")
    tensors = load_file(model.path)
    shape = replace(GeneratorConfig(**dict(model.spec.generator)), smoothing=cells)
    training = dict(model.spec.training)
    training["config"] = dict(training["config"]) | {"smoothing": cells}
    spec = replace(model.spec, generator=shape.to_json(), training=training)
    print(write_measured(target, spec, tensors, index, folder, levels))


def write_measured(
    target: Path,
    spec: ModelSpec,
    tensors: Mapping[str, NDArray[np.float32]],
    index: Path,
    folder: Path,
    levels: list[str],
) -> dict[str, float]:
    """Write a network that was changed, with what it is worth on validation scenes, measured now.

    What the network before it expected of its errors is left out.
    """
    shape = replace(GeneratorConfig(**dict(spec.generator)), expects_error=False)
    spec = replace(spec, generator=shape.to_json(), uncertainty=None)
    network = LocalAffineGenerator(shape)
    kept = {name: np.asarray(tensors[name], dtype=np.float32) for name in shape.tensor_shapes()}
    network.load_state_dict({name: torch.from_numpy(values) for name, values in kept.items()})
    network = channels_last(network).eval()
    scenes = [
        load_scene(entry, spec.bands, spec.quantity)
        for entry in list_scenes([folder], index, levels)
    ]
    found = {}
    for prefix, hinted in (("", False), ("hinted_", True)):
        places = place_means(network, scenes, spec.quantity, torch.device("cpu"), hinted=hinted)
        angular, rmse = np.mean(list(places.values()), axis=0)
        found |= {f"{prefix}angular": float(angular), f"{prefix}rmse": float(rmse)}
    training = dict(spec.training) | {"validation": found}
    write_model(target, replace(spec, training=training), kept)
    return found


if __name__ == "__main__":
    name, cells, target, index, folder, *levels = arguments(__doc__)
    smooth(name, int(cells), Path(target), Path(index), Path(folder), levels)
