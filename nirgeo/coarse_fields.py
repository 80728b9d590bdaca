"""Fields of coarse pixels over fine ones: sums, lines through neighbours, interpolation.

The arithmetic of :mod:`nirgeo.reference`, on arrays alone. Sums are taken over whole numbers or in
a fixed order, so that they do not depend on where an array begins.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from nirgeo import hints
from nirgeo.tiling import Window

Doubles = NDArray[np.float64]
Mask = NDArray[np.bool_]


MOST_BRIGHTER = 4.0
"""How many times as bright as a reference a measured colour may be, in working space."""

FEWEST = 5
"""Pixels of nine that a line is fitted through; with fewer the slope is 0."""


@dataclass(frozen=True)
class Boxes:
    """Boxes of pixels, one per block of shape (h, w), and the sums over them.

    Edges of all rows and of all columns, (h, 1) and (1, w), if the grids are parallel; else (h, w).
    """

    top: NDArray[np.int64]
    bottom: NDArray[np.int64]
    left: NDArray[np.int64]
    right: NDArray[np.int64]
    shape: tuple[int, int]

    def sums(
        self, whole: Callable[[slice], NDArray[np.int64]], around: Window
    ) -> NDArray[np.int64]:
        """Sums over every box (h, w) of whole numbers, which ``whole`` tells of some rows."""
        if self.top.shape[1] > 1 or self.left.shape[0] > 1:
            total = np.zeros((around.height + 1, around.width + 1), dtype=np.int64)
            total[1:, 1:] = whole(slice(None)).cumsum(axis=0).cumsum(axis=1)
            found: NDArray[np.int64] = (
                total[self.bottom, self.right]
                - total[self.top, self.right]
                - total[self.bottom, self.left]
                + total[self.top, self.left]
            )
            return np.broadcast_to(found, self.shape)
        lines = np.zeros((self.shape[0], around.width + 1), dtype=np.int64)
        for line, first, last in zip(lines, self.top[:, 0], self.bottom[:, 0], strict=True):
            if last > first:
                whole(slice(int(first), int(last))).sum(axis=0).cumsum(out=line[1:])
        result: NDArray[np.int64] = lines[:, self.right[0]] - lines[:, self.left[0]]
        return result


def slopes(colours: Doubles, under: Doubles, usable: Mask, ridge: float) -> Doubles:
    """Slope of each colour over what lies under it, among a pixel and its eight neighbours."""
    weight = usable.astype(np.float64)
    guide = under * weight
    count, x, xx = _around(weight), _around(guide), _around(guide * under)
    y, xy = _around(colours * weight), _around(colours * guide)
    count = np.maximum(count, 1)
    variance = np.maximum(xx / count - (x / count) ** 2, 0)
    covariance = xy / count - (x / count) * (y / count)
    return np.where(_around(weight) >= FEWEST, covariance / (variance + ridge), 0.0)


def brightness(measured: Doubles, reference: Doubles, usable: Mask) -> Doubles:
    """What a reference (h, w) has to be multiplied with to be as bright as was measured (h, w)."""
    ratio = measured / np.maximum(reference, 1e-3)
    return np.where(usable, np.clip(ratio, 1 / MOST_BRIGHTER, MOST_BRIGHTER), 1.0)


def belief(model: Doubles, reference: Doubles, error: Doubles, usable: Mask) -> Doubles:
    """How far a reference is believed, 0…1 (h, w); wholly where the model says nothing of it.

    ``model`` and ``reference`` are means of linear colours (3, h, w), ``error`` is in degrees.
    """
    product = (model * reference).sum(axis=0)
    lengths = np.sqrt((model * model).sum(axis=0) * (reference * reference).sum(axis=0))
    # The square of the chord: of small angles that of the angle, and no function of the library
    # that rounds the last values of an array in another way.
    apart = np.maximum(0, 2 - 2 * product / np.maximum(lengths, 1e-12))
    weight = (usable & (lengths > 0)).astype(np.float64)
    allowed = _around((error * (math.pi / 180)) ** 2 * weight)
    found = _around(apart * weight)
    return np.where(weight > 0, np.minimum(1, allowed / np.maximum(found, 1e-12)), 1.0)


def interpolate(fields: Doubles, rows: Doubles, cols: Doubles) -> Doubles:
    """Bilinear interpolation of (C, h, w) at positions that broadcast to (H, W): (C, H, W).

    0 is the middle of the first value. Half a pixel beyond the outermost middles values stay;
    further out they are 0.
    """
    (top, below, down), (left, right, across) = (
        hints.neighbours(at, side) for at, side in zip((rows, cols), fields.shape[1:], strict=True)
    )
    if rows.shape[-1] == 1 and cols.shape[0] == 1:
        lines = fields[:, top[:, 0]] * (1 - down) + fields[:, below[:, 0]] * down
        result = lines[:, :, left[0]] * (1 - across) + lines[:, :, right[0]] * across
    else:
        upper = fields[:, top, left] * (1 - across) + fields[:, top, right] * across
        lower = fields[:, below, left] * (1 - across) + fields[:, below, right] * across
        result = upper * (1 - down) + lower * down
    height, width = fields.shape[1:]
    beyond = (np.abs(rows - (height - 1) / 2) > height / 2) | (
        np.abs(cols - (width - 1) / 2) > width / 2
    )
    result[:, np.broadcast_to(beyond, result.shape[1:])] = 0
    return result


def _around(values: Doubles) -> Doubles:
    """Sum over a pixel and its eight neighbours (…, h, w), beyond the edge nothing."""
    padded = np.pad(values, ((0, 0),) * (values.ndim - 2) + ((1, 1), (1, 1)))
    height, width = values.shape[-2:]
    total = np.zeros_like(values)
    for down in range(3):
        for across in range(3):
            total += padded[..., down : down + height, across : across + width]
    return total
