"""``nirgeo evaluate``: models and baselines on places they have never seen."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from nirgeo.cli import options as shared
from nirgeo.cli.errors import reports_errors
from nirgeo.cli.reporting import Silent
from nirgeo.errors import EvaluationError, TargetError, TargetExistsError
from nirgeo.whole_file import written_whole

if TYPE_CHECKING:
    from nirgeo.evaluation.predict import Predictor
    from nirgeo.radiometry import Quantity
    from nirgeo.scene_lists import SceneEntry


@click.command("evaluate", short_help="Score models on scenes with known colours.")
@click.argument("models", nargs=-1, metavar="MODEL...")
@click.option(
    "--data",
    multiple=True,
    required=True,
    metavar="FOLDER",
    help="Scenes with red, green, blue and nir bands. Repeatable.",
)
@click.option("--index", metavar="CSV", help="Table with columns file, group (place), level.")
@click.option("--level", "levels", multiple=True, help="Only scenes of this level. Repeatable.")
@click.option("--limit", type=int, metavar="N", help="Only N scenes, spread evenly.")
@click.option("--baselines", is_flag=True, help="Score every baseline too.")
@click.option(
    "--fit",
    "fit",
    multiple=True,
    metavar="FOLDER",
    help="Scenes of other places, for baselines that learn. Repeatable.",
)
@click.option(
    "--leaky", is_flag=True, help="Allow --fit and --data to share places; every figure says so."
)
@click.option(
    "--save-baselines", metavar="DIR", help="Keep the fitted baselines, to be named as MODEL later."
)
@click.option(
    "--no-prior", is_flag=True, help="Do not use the known colour of the land at a scene's place."
)
@click.option(
    "--reference",
    "references",
    multiple=True,
    metavar="N|CSV",
    help="Score models with a reference too: the truth averaged over N pixels; or, for each scene "
    "that a table (columns file, reference) has, another one of the data. Repeatable.",
)
@click.option(
    "--hint-error",
    "hint_errors",
    type=float,
    multiple=True,
    metavar="E",
    help="Score networks with the scene's mean colour too, wrong by E (log ratios). Repeatable.",
)
@click.option("--json", "json_file", metavar="FILE", help="Write every figure as JSON.")
@click.option("--html", "html_file", metavar="FILE", help="Write a report with pictures.")
@click.option(
    "--contact-sheet",
    "sheet_file",
    metavar="FILE",
    help="Write a JPEG with every scene beside its truth and errors; for a single MODEL.",
)
@click.option("--overwrite", is_flag=True, help="Replace existing reports.")
@shared.device_option
@click.option("--quiet", "-q", is_flag=True, help="No progress, no warnings; the table only.")
@click.option("--verbose", "-v", is_flag=True, help="Show tracebacks.")
@click.pass_context
@reports_errors
def evaluate_command(
    ctx: click.Context,
    models: tuple[str, ...],
    data: tuple[str, ...],
    index: str | None,
    levels: tuple[str, ...],
    limit: int | None,
    baselines: bool,
    fit: tuple[str, ...],
    leaky: bool,
    save_baselines: str | None,
    no_prior: bool,
    references: tuple[str, ...],
    hint_errors: tuple[float, ...],
    json_file: str | None,
    html_file: str | None,
    sheet_file: str | None,
    overwrite: bool,
    device: str,
    quiet: bool,
    verbose: bool,
) -> None:
    """Score each MODEL on whole scenes whose colours are known, and print a table.

    MODEL is a shipped model, a model file, a saved baseline, or baseline/NAME. The headline is the
    mean over places: scenes of one place (column group of --index) are averaged first. Baselines
    learn from the --fit folders, which must hold other places; baseline/NAME@2 is the shipped one.
    """
    ctx.meta["nirgeo.reporter"] = Silent()
    if not models and not baselines:
        raise click.UsageError("Name a MODEL, or ask for --baselines.")
    if sheet_file is not None and (len(models) != 1 or baselines):
        raise click.UsageError("--contact-sheet is for a single MODEL.")
    from nirgeo.evaluation.score import check_libraries, evaluate

    check_libraries()
    reports = [file for file in (json_file, html_file, sheet_file) if file is not None]
    if len({Path(file).resolve() for file in reports}) < len(reports):
        raise click.UsageError("--json, --html and --contact-sheet need a file each.")
    for file in reports:
        check_report(file, overwrite=overwrite)
    from nirgeo.baselines import BASELINES
    from nirgeo.baselines.storage import UNFITTED
    from nirgeo.evaluation.fitting import check_apart, learnt_from
    from nirgeo.evaluation.hinted import with_hints
    from nirgeo.evaluation.paired import pairs_of, with_pairs
    from nirgeo.evaluation.predict import baseline_name, load_predictors, with_unique_labels
    from nirgeo.evaluation.referenced import with_references
    from nirgeo.evaluation.scenes import find_scenes, quantities_of
    from nirgeo.evaluation.text import render_text
    from nirgeo.scene_lists import index_notes

    table = Path(index) if index else None
    entries = find_scenes([Path(f) for f in data], table, levels, limit)
    fitted = find_scenes([Path(f) for f in fit], table, levels) if fit else []
    every = find_scenes([Path(f) for f in data], table, levels)
    for note in () if quiet else index_notes([Path(f) for f in (*data, *fit)], table):
        click.echo(f"Warning: {note}", err=True)
    if not leaky:
        # Against every scene of the data, not only those that --limit leaves.
        check_apart(fitted, every)
    named = {text: baseline_name(text) for text in models}
    files = [text for text, baseline in named.items() if baseline is None]
    present = quantities_of(entries)
    predictors = load_predictors(
        files, shared.resolve_device(device), prior=not no_prior, quantities=present
    )
    wanted = {name for name in named.values() if name is not None}
    if baselines:
        wanted |= set(BASELINES) if fitted else UNFITTED
        if not fitted and not quiet:
            click.echo("Warning: only baselines that need no --fit FOLDER are scored", err=True)
    if wanted:
        quantities = sorted({p.quantity for p in predictors}) or present
        ordered = [name for name in BASELINES if name in wanted]
        for name in ordered if save_baselines is not None else ():
            for quantity in quantities:
                saved = _baseline_file(save_baselines or "", name, quantity)
                if saved.exists():
                    check_report(str(saved), overwrite=overwrite)
        predictors += _fitted(ordered, quantities, fitted, save_baselines, quiet)
    for note in () if quiet else learnt_from(predictors, entries):
        click.echo(f"Warning: {note}", err=True)
    predictors = with_hints(with_unique_labels(predictors), hint_errors)
    blocks = [int(text) for text in references if text.isdecimal()]
    predictors = with_references(predictors, blocks)
    for text in [text for text in references if not text.isdecimal()]:
        pairs = pairs_of(every, Path(text))
        entries = [entry for entry in entries if entry.path.resolve() in pairs]
        if not entries:
            raise EvaluationError(f"--reference {text}: none of its scenes is left to score")
        predictors = with_pairs(predictors, pairs, Path(text).stem)

    def warn(text: str) -> None:
        if not quiet:
            click.echo(f"Warning: {text}", err=True)

    with _bar(len(entries), "scoring", quiet) as bar:
        result = evaluate(
            entries, predictors, leaky=leaky and bool(fit), warn=warn, advance=lambda: bar.update(1)
        )
    result.levels, result.indexed, result.prior = tuple(levels), index is not None, not no_prior
    if json_file is not None:
        text = json.dumps(result.to_json(), indent=1, ensure_ascii=False, allow_nan=False)
        write_report(json_file, text + "\n")
    if html_file is not None:
        from nirgeo.evaluation.report import render_html

        write_report(html_file, render_html(result, predictors))
    if sheet_file is not None:
        from nirgeo.evaluation.sheet import write_sheet

        scored = {task.quantity: task.scenes for task in result.tasks}
        write_sheet(Path(sheet_file), scored[predictors[0].quantity], predictors[0])
    click.echo(render_text(result))  # last: a reader that stops early must not cost the reports


def _fitted(
    names: list[str],
    quantities: list[Quantity],
    entries: list[SceneEntry],
    save_to: str | None,
    quiet: bool,
) -> list[Predictor]:
    """The baselines of ``names`` for each quantity, and their files if these are wanted."""
    from nirgeo.baselines import save_baseline
    from nirgeo.evaluation.fitting import fit_baselines
    from nirgeo.evaluation.predict import predictor_of

    found = []
    with _bar(len(names) * len(quantities), "fitting", quiet) as bar:
        for quantity in quantities:
            for baseline in fit_baselines(names, entries, quantity):
                found.append(predictor_of(baseline))
                if save_to is not None:
                    file = _baseline_file(save_to, baseline.name, quantity)
                    try:
                        file.parent.mkdir(parents=True, exist_ok=True)
                        save_baseline(file, baseline)
                    except OSError as error:
                        raise TargetError(
                            f"--save-baselines {save_to} can't be written to ({error})"
                        ) from error
                bar.update(1)
    return found


def _baseline_file(folder: str, name: str, quantity: Quantity) -> Path:
    return Path(folder) / f"{name}-{quantity.value}.safetensors"


def _bar(length: int, label: str, quiet: bool) -> Any:
    return click.progressbar(length=length, label=label, hidden=quiet, file=sys.stderr)


def check_report(file: str | None, *, overwrite: bool) -> None:
    """Refuse a report that can't be written before the work, not after it.

    Raises
    ------
    TargetExistsError, TargetError
    """
    if file is None:
        return
    path = Path(file)
    if path.is_dir() or not path.absolute().parent.is_dir():
        raise TargetError(f"{file}: name a file in an existing folder")
    if not os.access(path.absolute().parent, os.W_OK):
        raise TargetError(f"{path.absolute().parent} can't be written to; choose another place")
    if path.exists() and not overwrite:
        raise TargetExistsError(
            f"{file} exists and won't be overwritten without the `--overwrite` option"
        )


def write_report(file: str, text: str) -> None:
    """Write a report whole, then give it its name.

    Raises
    ------
    TargetError : it can't be written
    """
    try:
        with written_whole(Path(file)) as partial:
            partial.write_text(text, encoding="utf-8")
    except OSError as error:
        raise TargetError(f"{file} can't be written ({error})") from error
