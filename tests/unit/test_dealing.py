"""Which worker takes which chunks."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import dask
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nirgeo.dealing import Dealer
from nirgeo.errors import ClusterError
from nirgeo.pinned import GROUP, UNDER_WAY_PER_THREAD, Pinned
from nirgeo.sent import Done

CHUNKS = [(i, j) for i in range(6) for j in range(4)]


def test_one_worker_takes_all_in_order() -> None:
    dealer = Dealer(CHUNKS)
    taken = []
    while dealer.left:
        taken += dealer.take("a", 5)
    assert taken == CHUNKS
    assert dealer.take("a", 5) == []


def test_a_second_one_takes_the_further_half() -> None:
    dealer = Dealer(CHUNKS)
    assert dealer.take("a", 2) == CHUNKS[:2]
    assert dealer.take("b", 2) == CHUNKS[13:15]
    assert dealer.take("a", 2) == CHUNKS[2:4]
    assert dealer.take("c", 2) == CHUNKS[8:10]  # of a's nine, since b has but nine too
    assert dealer.left == len(CHUNKS) - 8


def test_what_is_given_back_is_dealt_again() -> None:
    dealer = Dealer(CHUNKS)
    dealer.take("a", 6)
    dealer.give_back(CHUNKS[:6])
    assert dealer.left == len(CHUNKS)
    assert dealer.take("b", 20) == CHUNKS[:6]
    assert dealer.take("a", 20) == CHUNKS[6:]
    assert dealer.left == 0


def test_what_a_lost_worker_leaves_is_taken() -> None:
    dealer = Dealer(CHUNKS)
    lost = dealer.take("lost", 1)
    left = []
    while chunks := dealer.take("other", 3):
        left += chunks
    assert sorted(lost + left) == CHUNKS
    assert dealer.left == 0


@given(
    st.lists(st.tuples(st.sampled_from(["a", "b", "c", None]), st.integers(1, 6))),
    st.integers(0, 40),
)
def test_every_chunk_is_dealt_once(takes: list[tuple[str | None, int]], count: int) -> None:
    chunks = [(0, k) for k in range(count)]
    dealer = Dealer(chunks)
    taken = [chunk for worker, most in takes for chunk in dealer.take(worker, most)]
    assert dealer.left == count - len(taken)
    while more := dealer.take("last", 7):
        taken += more
    assert sorted(taken) == chunks


# --- to the workers of a cluster ------------------------------------------------------------------


class Future:
    """A task of a cluster that is none."""

    def __init__(self, chunks: int) -> None:
        self.chunks, self.status = chunks, "finished"
        self.outcomes: list[Any] = []
        self.waited: list[float] = []

    def result(self, timeout: float) -> list[Any]:
        self.waited.append(timeout)
        if not self.outcomes:
            raise TimeoutError
        return self.outcomes


class Cluster:
    """What a client tells of workers, and what it is asked for."""

    def __init__(self, threads: Mapping[str, int]) -> None:
        self.workers: dict[str, dict[str, Any]] = {
            name: {"nthreads": count, "status": "running"} for name, count in threads.items()
        }
        self.cancelled: list[Future] = []
        self.asked: list[tuple[Any, Any]] = []

    def scheduler_info(self, n_workers: int) -> dict[str, Any]:
        assert n_workers == -1  # of all; else distributed tells of five
        return {"workers": self.workers}

    def nthreads(self) -> dict[str, int]:
        return {name: worker["nthreads"] for name, worker in self.workers.items()}

    def submit(self, function: Any, *, pure: bool, resources: Any, workers: Any) -> Future:
        assert not pure
        self.asked.append((workers, resources))
        return Future(len(function.args[0]))

    def cancel(self, futures: list[Future], *, force: bool) -> None:
        self.cancelled += futures


def dealt(cluster: Cluster, resources: Any = None) -> Pinned:
    own, blocks = {c: {} for c in CHUNKS}, {c: [] for c in CHUNKS}
    run = Pinned(cluster, own, blocks, resources, None, [])  # type: ignore[arg-type]
    run._deal()
    return run


def chunks_of(run: Pinned, worker: str | None) -> list[tuple[int, int]]:
    return [c for name, chunks in run._under_way.values() if name == worker for c in chunks]


def look_again(run: Pinned) -> None:
    run._workers = run._who_is_there()
    run._take_back()


def test_every_thread_has_work_and_some_that_waits() -> None:
    run = dealt(Cluster({"a": 1, "b": 3}))
    assert len(chunks_of(run, "a")) == UNDER_WAY_PER_THREAD
    assert len(chunks_of(run, "b")) == 3 * UNDER_WAY_PER_THREAD
    # There are no more tasks than chunks.
    run = dealt(Cluster({"a": len(CHUNKS)}))
    assert [len(chunks) for _, chunks in run._under_way.values()] == [1] * len(CHUNKS)


def test_where_not_every_worker_will_do_the_scheduler_chooses() -> None:
    for cluster, resources in ((Cluster({}), None), (Cluster({"a": 1, "b": 2}), {"GPU": 1})):
        run = dealt(cluster, resources)
        threads = max(1, sum(cluster.nthreads().values()))
        assert cluster.asked == [(None, resources)] * (threads * UNDER_WAY_PER_THREAD)
        # The scheduler sees to what its workers lose.
        cluster.workers.clear()
        look_again(run)
        assert len(chunks_of(run, None)) == threads * UNDER_WAY_PER_THREAD


def test_what_a_lost_worker_had_is_dealt_again() -> None:
    cluster = Cluster({"a": 1, "b": 1})
    run = dealt(cluster)
    lost = chunks_of(run, "a")
    left = run._dealer.left
    del cluster.workers["a"]
    look_again(run)
    assert chunks_of(run, "a") == []
    assert len(cluster.cancelled) == len(lost) == 2
    assert run._dealer.left == left + 2
    # Only of what it was at it may have died.
    assert dict(run._deaths) == {lost[0]: 1}
    look_again(run)
    assert dict(run._deaths) == {lost[0]: 1}


def test_a_worker_that_pauses_gives_back_what_it_had_and_is_not_dead() -> None:
    cluster = Cluster({"a": 1, "b": 1})
    run = dealt(cluster)
    left = run._dealer.left
    cluster.workers["a"]["status"] = "paused"
    look_again(run)
    assert chunks_of(run, "a") == []
    assert run._dealer.left == left + 2
    assert not run._deaths
    run._deal()
    assert chunks_of(run, "a") == []


def test_a_chunk_of_which_too_many_die_ends_the_run() -> None:
    run = dealt(Cluster({"a": 1}))
    with dask.config.set({"distributed.scheduler.allowed-failures": 2}):
        run._count_deaths([(0, 0), (0, 1)])
        run._count_deaths([(0, 0)])
        run._count_deaths([(0, 1), (0, 2)])
        with pytest.raises(ClusterError, match="3 workers died of the same chunk"):
            run._count_deaths([(0, 2), (0, 0)])


def test_a_task_that_takes_its_time_is_given_more_and_one_that_failed_is_not() -> None:
    run = dealt(Cluster({"a": 1}))
    future: Any = next(iter(run._under_way))
    for _ in range(3):
        assert list(run._outcomes(future)) == []
    assert future.waited[1:] == [2 * future.waited[0], 4 * future.waited[0]]
    assert future in run._under_way
    future.status = "error"  # a chunk may raise it too
    with pytest.raises(TimeoutError):
        list(run._outcomes(future))


@pytest.mark.parametrize("near", [True, False])
def test_of_chunks_that_are_not_sent_a_task_has_several(near: bool) -> None:
    run = dealt(Cluster({"a": 1}))
    future: Any = next(iter(run._under_way))
    (chunk,) = run._under_way[future][1]
    future.outcomes = [Done("there")] if near else [("pixels",)]
    assert list(run._outcomes(future)) == [(chunk, future.outcomes[0])]
    assert chunk not in run._own
    assert run._group == {"a": GROUP if near else 1}
    run._deal()
    *_, (_, chunks) = run._under_way.values()
    assert len(chunks) == (2 if near else 1)  # of 22 that are left
