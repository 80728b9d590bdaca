"""Pages with figures say what the records in docs/results/ say."""

from __future__ import annotations

import json
import runpy
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
TOOL = runpy.run_path(str(ROOT / "tools" / "write_results.py"))


@pytest.mark.parametrize("page", TOOL["PAGES"], ids=lambda page: page.stem)
def test_every_table_is_what_the_records_say(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    assert text.count("<!-- table:") == text.count("<!-- end -->") > 0
    assert TOOL["filled"](text, ROOT / "docs" / "results") == text


def test_every_page_with_such_tables_is_looked_at() -> None:
    marks = [f"<!-- table: {name} " for name in TOOL["TABLES"]]
    pages = {
        page
        for page in (ROOT / "docs").rglob("*.md")
        if any(mark in page.read_text(encoding="utf-8") for mark in marks)
    }
    assert pages == set(TOOL["PAGES"])


def test_a_changed_figure_is_noticed(tmp_path: Path) -> None:
    text = (ROOT / "docs" / "results.md").read_text(encoding="utf-8")
    records = ROOT / "docs" / "results"
    for file in records.iterdir():
        lines = file.read_text(encoding="utf-8")
        (tmp_path / file.name).write_text(lines, encoding="utf-8")
    first, *others = (records / "epfl.jsonl").read_text(encoding="utf-8").splitlines()
    record: dict[str, Any] = json.loads(first)
    record["angular"] += 30
    (tmp_path / "epfl.jsonl").write_text("\n".join([json.dumps(record), *others]))
    assert TOOL["filled"](text, tmp_path) != text


@pytest.mark.parametrize("what", ["nonsense", "epfl"])
def test_a_table_that_can_not_be_made(what: str) -> None:
    with pytest.raises((KeyError, TypeError)):
        TOOL["filled"](f"<!-- table: {what} -->\n<!-- end -->", ROOT / "docs" / "results")


def test_the_page_on_reliability_is_what_its_records_say() -> None:
    text = (ROOT / "docs" / "reliability.md").read_text(encoding="utf-8")
    assert "<!-- table: torture -->" in text
    assert TOOL["filled"](text, ROOT / "docs" / "results") == text
