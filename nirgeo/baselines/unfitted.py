"""What baselines have in common that learn nothing: there is nothing to fit, save or load."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, ClassVar, Self

from numpy.typing import NDArray

from nirgeo.baselines.interface import Arrays, PerPixel, Sample
from nirgeo.radiometry import Quantity


@dataclass(frozen=True)
class Unfitted(PerPixel):
    """The part of a :class:`nirgeo.baselines.interface.Baseline` that is about learning."""

    quantity: Quantity
    learns: ClassVar[bool] = False

    @classmethod
    def fit(cls, samples: Iterable[Sample], quantity: Quantity) -> Self:
        return cls(quantity)

    def arrays(self) -> dict[str, NDArray[Any]]:
        return {}

    @classmethod
    def from_arrays(cls, arrays: Arrays, quantity: Quantity) -> Self:
        return cls(quantity)
