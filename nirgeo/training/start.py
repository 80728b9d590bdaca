"""Where a network starts from: a first layer that sees texture as well as brightness.

Neighbouring near-infrared values are nearly the same number. Behind ordinary random weights every
feature is therefore brightness over again; texture, which tells a tree from a lawn and a roof, is a
hundredth of it, and hundreds of steps go by before a gradient finds it. So the first layer starts
with random directions of *whitened* patches, in which each pattern varies as much as any other
(data-dependent initialisation; compare Krähenbühl et al. 2016).
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional as F  # noqa: N812

from nirgeo.errors import TrainingError
from nirgeo.generator import LocalAffineGenerator
from nirgeo.training.data import Sampler

FLOOR = 0.01
"""Added to the power of every pattern, as a part of the mean one without brightness: noise stays
noise."""

SIZE = 0.25
"""Standard deviation of what the layer makes. With ones, the first steps drown in the noise of the
head behind and switch all features off for good."""


def whiten_stem(
    network: LocalAffineGenerator, sampler: Sampler, seed: int, *, batches: int = 8
) -> None:
    """Set the weights of the first layer that read the image; those of mask and hint stay.

    Raises
    ------
    TrainingError : the samples hold no pixel
    """
    weight = network.stem.weight
    pixels = network.config.in_bands * network.config.shuffle**2
    moments = _second_moments(network, sampler, pixels, batches)
    power, patterns = np.linalg.eigh(moments)
    if power[-1] <= 0:
        raise TrainingError("the training scenes hold no valid pixel to start a network from")
    scale = 1 / np.sqrt(np.maximum(power, 0) + FLOOR * power[:-1].mean())
    random = np.random.default_rng(seed).normal(size=(len(weight), len(power)))
    random /= np.linalg.norm(random, axis=1, keepdims=True)
    rows = SIZE * (random * scale) @ patterns.T
    with torch.no_grad():
        shaped = torch.from_numpy(rows.astype(np.float32)).view(len(weight), pixels, 3, 3)
        weight[:, :pixels].copy_(shaped)


def _second_moments(
    network: LocalAffineGenerator, sampler: Sampler, pixels: int, batches: int
) -> NDArray[np.float64]:
    """Mean products of what a 3×3 kernel meets, in the order of its weights: (9·pixels, 9·pixels).

    Not around a mean: a convolution pads with zeros, so nothing may be taken off before it.
    """
    total = np.zeros((9 * pixels, 9 * pixels))
    count = 0
    for step in range(batches):
        # Steps that nothing else draws from.
        inputs = torch.from_numpy(sampler.batch(5_000_000 + step).inputs)
        folded = F.pixel_unshuffle(inputs, network.config.shuffle)
        patches = F.unfold(folded, 3).double().numpy()
        for patch in patches:
            total += patch @ patch.T
            count += patch.shape[1]
    return total / max(count, 1)
