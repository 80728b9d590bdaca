"""``nirgeo train``: weights from a folder of multiband rasters."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from nirgeo.bands import COLOURS
from nirgeo.cli import options as shared
from nirgeo.cli.errors import ends_in_its_own_time, reports_errors
from nirgeo.cli.reporting import Silent, Terminal
from nirgeo.errors import TrainingError
from nirgeo.tables import first_few_notes
from nirgeo.tiling import TILE

if TYPE_CHECKING:
    from nirgeo.modelfile import ModelSpec
    from nirgeo.scene_lists import SceneEntry
    from nirgeo.training.config import TrainingConfig
    from nirgeo.training.data import TrainingScene


@click.command("train", short_help="Train a generator from rasters.")
@click.argument("folders", nargs=-1, required=True, metavar="FOLDER...")
@shared.sides_options
@click.option(
    "--out",
    "out",
    required=True,
    metavar="RUN",
    help="Folder of the run; an unfinished run in it goes on.",
)
@click.option(
    "--preset",
    default="satellite-nir",
    show_default=True,
    help="Configuration to start from; variants follow with +, as in paper2017+l1.",
)
@click.option(
    "--set",
    "changes",
    multiple=True,
    metavar="NAME=VALUE",
    help="Change one number of the configuration, e.g. steps=2000. Repeatable.",
)
@click.option(
    "--places",
    type=float,
    metavar="SHARE",
    help="Learn from this share of the places only, for learning curves.",
)
@click.option("--init", metavar="MODEL", help="Model whose weights a new run starts from.")
@click.option("--new-table", is_flag=True, help="Fit the table anew; --init's is left out.")
@click.option(
    "--teacher",
    "teachers",
    multiple=True,
    metavar="MODEL",
    help="Model whose colours are learnt instead of the true ones; of several, their mean.",
)
@click.option(
    "--name", help="Name of the model: lower-case words joined by '-'.  [default: the preset's]"
)
@click.option("--licence", default="", metavar="TEXT", help="Licence of its weights, for its file.")
@click.option("--attribution", default="", metavar="TEXT", help="Whom its data are owed to.")
@click.option(
    "--minutes", type=click.FloatRange(min=0), help="Stop after this time; run again to go on."
)
@shared.training_device_options
@click.option("--quiet", "-q", is_flag=True, help="No messages; errors only.")
@click.option("--verbose", "-v", is_flag=True, help="Show tracebacks.")
@click.pass_context
@reports_errors
def train_command(
    ctx: click.Context,
    folders: tuple[str, ...],
    validation: tuple[str, ...],
    out: str,
    preset: str,
    changes: tuple[str, ...],
    index: str | None,
    levels: tuple[str, ...],
    validation_levels: tuple[str, ...],
    without: tuple[str, ...],
    places: float | None,
    init: str | None,
    new_table: bool,
    teachers: tuple[str, ...],
    name: str | None,
    licence: str,
    attribution: str,
    minutes: float | None,
    device: str,
    loaders: int,
    quiet: bool,
    verbose: bool,
) -> None:
    """Train on every GeoTIFF under FOLDER, which must hold red, green, blue and nir bands.

    RUN receives best.safetensors (usable with `nirgeo colorize --model`), log.jsonl with one line
    per event, the configuration, and a checkpoint. No place may have scenes on both sides.
    """
    ctx.meta["nirgeo.reporter"] = Silent() if quiet else Terminal()

    from nirgeo.accelerator import torch_device
    from nirgeo.modelfile import read_model
    from nirgeo.training.data import some_places
    from nirgeo.training.loop import Trainer
    from nirgeo.training.networks import model_spec
    from nirgeo.training.presets import configuration, summary_of
    from nirgeo.training.teacher import Teacher, fitting

    if new_table and not (init or teachers):
        raise click.UsageError("--new-table is for --init and --teacher.")
    config, master = configuration(preset, changes), None
    if teachers:
        files = [_network_file(teacher) for teacher in teachers]
        master = Teacher(files, config, torch_device(device))
        config = replace(config, teacher=master.identity)
    before = _network_file(init or teachers[0]) if init or teachers else None
    origin = None if before is None else read_model(before).spec
    owed = [attribution, *(read_model(_network_file(name)).spec.attribution for name in teachers)]
    spec_of = partial(
        model_spec,
        config,
        name or preset,
        origin=origin,
        summary=summary_of(preset),
        licence=licence,
        attribution="; ".join(filter(None, owed)),
    )
    # What can be wrong with what was asked for, before the scenes are read, which takes a while.
    if init:
        fitting(_network_file(init), config)
    spec_of(0)
    _check_folder(Path(out))
    sides = read_sides(
        config, (folders, levels), (validation, validation_levels or levels), index, without, quiet
    )
    if places is not None:
        sides = (some_places(sides[0], places), sides[1])
    if origin is not None and not quiet:
        tell_remembered(origin, sides[1], "so what is measured there is in part memory")
    small = sum(min(scene.shape) < TILE for scene in sides[0])
    if small and not quiet:
        click.echo(
            f"Warning: {small} of {len(sides[0])} scenes to learn from are smaller than a patch of "
            f"{TILE}×{TILE} px, and left out",
            err=True,
        )
    spec = spec_of(
        len(sides[0]) - small,
        pixels=[scene.gsd for scene in sides[0] if scene.gsd is not None],
        places={scene.origin for scene in sides[0]},
    )
    with click.progressbar(
        length=config.steps, label="training", hidden=quiet, file=sys.stderr
    ) as bar:

        def report(event: dict[str, Any]) -> None:
            bar.update(event["step"] - bar.pos)
            if event["event"] == "validation" and not quiet:
                click.echo(json.dumps(event), err=True)

        def leaving() -> None:
            if not quiet:
                click.echo("\nending after the next step; once more ends it at once", err=True)

        trainer = Trainer(
            config,
            sides[0],
            sides[1],
            Path(out),
            spec=spec,
            teacher=master,
            device=device,
            loaders=loaders,
            report=report,  # type: ignore[arg-type]
        )
        trainer.start(_network_file(init) if init else None, new_table=new_table)
        if trainer.worse_than_table and not quiet:
            click.echo(
                "Warning: the weights of --init are worse here than a table alone, so until others "
                "are better best.safetensors is the table",
                err=True,
            )
        with ends_in_its_own_time(leaving) as ending:
            trainer.run(minutes=minutes, ending=lambda: ending)
            if trainer.step < config.steps and not quiet:
                click.echo(
                    f"\nsaved at step {trainer.step} of {config.steps}; the same command goes on "
                    "from there",
                    err=True,
                )
    if not quiet:
        click.echo(str(Path(out) / "best.safetensors"))


def _check_folder(path: Path) -> None:
    """
    Raises
    ------
    TrainingError : it can't become a folder, as it or one above it is a file
    """
    there = next(each for each in (path, *path.absolute().parents) if each.exists())
    if not there.is_dir():
        raise TrainingError(f"--out {path}: {there} is no folder; name another one")


def _network_file(name: str) -> Path:
    """The file of a network, by its path or by the name of a shipped one.

    Raises
    ------
    ModelError : see :func:`nirgeo.registry.load_model`
    TrainingError : a baseline
    """
    from nirgeo.modelfile import Model
    from nirgeo.registry import load_model

    model = load_model(name)
    if not isinstance(model, Model):
        raise TrainingError(f"{model.spec.full_name} is no network")
    return Path(model.path)


Side = tuple[Sequence[str], Sequence[str]]
"""Folders, and the processing levels that are wanted of them."""


def read_sides(
    config: TrainingConfig,
    learnt: Side,
    others: Side,
    index: str | None,
    without: Sequence[str],
    quiet: bool,
) -> tuple[list[TrainingScene], list[TrainingScene]]:
    """The scenes to learn from and those to judge by; what can't be used is left out, with a word.

    Nothing is learnt from the places in ``without``.

    Raises
    ------
    TrainingError : a folder without scenes, an index that can't be read, or no such place
    """
    from nirgeo.scene_lists import index_notes, list_scenes
    from nirgeo.training.data import load_scene

    table = Path(index) if index else None

    def listed(side: Side) -> list[SceneEntry]:
        folders, levels = side
        return list_scenes([Path(f) for f in folders], table, levels)

    def read(entries: list[SceneEntry]) -> list[TrainingScene]:
        scenes, why = [], ""
        with click.progressbar(entries, label="reading", hidden=quiet, file=sys.stderr) as going:
            for entry in going:
                try:
                    scenes.append(load_scene(entry, config.bands, config.quantity))
                except TrainingError as error:
                    why = why or str(error)
                    if not quiet:
                        click.echo(f"Warning: skipped {error}", err=True)
        noted = [f"{scene.name}: {note}" for scene in scenes for note in scene.notes]
        for note in () if quiet else first_few_notes(noted):
            click.echo(f"Warning: {note}", err=True)
        if not scenes:
            raise TrainingError(
                f"none of {len(entries)} scenes can be used ({config.quantity.value} and bands "
                f"{', '.join((*config.bands, *COLOURS))} are wanted); the first: {why}"
            )
        return scenes

    wanted = listed(learnt)
    for note in () if quiet else index_notes([Path(f) for f in (*learnt[0], *others[0])], table):
        click.echo(f"Warning: {note}", err=True)
    kept = [entry for entry in wanted if entry.place not in without]
    judged = listed(others)
    for note in () if quiet else first_few_notes(_neighbours(kept, judged)):
        click.echo(f"Warning: {note}", err=True)
    unknown = set(without) - {entry.place for entry in wanted}
    if unknown:
        raise TrainingError(f"--without {min(unknown)}: no scene to learn from is of that place")
    return read(kept), read(judged)


def tell_remembered(spec: ModelSpec, judged: Sequence[TrainingScene], so: str) -> None:
    """Warn where a model is judged by places that it has learnt from, and of what comes of it."""
    from nirgeo.scene_lists import learnt_places

    origins = {scene.origin: scene.place for scene in judged}
    for note in learnt_places(spec.training, origins, spec.full_name, so):
        click.echo(f"Warning: {note}", err=True)


def _neighbours(learnt: Sequence[SceneEntry], others: Sequence[SceneEntry]) -> list[str]:
    """What a user should hear of places to judge by that lie beside those to learn from."""
    from nirgeo.preparation.places import SAME_PLACE_KM, neighbours

    known, asked = (
        {entry.place: entry.position for entry in entries if entry.position is not None}
        for entries in (learnt, others)
    )
    return [
        f"{place} of validation lies within {SAME_PLACE_KM:g} km of {near} of training, by the "
        "index: what is measured there is in part memory"
        for place, near in sorted(neighbours(asked, known).items())
    ]
