"""Dask layers that remember what they stand for.

A DataArray made by :func:`nirgeo.open_scene` looks like any other. But a chunk colorized from it
needs a halo, and reading that halo straight from the file is far cheaper than assembling it from
neighbouring chunks. So its dask layer carries the scene it reads; slicing or computing with the
array gives it a new name and another layer, and then the array is treated as what it has become.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import dask.array as da
import numpy as np
from dask.highlevelgraph import HighLevelGraph, MaterializedLayer

from nirgeo.errors import GridError


class FactsLayer(MaterializedLayer):
    """A materialised layer with ``facts``: any value that says what its chunks are."""

    def __init__(self, mapping: Mapping[Any, Any], facts: Any) -> None:
        super().__init__(mapping)
        self.facts = facts


def array_from_tasks(
    name: str,
    tasks: Mapping[Any, Any],
    chunks: tuple[tuple[int, ...], ...],
    dtype: Any,
    *,
    facts: Any = None,
    dependencies: tuple[Any, ...] = (),
    more_layers: Mapping[str, Mapping[Any, Any]] | None = None,
) -> da.Array:
    """A dask array over ``tasks``, whose layer is named ``name`` and knows ``facts``.

    The order of ``tasks`` is kept: see :func:`keys_of`.

    ``more_layers`` are layers that ``tasks`` refer to by key; ``dependencies`` are dask collections
    that they (or ``tasks``) refer to.
    """
    layers: dict[str, Any] = dict(more_layers or {})
    needs: dict[str, set[str]] = {}
    outer: set[str] = set()
    for dependency in dependencies:
        layers |= dependency.dask.layers
        needs |= {k: set(v) for k, v in dependency.dask.dependencies.items()}
        outer |= set(dependency.__dask_layers__())
    for inner in more_layers or {}:
        needs[inner] = set(outer)
    layers[name] = FactsLayer(tasks, facts)
    needs[name] = set(more_layers or {}) or outer
    graph = HighLevelGraph(layers, needs)
    return da.Array(graph, name, chunks, meta=np.empty((0,) * len(chunks), dtype=dtype))


def refuse_unknown_chunks(array: da.Array) -> None:
    """
    Raises
    ------
    GridError : dask does not know how large the array's chunks are
    """
    if any(np.isnan(size) for sizes in array.chunks for size in sizes):
        raise GridError("the array has chunks of unknown size; call compute_chunk_sizes() first")


def facts_of(array: Any) -> Any:
    """The facts of the layer that makes ``array``, or None."""
    if not isinstance(array, da.Array):
        return None
    layer = getattr(array.dask, "layers", {}).get(array.name)
    return layer.facts if isinstance(layer, FactsLayer) else None


def keys_of(array: da.Array) -> list[Any] | None:
    """Keys of the array's chunks in the order in which they are best computed; None if unknown."""
    layer = getattr(array.dask, "layers", {}).get(array.name)
    return list(layer) if isinstance(layer, FactsLayer) else None
