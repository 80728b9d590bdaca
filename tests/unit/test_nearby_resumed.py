"""A worker beside the writer knows that an earlier run may have left something."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from nirgeo import nearby
from nirgeo.blockstore import BlockStore
from nirgeo.tiling import ChunkGrid


def test_an_empty_chunk_is_written_over_what_an_earlier_run_has_left(tmp_path: Path) -> None:
    grid = ChunkGrid(64, 64, 1)
    store = BlockStore(tmp_path / BlockStore.NAME, grid, 2, "u1")
    store.create()
    store.write(0, 0, np.full((2, 64, 64), 9, np.uint8))
    store.close()
    assert store.open()
    made = nearby.offer(tmp_path, store, None).keep(
        0, 0, np.zeros((1, 64, 64), np.uint8), np.zeros((64, 64), bool)
    )
    assert store.recovered(0, 0, made.pixels) is not None
    store.close()
