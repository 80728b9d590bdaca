"""Chunks on a ``dask.distributed`` cluster: its workers read and compute, this process writes.

The task is the one that a thread of this process would run: a chunk's part of the picture's graph,
computed by one worker from the source to the colours. It is sent as a recipe of some ten kilobytes,
and only the finished chunk comes back. There are never more chunks under way than the cluster can
work on and a few that wait, so neither its memory nor this process's grows with the scene.

What is lost is computed again: a worker's chunks by the scheduler, a scheduler's by ``--resume``,
since this process keeps what has come back as every run does.
"""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from functools import cache, partial
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING, Any

import dask
import dask.optimization
import rasterio

from nirgeo import handles, pieces
from nirgeo._version import __version__
from nirgeo.errors import ClusterError, NirgeoError, OptionError
from nirgeo.pieces import Chunk, Graph

if TYPE_CHECKING:
    from distributed import Client, Future

CONNECT_SECONDS = 10.0
UNDER_WAY_PER_THREAD = 2
"""Chunks per thread of the cluster: one that it computes, and one that waits or is on its way."""

LOCAL = "threads"
"""The scheduler that is none: threads of this process, whatever client is active."""


@contextmanager
def connected(scheduler: str | Client | None) -> Iterator[Client | None]:
    """The client to compute with; None for the threads of this process.

    Parameters
    ----------
    scheduler : an address (``tcp://HOST:PORT``), the path of a scheduler file, a client,
        ``"threads"``, or None for the client that is active, if one is

    Raises
    ------
    OptionError : dask.distributed is not installed, or this is none of these
    ClusterError : there is no scheduler at the address
    """
    if scheduler is None:
        yield _active_client()
        return
    if not isinstance(scheduler, str):
        yield scheduler
        return
    if scheduler == LOCAL:
        yield None
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


def _active_client() -> Client | None:
    """The client that dask itself would compute with now."""
    module = sys.modules.get("distributed")
    chosen = dask.config.get("scheduler", None)
    if module is None or (chosen is not None and "distributed" not in str(chosen)):
        return None
    try:
        client: Client = module.Client.current()
    except ValueError:
        return None
    return client if client.status == "running" and not client.asynchronous else None


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
            f"--scheduler {scheduler}: neither an address such as tcp://HOST:8786 nor a scheduler "
            "file"
        )
    try:
        return client_class(**place, timeout=CONNECT_SECONDS, set_as_default=False)
    except (OSError, ValueError, TypeError) as error:  # TypeError: of an address's malformed port
        raise ClusterError(
            f"--scheduler {scheduler}: no dask scheduler answers there ({_short(error)}); start "
            "one with `dask scheduler`"
        ) from error


def describe(client: Client) -> str:
    """How large the cluster is, for people."""
    threads = client.nthreads()
    workers, total = len(threads), sum(threads.values())
    if not workers:
        return "cluster: no workers yet; waiting for the first"
    return f"cluster: {workers} workers, {total} threads"


def has_gpus(client: Client) -> bool:
    """Whether workers say that they have a GPU (``dask worker --resources "GPU=1"``)."""
    workers = client.scheduler_info()["workers"].values()
    return any("GPU" in (worker.get("resources") or {}) for worker in workers)


