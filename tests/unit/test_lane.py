"""Many threads, one device: batches, order, memory that runs out. The device is this processor."""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import torch
from helpers import random_model, write_raster
from numpy.typing import NDArray

import nirgeo
from nirgeo import lanes, networks
from nirgeo.accelerator import Accelerator, NetworkKey, exact_convolutions, half_trunk
from nirgeo.errors import DeviceMemoryError, OptionError
from nirgeo.inference import run_network
from nirgeo.lane import Block, Lane, NoRoomError, Ticket
from nirgeo.modelfile import Model
from nirgeo.networks import network


class SmallDevice(Accelerator):
    """This processor, as a device with room for so many pixels at a time."""

    def __init__(self, pixels: int = 10**9, gate: threading.Event | None = None) -> None:
        super().__init__("cpu")
        self.pixels = pixels
        self.gate = gate
        self.batches: list[int] = []
        self.released = 0
        self.threads: set[int] = set()

    def start(self, blocks: Sequence[Block]) -> Ticket:
        if self.gate is not None:
            assert self.gate.wait(10)
        self.threads.add(threading.get_ident())
        if sum(block.valid.size for block in blocks) > self.pixels:
            raise NoRoomError("out of memory")
        self.batches.append(len(blocks))
        return super().start(blocks)

    def release(self) -> None:
        self.released += 1


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Model:
    return random_model(tmp_path_factory.mktemp("model"), seed=5, width=16, depth=2)


def block(model: Model, seed: int, side: int = 96, **key: bool) -> Block:
    random = np.random.default_rng(seed)
    inputs = random.random((1, side, side), dtype=np.float32)
    valid = random.random((side, side)) > 0.1
    inputs[:, ~valid] = 0
    return Block(NetworkKey(model, **key), inputs, valid)


def alone(model: Model, one: Block) -> NDArray[np.float32]:
    return run_network(one.inputs, one.valid, model)


def through(
    way: Lane, blocks: Sequence[Block], gate: threading.Event | None = None
) -> list[object]:
    """All of them at once, each from a thread of its own."""
    with ThreadPoolExecutor(len(blocks)) as pool:
        answers = [pool.submit(way.run, one) for one in blocks]
        time.sleep(0.3)  # all of them wait by now, and the first ones at the gate
        gate.set()
        return [answer.result() for answer in answers]


@pytest.mark.parametrize("sides", [(96,), (96, 128, 32)])
def test_batches_give_the_bits_of_single_blocks(model: Model, sides: tuple[int, ...]) -> None:
    gate = threading.Event()
    device = SmallDevice(gate=gate)
    way = Lane(device, batch=4)
    blocks = [block(model, k, sides[k % len(sides)]) for k in range(13)]
    for one, result in zip(blocks, through(way, blocks, gate), strict=True):
        assert np.array_equal(result, alone(model, one))  # type: ignore[arg-type]
    assert sum(device.batches) == way.counts.blocks == 13
    assert max(device.batches) == 4
    assert len(device.threads) == 1


@pytest.mark.parametrize("room", [1, 2, 3])
def test_too_little_memory_halves_the_batch_and_goes_on(model: Model, room: int) -> None:
    gate = threading.Event()
    device = SmallDevice(pixels=room * 96 * 96, gate=gate)
    way = Lane(device, batch=8)
    blocks = [block(model, k) for k in range(17)]
    for one, result in zip(blocks, through(way, blocks, gate), strict=True):
        assert np.array_equal(result, alone(model, one))  # type: ignore[arg-type]
    assert sum(device.batches) == 17
    assert max(device.batches) <= room
    assert way.batch <= room
    assert way.counts.halvings >= 1
    assert device.released >= way.counts.halvings


def test_a_block_too_large_for_the_device_fails_alone(model: Model) -> None:
    way = Lane(SmallDevice(pixels=100 * 100))
    with pytest.raises(DeviceMemoryError, match=r"128×128 px does not fit .*--chunk"):
        way.run(block(model, 1, 128))
    one = block(model, 2)
    assert np.array_equal(way.run(one), alone(model, one))


def test_a_failure_reaches_those_who_asked(model: Model) -> None:
    class Broken(SmallDevice):
        def start(self, blocks: Sequence[Block]) -> Ticket:
            raise RuntimeError("unplugged")

    way = Lane(Broken())
    for _ in range(2):
        with pytest.raises(RuntimeError, match="unplugged"):
            way.run(block(model, 1))


def test_a_device_that_breaks_while_it_makes_room_keeps_nobody_waiting(model: Model) -> None:
    class Broken(SmallDevice):
        def release(self) -> None:
            raise RuntimeError("unplugged")

    way = Lane(Broken(pixels=100 * 100))
    for _ in range(2):
        with pytest.raises(RuntimeError, match="unplugged"):
            way.run(block(model, 1, 128))
    assert way.run(block(model, 1, 64)).shape == (3, 64, 64)


