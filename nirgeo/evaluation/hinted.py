"""What a known colour is worth: models that are told the scene's mean colour, with an error.

The location prior can only be scored where a scene has a place. This asks the same of every
scene: how good would the model be, if something told it the mean colour as well as a map of the
world does? The error is drawn once per scene, from its name, so every model gets the same hint.
"""

from __future__ import annotations

import math
import zlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from nirgeo import hints
from nirgeo.errors import EvaluationError
from nirgeo.evaluation.predict import ModelPredictor, Predictor
from nirgeo.evaluation.scenes import EvaluationScene
from nirgeo.location_prior import HintField, uniform_hint
from nirgeo.modelfile import LOCAL_AFFINE, Model
from nirgeo.registry import AnyModel


@dataclass(frozen=True)
class HintedPredictor(ModelPredictor):
    """A model that is told the scene's mean colour with an error in its log ratios."""

    error: float = 0.15

    def hint(self, scene: EvaluationScene) -> bool | HintField:
        mean = scene.truth[:, scene.valid].mean(axis=1, dtype=np.float64)
        seed = zlib.crc32(scene.name.encode())
        wrong = np.random.default_rng(seed).normal(0, self.error, size=2)
        return uniform_hint(hints.log_ratios(mean) + wrong, self.error, "mean of the truth")


def _takes_hints(model: AnyModel) -> bool:
    return isinstance(model, Model) and model.spec.architecture == LOCAL_AFFINE


def with_hints(predictors: Sequence[Predictor], errors: Sequence[float]) -> list[Predictor]:
    """``predictors``, and once more, for every error of a hint, the networks that take one.

    Raises
    ------
    EvaluationError : an error is negative or not finite, or there is no such network
    """
    found = list(predictors)
    for error in dict.fromkeys(errors):
        if not 0 <= error < math.inf:
            raise EvaluationError(f"--hint-error {error}: need a number from 0 on")
        for predictor in predictors:
            if type(predictor) is ModelPredictor and _takes_hints(predictor.model):
                label = f"{predictor.label} + colour ± {error:g}"
                found.append(HintedPredictor(label, predictor.model, predictor.device, error=error))
    if errors and len(found) == len(predictors):
        raise EvaluationError("--hint-error: none of the models takes a hint of its scene's colour")
    return found
