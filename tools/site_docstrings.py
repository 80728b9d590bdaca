"""Docstrings of the sources as the site's Markdown (an extension of griffe).

The sources write references as ``:func:`nirgeo.colorize```, which every Python editor knows. On the
site they become links where the name has an entry, else code.
"""

from __future__ import annotations

import re
from typing import Any

import griffe

_ROLE = re.compile(r":(?:func|class|meth|mod|data|attr|exc):`~?([\w.]+)`")
_LITERAL = re.compile(r"::(\n\n {4})")


class Roles(griffe.Extension):
    """Turns roles into cross references, and the literal blocks of ``::`` into code."""

    def on_instance(self, *, obj: griffe.Object, **kwargs: Any) -> None:
        if obj.docstring:
            text = _LITERAL.sub(r":\1", obj.docstring.value)
            obj.docstring.value = _ROLE.sub(_reference, text)


def _reference(role: re.Match[str]) -> str:
    name = role.group(1)
    shown = name.rpartition(".")[2] if name.count(".") > 1 else name
    return f'<autoref identifier="{name}" optional><code>{shown}</code></autoref>'
