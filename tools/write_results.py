"""Fill the tables of the pages with figures from the records in docs/results/.

    python tools/write_results.py            # write
    python tools/write_results.py --check    # exit 1 if a table is not what the records say
    python tools/write_results.py --adopt FILE...    # take new records, then write
    python tools/write_results.py --adopt-run RUN LABEL COMMAND    # a folder of `nirgeo train`

The text is written by hand, see page_tables.py. A table ``NAME ARGUMENTS`` is made of records in
docs/results/, which the commands in the text wrote:

``epfl CATEGORIES PROTOCOL``
    angles over every pixel, from epfl.jsonl (``nirgeo benchmark epfl``)
``epfl-categories CONTESTANT...``
    mean over the images of each category, all categories learnt from
``epfl-curves FOLD CONTESTANT...``
    angle on the urban images of a fold along each training
``epfl-long FILE``
    trainings of other records of the same, with what the angle was along them
``torture``
    campaigns of ``make torture``, from reliability.json
``evaluate FILE``
    means over places, from a JSON of ``nirgeo evaluate``
``cover FILE LABEL...``
    angles by kind of ground, from the same
``looks FILE LABEL...``
    in how many scenes vegetation is green and water looks like water, from the same
``expectations FILE...``
    expected against actual errors, from JSONs of ``nirgeo evaluate``
``expected-cover FILE LABEL``
    the same by kind of ground, for one model
``trainings PREFIX``
    the best validation of each training whose label begins so, from trainings.json
``statistics``
    errors of scenes' mean colours, from scene-statistics.json (``tools/scene_statistics.py``)
``ladder``
    the angle by what is known besides near infrared, satellite and aerial
"""

from __future__ import annotations

import json
import re
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import page_tables
from page_tables import markdown
from safetensors import safe_open
from usage import arguments

from nirgeo.benchmark.runs import read_results, summary
from nirgeo.benchmark.scores import by_category
from nirgeo.benchmark.table import PAPER
from nirgeo.evaluation.text import passed

DOCS = Path(__file__).parents[1] / "docs"
PAGES = (
    DOCS / "results.md",
    DOCS / "experiments.md",
    DOCS / "reliability.md",
    DOCS / "concepts" / "colour.md",
)


def _epfl(records: Path, categories: str, protocol: str) -> str:
    rows = [
        row
        for row in summary(read_results(records / "epfl.jsonl"))
        if (row["categories"], row["protocol"]) == (categories, protocol)
    ]
    cells = []
    if (categories, protocol) == ("urban", "leaky"):
        cells.append(["*the paper*", f"{PAPER[0]}° ± {PAPER[1]}° (?)", "", "", "", "8 h, GTX 970"])
    for row in rows:
        trained = not row["contestant"].startswith("baseline/")
        spread = "" if row["spread"] is None else f" (seeds ± {row['spread']:.2f}°)"
        cells.append(
            [
                f"`{row['contestant']}`",
                f"{row['angular']:.2f}° ± {row['sd']:.2f}°{spread}",
                f"{row['linear_angular']:.2f}° ± {row['linear_sd']:.2f}°",
                f"{row['rmse']:.3f}",
                f"{len(row['folds'])} × {len(row['seeds'])}" if trained else f"{len(row['folds'])}",
                f"{row['steps']:.0f} steps, {row['minutes']:.1f} min" if trained else "–",
            ]
        )
    return markdown(
        ["", "8-bit values", "linear light", "RMSE", "folds × seeds", "per training"], cells
    )


def _epfl_categories(records: Path, *contestants: str) -> str:
    rows = {
        row["contestant"]: by_category(row["images"])
        for row in summary(read_results(records / "epfl.jsonl"))
        if (row["categories"], row["protocol"]) == ("all", "image")
    }
    kinds = sorted({kind for row in rows.values() for kind in row})
    cells = [[kind, *(f"{rows[c][kind]:.2f}°" for c in contestants)] for kind in kinds]
    return markdown(["", *(f"`{c}`" for c in contestants)], cells)


def _epfl_curves(records: Path, fold: str, *contestants: str) -> str:
    runs = {
        (r["contestant"], r["seed"]): r
        for r in read_results(records / "epfl.jsonl")
        if (r["categories"], r["protocol"], r["fold"]) == (["urban"], "image", int(fold))
        and r.get("learn_from") is None
    }
    cells = []
    for contestant in contestants:
        run = runs[contestant, 0]
        points = [*run["curve"], [run["steps"], run["angular"]]]
        path = " → ".join(f"{angle:.1f}" for _, angle in points)
        cells.append([f"`{contestant}`", f"{points[0][0]} … {points[-1][0]}", path])
    return markdown(["", "steps", "angle in degrees"], cells)


