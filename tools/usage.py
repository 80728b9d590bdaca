"""Arguments of a tool, as many as the usage lines in its docstring say.

A usage line is ``    python tools/NAME.py WORD OTHER [OPTIONAL] MANY...    # what it does``.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Sequence

_LINE = re.compile(r"^    python tools/\S+\.py(?P<words>[^#\n]*)", re.MULTILINE)


def arguments(doc: str, given: Sequence[str] | None = None) -> list[str]:
    """The arguments of this call; the program ends with the usage if they fit none of its lines."""
    found = list(sys.argv[1:] if given is None else given)
    if found in (["-h"], ["--help"]):
        print(doc.strip())
        sys.exit()
    lines = list(_LINE.finditer(doc))
    if any(_fits(line["words"].split(), found) for line in lines):
        return found
    usage = "\n".join(line[0].rstrip() for line in lines)
    print(f"usage:\n{usage}\n--help says more", file=sys.stderr)
    sys.exit(2)


def _fits(words: Sequence[str], given: Sequence[str]) -> bool:
    least = sum(not word.startswith("[") for word in words)
    most = len(given) if any(word.endswith("...") for word in words) else len(words)
    options = ([word for word in of if word.startswith("--")] for of in (words, given))
    return least <= len(given) <= most and next(options) == next(options)
