"""The plugin uses only what QGIS 3 and QGIS 4, Qt 5 and Qt 6 have in common."""

from __future__ import annotations

import ast
import importlib
from collections.abc import Iterator
from pathlib import Path

import nirgeo_qgis
import pytest

pytestmark = pytest.mark.qgis

SOURCES = sorted(Path(nirgeo_qgis.__file__).parent.glob("*.py"))

# Names that Qt 6 has elsewhere or not at all.
GONE = {
    *("exec_", "print_", "QAction", "QActionGroup", "QShortcut", "QRegExp", "QDesktopWidget"),
    *("QTextCodec", "QStringRef", "QMatrix", "QSignalMapper"),
}


def imported(tree: ast.AST) -> Iterator[tuple[str, object]]:
    """What a module has of QGIS and Qt, under the names it uses."""
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "qgis":
            module = importlib.import_module(str(node.module))
            for alias in node.names:
                yield alias.asname or alias.name, getattr(module, alias.name)


def chain(node: ast.Attribute) -> list[str]:
    """``a.b.c`` as a list; empty if it does not begin with a name."""
    names: list[str] = []
    inner: ast.expr = node
    while isinstance(inner, ast.Attribute):
        names.append(inner.attr)
        inner = inner.value
    return [inner.id, *reversed(names)] if isinstance(inner, ast.Name) else []


def is_unscoped(known: dict[str, object], names: list[str]) -> bool:
    """Whether a chain reaches a member of an enumeration without naming the enumeration."""
    holder, value = None, known.get(names[0]) if names else None
    for name in names[1:]:
        holder, value = value, getattr(value, name, None)
    kind = type(value)
    is_member = kind.__module__.split(".")[0] in ("qgis", "PyQt5", "PyQt6") and issubclass(
        kind, int
    )
    return is_member and holder is not kind


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: path.stem)
def test_enumerations_are_named_in_full_and_nothing_is_gone(path: Path) -> None:
    tree = ast.parse(path.read_text("utf-8"))
    known = dict(imported(tree))
    attributes = [node for node in ast.walk(tree) if isinstance(node, ast.Attribute)]
    assert [c for c in map(chain, attributes) if is_unscoped(known, c)] == []
    assert GONE.isdisjoint(known)
    assert GONE.isdisjoint(node.attr for node in attributes)


def test_the_check_finds_what_it_is_made_for() -> None:
    tree = ast.parse("from qgis.core import QgsProcessing\nfrom qgis.PyQt.QtCore import Qt\n")
    known = dict(imported(tree))
    assert is_unscoped(known, ["QgsProcessing", "TypeRaster"])
    assert is_unscoped(known, ["Qt", "AlignLeft"])
    assert not is_unscoped(known, ["QgsProcessing", "SourceType", "TypeRaster"])
    assert not is_unscoped(known, ["QgsProcessing", "SourceType"])
    assert not is_unscoped(known, ["self", "TypeRaster"])
