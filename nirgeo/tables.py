"""Tables that people keep of their scenes: CSV files with a line per scene and a head of names."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Sequence
from itertools import islice
from pathlib import Path

from nirgeo.errors import NirgeoError
from nirgeo.plaintext import plain


def read_rows(
    table: Path, columns: Sequence[str], *, called: str, error: type[NirgeoError]
) -> list[dict[str, str]]:
    """The lines of a CSV; a line that ends early has empty text for the rest.

    Parameters
    ----------
    columns : what it must have
    called : what messages call it, as ``--index set.csv``
    error : what is raised if it can't be read, or lacks a column
    """
    try:
        # utf-8-sig: spreadsheets put a byte order mark in front of the first column's name.
        with open(table, newline="", encoding="utf-8-sig") as lines:
            reader = csv.DictReader(lines, restval="")
            names, rows = reader.fieldnames or (), list(reader)
    except (OSError, ValueError, csv.Error) as reason:
        raise error(f"{called}: can't be read ({reason})") from reason
    for column in columns:
        if column not in names:
            raise error(f"{called} has no column {column!r}")
    # What lies beyond the last named column has no name.
    return [{name: row[name] for name in names} for row in rows]


def name_here(name: str, folder: Path) -> str:
    """A file's name as systems other than Windows write it, unless one is called so.

    A table that was written on Windows has backslashes between folders; on other systems they may
    be part of a file's name. ``folder`` is the one that names are relative to.
    """
    if "\\" not in name or (folder / name).exists():
        return name
    return name.replace("\\", "/")


_NOTES = 3


def first_few_notes(notes: Sequence[str], *, further: str = "") -> list[str]:
    """Three of many notes, and how many more there are; ``further`` says where to find them."""
    more = len(notes) - _NOTES
    return [*notes[:_NOTES], *([f"and {more} more like that{further}"] if more > 0 else [])]


def first_few(names: Iterable[str], count: int = 3) -> str:
    """The first names, fit for a message, and an ellipsis if there are more."""
    found = [plain(name, 80) for name in islice(names, count + 1)]
    return ", ".join([*found[:count], *(["…"] if len(found) > count else [])])
