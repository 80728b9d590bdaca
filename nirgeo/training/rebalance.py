"""Rare colours count for more: loss weights by the frequency of a pixel's true chroma.

Most of any picture is road, roof and soil, all nearly grey, and a network that paints everything
so makes few mistakes. Weighing a pixel by how rare its chroma is takes that comfort away, as Zhang
et al. (2016, "Colorful Image Colorization", section 2.2) do for classes of colour; here for a
regression, and by a power of the frequency that the configuration chooses.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from nirgeo.errors import TrainingError
from nirgeo.radiometry import Quantity
from nirgeo.training.data import Sampler

REACH = 1.0
"""Log ratios are told apart from minus this to this; those beyond share the outermost bins."""

BINS = 40

DARKEST = 0.05
"""Added to each colour (reflectance, or share of 255 counts): black has no chroma of its own."""

SMALLEST = 1e-4
"""Frequencies below this count as this: a bin hit by chance must not rule the loss."""


@dataclass(frozen=True)
class ChromaRarity:
    """Weight by bin of log(R/G) and log(B/G) of linear light, (BINS, BINS).

    The mean weight of what the sampler draws is 1.
    """

    by_bin: Tensor
    quantity: Quantity

    @classmethod
    def measure(cls, sampler: Sampler, exponent: float, *, batches: int = 60) -> ChromaRarity:
        """Count what a sampler draws; the weight is its smoothed frequency to −``exponent``.

        Raises
        ------
        TrainingError : the samples hold no valid pixel
        """
        quantity = sampler.config.quantity
        counts = np.zeros(BINS * BINS)
        # Steps that neither the training nor the table and the error head draw from.
        for step in range(batches):
            batch = sampler.batch(4_000_000 + step)
            bins = _bins(torch.from_numpy(batch.colours), quantity)
            seen = bins.numpy()[batch.valid[:, 0] > 0]
            counts += np.bincount(seen, minlength=counts.size)
        if not counts.any():
            raise TrainingError("the training scenes hold no valid pixel to count colours of")
        frequency = counts / counts.sum()
        smooth = _smoothed(frequency.reshape(BINS, BINS)).ravel()
        weights = np.maximum(smooth, SMALLEST) ** -exponent
        weights /= (weights * frequency).sum()
        return cls(torch.from_numpy(weights.astype(np.float32)), quantity)

    def to(self, device: torch.device) -> ChromaRarity:
        return ChromaRarity(self.by_bin.to(device), self.quantity)

    def weights(self, colours: Tensor) -> Tensor:
        """Working space (N, 3, H, W) to (N, 1, H, W)."""
        return self.by_bin[_bins(colours, self.quantity)].unsqueeze(1)


def _bins(colours: Tensor, quantity: Quantity) -> Tensor:
    """Number of the bin of every colour: (N, 3, H, W) in working space to (N, H, W)."""
    linear = colours**2 if quantity is Quantity.REFLECTANCE else colours
    logarithm = (linear + DARKEST).log()
    ratios = logarithm[:, [0, 2]] - logarithm[:, 1:2]
    place = ((ratios + REACH) * (BINS / (2 * REACH))).long().clamp(0, BINS - 1)
    return place[:, 0] * BINS + place[:, 1]


def _smoothed(grid: NDArray[np.float64]) -> NDArray[np.float64]:
    """Each bin shared with its neighbours, ¼ ½ ¼ along both axes; nothing leaves the grid."""
    for axis in (0, 1):
        ends = [(0, 0), (0, 0)]
        ends[axis] = (1, 1)
        padded = np.pad(grid, ends, mode="edge")
        before, after = (np.take(padded, range(k, k + BINS), axis) for k in (0, 2))
        grid = (before + 2 * grid + after) / 4
    return grid
