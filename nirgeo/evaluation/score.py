"""Every predictor on every scene, and what that makes over places."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from importlib.util import find_spec
from typing import Any

import numpy as np

from nirgeo._version import __version__
from nirgeo.errors import EvaluationError
from nirgeo.evaluation import landcover
from nirgeo.evaluation.expectation import ExpectationSums, expectation_json, expectation_sums
from nirgeo.evaluation.landcover import ClassError, ClassSums
from nirgeo.evaluation.looks import Answer, answers, looks_json
from nirgeo.evaluation.predict import Kind, ModelPredictor, OraclePredictor, Predictor, file_name
from nirgeo.evaluation.scenes import EvaluationScene, FloatArray, read_scene
from nirgeo.evaluation.sums import ErrorSums, measure
from nirgeo.place_statistics import Interval, mean_interval, place_means, ratio_interval
from nirgeo.radiometry import Quantity
from nirgeo.scene_lists import SceneEntry
from nirgeo.tables import first_few_notes

HEADLINE = "angular"
MEASURES = ("angular", "rmse", "mae", "ssim", "ssim_picture", "ciede2000", "psnr", "ergas")
"""Figures that are averaged over places."""

TABLES = ("baseline/table-colour", "baseline/table-direction")
"""The lookup tables that a network must beat."""


@dataclass(frozen=True)
class SceneScore:
    """One predictor on one scene; ``figures`` as :meth:`ErrorSums.figures` gives them."""

    scene: str
    place: str
    pixels: int
    figures: Mapping[str, float]


@dataclass
class PredictorScore:
    """One predictor on all scenes."""

    label: str
    kind: Kind
    bands: tuple[str, ...]
    card: Mapping[str, str]
    scenes: list[SceneScore] = field(default_factory=list)
    pooled: ErrorSums = field(default_factory=ErrorSums)
    cover_sums: dict[str, ClassSums] = field(default_factory=dict)
    brightness_sums: dict[str, ClassSums] = field(default_factory=dict)
    expectations: dict[str, ExpectationSums] = field(default_factory=dict)
    """By place; empty for what expects no errors."""
    expected_cover_sums: dict[str, ClassSums] = field(default_factory=dict)
    looks: list[Answer] = field(default_factory=list)
    quantile: float | None = None

    def places(self, measure: str = HEADLINE) -> dict[str, float]:
        """Mean over the scenes of each place."""
        return place_means((s.place, s.figures[measure]) for s in self.scenes)

    def over_places(self, measure: str = HEADLINE) -> Interval:
        """Mean over places, with its interval."""
        with np.errstate(invalid="ignore"):  # the PSNR of a perfect picture is infinite
            return mean_interval(list(self.places(measure).values()))


@dataclass
class TaskScore:
    """All predictors of one quantity on all scenes of it."""

    quantity: Quantity
    predictors: list[PredictorScore]
    scenes: list[SceneEntry] = field(default_factory=list)
    leaky: bool = False

    @property
    def place_names(self) -> list[str]:
        return sorted({entry.place for entry in self.scenes})

    def best_table(self) -> PredictorScore | None:
        """The lookup table with the lowest angular error, if any was fitted."""
        tables = [p for p in self.predictors if p.label.partition("@")[0] in TABLES]
        return min(tables, key=lambda p: p.over_places().value) if tables else None

    def relative(self, score: PredictorScore, table: PredictorScore) -> Interval:
        """Angular error as a part of the table's on the same places, drawn in pairs."""
        ours, theirs = score.places(), table.places()
        return ratio_interval([ours[p] for p in theirs], list(theirs.values()))

    def cover_errors(self, score: PredictorScore) -> list[ClassError]:
        return landcover.class_errors(landcover.COVERS, score.cover_sums)

    def expectation(self, score: PredictorScore) -> dict[str, Any] | None:
        """Expected against actual errors; None for what expects none."""
        if score.quantile is None or not score.expectations:
            return None
        names = landcover.COVERS
        actual = landcover.class_errors(names, score.cover_sums)
        said = landcover.class_errors(names, score.expected_cover_sums)
        covers = [
            {"name": a.name, "places": a.places}
            | _numbers({"actual": a.angular, "expected": e.angular})
            for a, e in zip(actual, said, strict=True)
        ]
        return expectation_json(score.expectations, score.quantile, covers)

    def brightness_errors(self, score: PredictorScore) -> list[ClassError]:
        names = landcover.brightness_names(self.quantity)
        return landcover.class_errors(names, score.brightness_sums)


