"""Values of options as callers give them: numpy's numbers are numbers, text is none, and open files
are no names."""

from __future__ import annotations

import operator
import os
from typing import Any

from nirgeo.errors import OptionError


def number(option: str, value: Any) -> float:
    """
    Raises
    ------
    OptionError : it is no number
    """
    if not isinstance(value, (str, bytes)):
        try:
            return float(value)
        except (TypeError, ValueError):
            pass
    raise OptionError(f"{option} {value!r}: a {type(value).__name__} where a number is needed")


def number_or_none(option: str, value: Any) -> float | None:
    """The same, where None means that there is none."""
    return None if value is None else number(option, value)


def file_name(option: str, value: Any) -> str:
    """The name of a file; an open one is none.

    Raises
    ------
    OptionError : it is no text and no path
    """
    if isinstance(value, (str, os.PathLike)):
        name = os.fspath(value)
        if isinstance(name, str):
            return name
    raise OptionError(f"{option}: a {type(value).__name__} where a path is needed")


def count(option: str, value: Any) -> int:
    """
    Raises
    ------
    OptionError : it is no whole number
    """
    try:
        return operator.index(value)
    except TypeError:
        raise OptionError(
            f"{option} {value!r}: a {type(value).__name__} where a whole number is needed"
        ) from None


def check_workers(workers: int | None) -> None:
    """
    Raises
    ------
    OptionError : it is no number of workers
    """
    if workers is not None and count("--workers", workers) < 1:
        raise OptionError(f"--workers {workers}: need at least one")
