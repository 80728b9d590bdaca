"""Chunks that need nothing of each other, on a cluster: every task goes to a worker that is told.

A chunk of a scene reads its own window, and its few steps are one task, or a part of one. Which
worker takes it is decided here and not by the scheduler, which does not know that neighbouring
chunks read the same blocks (:mod:`nirgeo.dealing`). So it is also seen to here that no worker is
left waiting, that those which are gone or pause give back what they had, and that a chunk of which
one worker after the other dies does not take all of them.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Any, TypeAlias
from weakref import WeakKeyDictionary

import dask

from nirgeo import gdal_settings
from nirgeo.dealing import Dealer
from nirgeo.errors import ClusterError
from nirgeo.pieces import Chunk
from nirgeo.sent import ChunkTask, Done, compute_chunks, versions_here

if TYPE_CHECKING:
    from distributed import Client, Future

UNDER_WAY_PER_THREAD = 2
"""Tasks per thread of the cluster: one that it computes, and one that waits or is on its way."""

GROUP = 4
"""Chunks of one task, where none is sent back."""

_ASK_SECONDS = 1.0
"""After which it is asked again who is there."""

Outcome: TypeAlias = "tuple[Any, ...] | Done"
Results: TypeAlias = Iterator[tuple[Chunk, Outcome]]

Worker: TypeAlias = "str | None"
"""A worker's address; None for whichever the scheduler chooses."""


