"""The device that the tests of ``test_cuda.py`` run on: a real one, or this processor in its place.

``NIRGEO_TEST_DEVICE`` is a torch device (``cuda`` if it is not set), or ``stand-in``: the processor
behind a lane, as a GPU is, so that the tests themselves can be tried where there is none.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
import torch
from numpy.typing import NDArray

import nirgeo
from nirgeo import lanes
from nirgeo.accelerator import Accelerator, NetworkKey, Ticket
from nirgeo.lane import Block, Lane
from nirgeo.modelfile import Model

STAND_IN = "stand-in"
DEVICE = os.environ.get("NIRGEO_TEST_DEVICE", "cuda")
REAL = DEVICE != STAND_IN
MISSING = REAL and not torch.cuda.is_available()

# What a process of its own runs first, to have the stand-in too.
PRELUDE = (
    ""
    if REAL
    else "from nirgeo import lane as _lane, lanes as _lanes\n"
    "from nirgeo.accelerator import Accelerator\n"
    f"_lanes._lanes[{STAND_IN!r}] = _lane.Lane(Accelerator('cpu'))\n"
)

SHARE = 100e-6
"""Of pixels on a GPU, at most so many may be a level off: what is promised."""


def install() -> None:
    """Have the device in this process, if it is none that torch knows."""
    if not REAL and STAND_IN not in lanes._lanes:
        lanes._lanes[STAND_IN] = Lane(Accelerator("cpu"))


def accelerator() -> Accelerator:
    return Accelerator(DEVICE if REAL else "cpu")


class Gated(Accelerator):
    """The device, which starts only when the gate is open; by then many blocks wait for it."""

    def __init__(self, gate: threading.Event) -> None:
        super().__init__(DEVICE if REAL else "cpu")
        self.gate = gate
        self.batches: list[int] = []

    def start(self, blocks: Sequence[Block]) -> Ticket:
        assert self.gate.wait(30)
        ticket = super().start(blocks)
        self.batches.append(len(blocks))
        return ticket


def block(model: Model, seed: int, side: int = 256, **key: bool) -> Block:
    """Texture with holes, as the network of ``model`` eats it."""
    random = np.random.default_rng(seed)
    shape = (len(model.spec.bands), side, side)
    inputs = (0.1 + 0.7 * random.random(shape)).astype(np.float32)
    valid = random.random((side, side)) > 0.1
    inputs[:, ~valid] = 0
    return Block(NetworkKey(model, **key), inputs, valid)


@contextmanager
def room_for(pixels: int, model: Model) -> Iterator[None]:
    """Memory of the device for about so many pixels at once, and no more."""
    if not REAL:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(Accelerator, "_start", _limited(Accelerator._start, pixels))
            yield
        return
    device = accelerator()
    device.start([block(model, 0, 64)]).results()  # the network itself, and what libraries take
    # A batch of one is computed as two.
    sample = [block(model, seed, 512) for seed in range(2)]
    device.start(sample).results()
    torch.cuda.empty_cache()
    idle = torch.cuda.memory_reserved()
    torch.cuda.reset_peak_memory_stats()
    device.start(sample).results()
    per_pixel = (torch.cuda.max_memory_reserved() - idle) / (2 * 512 * 512)
    torch.cuda.empty_cache()
    total = torch.cuda.get_device_properties(DEVICE).total_memory
    allowed = torch.cuda.memory_reserved() + pixels * per_pixel
    torch.cuda.set_per_process_memory_fraction(allowed / total)
    try:
        yield
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0)
        torch.cuda.empty_cache()


def _limited(start: Any, pixels: int) -> Any:
    def limited(self: Accelerator, blocks: Sequence[Block], key: NetworkKey) -> Ticket:
        taken = max(2, len(blocks)) * blocks[0].valid.size
        if taken > pixels:
            raise torch.OutOfMemoryError(f"CUDA out of memory. Tried to allocate {taken} px")
        made: Ticket = start(self, blocks, key)
        return made

    return limited


def write(scene: Path, target: Path, model: Any, device: str, **options: Any) -> Path:
    """From file to file; ``chunk`` (5 tiles) and ``workers`` may be among the options."""
    opened = nirgeo.open_scene(
        scene, chunk=options.pop("chunk", 5), scale=options.pop("scale", None)
    )
    write_options = {k: options.pop(k) for k in ("workers", "scheduler") if k in options}
    rgb = nirgeo.colorize(opened, model, device=device, **options)
    nirgeo.write_geotiff(rgb, target, **write_options)
    return target


def facts(path: Path) -> dict[str, Any]:
    """All that a file says beside its pixels."""
    with rasterio.open(path) as file:
        return {
            "profile": dict(file.profile),
            "tags": file.tags(ns="NIRGEO"),
            "bands": (file.descriptions, file.colorinterp),
            "overviews": [file.overviews(k) for k in file.indexes],
        }


def pixels_of(path: Path) -> tuple[NDArray[Any], NDArray[np.bool_]]:
    with rasterio.open(path) as file:
        return file.read(), file.dataset_mask() != 0


def assert_a_level_apart(one: NDArray[Any], other: NDArray[Any], share: float = SHARE) -> None:
    """At most one level, in at most this share of the pixels."""
    assert one.shape == other.shape
    assert one.dtype == other.dtype == np.uint8
    off = np.abs(one.astype(int) - other.astype(int))
    differ = (off > 0).any(axis=0).mean()
    said = f"farthest {off.max()} levels; {differ * 1e6:.1f} of a million pixels differ"
    assert off.max() <= 1, said
    assert differ <= share, said
