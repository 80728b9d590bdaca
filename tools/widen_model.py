"""Make a network wider without changing what it makes, for a training to go on from.

    python tools/widen_model.py MODEL FILE [--times 2] [--seed 0]

Every channel of the trunk becomes several, and what was taken from one is taken from them in shares
drawn at random, so that they learn different things from then on (Chen, Goodfellow and Shlens 2016,
Net2Net). What a model learnt of its errors is left behind, as by ``nirgeo train --init``.
"""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import load_file

from nirgeo.generator import GeneratorConfig
from nirgeo.modelfile import read_model, write_model

Floats = NDArray[np.float32]


def widened(tensors: dict[str, Floats], times: int, seed: int) -> dict[str, Floats]:
    """Tensors of the same network with ``times`` as many channels in its trunk."""
    random = np.random.default_rng(seed)

    def more(values: Floats) -> Floats:
        """Every output as often."""
        return np.repeat(values, times, axis=0)

    def shared(weight: Floats) -> Floats:
        """What comes from a channel comes from each of its copies in part; shares add up to 1."""
        outputs, inputs = weight.shape[:2]
        shares = random.uniform(0.5, 1.5, size=(outputs, inputs, times))
        shares /= shares.sum(axis=2, keepdims=True)
        parts = weight[:, :, None] * shares[..., None, None]
        return parts.reshape(outputs, inputs * times, *weight.shape[2:]).astype(np.float32)

    made = dict(tensors)
    for name, values in tensors.items():
        layer, _, kind = name.rpartition(".")
        if layer == "stem":
            made[name] = more(values)
        elif layer.startswith("blocks."):
            made[name] = more(values) if kind == "bias" else shared(more(values))
        elif name == "head.weight":
            made[name] = shared(values)
    return made


def widen(source: Path, target: Path, times: int, seed: int) -> None:
    spec = read_model(source).spec
    config = GeneratorConfig(**spec.generator | {"expects_error": False})
    wider = replace(config, width=config.width * times)
    held = load_file(source)
    tensors = widened({name: held[name] for name in config.tensor_shapes()}, times, seed)
    bare = replace(spec, generator=wider.to_json(), uncertainty=None)
    write_model(target, bare, tensors)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model", type=Path)
    parser.add_argument("file", type=Path)
    parser.add_argument("--times", type=int, default=2)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    widen(given.model, given.file, given.times, given.seed)
