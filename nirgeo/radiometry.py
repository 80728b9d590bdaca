"""From a quantity to what a model eats, and from what it makes to what is written.

Four spaces, in the order a pixel passes through them:

1. *digital numbers*: what the file holds; :mod:`nirgeo.scaling` finds out what they mean;
2. a *quantity*: ``reflectance`` (0–1, may exceed 1 on snow, cloud and glint) or ``counts``
   (display counts, 0–255: an aerial picture that somebody has already rendered);
3. the *working space* of the networks: square-root reflectance, or counts / 255. Both are close to
   how a person sees brightness, so an error there means the same in shadow and in light;
4. the *output*: ``display`` (uint8) or ``reflectance`` (float32, 0–1).

Every step is one fixed function per scene. Nothing is stretched per tile or per band: that would
show seams and would make angles between colours meaningless.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float32]


class Quantity(StrEnum):
    """What the values of a scene mean once its scaling is applied."""

    REFLECTANCE = "reflectance"
    COUNTS = "counts"


MAX_REFLECTANCE = 1.5
"""Reflectances are clipped here before a network sees them; snow in low sun reaches about 1.2."""


def to_working(values: FloatArray, quantity: Quantity) -> FloatArray:
    """Reflectance or counts to the networks' working space (float32, same shape)."""
    if quantity is Quantity.REFLECTANCE:
        return np.sqrt(np.clip(values, 0.0, MAX_REFLECTANCE, dtype=np.float32))
    return np.clip(values, 0.0, 255.0, dtype=np.float32) / np.float32(255.0)


def from_working(working: FloatArray, quantity: Quantity) -> FloatArray:
    """Inverse of :func:`to_working` for values inside its range."""
    if quantity is Quantity.REFLECTANCE:
        positive = np.maximum(working, np.float32(0.0))
        return np.square(positive, out=positive)
    return working * np.float32(255.0)


@dataclass(frozen=True)
class DisplayCurve:
    """Reflectance to 8-bit counts: ``255 · sRGB(gain · reflectance)``.

    ``sRGB`` is the transfer function of IEC 61966-2-1. With a gain of 2.5 a reflectance of 0.4 is
    white, which leaves vegetation, soil and water their familiar brightness; snow and cloud
    saturate. The curve is the same for every band, scene, prediction and truth.
    """

    gain: float = 2.5
    name: str = "srgb"

    def apply(
        self, reflectance: FloatArray, *, brightness: float = 1.0, gamma: float = 1.0
    ) -> NDArray[np.uint8]:
        """Render reflectance of any shape; ``brightness`` and ``gamma`` change the picture only.

        ``brightness`` multiplies the reflectance, whose largest is 1; the rendered value is raised
        to ``1 / gamma``, so that more of either is brighter. NaN becomes 0.
        """
        # Few passes over the array, and in memory that is at hand: that is all that this costs.
        factor = np.float32(self.gain * brightness)
        with np.errstate(over="ignore"):  # what is infinite then is white
            linear = reflectance.astype(np.float32, copy=False) * factor
        np.fmax(linear, np.float32(0.0), out=linear)  # of a number and NaN it takes the number
        np.minimum(linear, min(factor, np.float32(1.0)), out=linear)
        dark = linear <= np.float32(0.0031308)
        srgb: FloatArray = np.power(linear, np.float32(1 / 2.4))
        srgb *= np.float32(1.055)
        srgb -= np.float32(0.055)
        if dark.any():
            np.multiply(linear, np.float32(12.92), out=srgb, where=dark)
        return _counts(srgb, gamma)

    def invert(
        self, unit: FloatArray, *, brightness: float = 1.0, gamma: float = 1.0
    ) -> FloatArray:
        """Reflectance of a picture's counts / 255; of what was clipped, the limit."""
        srgb = np.power(np.clip(unit, 0.0, 1.0), np.float32(gamma))
        linear = np.where(
            srgb <= 0.04045, srgb / 12.92, np.power((srgb + 0.055) / 1.055, 2.4)
        ).astype(np.float32)
        return linear / np.float32(self.gain * brightness)


def quantize(unit: FloatArray, *, brightness: float = 1.0, gamma: float = 1.0) -> NDArray[np.uint8]:
    """Values in 0–1 to 8-bit counts, rounded half to even; NaN becomes 0."""
    picture = unit * np.float32(brightness)
    np.fmax(picture, np.float32(0.0), out=picture)
    np.minimum(picture, np.float32(1.0), out=picture)
    return _counts(picture, gamma)


def _counts(picture: FloatArray, gamma: float) -> NDArray[np.uint8]:
    """Of values in 0–1, in the array's own memory: new memory costs more than the arithmetic."""
    if gamma != 1:
        np.power(picture, np.float32(1 / gamma), out=picture)
    picture *= np.float32(255.0)
    return np.rint(picture, out=picture).astype(np.uint8)
