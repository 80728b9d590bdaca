"""Chunks on a ``dask.distributed`` cluster: its workers read and compute, this process writes.

The task is the one that a thread of this process would run: a chunk's part of the picture's graph,
computed by one worker from the source to the colours. It is sent as a recipe of some ten kilobytes,
and only the finished chunk comes back; not even that from a worker on this machine, which puts it
where this process would (:mod:`nirgeo.nearby`). There are never more chunks under way than the
cluster can work on and a few that wait, so neither its memory nor this process's grows with the
scene.

What is lost is computed again: a worker's chunks by the others, a scheduler's by ``--resume``,
since this process keeps what has come back as every run does.
"""

from __future__ import annotations

import logging
import os
import sys
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from functools import partial
from typing import TYPE_CHECKING, Any

import dask
import dask.optimization

from nirgeo import pieces
from nirgeo._version import __version__
from nirgeo.errors import ClusterError, NirgeoError, OptionError
from nirgeo.pieces import Chunk, Graph
from nirgeo.pinned import UNDER_WAY_PER_THREAD, Pinned, Results, told_of, too_many_died
from nirgeo.processes import Processes
from nirgeo.sent import Done

if TYPE_CHECKING:
    from distributed import Client, Future

CONNECT_SECONDS = 10.0
LOCAL = "threads"
"""The scheduler that is none: threads of this process, whatever client is active."""

PROCESSES = "processes"
"""The scheduler that is this process, for processes that it starts."""


@contextmanager
def connected(
    scheduler: str | os.PathLike[str] | Client | Processes | None, workers: int | None = None
) -> Iterator[Client | Processes | None]:
    """Who computes; None for the threads of this process.

    Parameters
    ----------
    scheduler : an address (``tcp://HOST:PORT``), the path of a scheduler file, a client that is not
        asynchronous, ``"threads"``, ``"processes"``, or None for the client that is active, if one
        is
    workers : how many processes, if it is them

    Raises
    ------
    OptionError : dask.distributed is not installed, or this is none of these
    ClusterError : there is no scheduler at the address
    """
    if scheduler is None:
        yield _active_client()
        return
    if isinstance(scheduler, os.PathLike):
        scheduler = os.fspath(scheduler)
    if not isinstance(scheduler, str):
        if not isinstance(scheduler, Processes):
            _refuse_no_client(scheduler)
        yield scheduler
        return
    if scheduler == LOCAL:
        yield None
        return
    if scheduler == PROCESSES:
        with Processes(workers) as processes:
            yield processes
        return
    client_class = _client_class(scheduler)
    with _quiet():
        client = _connect(scheduler, client_class)
        try:
            yield client
        finally:
            with suppress(Exception):  # it may be gone; what matters was said already
                client.close(timeout=2)


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep the tracebacks of a connection's end off the terminal; an error tells of it."""
    heard = list(logging.getLogger("distributed").handlers)
    for handler in heard:
        handler.addFilter(_nothing)
    try:
        yield
    finally:
        for handler in heard:
            handler.removeFilter(_nothing)


def _nothing(_: logging.LogRecord) -> bool:
    return False


def in_a_task() -> bool:
    """Whether this thread is a worker's, and at a task."""
    if "distributed" not in sys.modules:
        return False
    from distributed.utils import thread_state  # type: ignore[attr-defined]

    return hasattr(thread_state, "key")


def _active_client() -> Client | None:
    """The client that dask itself would compute with now.

    Not a worker's own while it runs a task: the task would wait for the thread that it holds.
    (``worker_client`` gives that thread back.)
    """
    module = sys.modules.get("distributed")
    if module is not None:
        import distributed as module  # which another thread may be at
    if module is not None and getattr(module.threadpoolexecutor.thread_state, "proceed", False):
        return None
    chosen = dask.config.get("scheduler", None)
    if module is None or (chosen is not None and "distributed" not in str(chosen)):
        return None
    try:
        client: Client = module.Client.current()
    except ValueError:
        return None
    return client if client.status == "running" and not client.asynchronous else None


def _refuse_no_client(given: Any) -> None:
    """
    Raises
    ------
    OptionError : it can't be waited for
    """
    if not hasattr(given, "scheduler_info") or not hasattr(given, "submit"):
        raise OptionError(f"scheduler: a {type(given).__name__} is no client; give Client(it)")
    if given.asynchronous:
        raise OptionError(
            "scheduler: an asynchronous client can't be waited for; give the scheduler's address"
        )


def _client_class(scheduler: str) -> type[Client]:
    try:
        from distributed import Client
    except ImportError as error:
        raise OptionError(
            f"--scheduler {scheduler}: needs dask.distributed; pip install 'nirgeo[distributed]'"
        ) from error
    return Client


