"""The trunk of a local affine generator in 8 bits, by torch's own kernels for whole numbers.

Values between its layers are unsigned 8-bit numbers with a range per place, weights signed ones
with a scale per channel (:mod:`nirgeo.runtimes.int8`). Products are summed as whole numbers, so no
order of sums can change a bit. The sum of a block is taken before it is rounded to 8 bits. What the
trunk finds out leaves it in 32 bits, and all that follows computes in 32 bits.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from nirgeo import own_torch
from nirgeo.built_once import BuiltOnce
from nirgeo.errors import ModelError, OptionError
from nirgeo.generator import LocalAffineGenerator, ResidualBlock
from nirgeo.modelfile import Model
from nirgeo.runtimes.int8 import (
    INPUT,
    LEVELS,
    Range,
    Ranges,
    ranges_stamp,
    read_ranges,
    scale_and_zero,
    weight_scales,
)
from nirgeo.windowed import Cells, padded

MAX_TRUNKS = 4
_trunks: BuiltOnce[tuple[str, tuple[int, int]], EightBitTrunk] = BuiltOnce(MAX_TRUNKS)

_REMEDY = "--runtime onnx computes 8 bits in ONNX Runtime, an extra (`pip install 'nirgeo[onnx]'`)"

# Sums of pairs of products that do not fit into 16 bits, where processors without instructions
# for 8-bit numbers keep them; and a sum that 32-bit floats hold exactly.
_PROBE_CHANNELS, _PROBE_WEIGHT = 64, 127


def trunk_of(model: Model, network: LocalAffineGenerator) -> EightBitTrunk:
    """The 8-bit trunk of a model's network, built once per process.

    Raises
    ------
    OptionError, ModelError : see :func:`nirgeo.runtimes.int8.read_ranges` and
        :class:`EightBitTrunk`
    """

    def build() -> EightBitTrunk:
        with own_torch.building():
            return EightBitTrunk(network, read_ranges(model))

    return _trunks.get((model.sha256, ranges_stamp(model)), build)


class EightBitTrunk:
    """Called with the folded input and the stages of a window; see :data:`nirgeo.windowed.Trunk`.

    Raises
    ------
    OptionError : this torch, or this processor, can't compute in 8 bits
    ModelError : a range of the trunk is missing
    """

    def __init__(self, network: LocalAffineGenerator, ranges: Ranges) -> None:
        check_kernels()
        blocks = [cast(ResidualBlock, block) for block in network.blocks]
        between = [_of(ranges, f"blocks.{k}") for k in range(len(blocks))]
        ends = [*between, None]  # behind the last block values are in 32 bits
        self._stem = _Convolution(network.stem, _of(ranges, "stem"), ends[0])
        self._blocks = []
        for k, block in enumerate(blocks):
            inside = _of(ranges, f"blocks.{k}.pointwise")
            spatial = _Convolution(block.spatial, between[k], inside)
            self._blocks.append((spatial, _Convolution(block.pointwise, inside, ends[k + 1])))

    def __call__(self, folded: Tensor, stages: Sequence[Cells]) -> Tensor:
        numbers = self._stem.numbers(folded)
        features = self._stem(*_ready(self._stem, numbers, *stages[:2]))
        if not self._blocks:
            return features.relu_()
        last = len(self._blocks) - 1
        for k, (spatial, pointwise) in enumerate(self._blocks):
            before, after = stages[k + 1 : k + 3]
            spread = spatial(*_ready(spatial, features, before, after), relu=True)
            kept = features[after.within(before)]
            if k < last:
                # The sum is written over this copy.
                total = kept.clone(memory_format=torch.channels_last)
                features = pointwise.added(spread, total, spatial.scale, spatial.zero)
            else:
                total = kept.to(torch.float32).sub_(spatial.zero).mul_(spatial.scale)
                features = pointwise.added(spread, total, 1.0, 0, relu=True)
        return features


def _of(ranges: Ranges, layer: str) -> Range:
    try:
        return ranges.places[f"{layer}:{INPUT}"]
    except KeyError:
        raise ModelError(
            f"the ranges for 8 bits lack {layer}:{INPUT}; make them anew with tools/make_int8.py"
        ) from None


def _ready(
    conv: _Convolution, numbers: Tensor, before: Cells, after: Cells
) -> tuple[Tensor, tuple[int, int]]:
    return padded(numbers, conv.dilation, before, after, conv.zero)


class _Convolution:
    """From 8-bit numbers to 8-bit numbers; or to 32-bit values, where ``after`` is None."""

    def __init__(self, conv: nn.Conv2d, before: Range, after: Range | None) -> None:
        self.scale, self.zero = scale_and_zero(*before)
        self._out_scale, self._out_zero = (1.0, 0) if after is None else scale_and_zero(*after)
        self._dtype = torch.float32 if after is None else torch.uint8
        assert conv.bias is not None
        self._bias = conv.bias.detach()
        # On a single tap dilation means nothing; see nirgeo.generator.pointwise.
        self.dilation = int(conv.dilation[0]) if conv.kernel_size != (1, 1) else 1
        self._scales = weight_scales(conv)
        self._zeros = torch.zeros(len(self._scales), dtype=torch.int32)
        numbers = conv.weight.detach() / self._scales.view(-1, 1, 1, 1)
        rounded = numbers.round().clamp(-127, 127)
        self._packed = self._prepacked(rounded)
        if conv.kernel_size == (1, 1):
            self._two_taps = self._prepacked(functional.pad(rounded, (0, 0, 0, 1)))

    def _prepacked(self, weights: Tensor) -> Tensor:
        geometry = self._geometry((0, 0))
        packed: Tensor = torch.ops.onednn.qconv_prepack(
            weights.to(torch.int8), self._scales, self.scale, self.zero, *geometry, None
        )
        return packed

    def _geometry(self, padding: tuple[int, int]) -> tuple[Any, ...]:
        """Stride, padding, dilation, groups."""
        return [1, 1], list(padding), [self.dilation, self.dilation], 1

    def _weights(self, packed: Tensor) -> tuple[Any, ...]:
        return self.scale, self.zero, packed, self._scales, self._zeros

    def numbers(self, values: Tensor) -> Tensor:
        """Values as the 8-bit numbers that this convolution eats; they are used up."""
        values.mul_(1 / self.scale).add_(self.zero).round_().clamp_(0, LEVELS)
        return values.to(torch.uint8)

    def __call__(self, numbers: Tensor, padding: tuple[int, int], *, relu: bool = False) -> Tensor:
        made: Tensor = torch.ops.onednn.qconv2d_pointwise(
            numbers,
            *self._weights(self._packed),
            self._bias,
            *self._geometry(padding),
            self._out_scale,
            self._out_zero,
            self._dtype,
            "relu" if relu else "none",
            [],
            "",
        )
        return made

    def added(
        self, numbers: Tensor, total: Tensor, scale: float, zero: int, *, relu: bool = False
    ) -> Tensor:
        """Add what this makes to ``total``, numbers with this scale and zero; it is used up.

        Only of a convolution with a single tap. Where the processor has AMX (oneDNN 3.12), the
        kernel for those rounds otherwise on several threads than on one. The kernel for several
        taps does not, and makes what that one makes on one thread. So there a second tap is put
        below the first, of zeros; an eighth slower, or not at all with AMX.
        """
        packed = self._packed
        if torch.get_num_threads() > 1:
            packed, numbers = self._two_taps, functional.pad(numbers, (0, 0, 0, 1))
        made: Tensor = torch.ops.onednn.qconv2d_pointwise.binary(
            numbers,
            *self._weights(packed),
            total,
            self._bias,
            *self._geometry((0, 0)),
            self._out_scale,
            self._out_zero,
            self._dtype,
            scale,
            zero,
            "sum",
            1.0,
            "relu" if relu else None,
            [],
            "",
        )
        return made


def check_kernels() -> None:
    """Refuse 8 bits where torch has no kernels for them, or such as lose what exceeds 16 bits.

    Raises
    ------
    OptionError : with what to do instead
    """
    with own_torch.building():
        _try_kernels()


def _try_kernels() -> None:
    with own_torch.without_values():
        conv = nn.Conv2d(_PROBE_CHANNELS, 1, 1, dtype=torch.float32)
    with torch.no_grad():
        conv.weight.fill_(_PROBE_WEIGHT)
        assert conv.bias is not None
        conv.bias.zero_()
    numbers = torch.full((1, _PROBE_CHANNELS, 8, 8), LEVELS, dtype=torch.uint8)
    numbers = numbers.contiguous(memory_format=torch.channels_last)
    try:
        made = _Convolution(conv, (0.0, float(LEVELS)), None)(numbers, (0, 0))
    except (RuntimeError, AttributeError) as error:
        reason = str(error).splitlines()[0][:100]
        raise OptionError(f"--precision int8: this torch can't ({reason}); {_REMEDY}") from error
    if not torch.equal(made, torch.full_like(made, LEVELS * _PROBE_WEIGHT * _PROBE_CHANNELS)):
        raise OptionError(
            "--precision int8: this processor has no instructions for 8-bit sums (VNNI or AMX), "
            f"and torch would lose what exceeds 16 bits; {_REMEDY}"
        )
