"""Interpolation and means of planes: right, and the same bits wherever a plane starts."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional as F  # noqa: N812

from nirgeo.own_torch import intra_op_threads
from nirgeo.planes import averaged, upsampled

SIDES = st.integers(1, 40)


def field(rows: int, cols: int, channels: int = 3, seed: int = 0) -> torch.Tensor:
    random = torch.Generator().manual_seed(seed)
    return torch.randn(2, channels, rows, cols, generator=random)


@given(rows=SIDES, cols=SIDES, factor=st.sampled_from((1, 2, 4, 8)))
@settings(max_examples=40, deadline=None)
def test_upsampling_is_torchs_bilinear(rows: int, cols: int, factor: int) -> None:
    coarse = field(rows, cols)
    wanted = F.interpolate(
        coarse.double(), scale_factor=float(factor), mode="bilinear", align_corners=False
    )
    with torch.no_grad():
        found = upsampled(coarse, factor)
    np.testing.assert_allclose(found, wanted, rtol=0, atol=2e-6)
    assert found.is_contiguous()


@given(rows=SIDES, cols=SIDES, side=st.sampled_from((1, 3, 7)))
@settings(max_examples=40, deadline=None)
def test_means_are_of_the_cells_that_are_there(rows: int, cols: int, side: int) -> None:
    cells = field(rows, cols).double()
    wanted = np.empty(cells.shape)
    half = side // 2
    for i in range(rows):
        for j in range(cols):
            part = cells[:, :, max(0, i - half) : i + half + 1, max(0, j - half) : j + half + 1]
            wanted[:, :, i, j] = part.mean(dim=(2, 3))
    np.testing.assert_allclose(averaged(cells, side), wanted, rtol=0, atol=1e-12)


@given(data=st.data(), channels=st.sampled_from((2, 6, 16)), factor=st.sampled_from((2, 4)))
@settings(max_examples=60, deadline=None)
def test_a_part_has_the_bits_of_the_whole(data: st.DataObject, channels: int, factor: int) -> None:
    rows, cols = data.draw(st.integers(6, 60)), data.draw(st.integers(6, 200))
    whole = field(rows, cols, channels)
    top, left = data.draw(st.integers(0, rows - 4)), data.draw(st.integers(0, cols - 4))
    bottom, right = (
        data.draw(st.integers(top + 4, rows)),
        data.draw(st.integers(left + 4, cols)),
    )
    part = whole[:, :, top:bottom, left:right].contiguous(memory_format=torch.channels_last)
    with torch.no_grad(), intra_op_threads(data.draw(st.integers(1, 2))):
        mean, fine = averaged(whole, 3), upsampled(whole, factor)
    with torch.no_grad(), intra_op_threads(1):
        part_mean, part_fine = averaged(part, 3), upsampled(part, factor)
    inner = np.s_[:, :, 1:-1, 1:-1]
    np.testing.assert_array_equal(
        part_mean[inner], mean[:, :, top + 1 : bottom - 1, left + 1 : right - 1]
    )
    edge = factor
    np.testing.assert_array_equal(
        part_fine[:, :, edge:-edge, edge:-edge],
        fine[
            :,
            :,
            top * factor + edge : bottom * factor - edge,
            left * factor + edge : right * factor - edge,
        ],
    )


@pytest.mark.parametrize("factor", [2, 4])
def test_training_sees_the_same_bits_and_gets_a_gradient(factor: int) -> None:
    coarse = field(7, 9).requires_grad_()
    trained = upsampled(coarse, factor)
    with torch.no_grad():
        np.testing.assert_array_equal(trained.detach(), upsampled(coarse, factor))
    trained.sum().backward()
    # Every cell is spread over as many pixels as it covers.
    np.testing.assert_allclose(coarse.grad, factor**2, rtol=1e-5)
