"""What a training held, for the model's file."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

from nirgeo.domain import BandDomain, measure_domain
from nirgeo.radiometry import from_working
from nirgeo.training.config import TrainingConfig
from nirgeo.training.data import TrainingScene


def training_domain(
    scenes: Sequence[TrainingScene], config: TrainingConfig
) -> dict[str, BandDomain]:
    """The values of every input band, in the quantity's unit; see :mod:`nirgeo.domain`.

    A model that was trained through air of all kinds finds no scene too bright in its shadows.
    """
    kept = [scene for scene in scenes if scene.valid.any()]
    values = (
        {
            band: from_working(scene.inputs[number][scene.valid], config.quantity)
            for number, band in enumerate(config.bands)
        }
        for scene in kept
    )
    domain = measure_domain(values, [scene.place for scene in kept])
    if config.path_radiance > 0:
        return {band: replace(seen, dark_high=math.inf) for band, seen in domain.items()}
    return domain
