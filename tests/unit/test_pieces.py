"""A graph by chunks: what each needs for itself, and what it shares with others."""

from __future__ import annotations

from typing import Any

from nirgeo import pieces


def up(*values: int) -> int:
    return sum(values) + 1


ALONE: dict[Any, Any] = {
    "a": (up, 1),
    ("x", 0, 0): (up, "a"),
    "b": (up, 5),
    ("x", 0, 1): (up, "b"),
}
SHARING: dict[Any, Any] = {
    "source": (up, 1),
    "opened": (up, "source"),
    "block": (up, "opened"),
    "own": (up, 7),
    ("x", 0, 0): (up, "block"),
    ("x", 0, 1): (up, "block", "own"),
    ("x", 1, 0): (up, "opened"),
}


def blocks_of(graph: dict[Any, Any]) -> dict[tuple[int, int], list[Any]]:
    return {key[1:]: [key] for key in graph if isinstance(key, tuple)}


def test_chunks_that_need_nothing_of_each_other_are_cut_apart() -> None:
    own = pieces.cut(ALONE, blocks_of(ALONE))
    assert own == {
        (0, 0): {"a": (up, 1), ("x", 0, 0): (up, "a")},
        (0, 1): {"b": (up, 5), ("x", 0, 1): (up, "b")},
    }
    assert pieces.run(own[0, 0], [("x", 0, 0)]) == (3,)
    assert pieces.shared(ALONE, blocks_of(ALONE)) == {(0, 0): [], (0, 1): []}


def test_of_what_chunks_share_the_last_task_of_a_chain_is_held() -> None:
    assert pieces.cut(SHARING, blocks_of(SHARING)) is None
    shared = pieces.shared(SHARING, blocks_of(SHARING))
    # "source" serves nobody but "opened", which serves a chunk that "block" does not.
    assert {chunk: set(keys) for chunk, keys in shared.items()} == {
        (0, 0): {"opened", "block"},
        (0, 1): {"opened", "block"},
        (1, 0): {"opened"},
    }
