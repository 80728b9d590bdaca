"""Streams, events and pinned buffers, on a made-up device that works late or early."""

from __future__ import annotations

import threading
import time
from collections import deque
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from helpers import random_model
from late_gpu import Device, cuda  # noqa: F401

from nirgeo.accelerator import NetworkKey
from nirgeo.inference import run_network
from nirgeo.lane import Block, Lane

pytestmark = pytest.mark.usefixtures("cuda")


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return random_model(tmp_path_factory.mktemp("model"), seed=5, width=8, depth=1)


def block(model, seed, side=64, hint=True, **key):
    random = np.random.default_rng(seed)
    inputs = random.random((1, side, side), dtype=np.float32)
    valid = random.random((side, side)) > 0.1
    inputs[:, ~valid] = 0
    field = random.random((3, side // 4, side // 4), dtype=np.float32) if hint else None
    return Block(NetworkKey(model, **key), inputs, valid, field)


def expected(one):
    return run_network(one.inputs, one.valid, one.network.model, hint=one.hint)


@pytest.mark.parametrize("late", [True, False])
@pytest.mark.parametrize("batch", [1, 3])
def test_buffers_are_not_used_before_they_are_read(model, late, batch) -> None:
    device = Device(late=late)
    way = Lane(device, batch=batch)
    gate = threading.Event()
    start = device.start
    device.start = lambda blocks: (gate.wait(10), start(blocks))[1]
    blocks = [block(model, k, 64 if k % 5 else 96, hint=k % 7 != 0) for k in range(36)]
    with ThreadPoolExecutor(36) as pool:
        answers = [pool.submit(way.run, one) for one in blocks]
        time.sleep(0.3)
        gate.set()
        for one, answer in zip(blocks, answers, strict=False):
            np.testing.assert_allclose(answer.result(20), expected(one), atol=1e-6)


@pytest.mark.parametrize("late", [True, False])
def test_two_batches_under_way_and_failures_between(model, late) -> None:
    """What fails takes no buffers from those that are under way."""
    device = Device(late=late)
    way, under_way = Lane(device), deque()
    from nirgeo.lane import _Order

    bad = block(model, 0)
    bad = Block(NetworkKey(model, expect_error=True), bad.inputs, bad.valid, bad.hint)
    one, two = block(model, 1), block(model, 2)
    orders = [_Order(one), _Order(bad), _Order(bad), _Order(two)]
    way._start(orders[:1], under_way)
    for order in orders[1:3]:
        way._start([order], under_way)
        with pytest.raises(AssertionError):  # this network expects no error
            order.answer.result(0)
    way._start(orders[3:], under_way)
    while under_way:
        way._finish(under_way)
    np.testing.assert_allclose(orders[0].answer.result(0), expected(one), atol=1e-6)
    np.testing.assert_allclose(orders[3].answer.result(0), expected(two), atol=1e-6)


def test_work_is_handed_over_ahead_of_what_is_waited_for(model) -> None:
    """Two batches at once: the second is started before the first is waited for."""
    device = Device(late=True)
    log, start = [], device.start
    gate = threading.Event()

    def noted(blocks) -> None:
        gate.wait(10)
        log.append("start")
        t = start(blocks)
        r = t.results

        def results():
            log.append("wait")
            return r()

        t.results = results
        return t

    device.start = noted
    way = Lane(device, batch=1)
    with ThreadPoolExecutor(6) as pool:
        answers = [pool.submit(way.run, block(model, k)) for k in range(6)]
        time.sleep(0.3)
        gate.set()
        [a.result(10) for a in answers]
    assert log == [
        "start",
        "start",
        "wait",
        "start",
        "wait",
        "start",
        "wait",
        "start",
        "wait",
        "start",
        "wait",
        "wait",
    ]
