"""What takes a while to build is built once, however many ask."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from nirgeo.built_once import BuiltOnce


def test_threads_that_ask_at_once_get_one_and_the_same() -> None:
    kept: BuiltOnce[str, object] = BuiltOnce(2)
    built, together = [], threading.Barrier(8)

    def build() -> object:
        built.append(object())
        return built[-1]

    def ask(_: int) -> object:
        together.wait()
        return kept.get("a", build)

    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(ask, range(8)))
    assert len(built) == 1
    assert all(thing is built[0] for thing in found)


def test_only_the_last_few_are_kept() -> None:
    kept: BuiltOnce[int, list[int]] = BuiltOnce(2)
    first = kept.get(1, lambda: [1])
    for key in (2, 3):
        kept.get(key, lambda key=key: [key])  # type: ignore[misc]
    assert kept.get(3, lambda: [0]) == [3]
    assert kept.get(1, lambda: [9]) == [9]
    assert first == [1]


def test_a_build_that_fails_is_tried_again() -> None:
    kept: BuiltOnce[str, int] = BuiltOnce(2)

    def fail() -> int:
        raise OSError("no disk")

    with pytest.raises(OSError, match="no disk"):
        kept.get("a", fail)
    assert kept.get("a", lambda: 5) == 5
