"""Fixtures and settings of every test."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from helpers import write_random_model
from hypothesis import settings

from nirgeo.own_torch import intra_op_threads

# Examples are the same on every machine, so that a failure anywhere is a failure everywhere; no
# deadline, since a busy machine is no bug.
settings.register_profile("nirgeo", deadline=None, derandomize=True, max_examples=60)
settings.load_profile("nirgeo")


# A shell starts what runs in the background without Ctrl-C, and our child processes would inherit
# that.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="module")
def one_thread() -> Iterator[None]:
    """Small networks are slower on two threads, and far slower beside another training."""
    with intra_op_threads(1):
        yield


@pytest.fixture
def rng() -> np.random.Generator:
    """Random numbers that are the same in every run."""
    return np.random.default_rng(20260101)


@pytest.fixture
def model_file() -> Callable[..., Path]:
    """``model_file(tmp_path, quantity=…, bands=…)`` writes a tiny model with random weights."""
    return write_random_model
