"""``nirgeo models``: what is shipped."""

from __future__ import annotations

from typing import Any

import click

from nirgeo.cli.errors import reports_errors
from nirgeo.cli.reporting import Silent, print_json


@click.command("models", short_help="List the shipped models.")
@click.option("--json", "as_json", is_flag=True, help="Machine-readable.")
@click.option("--verbose", "-v", is_flag=True, help="Show tracebacks.")
@click.pass_context
@reports_errors
def models_command(ctx: click.Context, as_json: bool, verbose: bool) -> None:
    """Every model in the package: what it eats, and what it was made for."""
    ctx.meta["nirgeo.reporter"] = Silent()
    found = [describe(name) for name in _names()]
    if as_json:
        print_json(found)
        return
    for model in found:
        low, high = model["gsd"]
        click.echo(f"{model['name']}@{model['version']}")
        click.echo(f"    {model['summary']}")
        click.echo(
            f"    eats {', '.join(model['bands'])} as {model['quantity']}, "
            f"{low:g}–{high:g} m per pixel; licence {model['licence']}"
        )


def _names() -> list[str]:
    from nirgeo.registry import shipped_models

    return [model.full_name for model in shipped_models()]


def describe(name: str) -> dict[str, Any]:
    from nirgeo.registry import load_model

    model = load_model(name)
    spec = model.spec
    return {
        "name": spec.name,
        "version": spec.version,
        "summary": spec.summary,
        "bands": list(spec.bands),
        "quantity": spec.quantity.value,
        "gsd": list(spec.gsd),
        "licence": spec.licence,
        "sha256": model.sha256,
    }
