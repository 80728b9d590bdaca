"""Facts as lines for the log, and as a page to keep."""

from __future__ import annotations

import html
from collections.abc import Mapping
from typing import Any


def rows(facts: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Facts as labels and texts."""
    lines = []
    for key, value in facts.items():
        text = "; ".join(map(str, value)) if isinstance(value, list) else str(value)
        lines.append((key.replace("_", " "), one_line(text)))
    return lines


def one_line(text: str) -> str:
    """Text from a file as one line of a log: line breaks and control characters written out."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def page(facts: Mapping[str, Any]) -> str:
    """A table. Everything in it comes from files, so everything is escaped."""
    lines = "\n".join(
        f"<tr><th align='left'>{html.escape(label)}</th><td>{html.escape(text)}</td></tr>"
        for label, text in rows(facts)
    )
    return (
        "<!DOCTYPE html>\n<html><head><meta charset='utf-8'><title>nirgeo</title></head>\n"
        f"<body><table cellpadding='4'>\n{lines}\n</table></body></html>\n"
    )
