"""Text that came from a file, made fit for a terminal, a log or a message.

A band's description or a model's card is written by whoever made the file. Control characters in
it could repaint a terminal, and those that turn the direction of writing could make one name look
like another.
"""

from __future__ import annotations

_ELLIPSIS = "…"


def is_plain(text: str) -> bool:
    """Whether every character is one that is seen where it stands, or a space."""
    return text.isprintable()


def plain(text: str, limit: int | None = None) -> str:
    """``text`` with every other character written out (``\\x1b``), cut to ``limit`` characters."""
    if limit is not None and len(text) > limit:
        text = text[: limit - 1] + _ELLIPSIS
    if is_plain(text):
        return text
    return "".join(c if is_plain(c) else c.encode("unicode_escape").decode() for c in text)