@dataclass
class Evaluation:
    """Everything that was measured. Equal work makes equal values: there is no time in it."""

    tasks: list[TaskScore]
    skipped: list[str]
    levels: tuple[str, ...] = ()
    indexed: bool = True
    prior: bool = True

    def to_json(self) -> dict[str, Any]:
        return {
            "nirgeo": __version__,
            "levels": list(self.levels),
            "places_from_index": self.indexed,
            "location_prior": self.prior,
            "skipped": self.skipped,
            "tasks": [_task_json(task) for task in self.tasks],
        }


def check_libraries() -> None:
    """What every evaluation needs beyond nirgeo itself.

    Raises
    ------
    EvaluationError : scikit-image is missing
    """
    if find_spec("skimage") is None:
        raise EvaluationError(
            "an evaluation needs scikit-image, which is not installed; "
            "install the extra: pip install 'nirgeo[evaluate]'"
        )


def evaluate(
    entries: Sequence[SceneEntry],
    predictors: Sequence[Predictor],
    *,
    leaky: bool = False,
    warn: Callable[[str], None] = lambda text: None,
    advance: Callable[[], None] = lambda: None,
) -> Evaluation:
    """Score predictors on scenes, each on those of its own quantity.

    Parameters
    ----------
    entries : scenes and their places
    predictors : at least one
    leaky : whether places were learnt from that are scored here; every figure says so
    warn : told of scenes that are left out, and why values of others may be wrong
    advance : called after each scene

    Raises
    ------
    EvaluationError : a predictor has no scene of its quantity
    """
    check_libraries()
    tasks = {
        quantity: TaskScore(
            quantity,
            [
                PredictorScore(
                    p.label,
                    p.kind,
                    p.bands,
                    card_of(p),
                    quantile=getattr(p, "error_quantile", None),
                )
                for p in predictors_of
            ],
            leaky=leaky,
        )
        for quantity in Quantity
        if (predictors_of := [p for p in predictors if p.quantity is quantity])
    }
    skipped: list[str] = []
    noted: list[str] = []
    for entry in entries:
        try:
            scene = read_scene(entry)
            if scene.quantity not in tasks:
                raise EvaluationError(
                    f"{entry.path.name}: holds {scene.quantity.value}, which no model here eats"
                )
        except EvaluationError as error:
            skipped.append(str(error))
            warn(f"left out {error}")
        else:
            for note in scene.notes:
                noted.append(f"{scene.name}: {note}")
            task = tasks[scene.quantity]
            task.scenes.append(entry)
            chosen = [p for p in predictors if p.quantity is scene.quantity]
            _score_scene(scene, chosen, task.predictors)
        advance()
    for note in first_few_notes(noted):
        warn(note)
    for quantity, task in tasks.items():
        if not task.scenes:
            raise EvaluationError(
                f"{task.predictors[0].label} eats {quantity.value}, and none of the "
                f"{len(entries)} scenes can be scored as that"
                + (f" (the first: {skipped[0]})" if skipped else "")
            )
    return Evaluation(list(tasks.values()), skipped)


