"""``nirgeo compare``: two rasters of one place."""

from __future__ import annotations

from typing import Any

import click

from nirgeo.cli import options as shared
from nirgeo.cli.errors import reports_errors
from nirgeo.cli.options import NumberOrNan
from nirgeo.cli.reporting import print_json, reporter_for
from nirgeo.cli.usage import JsonLinesCommand
from nirgeo.hrefs import public

_ROWS = (
    ("angular", "angle", "°", 2),
    ("angular_sd", "  standard deviation", "°", 2),
    ("angular_median", "  median", "°", 2),
    ("angular_p95", "  95th percentile", "°", 2),
    ("rmse", "RMSE", "", 4),
    ("mae", "MAE", "", 4),
    ("psnr", "PSNR", " dB", 1),
    ("ergas", "ERGAS", " %", 1),
    ("ssim", "SSIM", "", 3),
    ("ssim_picture", "SSIM of the pictures", "", 3),
    ("ciede2000", "ΔE2000", "", 2),
)


@click.command(
    "compare",
    cls=JsonLinesCommand,
    short_help="How far one raster's colours are from another's.",
)
@click.argument("prediction")
@click.argument("truth")
@click.option(
    "--bands", metavar="R,G,B", help="Numbers or names of the TRUTH's red, green and blue bands."
)
@click.option(
    "--scale", metavar="GAIN[,OFFSET]", help="The TRUTH's digital numbers to reflectance."
)
@click.option(
    "--nodata", type=NumberOrNan(), help="Value of the TRUTH's missing pixels, if it does not say."
)
@click.option("--error-map", metavar="FILE", help="Write the angle of every pixel, in degrees.")
@click.option("--overwrite", is_flag=True, help="Replace an existing error map.")
@click.option("--json", "as_json", is_flag=True, help="Machine-readable.")
@shared.progress_option
@click.option("--quiet", "-q", is_flag=True, help="No progress bar.")
@click.option("--verbose", "-v", is_flag=True, help="Show tracebacks.")
@click.pass_context
@reports_errors
def compare_command(
    ctx: click.Context,
    prediction: str,
    truth: str,
    bands: str | None,
    scale: str | None,
    nodata: float | None,
    error_map: str | None,
    overwrite: bool,
    as_json: bool,
    progress: str,
    quiet: bool,
    verbose: bool,
) -> None:
    """Compare PREDICTION with TRUTH, pixel by pixel, on the grid of PREDICTION.

    TRUTH may be a picture, or a raster of reflectance with red, green and blue bands, which is
    rendered as the prediction was. A truth on another grid is resampled.
    """
    reporter = reporter_for(progress, quiet=quiet, label="comparing")
    ctx.meta["nirgeo.reporter"] = reporter
    from nirgeo.evaluation.compare import compare

    def advance(done: int, total: int) -> None:
        (reporter.progress if done else reporter.start)(done, total)

    found = compare(
        prediction,
        truth,
        bands=None if bands is None else [part.strip() for part in bands.split(",")],
        scale=scale,
        nodata=nodata,
        error_map=error_map,
        overwrite=overwrite,
        on_progress=advance,
    )
    if progress == "jsonl":
        for note in found.notes:
            reporter.message(note)
        reporter.result(error_map, figures=found.to_json())
        return
    facts: dict[str, Any] = {
        "prediction": public(prediction),
        "truth": public(truth),
    } | found.to_json()
    facts["error_map"] = error_map
    if as_json:
        print_json(facts)
        return
    for note in found.notes:
        click.echo(f"Note: {note}", err=True)
    unit = "reflectance" if found.space == "reflectance" else "counts / 255"
    click.echo(f"{facts['pixels']} pixels compared in {unit}, {facts['masked']:.1%} masked")
    for key, title, sign, digits in _ROWS:
        if facts[key] is not None and (key != "ssim_picture" or unit == "reflectance"):
            click.echo(f"{title:<24}{facts[key]:>10.{digits}f}{sign}")
    if facts["undefined"]:
        click.echo(f"{facts['undefined']:.2%} of the pixels are black in either, without an angle")
    if error_map is not None:
        click.echo(error_map)
