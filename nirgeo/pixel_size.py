"""How large a pixel is, for people: degrees are oblong on the ground."""

from __future__ import annotations

import math


def mean_side(sides: tuple[float, float]) -> float:
    """The side of a square as large as a pixel with these."""
    return math.sqrt(sides[0] * sides[1])


def told_sides(sides: tuple[float, float], digits: int = 3) -> str:
    """A pixel's size for people: one side of what is about a square, both of what is oblong."""
    if max(sides) <= 1.1 * min(sides):
        return f"{mean_side(sides):.{digits}g} m"
    return " × ".join(f"{side:.{digits}g}" for side in sides) + " m"
