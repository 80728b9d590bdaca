"""One window of the network, computed without what its target does not need."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
import torch
from helpers import random_generator
from hypothesis import given, settings
from hypothesis import strategies as st

from nirgeo.generator import GeneratorConfig, LocalAffineGenerator
from nirgeo.windowed import Span, cells_behind, paint, smallest_input

SIDE = 256
SHAPES = {
    "near infrared": {"width": 32, "depth": 3, "smoothing": 7},
    "missing blue": {"in_bands": 3, "out_bands": 1, "width": 16, "depth": 2},
    "expects errors": {"width": 16, "depth": 2, "smoothing": 3, "expects_error": True},
    "weighs hints": {"width": 16, "depth": 1, "expects_error": True, "weighs_hint": True},
    "dilated": {"width": 16, "depth": 3, "dilations": (1, 3, 2)},
    "other cells": {"width": 16, "depth": 1, "shuffle": 8},
    "no blocks": {"width": 16, "depth": 0, "shuffle": 1},
}


def inputs(config: GeneratorConfig, seed: int, rows: int = SIDE, cols: int = SIDE) -> tuple:
    random = torch.Generator().manual_seed(seed)
    # A batch of two: torch has another kernel for small single pictures.
    x = torch.rand(2, config.in_bands, rows, cols, generator=random)
    valid = (torch.rand(2, 1, rows, cols, generator=random) > 0.1).float()
    cells = (rows // config.shuffle, cols // config.shuffle)
    hint = torch.randn(2, 3, *cells, generator=random)
    return x.contiguous(memory_format=torch.channels_last), valid, hint


@st.composite
def targets(draw: st.DrawFn) -> tuple[slice, slice]:
    """Targets anywhere, the window's edges among them."""
    edges = []
    for _ in range(2):
        start = draw(st.sampled_from((0, 1, 64, 101)) | st.integers(0, SIDE - 1))
        stop = draw(st.just(SIDE) | st.integers(start + 1, SIDE))
        edges.append(slice(start, stop))
    return edges[0], edges[1]


@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
@given(
    target=targets(), hinted=st.booleans(), complete=st.booleans(), narrow=st.booleans(),
    seed=st.integers(0, 5),
)  # fmt: skip
@settings(max_examples=12, deadline=None)
def test_a_target_has_the_bits_of_the_whole_window(
    shape: dict,
    target: tuple[slice, slice],
    hinted: bool,
    complete: bool,
    narrow: bool,
    seed: int,
) -> None:
    net = random_generator(0, **shape)
    if narrow:  # a value in five lies beyond what the training has shown
        net.input_range[:] = torch.tensor([0.1, 0.2, 0.8, 0.9])
    x, valid, hint = inputs(net.config, seed)
    if complete:
        valid = torch.ones_like(valid)
    field = hint if hinted else None
    expects = net.config.expects_error
    if net.config.weighs_hint:
        net.error_trust.fill_(-0.7)
    with torch.inference_mode():
        if expects:
            whole = torch.cat(net.with_error(x, valid, field), dim=1)
        else:
            whole = net(x, valid, field)
        part = paint(net, x, valid, field, target, expect_error=expects)
    np.testing.assert_array_equal(part.numpy(), whole[:, :, *target].numpy())
    assert part.is_contiguous()


def test_nothing_is_computed_that_no_later_layer_reads() -> None:
    config = GeneratorConfig(smoothing=7)
    spans = cells_behind(Span(256, 512), 1024, config)
    # 64 cells, one more on both sides for the upsampling, three for the mean, one per convolution.
    assert [span.length for span in spans] == [66 + 6 + 2 * k for k in range(9, -1, -1)] + [66]
    for wide, narrow in pairwise(spans):
        assert wide.start <= narrow.start < narrow.stop <= wide.stop


def test_at_the_edge_of_the_window_nothing_is_asked_for_beyond_it() -> None:
    config = GeneratorConfig(smoothing=7)
    spans = cells_behind(Span(0, 1024), 1024, config)
    assert spans == [Span(0, 256)] * len(spans)


def test_convolutions_see_the_cells_that_the_plan_names() -> None:
    net: LocalAffineGenerator = random_generator(0, width=16, depth=4, smoothing=3)
    seen: list[int] = []
    original = torch.nn.functional.conv2d

    def counted(features: torch.Tensor, *arguments: object) -> torch.Tensor:
        weight = arguments[0]
        assert isinstance(weight, torch.Tensor)
        if weight.shape[-1] == 3:
            seen.append(features.shape[2])
        return original(features, *arguments)

    x, valid, hint = inputs(net.config, 0)
    target = (slice(64, 192), slice(64, 192))
    with pytest.MonkeyPatch.context() as patch, torch.inference_mode():
        patch.setattr(torch.nn.functional, "conv2d", counted)
        paint(net, x, valid, hint, target)
    planned = [span.length for span in cells_behind(Span(64, 192), SIDE, net.config)]
    assert seen == planned[:-2]
    assert min(seen) < max(seen) < SIDE // 4


@pytest.mark.parametrize("side", [4, 17, 128])
def test_the_smallest_layer_is_found(side: int) -> None:
    config = GeneratorConfig(width=8, depth=2, smoothing=3)
    target = (slice(64, 64 + side), slice(64, 64 + side))
    cells = cells_behind(Span(64, 64 + side), SIDE, config)[-2].length
    assert smallest_input(config, (SIDE, SIDE), target) == 8 * cells * cells
