"""Grey copy: the near-infrared shown as red, green and blue. What a viewer does without a model."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from nirgeo.bands import COLOURS
from nirgeo.baselines.interface import NIR, Context, FloatArray, Mask
from nirgeo.baselines.pixels import paint, scene_pixels
from nirgeo.baselines.unfitted import Unfitted


@dataclass(frozen=True)
class GreyCopy(Unfitted):
    """R = G = B = NIR. Nothing is learned."""

    name: ClassVar[str] = "grey"
    summary: ClassVar[str] = "near infrared shown as red, green and blue; nothing is learned"
    bands: ClassVar[tuple[str, ...]] = NIR
    copies: ClassVar[Mapping[str, str]] = dict.fromkeys(COLOURS, "nir")

    def predict(self, inputs: FloatArray, valid: Mask, context: Context) -> FloatArray:
        nir = scene_pixels(self, inputs, valid, context)
        return paint(np.repeat(nir, 3, axis=0), valid, self.quantity)
