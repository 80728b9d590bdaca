"""Chunks that another process computes: what is sent to it, and what comes back.

A chunk is sent as its piece of the picture's graph (:mod:`nirgeo.pieces`): a recipe of some ten
kilobytes, from the source's path to the colours.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from nirgeo import gdal_settings, pieces
from nirgeo._version import __version__
from nirgeo.errors import ClusterError, NirgeoError
from nirgeo.pieces import Graph


@dataclass(frozen=True)
class Done:
    """What has become of a chunk over there, in place of its arrays."""

    outcome: Any


@dataclass(frozen=True)
class ChunkTask:
    """One chunk for another process: its piece of the graph, and the keys of its arrays.

    ``there`` is called with these arrays where they were computed. What it returns is sent in their
    place, unless it is None.
    """

    piece: Graph
    keys: Sequence[Any]
    there: Callable[..., Any] | None = None


def compute_chunks(
    tasks: Sequence[ChunkTask],
    settings: Mapping[str, Any],
    versions: Mapping[str, str],
    cache: int,
) -> list[tuple[Any, ...] | Done]:
    """Over there: the arrays of every chunk, with the sender's GDAL settings and size of cache.

    Or what the task's ``there`` has made of them, if that is anything.

    Raises
    ------
    ClusterError : other versions here could make other pixels
    NirgeoError : what a chunk raises
    OSError : what ``there`` raises
    """
    refuse_other_versions(versions)
    with (
        gdal_settings.settings_from(settings),
        gdal_settings.cache_of(cache),
        gdal_settings.bounded_cache(),
    ):
        return [_computed(task) for task in tasks]


def refuse_other_versions(versions: Mapping[str, str]) -> None:
    """``versions`` are the sender's.

    Raises
    ------
    ClusterError : other versions here could make other pixels
    """
    here = versions_here()
    if here != versions:
        wanted = ", ".join(f"{name} {number}" for name, number in versions.items())
        found = ", ".join(f"{name} {number}" for name, number in here.items())
        raise ClusterError(f"a worker runs {found}, this process {wanted}; install the same on all")


def _computed(task: ChunkTask) -> tuple[Any, ...] | Done:
    arrays: tuple[Any, ...] = bare(lambda: pieces.run(task.piece, task.keys))
    outcome = None if task.there is None else task.there(*arrays)
    return arrays if outcome is None else Done(outcome)


def bare(run: Callable[[], Any]) -> Any:
    """What ``run`` returns or raises; its errors without their causes.

    GDAL's errors can't be pickled, and distributed would send a text instead of what they caused.
    """
    failure = None
    try:
        return run()
    except NirgeoError as error:
        failure = type(error)(*error.args)
    raise failure


@cache
def versions_here() -> dict[str, str]:
    """What makes the pixels. Read once: torch's own description of itself has hundreds of lines."""
    found = {"nirgeo": __version__, "torch": version("torch")}
    with suppress(PackageNotFoundError):  # an extra
        found["onnxruntime"] = version("onnxruntime")
    return found
