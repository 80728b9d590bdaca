"""What takes a while to build is built once, however many ask."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest

from nirgeo.built_once import BuiltOnce
from nirgeo.networks import MAX_NETWORKS
from nirgeo.registry import shipped_models
from nirgeo.runtimes.onnx_session import MAX_SESSIONS


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


def test_what_was_not_used_for_longest_goes_first() -> None:
    kept: BuiltOnce[int, str] = BuiltOnce(2)
    for key in (1, 2, 1, 3):
        kept.get(key, lambda: "first")
    assert kept.get(1, lambda: "again") == "first"
    assert kept.get(2, lambda: "again") == "again"


def held(build: Callable[[], int]) -> tuple[Callable[[], int], threading.Event, threading.Event]:
    """The same, but it waits until it may go on; and events for that it has begun, and may."""
    begun, go = threading.Event(), threading.Event()

    def waiting() -> int:
        begun.set()
        assert go.wait(10)
        return build()

    return waiting, begun, go


def test_who_wants_something_else_does_not_wait() -> None:
    kept: BuiltOnce[str, int] = BuiltOnce(4)
    slowly, begun, go = held(lambda: 1)
    with ThreadPoolExecutor(2) as pool:
        slow = pool.submit(kept.get, "slow", slowly)
        assert begun.wait(10)
        assert kept.get("fast", lambda: 2) == 2
        same = pool.submit(kept.get, "slow", lambda: 3)
        go.set()
        assert (slow.result(10), same.result(10)) == (1, 1)


def test_those_who_wait_for_what_fails_hear_of_it() -> None:
    kept: BuiltOnce[str, int] = BuiltOnce(4)

    def no_disk() -> int:
        raise OSError("no disk")

    fail, begun, go = held(no_disk)
    with ThreadPoolExecutor(2) as pool:
        first = pool.submit(kept.get, "a", fail)
        assert begun.wait(10)
        second = pool.submit(kept.get, "a", fail)
        go.set()
        for one in (first, second):
            with pytest.raises(OSError, match="no disk"):
                one.result(10)


def test_all_shipped_models_fit_at_once() -> None:
    ways = 2 * len(shipped_models())  # with and without expected errors
    assert min(MAX_NETWORKS, MAX_SESSIONS) >= ways
