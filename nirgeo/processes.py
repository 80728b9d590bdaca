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
import threading
import warnings
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from functools import partial
from multiprocessing.connection import Connection, wait
from types import TracebackType
from typing import Any, Self

import cloudpickle

from nirgeo import gdal_settings, heap
from nirgeo.cores import cores
from nirgeo.dealing import Dealer
from nirgeo.errors import ClusterError, OptionError
from nirgeo.given import check_workers
from nirgeo.pieces import Chunk
from nirgeo.sent import ChunkTask, Done, compute_chunks, versions_here

AHEAD = 2
"""Chunks that a process has: one that it computes, and the next."""

_LOADED = ["torch", "nirgeo.engine", "nirgeo.windowed"]
"""Modules that every process needs."""

_READY = "ready"
"""What a process says first."""

_END_SECONDS = 5.0
"""After which a process that was asked to end is made to."""

_MOST_ON_WINDOWS = 60
"""It waits for no more than 63 at a time."""

_OF_MEMORY = (-signal.SIGABRT, -9)
"""Exit codes of processes that get no more, or take more than the system allows."""

_CANT_WRITE = ClusterError("a process can't write where this one keeps its chunks")


class Processes:
    """A context: processes that are started when they are first needed, and end with it.

    Several threads may have them compute; they take turns.

    Parameters
    ----------
    count : how many; as many as there are cores if it is None

    Raises
    ------
    OptionError : it is less than one, or this process may start none
    """

    def __init__(self, count: int | None = None) -> None:
        check_workers(count)
        if multiprocessing.current_process().daemon:
            raise OptionError(
                "--scheduler processes: another process has started this one, which can start "
                "none itself. In a script, keep what calls nirgeo below if __name__ == '__main__':"
            )
        self.count = count or cores()
        if os.name == "nt":
            self.count = min(self.count, _MOST_ON_WINDOWS)
        self._members: list[_Member] = []
        self._lock = threading.Lock()

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
        ClusterError : a process has died, or can't be started
        NirgeoError : whatever a chunk raises
        OSError : what ``there`` raises
        """
        settings, versions = gdal_settings.settings_here(), versions_here()
        cache = gdal_settings.cache_bytes()
        dealer = Dealer(blocks)
        with self._lock:
            try:
                self._prepare(min(self.count, len(blocks)))
                while dealer.left or any(member.under_way for member in self._members):
                    for member in self._short_of_work():
                        if dealer.left:
                            (chunk,) = dealer.take(str(member.process.pid), 1)
                            ending = partial(there, *chunk)
                            task = ChunkTask(own[chunk], list(blocks[chunk]), ending)
                            member.send(chunk, ([task], settings, versions, cache))
                    for member in self._ready():
                        if member.hears_of_a_chunk():
                            done(member.outcome)
                            report()
            except BaseException:
                self._end()  # what is under way is nobody's any more
                raise

    def _prepare(self, count: int) -> None:
        """As many as that, and what is to hold for all of them now."""
        for member in [one for one in self._members if not one.process.is_alive()]:
            member.connection.close()  # killed while nobody needed it
            self._members.remove(member)
        try:
            with _undisturbed():
                context = _context()
                while len(self._members) < count:
                    self._members.append(_Member.started(context))
        except (OSError, EOFError) as error:
            raise ClusterError(
                f"--scheduler processes: they can't be started ({error}); use threads, or fewer of "
                "them (--workers)"
            ) from error
        threads = max(1, cores() // count)
        for member in self._members:
            member.send(None, (dict(os.environ), list(warnings.filters), threads))

    def _short_of_work(self) -> Iterator[_Member]:
        """Those that can take a chunk: first who has none, so that nobody waits for the last."""
        for count in range(AHEAD):
            yield from (one for one in self._members if len(one.under_way) == count)

    def _ready(self) -> list[_Member]:
        """Those that have something to tell; waits for the first."""
        busy = {member.connection: member for member in self._members if member.under_way}
        return [busy[connection] for connection in wait(list(busy))]  # type: ignore[index]

    def close(self) -> None:
        """End them, whatever they are doing."""
        with self._lock:
            self._end()

    def _end(self) -> None:
        for member in self._members:
            member.connection.close()
            member.process.terminate()
        for member in self._members:
            member.process.join(timeout=_END_SECONDS)
            member.process.kill()  # it may have been started by somebody who ignores SIGTERM
            member.process.join()
        self._members.clear()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None
    ) -> None:
        self.close()


@dataclass(eq=False)
class _Member:
    """One process, and what it was given and has not told of yet, in order."""

    process: Any
    connection: Connection
    under_way: deque[Chunk] = field(default_factory=deque)
    ready: bool = False
    outcome: Any = None

    @classmethod
    def started(cls, context: Any) -> Self:
        mine, its = context.Pipe()
        process = context.Process(target=_work, args=(its,), name="nirgeo", daemon=True)
        process.start()
        its.close()
        return cls(process, mine)

    def send(self, chunk: Chunk | None, work: tuple[Any, ...]) -> None:
        """A chunk and what to do with it; or, without one, what holds from now on."""
        if chunk is not None:
            self.under_way.append(chunk)
        # A piece may hold functions that pickle alone can't send.
        message = cloudpickle.dumps((chunk, work))
        try:
            self.connection.send_bytes(message)
        except OSError as error:
            raise self._died() from error

    def hears_of_a_chunk(self) -> bool:
        """Whether what there is to hear is of the oldest chunk: then ``outcome`` is what it became.

        Raises
        ------
        ClusterError : the process has died
        Whatever the chunk raised
        """
        try:
            message = self.connection.recv_bytes()
        except (EOFError, OSError) as error:
            raise self._died() from error
        chunk, self.outcome = cloudpickle.loads(message)
        if chunk is None and self.outcome == _READY:
            self.ready = True
            return False
        if isinstance(self.outcome, BaseException):
            raise self.outcome
        oldest = self.under_way.popleft()
        assert chunk == oldest
        return True

    def _died(self) -> ClusterError:
        self.process.join(timeout=5)
        code = self.process.exitcode
        if not self.ready and code not in _OF_MEMORY:
            return ClusterError(
                f"a process could not begin (exit code {code}). In a script, keep what calls "
                "nirgeo below if __name__ == '__main__': and in a file; or use threads"
            )
        why = "one of the processes died"
        if code in _OF_MEMORY:
            why += (
                ", most likely of too little memory; use fewer of them (--workers), or smaller "
                "chunks (--chunk)"
            )
        return ClusterError(
            f"{why} (exit code {code}). What is done is kept: run again with --resume"
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
    # Else it would load what lies in the current folder under such a name.
    safe = os.environ.get("PYTHONSAFEPATH")
    # Whoever uses such processes too has said what theirs are to load, or Python has.
    before = getattr(forkserver._forkserver, "_preload_modules", ["__main__"])
    os.environ["PYTHONSAFEPATH"] = "1"
    try:
        context.set_forkserver_preload(_LOADED)
        forkserver.ensure_running()
    finally:
        context.set_forkserver_preload(before)
        if safe is None:
            del os.environ["PYTHONSAFEPATH"]
        else:
            os.environ["PYTHONSAFEPATH"] = safe
    return context


@contextmanager
def _undisturbed() -> Iterator[None]:
    """What is started meanwhile never hears of Ctrl-C, which goes to all processes of a terminal.

    The process at the other end of the pipe decides what it means.
    """
    if not hasattr(signal, "pthread_sigmask"):  # Windows
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _work(connection: Connection) -> None:
    """What a process does until nobody is at the other end."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    heap.keep_freed_memory()
    with suppress(EOFError, OSError):
        connection.send_bytes(cloudpickle.dumps((None, _READY)))
        while True:
            answer = _answer(connection.recv_bytes())
            if answer is not None:
                connection.send_bytes(answer)


def _answer(message: bytes) -> bytes | None:
    """What to tell of a chunk; nothing of what is to hold from now on."""
    chunk = None
    try:
        chunk, work = cloudpickle.loads(message)
        if chunk is None:
            _adopt(*work)
            return None
        (result,) = compute_chunks(*work)
        # Pixels are not for this pipe: both ends would wait for the other to read.
        outcome = result.outcome if isinstance(result, Done) else _CANT_WRITE
    except BaseException as error:
        outcome = error
    try:
        message = bytes(cloudpickle.dumps((chunk, outcome)))
        cloudpickle.loads(message)  # of some errors only this fails
        return message
    except Exception:
        return bytes(
            cloudpickle.dumps((chunk, RuntimeError(f"{type(outcome).__name__}: {outcome}")))
        )


def _adopt(environment: Mapping[str, str], filters: Sequence[Any], threads: int) -> None:
    import torch

    os.environ.clear()
    os.environ.update(environment)
    warnings.resetwarnings()
    warnings.filters[:] = filters  # type: ignore[index]
    torch.set_num_threads(threads)
