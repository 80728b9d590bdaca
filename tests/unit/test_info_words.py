"""How ``nirgeo info`` words an estimate."""

from __future__ import annotations

import pytest

from nirgeo.cli.info import _duration
from nirgeo.engine import colouriser_of
from nirgeo.estimate import estimate
from nirgeo.registry import load_model
from nirgeo.tiling import Window


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (0.004, "less than a second"),
        (0.99, "less than a second"),
        (1.0, "about 1 s"),
        (119.4, "about 119 s"),
        (120.0, "about 2 min"),
        (5400.0, "about 90 min"),
        (9000.0, "about 2.5 h"),
        (360_000.0, "about 100.0 h"),
    ],
)
def test_durations(seconds: float, words: str) -> None:
    assert _duration(seconds) == words


def test_time_counts_what_is_not_the_network() -> None:
    whole, colouriser = Window(0, 0, 4096, 4096), colouriser_of(load_model("satellite-nir"))
    slow, fast = (
        estimate(whole, (4096, 4096), 12, colouriser, 1, rate=rate).seconds for rate in (1e6, 1e12)
    )
    assert slow - fast == pytest.approx(16.8, rel=0.3)  # s for 16.8 million pixels and their halos
    assert fast > 1.5  # a network that takes no time is still read for, and written for


def test_the_disk_holds_whole_tiles_and_overviews() -> None:
    colouriser = colouriser_of(load_model("satellite-nir"))
    flat = estimate(Window(0, 0, 1, 4096), (1, 4096), 12, colouriser, 1, rate=1e6).disk_bytes
    whole = estimate(Window(0, 0, 640, 4096), (640, 4096), 12, colouriser, 1, rate=1e6).disk_bytes
    assert flat == 64 * 4096 * 4 * 4 // 3  # three colours and a mask
    assert whole == pytest.approx(10 * flat, abs=10)