class Pinned:
    """Has every chunk computed by one worker of a cluster, from its own piece of the graph.

    Parameters
    ----------
    own : every chunk's piece; what is done is taken out
    blocks : keys of every chunk's arrays, in the order in which they are best computed
    resources : what a chunk takes of a worker that has it
    there : see :func:`nirgeo.cluster.compute`
    left : holds what is under way, for the one who has to give it up
    """

    def __init__(
        self,
        client: Client,
        own: dict[Chunk, dict[Any, Any]],
        blocks: Mapping[Chunk, Sequence[Any]],
        resources: Mapping[str, float] | None,
        there: Callable[..., Any] | None,
        left: list[Future[Any]],
    ) -> None:
        self._client = client
        self._own = own
        self._blocks = blocks
        self._resources = resources
        self._there = there
        self._left = left
        self._surroundings = (
            gdal_settings.settings_here(),
            versions_here(),
            gdal_settings.cache_bytes(),
        )
        self._dealer = Dealer(blocks)
        self._under_way: dict[Future[Any], tuple[Worker, list[Chunk]]] = {}
        self._group: dict[Worker, int] = {}
        """Chunks that a worker is given at a time, of those that have finished any."""
        self._deaths: Counter[Chunk] = Counter()
        self._patience: WeakKeyDictionary[Future[Any], float] = WeakKeyDictionary()
        self._workers = self._who_is_there()
        self._asked = time.monotonic()

    def results(self) -> Results:
        """The outcome of every chunk, as they come.

        Raises
        ------
        ClusterError : workers die over and over of the same chunk
        """
        while self._dealer.left or self._under_way:
            if time.monotonic() - self._asked > _ASK_SECONDS:  # they come and go
                self._workers, self._asked = self._who_is_there(), time.monotonic()
                self._take_back()
            self._deal()
            self._left[:] = self._under_way
            for future in _finished(self._client, self._under_way):
                yield from self._outcomes(future)

    def _who_is_there(self) -> dict[Worker, int]:
        """How many threads each worker has that takes work.

        All as one where the scheduler must choose: while there is none, and where not all have what
        a chunk takes. One that is short of memory pauses, and begins nothing then.
        """
        threads: dict[Worker, int] = {
            address: int(worker["nthreads"])
            for address, worker in told_of(self._client).items()
            if worker.get("status", "running") == "running"
        }
        if self._resources or not threads:
            return {None: max(1, sum(threads.values()))}
        return threads

    def _take_back(self) -> None:
        """What workers have that are gone or pause is for the others."""
        lost: set[str] = set()
        for future, (worker, chunks) in list(self._under_way.items()):
            if worker is None or worker in self._workers:
                continue
            # Of one that is gone, and not just paused: its oldest task, which it was at.
            if worker not in lost and worker not in self._client.nthreads():
                self._count_deaths(chunks)
            lost.add(worker)
            self._client.cancel([future], force=True)
            del self._under_way[future]
            self._dealer.give_back(chunks)

    def _count_deaths(self, chunks: Sequence[Chunk]) -> None:
        """The scheduler's own count would begin anew with every worker that a chunk is given to."""
        self._deaths.update(chunks)
        allowed = int(dask.config.get("distributed.scheduler.allowed-failures", 3))
        if max(self._deaths[chunk] for chunk in chunks) > allowed:
            raise too_many_died(allowed + 1)

    def _deal(self) -> None:
        """Give every worker as much as it can have waiting."""
        busy = Counter(worker for worker, _ in self._under_way.values())
        # Less at a time towards the end, so that all end together.
        most = max(1, self._dealer.left // (8 * sum(self._workers.values())))
        # What all can begin with first, so that nobody waits while others have more than that.
        for each in range(1, UNDER_WAY_PER_THREAD + 1):
            for worker, threads in self._workers.items():
                while busy[worker] < each * threads:
                    chunks = self._dealer.take(worker, min(most, self._group.get(worker, 1)))
                    if not chunks:
                        break
                    self._under_way[self._submit(worker, chunks)] = worker, chunks
                    busy[worker] += 1

    def _submit(self, worker: Worker, chunks: Sequence[Chunk]) -> Future[Any]:
        there = self._there
        tasks = [
            ChunkTask(
                self._own[chunk],
                list(self._blocks[chunk]),
                None if there is None else partial(there, *chunk),
            )
            for chunk in chunks
        ]
        return self._client.submit(
            # Bound, not passed: distributed would look for tasks in what is passed.
            partial(compute_chunks, tasks, *self._surroundings),
            pure=False,  # a name of its own: a failure of an earlier run is not this one's
            resources=self._resources,
            workers=None if worker is None else [worker],
        )

    def _outcomes(self, future: Future[Any]) -> Results:
        """Of the chunks of a task; nothing if it takes its time and will be asked again."""
        patience = self._patience.get(future, _ASK_SECONDS)
        try:
            outcomes = future.result(timeout=patience)
        except TimeoutError:
            if future.status == "error":  # the chunk's own
                raise
            # Its worker may have died just now; or there is much to send, for another time.
            self._patience[future] = 2 * patience
            return
        worker, chunks = self._under_way.pop(future)
        for chunk, outcome in zip(chunks, outcomes, strict=True):
            del self._own[chunk]
            yield chunk, outcome
        # What is not sent needs no memory here; then fewer tasks are less work for everybody.
        near = all(isinstance(outcome, Done) for outcome in outcomes)
        self._group[worker] = GROUP if near else 1


def told_of(client: Client) -> Mapping[str, Mapping[str, Any]]:
    """What the scheduler says of every worker."""
    try:
        found: dict[str, dict[str, Any]] = client.scheduler_info(n_workers=-1)["workers"]
    except TypeError:  # of older versions, which tell of all
        found = client.scheduler_info()["workers"]
    return found


def too_many_died(count: int) -> ClusterError:
    """The error of a chunk that workers die of."""
    return ClusterError(
        f"{count} workers died of the same chunk, most likely of too little memory; give them "
        "more, or use smaller chunks (--chunk). What is done is kept: run again with --resume"
    )


def _finished(client: Client, futures: Iterable[Future[Any]]) -> list[Future[Any]]:
    """Those that are done, once there is one; none if that takes too long."""
    from distributed import wait

    with client.as_current(), suppress(TimeoutError):
        return list(wait(list(futures), _ASK_SECONDS, "FIRST_COMPLETED").done)
    return []
