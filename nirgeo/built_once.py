"""What takes a while to build, kept for all threads of the process: the last few of a kind."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable
from concurrent.futures import Future
from typing import Generic, TypeVar

Key = TypeVar("Key")
Built = TypeVar("Built")


class BuiltOnce(Generic[Key, Built]):
    """At most ``limit`` of them; the one that was not used for longest goes first."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._kept: OrderedDict[Key, Future[Built]] = OrderedDict()
        self._lock = threading.Lock()

    def get(self, key: Key, build: Callable[[], Built]) -> Built:
        """What ``key`` stands for, built now if it is not there; who wants the same waits, and
        nobody else."""
        with self._lock:
            known = self._kept.get(key)
            if known is not None:
                self._kept.move_to_end(key)
            else:
                mine: Future[Built] = Future()
                self._kept[key] = mine
                while len(self._kept) > self._limit:
                    self._kept.popitem(last=False)
        if known is not None:
            return known.result()
        try:
            mine.set_result(build())
        except BaseException as error:
            with self._lock:
                if self._kept.get(key) is mine:
                    del self._kept[key]
            mine.set_exception(error)
            raise
        return mine.result()
