"""The colour hint: what is expected of a place before its pixels are looked at.

A hint says, for every cell of a coarse grid, the expected log(R/G) and log(B/G) of linear light and
how far to trust them. The generator takes it as three channels: both ratios times the trust, and
the trust itself, so that "unknown" is all zeros and weak knowledge is small numbers.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float32]

CHANNELS = 3

HALF_TRUST = 0.1
"""Error of a log ratio (natural logarithm, one standard deviation) at which trust is one half."""

USUAL_ERROR = 0.15
"""Error of the log ratios that a map of the world's colours has: what hints are calibrated at."""

_FLOOR = 1e-3


def trust(error: NDArray[Any] | float) -> NDArray[np.float64]:
    """Trust in 0…1 for an expected error of the log ratios: 1 for none, ½ at ``HALF_TRUST``."""
    return np.asarray(HALF_TRUST / (HALF_TRUST + np.asarray(error, dtype=np.float64)))


def log_ratios(linear: NDArray[Any]) -> NDArray[np.float64]:
    """log(R/G) and log(B/G) of linear colours: (3, …) to (2, …), kept finite in the dark."""
    floored = np.maximum(np.asarray(linear, dtype=np.float64), _FLOOR)
    return np.log(floored[[0, 2]] / floored[1])


def encode(ratios: NDArray[Any], trusted: NDArray[Any]) -> FloatArray:
    """Log ratios (2, …) and trust (…) as the generator's channels (3, …)."""
    return np.concatenate((ratios * trusted, trusted[None])).astype(np.float32)


def upsample(cells: FloatArray, height: int, width: int) -> FloatArray:
    """Bilinear interpolation of (3, h, w) cells to (3, height, width), cell centres aligned.

    ``height / h`` and ``width / w`` are whole numbers. Beyond the outermost centres values stay.
    """

    def positions(cells_along: int, size: int) -> NDArray[np.float64]:
        return (np.arange(size) + 0.5) * cells_along / size - 0.5

    return interpolate(cells, positions(cells.shape[1], height), positions(cells.shape[2], width))


def interpolate(field: FloatArray, rows: NDArray[Any], cols: NDArray[Any]) -> FloatArray:
    """Bilinear interpolation of (3, h, w) at every crossing of fractional rows and columns.

    Positions count from the first value; beyond the first and last one values stay.
    """
    top, below, down_part = neighbours(rows, field.shape[1])
    left, right, across_part = neighbours(cols, field.shape[2])
    values = field.astype(np.float64)
    down = values[:, top] * (1 - down_part)[:, None] + values[:, below] * down_part[:, None]
    both = down[:, :, left] * (1 - across_part) + down[:, :, right] * across_part
    return both.astype(np.float32)


def neighbours(
    positions: NDArray[Any], count: int
) -> tuple[NDArray[np.intp], NDArray[np.intp], NDArray[np.float64]]:
    """The values on both sides of each position, and how far it is from the first to the second."""
    clipped = np.clip(np.asarray(positions, dtype=np.float64), 0, count - 1)
    first = np.minimum(clipped.astype(np.intp), max(0, count - 2))
    return first, np.minimum(first + 1, count - 1), clipped - first
