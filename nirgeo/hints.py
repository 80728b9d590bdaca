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

    def weights(cells_along: int, size: int) -> tuple[NDArray[np.intp], NDArray[np.float64]]:
        position = (np.arange(size) + 0.5) * cells_along / size - 0.5
        position = np.clip(position, 0, cells_along - 1)
        left = np.minimum(position.astype(np.intp), max(0, cells_along - 2))
        return left, position - left

    rows, row_part = weights(cells.shape[1], height)
    cols, col_part = weights(cells.shape[2], width)
    row_next = np.minimum(rows + 1, cells.shape[1] - 1)
    col_next = np.minimum(cols + 1, cells.shape[2] - 1)
    down = cells[:, rows] * (1 - row_part)[:, None] + cells[:, row_next] * row_part[:, None]
    both = down[:, :, cols] * (1 - col_part) + down[:, :, col_next] * col_part
    return both.astype(np.float32)
