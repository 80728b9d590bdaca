"""A brown wood and a brown lake are noticed, and nobody asks of dry grass to be green."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from nirgeo.evaluation.landcover import COVERS, MIN_PIXELS, OUTSIDE
from nirgeo.evaluation.looks import DARK, Answer, answers, looks_json

SIDE = 16
WOOD, BROWN, GREY_GREEN, LAKE, SILT, BLACK_RED = (
    (40, 80, 50),
    (90, 80, 60),
    (100, 101, 100),
    (60, 110, 130),
    (140, 120, 100),
    (79, 60, 50),
)


def picture(*colours: tuple[int, int, int]) -> NDArray[np.uint8]:
    """Equal bands of rows, one colour each."""
    rows = np.repeat(np.array(colours, dtype=np.uint8), SIDE // len(colours), axis=0)
    return np.ascontiguousarray(np.broadcast_to(rows.T[:, :, None], (3, SIDE, SIDE)))


def ground(*names: str) -> NDArray[np.uint8]:
    rows = np.repeat([COVERS.index(name) for name in names], SIDE // len(names))
    return np.broadcast_to(rows[:, None], (SIDE, SIDE)).astype(np.uint8)


@pytest.mark.parametrize(
    ("cover", "true", "made", "passed"),
    [
        ("vegetation", WOOD, WOOD, True),
        ("vegetation", WOOD, GREY_GREEN, True),
        ("vegetation", WOOD, BROWN, False),
        ("vegetation", WOOD, LAKE, False),
        ("water", LAKE, LAKE, True),
        ("water", LAKE, SILT, False),
        ("water", BLACK_RED, LAKE, True),
        ("water", LAKE, BLACK_RED, True),
    ],
)
def test_questions(
    cover: str, true: tuple[int, int, int], made: tuple[int, int, int], passed: bool
) -> None:
    (answer,) = answers("s", picture(made), picture(true), ground(cover))
    assert answer == Answer("s", cover, passed, tuple(float(v) for v in made))


def test_what_does_not_look_so_in_truth_is_not_asked() -> None:
    covers = ground("vegetation", "water")
    assert not list(answers("s", picture(WOOD, LAKE), picture(BROWN, SILT), covers))
    assert np.mean(BLACK_RED) < DARK < np.mean(SILT)


def test_every_kind_is_judged_by_its_own_pixels() -> None:
    covers = ground("vegetation", "water")
    found = list(answers("s", picture(BROWN, LAKE), picture(WOOD, LAKE), covers))
    assert [(a.cover, a.passed) for a in found] == [("vegetation", False), ("water", True)]


def test_too_few_pixels_say_nothing() -> None:
    covers = np.full((SIDE, SIDE), OUTSIDE, dtype=np.uint8)
    covers.flat[: MIN_PIXELS - 1] = COVERS.index("vegetation")
    assert not list(answers("s", picture(BROWN), picture(WOOD), covers))
    covers.flat[MIN_PIXELS - 1] = COVERS.index("vegetation")
    assert len(list(answers("s", picture(BROWN), picture(WOOD), covers))) == 1


def test_the_record_names_what_failed() -> None:
    made: list[Any] = [
        Answer("b", "vegetation", False, (90.04, 80.0, 60.0)),
        Answer("a", "vegetation", False, (91.0, 80.0, 60.0)),
        Answer("c", "vegetation", True, (40.0, 80.0, 60.0)),
    ]
    plants, water = looks_json(made)
    assert (plants["name"], plants["scenes"], plants["passed"]) == ("vegetation", 3, 1)
    assert plants["failed"] == [
        {"scene": "a", "colour": [91.0, 80.0, 60.0]},
        {"scene": "b", "colour": [90.0, 80.0, 60.0]},
    ]
    assert (water["scenes"], water["passed"], water["failed"]) == (0, 0, [])
