"""Means and spreads over square neighbourhoods of valid pixels."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from nirgeo.baselines.interface import FloatArray, Mask

Doubles = NDArray[np.float64]

RADII = (1, 2, 4, 8, 16)
"""Neighbourhoods of 3 to 33 px: from a roof's edge to the field around it."""

FEATURES = 1 + 3 * len(RADII)


def mean_and_spread(values: NDArray[Any], valid: Mask, radius: int) -> tuple[Doubles, Doubles]:
    """Mean and standard deviation over the valid pixels of a square around each pixel.

    Parameters
    ----------
    values, valid : (H, W); the square has 2 · ``radius`` + 1 px and ends at the picture's edge

    Returns
    -------
    two (H, W) float64; 0 where the square holds no valid pixel
    """
    known = np.where(valid, values, 0).astype(np.float64)
    count = np.maximum(_box_sum(valid.astype(np.float64), radius), 1)
    mean = _box_sum(known, radius) / count
    variance = _box_sum(known**2, radius) / count - mean**2
    return mean, np.sqrt(np.maximum(variance, 0))


def multi_scale_features(nir: FloatArray, valid: Mask) -> FloatArray:
    """Features (16, n) of the valid pixels of a near-infrared picture (H, W).

    The value itself, and at each of five radii the mean, the standard deviation, and how far the
    value lies above the mean: a tree splits one feature at a time and can't subtract.
    """
    value = np.where(valid, nir, 0)
    features = [value[valid]]
    for radius in RADII:
        mean, spread = mean_and_spread(value, valid, radius)
        features += [mean[valid], spread[valid], (value - mean)[valid]]
    return np.stack(features).astype(np.float32)


def _box_sum(values: Doubles, radius: int) -> Doubles:
    """Sum over the square around each pixel, by differences of running sums."""
    for axis in (0, 1):
        size = values.shape[axis]
        running = np.insert(np.cumsum(values, axis=axis), 0, 0, axis=axis)
        position = np.arange(size)
        stop = np.minimum(position + radius + 1, size)
        start = np.maximum(position - radius, 0)
        values = running.take(stop, axis=axis) - running.take(start, axis=axis)
    return values
