"""Cubic polynomial: a smooth tint curve per colour, the least that a colour ramp can do."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import NDArray

from nirgeo.baselines.interface import NIR, Arrays, Context, FloatArray, Mask, PerPixel, Sample
from nirgeo.baselines.least_squares import fit_least_squares
from nirgeo.baselines.pixels import Doubles, paint, scene_pixels, take, valid_pixels
from nirgeo.radiometry import Quantity

DEGREE = 3


@dataclass(frozen=True)
class CubicPolynomial(PerPixel):
    """``coefficients`` (4, 3), constant term first: colour = Σ cₖ · NIRᵏ.

    Fitted in working space, where a cubic can follow the colours of dark and bright ground alike.
    """

    quantity: Quantity
    coefficients: Doubles
    name: ClassVar[str] = "cubic"
    summary: ClassVar[str] = "a cubic curve of the near infrared for each colour"
    bands: ClassVar[tuple[str, ...]] = NIR

    @classmethod
    def fit(cls, samples: Iterable[Sample], quantity: Quantity) -> Self:
        rows = ((_powers(i[0]), c.T.astype(np.float64)) for i, c in valid_pixels(samples))
        return cls(quantity, fit_least_squares(rows))

    def predict(self, inputs: FloatArray, valid: Mask, context: Context) -> FloatArray:
        nir = scene_pixels(self, inputs, valid, context)[0].astype(np.float64)
        # Horner's rule instead of a matrix product: a pixel's colour must not depend on how many
        # others a BLAS kernel happens to take at a time.
        colours = np.zeros((3, nir.size))
        for row in self.coefficients[::-1]:
            colours = colours * nir + row[:, None]
        return paint(colours, valid, self.quantity)

    def arrays(self) -> dict[str, NDArray[Any]]:
        return {"coefficients": self.coefficients}

    @classmethod
    def from_arrays(cls, arrays: Arrays, quantity: Quantity) -> Self:
        return cls(quantity, take(arrays, "coefficients", (DEGREE + 1, 3), np.float64))


def _powers(nir: FloatArray) -> Doubles:
    return np.vander(nir.astype(np.float64), DEGREE + 1, increasing=True)
