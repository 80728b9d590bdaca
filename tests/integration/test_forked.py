"""Copies of a process (``fork``), which a DataLoader and a Pool make, read scenes too."""

from __future__ import annotations

import multiprocessing
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from helpers import write_raster

import nirgeo

SIDE, PART = 2048, 128


def wrong_windows(scene: Any, expected: Any, answers: Any) -> None:
    """Reads windows with the thread that is there, as the workers of a DataLoader do."""
    found = 0
    random = np.random.default_rng(os.getpid())
    for _ in range(150):
        row, col = random.integers(0, SIDE - PART, 2)
        window = scene[:, row : row + PART, col : col + PART].compute(scheduler="synchronous")
        found += not np.array_equal(window[0], expected[row : row + PART, col : col + PART])
    answers.put(found)


@pytest.mark.skipif(
    "fork" not in multiprocessing.get_all_start_methods(), reason="no processes are copied here"
)
@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_copies_of_a_process_read_what_is_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Without a cache of blocks, every window moves the place of reading in its file.
    monkeypatch.setenv("GDAL_CACHEMAX", "1")
    values = np.arange(SIDE * SIDE, dtype=np.uint32).reshape(SIDE, SIDE).astype(np.uint16)
    path = write_raster(tmp_path / "u.tif", values, tiled=True, blockxsize=256, blockysize=256)
    scene = nirgeo.open_scene(path, chunk=2, scale=1e-4)
    assert scene[:, :64, :64].compute(scheduler="synchronous").shape == (1, 64, 64)
    context = multiprocessing.get_context("fork")
    answers = context.SimpleQueue()
    children = [
        context.Process(target=wrong_windows, args=(scene, values, answers)) for _ in range(2)
    ]
    for child in children:
        child.start()
    for child in children:
        child.join(120)
    assert [child.exitcode for child in children] == [0, 0]
    assert [answers.get() for _ in children] == [0, 0]
