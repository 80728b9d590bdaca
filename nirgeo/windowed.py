"""The local affine generator on one window, computing no more than its target needs.

``LocalAffineGenerator.forward`` gives every pixel of a window a colour, those of the halo too,
which are then thrown away. Here a convolution computes only those cells that a later one will read,
so that the halo shrinks from layer to layer; and what happens at full resolution happens for the
target alone, in strips that stay in the processor's cache. The bits are those of ``forward``: the
same sums over the same cells.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

from nirgeo.generator import (
    LARGEST_EXACT_DILATION,
    GeneratorConfig,
    LocalAffineGenerator,
    ResidualBlock,
)
from nirgeo.hints import CHANNELS as HINT_CHANNELS
from nirgeo.receptive_field import Conv, Upsample

STRIP = 64
"""Rows of the target that are brought to full resolution at once."""


@dataclass(frozen=True, slots=True)
class Span:
    """Positions ``start`` … ``stop`` - 1 along one axis."""

    start: int
    stop: int

    @property
    def length(self) -> int:
        return self.stop - self.start

    def behind(self, operation: Conv | Upsample, size: int) -> Span:
        """What this is computed from, on a grid of ``size`` positions; beyond it there is none."""
        first, last = operation.behind(self.start, self.stop - 1)
        return Span(max(0, first), min(size, last + 1))

    def within(self, other: Span) -> slice:
        """This part of an array that covers ``other``."""
        return slice(self.start - other.start, self.stop - other.start)


@dataclass(frozen=True, slots=True)
class Cells:
    """A rectangle of the coarse grid that one stage of the network has."""

    rows: Span
    cols: Span

    @property
    def count(self) -> int:
        return self.rows.length * self.cols.length

    def within(self, other: Cells) -> tuple[Any, ...]:
        """This part of an array (…, rows, columns) that covers ``other``."""
        return (..., self.rows.within(other.rows), self.cols.within(other.cols))

    @property
    def slices(self) -> tuple[Any, ...]:
        """This part of an array (…, rows, columns) that covers the whole window."""
        return (
            ...,
            slice(self.rows.start, self.rows.stop),
            slice(self.cols.start, self.cols.stop),
        )

    def pixels(self, factor: int) -> tuple[Any, ...]:
        """The pixels of the window (…, rows, columns) that are folded into these cells."""
        return (
            ...,
            slice(self.rows.start * factor, self.rows.stop * factor),
            slice(self.cols.start * factor, self.cols.stop * factor),
        )


Trunk: TypeAlias = Callable[[Tensor, Sequence[Cells]], Tensor]
"""(folded input, :func:`stages_for`) to the features of the last stage but one.