def _epfl_long(records: Path, file: str) -> str:
    cells = []
    for run in read_results(records / file):
        path = " → ".join(f"{angle:.1f}" for _, angle in run["curve"])
        cells.append(
            [
                f"`{run['contestant']}`, {run['protocol']}, fold {run['fold']}",
                f"{run['angular']:.2f}° ± {run['sd']:.2f}°",
                f"{run['linear_angular']:.2f}° ± {run['linear_sd']:.2f}°",
                f"{run['rmse']:.3f}",
                f"{run['steps']} steps, {run['spent_minutes']:.1f} min",
                path,
            ]
        )
    return markdown(
        ["", "8-bit values", "linear light", "RMSE", "the training", "8-bit values along it"], cells
    )


_FIGURES = (("angular", "angle", 2), ("rmse", "RMSE", 4), ("ssim_picture", "SSIM shown", 3))


def _evaluate(records: Path, file: str) -> str:
    parts = []
    for task in json.loads((records / file).read_text(encoding="utf-8"))["tasks"]:
        models = sorted(
            task["models"],
            key=lambda m: (
                m["kind"] in ("oracle", "reference"),
                len(m["bands"]),
                m["mean_over_places"]["angular"]["value"],
            ),
        )
        cells = []
        for model in models:
            means = model["mean_over_places"]
            cell = [f"`{model['label']}`" + (" +red, green" if len(model["bands"]) > 1 else "")]
            for name, _, digits in _FIGURES:
                cell.append(_with_interval(means[name], digits))
            cell.append(f"{means['ciede2000']['value']:.2f}")
            ratio = model["relative_to_table"]
            cell.append("" if ratio is None else _with_interval(ratio, 2))
            cells.append(cell)
        title = f"{task['scenes']} scenes of {task['places']} places, {task['quantity']}"
        header = [title, *(text for _, text, _ in _FIGURES), "ΔE2000", "angle ÷ table's"]
        parts.append(markdown(header, cells))
    return "\n\n".join(parts)


def _with_interval(figure: dict[str, Any], digits: int) -> str:
    text = f"{figure['value']:.{digits}f}"
    if figure["low"] is None:
        return text
    return f"{text} [{figure['low']:.{digits}f}, {figure['high']:.{digits}f}]"


def _cover(records: Path, file: str, *labels: str) -> str:
    (task,) = json.loads((records / file).read_text(encoding="utf-8"))["tasks"]
    models = {m["label"]: {c["name"]: c for c in m["land_cover"]} for m in task["models"]}
    cells = []
    for name, entry in models[labels[0]].items():
        angles = [models[label][name]["angular"] for label in labels]
        if all(angle is None for angle in angles):
            continue
        row = [name, str(entry["places"])]
        cells.append(row + ["–" if a is None else f"{a:.2f}°" for a in angles])
    return markdown(["", "places", *(f"`{label}`" for label in labels)], cells)


def _looks(records: Path, file: str, *labels: str) -> str:
    (task,) = json.loads((records / file).read_text(encoding="utf-8"))["tasks"]
    models = {m["label"]: m["looks"] for m in task["models"]}
    header = ["scenes that look right", *(ground["name"] for ground in models[labels[0]])]
    cells = [[f"`{label}`", *(passed(g) for g in models[label])] for label in labels]
    return markdown(header, cells)


def _expectations(records: Path, *files: str) -> str:
    cells = []
    for file in files:
        for task in json.loads((records / file).read_text(encoding="utf-8"))["tasks"]:
            for model in task["models"]:
                found = model.get("expectation")
                if found is None:
                    continue
                shares = found["coverage_by_place"].values()
                cells.append(
                    [
                        f"`{model['label']}`",
                        f"{found['expected']:.2f}°",
                        f"{found['actual']:.2f}°",
                        f"{found['coverage']:.1%} ({min(shares):.0%}–{max(shares):.0%})",
                        f"{found['ause']:.2f}",
                        f"{found['ause_blind']:.2f}",
                    ]
                )
    header = ["", "expected", "actual", "within the 90% interval", "AUSE", "AUSE if blind"]
    return markdown(header, cells)


def _left_out(records: Path, file: str) -> str:
    cells = []
    for found in json.loads((records / file).read_text(encoding="utf-8")):
        low, high = found["range"]
        level = "" if found["level"] == "-" else f", {found['level']}"
        cells.append(
            [
                f"`{found['model']}`",
                f"{found['folder']}{level}",
                f"{found['count']} {found['unit']}",
                f"{found['coverage']:.1%} ({low:.0%}–{high:.0%})",
                f"{found['hinted']:.1%}",
            ]
        )
    header = ["", "", "left out one by one", "within the 90% interval", "with a hint"]
    return markdown(header, cells)


