"""Chunks in several processes of this machine, started for the purpose.

Threads of one process take turns with Python's lock, some thousand times for every chunk. Four of
them hardly notice; sixteen spend their time waiting. Processes have a lock each. But they take some
seconds to start, and memory of their own, so they are for large scenes on large machines.

A process gets recipes through a pipe, writes what it has computed into the store
(:mod:`nirgeo.nearby`), and tells. Each works through a part of the picture (:mod:`nirgeo.dealing`).
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from multiprocessing.connection import Connection, wait
from types import TracebackType
from typing import Any, Self

import cloudpickle

from nirgeo import handles, heap
from nirgeo.dealing import Dealer
from nirgeo.errors import ClusterError
from nirgeo.pieces import Chunk
from nirgeo.sent import ChunkTask, Done, compute_chunks, versions_here

_CANT_WRITE = ClusterError("a process can't write where this one keeps its chunks")

_LOADED = ["torch", "nirgeo.engine", "nirgeo.windowed"]
"""Modules that every process needs."""

AHEAD = 2
"""Chunks that a process has: one that it computes, and the next."""


class Processes:
    """A context: processes that are started when they are first needed, and end with it.

    Parameters
    ----------
    count : how many; as many as there are cores if it is None
    """

    def __init__(self, count: int | None = None) -> None:
        self.count = count or os.cpu_count() or 1
        self._members: list[_Member] = []

    def compute(
        self,
        own: Mapping[Chunk, Mapping[Any, Any]],
        blocks: Mapping[Chunk, Sequence[Any]],
        there: Callable[..., Any],
        done: Callable[[Any], None],
        report: Callable[[], None],
    ) -> None:
        """Compute the blocks of every chunk, and have them put where they belong.

        Parameters
        ----------
        own : every chunk's piece of the graph, see :func:`nirgeo.pieces.cut`
        blocks : keys of every chunk's arrays
        there : called with (i, j, *arrays) by the process that has computed them
        done : called with what that returned, of one chunk after the other, in this thread
        report : called after each

        Raises
        ------
        ClusterError : a process has died
        NirgeoError : whatever a chunk raises
        OSError : what ``there`` raises
        """
        settings, versions = handles.settings_here(), versions_here()
        cache = handles.cache_bytes()
        dealer = Dealer(blocks)
        self._start(min(self.count, len(blocks)))
        try:
            while dealer.left or any(member.under_way for member in self._members):
                for member in self._members:
                    while len(member.under_way) < AHEAD and (chunks := dealer.take(member.name, 1)):
                        (chunk,) = chunks
                        task = ChunkTask(own[chunk], list(blocks[chunk]), partial(there, *chunk))
                        member.send(chunk, ([task], settings, versions, cache))
                for member in self._ready():
                    done(member.receive())
                    report()
        except BaseException:
            self.close()  # what is under way is nobody's any more
            raise

    def _start(self, count: int) -> None:
        threads = max(1, (os.cpu_count() or 1) // self.count)
        while len(self._members) < count:
            self._members.append(_Member.started(len(self._members), threads))

    def _ready(self) -> list[_Member]:
        """Those that have something to tell; waits for the first."""
        busy = {member.connection: member for member in self._members if member.under_way}
        return [busy[connection] for connection in wait(list(busy))]  # type: ignore[index]

    def close(self) -> None:
        """End them, whatever they are doing."""
        for member in self._members:
            member.process.terminate()
        for member in self._members:
            member.process.join()
            member.connection.close()
        self._members.clear()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None
    ) -> None:
        self.close()


@dataclass
class _Member:
    """One process, and what it was given and has not told of yet, in order."""

    name: str
    process: Any
    connection: Connection
    under_way: deque[Chunk] = field(default_factory=deque)

    @classmethod
    def started(cls, number: int, threads: int) -> Self:
        context = _context()
        mine, its = context.Pipe()
        name = f"nirgeo-{number}"
        arguments = (its, threads, dict(os.environ))
        process = context.Process(target=_work, args=arguments, name=name, daemon=True)
        process.start()
        its.close()
        return cls(name, process, mine)

    def send(self, chunk: Chunk, work: tuple[Any, ...]) -> None:
        self.under_way.append(chunk)
        try:
            # A piece may hold functions that pickle alone can't send.
            self.connection.send_bytes(cloudpickle.dumps(work))
        except OSError as error:
            raise self._died() from error

    def receive(self) -> Any:
        """What became of the oldest chunk.

        Raises
        ------
        ClusterError : the process has died
        Whatever the chunk raised
        """
        try:
            outcome = self.connection.recv()
        except (EOFError, OSError) as error:
            raise self._died() from error
        if isinstance(outcome, BaseException):
            raise outcome
        self.under_way.popleft()
        return outcome

    def _died(self) -> ClusterError:
        self.process.join(timeout=5)
        return ClusterError(
            f"one of the processes died (exit code {self.process.exitcode}), most likely of too "
            "little memory; use fewer of them (--workers), or smaller chunks (--chunk). What is "
            "done is kept: run again with --resume"
        )


def _context() -> Any:
    """How processes are started: never as copies of this one, whose locks they would have too.

    On Linux they are copies of one that has loaded what all need and has done nothing with it yet:
    then that is loaded once, and lies in memory once.
    """
    if sys.platform != "linux":
        return multiprocessing.get_context("spawn")
    from multiprocessing import forkserver

    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(_LOADED)
    forkserver.ensure_running()
    context.set_forkserver_preload(["__main__"])  # Python's own default, for whoever starts others
    return context


def _work(connection: Connection, threads: int, environment: Mapping[str, str]) -> None:
    """What a process does until nobody is at the other end."""
    os.environ.update(environment)  # the one that it is a copy of may have begun long ago
    # Ctrl-C goes to all processes of a terminal; the one at the other end decides what it means.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    heap.keep_freed_memory()
    from nirgeo.inference import intra_op_threads

    with suppress(EOFError, OSError), intra_op_threads(threads):
        while True:
            work = cloudpickle.loads(connection.recv_bytes())
            try:
                (chunk,) = compute_chunks(*work)
                # Pixels are not for this pipe: both ends would wait for the other to read.
                outcome = chunk.outcome if isinstance(chunk, Done) else _CANT_WRITE
            except BaseException as error:
                outcome = _sendable(error)
            connection.send(outcome)


def _sendable(error: BaseException) -> BaseException:
    """The error, or what it says if it can't be sent."""
    try:
        cloudpickle.loads(cloudpickle.dumps(error))
    except Exception:
        return RuntimeError(f"{type(error).__name__}: {error}")
    return error