It may write over its input."""


def cells_behind(pixels: Span, size: int, config: GeneratorConfig) -> list[Span]:
    """The coarse cells that every stage must have for these pixels of a window of ``size``.

    Stages are the folded input, what leaves the stem and every block, and the smoothed fields.
    """
    cells = size // config.shuffle
    kernels = [(config.smoothing, 1), *((3, d) for d in reversed(config.block_dilations)), (3, 1)]
    spans = [pixels.behind(Upsample(config.shuffle), cells)]
    for kernel, dilation in kernels:
        spans.append(spans[-1].behind(Conv(kernel, dilation), cells))
    return spans[::-1]


def paint(
    net: LocalAffineGenerator,
    x: Tensor,
    valid: Tensor,
    hint: Tensor | None,
    target: tuple[slice, slice],
    *,
    expect_error: bool = False,
    trunk: Trunk | None = None,
) -> Tensor:
    """Colours of the target, and with ``expect_error`` one plane more, in degrees: (N, out, h, w).

    Equal to what ``forward`` or ``with_error`` give there. To be called in inference mode.

    Parameters
    ----------
    x, hint : as for ``forward``
    valid : (N, 1, H, W), True where measured
    target : rows and columns of the window that are wanted
    trunk : what computes the network's features in place of its own 32 bits
    """
    stages = stages_for(net.config, (x.shape[2], x.shape[3]), target)
    seen, smooth = stages[-2:]
    folded = _folded(net, x, valid, hint, stages[0])
    features = _features(net, folded, stages) if trunk is None else trunk(folded, stages)
    del folded
    fields = [net.coarse_colours(features)[smooth.within(seen)]]
    if expect_error:
        known = None if hint is None else hint[seen.slices]
        fields.append(net.coarse_error(features, known)[smooth.within(seen)])
    del features
    return render(net, x, fields, smooth, target)


def render(
    net: LocalAffineGenerator,
    x: Tensor,
    fields: Sequence[Tensor],
    cells: Cells,
    target: tuple[slice, slice],
) -> Tensor:
    """The target at full resolution, from what the trunk found out: (N, out, h, w).

    Parameters
    ----------
    x : as for ``forward``, all of the window
    fields : gains and offsets of the colours on ``cells``; and of the expected error, if it is
        wanted as one plane more
    cells : the last of :func:`stages_for`
    """
    colours = net.config.out_bands
    rows, cols = (Span(part.start, part.stop) for part in target)
    result = x.new_empty(x.shape[0], colours + len(fields) - 1, rows.length, cols.length)
    for strip in _strips(rows):
        shown = x[:, :, strip.start : strip.stop, cols.start : cols.stop]
        full = [_upsampled(net, field, cells, strip, cols) for field in fields]
        out = result[:, :, strip.within(rows)]
        out[:, :colours] = net.coloured(shown, full[0])
        if len(fields) > 1:
            out[:, colours:] = net.degrees(shown, full[1])
    return result


def smallest_input(
    config: GeneratorConfig, shape: tuple[int, int], target: tuple[slice, slice]
) -> int:
    """Values that enter the smallest convolution of :func:`paint`, for a window of this shape."""
    stages = stages_for(config, shape, target)
    return min(stages[0].count * config.stem_channels, stages[-2].count * config.width)


def stages_for(
    config: GeneratorConfig, shape: tuple[int, int], target: tuple[slice, slice]
) -> list[Cells]:
    """The cells of every stage of :func:`cells_behind`, for a window of (height, width) pixels."""
    spans = (
        cells_behind(Span(part.start, part.stop), size, config)
        for part, size in zip(target, shape, strict=True)
    )
    return [Cells(*pair) for pair in zip(*spans, strict=True)]


def _folded(
    net: LocalAffineGenerator, x: Tensor, valid: Tensor, hint: Tensor | None, cells: Cells
) -> Tensor:
    """``folded`` of the network, for these cells; every number is written once."""
    factor, bands = net.stride, net.config.in_bands
    pixels = cells.pixels(factor)
    seen, measured = x[pixels], valid[pixels]
    count, _, height, width = seen.shape
    rows, cols = height // factor, width // factor
    result = x.new_empty(count, rows, cols, net.config.stem_channels)
    *lines, coverage, hints = result.split([factor] * (bands * factor) + [1, HINT_CHANNELS], dim=3)
    for band, limits in enumerate(net.input_range.tolist()):
        limited = seen[:, band].clamp(limits[0], limits[-1])
        by_line = limited.reshape(count, rows, factor, cols, factor).unbind(2)
        for number, line in enumerate(by_line, start=band * factor):
            lines[number].copy_(line)
    if measured.all():
        coverage.fill_(1)
    else:
        coverage.copy_(F.avg_pool2d(measured.to(x.dtype), factor).permute(0, 2, 3, 1))
    if hint is None:
        hints.zero_()
    else:
        hints.copy_(hint[cells.slices].permute(0, 2, 3, 1))
    return result.permute(0, 3, 1, 2)


def _features(net: LocalAffineGenerator, folded: Tensor, stages: Sequence[Cells]) -> Tensor:
    """``features`` of the network, for the cells of the last stage but one."""
    features = _convolved(net.stem, folded, *stages[:2])
    for block, before, after in zip(net.blocks, stages[1:-2], stages[2:-1], strict=True):
        assert isinstance(block, ResidualBlock)
        spread = F.relu(_convolved(block.spatial, features, before, after), inplace=True)
        features = block.pointwise(spread).add_(features[after.within(before)])
    return F.relu(features, inplace=True)


def _convolved(conv: nn.Conv2d, features: Tensor, before: Cells, after: Cells) -> Tensor:
    """Cells ``after`` of a 3×3 convolution from those ``before``, with zeros beyond the window."""
    reach = int(conv.dilation[0])
    if reach > LARGEST_EXACT_DILATION:  # taken apart, and so in need of its own padding
        same: Tensor = conv(features)
        return same[after.within(before)]
    features, padding = padded(features, reach, before, after)
    return F.conv2d(features, conv.weight, conv.bias, 1, padding, conv.dilation)


def padded(
    features: Tensor, reach: int, before: Cells, after: Cells, nothing: float = 0.0
) -> tuple[Tensor, tuple[int, int]]:
    """Cells ``before``, ready for a 3×3 convolution that makes those ``after``; and its padding.

    ``nothing`` is what stands beyond the window, for a convolution whose own padding is that too.
    """
    (top, bottom), (left, right) = (
        (reach - (b.start - a.start), reach - (a.stop - b.stop))
        for a, b in ((before.rows, after.rows), (before.cols, after.cols))
    )
    if top == bottom and left == right:
        return features, (top, left)
    return F.pad(features, (left, right, top, bottom), value=nothing), (0, 0)


def _strips(rows: Span) -> Iterator[Span]:
    for start in range(rows.start, rows.stop, STRIP):
        yield Span(start, min(start + STRIP, rows.stop))


def _upsampled(
    net: LocalAffineGenerator, field: Tensor, cells: Cells, rows: Span, cols: Span
) -> Tensor:
    """A field on ``cells`` at full resolution, for these pixels."""
    factor = net.stride
    needed = rows.behind(Upsample(factor), cells.rows.stop)
    full = net.upsampled(field[:, :, needed.within(cells.rows)])
    top, left = needed.start * factor, cells.cols.start * factor
    return full[:, :, rows.start - top : rows.stop - top, cols.start - left : cols.stop - left]
