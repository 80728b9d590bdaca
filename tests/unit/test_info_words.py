"""How ``nirgeo info`` words an estimate."""

from __future__ import annotations

import pytest

from nirgeo.cli.info import _duration


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
