"""From errors of scenes to errors over places, and how sure they are.

Scenes of one place resemble each other (same ground, other dates), so the place is the unit: its
scenes are averaged first, and confidence intervals come from drawing places anew. Intervals over
pixels or scenes would be far too narrow.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

Doubles = NDArray[np.float64]


@dataclass(frozen=True)
class Interval:
    """A mean (or ratio of means) over ``places`` and its confidence interval at ``level``.

    ``left_out`` counts places without a defined error; NaN bounds mean fewer than two places.
    """

    value: float
    low: float
    high: float
    places: int
    left_out: int
    level: float


def place_means(errors: Iterable[tuple[str, float]]) -> dict[str, float]:
    """Mean error of every place, in order of their names, from (place, error of a scene) pairs.

    A scene without a defined error (NaN) does not count; a place with no other scene has NaN.
    """
    scenes: dict[str, list[float]] = {}
    for place, error in errors:
        defined = scenes.setdefault(place, [])
        if not np.isnan(error):
            defined.append(float(error))
    return {
        place: float(np.mean(scenes[place])) if scenes[place] else float("nan")
        for place in sorted(scenes)
    }


def mean_interval(
    values: ArrayLike, *, level: float = 0.95, draws: int = 10_000, seed: int = 0
) -> Interval:
    """Mean over places with its percentile bootstrap interval (Efron 1979).

    To compare two models on the same places, pass the differences of their place means: this keeps
    the pairs together and is much sharper than looking whether two intervals overlap.

    Parameters
    ----------
    values : (places,) one error per place; NaN leaves a place out
    level : coverage, between 0 and 1
    draws, seed : equal ones give equal intervals

    Raises
    ------
    ValueError : ``values`` is not one-dimensional, or ``level`` or ``draws`` is out of range
    """
    (kept,), left_out = _defined([values])
    return _interval(kept, None, left_out, level, draws, seed)


def ratio_interval(
    values: ArrayLike,
    baseline: ArrayLike,
    *,
    level: float = 0.95,
    draws: int = 10_000,
    seed: int = 0,
) -> Interval:
    """Ratio of two means over the same places, drawn in pairs: 0.8 is a fifth better.

    Parameters are those of :func:`mean_interval`; a place counts where both errors are defined.
    """
    (kept, base), left_out = _defined([values, baseline])
    return _interval(kept, base, left_out, level, draws, seed)


def _defined(columns: Sequence[ArrayLike]) -> tuple[list[Doubles], int]:
    arrays = [np.asarray(column, dtype=np.float64) for column in columns]
    if any(array.ndim != 1 or array.shape != arrays[0].shape for array in arrays):
        raise ValueError(f"need one error per place, got shapes {[a.shape for a in arrays]}")
    keep = ~np.isnan(arrays).any(axis=0)
    return [array[keep] for array in arrays], int((~keep).sum())


def _interval(
    values: Doubles, baseline: Doubles | None, left_out: int, level: float, draws: int, seed: int
) -> Interval:
    if not 0 < level < 1 or draws < 1:
        raise ValueError(f"level {level} must be between 0 and 1, and draws {draws} at least 1")
    places = values.size
    low = high = float("nan")
    value = float("nan")
    if places:
        value = float(values.mean() if baseline is None else values.mean() / baseline.mean())
    if places >= 2:
        drawn = np.random.default_rng(seed).integers(places, size=(draws, places))
        means = values[drawn].mean(axis=1)
        if baseline is not None:
            means = means / baseline[drawn].mean(axis=1)
        tail = (1 - level) / 2
        low, high = (float(bound) for bound in np.quantile(means, (tail, 1 - tail)))
    return Interval(value, low, high, places, left_out, level)
