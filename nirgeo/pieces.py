"""A picture's graph cut into one piece per chunk, so that a chunk is one task wherever it runs.

A chunk of a scene takes four steps: read and colorize, colours, mask, and keeping both. As four
tasks for each of ten thousand chunks they take dask many seconds to sort before the first pixel is
read; as one, less than two. Chunks of any other array need blocks of their neighbours, which must
be computed once: those graphs stay as they are.
"""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from dask.core import get, get_dependencies

Chunk = tuple[int, int]
Graph = Mapping[Any, Any]


def cut(graph: Graph, blocks: Mapping[Chunk, Sequence[Any]]) -> dict[Chunk, dict[Any, Any]] | None:
    """What every chunk needs of the graph, by chunk; None if two of them need the same.

    Parameters
    ----------
    graph : dask's, old or new tasks
    blocks : keys of every chunk's arrays
    """
    taken: set[Any] = set()
    pieces: dict[Chunk, dict[Any, Any]] = {}
    for chunk, keys in blocks.items():
        piece: dict[Any, Any] = {}
        wanted = list(keys)
        while wanted:
            key = wanted.pop()
            if key in piece:
                continue
            if key in taken:
                return None
            piece[key] = graph[key]
            wanted += get_dependencies(graph, key)
        taken.update(piece)
        pieces[chunk] = piece
    return pieces


def shared(graph: Graph, blocks: Mapping[Chunk, Sequence[Any]]) -> dict[Chunk, list[Any]]:
    """What every chunk needs of the graph that others need too, by chunk.

    Of a chain of tasks that the same chunks need only the last: with it the others are done with.
    """
    needs: dict[Any, list[Any]] = {}
    reached: dict[Chunk, set[Any]] = {}
    users: Counter[Any] = Counter()
    for chunk, keys in blocks.items():
        found: set[Any] = set()
        wanted = list(keys)
        while wanted:
            key = wanted.pop()
            if key in found:
                continue
            found.add(key)
            if key not in needs:
                needs[key] = list(get_dependencies(graph, key))
            wanted += needs[key]
        reached[chunk] = found
        users.update(found)
    ends = {near for key, nears in needs.items() for near in nears if users[near] > users[key]}
    return {chunk: [key for key in found if key in ends] for chunk, found in reached.items()}


def has_futures(graph: Graph) -> bool:
    """Whether some of it lies on a cluster already: an array that was persisted there."""
    return any(map(_is_future, graph.values()))


def fetched(graph: Graph) -> dict[Any, Any]:
    """The same with tasks that fetch what lies on a cluster."""
    return {key: (task.result,) if _is_future(task) else task for key, task in dict(graph).items()}


def _is_future(task: Any) -> bool:
    distributed = sys.modules.get("distributed")
    return distributed is not None and isinstance(task, distributed.Future)


def run(piece: Graph, keys: Sequence[Any]) -> tuple[Any, ...]:
    """The arrays of one chunk, computed here and now."""
    return tuple(get(piece, list(keys)))
