"""The trunk in 8 bits: the sums it should compute, and who can't compute them."""

from __future__ import annotations

import os
import subprocess
import sys

import numpy as np
import pytest
import torch
from helpers import needs_8_bits, random_generator
from torch import Tensor
from torch.nn import functional as F  # noqa: N812

from nirgeo.errors import ModelError, OptionError
from nirgeo.generator import LocalAffineGenerator
from nirgeo.own_torch import intra_op_threads
from nirgeo.runtimes.activation_ranges import Watch
from nirgeo.runtimes.int8 import LEVELS, Range, Ranges, scale_and_zero
from nirgeo.runtimes.int8_trunk import EightBitTrunk, check_kernels
from nirgeo.windowed import stages_for

SIDE = 128


def watched(net: LocalAffineGenerator) -> tuple[Tensor, Ranges]:
    """A folded picture, and the ranges of a network that saw it."""
    random = np.random.default_rng(0)
    picture = random.random((net.config.in_bands, SIDE, SIDE), dtype=np.float32)
    valid = np.ones((SIDE, SIDE), dtype=np.bool_)
    hint = random.standard_normal((3, SIDE // net.stride, SIDE // net.stride)).astype("f4")
    watch = Watch(net)
    watch.see(picture, valid, hint)
    with torch.inference_mode():
        folded = net.folded(
            torch.from_numpy(picture)[None],
            torch.from_numpy(valid)[None, None].float(),
            torch.from_numpy(hint)[None],
        )
    return folded, watch.ranges()


def rounded(values: Tensor, place: Range) -> Tensor:
    scale, zero = scale_and_zero(*place)
    return ((values / scale + zero).round().clamp(0, LEVELS) - zero) * scale


def slowly(net: LocalAffineGenerator, folded: Tensor, ranges: Ranges) -> Tensor:
    """What the trunk should make, in 64 bits and whole windows."""

    def convolved(values: Tensor, conv: torch.nn.Conv2d) -> Tensor:
        weight = conv.weight.double()
        scales = weight.abs().amax(dim=(1, 2, 3), keepdim=True) / 127
        assert conv.bias is not None
        one = conv.kernel_size == (1, 1)
        reach = 0 if one else conv.dilation
        return F.conv2d(
            values,
            (weight / scales).round() * scales,
            conv.bias.double(),
            padding=reach,
            dilation=1 if one else conv.dilation,
        )

    place = ranges.places
    values = convolved(rounded(folded.double(), place["stem:input"]), net.stem)
    for k, block in enumerate(net.blocks):
        values = rounded(values, place[f"blocks.{k}:input"])
        spread = convolved(values, block.spatial).relu()
        values = values + convolved(
            rounded(spread, place[f"blocks.{k}.pointwise:input"]), block.pointwise
        )
    return values.relu()


@needs_8_bits
@pytest.mark.parametrize(
    "shape",
    [
        {"width": 32, "depth": 1},
        {"width": 16, "depth": 2, "dilations": (1, 4), "in_bands": 3, "out_bands": 1},
        {"width": 16, "depth": 0},
    ],
    ids=["one block", "dilated", "no block"],
)
@pytest.mark.parametrize("threads", [1, 2])
def test_it_makes_what_it_should(shape: dict, threads: int) -> None:
    net = random_generator(3, **shape)
    folded, ranges = watched(net)
    trunk = EightBitTrunk(net, ranges)
    stages = stages_for(net.config, (SIDE, SIDE), (slice(0, SIDE), slice(0, SIDE)))
    with intra_op_threads(threads), torch.inference_mode():
        wanted = slowly(net, folded, ranges)
        exact = F.relu(net.blocks(net.stem(folded)))
        found = trunk(folded.clone(), stages)
    off = (found - wanted).abs()
    # A sum next to a half may be rounded the other way; that is a step in few places.
    assert (off > 1e-5 * wanted.abs().max()).float().mean() < 0.02
    cost = (exact - wanted).abs().mean()
    assert off.mean() < 0.1 * cost
    assert 1e-5 < cost / exact.abs().mean() < 0.05  # it is rounded, and still the same


@needs_8_bits
def test_the_number_of_threads_changes_no_bit() -> None:
    net = random_generator(3, width=64, depth=2)
    folded, ranges = watched(net)
    trunk = EightBitTrunk(net, ranges)
    made = []
    for threads, rows in ((1, SIDE), (2, SIDE), (3, SIDE), (2, 64)):
        target = (slice(0, rows), slice(0, SIDE))
        stages = stages_for(net.config, (SIDE, SIDE), target)
        with intra_op_threads(threads), torch.inference_mode():
            made.append(trunk(folded[stages[0].slices].clone(), stages)[:, :, :16])
    for other in made[1:]:
        assert torch.equal(other, made[0])


@needs_8_bits
def test_a_range_that_is_missing_is_named() -> None:
    net = random_generator(0, width=8, depth=2)
    _, ranges = watched(net)
    places = {k: v for k, v in ranges.places.items() if k != "blocks.1.pointwise:input"}
    with pytest.raises(ModelError, match=r"blocks\.1\.pointwise:input.*make_int8"):
        EightBitTrunk(net, Ranges(places))


@pytest.mark.skipif(sys.platform == "darwin", reason="torch has no oneDNN there")
def test_a_processor_that_would_lose_sums_is_refused() -> None:
    code = "from nirgeo.runtimes.int8_trunk import check_kernels as c; c()"
    done = subprocess.run(
        [sys.executable, "-c", code],
        env=os.environ | {"ONEDNN_MAX_CPU_ISA": "AVX2"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert "no instructions for 8-bit sums" in done.stderr
    assert "--runtime onnx" in done.stderr


def test_a_torch_without_the_kernels_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    def absent(*_: object) -> None:
        raise RuntimeError("Didn't find engine for operation\nlong story")

    monkeypatch.setattr(torch.ops.onednn, "qconv_prepack", absent)
    with pytest.raises(OptionError, match=r"this torch can't .*Didn't find engine.*onnx"):
        check_kernels()
