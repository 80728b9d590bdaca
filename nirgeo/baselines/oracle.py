"""Oracles: lookup tables fitted to the truth of the very scene they predict.

No single-pixel model can do better on a scene, however it is trained; what a model gains beyond an
oracle it must have from a pixel's surroundings. They cheat by design: never rank them with models.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from nirgeo.baselines.interface import (
    NIR,
    Baseline,
    Context,
    FloatArray,
    Mask,
    Patch,
)
from nirgeo.baselines.lookup import MeanColourTable, MeanDirectionTable
from nirgeo.baselines.pixels import paint, scene_pixels
from nirgeo.baselines.unfitted import Unfitted
from nirgeo.errors import ModelError


@dataclass(frozen=True)
class _Oracle(Unfitted):
    bands: ClassVar[tuple[str, ...]] = NIR
    name: ClassVar[str]
    summary: ClassVar[str]
    table: ClassVar[type[Baseline]]
    sees_truth: ClassVar[bool] = True

    def predict(self, inputs: FloatArray, valid: Mask, context: Context) -> FloatArray:
        nir = scene_pixels(self, inputs, valid, context)
        if context.truth is None or context.truth.shape != (3, *valid.shape):
            raise ModelError(f"baseline {self.name} needs the scene's truth (3, H, W) as context")
        if nir.shape[1] == 0:
            return paint(nir.repeat(3, axis=0), valid, self.quantity)
        table = self.table.fit([Patch(inputs, context.truth, valid)], self.quantity)
        return table.predict(inputs, valid, context)


@dataclass(frozen=True)
class ColourOracle(_Oracle):
    """Bound on the RMSE of a single-pixel model."""

    name: ClassVar[str] = "oracle-colour"
    summary: ClassVar[str] = "lookup table of the mean colours of the scene itself"
    table: ClassVar[type[Baseline]] = MeanColourTable


@dataclass(frozen=True)
class DirectionOracle(_Oracle):
    """Bound on the mean cosine of the angular error, and nearly on its mean, likewise."""

    name: ClassVar[str] = "oracle-direction"
    summary: ClassVar[str] = "lookup table of the mean hues of the scene itself"
    table: ClassVar[type[Baseline]] = MeanDirectionTable
