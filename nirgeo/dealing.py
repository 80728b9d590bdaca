"""Which worker of a cluster takes which chunks next: neighbours of those it had.

Neighbours lie in the same blocks of the scene's file, which a worker then has decoded already. So
each works through a part of the picture from its beginning on. One that comes new, or has finished
its part, takes the further half of the longest that is left; so nobody waits for a slow one, and
what a lost worker has left is taken by the others.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable

from nirgeo.pieces import Chunk


class Dealer:
    """Deals chunks. ``left`` is the number of those that nobody has taken."""

    def __init__(self, chunks: Iterable[Chunk]) -> None:
        self._spare = deque(chunks)
        self._parts: dict[str | None, deque[Chunk]] = {}
        self.left = len(self._spare)

    def take(self, worker: str | None, most: int) -> list[Chunk]:
        """The next chunks for a worker, ``most`` of them at most; none if none are left."""
        part = self._parts.get(worker)
        if not part:
            part = self._parts[worker] = self._more()
        taken = [part.popleft() for _ in range(min(most, len(part)))]
        self.left -= len(taken)
        return taken

    def give_back(self, chunks: Iterable[Chunk]) -> None:
        """Chunks that somebody took and did not finish. Whoever needs a part next gets them."""
        given = list(chunks)
        self._spare.extend(given)
        self.left += len(given)

    def _more(self) -> deque[Chunk]:
        """What nobody has, or the further half of the longest part."""
        if self._spare or not self._parts:
            spare, self._spare = self._spare, deque()
            return spare
        longest = max(self._parts.values(), key=len)
        half = [longest.pop() for _ in range(-(-len(longest) // 2))]
        return deque(reversed(half))
