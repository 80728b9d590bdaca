"""The per-pixel table under every generator: the best colour for a value, nothing around it."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from nirgeo.errors import TrainingError
from nirgeo.training.data import Sampler

PATCHES = 4000
"""Drawn for a table. With some hundred, its ends hang on a few roofs: on one city and another the
RMSE of a table for aerial pictures then differs by 6% from one draw to the next."""


def hat_weights(
    values: NDArray[np.float32], knots: int, maximum: float
) -> tuple[NDArray[np.intp], NDArray[np.float64]]:
    """Left knot and distance to it, in knots, of each value."""
    position = np.clip(values, 0, maximum).astype(np.float64) * ((knots - 1) / maximum)
    left = np.minimum(position.astype(np.intp), knots - 2)
    return left, position - left


def fit_table(
    sampler: Sampler,
    knots: int,
    maximum: float,
    *,
    colours: Sequence[int] = (0, 1, 2),
    patches: int = PATCHES,
    smoothness: float = 1e-3,
) -> NDArray[np.float32]:
    """Least-squares fit of a sum of piecewise linear functions: (bands, knots, len(colours)).

    The training distribution is the sampler's, so a table and a network trained with the same
    configuration weigh places alike. ``smoothness`` penalises second differences, which also
    carries the table straight on where no value was seen.

    Raises
    ------
    TrainingError : the samples hold no valid pixel
    """
    gram: NDArray[np.float64] | None = None
    target: NDArray[np.float64] | None = None
    count = 0
    # Steps beyond those of the training, so that the table does not eat its first batches.
    for step in range(math.ceil(patches / sampler.config.batch)):
        inputs, truth, valid, _ = sampler.batch(1_000_000 + step)
        keep = valid[:, 0] > 0
        bands = inputs.shape[1]
        size = bands * knots
        if gram is None or target is None:
            gram, target = np.zeros((size, size)), np.zeros((size, len(colours)))
        y = np.stack([truth[:, c][keep] for c in colours], axis=1).astype(np.float64)
        positions = [hat_weights(inputs[:, b][keep], knots, maximum) for b in range(bands)]
        columns = [(b * knots + left, 1 - t) for b, (left, t) in enumerate(positions)]
        columns += [(b * knots + left + 1, t) for b, (left, t) in enumerate(positions)]
        for index_a, weight_a in columns:
            for c in range(len(colours)):
                target[:, c] += np.bincount(index_a, weight_a * y[:, c], minlength=size)
            for index_b, weight_b in columns:
                flat = np.bincount(
                    index_a * size + index_b, weight_a * weight_b, minlength=size * size
                )
                gram += flat.reshape(size, size)
        count += int(keep.sum())
    if gram is None or target is None or count == 0:
        raise TrainingError("the training scenes hold no valid pixel to fit the table to")
    bands = gram.shape[0] // knots
    second = np.diff(np.eye(knots), n=2, axis=0)
    penalty = np.kron(np.eye(bands), second.T @ second) * smoothness * count
    # The sum of tables leaves a constant per band undetermined; a whiff of ridge settles it.
    ridge = np.eye(gram.shape[0]) * 1e-9 * count
    solution = np.linalg.solve(gram + penalty + ridge, target)
    table: NDArray[np.float32] = np.clip(solution, -2, 2).astype(np.float32)
    return table.reshape(bands, knots, len(colours))


def input_range(
    sampler: Sampler, maximum: float, *, batches: int = 60, share: float = 1e-3
) -> NDArray[np.float32]:
    """Where the correction may act, per band: (bands, 4), see ``LocalAffineGenerator``.

    Full between the quantiles ``share`` and 1 − ``share`` of what is drawn in training; gone one
    eighth of the table's length further out.
    """
    bins = 4096
    counts: NDArray[np.int64] | None = None
    for step in range(batches):
        inputs, _, valid, _ = sampler.batch(1_000_000 + step)
        keep = valid[:, 0] > 0
        if counts is None:
            counts = np.zeros((inputs.shape[1], bins), dtype=np.int64)
        for band in range(inputs.shape[1]):
            counts[band] += np.histogram(inputs[:, band][keep], bins, (0, maximum))[0]
    assert counts is not None
    ramp = maximum / 8
    rows = []
    for histogram in counts:
        cumulative = np.cumsum(histogram) / histogram.sum()
        low = np.searchsorted(cumulative, share) * maximum / bins
        high = (np.searchsorted(cumulative, 1 - share) + 1) * maximum / bins
        rows.append((low - ramp, low, high, high + ramp))
    return np.array(rows, dtype=np.float32)
