"""Whatever makes colours, behind one small interface: models, baselines and oracles.

A model runs through :func:`nirgeo.colorize`, exactly as a user runs it: same reader, windows, halo
and clipping. A baseline sees the scene whole. An oracle is a baseline that is shown the truth.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from pathlib import Path
from typing import Protocol

import numpy as np
from safetensors import SafetensorError, safe_open

from nirgeo.bands import COLOURS
from nirgeo.baselines import BASELINES, Baseline, Context, load_baseline
from nirgeo.baselines.storage import METADATA_KEY
from nirgeo.engine import colorize
from nirgeo.errors import EvaluationError
from nirgeo.evaluation.scenes import EvaluationScene, FloatArray, Picture, render
from nirgeo.inference import intra_op_threads
from nirgeo.modelfile import Model
from nirgeo.radiometry import Quantity, from_working
from nirgeo.registry import load_model
from nirgeo.scene import VALID

BASELINE_PREFIX = "baseline/"
ORACLES = frozenset(name for name in BASELINES if name.startswith("oracle-"))
UNFITTED = frozenset({"grey", "terralook", "spot"}) | ORACLES
"""Baselines that learn nothing from other scenes."""


class Kind(StrEnum):
    MODEL = "model"
    BASELINE = "baseline"
    ORACLE = "oracle"


@dataclass(frozen=True)
class Prediction:
    """Colours of one scene: ``values`` (3, H, W) in reflectance or counts / 255, NaN where a model
    gives none, and ``picture`` (3, H, W), what is shown."""

    values: FloatArray
    picture: Picture


class Predictor(Protocol):
    """Something to be scored. ``label`` is unique within an evaluation."""

    @property
    def label(self) -> str: ...
    @property
    def kind(self) -> Kind: ...
    @property
    def quantity(self) -> Quantity: ...
    @property
    def bands(self) -> tuple[str, ...]: ...

    def predict(self, scene: EvaluationScene) -> Prediction:
        """Colours of a scene of this quantity."""


@dataclass(frozen=True)
class ModelPredictor:
    """A shipped model or a model file, run as the product runs it."""

    label: str
    model: Model
    device: str = "cpu"
    prior: bool = True
    kind: Kind = Kind.MODEL

    @property
    def quantity(self) -> Quantity:
        return self.model.spec.quantity

    @property
    def bands(self) -> tuple[str, ...]:
        return self.model.spec.bands

    def predict(self, scene: EvaluationScene) -> Prediction:
        reflectance = self.quantity is Quantity.REFLECTANCE
        rgb = colorize(
            scene.lazy,
            self.model,
            output="reflectance" if reflectance else "display",
            prior=self.prior,
            device=self.device,
        )
        if list(rgb["band"].values) != list(COLOURS):
            made = ", ".join(str(band) for band in rgb["band"].values)
            raise EvaluationError(
                f"{self.label} makes {made}; only models of red, green and blue can be scored"
            )
        with intra_op_threads(1):  # dask's threads already use every core
            rgb = rgb.compute()
        values, valid = rgb.values, rgb[VALID].values
        if reflectance:
            return Prediction(values, render(values, self.quantity))
        unit = np.where(valid, values.astype(np.float32) / np.float32(255), np.float32(np.nan))
        return Prediction(unit, values)


@dataclass(frozen=True)
class BaselinePredictor:
    """A baseline or an oracle. Its colours are clipped and rounded as a model's are."""

    baseline: Baseline

    @property
    def label(self) -> str:
        return f"{BASELINE_PREFIX}{self.baseline.name}"

    @property
    def kind(self) -> Kind:
        return Kind.ORACLE if self.baseline.name in ORACLES else Kind.BASELINE

    @property
    def quantity(self) -> Quantity:
        return self.baseline.quantity

    @property
    def bands(self) -> tuple[str, ...]:
        return self.baseline.bands

    def predict(self, scene: EvaluationScene) -> Prediction:
        truth = scene.working(COLOURS) if self.kind is Kind.ORACLE else None
        working = self.baseline.predict(
            scene.working(self.bands), scene.valid, Context(self.quantity, truth)
        )
        unit = np.float32(1 if self.quantity is Quantity.REFLECTANCE else 255)
        values = np.clip(from_working(working, self.quantity) / unit, 0, 1)
        picture = render(values, self.quantity)
        if self.quantity is Quantity.COUNTS:
            values = picture.astype(np.float32) / np.float32(255)
        return Prediction(values, picture)


def load_predictors(
    names: Sequence[str], device: str = "cpu", *, prior: bool = True
) -> list[Predictor]:
    """Models by name or path, and saved baselines by path; each with a label of its own.

    ``prior`` is that of :func:`nirgeo.colorize`.

    Raises
    ------
    UnknownModelError, ModelError : see :func:`nirgeo.registry.load_model`
    """
    found: list[Predictor] = []
    for name in dict.fromkeys(names):
        if os.path.isfile(name) and _is_baseline(name):
            found.append(BaselinePredictor(load_baseline(name)))
        else:
            model = load_model(name)
            found.append(ModelPredictor(model.spec.full_name, model, device, prior))
    return _with_unique_labels(found)


def baseline_name(text: str) -> str | None:
    """``"grey"`` for ``"baseline/grey"``; None for anything that does not name a baseline.

    Raises
    ------
    EvaluationError : there is no such baseline
    """
    if not text.startswith(BASELINE_PREFIX):
        return None
    name = text.removeprefix(BASELINE_PREFIX)
    if name not in BASELINES:
        raise EvaluationError(f"no baseline {name!r}; there are {', '.join(BASELINES)}")
    return name


def _is_baseline(path: str) -> bool:
    try:
        with safe_open(path, framework="numpy") as file:
            return METADATA_KEY in (file.metadata() or {})
    except (SafetensorError, OSError):
        return False


def _with_unique_labels(found: Sequence[Predictor]) -> list[Predictor]:
    """Files of one name are told apart by their hash; the same bytes twice are one model."""
    unique: dict[tuple[str, str], Predictor] = {}
    for predictor in found:
        sha = predictor.model.sha256 if isinstance(predictor, ModelPredictor) else ""
        unique.setdefault((predictor.label, sha), predictor)
    labels = [label for label, _ in unique]
    return [
        replace(predictor, label=f"{label} ({sha[:8]})")
        if isinstance(predictor, ModelPredictor) and labels.count(label) > 1
        else predictor
        for (label, sha), predictor in unique.items()
    ]


def file_name(predictor: Predictor) -> str | None:
    """The name of a model's file, without its folder."""
    return Path(predictor.model.path).name if isinstance(predictor, ModelPredictor) else None
