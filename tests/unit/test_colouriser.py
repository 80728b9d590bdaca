"""What is found out about a scene as a whole: from a fixed lattice, and only if it is asked."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from nirgeo.colouriser import Tile, sample_tiles
from nirgeo.tiling import TILE, Window


class Scene:
    """Valid pixels, and how often each was read."""

    def __init__(self, height: int, width: int) -> None:
        self.valid = np.ones((height, width), dtype=np.bool_)
        self.reads = np.zeros((height, width), dtype=int)

    def read(self, windows: Sequence[Window]) -> list[Tile]:
        for window in windows:
            assert window.within(self.reads.shape)
            self.reads[window.slices] += 1
        return [
            (np.zeros((1, w.height, w.width), np.float32), self.valid[w.slices]) for w in windows
        ]


@given(height=st.integers(1, 700), width=st.integers(1, 700))
def test_no_pixel_counts_twice_and_small_scenes_count_whole(height: int, width: int) -> None:
    scene = Scene(height, width)
    tiles = list(sample_tiles((height, width), scene.read))
    assert scene.reads.max() == 1
    assert sum(valid.size for _, valid in tiles) == scene.reads.sum() <= 16 * TILE * TILE
    if max(height, width) <= 4 * TILE:
        assert scene.reads.all()
    for corner in ((0, 0), (0, -1), (-1, 0), (-1, -1)):
        assert scene.reads[corner]


def test_a_denser_lattice_where_the_first_finds_nothing() -> None:
    scene = Scene(4000, 4000)
    scene.valid[:] = False
    scene.valid[700:900, 700:900] = True
    tiles = list(sample_tiles((4000, 4000), scene.read))
    assert len(tiles) == 256
    assert any(valid.any() for _, valid in tiles)
    scene.valid[0, 0] = True
    assert len(list(sample_tiles((4000, 4000), scene.read))) == 16


def test_nothing_is_read_before_it_is_asked_for() -> None:
    scene = Scene(100, 100)
    tiles = sample_tiles((100, 100), scene.read)
    assert not scene.reads.any()
    next(tiles)
    assert scene.reads.any()


def test_a_scene_without_valid_pixels_gives_empty_tiles() -> None:
    scene = Scene(90, 200)
    scene.valid[:] = False
    tiles = list(sample_tiles((90, 200), scene.read))
    assert tiles
    assert not any(valid.any() for _, valid in tiles)
