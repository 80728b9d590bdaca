"""The fourth band: how far from the truth a colour is expected to be.

The unit is the degree of angle between true and predicted colour (linear light). In 8-bit outputs
one level is a quarter of a degree, as the band's scale says; the last level stands for itself and
everything above. High means: do not trust.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from nirgeo.metrics import angular_error

BAND = "expected_error"
DESCRIPTION = "expected angular error"
UNIT = "degree"
STEP = 0.25

UNKNOWN = np.float32(90)
"""Degrees to expect where nothing is known: two colours can't differ more."""

_STRIP = 64

BLUE_OF_A_VEIL = 0.5
"""Blue that a model of the surface leaves out, as a part of the air's reflectance in green.

Air scatters more blue than green, and of that blue the model adds some, since it takes the air in
red and green for brighter ground. Chosen on five scenes of four places, the only ones of the
validation through air."""


def through_veil(
    degrees: NDArray[np.float32], colours: NDArray[np.float32], veil: float
) -> NDArray[np.float32]:
    """Expected errors of a scene seen through air, by a model that knows none.

    Parameters
    ----------
    degrees : (h, w) what the model expects
    colours : (3, h, w) what it made, reflectance
    veil : reflectance that the air adds to green, above 0; see :func:`nirgeo.domain.veil`
    """
    result = degrees.copy()
    # In strips: an angle takes eight numbers of 64 bits per pixel while it is worked out.
    for top in range(0, degrees.shape[0], _STRIP):
        rows = slice(top, top + _STRIP)
        made = np.maximum(colours[:, rows], 0)
        true = made.copy()
        true[2] += np.float32(BLUE_OF_A_VEIL * veil)
        missing = np.nan_to_num(angular_error(made, true)).astype(np.float32)
        result[rows] = np.maximum(degrees[rows], missing)
    return result


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
