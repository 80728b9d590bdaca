"""Tables of records in pages that are written by hand.

A table stands between ``<!-- table: WHAT -->`` and ``<!-- end -->``; only what is between the marks
is made, and a test holds it against the records.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence

_BLOCK = re.compile(r"(<!-- table: (?P<what>[^>]*?) -->\n).*?(<!-- end -->)", re.DOTALL)


def markdown(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table whose first column is words and whose others are numbers."""
    lines = ["| " + " | ".join(header) + " |", "|---" + "|---:" * (len(header) - 1) + "|"]
    return "\n".join(lines + ["| " + " | ".join(row) + " |" for row in rows])


def filled(text: str, make: Callable[[str], str]) -> str:
    """A page with every table made anew; ``make`` is given what stands in its first mark."""

    def table(match: re.Match[str]) -> str:
        return f"{match[1]}\n{make(match['what'])}\n\n{match[3]}"

    return _BLOCK.sub(table, text)
