"""The computed halo against what networks really see."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from helpers import random_generator
from numpy.typing import NDArray

from nirgeo.generator import LocalAffineGenerator
from nirgeo.receptive_field import Conv, Unshuffle, Upsample, halo

CONFIGS = [
    pytest.param({"depth": 0, "shuffle": 2}, id="stem only"),
    pytest.param({"depth": 1, "shuffle": 4}, id="one block"),
    pytest.param({"depth": 3, "shuffle": 4}, id="three blocks"),
    pytest.param({"depth": 2, "shuffle": 2}, id="fine cells"),
    pytest.param({"depth": 1, "shuffle": 8}, id="large cells"),
    pytest.param({"depth": 2, "shuffle": 4, "in_bands": 2}, id="two bands"),
    pytest.param({"depth": 2, "shuffle": 4, "dilations": (2, 1)}, id="dilated"),
    pytest.param({"depth": 1, "shuffle": 4, "smoothing": 5}, id="smoothed"),
]


def _in_double(network: LocalAffineGenerator) -> LocalAffineGenerator:
    # In float64 the faintest influence survives rounding; in float32 it might hide.
    return network.double()


def _reaches(network: LocalAffineGenerator, what: str) -> list[int]:
    """How far single changed pixels act, for every position in the coarse grid's cell."""
    stride, bands = network.stride, network.config.in_bands
    cells = 2 * (network.halo // stride + 2) + 1
    size = cells * stride
    random = np.random.default_rng(5)
    inputs = torch.from_numpy(random.uniform(0.1, 0.7, (1, bands, size, size)))
    valid = torch.ones(1, 1, size, size, dtype=torch.float64)
    before = network(inputs, valid).numpy()
    reaches = []
    for offset in range(stride):
        pixel = size // 2 // stride * stride + offset
        changed_inputs, changed_valid = inputs.clone(), valid.clone()
        if what == "inputs":
            changed_inputs[..., pixel, pixel] += 0.05
        else:
            changed_valid[..., pixel, pixel] = 0
        after = network(changed_inputs, changed_valid).numpy()
        touched = np.argwhere((before != after).any(axis=(0, 1)))
        reaches.append(int(np.abs(touched - pixel).max()))
    return reaches


class TestGenerators:
    @pytest.mark.parametrize("config", CONFIGS)
    @pytest.mark.parametrize("what", ["inputs", "valid"])
    def test_halo_is_exactly_as_far_as_a_pixel_acts(
        self, config: dict[str, int], what: str
    ) -> None:
        network = _in_double(random_generator(3, width=8, **config))
        reaches = _reaches(network, what)
        assert max(reaches) == network.halo

    def test_known_halo_of_the_default_shape(self) -> None:
        # Upsampling takes one cell more on one side, nine 3×3 convolutions another nine: ten cells
        # of 4 px, seen from the cell's second pixel. Chunk sizes were chosen for this number.
        assert random_generator(depth=8, width=4).halo == 10 * 4 + 1

    def test_known_halo_of_the_smoothed_shape(self) -> None:
        # Three cells more: 82 % of the pixels that a chunk of 1024 px computes are written.
        halo = random_generator(depth=8, width=4, smoothing=7).halo
        assert halo == 13 * 4 + 1
        assert (1024 / (1024 + 2 * halo)) ** 2 > 0.82

    def test_pixels_beyond_the_halo_do_not_matter_at_all(self) -> None:
        """The law that tiling rests on, seen from the output: outside the halo anything may be."""
        network = _in_double(random_generator(1, width=8, depth=2))
        reach, size = network.halo, 96
        random = np.random.default_rng(2)
        inputs = torch.from_numpy(random.uniform(0.1, 0.7, (1, 1, size, size)))
        valid = torch.ones(1, 1, size, size, dtype=torch.float64)
        before = network(inputs, valid).numpy()
        row, col = 47, 50
        keep: NDArray[np.bool_] = np.zeros((size, size), dtype=np.bool_)
        keep[row - reach : row + reach + 1, col - reach : col + reach + 1] = True
        noise = torch.from_numpy(random.uniform(0.1, 0.7, (size, size)))
        holes = torch.from_numpy(random.integers(0, 2, (size, size)).astype(np.float64))
        inside = torch.from_numpy(keep)
        after = network(
            torch.where(inside, inputs, noise), torch.where(inside, valid, holes)
        ).numpy()
        np.testing.assert_array_equal(after[..., row, col], before[..., row, col])
        assert (after != before).mean() > 0.5


class TestOperations:
    @pytest.mark.parametrize(
        ("kernel", "dilation", "reach"), [(1, 1, 0), (1, 2, 0), (3, 1, 1), (3, 4, 4), (7, 2, 6)]
    )
    def test_convolution(self, kernel: int, dilation: int, reach: int) -> None:
        assert Conv(kernel, dilation).behind(10, 12) == (10 - reach, 12 + reach)
        assert halo([Conv(kernel, dilation)], 1) == reach

    def test_convolutions_add_up(self) -> None:
        assert halo([Conv(3), Conv(5), Conv(3, dilation=2)], 1) == 1 + 2 + 2

    def test_unshuffle_spans_whole_cells(self) -> None:
        assert Unshuffle(4).behind(2, 3) == (8, 15)

    @pytest.mark.parametrize("factor", [2, 3, 4, 5, 8])
    def test_upsampling_covers_every_cell_that_torch_uses(self, factor: int) -> None:
        cells = 8
        identity = torch.eye(cells, dtype=torch.float64)[None]  # (1, cells, cells): one per channel
        weights = torch.nn.functional.interpolate(
            identity, scale_factor=float(factor), mode="linear", align_corners=False
        )[0]
        for pixel in range(factor, (cells - 1) * factor):
            used = torch.nonzero(weights[:, pixel]).flatten().tolist()
            first, last = Upsample(factor).behind(pixel, pixel)
            assert first <= min(used)
            assert max(used) <= last

    def test_nothing_but_pointwise_operations_needs_no_halo(self) -> None:
        assert halo([Conv(1), Conv(1)], 1) == 0
        # Folding alone reaches to the far corner of the cell.
        assert halo([Unshuffle(4)], 1) == 3
