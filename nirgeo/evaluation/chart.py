"""Charts as SVG that an HTML page holds: intervals in rows, and curves."""

from __future__ import annotations

import math
from collections.abc import Sequence

from nirgeo.evaluation.markup import Child, Markup, element
from nirgeo.place_statistics import Interval

_ROW, _TOP, _LEFT, _RIGHT, _WIDTH = 24, 10, 250, 60, 860


def interval_chart(rows: Sequence[tuple[str, Interval, bool]], axis: str) -> Markup | None:
    """A dot and a line per row; the third item of a row marks those that matter.

    None where no row has a figure.
    """
    shown = [row for row in rows if math.isfinite(row[1].value)]
    if not shown:
        return None
    ticks = _ticks(max(_upper(interval) for _, interval, _ in shown))
    bottom = _TOP + _ROW * len(shown)

    def across(value: float) -> str:
        return f"{_LEFT + (_WIDTH - _LEFT - _RIGHT) * value / ticks[-1]:.1f}"

    parts: list[Child] = []
    for tick in ticks:
        x = across(tick)
        parts += [
            _grid_line(x, str(_TOP), x, str(bottom)),
            element("text", f"{tick:g}", x=x, y=str(bottom + 18), text_anchor="middle"),
        ]
    for position, (label, interval, marked) in enumerate(shown):
        y = _TOP + _ROW * position + _ROW / 2
        colour = "#b4532a" if marked else "currentColor"
        parts.append(element("text", label, x=str(_LEFT - 12), y=f"{y + 4:.1f}", text_anchor="end"))
        if not math.isnan(interval.low):
            low, high = across(interval.low), across(interval.high)
            parts.append(_line(low, f"{y:.1f}", high, f"{y:.1f}", colour, "2", "0.8"))
        parts.append(
            element("circle", cx=across(interval.value), cy=f"{y:.1f}", r="4.5", fill=colour)
        )
    middle = f"{(_LEFT + _WIDTH - _RIGHT) / 2:.0f}"
    parts.append(element("text", axis, x=middle, y=str(bottom + 40), text_anchor="middle"))
    return _drawing(parts, bottom + 50, axis)


def curve_chart(
    positions: Sequence[float], curves: Sequence[tuple[str, Sequence[float], bool]], title: str
) -> Markup:
    """Curves over 0 … 1, each with its name; the third item marks the one that matters."""
    height, left = 220, 60
    ticks = _ticks(max(max(values) for _, values, _ in curves))

    def at(x: float, y: float) -> tuple[str, str]:
        across = left + (_WIDTH / 2 - left) * x
        return f"{across:.1f}", f"{_TOP + height * (1 - y / ticks[-1]):.1f}"

    parts: list[Child] = []
    for tick in ticks:
        (x1, y), (x2, _) = at(0, tick), at(1, tick)
        parts += [
            _grid_line(x1, y, x2, y),
            element("text", f"{tick:g}", x=str(left - 8), y=y, text_anchor="end"),
        ]
    for share in (0.0, 0.5, 1.0):
        x, _ = at(share, 0)
        label = f"{share:.0%}"
        parts.append(element("text", label, x=x, y=str(_TOP + height + 18), text_anchor="middle"))
    for row, (label, values, marked) in enumerate(curves):
        colour = "#b4532a" if marked else "currentColor"
        points = " ".join(",".join(at(x, y)) for x, y in zip(positions, values, strict=True))
        parts += [
            element("polyline", points=points, fill="none", stroke=colour, stroke_width="2"),
            element(
                "text", label, x=str(_WIDTH // 2 + 16), y=str(_TOP + 20 + 20 * row), fill=colour
            ),
        ]
    parts.append(element("text", title, x=str(left), y=str(_TOP + height + 42)))
    return _drawing(parts, height + 70, title)


def _drawing(parts: Sequence[Child], height: int, label: str) -> Markup:
    return element(
        "svg",
        parts,
        viewBox=f"0 0 {_WIDTH} {height}",
        width=str(_WIDTH),
        role="img",
        aria_label=label,
    )


def _grid_line(x1: str, y1: str, x2: str, y2: str) -> Markup:
    return _line(x1, y1, x2, y2, "currentColor", "0.5", "0.3")


def _line(x1: str, y1: str, x2: str, y2: str, stroke: str, width: str, opacity: str) -> Markup:
    return element(
        "line",
        x1=x1,
        y1=y1,
        x2=x2,
        y2=y2,
        stroke=stroke,
        stroke_width=width,
        stroke_opacity=opacity,
    )


def _upper(interval: Interval) -> float:
    return interval.value if math.isnan(interval.high) else max(interval.value, interval.high)


def _ticks(top: float) -> list[float]:
    """Where an axis from 0 has its lines; the last is not below ``top``."""
    step = _step(top)
    return [step * k for k in range(max(1, math.ceil(top / step)) + 1)]


def _step(top: float) -> float:
    """1, 2 or 5 times a power of ten that divides the axis into at most eight parts."""
    power = 10.0 ** math.floor(math.log10(top)) if top > 0 else 1.0
    return next((s for s in (power / 5, power / 2, power, 2 * power) if top / s <= 8), 2 * power)
