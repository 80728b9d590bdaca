"""What a person or a program sees of a run: a bar, JSON lines, or nothing.

The JSON lines are the protocol of QGIS and other front ends: stdout then holds nothing else, one
object per line, flushed at once.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from typing import Any, Protocol

import click

PROTOCOL = 1
MODES = ("bar", "jsonl", "none")


class Reporter(Protocol):
    """Receives the events of one or more runs."""

    def message(self, text: str) -> None: ...
    def start(self, done: int, total: int) -> None: ...
    def progress(self, done: int, total: int) -> None: ...
    def warning(self, text: str) -> None: ...
    def result(self, path: str, item: str | None = None) -> None: ...
    def error(self, code: str, text: str) -> None: ...


class Silent:
    """Only errors, on stderr."""

    def message(self, text: str) -> None:
        pass

    def start(self, done: int, total: int) -> None:
        pass

    def progress(self, done: int, total: int) -> None:
        pass

    def warning(self, text: str) -> None:
        pass

    def result(self, path: str, item: str | None = None) -> None:
        pass

    def error(self, code: str, text: str) -> None:
        click.echo(f"Error: {text}", err=True)


class Terminal(Silent):
    """Messages and a bar on stderr; the paths of the results on stdout, for pipes."""

    def __init__(self) -> None:
        self._bar: Any = None

    def message(self, text: str) -> None:
        click.echo(text, err=True)

    def start(self, done: int, total: int) -> None:
        if done:
            click.echo(f"resuming: {done} of {total} chunks are done", err=True)
        self._bar = click.progressbar(
            length=total, label="colorizing", file=sys.stderr, item_show_func=None
        )
        self._bar.update(done)
        if done == total:
            self._finish_bar()

    def progress(self, done: int, total: int) -> None:
        if self._bar is not None:
            self._bar.update(done - self._bar.pos)
            if done == total:
                self._finish_bar()

    def _finish_bar(self) -> None:
        if self._bar is not None:
            self._bar.render_finish()
            self._bar = None

    def warning(self, text: str) -> None:
        click.echo(f"Warning: {text}", err=True)

    def result(self, path: str, item: str | None = None) -> None:
        click.echo(path)

    def error(self, code: str, text: str) -> None:
        self._finish_bar()
        super().error(code, text)


class JsonLines(Silent):
    """The protocol of front ends; see ``docs/json-lines.md``."""

    def __init__(self, *, quiet: bool = False) -> None:
        self._quiet = quiet

    def _emit(self, event: str, **fields: Any) -> None:
        sys.stdout.write(json.dumps({"event": event, **fields}) + "\n")
        sys.stdout.flush()

    def start(self, done: int, total: int) -> None:
        self._emit("start", protocol=PROTOCOL, total=total, resumed=done)

    def progress(self, done: int, total: int) -> None:
        self._emit("progress", done=done, total=total)

    def message(self, text: str) -> None:
        if not self._quiet:
            click.echo(text, err=True)

    def warning(self, text: str) -> None:
        self._emit("warning", message=text)

    def result(self, path: str, item: str | None = None) -> None:
        self._emit("result", path=path, **({} if item is None else {"item": item}))

    def error(self, code: str, text: str) -> None:
        self._emit("error", code=code, message=text)
        super().error(code, text)


def reporter_for(mode: str, *, quiet: bool) -> Reporter:
    if mode == "jsonl":
        return JsonLines(quiet=quiet)
    if mode == "none" or quiet:
        return Silent()
    return Terminal()


def print_json(data: Mapping[str, Any] | list[Any]) -> None:
    click.echo(json.dumps(data, indent=2))
