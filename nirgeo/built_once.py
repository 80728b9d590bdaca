"""What takes a while to build, kept for all threads of the process: the last few of a kind."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Generic, TypeVar

Key = TypeVar("Key")
Built = TypeVar("Built")


class BuiltOnce(Generic[Key, Built]):
    """At most ``limit`` of them; the one that was built first goes first."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._kept: dict[Key, Built] = {}
        self._lock = threading.Lock()

    def get(self, key: Key, build: Callable[[], Built]) -> Built:
        """What ``key`` stands for, built now if it is not there; others wait meanwhile."""
        with self._lock:
            if key not in self._kept:
                built = build()
                while len(self._kept) >= self._limit:
                    self._kept.pop(next(iter(self._kept)))
                self._kept[key] = built
            return self._kept[key]
