"""What was scored, as one picture: near infrared, prediction and truth in a row per image."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from nirgeo.evaluation.scenes import Picture
from nirgeo.radiometry import quantize
from nirgeo.training.data import FloatArray, TrainingScene

WIDTH = 300
_GAP = 6


def sheet(
    scenes: Sequence[TrainingScene], predict: Callable[[TrainingScene], FloatArray]
) -> Picture:
    """(3, H, W); images are averaged down to ``WIDTH`` pixels or a little more."""
    rows = []
    for scene in scenes:
        nir = scene.inputs[:1].repeat(3, axis=0)
        views = [_reduced(view) for view in (nir, predict(scene), scene.colours)]
        rows.append(np.concatenate([np.pad(v, ((0, 0), (0, _GAP), (0, _GAP))) for v in views], 2))
    wide = max(row.shape[2] for row in rows)
    padded = [np.pad(row, ((0, 0), (0, 0), (0, wide - row.shape[2]))) for row in rows]
    return quantize(np.concatenate(padded, axis=1))


def _reduced(view: FloatArray) -> FloatArray:
    factor = max(1, view.shape[2] // WIDTH)
    height, width = (side // factor * factor for side in view.shape[1:])
    blocks = view[:, :height, :width].reshape(3, height // factor, factor, width // factor, factor)
    mean: FloatArray = blocks.mean(axis=(2, 4))
    return mean
