"""The fourth band: how far from the truth a colour is expected to be.

The unit is the degree of angle between true and predicted colour (linear light). In 8-bit outputs
one level is a quarter of a degree, as the band's scale says; the last level stands for itself and
everything above. High means: do not trust.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

BAND = "expected_error"
DESCRIPTION = "expected angular error"
UNIT = "degree"
STEP = 0.25


def encode(degrees: NDArray[np.float32], dtype: np.dtype[Any]) -> NDArray[Any]:
    """Degrees of any shape as they are written: float32, or uint8 in quarters of a degree."""
    if dtype == np.float32:
        return degrees.astype(np.float32)
    levels = np.rint(degrees / np.float32(STEP))
    return np.clip(levels, 0, 255).astype(dtype)


def decode(levels: NDArray[Any]) -> NDArray[np.float32]:
    """Inverse of :func:`encode`, to an eighth of a degree and up to 63.75°."""
    if levels.dtype == np.uint8:
        return levels.astype(np.float32) * np.float32(STEP)
    return levels.astype(np.float32)
