"""Least squares over any number of pixels in the memory of a few."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

Doubles = NDArray[np.float64]


def fit_least_squares(parts: Iterable[tuple[Doubles, Doubles]]) -> Doubles:
    """Coefficients (k, m) that best turn the rows of A (n, k) into those of B (n, m).

    Only the triangle of a QR decomposition is kept from part to part. Unlike AᵀA it does not
    square the condition number, so cubic terms keep their digits; where A leaves coefficients
    undetermined, the smallest ones are taken.
    """
    triangle: Doubles | None = None
    size = 0
    for a, b in parts:
        size = a.shape[1]
        rows = np.hstack((a, b)).astype(np.float64)
        stacked = rows if triangle is None else np.vstack((triangle, rows))
        triangle = np.asarray(np.linalg.qr(stacked, mode="r"), dtype=np.float64)
    if triangle is None:
        raise ValueError("no rows to fit")
    solution = np.linalg.lstsq(triangle[:, :size], triangle[:, size:], rcond=None)[0]
    return np.asarray(solution, dtype=np.float64)
