"""Colour casts of flights, evened out.

Pictures from the air are rendered by hand, flight by flight, and one flight's grey is another's
blue. A network can't know the next flight's cast; but it can learn by heart that of the few flights
it saw, from their texture, and carry it where it does not belong. So before training every flight's
red and blue are multiplied such that ground of the same kind has the same mean colour in all of
them. What ground is alike is told by the vegetation index of the true bands; differences of content
stay.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from nirgeo import hints
from nirgeo.radiometry import Quantity, from_working, to_working
from nirgeo.training.data import TrainingScene

_YEAR = re.compile(r"(?<!\d)(?:19|20)\d\d(?!\d)")
_EDGES = np.linspace(-0.3, 0.6, 16)
_ENOUGH = 2000
"""Pixels of a kind that a flight must show for the kind to count."""

Doubles = NDArray[np.float64]


def flight_of(scene: TrainingScene) -> str:
    """Place and year: what was rendered in one go, as far as a name tells."""
    year = _YEAR.search(scene.name.removeprefix(scene.place))
    return f"{scene.place} {year.group() if year else ''}".strip()


def even_out(scenes: Sequence[TrainingScene], quantity: Quantity) -> list[TrainingScene]:
    """The scenes with the casts of their flights removed; inputs stay."""
    flights: dict[str, tuple[Doubles, Doubles]] = {}
    for scene in scenes:
        sums, counts = _kinds(scene, quantity)
        before = flights.get(flight_of(scene), (np.zeros_like(sums), np.zeros_like(counts)))
        flights[flight_of(scene)] = (before[0] + sums, before[1] + counts)
    casts = _casts(flights)
    return [_without(scene, casts[flight_of(scene)], quantity) for scene in scenes]


def _kinds(scene: TrainingScene, quantity: Quantity) -> tuple[Doubles, Doubles]:
    """Sums of the log ratios by kind of ground (2, kinds), and pixels (kinds,)."""
    linear = from_working(scene.colours[:, scene.valid], quantity).astype(np.float64)
    nir = from_working(scene.inputs[-1][scene.valid], quantity).astype(np.float64)
    index = (nir - linear[0]) / np.maximum(nir + linear[0], 1e-6)
    kind = np.digitize(index, _EDGES)
    ratios = hints.log_ratios(linear)
    count = len(_EDGES) + 1
    sums = np.stack([np.bincount(kind, ratio, count) for ratio in ratios])
    pixels = np.bincount(kind, minlength=count)
    return sums.astype(np.float64), pixels.astype(np.float64)


def _casts(flights: dict[str, tuple[Doubles, Doubles]]) -> dict[str, Doubles]:
    """How a flight's means over its kinds of ground differ from those of all flights: (2,)."""
    means, known = {}, {}
    for flight, (sums, counts) in flights.items():
        known[flight] = counts >= _ENOUGH
        means[flight] = np.where(known[flight], sums / np.maximum(counts, 1), 0.0)
    seen = np.maximum(sum(known.values()), 1)
    common = sum(means.values()) / seen
    return {
        flight: (means[flight] - np.where(known[flight], common, 0.0)).sum(axis=1)
        / max(1, known[flight].sum())
        for flight in flights
    }


def _without(scene: TrainingScene, cast: Doubles, quantity: Quantity) -> TrainingScene:
    gains = np.exp(-np.array([cast[0], 0.0, cast[1]]))[:, None, None].astype(np.float32)
    colours = to_working(from_working(scene.colours, quantity) * gains, quantity)
    return replace(scene, colours=np.where(scene.valid, colours, scene.colours))
