"""Whatever makes colours, behind one small interface: models, baselines and oracles.

A model, network or baseline, runs through :func:`nirgeo.colorize`, exactly as a user runs it: same
reader, windows, halo and clipping. An oracle is a baseline that is shown the truth; it sees the
scene whole.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from pathlib import Path
from typing import Protocol

import numpy as np

from nirgeo.bands import COLOURS
from nirgeo.baselines import BASELINES, Baseline, Context, load_baseline
from nirgeo.baselines.model import BaselineModel
from nirgeo.baselines.storage import BASELINE_PREFIX, ORACLES, is_baseline_file
from nirgeo.engine import colorize
from nirgeo.errors import EvaluationError
from nirgeo.evaluation.scenes import EvaluationScene, FloatArray, Picture, render
from nirgeo.expected_error import decode
from nirgeo.location_prior import HintField, ToneMap, hint_at
from nirgeo.modelfile import ModelSpec
from nirgeo.own_torch import intra_op_threads
from nirgeo.radiometry import Quantity, from_working
from nirgeo.registry import AnyModel, load_model, shipped_files
from nirgeo.runtimes.choice import FP32, TORCH
from nirgeo.scene_attributes import VALID


class Kind(StrEnum):
    MODEL = "model"
    BASELINE = "baseline"
    ORACLE = "oracle"
    """Fitted to each scene's own truth."""
    REFERENCE = "reference"
    """Colours that a model may be given, without the model."""

    @property
    def competes(self) -> bool:
        """Whether it has near infrared alone to go by, as a user has."""
        return self in (Kind.MODEL, Kind.BASELINE)


@dataclass(frozen=True)
class Prediction:
    """Colours of one scene: ``values`` (3, H, W) in reflectance or counts / 255, NaN where a model
    gives none, and ``picture`` (3, H, W), what is shown. ``expected`` (H, W) is the angle in
    degrees by which a model that can tell expects to be off."""

    values: FloatArray
    picture: Picture
    expected: FloatArray | None = None


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
    """A network or a baseline, run as the product runs it."""

    label: str
    model: AnyModel
    device: str = "cpu"
    prior: bool = True
    reference: str | None = None
    runtime: str = TORCH
    precision: str = FP32

    @property
    def kind(self) -> Kind:
        return Kind.BASELINE if isinstance(self.model, BaselineModel) else Kind.MODEL

    @property
    def quantity(self) -> Quantity:
        return self.model.spec.quantity

    @property
    def bands(self) -> tuple[str, ...]:
        return self.model.spec.bands

    @property
    def error_quantile(self) -> float | None:
        """Multiple of the expected error that bounds the interval, if the model has one."""
        spec = self.model.spec
        if self.reference is not None or not isinstance(spec, ModelSpec):
            return None
        return spec.error_quantile

    def hint(self, scene: EvaluationScene) -> bool | HintField:
        """What is known of the colours of the scene's place.

        The georeference tells; where there is none, the position that an index gave.
        """
        spec = self.model.spec
        tones = spec.tones if isinstance(spec, ModelSpec) else None
        if not self.prior or tones is None or scene.position is None:
            return self.prior
        return hint_at(*scene.position, ToneMap.from_json(tones)) or False

    def predict(self, scene: EvaluationScene) -> Prediction:
        return self.predict_with(scene, self.reference)

    def predict_with(self, scene: EvaluationScene, reference: str | None) -> Prediction:
        """Colours of a scene with this file as the reference; then no error is expected."""
        reflectance = self.quantity is Quantity.REFLECTANCE
        tells = reference is None and self.error_quantile is not None
        rgb = colorize(
            scene.lazy,
            self.model,
            output="reflectance" if reflectance else "display",
            prior=self.hint(scene),
            reference=reference,
            uncertainty=tells,
            device=self.device,
            runtime=self.runtime,
            precision=self.precision,
        )
        if list(rgb["band"].values[:3]) != list(COLOURS):
            made = ", ".join(str(band) for band in rgb["band"].values)
            raise EvaluationError(
                f"{self.label} makes {made}; only models of red, green and blue can be scored"
            )
        with intra_op_threads(1):  # dask's threads already use every core
            rgb = rgb.compute()
        values, valid = rgb.values[:3], rgb[VALID].values
        expected = np.where(valid, decode(rgb.values[3]), np.float32(np.nan)) if tells else None
        if reflectance:
            return Prediction(values, render(values, self.quantity), expected)
        unit = np.where(valid, values.astype(np.float32) / np.float32(255), np.float32(np.nan))
        return Prediction(unit, values, expected)