def _score_scene(
    scene: EvaluationScene, predictors: Iterable[Predictor], scores: Iterable[PredictorScore]
) -> None:
    truth, shown = scene.truth, scene.picture
    covers, brightness = landcover.covers(scene), landcover.brightness(scene)
    bins = len(landcover.brightness_names(scene.quantity))
    for predictor, score in zip(predictors, scores, strict=True):
        prediction = predictor.predict(scene)
        sums, angles = measure(prediction.values, truth, scene.valid, (prediction.picture, shown))
        score.scenes.append(SceneScore(scene.name, scene.place, sums.pixels, sums.figures()))
        score.pooled = score.pooled + sums
        _score_expectation(scene.place, prediction.expected, angles, covers, score)
        score.looks += answers(scene.name, prediction.picture, shown, covers)
        for known, classes, count in (
            (score.cover_sums, covers, len(landcover.COVERS)),
            (score.brightness_sums, brightness, bins),
        ):
            found = landcover.class_sums(classes, angles, count)
            known[scene.place] = known[scene.place] + found if scene.place in known else found


def _score_expectation(
    place: str,
    expected: FloatArray | None,
    angles: FloatArray,
    covers: landcover.Classes,
    score: PredictorScore,
) -> None:
    if expected is None or score.quantile is None:
        return
    sums = expectation_sums(expected, angles, score.quantile)
    score.expectations[place] = score.expectations.get(place, ExpectationSums()) + sums
    known = np.where(np.isfinite(angles), expected, np.float32(np.nan))
    found = landcover.class_sums(covers, known, len(landcover.COVERS))
    before = score.expected_cover_sums.get(place)
    score.expected_cover_sums[place] = found if before is None else before + found


def card_of(predictor: Predictor) -> dict[str, str]:
    """What a model says about itself, as plain text. A file of unknown origin may say anything."""
    if isinstance(predictor, OraclePredictor):
        return {"summary": predictor.baseline.summary}
    if not isinstance(predictor, ModelPredictor):
        return {}
    spec = predictor.model.spec
    return {
        "summary": spec.summary,
        "licence": spec.licence,
        "attribution": spec.attribution,
        "file": file_name(predictor) or "",
        "sha256": predictor.model.sha256,
    }


def _task_json(task: TaskScore) -> dict[str, Any]:
    table = task.best_table()
    return {
        "quantity": task.quantity.value,
        "split": "leaky" if task.leaky else "places",
        "scenes": len(task.scenes),
        "places": len(task.place_names),
        "models": [_predictor_json(task, score, table) for score in task.predictors],
    }


def _predictor_json(
    task: TaskScore, score: PredictorScore, table: PredictorScore | None
) -> dict[str, Any]:
    return {
        "label": score.label,
        "kind": score.kind.value,
        "bands": list(score.bands),
        "card": dict(score.card),
        "mean_over_places": {m: interval_json(score.over_places(m)) for m in MEASURES},
        "relative_to_table": None
        if table is None or table is score
        else interval_json(task.relative(score, table)) | {"table": table.label},
        "pooled_over_pixels": {k: number(v) for k, v in score.pooled.figures().items()},
        "land_cover": [_numbers(asdict(e)) for e in task.cover_errors(score)],
        "looks": looks_json(score.looks),
        "expectation": task.expectation(score),
        "brightness": [_numbers(asdict(e)) for e in task.brightness_errors(score)],
        "places": {
            place: {m: number(score.places(m)[place]) for m in MEASURES} for place in score.places()
        },
        "per_scene": [
            {"scene": s.scene, "place": s.place, "pixels": s.pixels}
            | {k: number(v) for k, v in s.figures.items()}
            for s in score.scenes
        ],
    }


def interval_json(interval: Interval) -> dict[str, Any]:
    """An interval for JSON; bounds are null where fewer than two places allow none."""
    return _numbers(asdict(interval))


def number(value: float | np.floating[Any]) -> float | None:
    """A figure for JSON, which knows neither NaN nor infinity."""
    return float(value) if math.isfinite(value) else None


def _numbers(items: Mapping[str, Any]) -> dict[str, Any]:
    return {k: number(v) if isinstance(v, float | np.floating) else v for k, v in items.items()}
