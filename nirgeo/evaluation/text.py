"""An evaluation as a table for the terminal."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from nirgeo.evaluation.looks import looks_json
from nirgeo.evaluation.predict import Kind
from nirgeo.evaluation.score import Evaluation, PredictorScore, TaskScore
from nirgeo.place_statistics import Interval
from nirgeo.radiometry import Quantity

COLUMNS = (
    ("angular", "angle °", 2),
    ("rmse", "RMSE", 4),
    ("mae", "MAE", 4),
    ("ssim", "SSIM", 3),
    ("ssim_picture", "SSIM shown", 3),
    ("ciede2000", "ΔE2000", 2),
)
"""Measure, heading, decimals."""

SPACES = {Quantity.REFLECTANCE: "reflectance", Quantity.COUNTS: "counts / 255"}


def explanation(task: TaskScore) -> str:
    """What the figures of a task are figures of, in a few sentences."""
    sentences = [
        "Angle, RMSE, MAE and SSIM are of " + SPACES[task.quantity] + "; SSIM shown and ΔE2000 "
        "(CIEDE2000) of the 8-bit pictures.",
        "Scenes of a place are averaged first, and places count alike.",
    ]
    if len(task.place_names) < 2:
        sentences.append(
            "All scenes belong to one place, so there is no interval: nothing here tells how the "
            "figures would be elsewhere."
        )
    else:
        sentences.append("Below each figure: 95% interval, from drawing places anew.")
    if any(score.kind is Kind.ORACLE for score in task.predictors):
        sentences.append(
            "An oracle is a lookup table fitted to each scene's own truth: the best that single "
            "pixels can tell, not a competitor."
        )
    if any(score.kind is Kind.REFERENCE for score in task.predictors):
        sentences.append(
            "A reference alone is what the models beside it are given, interpolated: with it they "
            "have to be better than that."
        )
    if any(set(score.bands) > {"nir"} for score in task.predictors):
        sentences.append("Where +red, green is written, these two bands were given, not made.")
    if task.leaky:
        sentences.append(
            "LEAKY: baselines have learnt from places that are scored here. No figure speaks for "
            "new places."
        )
    return " ".join(sentences)


def render_text(evaluation: Evaluation) -> str:
    """The whole report as text."""
    return "\n\n".join(_task(task, evaluation) for task in evaluation.tasks)


def heading(task: TaskScore, evaluation: Evaluation) -> str:
    """How many scenes of how many places, of which level, and how much of them is masked."""
    scenes, places = len(task.scenes), len(task.place_names)
    parts = [
        f"{count(scenes, 'scene')} of {count(places, 'place')}",
        task.quantity.value,
        f"level {', '.join(evaluation.levels)}" if evaluation.levels else "",
        "" if evaluation.prior else "without the prior of the place",
        "" if evaluation.indexed else "no --index: every file counts as a place",
        f"{masked_share(task):.1%} of the pixels masked",
        f"{count(len(evaluation.skipped), 'scene')} left out" if evaluation.skipped else "",
        "LEAKY" if task.leaky else "",
    ]
    return " · ".join(part for part in parts if part)


def masked_share(task: TaskScore) -> float:
    """Share of all pixels that no measure counts; the same for every predictor."""
    return task.predictors[0].pooled.figures()["masked"]


def count(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"


def rank(predictors: Sequence[PredictorScore]) -> list[PredictorScore]:
    """Those that get NIR alone by angular error, best first; then those that are given more; then
    the oracles, with which no one competes."""

    def key(score: PredictorScore) -> tuple[bool, bool, bool, float]:
        value = score.over_places().value
        return not score.kind.competes, set(score.bands) > {"nir"}, math.isnan(value), value

    return sorted(predictors, key=key)


def name(score: PredictorScore) -> str:
    """The label, with a word for what does not play by the same rules."""
    if score.kind is Kind.ORACLE:
        return f"{score.label} (oracle)"
    if score.kind is Kind.REFERENCE:
        return f"{score.label} alone"
    extra = [band for band in score.bands if band != "nir"]
    return score.label + (f" (+{', '.join(extra)})" if extra else "")


def _task(task: TaskScore, evaluation: Evaluation) -> str:
    ranked = rank(task.predictors)
    width = max(24, *(len(name(score)) for score in ranked))
    lines = [heading(task, evaluation), *textwrap.wrap(explanation(task), 100), ""]
    lines.append(_row("mean over places", [title for _, title, _ in COLUMNS], width))
    for score in ranked:
        intervals = [(score.over_places(m), digits) for m, _, digits in COLUMNS]
        lines.append(_row(name(score), [decimal(i.value, d) for i, d in intervals], width))
        if len(task.place_names) > 1:
            lines.append(_row("", [bounds(i, d) for i, d in intervals], width))
    lines += ["", *_pooled(ranked, width), *_relative(task, ranked, width)]
    lines += _expectations(task, ranked, width)
    lines += _looks(ranked, width)
    return "\n".join(lines)


def _pooled(ranked: Sequence[PredictorScore], width: int) -> Iterator[str]:
    titles = ["angle °", "sd °", "median °", "95th %", "RMSE", "undefined"]
    yield _row("pooled over pixels", titles, width)
    for score in ranked:
        f = score.pooled.figures()
        cells = [
            *(decimal(f[k], 2) for k in ("angular", "angular_sd", "angular_median", "angular_p95")),
            decimal(f["rmse"], 4),
            f"{f['undefined']:.2%}",
        ]
        yield _row(name(score), cells, width)


def _relative(task: TaskScore, ranked: Sequence[PredictorScore], width: int) -> Iterator[str]:
    table = task.best_table()
    if table is None:
        return
    yield ""
    yield f"angle as a part of that of {table.label}, on the same places"
    for score in ranked:
        if score is table or not score.kind.competes:
            continue
        ratio = task.relative(score, table)
        yield _row(name(score), [decimal(ratio.value, 2), bounds(ratio, 2)], width)


def _expectations(task: TaskScore, ranked: Sequence[PredictorScore], width: int) -> Iterator[str]:
    known = [(score, figures) for score in ranked if (figures := task.expectation(score))]
    if not known:
        return
    yield ""
    titles = ["expected °", "actual °", "in 90% int.", "AUSE", "if blind"]
    yield _row("expected errors, over places", titles, width)
    for score, figures in known:
        cells = [
            decimal(figures["expected"], 2),
            decimal(figures["actual"], 2),
            f"{figures['coverage']:.1%}",
            decimal(figures["ause"], 2),
            decimal(figures["ause_blind"], 2),
        ]
        yield _row(name(score), cells, width)


def _looks(ranked: Sequence[PredictorScore], width: int) -> Iterator[str]:
    asked = looks_json(ranked[0].looks)
    if not any(ground["scenes"] for ground in asked):
        return
    yield ""
    yield _row("scenes that look right", [str(ground["name"]) for ground in asked], width)
    for score in ranked:
        yield _row(name(score), [passed(ground) for ground in looks_json(score.looks)], width)


def passed(ground: Mapping[str, Any]) -> str:
    """``12 of 14``; a dash where no scene shows this kind of ground."""
    return f"{ground['passed']} of {ground['scenes']}" if ground["scenes"] else "–"


def decimal(value: float, digits: int) -> str:
    """A fixed number of decimals; a dash where there is nothing to tell."""
    return "–" if math.isnan(value) else f"{value:.{digits}f}"


def bounds(interval: Interval, digits: int) -> str:
    """``low–high``; empty where fewer than two places allow no interval."""
    if math.isnan(interval.low):
        return ""
    return f"{interval.low:.{digits}f}–{interval.high:.{digits}f}"


def _row(first: str, cells: Sequence[str], width: int) -> str:
    return (first.ljust(width) + "".join(cell.rjust(14) for cell in cells)).rstrip()
