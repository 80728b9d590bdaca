"""Lookup tables: the best colour for each of 256 values, the most a single pixel can tell.

Two tables, because there are two bests. The mean of the linear colours has the least RMSE; the
mean of their *directions* has nearly the least angular error, since a bright pixel does not
outvote dark ones there.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import NDArray

from nirgeo.baselines.interface import NIR, Arrays, Context, FloatArray, Mask, PerPixel, Sample
from nirgeo.baselines.pixels import (
    Doubles,
    from_linear,
    paint,
    scene_pixels,
    take,
    to_linear,
    valid_pixels,
    working_limit,
)
from nirgeo.radiometry import Quantity

ENTRIES = 256


@dataclass(frozen=True)
class _Table(PerPixel, ABC):
    """``colours`` (256, 3) in working space; entries lie evenly over the working space of the NIR.

    Entries that no sample reached are interpolated between their neighbours, and constant beyond
    the last one. Of display counts every value has its own entry.
    """

    quantity: Quantity
    colours: FloatArray
    bands: ClassVar[tuple[str, ...]] = NIR
    name: ClassVar[str]
    summary: ClassVar[str]

    def predict(self, inputs: FloatArray, valid: Mask, context: Context) -> FloatArray:
        nir = scene_pixels(self, inputs, valid, context)[0]
        return paint(self.colours[entry_of(nir, self.quantity)].T, valid, self.quantity)

    @classmethod
    def fit(cls, samples: Iterable[Sample], quantity: Quantity) -> Self:
        counts = np.zeros(ENTRIES)
        sums = np.zeros((ENTRIES, 3))
        directions = np.zeros((ENTRIES, 3))
        lengths = np.zeros(ENTRIES)
        for inputs, colours in valid_pixels(samples):
            entry = entry_of(inputs[0], quantity)
            linear = to_linear(colours, quantity)
            length = np.sqrt((linear**2).sum(axis=0))
            unit = linear / np.where(length > 0, length, 1)
            counts += np.bincount(entry, minlength=ENTRIES)
            lengths += np.bincount(entry, length, minlength=ENTRIES)
            for c in range(3):
                sums[:, c] += np.bincount(entry, linear[c], minlength=ENTRIES)
                directions[:, c] += np.bincount(entry, unit[c], minlength=ENTRIES)
        seen = np.flatnonzero(counts)
        means = cls._means(sums[seen], directions[seen], lengths[seen], counts[seen])
        working = from_linear(means, quantity)
        columns = [np.interp(np.arange(ENTRIES), seen, working[:, c]) for c in range(3)]
        return cls(quantity, np.stack(columns, axis=1).astype(np.float32))

    @staticmethod
    @abstractmethod
    def _means(sums: Doubles, directions: Doubles, lengths: Doubles, counts: Doubles) -> Doubles:
        """Linear colours (n, 3) of the entries that were seen."""

    def arrays(self) -> dict[str, NDArray[Any]]:
        return {"colours": self.colours}

    @classmethod
    def from_arrays(cls, arrays: Arrays, quantity: Quantity) -> Self:
        return cls(quantity, take(arrays, "colours", (ENTRIES, 3)))


@dataclass(frozen=True)
class MeanColourTable(_Table):
    """Each entry is the mean of the linear colours seen at its value."""

    name: ClassVar[str] = "table-colour"
    summary: ClassVar[str] = "lookup table: the mean colour seen at each near-infrared value"

    @staticmethod
    def _means(sums: Doubles, directions: Doubles, lengths: Doubles, counts: Doubles) -> Doubles:
        means: Doubles = sums / counts[:, None]
        return means


@dataclass(frozen=True)
class MeanDirectionTable(_Table):
    """Each entry has the mean direction of the colours seen at its value, and their mean length."""

    name: ClassVar[str] = "table-direction"
    summary: ClassVar[str] = (
        "lookup table: the mean hue and the mean light seen at each near-infrared value"
    )

    @staticmethod
    def _means(sums: Doubles, directions: Doubles, lengths: Doubles, counts: Doubles) -> Doubles:
        norm = np.sqrt((directions**2).sum(axis=1))
        # Colours are not negative, so directions can't cancel: a norm of zero is all black.
        means: Doubles = directions * (lengths / counts / np.where(norm > 0, norm, 1))[:, None]
        return means


def entry_of(nir: FloatArray, quantity: Quantity) -> NDArray[np.intp]:
    """Index of the nearest entry for each value."""
    step = working_limit(quantity) / (ENTRIES - 1)
    nearest: NDArray[np.intp] = np.rint(np.clip(nir / step, 0, ENTRIES - 1)).astype(np.intp)
    return nearest
