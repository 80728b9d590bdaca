"""What the ground roughly is, by thresholds on the true bands, and how bright.

These are proxies, not a land cover map: deep shadow passes for water and a white roof or a cloud
for snow. They show *where* a model errs. Each rule takes what the rules before it left:

=================  ==============================================================================
snow or cloud      the darkest visible band is bright: above 0.40 (counts: 0.86 of 255)
water              NDWI = (green − NIR) / (green + NIR) > 0 and NIR < 0.15 (counts: > 0.1, < 0.3)
vegetation         NDVI = (NIR − red) / (NIR + red) > 0.4 (counts: > 0.15)
bare or built      NDVI < 0.25 (counts: < 0.05)
sparse or mixed    the rest
=================  ==============================================================================

Counts have been rendered by somebody, each channel in its own way, so an index of them is no
physical quantity; hence the other thresholds.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from nirgeo.evaluation.scenes import EvaluationScene
from nirgeo.radiometry import Quantity

COVERS = ("water", "vegetation", "sparse or mixed", "bare or built", "snow or cloud")

_EDGES = {
    Quantity.REFLECTANCE: (0.03, 0.06, 0.10, 0.15, 0.25, 0.50),
    Quantity.COUNTS: (0.10, 0.25, 0.40, 0.55, 0.70, 0.85),
}
OUTSIDE = 255


@dataclass(frozen=True)
class _Thresholds:
    snow: float
    water: float
    water_nir: float
    vegetation: float
    bare: float


_THRESHOLDS = {
    Quantity.REFLECTANCE: _Thresholds(0.40, 0.0, 0.15, 0.40, 0.25),
    Quantity.COUNTS: _Thresholds(0.86, 0.1, 0.30, 0.15, 0.05),
}

Classes = NDArray[np.uint8]


def covers(scene: EvaluationScene) -> Classes:
    """(H, W) position in ``COVERS`` of each pixel; ``OUTSIDE`` where not valid."""
    limits = _THRESHOLDS[scene.quantity]
    unit = 1 if scene.quantity is Quantity.REFLECTANCE else 255
    red, green, blue, nir = (
        np.maximum(scene.bands[role].astype(np.float64) / unit, 0)
        for role in ("red", "green", "blue", "nir")
    )
    vegetation, water = _index(nir, red), _index(green, nir)
    rules = [
        (np.minimum(np.minimum(red, green), blue) > limits.snow, "snow or cloud"),
        ((water > limits.water) & (nir < limits.water_nir), "water"),
        (vegetation > limits.vegetation, "vegetation"),
        (vegetation < limits.bare, "bare or built"),
    ]
    chosen = np.select(
        [rule for rule, _ in rules],
        [COVERS.index(name) for _, name in rules],
        COVERS.index("sparse or mixed"),
    )
    return np.where(scene.valid, chosen, OUTSIDE).astype(np.uint8)


def _index(a: NDArray[np.float64], b: NDArray[np.float64]) -> NDArray[np.float64]:
    """Normalised difference; 0 where both are zero."""
    total = a + b
    return np.asarray(np.divide(a - b, total, out=np.zeros_like(total), where=total > 0))


def brightness_names(quantity: Quantity) -> tuple[str, ...]:
    """What the bins of :func:`brightness` are called, darkest first."""
    edges = _EDGES[quantity]
    return (
        f"up to {edges[0]:g}",
        *(f"{a:g} to {b:g}" for a, b in pairwise(edges)),
        f"above {edges[-1]:g}",
    )


def brightness(scene: EvaluationScene) -> Classes:
    """(H, W) bin of the mean of the three true colours; ``OUTSIDE`` where not valid."""
    mean = scene.truth.mean(axis=0, dtype=np.float64)
    bins = np.digitize(mean, _EDGES[scene.quantity], right=True)
    return np.where(scene.valid, bins, OUTSIDE).astype(np.uint8)


@dataclass(frozen=True)
class ClassSums:
    """Per class: pixels with an angle, and the sum of their angles in degrees."""

    pixels: NDArray[np.int64]
    angle: NDArray[np.float64]

    def __add__(self, other: ClassSums) -> ClassSums:
        return ClassSums(self.pixels + other.pixels, self.angle + other.angle)


def class_sums(classes: Classes, angles: NDArray[np.float32], count: int) -> ClassSums:
    """Sums over the pixels of each of ``count`` classes; pixels without an angle do not count."""
    kept = (classes != OUTSIDE) & ~np.isnan(angles)
    chosen = classes[kept]
    return ClassSums(
        np.bincount(chosen, minlength=count).astype(np.int64),
        np.bincount(chosen, angles[kept].astype(np.float64), count).astype(np.float64),
    )


MIN_PIXELS = 64
"""A place with fewer pixels of a class says nothing about it."""


@dataclass(frozen=True)
class ClassError:
    """Angular error of one class: mean over the places that show it, and its share of pixels."""

    name: str
    angular: float
    places: int
    share: float


def class_errors(names: tuple[str, ...], places: Mapping[str, ClassSums]) -> list[ClassError]:
    """Per class, the mean over places of the mean angle of a place's pixels."""
    pixels = np.array([sums.pixels for sums in places.values()]).reshape(-1, len(names))
    angle = np.array([sums.angle for sums in places.values()]).reshape(-1, len(names))
    total = max(1, int(pixels.sum()))
    errors = []
    for k, name in enumerate(names):
        enough = pixels[:, k] >= MIN_PIXELS
        means = angle[enough, k] / pixels[enough, k]
        errors.append(
            ClassError(
                name,
                float(means.mean()) if means.size else float("nan"),
                int(enough.sum()),
                float(pixels[:, k].sum() / total),
            )
        )
    return errors
