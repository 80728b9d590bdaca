"""From exceptions to one line on stderr and an exit code, the same for every command.

Exit codes: 1 for what nirgeo refuses or can't do, 2 for wrong usage (click's own), 130 after
Ctrl-C, 143 after SIGTERM.
"""

from __future__ import annotations

import errno
import functools
import signal
import sys
import threading
import traceback
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import click

from nirgeo.cli.reporting import Reporter, Silent
from nirgeo.cli.rio import rio_verbosity
from nirgeo.damage import damage_told_of
from nirgeo.errors import NirgeoError
from nirgeo.hrefs import unsigned

_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
"""Of a disk, or of what its user may have of it; Python names no file then."""


class Terminated(KeyboardInterrupt):
    """SIGTERM, handled like Ctrl-C but with its own exit code."""


def _terminate(signum: int, frame: Any) -> None:
    raise Terminated


_ENDS = [signal.SIGTERM, *((signal.SIGHUP,) if hasattr(signal, "SIGHUP") else ())]


@contextmanager
def terminable() -> Iterator[None]:
    """SIGTERM ends the work as cleanly as Ctrl-C does; the old handler comes back afterwards.

    So does SIGHUP, of a terminal that is closed, unless somebody wants it ignored (``nohup``).
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    ends = [n for n in _ENDS if n == signal.SIGTERM or signal.getsignal(n) == signal.SIG_DFL]
    before = {end: signal.signal(end, _terminate) for end in ends}
    try:
        yield
    finally:
        for end, handler in before.items():
            signal.signal(end, handler)


class Ending:
    """Whether somebody has asked for the end, and how."""

    def __init__(self) -> None:
        self.asked: KeyboardInterrupt | None = None

    def __bool__(self) -> bool:
        return self.asked is not None


@contextmanager
def ends_in_its_own_time(told: Callable[[], None]) -> Iterator[Ending]:
    """Ctrl-C and what :func:`terminable` takes for it end nothing by themselves in this context.

    It is for work that can leave off at certain points only: it looks at what it is given, and
    when it has left off the interruption goes on. ``told`` is called when it comes. The second one
    ends the work wherever it is.
    """
    ending = Ending()
    if threading.current_thread() is not threading.main_thread():
        yield ending
        return

    def noted(signum: int, frame: Any) -> None:
        how = KeyboardInterrupt() if signum == signal.SIGINT else Terminated()
        if ending:
            raise how
        ending.asked = how
        told()

    ours = (_terminate, signal.default_int_handler)  # or somebody wants them otherwise
    taken = [n for n in (signal.SIGINT, *_ENDS) if signal.getsignal(n) in ours]
    before = {number: signal.signal(number, noted) for number in taken}
    try:
        yield ending
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    if ending.asked is not None:
        raise ending.asked


@contextmanager
def _unreadable_messages_dropped() -> Iterator[None]:
    """GDAL repeats a damaged file's bytes in its messages, and rasterio's log takes them for UTF-8.

    It can't raise where it fails, so a traceback is printed for what is no more than a line of a
    log: first as of an error that nobody catches, then as of one that can't be raised.
    """
    before = sys.excepthook, sys.unraisablehook

    def uncaught(kind: type[BaseException], error: BaseException, trace: Any) -> None:
        if not isinstance(error, UnicodeDecodeError) or trace is not None:
            before[0](kind, error, trace)

    def unraisable(what: sys.UnraisableHookArgs) -> None:
        of_the_log = what.object == "rasterio._env.log_error"
        if not isinstance(what.exc_value, UnicodeDecodeError) or not of_the_log:
            before[1](what)

    sys.excepthook, sys.unraisablehook = uncaught, unraisable
    try:
        yield
    finally:
        sys.excepthook, sys.unraisablehook = before


def reports_errors(command: Callable[..., None]) -> Callable[..., None]:
    """Turn errors of a command into a line and an exit code.

    The command may set ``ctx.obj["reporter"]``; with ``verbose`` the traceback is shown too.
    """

    @functools.wraps(command)
    def wrapped(*args: Any, **kwargs: Any) -> None:
        context = click.get_current_context()
        verbose = bool(kwargs.get("verbose")) or rio_verbosity(context) > 0
        try:
            with (
                terminable(),
                _unreadable_messages_dropped(),
                warnings.catch_warnings(),
                damage_told_of(),
            ):
                # rasterio's, for every scene without a georeference; its pixels are what counts.
                warnings.filterwarnings("ignore", message="Dataset has no geotransform")
                warnings.filterwarnings("ignore", message="The dataset's nodata attribute is shad")
                warnings.filterwarnings("ignore", message="Failed to open Zarr store with cons")
                command(*args, **kwargs)
        except NirgeoError as error:
            if verbose:
                _print_trace()
            text = " ".join(str(error).split())
            _reporter(context).error(error.code, text, error.option)
            context.exit(1)
        except Terminated:
            _reporter(context).error("terminated", "terminated")
            context.exit(143)
        except KeyboardInterrupt:
            _reporter(context).error("interrupted", "interrupted")
            context.exit(130)
        except MemoryError:
            chunks = any(parameter.name == "chunk" for parameter in context.command.params)
            remedy = "use smaller chunks (--chunk) or fewer --workers"
            remedy = remedy if chunks else "use less of it: smaller scenes, or a smaller --set"
            _reporter(context).error("memory", f"out of memory; {remedy}")
            context.exit(1)
        except (click.exceptions.Exit, click.ClickException, BrokenPipeError):
            raise
        except Exception as error:
            if verbose:
                _print_trace()
            if isinstance(error, OSError) and error.strerror and error.filename:
                text = f"{error.filename}: {error.strerror}"
                _reporter(context).error("target-unwritable", text)
                context.exit(1)
            if isinstance(error, OSError) and error.errno in _FULL:
                text = f"what is written finds no room ({error.strerror}); free some space"
                _reporter(context).error("target-unwritable", text)
                context.exit(1)
            if isinstance(error, RuntimeError) and "can't start new thread" in str(error):
                text = "the system allows no more threads, or memory; use fewer --workers"
                _reporter(context).error("memory", text)
                context.exit(1)
            # A defect of nirgeo. One line all the same, and how to get the rest.
            text = " ".join(f"{type(error).__name__}: {error}".split())
            _reporter(context).error(
                "internal", f"unexpected {text}; run again with --verbose for the traceback"
            )
            context.exit(1)

    return wrapped


def _print_trace() -> None:
    """Of the error at hand; GDAL's own messages, which are among its causes, name signed URLs."""
    click.echo(unsigned(traceback.format_exc()), err=True, nl=False)


def _reporter(context: click.Context) -> Reporter:
    reporter: Reporter = context.meta.get("nirgeo.reporter") or Silent()
    return reporter
