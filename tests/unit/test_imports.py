"""Which module of the package needs which: one way only, so that each can be read by itself."""

from __future__ import annotations

import ast
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

import nirgeo

FOLDER = Path(nirgeo.__file__).parent


def modules() -> dict[str, Path]:
    """Modules by name; a package by that of its folder."""
    found = {}
    for path in FOLDER.rglob("*.py"):
        parts = path.relative_to(FOLDER.parent).with_suffix("").parts
        found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


def imports(path: Path, known: dict[str, Path]) -> set[str]:
    """What a module imports of the package: at once, later within a function, or for types."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
            inner = {f"{node.module}.{alias.name}" for alias in node.names}
            found |= {name if name in known else node.module for name in inner}
    return found & set(known)


def in_order(graph: dict[str, set[str]]) -> list[str]:
    try:
        return list(TopologicalSorter(graph).static_order())
    except CycleError as error:
        pytest.fail(" imports ".join(reversed(error.args[1])))


def test_no_module_needs_one_that_needs_it() -> None:
    known = modules()
    assert len(known) > 100
    # The package itself hands names on, and asks for them only when they are used.
    graph = {name: imports(path, known) - {"nirgeo"} for name, path in known.items()}
    assert sum(map(len, graph.values())) > 500
    order = in_order(graph)
    assert order.index("nirgeo.errors") < order.index("nirgeo.source") < order.index("nirgeo.scene")
    assert order.index("nirgeo.inference") < order.index("nirgeo.engine")


def test_a_training_does_without_the_lazy_scenes_of_xarray() -> None:
    known = modules()
    needed, waiting = set(), {"nirgeo.training.loop"}
    while waiting:
        needed |= waiting
        waiting = set().union(*(imports(known[name], known) for name in waiting)) - needed
    assert "nirgeo.source" in needed
    assert "nirgeo.scene" not in needed  # whose dask and xarray take seconds to load


def test_a_circle_is_found() -> None:
    with pytest.raises(pytest.fail.Exception, match=r"a imports b imports a|b imports a imports b"):
        in_order({"a": {"b"}, "b": {"a"}})
