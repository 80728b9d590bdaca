"""An evaluation as one HTML file: tables, pictures, and nothing from elsewhere."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

from nirgeo._version import __version__
from nirgeo.evaluation import pictures
from nirgeo.evaluation.chart import curve_chart, interval_chart
from nirgeo.evaluation.landcover import MIN_PIXELS, ClassError
from nirgeo.evaluation.looks import looks_json
from nirgeo.evaluation.markup import Child, Markup, document, element
from nirgeo.evaluation.predict import Kind, Predictor
from nirgeo.evaluation.scenes import EvaluationScene, read_scene
from nirgeo.evaluation.score import Evaluation, PredictorScore, SceneScore, TaskScore
from nirgeo.evaluation.sums import measure
from nirgeo.evaluation.text import (
    COLUMNS,
    bounds,
    count,
    decimal,
    explanation,
    heading,
    name,
    passed,
    rank,
)
from nirgeo.place_statistics import Interval

STYLE = """
:root { color-scheme: light dark; --line: #8884; --soft: #8882; --mark: #b4532a; }
body { font: 16px/1.5 system-ui, sans-serif; max-width: 76rem; margin: 2rem auto; padding: 0 1rem; }
h1 { line-height: 1.2; } h2 { margin-top: 2.5rem; border-top: 1px solid var(--line);
  padding-top: 1rem; } h3 { margin: 1.5rem 0 .5rem; }
p, ul { max-width: 48rem; } .wide { overflow-x: auto; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; margin: .75rem 0; }
th, td { padding: .3rem .7rem; text-align: right; border-bottom: 1px solid var(--line);
  white-space: nowrap; vertical-align: top; }
th:first-child, td:first-child { text-align: left; }
td small, th small { display: block; opacity: .7; font-weight: normal; }
tr.model { background: var(--soft); font-weight: 600; }
tr.oracle, tr.reference { font-style: italic; }
caption { text-align: left; opacity: .8; padding-bottom: .3rem; }
.warning { border-left: 4px solid var(--mark); padding: .5rem 1rem; background: var(--soft); }
.scene { display: grid; grid-template-columns: repeat(auto-fit, minmax(15rem, 1fr)); gap: .75rem; }
figure { margin: 0; } figure img { width: 100%; image-rendering: pixelated; display: block; }
figcaption { font-size: .875rem; }
.legend { display: flex; align-items: center; gap: .5rem; font-size: .875rem; }
.legend img { width: 12rem; height: .8rem; }
dl { display: grid; grid-template-columns: max-content 1fr; gap: .2rem 1rem; }
dt { opacity: .7; } dd { margin: 0; overflow-wrap: anywhere; }
summary { cursor: pointer; margin: 1rem 0; }
svg { max-width: 100%; height: auto; display: block; margin: 1rem 0; }
svg text { fill: currentColor; font: 13px system-ui, sans-serif; }
"""


def render_html(evaluation: Evaluation, predictors: Sequence[Predictor]) -> str:
    """The whole report. Scenes that are shown are predicted once more, to the same pixels.

    Parameters
    ----------
    evaluation : what :func:`nirgeo.evaluation.score.evaluate` returned
    predictors : those it was called with

    Raises
    ------
    EvaluationError : a scene that was scored can't be read any more
    """
    by_label = {(p.quantity, p.label): p for p in predictors}
    body: list[Child] = [element("h1", "Colours from near infrared: how far from the truth?")]
    for task in evaluation.tasks:
        body += _figures(task, evaluation)
        for score in _featured(task):
            body += _scenes(task, score, by_label[task.quantity, score.label])
        body += [*_breakdown(task), *_details(task)]
    body += _left_out(evaluation)
    body.append(element("p", element("small", f"Made by nirgeo {__version__}.")))
    return document("nirgeo evaluation", STYLE, body)


def _featured(task: TaskScore) -> list[PredictorScore]:
    """Whose scenes are shown: every model; without one, the best baseline."""
    models = [score for score in task.predictors if score.kind is Kind.MODEL]
    return models or rank(task.predictors)[:1]


def _figures(task: TaskScore, evaluation: Evaluation) -> list[Child]:
    """The headline: chart and table of means over places."""
    ranked = rank(task.predictors)
    table = task.best_table()
    header = ["", *(title for _, title, _ in COLUMNS)]
    rows: list[tuple[PredictorScore, list[Child]]] = [
        (score, [_cell(score.over_places(m), digits) for m, _, digits in COLUMNS])
        for score in ranked
    ]
    caption = "Mean over places"
    if table is not None:
        header.append("of table")
        caption += (
            f". Of table: the angle as a part of that of {table.label}, the better of the two "
            "lookup tables, on the same places"
        )
        for score, cells in rows:
            apart = score is table or not score.kind.competes
            cells.append(None if apart else _cell(task.relative(score, table), 2))
    return [
        element("h2", f"Scenes in {task.quantity.value}"),
        element("p", heading(task, evaluation)),
        element("p", explanation(task), class_="warning" if task.leaky else None),
        interval_chart(
            [(name(s), s.over_places(), s.kind is Kind.MODEL) for s in ranked],
            "angular error in degrees, mean over places",
        ),
        _table(caption, header, rows),
    ]


def _breakdown(task: TaskScore) -> list[Child]:
    """Where the errors lie, and the figures over pixels."""
    ranked = rank(task.predictors)
    return [
        element("h3", "By kind of ground"),
        element(
            "p",
            "Angular error in degrees, by thresholds on the true bands: rough proxies, not a map "
            f"of land cover. Mean over the places with at least {MIN_PIXELS} such pixels.",
        ),
        _classes([(score, task.cover_errors(score)) for score in ranked]),
        *_looks(ranked),
        *_expectations(task),
        element("h3", "By brightness"),
        element(
            "p",
            "Angular error in degrees, by the mean of the three true colours. Dark ground has "
            "little colour, and noise turns it easily.",
        ),
        _classes([(score, task.brightness_errors(score)) for score in ranked]),
        element("h3", "Over pixels"),
        element(
            "p",
            "For comparison with papers that pool all pixels; large scenes count more. Undefined: "
            "share of pixels where either colour is black.",
        ),
        _pooled(ranked),
    ]


def _looks(ranked: Sequence[PredictorScore]) -> list[Child]:
    """In how many scenes plants are green and water looks like water."""
    asked = looks_json(ranked[0].looks)
    if not any(ground["scenes"] for ground in asked):
        return []
    rows = [(s, [passed(ground) for ground in looks_json(s.looks)]) for s in ranked]
    return [
        element(
            "p",
            "Scenes that look right: green is the strongest colour of vegetation as it is shown; "
            "water is dark, or red its weakest colour. Asked where the true picture passes.",
        ),
        _table("Scenes", ["", *(str(ground["name"]) for ground in asked)], rows),
    ]


def _expectations(task: TaskScore) -> list[Child]:
    """What models expected of themselves, and what came."""
    known = [(s, figures) for s in rank(task.predictors) if (figures := task.expectation(s))]
    if not known:
        return []
    parts: list[Child] = [
        element("h3", "Expected errors"),
        element(
            "p",
            "Coverage is the share of pixels within the interval that should hold 90 of 100. AUSE "
            "is the area between the curve of what is left when the least trusted pixels are taken "
            "away, and that of the worst ones: 0 is perfect; beside it, what an expected error "
            "that says nothing would have.",
        ),
        _table(
            "Mean over places",
            ["", "expected", "actual", "coverage", "AUSE", "AUSE if blind"],
            [
                (
                    score,
                    [
                        f"{decimal(figures['expected'], 2)}°",
                        f"{decimal(figures['actual'], 2)}°",
                        f"{figures['coverage']:.1%}",
                        decimal(figures["ause"], 3),
                        decimal(figures["ause_blind"], 3),
                    ],
                )
                for score, figures in known
            ],
        ),
    ]
    for score, figures in known:
        parts += [
            curve_chart(
                figures["fractions"],
                [
                    ("least trusted away", figures["sparsification"], True),
                    ("worst away", figures["sparsification_best"], False),
                ],
                f"{score.label}: mean error in degrees against the share of pixels taken away",
            ),
            _table(
                f"{score.label}, by kind of ground",
                ["", "expected", "actual"],
                [
                    (cover["name"], [_degrees(cover["expected"]), _degrees(cover["actual"])])
                    for cover in figures["land_cover"]
                ],
            ),
        ]
    return parts


def _degrees(value: float | None) -> str:
    return "–" if value is None else f"{value:.2f}°"


def _table(
    caption: str | None,
    header: Sequence[Child],
    rows: Iterable[tuple[PredictorScore | str, Sequence[Child]]],
) -> Markup:
    """One row per predictor, where models stand out and oracles are set apart, or per name."""
    head = element("tr", *(element("th", cell, scope="col") for cell in header))
    lines = [
        element(
            "tr",
            element("td", score if isinstance(score, str) else name(score)),
            *(element("td", cell) for cell in cells),
            class_=None if isinstance(score, str) else score.kind.value,
        )
        for score, cells in rows
    ]
    table = element(
        "table",
        element("caption", caption) if caption else None,
        element("thead", head),
        element("tbody", lines),
    )
    return element("div", table, class_="wide")


def _cell(interval: Interval, digits: int) -> Markup:
    """A figure with its interval in small print below."""
    below = bounds(interval, digits)
    return element(
        "span", decimal(interval.value, digits), element("small", below) if below else None
    )


def _pooled(ranked: Sequence[PredictorScore]) -> Markup:
    rows = []
    for score in ranked:
        f = score.pooled.figures()
        keys = ("angular", "angular_sd", "angular_median", "angular_p95")
        cells: list[Child] = [decimal(f[key], 2) for key in keys]
        cells += [decimal(f["rmse"], 4), decimal(f["mae"], 4), decimal(f["psnr"], 1)]
        cells += [decimal(f["ergas"], 1), f"{f['undefined']:.2%}"]
        rows.append((score, cells))
    header = ["", "angle °", "sd °", "median °", "95th %", "RMSE", "MAE", "PSNR dB", "ERGAS %"]
    return _table(None, [*header, "undefined"], rows)


def _classes(rows: Sequence[tuple[PredictorScore, Sequence[ClassError]]]) -> Markup:
    first = rows[0][1]
    header: list[Child] = [""]
    header += [
        element("span", e.name, element("small", f"{e.share:.1%}, {count(e.places, 'place')}"))
        for e in first
    ]
    cells = [(score, [decimal(e.angular, 2) for e in errors]) for score, errors in rows]
    return _table(
        "Below each class: its share of all pixels, and how many places show it", header, cells
    )


def _scenes(task: TaskScore, score: PredictorScore, predictor: Predictor) -> list[Child]:
    legend = element(
        "p",
        "0°",
        element("img", src=pictures.data_uri(pictures.legend()), alt="from dark to light"),
        f"{pictures.SCALE_DEGREES:g}° and more",
        class_="legend",
    )
    parts: list[Child] = [element("h3", f"Best, median and worst scene of {score.label}"), legend]
    for word, position in extremes(score.scenes):
        chosen, scene = score.scenes[position], read_scene(task.scenes[position])
        figures = chosen.figures
        caption = (
            f": {decimal(figures['angular'], 2)}°, RMSE {decimal(figures['rmse'], 4)}, "
            f"ΔE2000 {decimal(figures['ciede2000'], 2)} · {chosen.scene} · place {chosen.place}, "
            f"{scene.shape[1]} × {scene.shape[0]} px"
        )
        parts += [element("p", element("strong", word), caption), _panels(scene, predictor)]
    return parts


def _panels(scene: EvaluationScene, predictor: Predictor) -> Markup:
    prediction = predictor.predict(scene)
    _, angles = measure(
        prediction.values, scene.truth, scene.valid, (prediction.picture, scene.picture)
    )
    figures = [
        element(
            "figure",
            element("img", src=pictures.data_uri(picture), alt=f"{title} of {scene.name}"),
            element("figcaption", title),
        )
        for title, picture in pictures.panels(
            scene, prediction.values, angles, prediction.expected
        ).items()
    ]
    return element("div", figures, class_="scene")


def extremes(scores: Sequence[SceneScore]) -> list[tuple[str, int]]:
    """Positions of the best, median and worst scene by angular error; fewer of fewer scenes."""
    ordered = sorted(
        (k for k, s in enumerate(scores) if not math.isnan(s.figures["angular"])),
        key=lambda k: (scores[k].figures["angular"], scores[k].scene),
    )
    chosen: dict[int, str] = {}
    for word, rank_ in (("Best", 0), ("Worst", len(ordered) - 1), ("Median", len(ordered) // 2)):
        if ordered:
            chosen.setdefault(rank_, word)
    return [(chosen[rank_], ordered[rank_]) for rank_ in sorted(chosen)]


def _details(task: TaskScore) -> list[Child]:
    ranked = rank(task.predictors)
    places = [score.places() for score in ranked]
    order = sorted(places[0], key=lambda p: (math.isnan(places[0][p]), -places[0][p]))
    counts = {p: sum(e.place == p for e in task.scenes) for p in task.place_names}
    head = [element("th", text, scope="col") for text in ["place", "scenes"]]
    head += [element("th", name(score), scope="col") for score in ranked]
    rows = [
        element(
            "tr",
            element("td", place),
            element("td", str(counts[place])),
            *(element("td", decimal(means[place], 2)) for means in places),
        )
        for place in order
    ]
    table = element("table", element("thead", element("tr", head)), element("tbody", rows))
    cards: list[Child] = []
    for score in task.predictors:
        if not any(score.card.values()):
            continue
        facts = [
            (element("dt", key), element("dd", value)) for key, value in score.card.items() if value
        ]
        cards += [element("h4", score.label), element("dl", [part for f in facts for part in f])]
    return [
        element(
            "details",
            element("summary", "Angular error of every place, worst first"),
            element("div", table, class_="wide"),
        ),
        element("details", element("summary", "What was scored"), cards) if cards else None,
    ]


def _left_out(evaluation: Evaluation) -> list[Child]:
    if not evaluation.skipped:
        return []
    items = [element("li", reason) for reason in evaluation.skipped]
    return [element("h2", "Left out"), element("ul", items)]