@pytest.mark.parametrize(
    "said",
    [
        "CUDA error: out of memory\nCUDA kernel errors might be reported later",
        "cuDNN error: CUDNN_STATUS_ALLOC_FAILED",
        "GET was unable to find an engine to execute this computation",
    ],
)
def test_libraries_that_run_out_of_memory_in_their_own_words(
    model: Model, monkeypatch: pytest.MonkeyPatch, said: str
) -> None:
    def fail(*_: object) -> None:
        raise RuntimeError(said)

    monkeypatch.setattr(Accelerator, "_start", fail)
    with pytest.raises(DeviceMemoryError, match="does not fit") as raised:
        Lane(Accelerator("cpu")).run(block(model, 1))
    assert "\n" not in str(raised.value)


def test_other_failures_are_not_taken_for_too_little_memory(
    model: Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise RuntimeError("an illegal memory access was encountered")

    monkeypatch.setattr(Accelerator, "_start", fail)
    with pytest.raises(RuntimeError, match="illegal memory access"):
        Lane(Accelerator("cpu")).run(block(model, 1))


@pytest.mark.parametrize("wanted", ["ieee", "tf32"])
def test_what_a_program_has_set_for_convolutions_stays(model: Model, wanted: str) -> None:
    # Where convolutions alone are set, torch's older switch can't even be read.
    conv = getattr(torch.backends.cudnn, "conv", None)
    if conv is None:
        pytest.skip("this torch has only the older switch")
    before = conv.fp32_precision
    conv.fp32_precision = wanted
    try:
        with exact_convolutions():
            assert conv.fp32_precision == "ieee"
            assert torch.backends.cudnn.deterministic
        one = block(model, 1)
        assert np.array_equal(Lane(Accelerator("cpu")).run(one), alone(model, one))
        assert conv.fp32_precision == wanted
    finally:
        conv.fp32_precision = before


@pytest.fixture
def device(monkeypatch: pytest.MonkeyPatch) -> SmallDevice:
    """A device called ``fake``, for whole runs."""
    small = SmallDevice(pixels=3 * 200 * 200)
    monkeypatch.setitem(lanes._lanes, "fake", Lane(small))
    return small


def test_a_run_on_a_device(
    tmp_path: Path, model: Model, device: SmallDevice, monkeypatch: pytest.MonkeyPatch
) -> None:
    # From file to file, with memory running out on the way: the pixels of a run on the CPU.
    values = np.random.default_rng(0).integers(300, 6000, (500, 430)).astype(np.uint16)
    scene = nirgeo.open_scene(write_raster(tmp_path / "in.tif", values), scale="1e-4", chunk=2)
    there = nirgeo.colorize(scene, model, device="fake")
    nirgeo.write_geotiff(there, tmp_path / "there.tif")
    here = nirgeo.colorize(scene, model)
    nirgeo.write_geotiff(here, tmp_path / "here.tif")
    assert (tmp_path / "there.tif").read_bytes() == (tmp_path / "here.tif").read_bytes()
    assert sum(device.batches) == 16
    assert max(device.batches) > 1, "nothing was ever put together"


def test_the_trunk_in_half_precision(model: Model) -> None:
    one = block(model, 3, 256)
    exact = alone(model, one)
    half = Lane(SmallDevice()).run(block(model, 3, 256, half=True))
    assert half.dtype == np.float32
    change = np.abs(half - exact)
    assert 0 < change.max() < 0.02  # 16 bits were used, and all around them was not
    net = half_trunk(network(model))
    assert net.stem.weight.dtype == net.blocks[0].spatial.weight.dtype == torch.float16  # type: ignore[union-attr,index]
    assert net.head.weight.dtype == net.table.values.dtype == torch.float32  # type: ignore[union-attr]
    assert networks.network(model).stem.weight.dtype == torch.float32  # type: ignore[union-attr]


def test_half_precision_is_asked_for_and_recorded(
    tmp_path: Path, model: Model, device: SmallDevice
) -> None:
    values = np.random.default_rng(0).integers(300, 6000, (200, 200)).astype(np.uint16)
    scene = nirgeo.open_scene(write_raster(tmp_path / "in.tif", values), scale="1e-4", chunk=2)
    half = nirgeo.colorize(scene, model, device="fake", precision="fp16")
    exact = nirgeo.colorize(scene, model, device="fake")
    assert half.attrs["nirgeo_precision"] == "fp16"
    assert "nirgeo_precision" not in exact.attrs
    assert half.data.name != exact.data.name
    change = np.abs(half.values.astype(int) - exact.values.astype(int))
    assert change.max() <= 2
    with pytest.raises(OptionError, match="is for a GPU"):
        nirgeo.colorize(scene, model, precision="fp16")


def test_other_networks_have_no_half_precision() -> None:
    with pytest.raises(OptionError, match="fp16"):
        half_trunk(torch.nn.Linear(2, 2))
