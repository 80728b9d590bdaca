"""Values of options as callers give them: numpy's numbers are numbers, and text is none."""

from __future__ import annotations

import operator
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
