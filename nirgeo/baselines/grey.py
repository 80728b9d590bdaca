"""Grey copy: the near-infrared shown as red, green and blue. What a viewer does without a model."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import NDArray

from nirgeo.baselines.interface import NIR, Arrays, Context, FloatArray, Mask, Sample
from nirgeo.baselines.pixels import paint, scene_pixels
from nirgeo.radiometry import Quantity


@dataclass(frozen=True)
class GreyCopy:
    """R = G = B = NIR. Nothing is learned."""

    quantity: Quantity
    name: ClassVar[str] = "grey"
    bands: ClassVar[tuple[str, ...]] = NIR

    @classmethod
    def fit(cls, samples: Iterable[Sample], quantity: Quantity) -> Self:
        return cls(quantity)

    def predict(self, inputs: FloatArray, valid: Mask, context: Context) -> FloatArray:
        nir = scene_pixels(self, inputs, valid, context)
        return paint(np.repeat(nir, 3, axis=0), valid, self.quantity)

    def arrays(self) -> dict[str, NDArray[Any]]:
        return {}

    @classmethod
    def from_arrays(cls, arrays: Arrays, quantity: Quantity) -> Self:
        return cls(quantity)
