"""The ``nirgeo`` command."""

from __future__ import annotations

import sys
from io import TextIOWrapper

import click

from nirgeo._version import __version__
from nirgeo.cli.benchmark import benchmark_command
from nirgeo.cli.calibrate import calibrate_command
from nirgeo.cli.colorize import colorize_command
from nirgeo.cli.compare import compare_command
from nirgeo.cli.completion import completion_command, offer_completions
from nirgeo.cli.evaluate import evaluate_command
from nirgeo.cli.info import info_command
from nirgeo.cli.models import models_command
from nirgeo.cli.prepare import prepare_command
from nirgeo.cli.train import train_command
from nirgeo.garbage import look_seldom
from nirgeo.heap import keep_freed_memory
from nirgeo.idle_threads import sleep_soon


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="nirgeo")
def main() -> None:
    """Natural-colour pictures from near-infrared rasters."""


def command() -> None:
    """The ``nirgeo`` of a shell: a process of its own, unlike :func:`main` called by a program."""
    keep_freed_memory()
    sleep_soon()
    look_seldom()
    _print_anything()
    try:
        main()
    except OSError as error:  # of --help and the like, which no command is asked for
        print(f"Error: stdout can't be written ({error.strerror})", file=sys.stderr)
        sys.exit(1)


def _print_anything() -> None:
    """Have what the terminal, or who reads in its place, has no character for written as \\u0394.

    On Windows that is most of them where the output is no terminal: a Δ would end the command.
    """
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


for _command in (
    colorize_command,
    info_command,
    models_command,
    train_command,
    calibrate_command,
    evaluate_command,
    compare_command,
    prepare_command,
    benchmark_command,
    completion_command,
):
    main.add_command(_command)
offer_completions(main)

if __name__ == "__main__":
    command()