def compute(
    client: Client,
    graph: Graph,
    blocks: Mapping[Chunk, Sequence[Any]],
    take: Callable[..., None],
    report: Callable[[], None],
    *,
    on_gpu: bool = False,
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

    Raises
    ------
    ClusterError : the scheduler is gone, workers die over and over, or are of another version
    NirgeoError : whatever a chunk raises
    """
    from distributed import as_completed

    resources = {"GPU": 1} if on_gpu and has_gpus(client) else None
    submit = _submitter(client, graph, blocks, resources)
    waiting = iter(blocks)
    under_way: dict[Future[Any], Chunk] = {}
    parts: dict[Chunk, list[Future[Any]]] = {}
    completed = as_completed(loop=client.loop)
    left = len(blocks)
    try:
        while left:
            room = _room(client) - len(under_way)
            # In groups: a graph costs the scheduler less than its tasks one by one.
            if room > 0 and (not under_way or room >= len(under_way) // 4):
                chunks = [chunk for _, chunk in zip(range(room), waiting, strict=False)]
                for chunk, futures in submit(chunks).items():
                    parts[chunk] = futures
                    under_way[futures[0]] = chunk
                    completed.add(futures[0])
            future = next(completed)
            chunk = under_way.pop(future)
            arrays = client.gather(parts.pop(chunk))
            take(*chunk, *(arrays[0] if len(arrays) == 1 else arrays))
            left -= 1
            report()
    except BaseException as error:
        _give_up(client, parts)
        said = _explained(error, client)
        if said is error:
            raise
        raise said from error


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
        _give_up(client, {(0, 0): list(names)})
        said = _explained(error, client)
        if said is error:
            raise
        raise said from error


def _room(client: Client) -> int:
    """How many chunks may be under way; workers come and go."""
    return UNDER_WAY_PER_THREAD * max(1, sum(client.nthreads().values())) + 1


def _give_up(client: Client, parts: Mapping[Chunk, Iterable[Future[Any]]]) -> None:
    left = [future for futures in parts.values() for future in futures]
    if left and client.status == "running":
        with suppress(Exception):
            client.cancel(left, force=True)


Submit = Callable[[Sequence[Chunk]], dict[Chunk, "list[Future[Any]]"]]


def _submitter(
    client: Client,
    graph: Graph,
    blocks: Mapping[Chunk, Sequence[Any]],
    resources: Mapping[str, float] | None,
) -> Submit:
    """How chunks are sent: each as one task if they share nothing, else as the graph has them.

    A chunk of a scene reads its own window, and its few steps are one task for one worker. Chunks
    of any other array need each other's blocks for their halo, and these are computed once.
    """
    own = pieces.cut(graph, blocks)
    settings, versions = handles.settings_here(), _versions()
    cache = handles.cache_bytes()

    def one_task_each(chunks: Sequence[Chunk]) -> dict[Chunk, list[Future[Any]]]:
        assert own is not None
        sent = {}
        for chunk in chunks:
            keys = list(blocks[chunk])
            sent[chunk] = [
                client.submit(
                    # Bound, not passed: distributed would look for tasks in what is passed.
                    partial(compute_chunk, own.pop(chunk), keys, settings, versions, cache),
                    pure=False,  # a name of its own: a failure of an earlier run is not this one's
                    resources=resources,
                )
            ]
        return sent

    def as_graph(chunks: Sequence[Chunk]) -> dict[Chunk, list[Future[Any]]]:
        keys = [list(blocks[chunk]) for chunk in chunks]
        needed, _ = dask.optimization.cull(graph, keys)
        futures = client.get(needed, keys, sync=False, resources=resources)
        return dict(zip(chunks, futures, strict=True))

    return as_graph if own is None else one_task_each


def compute_chunk(
    piece: Graph,
    keys: Sequence[Any],
    settings: Mapping[str, Any],
    versions: Mapping[str, str],
    cache: int,
) -> tuple[Any, ...]:
    """On a worker: the arrays of one chunk, with the caller's GDAL settings and size of cache.

    Raises
    ------
    ClusterError : other versions here could make other pixels
    NirgeoError : what the chunk raises
    """
    here = _versions()
    if here != versions:
        wanted = ", ".join(f"{name} {number}" for name, number in versions.items())
        found = ", ".join(f"{name} {number}" for name, number in here.items())
        raise ClusterError(f"a worker runs {found}, this process {wanted}; install the same on all")

    def run() -> tuple[Any, ...]:
        with rasterio.Env(**settings), handles.cache_of(cache), handles.bounded_cache():
            return pieces.run(piece, keys)

    return bare(run)


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
def _versions() -> dict[str, str]:
    """What makes the pixels. Read once: torch's own description of itself has hundreds of lines."""
    found = {"nirgeo": __version__, "torch": version("torch")}
    with suppress(PackageNotFoundError):  # an extra
        found["onnxruntime"] = version("onnxruntime")
    return found


def _explained(error: BaseException, client: Client) -> BaseException:
    """What to raise for a failure: of the cluster, of a chunk, or of this process itself."""
    from distributed import CancelledError, KilledWorker
    from distributed.comm.core import CommClosedError

    if isinstance(error, NirgeoError) or not isinstance(error, Exception):
        return error
    if isinstance(error, KilledWorker):
        return ClusterError(
            f"{error.allowed_failures + 1} workers died of the same chunk, most likely of too "
            "little memory; give them more, or use smaller chunks (--chunk). What is done is kept: "
            "run again with --resume"
        )
    if client.status != "running" or isinstance(error, (CancelledError, CommClosedError)):
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


def _short(error: BaseException) -> str:
    text = " ".join(f"{type(error).__name__}: {error}".split())
    return text if len(text) <= 160 else text[:159] + "…"
