"""Means and spreads over square neighbourhoods of valid pixels.

Sums are taken in whole numbers: running sums of floats would round differently wherever a window
starts, and the same pixel would come out differently in two chunks.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from nirgeo.baselines.interface import FloatArray, Mask

Doubles = NDArray[np.float64]
Integers = NDArray[np.int64]

RADII = (1, 2, 4, 8, 16)
"""Neighbourhoods of 3 to 33 px: from a roof's edge to the field around it."""

FEATURES = 1 + 3 * len(RADII)

_STEPS = 2.0**18
"""Values are rounded to this many steps per unit, finer than any step of 16-bit reflectance.

Up to 8 units and 33×33 px the variance below stays under 2⁶³; sums beyond that wrap around, and
their differences are right again.
"""


class Neighbourhoods:
    """Sums over squares around every pixel of one picture.

    Parameters
    ----------
    values, valid : (H, W); values between −8 and 8 where valid
    reach : the largest radius that will be asked for
    """

    def __init__(self, values: NDArray[Any], valid: Mask, reach: int) -> None:
        whole = np.rint(np.where(valid, values, 0).astype(np.float64) * _STEPS).astype(np.int64)
        self._shape = valid.shape
        self._reach = reach
        self._count = self._table(valid.astype(np.int64))
        self._sum = self._table(whole)
        self._squares = self._table(whole * whole)

    def _table(self, values: Integers) -> Integers:
        """Sums over everything above and to the left, with a margin: squares end at the edge."""
        table = values.cumsum(axis=0).cumsum(axis=1)
        before, after = self._reach + 1, self._reach
        table = np.pad(table, ((0, after), (0, after)), mode="edge")
        return np.pad(table, ((before, 0), (before, 0)))

    def _total(self, table: Integers, radius: int) -> Integers:
        low, high = self._reach - radius, self._reach + radius + 1
        height, width = self._shape
        top, bottom = table[low : low + height], table[high : high + height]
        rows: Integers = bottom - top
        total: Integers = rows[:, high : high + width] - rows[:, low : low + width]
        return total

    def mean_and_spread(self, radius: int) -> tuple[Doubles, Doubles]:
        """Mean and standard deviation over the valid pixels of a square around each pixel.

        The square has 2 · ``radius`` + 1 px on a side and ends at the picture's edge. Two (H, W)
        float64; 0 where it holds no valid pixel.
        """
        count = np.maximum(self._total(self._count, radius), 1)
        total = self._total(self._sum, radius)
        variance = count * self._total(self._squares, radius) - total * total
        scale = count * _STEPS
        return total / scale, np.sqrt(variance) / scale


def mean_and_spread(values: NDArray[Any], valid: Mask, radius: int) -> tuple[Doubles, Doubles]:
    """:meth:`Neighbourhoods.mean_and_spread` for a single radius."""
    return Neighbourhoods(values, valid, radius).mean_and_spread(radius)


def multi_scale_features(nir: FloatArray, valid: Mask) -> FloatArray:
    """Features (16, n) of the valid pixels of a near-infrared picture (H, W).

    The value itself, and at each of five radii the mean, the standard deviation, and how far the
    value lies above the mean: a tree splits one feature at a time and can't subtract.
    """
    around = Neighbourhoods(nir, valid, RADII[-1])
    value = nir[valid]
    features = np.empty((FEATURES, value.size), dtype=np.float32)
    features[0] = value
    for k, radius in enumerate(RADII):
        mean, spread = (part[valid] for part in around.mean_and_spread(radius))
        features[3 * k + 1 : 3 * k + 4] = mean, spread, value - mean
    return features
