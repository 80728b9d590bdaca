"""How models of display counts take another flight's rendering of the near infrared.

    python tools/other_renderings.py DATA OUT.json MODEL...

The scenes of DATA/aerial/val, their near infrared darker or brighter or along another curve, and
their colours as they are: every flight and camera renders counts in its own way, and nothing in a
file tells which. OUT is a record like those of ``nirgeo evaluate --json``.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from usage import arguments

from nirgeo.evaluation.predict import ModelPredictor, Prediction
from nirgeo.evaluation.scenes import EvaluationScene, find_scenes
from nirgeo.evaluation.score import evaluate
from nirgeo.radiometry import Quantity
from nirgeo.registry import load_model

CHANGES = (
    ("as it is", 1.0, 1.0),
    ("a fifth darker", 0.8, 1.0),
    ("a tenth darker", 0.9, 1.0),
    ("a tenth brighter", 1.1, 1.0),
    ("a quarter brighter", 1.25, 1.0),
    ("to the power of 0.8", 1.0, 0.8),
    ("to the power of 1.25", 1.0, 1.25),
)
"""In words, as gain, and as exponent."""


@dataclass(frozen=True)
class OtherRendering(ModelPredictor):
    """A model that is shown 255 · gain · (counts / 255) ** exponent."""

    gain: float = 1.0
    exponent: float = 1.0

    def predict(self, scene: EvaluationScene) -> Prediction:
        counts = scene.lazy.values.astype(np.float64)
        shown = np.rint(np.clip(255 * self.gain * (counts / 255) ** self.exponent, 0, 255))
        changed = scene.lazy.copy(data=shown.astype(scene.lazy.dtype))
        return super().predict(replace(scene, lazy=changed))


def main() -> None:
    data, out, *names = arguments(__doc__)
    folder = Path(data)
    entries = find_scenes([folder / "aerial" / "val"], folder / "index.csv", (), None)
    models = [load_model(name, Quantity.COUNTS) for name in names]
    # One evaluation per rendering: a table is what a model has to beat on the same pictures.
    records = []
    for words, gain, exponent in CHANGES:
        predictors = [
            OtherRendering(f"{model.spec.full_name}, {words}", model, gain=gain, exponent=exponent)
            for model in models
        ]
        records.append(evaluate(entries, predictors, warn=print).to_json())
    record = records[0]
    for task, *others in zip(*(one["tasks"] for one in records), strict=True):
        scores = zip(task["models"], *(other["models"] for other in others), strict=True)
        task["models"] = [score for of_a_model in scores for score in of_a_model]
    Path(out).write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
