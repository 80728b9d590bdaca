"""A network made wider makes what it made before, and can learn more."""

from __future__ import annotations

import runpy
from pathlib import Path

import numpy as np
import pytest
import torch
from helpers import write_random_model

from nirgeo.modelfile import read_model
from nirgeo.networks import load_generator

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize(("bands", "times"), [(("nir",), 2), (("red", "green", "nir"), 3)])
def test_it_makes_the_same(tmp_path: Path, bands: tuple[str, ...], times: int) -> None:
    source = write_random_model(tmp_path, bands=bands, width=8, depth=2)
    target = tmp_path / "wide.safetensors"
    widen = runpy.run_path(str(ROOT / "tools" / "widen_model.py"))["widen"]
    widen(source, target, times, 0)
    narrow, wide = (load_generator(read_model(path)).eval() for path in (source, target))
    assert read_model(target).spec.generator["width"] == 8 * times
    random = torch.Generator().manual_seed(0)
    x = torch.rand((2, len(bands), 64, 64), generator=random)
    valid, hint = torch.ones((2, 1, 64, 64)), torch.randn((2, 3, 16, 16), generator=random)
    with torch.inference_mode():
        made, expected = wide(x, valid, hint), narrow(x, valid, hint)
    torch.testing.assert_close(made, expected, atol=1e-5, rtol=1e-5)
    # Copies of a channel are listened to in different shares, or they would stay copies.
    kernel = wide.state_dict()["blocks.0.pointwise.weight"].numpy()
    shares = kernel[:, :, 0, 0].reshape(8 * times, 8, times)
    assert np.ptp(shares, axis=2).max() > 0
