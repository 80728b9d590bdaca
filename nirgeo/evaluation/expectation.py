"""How well a model knows what it does not know: expected against actual angles.

Sums per level of the expected error (a quarter of a degree each, as it is written), so they add up
over scenes and places. From them follow

- *coverage*: the share of pixels whose error lies within the interval that the model announces;
- *sparsification*: the mean error of what is left when the pixels that are expected to be worst are
  taken away, beside the same for the pixels that are worst, and the area between both curves
  (AUSE; Ilg et al. 2018), as a part of the mean error: 0 is perfect, and a model whose expectations
  say nothing has what the curve of the worst takes off.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nirgeo.expected_error import STEP

LEVELS = 256
FRACTIONS = tuple(k / 20 for k in range(20))
"""Shares of the pixels that are taken away along a sparsification curve."""

_FINE = 0.01
"""Degrees of a step in which actual angles are counted: small ones are to be put in order too."""

_BINS = int(180 / _FINE) + 1

Doubles = NDArray[np.float64]


def _levels() -> Doubles:
    return np.zeros(LEVELS)


@dataclass
class ExpectationSums:
    """Per level of the expected error: pixels, their angles, and how many lie in the interval."""

    pixels: Doubles = field(default_factory=_levels)
    angle: Doubles = field(default_factory=_levels)
    within: Doubles = field(default_factory=_levels)
    histogram: Doubles = field(default_factory=lambda: np.zeros(_BINS))
    """Pixels by their actual angle, in steps of ``_FINE``."""

    def __add__(self, other: ExpectationSums) -> ExpectationSums:
        return ExpectationSums(
            self.pixels + other.pixels,
            self.angle + other.angle,
            self.within + other.within,
            self.histogram + other.histogram,
        )

    def scaled(self, factor: float) -> ExpectationSums:
        """With another weight."""
        return ExpectationSums(
            self.pixels * factor,
            self.angle * factor,
            self.within * factor,
            self.histogram * factor,
        )

    @property
    def actual(self) -> float:
        """Mean angle in degrees."""
        return float(self.angle.sum() / self.pixels.sum())

    @property
    def expected(self) -> float:
        """Mean expected angle in degrees."""
        return float((self.pixels * np.arange(LEVELS) * STEP).sum() / self.pixels.sum())

    @property
    def coverage(self) -> float:
        """Share of the pixels within the interval."""
        return float(self.within.sum() / self.pixels.sum())

    def sparsified(self) -> list[float]:
        """Mean angle of what is left, least trusted pixels away first, at ``FRACTIONS``."""
        return _left(self.pixels, self.angle)

    def best(self) -> list[float]:
        """The same for an order by the actual angle: nothing can fall faster."""
        return _left(self.histogram, self.histogram * (np.arange(_BINS) + 0.5) * _FINE)

    @property
    def ause(self) -> float:
        """Area between both curves, as a part of the mean angle."""
        gap = np.array(self.sparsified()) - np.array(self.best())
        return float(gap.mean() / self.actual)

    @property
    def ause_blind(self) -> float:
        """What :attr:`ause` would be if the expected error said nothing."""
        return float((self.actual - np.array(self.best())).mean() / self.actual)


def _left(pixels: Doubles, sums: Doubles) -> list[float]:
    """Means of the lowest 1 − fraction of the pixels; a level that is cut counts in part."""
    total = pixels.sum()
    below = np.concatenate(([0.0], np.cumsum(pixels)))
    summed = np.concatenate(([0.0], np.cumsum(sums)))
    return [float(np.interp(kept := total * (1 - f), below, summed) / kept) for f in FRACTIONS]


def expectation_sums(
    expected: NDArray[np.float32], angles: NDArray[np.float32], quantile: float
) -> ExpectationSums:
    """Sums of one scene.

    Parameters
    ----------
    expected : degrees (H, W)
    angles : actual degrees (H, W), NaN where there is none
    quantile : multiple of the expected error that bounds the interval
    """
    known = np.isfinite(angles) & np.isfinite(expected)
    said, actual = expected[known].astype(np.float64), angles[known].astype(np.float64)
    levels = np.clip(np.rint(said / STEP), 0, LEVELS - 1).astype(np.intp)
    return ExpectationSums(
        np.bincount(levels, minlength=LEVELS).astype(np.float64),
        np.bincount(levels, actual, LEVELS).astype(np.float64),
        np.bincount(levels, actual <= said * quantile, LEVELS).astype(np.float64),
        np.bincount((actual / _FINE).astype(np.intp), minlength=_BINS).astype(np.float64),
    )


def over_places(places: Sequence[ExpectationSums]) -> ExpectationSums:
    """All places together, each with the weight of one."""
    total = ExpectationSums()
    for sums in places:
        count = sums.pixels.sum()
        if count:
            total = total + sums.scaled(1 / float(count))
    return total


def expectation_json(
    places: dict[str, ExpectationSums], quantile: float, covers: Sequence[dict[str, Any]]
) -> dict[str, Any] | None:
    """The figures for a report: over places, by place, and by kind of ground (``covers``).

    None where no pixel has an angle.
    """
    known = {name: sums for name, sums in places.items() if sums.pixels.sum()}
    if not known:
        return None
    total = over_places(list(known.values()))
    coverages = {name: sums.coverage for name, sums in known.items()}
    return {
        "quantile": quantile,
        "actual": total.actual,
        "expected": total.expected,
        "coverage": float(np.mean(list(coverages.values()))),
        "coverage_by_place": coverages,
        "fractions": list(FRACTIONS),
        "sparsification": total.sparsified(),
        "sparsification_best": total.best(),
        "ause": total.ause,
        "ause_blind": total.ause_blind,
        "land_cover": list(covers),
    }
