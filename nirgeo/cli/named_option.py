"""Which option a message is about.

Messages name the option they are about, or the one that would help, as it is typed. A front end has
a field instead, so it is told the name apart from the words.
"""

from __future__ import annotations

import re

import click

_WORD = re.compile(r"(?<![\w-])--?[a-z][a-z-]*(?![\w-])")


def named_option(text: str, command: click.Command) -> str | None:
    """The first option of ``command`` that ``text`` names, in its long form."""
    long_forms = {
        name: max(parameter.opts, key=len)
        for parameter in command.params
        if isinstance(parameter, click.Option)
        for name in parameter.opts
    }
    words = (match.group() for match in _WORD.finditer(text))
    return next((long_forms[word] for word in words if word in long_forms), None)
