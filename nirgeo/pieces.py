"""A picture's graph cut into one piece per chunk, so that a chunk is one task wherever it runs.

A chunk of a scene takes four steps: read and colorize, colours, mask, and keeping both. As four
tasks for each of ten thousand chunks they take dask many seconds to sort before the first pixel is
read; as one, less than two. Chunks of any other array need blocks of their neighbours, which must
be computed once: those graphs stay as they are.
"""

from __future__ import annotations

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


def run(piece: Graph, keys: Sequence[Any]) -> tuple[Any, ...]:
    """The arrays of one chunk, computed here and now."""
    return tuple(get(piece, list(keys)))
