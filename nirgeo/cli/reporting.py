"""What a person or a program sees of a run: a bar, JSON lines, or nothing.

The JSON lines are the protocol of QGIS and other front ends: stdout then holds nothing else, one
object per line, flushed at once.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import Any, Protocol

import click

from nirgeo.cli.named_option import named_option
from nirgeo.errors import TargetError
from nirgeo.hrefs import public
from nirgeo.plaintext import plain

PROTOCOL = 1
MODES = ("bar", "jsonl", "none")


class Reporter(Protocol):
    """Receives the events of one or more runs."""

    def message(self, text: str) -> None: ...
    def start(self, done: int, total: int) -> None: ...
    def progress(self, done: int, total: int) -> None: ...
    def writing(self, done: int, total: int) -> None: ...
    def warning(self, text: str) -> None: ...
    def result(self, path: str | None, **facts: Any) -> None: ...
    def error(self, code: str, text: str, option: str | None = None) -> None: ...


def _say(text: str) -> None:
    """On stderr; where it takes nothing, the work needs no words."""
    with suppress(OSError):
        click.echo(text, err=True)


class Silent:
    """Only errors, on stderr."""

    def message(self, text: str) -> None:
        pass

    def start(self, done: int, total: int) -> None:
        pass

    def progress(self, done: int, total: int) -> None:
        pass

    def writing(self, done: int, total: int) -> None:
        pass

    def warning(self, text: str) -> None:
        pass

    def result(self, path: str | None, **facts: Any) -> None:
        pass

    def error(self, code: str, text: str, option: str | None = None) -> None:
        _say(f"Error: {plain(text)}")


class Terminal(Silent):
    """Messages and a bar on stderr; the paths of the results on stdout, for pipes."""

    def __init__(self, label: str = "colorizing") -> None:
        self._label = label
        self._bar: Any = None

    def message(self, text: str) -> None:
        self._finish_bar()
        _say(plain(text))

    def start(self, done: int, total: int) -> None:
        if done:
            _say(f"resuming: {done} of {total} chunks are done")
        with suppress(OSError):
            self._bar = click.progressbar(
                length=total, label=self._label, file=sys.stderr, item_show_func=None
            )
            self._bar.update(done)
        if done == total:
            self._finish_bar()

    def progress(self, done: int, total: int) -> None:
        if self._bar is not None:
            with suppress(OSError):
                self._bar.update(done - self._bar.pos)
            if done == total:
                self._finish_bar()

    def writing(self, done: int, total: int) -> None:
        if self._bar is None:
            self._bar = click.progressbar(length=total, label="writing", file=sys.stderr)
        with suppress(OSError):
            self._bar.update(done - self._bar.pos)

    def _finish_bar(self) -> None:
        if self._bar is not None:
            with suppress(OSError):
                self._bar.render_finish()
            self._bar = None

    def warning(self, text: str) -> None:
        _say(f"Warning: {plain(text)}")

    def result(self, path: str | None, **facts: Any) -> None:
        self._finish_bar()
        if path is not None and sys.stdout is not None:
            with _told_of(path):
                # What moves a terminal's cursor is for programs, which want the name itself.
                click.echo(plain(path) if sys.stdout.isatty() else path)

    def error(self, code: str, text: str, option: str | None = None) -> None:
        self._finish_bar()
        super().error(code, text)


class OfScene:
    """What is said of one scene of several: warnings name it."""

    def __init__(self, reporter: Reporter, scene: str) -> None:
        self._scene = public(scene)
        self.message = reporter.message
        self.start = reporter.start
        self.progress = reporter.progress
        self.writing = reporter.writing
        self._warn = reporter.warning
        self.result = reporter.result
        self.error = reporter.error

    def warning(self, text: str) -> None:
        self._warn(f"{self._scene}: {text}")


def emit(event: str, **fields: Any) -> None:
    """Write one JSON line. Fields that are None are left out."""
    given = {name: value for name, value in fields.items() if value is not None}
    with _told_of(given.get("path")):
        sys.stdout.write(json.dumps({"event": event, **given}) + "\n")
        sys.stdout.flush()


@contextmanager
def _told_of(path: str | None) -> Iterator[None]:
    """Say it where stdout takes nothing; a closed pipe is click's to deal with."""
    if sys.stdout is None:  # of a program without a console, and with >&-
        raise TargetError(_NO_STDOUT.format("it is closed", _written(path)))
    try:
        yield
    except BrokenPipeError:
        raise
    except OSError as error:
        raise TargetError(_NO_STDOUT.format(error.strerror, _written(path))) from error


_NO_STDOUT = "stdout can't be written ({}){}"


def _written(path: str | None) -> str:
    return "" if path is None else f"; {path} is written"


class JsonLines(Silent):
    """The protocol of front ends; see ``docs/json-lines.md``."""

    def __init__(self, *, quiet: bool = False) -> None:
        self._quiet = quiet

    def start(self, done: int, total: int) -> None:
        emit("start", protocol=PROTOCOL, total=total, resumed=done)

    def progress(self, done: int, total: int) -> None:
        emit("progress", done=done, total=total)

    def writing(self, done: int, total: int) -> None:
        emit("writing", done=done, total=total)

    def message(self, text: str) -> None:
        if not self._quiet:
            _say(plain(text))

    def warning(self, text: str) -> None:
        emit("warning", message=plain(text), option=_option_in(text))

    def result(self, path: str | None, **facts: Any) -> None:
        emit("result", path=path, **facts)

    def error(self, code: str, text: str, option: str | None = None) -> None:
        with suppress(OSError):  # the line on stderr comes all the same
            emit("error", code=code, message=plain(text), option=_option_in(text, option))
        super().error(code, text)


def _option_in(text: str, otherwise: str | None = None) -> str | None:
    """The option of the running command that a message names; ``otherwise``, if it has that."""
    context = click.get_current_context(silent=True)
    if context is None:
        return None
    found = named_option(text, context.command)
    return found or (named_option(otherwise, context.command) if otherwise else None)


def reporter_for(mode: str, *, quiet: bool, label: str = "colorizing") -> Reporter:
    if mode == "jsonl":
        return JsonLines(quiet=quiet)
    if mode == "none" or quiet:
        return Silent()
    return Terminal(label)


def print_json(data: Mapping[str, Any] | list[Any]) -> None:
    with _told_of(None):
        click.echo(json.dumps(data, indent=2))
