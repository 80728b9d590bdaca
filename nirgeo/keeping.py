"""Finished chunks become safe in groups: one thread that syncs, any number that go on computing.

Making a chunk safe takes two syncs, of its pixels and then of its line in the journal, and a disk
needs 30 to 80 ms for them: as long as a small chunk takes to compute. So pixels are written at
once, by whoever made them (:mod:`nirgeo.nearby`: other processes too), and a thread of its own
syncs all that have come in meanwhile, and only then writes their lines. What is in the journal is
on disk, as ever; a run that is killed loses the chunks of the last fraction of a second.
"""

from __future__ import annotations

import threading
from types import TracebackType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nirgeo.blockstore import BlockStore
from nirgeo.journal import Finished, Journal
from nirgeo.overviews import Overviews

MAX_WAITING = 64
"""Chunks written and not yet synced, before :meth:`Keeper.put` waits for the disk."""


def keep_chunk(
    store: BlockStore,
    overviews: Overviews | None,
    i: int,
    j: int,
    colours: NDArray[Any],
    valid: NDArray[np.bool_] | None = None,
) -> Finished:
    """Write chunk (i, j): colours (bands, h, w), and mask (h, w) if not all that is finite.

    It is safe when the store has been synced.

    Raises
    ------
    OSError : it can't be written
    """
    if colours.dtype.newbyteorder("<") != store.dtype:
        raise ValueError(f"chunk ({i}, {j}) is of {store.dtype}, got {colours.dtype}")
    if valid is None:
        finite = np.isfinite(colours).all(axis=0) if colours.dtype.kind == "f" else None
        valid = np.ones(colours.shape[1:], dtype=np.bool_) if finite is None else finite
    block = np.empty((len(colours) + 1, *colours.shape[1:]), dtype=colours.dtype)
    block[:-1] = colours
    np.multiply(valid, 255, out=block[-1], dtype=block.dtype)
    pixels = store.write(i, j, block, sync=False)
    _average(store, overviews, i, j, block)
    return Finished(i, j, int(valid.sum()), pixels)


def _average(
    store: BlockStore, overviews: Overviews | None, i: int, j: int, block: NDArray[Any]
) -> None:
    """Make chunk (i, j) part of the overviews, if they are made chunk by chunk."""
    if overviews is not None:
        window = store.grid.window(i, j)
        overviews.add(window.row, window.col, block)


class Keeper:
    """Takes finished chunks from any thread. A context: all are safe when it is left.

    ``kept`` is the number of chunks that are safe, ``valid`` the number of valid pixels of every
    chunk that was put.
    """

    def __init__(
        self, store: BlockStore, journal: Journal, overviews: Overviews | None = None
    ) -> None:
        self.kept = 0
        self.valid: dict[tuple[int, int], int] = {}
        self._store = store
        self._journal = journal
        self._overviews = overviews
        self._waiting: list[Finished] = []
        self._changed = threading.Condition()
        self._ending = False
        self._failure: BaseException | None = None
        self._thread = threading.Thread(target=self._keep, name="nirgeo-keeper", daemon=True)

    def put(
        self,
        i: int,
        j: int,
        colours: NDArray[Any],
        valid: NDArray[np.bool_] | None = None,
    ) -> None:
        """Write chunk (i, j); see :func:`keep_chunk`.

        Raises
        ------
        OSError : this chunk or an earlier one can't be written
        """
        self.written(keep_chunk(self._store, self._overviews, i, j, colours, valid))

    def written(self, chunk: Finished) -> None:
        """Take note of a chunk that stands in the store, and is not synced yet.

        Raises
        ------
        OSError : an earlier one can't be written
        """
        with self._changed:
            self._changed.wait_for(lambda: len(self._waiting) < MAX_WAITING or self._failure)
            if self._failure is not None:
                raise self._failure
            self._waiting.append(chunk)
            self.valid[chunk.i, chunk.j] = chunk.valid
            self._changed.notify_all()

    def recover(self, chunk: Finished) -> bool:
        """Take over a chunk of an earlier run; False if the disk no longer has it."""
        block = self._store.recovered(chunk.i, chunk.j, chunk.pixels)
        if block is not None:
            _average(self._store, self._overviews, chunk.i, chunk.j, block)
        return block is not None

    def __enter__(self) -> Keeper:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None
    ) -> None:
        with self._changed:
            self._ending = True
            self._changed.notify_all()
        self._thread.join()
        if error is None and self._failure is not None:
            raise self._failure

    def _keep(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._waiting or self._ending)
                group, self._waiting = self._waiting, []
                self._changed.notify_all()
            if not group:
                return
            try:
                self._store.sync()
                self._journal.done(group)
            except BaseException as error:
                with self._changed:
                    self._failure = error
                    self._changed.notify_all()
                return
            self.kept += len(group)
