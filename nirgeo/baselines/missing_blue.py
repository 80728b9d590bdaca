"""For sensors without a blue band: red and green are measured, blue is made up.

Three makers of blue. A *linear fit* keeps red and green bit for bit. The recipes that TerraLook
and SPOT pictures were made with show green as blue and mix near-infrared into green, so that plants
stay green; they need no fit and change a measured band.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import NDArray

from nirgeo.baselines.interface import (
    RED_GREEN_NIR,
    Arrays,
    Context,
    FloatArray,
    Mask,
    PerPixel,
    Sample,
)
from nirgeo.baselines.least_squares import fit_least_squares
from nirgeo.baselines.pixels import (
    Doubles,
    from_linear,
    paint,
    scene_pixels,
    take,
    to_linear,
    valid_pixels,
)
from nirgeo.baselines.unfitted import Unfitted
from nirgeo.radiometry import Quantity


@dataclass(frozen=True)
class LinearBlue(PerPixel):
    """blue = c₀ + c₁ · red + c₂ · green + c₃ · NIR in linear values (after Patra et al. 2006)."""

    quantity: Quantity
    coefficients: Doubles
    name: ClassVar[str] = "linear-blue"
    summary: ClassVar[str] = (
        "blue as a linear mixture of red, green and near infrared; red and green are kept"
    )
    bands: ClassVar[tuple[str, ...]] = RED_GREEN_NIR
    copies: ClassVar[Mapping[str, str]] = {"red": "red", "green": "green"}

    @classmethod
    def fit(cls, samples: Iterable[Sample], quantity: Quantity) -> Self:
        def rows() -> Iterable[tuple[Doubles, Doubles]]:
            for inputs, colours in valid_pixels(samples):
                bands = to_linear(inputs, quantity)
                ones = np.ones((1, bands.shape[1]))
                yield np.concatenate((ones, bands)).T, to_linear(colours[2:], quantity).T

        return cls(quantity, fit_least_squares(rows())[:, 0])

    def predict(self, inputs: FloatArray, valid: Mask, context: Context) -> FloatArray:
        measured = scene_pixels(self, inputs, valid, context)
        linear = to_linear(measured, self.quantity)
        blue = np.full(linear.shape[1], self.coefficients[0])
        for coefficient, band in zip(self.coefficients[1:], linear, strict=True):
            blue += coefficient * band
        return _with_measured(measured[:2], from_linear(blue, self.quantity), valid, self.quantity)

    def arrays(self) -> dict[str, NDArray[Any]]:
        return {"coefficients": self.coefficients}

    @classmethod
    def from_arrays(cls, arrays: Arrays, quantity: Quantity) -> Self:
        return cls(quantity, take(arrays, "coefficients", (4,), np.float64))


@dataclass(frozen=True)
class _Recipe(Unfitted):
    """Red stays, blue is green, and green is a mixture of green and near-infrared."""

    bands: ClassVar[tuple[str, ...]] = RED_GREEN_NIR
    copies: ClassVar[Mapping[str, str]] = {"red": "red", "blue": "green"}
    name: ClassVar[str]
    summary: ClassVar[str]
    nir_share: ClassVar[float]

    def predict(self, inputs: FloatArray, valid: Mask, context: Context) -> FloatArray:
        red, green, nir = scene_pixels(self, inputs, valid, context)
        mixed = (1 - self.nir_share) * to_linear(green, self.quantity)
        mixed += self.nir_share * to_linear(nir, self.quantity)
        return paint(
            np.stack((red, from_linear(mixed, self.quantity), green)), valid, self.quantity
        )


@dataclass(frozen=True)
class TerraLook(_Recipe):
    """USGS TerraLook simulated natural colour: G = 2/3 green + 1/3 NIR."""

    name: ClassVar[str] = "terralook"
    summary: ClassVar[str] = (
        "USGS TerraLook: green mixed with a third of near infrared; blue is green"
    )
    nir_share: ClassVar[float] = 1 / 3


@dataclass(frozen=True)
class SpotNatural(_Recipe):
    """SPOT pseudo-natural colour: G = 3/4 green + 1/4 NIR."""

    name: ClassVar[str] = "spot"
    summary: ClassVar[str] = (
        "SPOT pseudo-natural colour: green mixed with a quarter of near infrared; blue is green"
    )
    nir_share: ClassVar[float] = 1 / 4


def _with_measured(
    measured: FloatArray, blue: Doubles, valid: Mask, quantity: Quantity
) -> FloatArray:
    picture = paint(np.stack((blue, blue, blue)), valid, quantity)
    picture[:2, valid] = measured
    return picture
