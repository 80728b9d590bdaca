"""The way to a device: many threads hand over blocks, one thread keeps the device busy.

The threads of a run read, scale, quantise and write, each its own chunk. A device is used by one
thread only, which takes whatever waits, as one batch, and starts it before it waits for the batch
before: copying to the device, computing and copying back then overlap. So reading and writing
threads surround one stream of work, and nothing else of a run knows about it.

A device that runs out of memory gets half as many blocks at a time, from then on.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Hashable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from nirgeo.errors import DeviceMemoryError

FloatArray = NDArray[np.float32]

BATCH = 8
"""Blocks at a time, to begin with: some five million pixels at the default chunk."""

AHEAD = 2
"""Batches under way: one that is computed, one that is copied."""


@dataclass(frozen=True)
class Block:
    """What a network eats for one window; see :func:`nirgeo.inference.run_network`.

    ``network`` names the network, its precision and what it makes; blocks of one batch share it.
    """

    network: Hashable
    inputs: FloatArray
    valid: NDArray[np.bool_]
    hint: FloatArray | None = None

    @property
    def kind(self) -> Hashable:
        """Equal for blocks that fit into one batch."""
        return self.network, self.inputs.shape, self.hint is None


class Ticket(Protocol):
    """A batch under way."""

    def results(self) -> Sequence[FloatArray]:
        """Wait for it: what the network made of every block, in order."""


class Device(Protocol):
    """Something that computes batches; used by one thread."""

    def start(self, blocks: Sequence[Block]) -> Ticket:
        """Begin to compute blocks of one kind.

        Raises
        ------
        NoRoomError : there is no room for so many
        """

    def release(self) -> None:
        """Give back the memory that is not in use."""


class NoRoomError(Exception):
    """A device has no room for a batch."""


@dataclass
class Counts:
    """What a lane has done: batches, blocks, and how often memory ran out."""

    batches: int = 0
    blocks: int = 0
    halvings: int = 0


@dataclass
class _Order:
    block: Block
    answer: Future[FloatArray] = field(default_factory=Future)
    tried_alone: bool = False


class Lane:
    """One thread in front of one device. It ends with the process."""

    def __init__(self, device: Device, batch: int = BATCH) -> None:
        self.counts = Counts()
        self.batch = batch
        self._device = device
        self._waiting: deque[_Order] = deque()
        self._changed = threading.Condition()
        self._thread: threading.Thread | None = None

    def run(self, block: Block) -> FloatArray:
        """Have a block computed, together with what others want; waits for it.

        Raises
        ------
        DeviceMemoryError : it alone does not fit into the device's memory
        """
        order = _Order(block)
        with self._changed:
            if self._thread is None:
                thread = threading.Thread(target=self._work, name="nirgeo-lane", daemon=True)
                thread.start()
                self._thread = thread  # now that it runs: where none can be had, nobody waits
            self._waiting.append(order)
            self._changed.notify()
        return order.answer.result()

    def _work(self) -> None:
        under_way: deque[tuple[list[_Order], Ticket]] = deque()
        while True:
            orders = self._next(wait=not under_way)
            if orders:
                self._start(orders, under_way)
            if under_way and (not orders or len(under_way) >= AHEAD):
                self._finish(under_way)

    def _next(self, *, wait: bool) -> list[_Order]:
        """The orders of the next batch: the oldest, and those of its kind, in order."""
        with self._changed:
            if wait:
                self._changed.wait_for(lambda: self._waiting)
            if not self._waiting:
                return []
            kind = self._waiting[0].block.kind
            chosen: list[_Order] = []
            left: deque[_Order] = deque()
            for order in self._waiting:
                fits = order.block.kind == kind and len(chosen) < self.batch
                (chosen if fits else left).append(order)
            self._waiting = left
            return chosen

    def _start(self, orders: list[_Order], under_way: deque[tuple[list[_Order], Ticket]]) -> None:
        try:
            ticket = self._device.start([order.block for order in orders])
        except NoRoomError as error:
            # What is under way holds memory too; so it is finished first, and then tried again.
            had_company = bool(under_way)
            while under_way:
                self._finish(under_way)
            try:
                self._device.release()
            except Exception as broken:  # without the lane's thread everybody would wait for ever
                for order in orders:
                    order.answer.set_exception(broken)
                return
            if len(orders) > 1:
                self.counts.halvings += 1
                self.batch = max(1, len(orders) // 2)
            elif had_company or not orders[0].tried_alone:
                # Once more, with the memory that was just given back.
                orders[0].tried_alone = not had_company
            else:
                orders[0].answer.set_exception(_too_large(orders[0].block, error))
                return
            with self._changed:
                self._waiting.extendleft(reversed(orders))
            return
        except BaseException as error:
            for order in orders:
                order.answer.set_exception(error)
            return
        self.counts.batches += 1
        self.counts.blocks += len(orders)
        under_way.append((orders, ticket))

    def _finish(self, under_way: deque[tuple[list[_Order], Ticket]]) -> None:
        orders, ticket = under_way.popleft()
        try:
            results = list(ticket.results())
            if len(results) != len(orders):
                raise RuntimeError(f"{len(results)} results of {len(orders)} blocks")
        except BaseException as error:
            for order in orders:
                order.answer.set_exception(error)
            return
        # Whoever gets the last answer may end the process: no tensor is to be freed here after it.
        del ticket
        for order in orders:
            order.answer.set_result(results.pop(0))


def _too_large(block: Block, error: Exception) -> DeviceMemoryError:
    height, width = block.valid.shape
    return DeviceMemoryError(
        f"a block of {width}×{height} px does not fit into the device's memory ({error}); use "
        "smaller chunks (--chunk), or --device cpu"
    )
