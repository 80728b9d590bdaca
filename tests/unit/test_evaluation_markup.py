"""Nothing that a model, a file name or a table says can become markup."""

from __future__ import annotations

from html.parser import HTMLParser

import pytest

from nirgeo.evaluation.chart import _ticks, interval_chart
from nirgeo.evaluation.markup import Markup, document, element, join
from nirgeo.place_statistics import Interval

ATTACK = "\"'><script>alert(1)</script><img src=x onerror=alert(1)>&lt;"


class Tags(HTMLParser):
    """Collects elements, their attributes and the text."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.text += data


def test_text_and_attributes_are_escaped() -> None:
    page = Tags(element("p", ATTACK, element("b", "kept"), title=ATTACK, class_="note"))
    assert page.tags == [("p", {"title": ATTACK, "class": "note"}), ("b", {})]
    assert page.text == ATTACK + "kept"


def test_lists_are_flattened_and_none_is_nothing() -> None:
    nested = join(["a<", None, [element("i", "b"), ["c>"]]])
    assert nested == "a&lt;<i>b</i>c&gt;"
    assert isinstance(nested, Markup)


def test_a_joined_string_loses_its_trust() -> None:
    assert Tags(element("p", element("b", "x") + ATTACK)).tags == [("p", {})]


def test_a_page_may_load_and_run_nothing() -> None:
    page = document(ATTACK, "p { color: red }", [element("p", ATTACK)])
    found = Tags(page)
    assert "script" not in [tag for tag, _ in found.tags]
    policy = next(a["content"] for t, a in found.tags if a.get("http-equiv"))
    assert policy is not None
    assert "default-src 'none'" in policy
    assert page.startswith("<!doctype html>")


def test_chart_escapes_labels_and_leaves_out_what_has_no_figure() -> None:
    nan = float("nan")
    rows = [
        (ATTACK, Interval(5.0, 4.0, 7.0, 3, 0, 0.95), True),
        ("one place", Interval(6.0, nan, nan, 1, 0, 0.95), False),
        ("nothing", Interval(nan, nan, nan, 0, 1, 0.95), False),
    ]
    chart = interval_chart(rows, "degrees")
    assert chart is not None
    found = Tags(chart)
    assert "script" not in [tag for tag, _ in found.tags]
    assert [tag for tag, _ in found.tags].count("circle") == 2
    assert "nothing" not in found.text
    assert "nan" not in chart
    assert interval_chart(rows[2:], "degrees") is None


@pytest.mark.parametrize("top", [0.0, 0.03, 1.0, 3.7, 8.0, 41.0, 180.0])
def test_an_axis_holds_its_highest_value_in_few_round_steps(top: float) -> None:
    ticks = _ticks(top)
    assert ticks[0] == 0
    assert ticks[-1] >= top
    assert 2 <= len(ticks) <= 9
    assert len(ticks) == 2 or ticks[-2] < top  # no step more than it takes
    digit = float(f"{ticks[1]:e}".partition("e")[0])
    assert digit in (1, 2, 5)