@dataclass(frozen=True)
class OraclePredictor:
    """An oracle on a whole scene. Its colours are clipped and rounded as a model's are."""

    baseline: Baseline
    kind: Kind = Kind.ORACLE

    @property
    def label(self) -> str:
        return f"{BASELINE_PREFIX}{self.baseline.name}"

    @property
    def quantity(self) -> Quantity:
        return self.baseline.quantity

    @property
    def bands(self) -> tuple[str, ...]:
        return self.baseline.bands

    def predict(self, scene: EvaluationScene) -> Prediction:
        working = self.baseline.predict(
            scene.working(self.bands), scene.valid, Context(self.quantity, scene.working(COLOURS))
        )
        unit = np.float32(1 if self.quantity is Quantity.REFLECTANCE else 255)
        values = np.clip(from_working(working, self.quantity) / unit, 0, 1)
        picture = render(values, self.quantity)
        if self.quantity is Quantity.COUNTS:
            values = picture.astype(np.float32) / np.float32(255)
        return Prediction(values, picture)


def predictor_of(baseline: Baseline) -> Predictor:
    """A baseline that has just been fitted, or an oracle, ready to be scored."""
    if baseline.name in ORACLES:
        return OraclePredictor(baseline)
    model = BaselineModel.of(baseline)
    return ModelPredictor(model.spec.full_name, model)


def load_predictors(
    names: Sequence[str],
    device: str = "cpu",
    *,
    prior: bool = True,
    quantities: Sequence[Quantity] = tuple(Quantity),
) -> list[Predictor]:
    """Models by name or path, and saved baselines by path; oracles too.

    ``prior`` is that of :func:`nirgeo.colorize`. Of a shipped baseline, which has a file for each
    quantity, those of ``quantities`` are taken.

    Raises
    ------
    UnknownModelError, ModelError : see :func:`nirgeo.registry.load_model`
    """
    found: list[Predictor] = []
    for name in dict.fromkeys(names):
        several = len(shipped_files(name)) > 1
        if not several and os.path.isfile(name) and is_baseline_file(name):
            baseline = load_baseline(name)
            if baseline.name in ORACLES:
                found.append(OraclePredictor(baseline))
                continue
        for quantity in quantities if several else (None,):
            model = load_model(name, quantity)
            found.append(ModelPredictor(model.spec.full_name, model, device, prior))
    return found


def baseline_name(text: str) -> str | None:
    """``"grey"`` for ``"baseline/grey"``; None for anything that does not name a baseline to fit.

    With a version (``"baseline/grey@2"``) it is a shipped model like others.

    Raises
    ------
    EvaluationError : there is no such baseline
    """
    if not text.startswith(BASELINE_PREFIX) or "@" in text or os.path.isfile(text):
        return None
    name = text.removeprefix(BASELINE_PREFIX)
    if name not in BASELINES:
        raise EvaluationError(f"no baseline {name!r}; there are {', '.join(BASELINES)}")
    return name


def with_unique_labels(found: Sequence[Predictor]) -> list[Predictor]:
    """Models of one name are told apart by their hash; the same bytes twice are one model."""
    unique: dict[tuple[str, Quantity, str], Predictor] = {}
    for predictor in found:
        sha = predictor.model.sha256 if isinstance(predictor, ModelPredictor) else ""
        unique.setdefault((predictor.label, predictor.quantity, sha), predictor)
    names = [(label, quantity) for label, quantity, _ in unique]
    return [
        replace(predictor, label=f"{label} ({sha[:8]})")
        if isinstance(predictor, ModelPredictor) and names.count((label, quantity)) > 1
        else predictor
        for (label, quantity, sha), predictor in unique.items()
    ]


def file_name(predictor: Predictor) -> str | None:
    """The name of a model's file, without its folder; None for what is in no file."""
    path = predictor.model.path if isinstance(predictor, ModelPredictor) else None
    return None if path is None else Path(path).name
