"""Wrong usage, told to programs as well as to people.

click finds it while it reads the arguments, before a command and its reporter exist. Whoever asked
for JSON lines still gets one, besides click's words on stderr.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import click

from nirgeo.cli.named_option import named_option
from nirgeo.cli.reporting import emit


class JsonLinesCommand(click.Command):
    """A command with ``--progress jsonl``, whose usage errors are events too."""

    def make_context(
        self,
        info_name: str | None,
        args: list[str],
        parent: click.Context | None = None,
        **extra: Any,
    ) -> click.Context:
        with self._told(wants_json_lines(args)):  # asked first: reading them uses them up
            return super().make_context(info_name, args, parent, **extra)

    def invoke(self, ctx: click.Context) -> Any:
        with self._told(ctx.params.get("progress") == "jsonl"):
            return super().invoke(ctx)

    @contextmanager
    def _told(self, as_event: bool) -> Iterator[None]:
        try:
            yield
        except click.UsageError as error:
            if as_event:
                text = " ".join(error.format_message().split())
                emit("error", code="usage", message=text, option=named_option(text, self))
            raise


def wants_json_lines(arguments: Sequence[str]) -> bool:
    """Whether arguments that may be wrong otherwise ask for ``--progress jsonl``."""
    mode = ""
    for number, word in enumerate(arguments):
        if word == "--":
            break
        if word == "--progress":
            mode = "".join(arguments[number + 1 : number + 2])
        elif word.startswith("--progress="):
            mode = word.partition("=")[2]
    return mode == "jsonl"
