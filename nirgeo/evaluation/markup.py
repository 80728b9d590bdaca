"""HTML in which nothing can be injected: every string is escaped unless this module made it."""

from __future__ import annotations

import html
from collections.abc import Iterable


class Markup(str):
    """Text that already is HTML. Only :func:`element` and :func:`document` make it."""

    __slots__ = ()


Child = Markup | str | None
"""A plain string is text, and is escaped; None is nothing."""

_VOID = frozenset({"img", "meta", "br"})


def element(name: str, /, *children: Child | Iterable[Child], **attributes: str | None) -> Markup:
    """``<name attributes>children</name>``; names come from the code, everything else is escaped.

    A trailing underscore of an attribute's name is dropped (``class_``), others become hyphens.
    """
    written = "".join(
        f' {key.rstrip("_").replace("_", "-")}="{html.escape(value, quote=True)}"'
        for key, value in attributes.items()
        if value is not None
    )
    if name in _VOID:
        return Markup(f"<{name}{written}>")
    return Markup(f"<{name}{written}>{join(children)}</{name}>")


def join(children: Iterable[Child | Iterable[Child]]) -> Markup:
    """Children one after the other, nested lists flattened."""
    parts: list[str] = []
    for child in children:
        if child is None:
            continue
        if isinstance(child, Markup):
            parts.append(child)
        elif isinstance(child, str):
            parts.append(html.escape(child, quote=True))
        else:
            parts.append(join(child))
    return Markup("".join(parts))


def document(title: str, style: str, body: Iterable[Child]) -> str:
    """A whole page that may load nothing and run nothing, whatever its text says.

    ``style`` comes from the code and is not escaped.
    """
    policy = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"
    head = element(
        "head",
        element("meta", charset="utf-8"),
        element("meta", http_equiv="Content-Security-Policy", content=policy),
        element("meta", name_="viewport", content="width=device-width, initial-scale=1"),
        element("title", title),
        Markup(f"<style>{style}</style>"),
    )
    page = element("html", head, element("body", body), lang="en")
    return f"<!doctype html>\n{page}\n"
