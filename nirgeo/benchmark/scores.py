"""What a contestant got wrong: over every pixel, as the paper counts, and image by image."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from nirgeo.benchmark.protocol import category
from nirgeo.metrics import angular_error
from nirgeo.place_statistics import place_means
from nirgeo.radiometry import quantize
from nirgeo.training.data import FloatArray, TrainingScene

Doubles = NDArray[np.float64]


@dataclass(frozen=True)
class Scores:
    """Angular errors in degrees, over every pixel of everything scored; RMSE in counts / 255.

    ``angular`` and ``sd`` are between the 8-bit values as they are; ``linear_angular`` and
    ``linear_sd`` between the light that they stand for. The paper does not say which it means, and
    the second is nearly twice the first. ``images`` holds the mean of ``angular`` of each image,
    ``linear_images`` likewise. ``undefined`` is the share of pixels that are black in the
    prediction or the truth and have no direction.
    """

    angular: float
    sd: float
    linear_angular: float
    linear_sd: float
    rmse: float
    undefined: float
    pixels: int
    images: dict[str, float]
    linear_images: dict[str, float]


@dataclass
class _Angles:
    """Running moments of angles, over all and by image."""

    total: float = 0.0
    square: float = 0.0
    count: int = 0
    by_image: dict[str, Doubles] = field(default_factory=dict)

    def add(self, image: str, angles: Doubles) -> None:
        angles = angles[np.isfinite(angles)]
        self.total += float(angles.sum())
        self.square += float((angles**2).sum())
        self.count += angles.size
        self.by_image.setdefault(image, np.zeros(2))
        self.by_image[image] += (angles.sum(), angles.size)

    @property
    def mean(self) -> float:
        return self.total / self.count if self.count else float("nan")

    @property
    def sd(self) -> float:
        if not self.count:
            return float("nan")
        return float(np.sqrt(max(0.0, self.square / self.count - self.mean**2)))

    @property
    def images(self) -> dict[str, float]:
        return {k: float(s / n) for k, (s, n) in sorted(self.by_image.items()) if n}


def score(
    scenes: Sequence[TrainingScene], predict: Callable[[TrainingScene], FloatArray]
) -> Scores:
    """Score predictions in working space, rounded to the 8 bits in which they are used."""
    angles, linear = _Angles(), _Angles()
    residual = 0.0
    pixels = 0
    for scene in scenes:
        made = _rounded(predict(scene))[:, scene.valid]
        true = _rounded(scene.colours)[:, scene.valid]
        angles.add(scene.place, angular_error(made, true))
        linear.add(scene.place, angular_error(linear_light(made), linear_light(true)))
        residual += float(((made - true) ** 2).sum())
        pixels += true.shape[1]
    return Scores(
        angular=angles.mean,
        sd=angles.sd,
        linear_angular=linear.mean,
        linear_sd=linear.sd,
        rmse=float(np.sqrt(residual / (3 * pixels))),
        undefined=1 - angles.count / pixels,
        pixels=pixels,
        images=angles.images,
        linear_images=linear.images,
    )


def linear_light(srgb: Doubles) -> Doubles:
    """sRGB values in 0–1 to the light they stand for, 0–1 (IEC 61966-2-1)."""
    return np.where(srgb <= 0.04045, srgb / 12.92, ((srgb + 0.055) / 1.055) ** 2.4)


def by_category(images: dict[str, float]) -> dict[str, float]:
    """Mean over the images of each category."""
    return place_means((category(name), value) for name, value in images.items())


def _rounded(working: FloatArray) -> Doubles:
    rounded: Doubles = quantize(working).astype(np.float64) / 255
    return rounded
