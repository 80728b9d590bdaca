"""``nirgeo benchmark epfl``: the experiment of the paper behind nirgeo, repeated."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import click
from click.core import ParameterSource

from nirgeo.cli import options as shared
from nirgeo.cli.errors import reports_errors
from nirgeo.cli.reporting import Silent, Terminal, print_json

DEFAULT_CONTESTANTS = (
    "baseline/grey",
    "baseline/mean-colour",
    "baseline/table-colour",
    "baseline/table-direction",
    "ground-nir",
    "paper2017",
)


@click.group("benchmark", short_help="Repeat a published experiment.")
def benchmark_command() -> None:
    """Repeat a published experiment on data that you have."""


@benchmark_command.command("epfl")
@click.argument("folder", metavar="FOLDER")
@click.option("--out", required=True, metavar="FOLDER", help="Results, weights and pictures.")
@click.option(
    "--preset",
    "contestants",
    multiple=True,
    metavar="P",
    help="A training preset with variants (paper2017+l1), or baseline/NAME. Repeatable.  "
    f"[default: {', '.join(DEFAULT_CONTESTANTS)}]",
)
@click.option(
    "--protocol",
    type=click.Choice(["image", "leaky"]),
    default="image",
    show_default=True,
    help="Split by image, or the paper's split of overlapping patches.",
)
@click.option(
    "--category",
    "categories",
    multiple=True,
    default=("urban",),
    show_default=True,
    metavar="C",
    help="Images of this category; all of them for the word all. Repeatable.",
)
@click.option(
    "--fold",
    "folds",
    type=click.IntRange(min=0),
    multiple=True,
    metavar="N",
    help="One of 0 to 4; the seed of the split with --protocol leaky.  [default: all, or 0]",
)
@click.option("--seed", "seeds", type=int, multiple=True, default=(0,), show_default=True)
@click.option(
    "--budget",
    type=click.FloatRange(min=0, min_open=True),
    metavar="MINUTES",
    help="As many steps per training as fit, here.  [default: the preset's steps]",
)
@click.option(
    "--steps", type=click.IntRange(min=1), help="Steps per training, instead of a budget."
)
@click.option(
    "--learn-from",
    type=click.IntRange(min=1),
    metavar="N",
    help="Only N images of the other folds, for a curve.",
)
@click.option("--again", is_flag=True, help="Also run what FOLDER has results of.")
@shared.training_device_options
@click.option("--json", "as_json", is_flag=True, help="The table, machine-readable.")
@click.option("--quiet", "-q", is_flag=True, help="No messages; errors only.")
@click.option("--verbose", "-v", is_flag=True, help="Show tracebacks.")
@click.pass_context
@reports_errors
def epfl_command(
    ctx: click.Context,
    folder: str,
    out: str,
    contestants: tuple[str, ...],
    protocol: str,
    categories: tuple[str, ...],
    folds: tuple[int, ...],
    seeds: tuple[int, ...],
    budget: float | None,
    steps: int | None,
    learn_from: int | None,
    again: bool,
    device: str,
    loaders: int,
    as_json: bool,
    quiet: bool,
    verbose: bool,
) -> None:
    """Train and score on the pairs of the EPFL RGB-NIR Scene data set in FOLDER.

    Files are named CATEGORY_NUMBER.tif and hold red, green, blue and nir as 8-bit values. Angular
    errors are over every pixel, as in the paper (Suárez et al. 2017: 9.86° ± 5.31°, patches of all
    images on both sides). Runs whose results OUT holds already are not run again.
    """
    ctx.meta["nirgeo.reporter"] = Silent() if quiet else Terminal()
    from nirgeo.benchmark import contestants as taking_part
    from nirgeo.benchmark.protocol import FOLDS, Protocol, read_images
    from nirgeo.benchmark.runs import (
        RESULTS,
        Run,
        known,
        perform,
        read_results,
        set_of,
        split_of,
        summary,
    )
    from nirgeo.benchmark.table import render

    if steps is not None and ctx.get_parameter_source("budget") is ParameterSource.COMMANDLINE:
        raise click.UsageError("--steps and --budget exclude each other.")
    if learn_from is not None and protocol == "leaky":
        raise click.UsageError("--learn-from is for images, and --protocol leaky has none.")
    kinds = () if "all" in categories else categories
    images = read_images(Path(folder), kinds)
    target = Path(out)
    target.mkdir(parents=True, exist_ok=True)
    results, same = target / RESULTS, set_of(images)
    wanted_folds = folds or (tuple(range(FOLDS)) if protocol == "image" else (0,))
    runs = [
        Run(contestant, Protocol(protocol), fold, seed, kinds, budget, steps, learn_from, same)
        for contestant in contestants or DEFAULT_CONTESTANTS
        for fold in wanted_folds
        for seed in (seeds if not contestant.startswith("baseline/") else (0,))
    ]
    # What can't be run is refused before hours of what can.
    for contestant in dict.fromkeys(run.contestant for run in runs):
        taking_part.check(contestant)
    for run in {run.fold: run for run in runs}.values():
        split_of(run, images)
    for run in runs:
        record = known(run, read_results(results)) if results.exists() else None
        kept = record is not None and not again
        if record is None or again:
            with click.progressbar(
                length=1000,
                label=run.folder_name,
                hidden=quiet or not run.trains,
                file=sys.stderr,
            ) as bar:

                def progress(step: int, total: int, bar: Any = bar) -> None:
                    bar.update(step * 1000 // total - bar.pos)

                record = perform(
                    run, images, target, device=device, loaders=loaders, progress=progress
                )
        if not quiet:
            click.echo(
                f"{run.folder_name}: {record['angular']:.2f}° ± {record['sd']:.2f}° "
                f"({record['steps']} steps, {record['spent_minutes']} min"
                + (", of an earlier run; --again repeats it)" if kept else ")"),
                err=True,
            )
    records = [
        r
        for r in read_results(results)
        if r.get("image_set", "") == same or r["categories"] != [*kinds]
    ]
    others = len(read_results(results)) - len(records)
    if others and not quiet:
        click.echo(f"Warning: {others} records in {results} are of other images", err=True)
    rows = summary(records)
    if as_json:
        print_json(rows)
    elif not quiet:
        click.echo(render(rows))