def _expected_cover(records: Path, file: str, label: str) -> str:
    (task,) = json.loads((records / file).read_text(encoding="utf-8"))["tasks"]
    (model,) = [m for m in task["models"] if m["label"] == label]
    cells = [
        [c["name"], str(c["places"]), f"{c['expected']:.1f}°", f"{c['actual']:.1f}°"]
        for c in model["expectation"]["land_cover"]
        if c["actual"] is not None
    ]
    return markdown([f"`{label}`", "places", "expected", "actual"], cells)


def _trainings(records: Path, prefix: str) -> str:
    runs = json.loads((records / "trainings.json").read_text(encoding="utf-8"))
    cells = []
    for run in (r for r in runs if r["label"].startswith(prefix)):
        table, best = run["validations"][0], min(run["validations"], key=lambda v: v["judged"])
        cells.append(
            [
                run["label"].removeprefix(prefix).strip(", "),
                f"{run['parameters'] / 1000:.0f} k",
                f"{best['step']} of {run['validations'][-1]['step']}",
                f"{table['angular']:.2f}° → {best['angular']:.2f}°",
                f"{table['rmse']:.4f} → {best['rmse']:.4f}",
                f"{best['hinted_angular']:.2f}°" if "hinted_angular" in best else "–",
                f"{best['hinted_rmse']:.4f}" if "hinted_rmse" in best else "–",
            ]
        )
    header = ["", "parameters", "best step", "angle, no hint", "RMSE, no hint"]
    return markdown([*header, "angle, colour ± 0.15", "RMSE, colour ± 0.15"], cells)


_LADDER = (
    ("nothing: one colour for everything", "baseline/mean-colour@2", "baseline/mean-colour@2"),
    (
        "near infrared, the better table of values",
        "baseline/table-direction@2",
        "baseline/table-colour@2",
    ),
    ("near infrared, the network", "satellite-nir@5", "aerial-nir@7"),
    (
        "and a reference of 16 times larger pixels",
        "satellite-nir@5 + reference 16 px",
        "aerial-nir@7 + reference 16 px",
    ),
    ("red and green measured, the network", "satellite-rgn@3", "aerial-rgn@2"),
)


def _ladder(records: Path) -> str:
    sides = []
    for side in ("satellite", "aerial"):
        found = {}
        for file in (f"{side}.json", f"{side}-reference.json"):
            (task,) = json.loads((records / file).read_text(encoding="utf-8"))["tasks"]
            for model in task["models"]:
                found[model["label"]] = model["mean_over_places"]["angular"]["value"]
        sides.append(found)
    cells = [
        [text, *(f"{side[name]:.1f}°" for side, name in zip(sides, names, strict=True))]
        for text, *names in _LADDER
    ]
    return markdown(["what is known", "satellite, reflectance", "aerial, display counts"], cells)


def _statistics(records: Path) -> str:
    found = json.loads((records / "scene-statistics.json").read_text(encoding="utf-8"))
    cells = []
    for model, rows in found.items():
        for row in rows:
            label = f"`{model}`, {row['scenes']}"
            errors = (row[kind] for kind in ("constant", "network", "statistics"))
            cells.append([label, str(row["places"]), *(f"{r:.3f}, {b:.3f}" for r, b in errors)])
    header = ["error of log R/G and log B/G", "places", "one colour", "the network"]
    return markdown([*header, "and what statistics tell"], cells)


def _torture(records: Path) -> str:
    """Campaigns of ``make torture``, from reliability.json."""
    found = json.loads((records / "reliability.json").read_text(encoding="utf-8"))
    cells = []
    for record in found.values():
        outcomes = [f"{number} × {outcome}" for outcome, number in record["outcomes"].items()]
        row = [f"`{record['campaign']}`", str(record["seed"]), str(record["cases"])]
        cells.append([*row, "; ".join(outcomes), str(len(record["findings"]))])
    total = sum(record["cases"] for record in found.values())
    cells.append(["all", "", str(total), "", str(sum(len(r["findings"]) for r in found.values()))])
    table = markdown(["campaign", "seed", "cases", "how they ended", "findings"], cells)
    figures = [record["figures"] for record in found.values()]

    def largest(name: str) -> float:
        return max(f.get(name, 0) for f in figures)

    def total_of(name: str) -> int:
        return sum(int(f.get(name, 0)) for f in figures)

    return (
        f"{table}\n\nThe slowest file took {largest('longest case in seconds'):.1f} s, the "
        f"hungriest {largest('largest growth of a case in MiB'):.0f} MiB. Killed runs had finished "
        f"{total_of('finished chunks')} chunks; {total_of('finished chunks computed again')} of "
        "them were computed again."
    )


