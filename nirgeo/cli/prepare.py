"""``nirgeo prepare``: a training set from a folder of scenes, or from STAC catalogues."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from nirgeo.cli.errors import reports_errors
from nirgeo.cli.reporting import Silent


@click.command("prepare", short_help="Make a training set from scenes.")
@click.argument("folders", nargs=-1, metavar="[IN_FOLDER] OUT_FOLDER")
@click.option(
    "--stac",
    multiple=True,
    metavar="ITEM|ITEMS|CATALOGUE",
    help="A STAC item, a saved search, or a catalogue to search: files or URLs. Repeatable.",
)
@click.option(
    "--collection", "collections", multiple=True, metavar="ID", help="Of --stac. Repeatable."
)
@click.option(
    "--bbox",
    nargs=4,
    type=float,
    metavar="W S E N",
    help="In degrees: only scenes that touch this, and of them only what lies in it.",
)
@click.option("--datetime", "interval", metavar="TIME|START/END", help="Of --stac: when taken.")
@click.option("--max-cloud-cover", type=float, metavar="PERCENT", help="Of --stac: of a scene.")
@click.option("--limit", type=int, metavar="N", help="Of --stac: scenes in all.  [default: 100]")
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
    folders: tuple[str, ...],
    stac: tuple[str, ...],
    collections: tuple[str, ...],
    bbox: tuple[float, float, float, float] | None,
    interval: str | None,
    max_cloud_cover: float | None,
    limit: int | None,
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
    """Cut the scenes under IN_FOLDER, or of --stac, into tiles that `nirgeo train` can learn from.

    Scenes whose bands do not lie on each other are rejected; tiles without data or full of cloud
    are left out. Neighbouring scenes stay on one side of the split. OUT_FOLDER gets train/, val/,
    index.csv and report.json.
    """
    ctx.meta["nirgeo.reporter"] = Silent()
    if not (len(folders) == 2 or (stac and len(folders) == 1)):
        raise click.UsageError("Name IN_FOLDER and OUT_FOLDER; with --stac, OUT_FOLDER will do.")
    if not stac and (collections or interval or max_cloud_cover is not None or limit is not None):
        raise click.UsageError(
            "--collection, --datetime, --max-cloud-cover and --limit are for --stac."
        )
    from nirgeo.preparation.candidates import Facts, read_table
    from nirgeo.preparation.prepare import Rules, check_folders, prepare
    from nirgeo.stac.query import Query, find_items

    rules = Rules(tile, min_valid, max_cloud, max_shift, distance, validation, seed)
    folder, out = Path(folders[0]) if len(folders) == 2 else None, Path(folders[-1])
    facts = Facts(source, licence, level, read_table(Path(index), folder) if index else {})
    check_folders(folder, out)
    query = Query(collections, bbox, interval, max_cloud_cover, 100 if limit is None else limit)
    found = find_items(stac, query)
    for note in () if quiet else found.notes:
        click.echo(f"Warning: {note}", err=True)
    with click.progressbar(length=1, label="preparing", hidden=quiet, file=sys.stderr) as bar:

        def advance(done: int, total: int) -> None:
            bar.length = total
            bar.update(done - bar.pos)

        made = prepare(
            folder,
            out,
            items=found.items,
            unusable=found.rejected,
            area=bbox,
            rules=rules,
            facts=facts,
            bands=None if bands is None else [part.strip() for part in bands.split(",")],
            scale=scale,
            on_progress=advance,
        )
    if quiet:
        return
    for note in made.notes:
        click.echo(f"Warning: {note}", err=True)
    for file, reason in made.rejected.items():
        click.echo(f"Rejected {file}: {reason}", err=True)
    if not made.validation_places and made.places == 1:
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
    click.echo(folders[-1])
