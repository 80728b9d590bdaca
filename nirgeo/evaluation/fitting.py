"""Baselines fitted to training folders, on places other than those they are scored on."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from importlib.util import find_spec

import numpy as np

from nirgeo.baselines import BASELINES, Baseline, Patch, samples_from
from nirgeo.baselines.interface import RED_GREEN_NIR
from nirgeo.baselines.storage import UNFITTED
from nirgeo.errors import EvaluationError, TrainingError
from nirgeo.evaluation.predict import Kind, ModelPredictor, Predictor
from nirgeo.modelfile import ModelSpec
from nirgeo.radiometry import Quantity
from nirgeo.scene_lists import SceneEntry, learnt_places
from nirgeo.training.data import Sampler, TrainingScene, load_scene
from nirgeo.training.presets import configuration
from nirgeo.training.table import PATCHES


def check_apart(fitted: Iterable[SceneEntry], scored: Iterable[SceneEntry]) -> None:
    """Refuse places that are learnt from and scored at once.

    Raises
    ------
    EvaluationError : a place, or a file, is on both sides
    """
    fitted, scored = list(fitted), list(scored)
    origins = {e.origin for e in fitted}
    files = {e.path.resolve() for e in fitted}
    shared = {e.place for e in scored if e.origin in origins or e.path.resolve() in files}
    if shared:
        raise EvaluationError(
            f"{len(shared)} places are both in --fit and in --data ({', '.join(sorted(shared)[:3])}"
            f"{', …' if len(shared) > 3 else ''}), so the figures would measure memory; use other "
            "folders, or ask for --leaky, under whose name they will stand"
        )


def learnt_from(predictors: Iterable[Predictor], entries: Sequence[SceneEntry]) -> list[str]:
    """Which networks say that they have learnt from places that they are scored on, for people."""
    origins, told = {entry.origin: entry.place for entry in entries}, []
    for predictor in predictors:
        if not isinstance(predictor, ModelPredictor) or predictor.kind is Kind.BASELINE:
            continue
        spec = predictor.model.spec
        known = spec.training if isinstance(spec, ModelSpec) else {}
        told += learnt_places(known, origins, predictor.label, "so its figures measure memory")
    return told


@dataclass(frozen=True)
class Patches:
    """The patches of a sampler, drawn anew, and alike, each time one iterates."""

    sampler: Sampler
    batches: int
    bands: tuple[str, ...]

    def __iter__(self) -> Iterator[Patch]:
        for patch in samples_from(self.sampler, self.batches):
            if self.bands != RED_GREEN_NIR:
                yield patch
                continue
            # Red and green are given, so they are the true ones.
            yield replace(patch, inputs=np.concatenate((patch.colours[:2], patch.inputs)))


def fit_baselines(
    names: Sequence[str], entries: Sequence[SceneEntry], quantity: Quantity
) -> Iterator[Baseline]:
    """Each baseline of ``names``, fitted as the table under every generator is.

    That is to as many patches, of the same places with the same weights, as they were measured:
    fewer, or brighter and darker ones, make a table worse on places it has not seen.

    Scenes of another quantity are left out. Baselines that learn nothing need no entries.

    Raises
    ------
    EvaluationError : there is something to learn and no scene to learn it from, or scikit-learn
        is missing
    """
    learning = [name for name in names if name not in UNFITTED]
    if learning and not entries:
        raise EvaluationError(
            f"baseline {learning[0]} is learnt from scenes; name a folder of them with --fit, or "
            "take a shipped one, by its version: see nirgeo models --baselines"
        )
    if "trees" in names and find_spec("sklearn") is None:
        raise EvaluationError(
            "baseline trees needs scikit-learn, which is not installed; "
            "install the extra: pip install 'nirgeo[evaluate]'"
        )
    sampler = _sampler(entries, quantity) if learning else None
    for name in names:
        kind = BASELINES[name]
        if sampler is None or name in UNFITTED:
            yield kind.fit([], quantity)
        else:
            yield kind.fit(Patches(sampler, _batches(sampler), kind.bands), quantity)


def _sampler(entries: Sequence[SceneEntry], quantity: Quantity) -> Sampler:
    preset = "aerial-nir" if quantity is Quantity.COUNTS else "satellite-nir"
    config = replace(configuration(preset), hint_share=0.0)
    scenes: list[TrainingScene] = []
    for entry in entries:
        try:
            scenes.append(load_scene(entry, ("nir",), quantity))
        except TrainingError:
            continue
    try:
        return Sampler(scenes, config).unjittered()
    except TrainingError as error:
        raise EvaluationError(
            f"--fit: none of {len(entries)} scenes can be learnt from as {quantity.value} ({error})"
        ) from error


def _batches(sampler: Sampler) -> int:
    """Enough to see every pixel twice on average, up to ``PATCHES`` patches."""
    area = sum(scene.valid.size for place in sampler.places for scene in place)
    per_batch = sampler.config.batch * sampler.config.patch**2
    most = math.ceil(PATCHES / sampler.config.batch)
    return min(most, max(2, math.ceil(2 * area / per_batch)))
