"""``nirgeo calibrate``: a model learns what error to expect of itself."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

import click

from nirgeo.cli import options as shared
from nirgeo.cli.errors import reports_errors
from nirgeo.cli.evaluate import check_report
from nirgeo.cli.reporting import Silent
from nirgeo.cli.train import read_sides, tell_remembered
from nirgeo.errors import TrainingError


@click.command("calibrate", short_help="Teach a model what error to expect of itself.")
@click.argument("model", metavar="MODEL")
@click.argument("folders", nargs=-1, required=True, metavar="FOLDER...")
@shared.sides_options
@click.option("-o", "--output", required=True, metavar="FILE", help="The model file to write.")
@click.option(
    "--steps",
    type=click.IntRange(min=1),
    default=400,
    show_default=True,
    help="Batches to learn from.",
)
@click.option(
    "--by-scene",
    is_flag=True,
    help="Count every validation scene as a place, where there is only one.",
)
@click.option("--overwrite", is_flag=True, help="Replace an existing file.")
@click.option("--quiet", "-q", is_flag=True, help="No messages; errors only.")
@click.option("--verbose", "-v", is_flag=True, help="Show tracebacks.")
@click.pass_context
@reports_errors
def calibrate_command(
    ctx: click.Context,
    model: str,
    folders: tuple[str, ...],
    validation: tuple[str, ...],
    output: str,
    steps: int,
    by_scene: bool,
    index: str | None,
    levels: tuple[str, ...],
    validation_levels: tuple[str, ...],
    without: tuple[str, ...],
    overwrite: bool,
    quiet: bool,
    verbose: bool,
) -> None:
    """Write MODEL anew with an expected error for every pixel, for `colorize --uncertainty`.

    Its colours stay as they are, to the bit. FOLDER holds the scenes that MODEL learnt from; its
    file must come from `nirgeo train`, whose configuration it carries. Also noted are the values
    that the training held, so that scenes unlike it can be told.
    """
    ctx.meta["nirgeo.reporter"] = Silent()
    check_report(output, overwrite=overwrite)
    from nirgeo.modelfile import Model, write_model
    from nirgeo.registry import load_model
    from nirgeo.training.bright_end import doubt
    from nirgeo.training.config import TrainingConfig
    from nirgeo.training.data import Sampler, refuse_shared_places
    from nirgeo.training.domain import training_domain
    from nirgeo.training.error_head import calibrate, fit_error_head, tensors_of, with_error_head

    loaded = load_model(model)
    if not isinstance(loaded, Model) or "config" not in loaded.spec.training:
        raise TrainingError(
            f"{model} carries no training configuration; name one of `nirgeo train`"
        )
    spec = loaded.spec
    config = TrainingConfig.from_json(dict(spec.training["config"]))
    learnt, others = read_sides(
        config, (folders, levels), (validation, validation_levels or levels), index, without, quiet
    )
    refuse_shared_places(learnt, others)
    if not quiet:
        tell_remembered(spec, others, "so the errors that it will expect elsewhere are too small")
    network = with_error_head(loaded)
    with click.progressbar(
        length=steps, label="learning errors", hidden=quiet, file=sys.stderr
    ) as bar:
        fit_error_head(
            network, Sampler(learnt, config), steps=steps, report=lambda *_: bar.update(1)
        )
    if config.bands == ("nir",):
        doubt(network, config.quantity)
    calibration = calibrate(network, others, config.quantity, by_scene=by_scene)
    spec = replace(
        spec,
        generator=network.config.to_json(),
        domain=training_domain(learnt, config),
        uncertainty=calibration.to_json(),
    )
    write_model(Path(output), spec, tensors_of(network))
    if not quiet:
        click.echo(calibration.describe())
        click.echo(output)
