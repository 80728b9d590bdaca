"""What a contestant got wrong: over every pixel, as the paper counts, and image by image."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from nirgeo.benchmark.protocol import category
from nirgeo.metrics import angular_error
from nirgeo.radiometry import quantize
from nirgeo.training.data import FloatArray, TrainingScene


@dataclass(frozen=True)
class Scores:
    """Angular errors in degrees; RMSE in counts / 255.

    ``angular``, ``sd`` and ``rmse`` are over every pixel of everything scored; ``images`` holds the
    mean angle of each image. ``undefined`` is the share of pixels that are black in the prediction
    or the truth and have no direction.
    """

    angular: float
    sd: float
    rmse: float
    undefined: float
    pixels: int
    images: dict[str, float]

    @property
    def image_mean(self) -> float:
        """Mean over images."""
        return float(np.mean(list(self.images.values())))


def score(
    scenes: Sequence[TrainingScene], predict: Callable[[TrainingScene], FloatArray]
) -> Scores:
    """Score predictions in working space, rounded to the 8 bits in which they are used."""
    total = square = residual = 0.0
    pixels = defined = 0
    sums: dict[str, NDArray[np.float64]] = {}
    for scene in scenes:
        made = _rounded(predict(scene))[:, scene.valid]
        true = _rounded(scene.colours)[:, scene.valid]
        angles = angular_error(made, true)
        angles = angles[np.isfinite(angles)]
        total += float(angles.sum())
        square += float((angles**2).sum())
        residual += float(((made - true) ** 2).sum())
        pixels += true.shape[1]
        defined += angles.size
        image = sums.setdefault(scene.place, np.zeros(2))
        image += (angles.sum(), angles.size)
    mean = total / defined if defined else float("nan")
    return Scores(
        angular=mean,
        sd=float(np.sqrt(max(0.0, square / defined - mean**2))) if defined else float("nan"),
        rmse=float(np.sqrt(residual / (3 * pixels))),
        undefined=1 - defined / pixels,
        pixels=pixels,
        images={name: float(s / n) for name, (s, n) in sorted(sums.items()) if n},
    )


def by_category(images: dict[str, float]) -> dict[str, float]:
    """Mean over the images of each category."""
    groups: dict[str, list[float]] = {}
    for name, value in images.items():
        groups.setdefault(category(name), []).append(value)
    return {kind: float(np.mean(values)) for kind, values in sorted(groups.items())}


def _rounded(working: FloatArray) -> NDArray[np.float64]:
    rounded: NDArray[np.float64] = quantize(working).astype(np.float64) / 255
    return rounded
