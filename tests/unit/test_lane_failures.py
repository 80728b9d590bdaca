"""What goes wrong around a lane: threads, memory, copies of a process, its end."""

from __future__ import annotations

import multiprocessing
import subprocess
import sys
import threading
from zlib import crc32

import numpy as np
import pytest
import torch
from helpers import random_model, said_in_a_thread

from nirgeo import lanes
from nirgeo.accelerator import Accelerator, NetworkKey
from nirgeo.lane import Block, Lane, NoRoomError
from nirgeo.memory_words import is_no_room


@pytest.fixture
def model(tmp_path, request):
    """One that no other test has built."""
    return random_model(tmp_path, seed=crc32(request.node.name.encode()), width=8, depth=1)


def block(model, side=64, **key):
    return Block(
        NetworkKey(model, **key),
        np.zeros((1, side, side), np.float32),
        np.ones((side, side), np.bool_),
    )


def test_where_no_thread_can_be_had_nobody_waits(model, monkeypatch) -> None:
    way, real = Lane(Accelerator("cpu")), threading.Thread.start

    def start(self):
        if self.name == "nirgeo-lane":
            raise RuntimeError("can't start new thread")
        real(self)

    monkeypatch.setattr(threading.Thread, "start", start)
    for _ in range(2):  # the second waited for ever
        said = said_in_a_thread(lambda: way.run(block(model)))
        assert said == ["can't start new thread"]
    monkeypatch.undo()
    assert way.run(block(model)).shape == (3, 64, 64)


def test_a_block_is_tried_again_with_the_memory_that_was_given_back(model) -> None:
    class Held(Accelerator):
        held, starts = True, 0

        def start(self, blocks):
            self.starts += 1
            if self.held:
                raise NoRoomError("CUDNN_STATUS_ALLOC_FAILED")
            return super().start(blocks)

        def release(self):
            self.held = False

    device = Held("cpu")
    assert Lane(device).run(block(model)).shape == (3, 64, 64)
    assert device.starts == 2


def test_too_little_memory_for_the_network_itself(model, monkeypatch) -> None:
    real, failed = torch.nn.Module.to, []

    def to(self, *args, **options):
        if args and isinstance(args[0], torch.device) and not failed:
            failed.append(1)
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20 MiB")
        return real(self, *args, **options)

    monkeypatch.setattr(torch.nn.Module, "to", to)
    assert Lane(Accelerator("cpu")).run(block(model)).shape == (3, 64, 64)
    assert failed


@pytest.mark.parametrize(
    "said",
    [
        "cuDNN error: CUDNN_STATUS_INTERNAL_ERROR_DEVICE_ALLOCATION_FAILED",
        "Invalid buffer size: 12.00 GiB",
    ],
)
def test_words_for_too_little_memory(said) -> None:
    assert is_no_room(RuntimeError(said))


def test_networks_in_16_bits_are_bounded(tmp_path) -> None:
    device = Accelerator("cpu")
    for k in range(7):
        Lane(device).run(
            block(random_model(tmp_path / str(k), seed=k, width=8, depth=1), half=True)
        )
    assert len(device._halves._kept) <= 4


@pytest.mark.skipif("fork" not in multiprocessing.get_all_start_methods(), reason="no fork")
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_copy_of_a_process_does_not_wait_for_its_originals_thread(model, monkeypatch) -> None:
    monkeypatch.setattr(lanes, "_lanes", {"cpu": Lane(Accelerator("cpu"))})
    lanes.lane_of("cpu").run(block(model))
    child = multiprocessing.get_context("fork").Process(
        target=lambda: lanes.lane_of("cpu").run(block(model))
    )
    child.start()
    child.join(20)
    alive = child.is_alive()
    child.kill()
    child.join()
    assert not alive
    assert child.exitcode == 0


PROGRAM = """
import numpy as np
from nirgeo.accelerator import Accelerator, NetworkKey
from nirgeo.lane import Block, Lane
from nirgeo.modelfile import read_model
key = NetworkKey(read_model({path!r}))
one = Block(key, np.zeros((1, 256, 256), np.float32), np.ones((256, 256), bool))
Lane(Accelerator("cpu")).run(one)
"""


def test_a_process_that_ends_with_its_last_answer_ends_well(model) -> None:
    for _ in range(3):
        done = subprocess.run(
            [sys.executable, "-c", PROGRAM.format(path=str(model.path))],
            capture_output=True,
            text=True,
        )
        assert (done.returncode, done.stderr) == (0, "")
