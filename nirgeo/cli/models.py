"""``nirgeo models``: what is shipped."""

from __future__ import annotations

from itertools import groupby
from typing import TYPE_CHECKING, Any

import click

from nirgeo.cli.errors import reports_errors
from nirgeo.cli.reporting import Silent, print_json

if TYPE_CHECKING:
    from nirgeo.registry import ShippedModel


@click.command("models", short_help="List the shipped models.")
@click.option(
    "--baselines", is_flag=True, help="List the baselines instead: simple things to compare with."
)
@click.option("--json", "as_json", is_flag=True, help="Machine-readable.")
@click.option("--verbose", "-v", is_flag=True, help="Show tracebacks.")
@click.pass_context
@reports_errors
def models_command(ctx: click.Context, baselines: bool, as_json: bool, verbose: bool) -> None:
    """Every model in the package: what it eats, and what it was made for."""
    from nirgeo.registry import shipped_baselines, shipped_models

    ctx.meta["nirgeo.reporter"] = Silent()
    found = [describe(entry) for entry in (shipped_baselines() if baselines else shipped_models())]
    if as_json:
        print_json(found)
        return
    for name, group in groupby(found, key=lambda model: f"{model['name']}@{model['version']}"):
        entries = list(group)
        click.echo(name)
        click.echo(f"    {entries[0]['summary']}")
        for model in entries:
            size = "" if model["gsd"] is None else ", {:g}–{:g} m per pixel".format(*model["gsd"])
            click.echo(
                f"    eats {', '.join(model['bands'])} as {model['quantity']}{size}; "
                f"licence {model['licence']}"
                + ("; tells the error it expects" if model["expects_error"] else "")
            )
    if not baselines:
        click.echo("Simple baselines to compare with: nirgeo models --baselines")


def describe(entry: ShippedModel) -> dict[str, Any]:
    """The facts about one shipped file. Front ends rely on these keys; more may be added."""
    from nirgeo.registry import load_model

    model = load_model(entry.full_name, entry.quantity)
    spec = model.spec
    return {
        "name": spec.name,
        "version": entry.version,
        "summary": spec.summary,
        "bands": list(spec.bands),
        "quantity": spec.quantity.value,
        "gsd": None if spec.gsd is None else list(spec.gsd),
        "licence": spec.licence,
        "expects_error": getattr(spec, "uncertainty", None) is not None,
        "sha256": model.sha256,
    }
