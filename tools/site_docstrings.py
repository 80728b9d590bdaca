"""Docstrings of the sources as the site's Markdown (an extension of griffe).

The sources write references as ``:func:`nirgeo.colorize```, which every Python editor knows; on
the site they become links where the name has an entry, else code. Parameters and errors stand in
one line, ``name : meaning``.
"""

from __future__ import annotations

import re
from typing import Any

import griffe

_ROLE = re.compile(r":(?:func|class|meth|mod|data|attr|exc):`~?([\w.]+)`")
_LITERAL = re.compile(r"::(\n\n {4})")
_SECTION = re.compile(r"^(Parameters|Raises)\n-+\n((?:.+\n?)+)", re.MULTILINE)
_ENTRY = re.compile(r"^(?P<names>\w[\w., ]*?) : (?P<text>.+(?:\n {4}.+)*)$", re.MULTILINE)


class SourcesToSite(griffe.Extension):
    """Turns roles into cross references, and what follows a name into its description."""

    def on_instance(self, *, obj: griffe.Object, **kwargs: Any) -> None:
        if obj.docstring:
            text = _LITERAL.sub(r":\1", obj.docstring.value)
            text = _SECTION.sub(_section, _names_of_errors_first(text))
            obj.docstring.value = _ROLE.sub(_reference, text)


def _section(section: re.Match[str]) -> str:
    """numpydoc wants a type after the colon. The sources have types in the signature, and say there
    what a parameter means, or why an error is raised."""
    return f"{section[1]}\n{'-' * len(section[1])}\n{_ENTRY.sub(_entry, section[2])}"


def _names_of_errors_first(text: str) -> str:
    """Errors that are only named make a sentence, which has to stand before the sections."""
    for section in _SECTION.finditer(text):
        if section[1] == "Raises" and " : " not in section[2]:
            names = [name.strip() for name in section[2].replace("\n", " ").split(",")]
            listed = ", ".join(_link(f"nirgeo.errors.{name}", name) for name in names)
            rest = text[: section.start()] + text[section.end() :]
            before, mark, after = rest.partition("Parameters\n---")
            return f"{before.rstrip()}\n\nRaises {listed}.\n\n{mark}{after}"
    return text


def _entry(entry: re.Match[str]) -> str:
    lines = [line.strip() for line in entry["text"].splitlines()]
    return entry["names"] + "".join(f"\n    {line}" for line in lines)


def _reference(role: re.Match[str]) -> str:
    name = role.group(1)
    return _link(name, name.rpartition(".")[2] if name.count(".") > 1 else name)


def _link(name: str, text: str) -> str:
    return f'<autoref identifier="{name}" optional><code>{text}</code></autoref>'
