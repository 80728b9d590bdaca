"""Which pixels look like cloud: a rule of two thresholds, meant for choosing training tiles.

A pixel is *cloud-like* where it is bright in all three colours and nearly white:

    darkest of red, green, blue  > 0.25 (counts: 204 of 255), and
    (brightest − darkest) / brightest  < 0.25 (counts: 0.1)

Snow, salt and white roofs look the same to it, and haze and the shadows of clouds do not; raise
``--max-cloud`` where snow is what one wants to learn. For real cloud masks use a real detector.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from nirgeo.radiometry import Quantity

_RULES = {Quantity.REFLECTANCE: (0.25, 0.25), Quantity.COUNTS: (204.0, 0.1)}


def cloud_like(colours: NDArray[np.float32], quantity: Quantity) -> NDArray[np.bool_]:
    """(H, W) for colours (3, H, W) in reflectance or counts."""
    darkest, brightest = colours.min(axis=0), colours.max(axis=0)
    bright, spread = _RULES[quantity]
    return np.asarray((darkest > bright) & (brightest - darkest < spread * brightest))
