"""Fixtures and settings of every test."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from helpers import write_random_model
from hypothesis import settings

# Examples are the same on every machine, so that a failure anywhere is a failure everywhere; no
# deadline, since a busy machine is no bug.
settings.register_profile("nirgeo", deadline=None, derandomize=True, max_examples=60)
settings.load_profile("nirgeo")


@pytest.fixture
def rng() -> np.random.Generator:
    """Random numbers that are the same in every run."""
    return np.random.default_rng(20260101)


@pytest.fixture
def model_file() -> Callable[..., Path]:
    """``model_file(tmp_path, quantity=…, bands=…)`` writes a tiny model with random weights."""
    return write_random_model
