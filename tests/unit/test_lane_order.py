"""Order and memory in a lane; blocks that are being decoded; a disk that fails."""

from __future__ import annotations

import threading
from collections import deque

import numpy as np
import pytest
from helpers import said_in_a_thread

from nirgeo import keeping
from nirgeo.decoded import Pixels, SharedBlocks
from nirgeo.journal import Finished
from nirgeo.keeping import Keeper
from nirgeo.lane import Block, Lane, NoRoomError, _Order


def order(side=4):
    return _Order(
        Block("network", np.zeros((1, side, side), np.float32), np.ones((side, side), bool))
    )


class Device:
    """Has room for ``room`` blocks that nobody has fetched."""

    def __init__(self, room):
        self.room, self.taken, self.log = room, 0, []

    def start(self, blocks):
        if self.taken + len(blocks) > self.room:
            raise NoRoomError("out of memory")
        self.taken += len(blocks)
        self.log.append(len(blocks))
        return Ticket(self, len(blocks))

    def release(self):
        self.log.append("release")


class Ticket:
    def __init__(self, device, count):
        self.device, self.count = device, count

    def results(self):
        self.device.taken -= self.count
        return [np.zeros((3, 4, 4), np.float32)] * self.count


def test_what_did_not_fit_comes_first_and_in_order() -> None:
    way = Lane(Device(0))
    orders = [order() for _ in range(4)]
    later = order()
    way._waiting.append(later)
    way._start(orders, deque())
    assert [id(one) for one in way._waiting] == [id(one) for one in (*orders, later)]


def test_a_single_block_waits_for_the_memory_of_those_under_way() -> None:
    way, under_way, first, second = Lane(Device(1)), deque(), order(), order()
    way._start([first], under_way)
    way._start([second], under_way)
    assert first.answer.done()
    assert not second.answer.done()
    assert list(way._waiting) == [second]
    assert not under_way
    way._start(way._next(wait=False), under_way)
    way._finish(under_way)
    assert second.answer.result(0).shape == (3, 4, 4)


def test_half_of_what_did_not_fit_and_not_of_what_might_have_been() -> None:
    way = Lane(Device(1), batch=8)
    way._start([order(), order()], deque())
    assert way.batch == 1


def test_a_block_that_is_being_decoded_is_not_forgotten() -> None:
    shared, begun, go = SharedBlocks(1500), threading.Event(), threading.Event()

    def slowly() -> None:
        begun.set()
        assert go.wait(10)
        return Pixels(np.ones((1, 1, 400), np.uint8))

    first = threading.Thread(target=shared.get, args=("a", slowly))
    first.start()
    assert begun.wait(10)
    for k in range(3):
        shared.get(k, lambda: Pixels(np.ones((1, 1, 1000), np.uint8)))
    assert "a" in shared._known
    go.set()
    first.join(10)
    assert shared.decoded == 4
    shared.get("a", lambda: pytest.fail("decoded twice"))


class Store:
    def __init__(self):
        self.go = threading.Event()

    def sync(self):
        assert self.go.wait(10)
        raise OSError(28, "No space left on device")


def test_a_disk_that_fails_reaches_those_who_wait_for_room(monkeypatch) -> None:
    monkeypatch.setattr(keeping, "MAX_WAITING", 1)
    store, said = Store(), []
    keeper = Keeper(store, None)

    def put() -> None:
        try:
            for j in range(4):
                keeper.written(Finished(0, j, 1, 1))
        except OSError as error:
            said.append(error.errno)

    def fill() -> None:
        with keeper:
            threads = [threading.Thread(target=put, daemon=True) for _ in range(2)]
            for one in threads:
                one.start()
            store.go.wait(0.3)
            store.go.set()
            for one in threads:
                one.join(5)

    with pytest.raises(OSError, match="No space"):
        fill()
    assert said == [28, 28]


def test_a_disk_that_fails_at_the_very_end_is_told() -> None:
    store = Store()
    store.go.set()
    with pytest.raises(OSError, match="No space"), Keeper(store, None) as keeper:
        keeper.written(Finished(0, 0, 1, 1))


def test_blocks_of_two_networks_never_share_a_batch() -> None:
    seen = []

    class Noting(Device):
        def start(self, blocks):
            seen.append({one.network for one in blocks})
            return super().start(blocks)

    way, under_way = Lane(Noting(9)), deque()
    orders = [
        _Order(Block(name, np.zeros((1, 4, 4), np.float32), np.ones((4, 4), bool)))
        for name in "abab"
    ]
    way._waiting.extend(orders)
    for _ in range(2):
        way._start(way._next(wait=False), under_way)
    assert seen == [{"a"}, {"b"}]


def test_the_oldest_batch_is_fetched_first() -> None:
    way, under_way, first, second = Lane(Device(9)), deque(), order(), order()
    for one in (first, second):
        way._start([one], under_way)
    way._finish(under_way)
    assert first.answer.done()
    assert not second.answer.done()


@pytest.mark.parametrize("kind", [RuntimeError, MemoryError, KeyboardInterrupt])
def test_a_batch_that_fails_while_it_is_fetched_keeps_nobody_waiting(kind) -> None:
    class Broken:
        def results(self):
            raise kind("unplugged")

    class Breaks(Device):
        def start(self, blocks):
            return Broken()

    way = Lane(Breaks(9))
    for _ in range(2):
        assert said_in_a_thread(lambda: way.run(order().block)) == ["unplugged"]


def test_settings_of_convolutions_are_held_by_one_at_a_time() -> None:
    import torch

    from nirgeo.accelerator import exact_convolutions

    before = torch.backends.cudnn.benchmark
    torch.backends.cudnn.benchmark, inside = True, threading.Event()
    try:

        def other() -> None:
            with exact_convolutions():
                inside.set()

        with exact_convolutions():
            assert not torch.backends.cudnn.benchmark
            assert torch.backends.cudnn.enabled
            one = threading.Thread(target=other)
            one.start()
            assert not inside.wait(0.3)
        one.join(5)
        assert inside.is_set()
        assert torch.backends.cudnn.benchmark
    finally:
        torch.backends.cudnn.benchmark = before