def _connect(scheduler: str, client_class: type[Client]) -> Client:
    place: dict[str, Any] = {"address": scheduler}
    if os.path.isfile(scheduler):
        place = {"scheduler_file": scheduler}
    elif "://" not in scheduler:
        raise OptionError(
            f"--scheduler {scheduler}: neither an address such as tcp://HOST:8786, nor a "
            "scheduler file, nor 'processes'"
        )
    else:
        _refuse_address(scheduler)
    try:
        return client_class(**place, timeout=CONNECT_SECONDS, set_as_default=False)
    except (OSError, ValueError, TypeError) as error:
        raise ClusterError(
            f"--scheduler {scheduler}: no dask scheduler answers there ({_short(error)}); start "
            "one with `dask scheduler`"
        ) from error


def _refuse_address(scheduler: str) -> None:
    """What dask finds out when its client is half made, which then tries to close for a while.

    Raises
    ------
    OptionError : no address, or one of TLS where dask knows no certificates
    """
    from distributed.comm.addressing import parse_address, parse_host_port
    from distributed.comm.registry import get_backend
    from distributed.security import Security

    try:
        scheme, place = parse_address(scheduler, strict=True)
        get_backend(scheme)
        if scheme != "inproc":
            parse_host_port(place)
    except ValueError as error:
        raise OptionError(
            f"--scheduler {scheduler}: not an address such as tcp://HOST:8786 ({error})"
        ) from error
    if scheme == "tls" and Security().get_connection_args("client").get("ssl_context") is None:
        raise OptionError(
            f"--scheduler {scheduler}: dask knows no certificates to sign in with; name them in "
            "its configuration (distributed.comm.tls), or give a scheduler's client"
        )


def describe(client: Client | Processes) -> str:
    """How large the cluster is, for people."""
    if isinstance(client, Processes):
        return f"processes: {client.count}"
    threads = client.nthreads()
    workers, total = len(threads), sum(threads.values())
    if not workers:
        return "cluster: no workers yet; waiting for the first"
    return f"cluster: {workers} workers, {total} threads"


def has_gpus(client: Client) -> bool:
    """Whether workers say that they have a GPU (``dask worker --resources "GPU=1"``)."""
    return any("GPU" in (worker.get("resources") or {}) for worker in told_of(client).values())


def compute(
    client: Client,
    graph: Graph,
    blocks: Mapping[Chunk, Sequence[Any]],
    take: Callable[..., None],
    report: Callable[[], None],
    *,
    on_gpu: bool = False,
    there: Callable[..., Any] | None = None,
    done: Callable[[Any], None] | None = None,
) -> None:
    """Compute the blocks of every chunk on the cluster and hand them over as they come.

    Parameters
    ----------
    graph : the picture's, with everything that ``blocks`` refer to
    blocks : keys of every chunk's arrays
    take : called with (i, j, *arrays) of one chunk after the other, in this thread
    report : called after each
    on_gpu : a chunk takes the GPU of a worker that says it has one; such a worker runs one at a
        time, and so holds one model
    there : called with (i, j, *arrays) on the worker that has computed them, if chunks need nothing
        of each other. What it returns is sent in place of the arrays, unless it is None
    done : called with that, in place of ``take``

    Raises
    ------
    ClusterError : the scheduler is gone, workers die over and over, or are of another version
    OSError : what ``there`` raises
    NirgeoError : whatever a chunk raises
    """
    resources = {"GPU": 1} if on_gpu and has_gpus(client) else None
    left: list[Future[Any]] = []
    own = None if pieces.has_futures(graph) else pieces.cut(graph, blocks)
    try:
        if own is None:
            results = _together(client, graph, blocks, resources, left)
        else:
            results = Pinned(client, own, blocks, resources, there, left).results()
        for chunk, arrays in results:
            if isinstance(arrays, Done):
                assert done is not None
                if (arrays.outcome.i, arrays.outcome.j) != chunk:
                    raise ClusterError(f"a worker that was asked for chunk {chunk} did another")
                done(arrays.outcome)
            else:
                take(*chunk, *arrays)
            report()
    except BaseException as error:
        _give_up(client, left)
        said = _explained(error, client)
        if said is error:
            raise
        raise said from error


