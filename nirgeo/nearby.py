"""Chunks that another process on the writer's own machine puts into the store itself.

Every chunk has its place in the store before it is computed, so any process that has the file can
write it there. A cluster's worker on the machine of the process that makes the file does so, as
:mod:`nirgeo.processes` do, and sends back what the journal is to say. That process need not
receive, unpack and write the pixels of all workers then.

Only on the same machine: a network's file systems keep pages of their own on each, and two that
write neighbouring bytes may undo each other's. A worker elsewhere, or one that may not write there,
sends its pixels.
"""

from __future__ import annotations

import platform
import secrets
import uuid
from contextlib import ExitStack
from dataclasses import dataclass
from functools import cache, lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nirgeo.blockstore import BlockStore
from nirgeo.journal import Finished
from nirgeo.keeping import keep_chunk
from nirgeo.overviews import Overviews
from nirgeo.tiling import ChunkGrid

_NAME = "writer"
"""A file beside the store. What it holds tells this run's folder from any other of that path."""


@dataclass(frozen=True)
class Storage:
    """The files of a run in the making, as a value that can be sent to those who may have them."""

    folder: str
    token: str
    machine: str
    grid: ChunkGrid
    samples: int
    dtype: str
    levels: int | None
    """How many overviews are made from the chunks; None if GDAL makes them."""
    resumed: bool

    def keep(
        self, i: int, j: int, colours: NDArray[Any], valid: NDArray[np.bool_] | None = None
    ) -> Finished | None:
        """See :func:`nirgeo.keeping.keep_chunk`; None if this process is not the one to do it.

        Raises
        ------
        OSError : the disk is full, or fails
        """
        if self.machine != machine():
            return None
        store, overviews = _files(self)
        with ExitStack() as stack:
            try:
                # Anew for each chunk: a worker that holds a file keeps its space on the disk after
                # everybody else has done with it.
                store = stack.enter_context(store.attached())
                if overviews is not None:
                    overviews = stack.enter_context(overviews.attached())
            except OSError:
                return None
            # The word is gone before a folder gets another store, so what is open is this run's.
            if not self._is_there():
                return None
            return keep_chunk(store, overviews, i, j, colours, valid)

    def _is_there(self) -> bool:
        try:
            return Path(self.folder, _NAME).read_text(encoding="ascii") == self.token
        except (OSError, ValueError):
            return False


def offer(folder: Path, store: BlockStore, overviews: Overviews | None) -> Storage:
    """The files of a run that begins now, for its workers."""
    token = secrets.token_hex(16)
    (folder / _NAME).write_text(token, encoding="ascii")
    return Storage(
        str(folder.absolute()),
        token,
        machine(),
        store.grid,
        store.samples,
        store.dtype.str,
        None if overviews is None else len(overviews.levels),
        store.resumed,
    )


@lru_cache(maxsize=1)
def _files(storage: Storage) -> tuple[BlockStore, Overviews | None]:
    """None of them open. Kept for the next chunk, since a large file's layout takes a while."""
    folder = Path(storage.folder)
    store = BlockStore(folder / BlockStore.NAME, storage.grid, storage.samples, storage.dtype)
    store.resumed = storage.resumed
    if storage.levels is None:
        return store, None
    return store, Overviews(folder, storage.grid, storage.samples, storage.dtype, storage.levels)


@cache
def machine() -> str:
    """Tells this machine, since it was started, from others; its containers from each other too."""
    try:
        started = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
    except (OSError, ValueError):  # not Linux
        started = str(uuid.getnode())
    return f"{platform.node()} {started}"
