"""Copying a raster while signals come."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator
from pathlib import Path
from types import FrameType

import numpy as np
import pytest
import rasterio
from helpers import write_raster

from nirgeo import interruption
from nirgeo.interruption import copy_raster

pytestmark = pytest.mark.skipif(os.name != "posix", reason="sends signals to itself")

OPTIONS = {"driver": "COG", "compress": "DEFLATE"}


class Stopped(BaseException):
    """What a handler raises."""


@pytest.fixture
def source(tmp_path: Path) -> Path:
    values = np.random.default_rng(0).integers(0, 255, (600, 600), dtype=np.uint8)
    return write_raster(tmp_path / "a #1 ä%20?x.tif", values, tiled=True)


@pytest.fixture
def received() -> Iterator[list[int]]:
    """Signals that came to a handler which raises nothing."""
    numbers: list[int] = []
    before = signal.signal(signal.SIGTERM, lambda number, frame: numbers.append(number))
    yield numbers
    signal.signal(signal.SIGTERM, before)


def signal_while_reading(monkeypatch: pytest.MonkeyPatch) -> None:
    """From the third time on that GDAL asks for bytes, they come with a signal."""
    read, times = interruption._Reader.read, []

    def reading(self: interruption._Reader, size: int = -1) -> bytes:
        times.append(size)
        if len(times) == 3:
            os.kill(os.getpid(), signal.SIGTERM)
        return read(self, size)

    monkeypatch.setattr(interruption._Reader, "read", reading)


def test_what_a_handler_raises_ends_the_copy(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, received: list[int]
) -> None:
    def stop(number: int, frame: FrameType | None) -> None:
        raise Stopped

    signal.signal(signal.SIGTERM, stop)
    signal_while_reading(monkeypatch)
    with pytest.raises(Stopped):
        copy_raster(source, tmp_path / "out.tif", **OPTIONS)
    monkeypatch.undo()
    assert signal.getsignal(signal.SIGTERM) is stop
    # GDAL's failure is forgotten: the next file has nothing to do with it.
    copy_raster(source, tmp_path / "out.tif", **OPTIONS)
    assert same(source, tmp_path / "out.tif")


def test_a_handler_that_raises_nothing_disturbs_nothing(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, received: list[int]
) -> None:
    signal_while_reading(monkeypatch)
    copy_raster(source, tmp_path / "out.tif", **OPTIONS)
    assert received == [signal.SIGTERM]
    assert same(source, tmp_path / "out.tif")


def test_other_threads_copy_too(source: Path, tmp_path: Path) -> None:
    targets = [tmp_path / f"{k}.tif" for k in range(3)]
    threads = [
        threading.Thread(target=copy_raster, args=(source, target), kwargs=OPTIONS)
        for target in targets
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert all(same(source, target) for target in targets)


def same(a: Path, b: Path) -> bool:
    with rasterio.open(a) as first, rasterio.open(b) as second:
        return bool((first.read() == second.read()).all()) and first.crs == second.crs