TABLES: dict[str, Callable[..., str]] = {
    "torture": _torture,
    "epfl": _epfl,
    "epfl-categories": _epfl_categories,
    "epfl-curves": _epfl_curves,
    "epfl-long": _epfl_long,
    "evaluate": _evaluate,
    "cover": _cover,
    "looks": _looks,
    "expectations": _expectations,
    "left-out": _left_out,
    "expected-cover": _expected_cover,
    "trainings": _trainings,
    "ladder": _ladder,
    "statistics": _statistics,
}


def filled(text: str, records: Path) -> str:
    """``text`` with every table made anew."""

    def made(what: str) -> str:
        name, *arguments = what.split()
        table: Any = TABLES[name](records, *arguments)
        return str(table)

    return page_tables.filled(text, made)


def adopt(file: Path, records: Path) -> None:
    """Copy a record, without the figures of single scenes and with six digits of the others."""
    if file.suffix == ".jsonl":
        lines = [json.dumps(_short(record)) for record in read_results(file)]
        (records / file.name).write_text("\n".join(lines) + "\n", encoding="utf-8")
        return
    evaluation = json.loads(file.read_text(encoding="utf-8"))
    for task in evaluation["tasks"]:
        for model in task["models"]:
            del model["per_scene"]
    (records / file.name).write_text(json.dumps(_short(evaluation), indent=1) + "\n", "utf-8")


def adopt_run(run: Path, label: str, command: str, records: Path) -> None:
    """Keep what a training's log says of its validations, and how many numbers it trained."""
    events = [json.loads(line) for line in (run / "log.jsonl").read_text().splitlines()]
    with safe_open(run / "best.safetensors", framework="numpy") as file:
        trained = [k for k in file.keys() if k.startswith(("stem", "blocks", "head"))]  # noqa: SIM118
        parameters = sum(file.get_tensor(k).size for k in trained)
    kept = ("step", "angular", "rmse", "hinted_angular", "hinted_rmse", "judged")
    record = {
        "label": label,
        "command": command,
        "parameters": parameters,
        "minutes": round(events[-1]["seconds"] / 60, 1),
        "validations": [
            {k: e[k] for k in kept if k in e} for e in events if e["event"] == "validation"
        ],
    }
    target = records / "trainings.json"
    known = json.loads(target.read_text(encoding="utf-8")) if target.exists() else []
    known = [r for r in known if r["label"] != label]
    target.write_text(json.dumps(_short([*known, record]), indent=1) + "\n", encoding="utf-8")


def _short(value: Any) -> Any:
    if isinstance(value, dict):
        return {k: _short(v) for k, v in value.items()}
    if isinstance(value, list):
        return [_short(v) for v in value]
    return float(f"{value:.6g}") if isinstance(value, float) else value


def main() -> None:
    given = arguments(__doc__)
    records = DOCS / "results"
    if given[:1] in (["--adopt"], ["--adopt-run"]):
        # Beside the others, until all pages can be made of them.
        with TemporaryDirectory() as name:
            tried = Path(name)
            for file in records.iterdir():
                shutil.copy(file, tried)
            if given[0] == "--adopt-run":
                adopt_run(Path(given[1]), given[2], given[3], tried)
            for file in map(Path, given[1:] if given[0] == "--adopt" else ()):
                if file.name not in _read_by_pages():
                    known = ", ".join(sorted(_read_by_pages()))
                    sys.exit(f"{file}: no table reads such a record; they read {known}")
                adopt(file, tried)
            write_pages(tried)
            shutil.copytree(tried, records, dirs_exist_ok=True)
        return
    write_pages(records, check="--check" in given)


def _read_by_pages() -> set[str]:
    """Names of the records that tables of the pages are made of, and other records are."""
    told = "".join(page.read_text(encoding="utf-8") for page in PAGES)
    known = {file.name for file in (DOCS / "results").iterdir()}
    return known | set(re.findall(r"[\w-]+\.jsonl?", told))


def write_pages(records: Path, *, check: bool = False) -> None:
    """Write all pages, or none if one of them can't be made."""
    made = {page: filled(page.read_text(encoding="utf-8"), records) for page in PAGES}
    for page, text in made.items():
        if check and page.read_text(encoding="utf-8") != text:
            sys.exit(f"{page}: not what the records say; run {sys.argv[0]}")
    for page, text in made.items():
        page.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
