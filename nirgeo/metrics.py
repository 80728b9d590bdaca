"""How far a predicted colour lies from the true one.

The angular error is computed in float64 as ``atan2(|a × b|, a · b)``: the usual arccosine of a
normalised product loses half of its digits where it matters, near zero, and the small constant
that many add to its denominator turns dark pixels into errors of up to 90°.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray


def angular_error(prediction: NDArray[Any], truth: NDArray[Any]) -> NDArray[np.float64]:
    """Angle between two colours in degrees, per pixel (Eq. 3 of Suárez et al. 2017).

    Parameters
    ----------
    prediction, truth : (3, …) linear values in one unit

    Returns
    -------
    (…) float64; NaN where either colour is zero or not finite, since a zero vector has no direction
    """
    a = np.asarray(prediction, dtype=np.float64)
    b = np.asarray(truth, dtype=np.float64)
    if a.shape != b.shape or a.shape[0] != 3:
        raise ValueError(f"need two arrays of shape (3, …), got {a.shape} and {b.shape}")
    cross = np.sqrt(
        (a[1] * b[2] - a[2] * b[1]) ** 2
        + (a[2] * b[0] - a[0] * b[2]) ** 2
        + (a[0] * b[1] - a[1] * b[0]) ** 2
    )
    dot = (a * b).sum(axis=0)
    angle = np.degrees(np.arctan2(cross, dot))
    defined = (np.abs(a).max(axis=0) > 0) & (np.abs(b).max(axis=0) > 0)
    return np.where(defined & np.isfinite(angle), angle, np.nan)


@dataclass(frozen=True)
class SceneError:
    """Errors of one scene. ``undefined`` is the share of valid pixels without a direction."""

    angular: float
    rmse: float
    pixels: int
    undefined: float


def scene_error(
    prediction: NDArray[Any], truth: NDArray[Any], valid: NDArray[np.bool_]
) -> SceneError:
    """Mean angular error (degrees) and RMSE over the valid pixels of one scene.

    Parameters
    ----------
    prediction, truth : (3, H, W) in reflectance, or in counts / 255
    valid : (H, W); pixels that count
    """
    pixels = int(valid.sum())
    if pixels == 0:
        return SceneError(float("nan"), float("nan"), 0, float("nan"))
    a, b = prediction[:, valid], truth[:, valid]
    angles = angular_error(a, b)
    defined = np.isfinite(angles)
    difference = a.astype(np.float64) - b.astype(np.float64)
    return SceneError(
        angular=float(angles[defined].mean()) if defined.any() else float("nan"),
        rmse=float(np.sqrt((difference**2).mean())),
        pixels=pixels,
        undefined=1 - float(defined.mean()),
    )
