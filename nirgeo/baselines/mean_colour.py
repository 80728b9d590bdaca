"""Mean colour: one colour for everything. A model must beat it to have seen anything at all."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import NDArray

from nirgeo.baselines.interface import NIR, Arrays, Context, FloatArray, Mask, PerPixel, Sample
from nirgeo.baselines.pixels import (
    from_linear,
    paint,
    scene_pixels,
    take,
    to_linear,
    valid_pixels,
)
from nirgeo.radiometry import Quantity


@dataclass(frozen=True)
class MeanColour(PerPixel):
    """``colour`` (3,) in working space: the mean of the linear colours, which has least RMSE."""

    quantity: Quantity
    colour: FloatArray
    name: ClassVar[str] = "mean-colour"
    summary: ClassVar[str] = "one colour for everything"
    bands: ClassVar[tuple[str, ...]] = NIR

    @classmethod
    def fit(cls, samples: Iterable[Sample], quantity: Quantity) -> Self:
        total, count = np.zeros(3), 0
        for _, colours in valid_pixels(samples):
            total += to_linear(colours, quantity).sum(axis=1)
            count += colours.shape[1]
        return cls(quantity, from_linear(total / count, quantity).astype(np.float32))

    def predict(self, inputs: FloatArray, valid: Mask, context: Context) -> FloatArray:
        pixels = scene_pixels(self, inputs, valid, context).shape[1]
        return paint(np.repeat(self.colour[:, None], pixels, axis=1), valid, self.quantity)

    def arrays(self) -> dict[str, NDArray[Any]]:
        return {"colour": self.colour}

    @classmethod
    def from_arrays(cls, arrays: Arrays, quantity: Quantity) -> Self:
        return cls(quantity, take(arrays, "colour", (3,)))