def _together(
    client: Client,
    graph: Graph,
    blocks: Mapping[Chunk, Sequence[Any]],
    resources: Mapping[str, float] | None,
    left: list[Future[Any]],
) -> Results:
    """Chunks that need each other's blocks, which are computed once: as the graph has them.

    ``left`` holds what is under way. What several chunks need is held until the last of them has
    it: the scheduler forgets, and computes again, what nobody asks for at the moment.
    """
    from distributed import as_completed

    needs = pieces.shared(graph, blocks)
    users = Counter(key for keys in needs.values() for key in keys)
    held: dict[Any, Future[Any]] = {}
    waiting = iter(blocks)
    under_way: dict[Future[Any], tuple[Chunk, list[Future[Any]]]] = {}
    completed = as_completed(loop=client.loop)
    for _ in blocks:
        threads = sum(client.nthreads().values())
        room = UNDER_WAY_PER_THREAD * max(1, threads) + 1 - len(under_way)
        # In groups: a graph costs the scheduler less than its tasks one by one.
        if room > 0 and (not under_way or room >= len(under_way) // 4):
            chunks = [chunk for _, chunk in zip(range(room), waiting, strict=False)]
            keys = [list(blocks[chunk]) for chunk in chunks]
            new = [*dict.fromkeys(k for c in chunks for k in needs[c] if k not in held)]
            needed, _ = dask.optimization.cull(graph, [*keys, *new])
            sent = client.get(needed, [*keys, *new], sync=False, resources=resources)
            held.update(zip(new, sent[len(keys) :], strict=True))
            for chunk, futures in zip(chunks, sent, strict=False):
                under_way[futures[0]] = chunk, futures
                completed.add(futures[0])
        left[:] = [future for _, futures in under_way.values() for future in futures]
        left += held.values()
        chunk, futures = under_way.pop(next(completed))
        yield chunk, client.gather(futures)
        for key in needs[chunk]:
            users[key] -= 1
            if not users[key]:
                del held[key]


def each(
    client: Client,
    function: Callable[..., Any],
    tasks: Mapping[str, Any],
    shared: tuple[Any, ...],
    *,
    on_gpu: bool = False,
) -> Iterator[tuple[str, Any]]:
    """``function(task, *shared)`` for every task on some worker: (name, what it returned).

    As they come. What a task raised of nirgeo's own errors takes the place of what it returned.

    Raises
    ------
    ClusterError : the scheduler is gone, or can't do the work
    """
    from distributed import as_completed

    resources = {"GPU": 1} if on_gpu and has_gpus(client) else None
    names: dict[Future[Any], str] = {}
    try:
        for name, task in tasks.items():
            future = client.submit(
                partial(function, task, *shared), pure=False, resources=resources
            )
            names[future] = name
        for future in as_completed(list(names), loop=client.loop):
            name = names.pop(future)
            try:
                outcome = future.result()
            except NirgeoError as error:
                if isinstance(error, ClusterError):
                    raise
                outcome = error
            yield name, outcome
    except BaseException as error:
        _give_up(client, list(names))
        said = _explained(error, client)
        if said is error:
            raise
        raise said from error


def _give_up(client: Client, left: Sequence[Future[Any]]) -> None:
    if left and client.status == "running":
        with suppress(Exception):
            client.cancel(list(left), force=True)


def _explained(error: BaseException, client: Client) -> BaseException:
    """What to raise for a failure: of the cluster, of a chunk, or of this process itself."""
    from distributed import CancelledError, KilledWorker
    from distributed.comm.core import CommClosedError

    if isinstance(error, NirgeoError) or not isinstance(error, Exception):
        return error
    if isinstance(error, KilledWorker):
        return too_many_died(error.allowed_failures + 1)
    cancelled = isinstance(error, CancelledError)
    if cancelled and _answers(client):
        return ClusterError(
            "the work was cancelled on the cluster, by its restart or by another client. What is "
            "done is kept: run again with --resume"
        )
    if client.status != "running" or cancelled or isinstance(error, CommClosedError):
        address = getattr(client.scheduler, "address", None) or "the cluster"
        return ClusterError(
            f"the scheduler at {address} is gone. What is done is kept: run again with --resume"
        )
    if isinstance(error, ImportError) or "deserializ" in str(error):
        return ClusterError(
            f"the cluster can't run nirgeo ({_short(error)}); install nirgeo {__version__} on its "
            "scheduler and workers"
        )
    return error


def _answers(client: Client) -> bool:
    """Whether the scheduler is still there; work is cancelled where it is not, too."""
    try:
        client.sync(client.scheduler.identity, callback_timeout=3)  # type: ignore[union-attr]
    except Exception:
        return False
    return bool(client.status == "running")


def _short(error: BaseException) -> str:
    text = " ".join(f"{type(error).__name__}: {error}".split())
    return text if len(text) <= 160 else text[:159] + "…"
