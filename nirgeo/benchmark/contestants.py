"""Whoever takes part: a training preset, or a baseline. Each is trained and then asked for colours.

Nothing chooses between weights: the last ones are scored. What is scored is looked at during a
training for the learning curve alone.
"""

from __future__ import annotations

import math
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from nirgeo.baselines import BASELINES, Baseline, Context
from nirgeo.baselines.storage import BASELINE_PREFIX
from nirgeo.errors import EvaluationError
from nirgeo.radiometry import Quantity
from nirgeo.tiling import TILE
from nirgeo.training.config import TrainingConfig
from nirgeo.training.data import FloatArray, TrainingScene
from nirgeo.training.loop import Trainer
from nirgeo.training.networks import model_spec
from nirgeo.training.presets import configuration
from nirgeo.training.validation import predict_scene

Predict = Callable[[TrainingScene], FloatArray]
"""Colours (3, H, W) in working space."""

LookUp = Callable[[Predict], float]
"""Mean angular error, over all scored pixels, of what is predicted."""

_CURVE_POINTS = 8
_TIMED_STEPS = 8
_FITTED_SCENES = 400
"""As many patches as a baseline is fitted to under the leaky protocol."""


@dataclass(frozen=True)
class Trained:
    """A contestant ready to be asked, and what it took."""

    predict: Predict
    seconds: float
    steps: int = 0
    patches: int = 0
    """Patches that were drawn for these steps."""
    curve: list[tuple[int, float]] = field(default_factory=list)
    """Steps done, and the mean angular error then."""


def check(name: str) -> None:
    """Refuse a contestant that there is not.

    Raises
    ------
    EvaluationError : no such baseline, or one that does not colour near infrared alone
    TrainingError : no such preset
    """
    if name.startswith(BASELINE_PREFIX):
        _baseline(name)
        return
    config = configuration(name)
    if config.quantity is not Quantity.COUNTS or config.bands != ("nir",):
        raise EvaluationError(
            f"--preset {name}: is for {', '.join(config.bands)} in {config.quantity.value}, and "
            f"this is near infrared in {Quantity.COUNTS.value}"
        )


def _baseline(name: str) -> type[Baseline]:
    kind = BASELINES.get(name.removeprefix(BASELINE_PREFIX))
    if kind is None or kind.bands != ("nir",):
        known = ", ".join(n for n, k in BASELINES.items() if k.bands == ("nir",))
        raise EvaluationError(f"no baseline {name!r} for near infrared; there are {known}")
    return kind


def fit_baseline(name: str, training: Sequence[TrainingScene]) -> Trained:
    """A baseline fitted to whole images, or to some of many patches.

    Raises
    ------
    EvaluationError : no such baseline, or one that does not colour near infrared alone
    """
    kind = _baseline(name)
    chosen = np.random.default_rng(0).permutation(len(training))[:_FITTED_SCENES]
    began = time.monotonic()
    fitted = kind.fit([training[k] for k in sorted(chosen)], Quantity.COUNTS)

    def predict(scene: TrainingScene) -> FloatArray:
        context = Context(Quantity.COUNTS, scene.colours)
        return fitted.predict(scene.inputs, scene.valid, context)

    return Trained(predict, time.monotonic() - began)


def train(
    config: TrainingConfig,
    name: str,
    training: Sequence[TrainingScene],
    folder: Path,
    *,
    device: str = "cpu",
    loaders: int = 0,
    error: LookUp | None = None,
    progress: Callable[[int], None] = lambda step: None,
) -> Trained:
    """Train for ``config.steps``; the weights stay in ``folder`` as last.safetensors."""
    marks = {math.ceil(config.steps * k / _CURVE_POINTS / 20) * 20 for k in range(1, _CURVE_POINTS)}
    curve: list[tuple[int, float]] = []

    def report(event: Mapping[str, Any]) -> None:
        progress(event["step"])
        if error is not None and event["step"] in marks and event["event"] == "train":
            curve.append((event["step"], error(predictor(trainer.average))))

    def predictor(network: nn.Module) -> Predict:
        network.eval()
        return lambda scene: predict_scene(network, scene, torch.device(device))

    spec = replace(
        model_spec(config, name, len(training)),
        summary="made by nirgeo benchmark epfl; research use only",
        licence="trained on EPFL RGB-NIR Scene: research use, not redistributable",
    )
    trainer = Trainer(
        config, training, None, folder, spec=spec, device=device, loaders=loaders, report=report
    )
    trainer.start()
    trainer.run()
    patches = trainer.step * config.batch
    return Trained(predictor(trainer.average), trainer.seconds, trainer.step, patches, curve)


def fitting_configuration(
    preset: str,
    training: Sequence[TrainingScene],
    *,
    seed: int,
    minutes: float | None,
    steps: int | None,
    device: str = "cpu",
    loaders: int = 0,
) -> TrainingConfig:
    """A preset with as many steps as fit into ``minutes`` here, or with ``steps``.

    Steps are timed first, so that a learning rate that falls over a training does so in time. With
    neither, the preset's own number of steps is taken. Patches are no larger than what is learnt
    from.

    Raises
    ------
    TrainingError : no such preset
    """
    config = replace(configuration(preset), seed=seed)
    side = min(min(scene.shape) for scene in training) // TILE * TILE
    if config.patch > side:
        config = replace(config, patch=max(TILE, side))
    if steps is None and minutes is not None:
        each = _seconds_per_step(config, training, device, loaders)
        steps = max(20, math.floor(minutes * 60 / each))
    if steps is not None:
        config = replace(config, steps=steps, warmup=min(config.warmup, steps // 5))
    return replace(config, validate_every=max(1, math.ceil(config.steps / 4)))


def _seconds_per_step(
    config: TrainingConfig, training: Sequence[TrainingScene], device: str, loaders: int
) -> float:
    timed = replace(config, steps=_TIMED_STEPS, warmup=min(config.warmup, _TIMED_STEPS))
    # The first steps of a process on a GPU load its kernels.
    for _ in range(1 if device == "cpu" else 2):
        with tempfile.TemporaryDirectory(prefix="nirgeo-") as folder:
            trainer = Trainer(timed, training, None, Path(folder), device=device, loaders=loaders)
            trainer.start()
            trainer.run()
    return trainer.seconds / _TIMED_STEPS
