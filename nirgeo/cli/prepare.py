"""``nirgeo prepare``: a training set from a folder of scenes."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from nirgeo.cli.errors import reports_errors
from nirgeo.cli.reporting import Silent


@click.command("prepare", short_help="Make a training set from a folder of scenes.")
@click.argument("folder", metavar="IN_FOLDER")
@click.argument("out", metavar="OUT_FOLDER")
@click.option("--bands", metavar="R,G,B,N", help="Red, green, blue and nir, where files don't say.")
@click.option("--scale", metavar="GAIN[,OFFSET]", help="Digital numbers to reflectance, for all.")
@click.option("--tile", default=256, show_default=True, metavar="PX", help="Side of a tile.")
@click.option(
    "--min-valid", default=0.5, show_default=True, help="Share of a tile that must have data."
)
@click.option(
    "--max-cloud", default=0.2, show_default=True, help="Share of it that may look like cloud."
)
@click.option(
    "--max-shift", default=1.0, show_default=True, metavar="PX", help="Bands further apart: reject."
)
@click.option(
    "--distance", default=20.0, show_default=True, metavar="KM", help="Nearer scenes: one place."
)
@click.option(
    "--validation", default=0.2, show_default=True, help="Share of the pixels that goes to val/."
)
@click.option("--seed", default=0, show_default=True, help="Another seed, another split.")
@click.option("--index", metavar="CSV", help="Table: file, group, date, source, level, licence.")
@click.option("--source", default="", help="Where the scenes are from, for the index.")
@click.option("--licence", default="", help="Their licence, for the index.")
@click.option("--level", default="", help="Their processing level: boa, toa, display.")
@click.option("--quiet", "-q", is_flag=True, help="No messages; errors only.")
@click.option("--verbose", "-v", is_flag=True, help="Show tracebacks.")
@click.pass_context
@reports_errors
def prepare_command(
    ctx: click.Context,
    folder: str,
    out: str,
    bands: str | None,
    scale: str | None,
    tile: int,
    min_valid: float,
    max_cloud: float,
    max_shift: float,
    distance: float,
    validation: float,
    seed: int,
    index: str | None,
    source: str,
    licence: str,
    level: str,
    quiet: bool,
    verbose: bool,
) -> None:
    """Cut the scenes under IN_FOLDER into tiles that `nirgeo train` can learn from.

    Scenes whose bands do not lie on each other are rejected; tiles without data or full of cloud
    are left out. Neighbouring scenes stay on one side of the split. OUT_FOLDER gets train/, val/,
    index.csv and report.json.
    """
    ctx.meta["nirgeo.reporter"] = Silent()
    from nirgeo.preparation.prepare import Facts, Rules, prepare, read_table

    rules = Rules(tile, min_valid, max_cloud, max_shift, distance, validation, seed)
    facts = Facts(source, licence, level, read_table(Path(index)) if index else {})
    with click.progressbar(length=1, label="preparing", hidden=quiet, file=sys.stderr) as bar:

        def advance(done: int, total: int) -> None:
            bar.length = total
            bar.update(done - bar.pos)

        made = prepare(
            Path(folder),
            Path(out),
            rules=rules,
            facts=facts,
            bands=None if bands is None else [part.strip() for part in bands.split(",")],
            scale=scale,
            on_progress=advance,
        )
    if quiet:
        return
    for file, reason in made.rejected.items():
        click.echo(f"Rejected {file}: {reason}", err=True)
    if not made.validation_places:
        click.echo(
            "Warning: all scenes are one place, so there is nothing to validate on; add scenes of "
            "other places",
            err=True,
        )
    click.echo(
        f"{made.tiles} tiles of {made.places} places, {made.validation_places} of them for "
        f"validation; {len(made.rejected)} scenes rejected",
        err=True,
    )
    click.echo(out)
