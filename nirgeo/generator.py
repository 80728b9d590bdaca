"""The generator: NIR in, natural colour out, exact under tiling.

A trunk looks at the image folded to a quarter of its resolution and predicts, for every coarse
cell, a gain and an offset per colour. Upsampled bilinearly, they act on the full-resolution input:

    colour = table(input) + fade(input) · (gain · input + offset)

so every detail of the NIR image is kept by construction and no checkerboard can appear. ``table``
is a fixed per-pixel mapping fitted to the training data before the network is trained: the network
only learns what the pixel's value can't tell. ``fade`` is 1 inside the range of values seen in
training and falls to 0 outside it, so that snow, cloud and glint are coloured by the table alone.

The second input is the *colour hint*: a coarse field, at the trunk's resolution, of expected
log(R/G), log(B/G) and how far to trust them. All zeros means that nothing is known.

A generator may also say how wrong it expects to be: a second head on the same trunk, and a table of
its own, make the expected angle between true and predicted colour (``expected_error``):

    log(degrees) = error_table(input) + gain · input + offset + error_trust · trust in the hint

The last term was not learnt but calibrated: on places that a network did not learn from, a hint
helps more than the trunk knows.

What exactness under tiling forbids is absent: no normalisation over space or batch, no global
pooling, no fixed-size upsampling, no dense layer. See ``docs/architecture.md``.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, TypeVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

from nirgeo import hints, planes
from nirgeo.errors import ModelError
from nirgeo.hints import CHANNELS as HINT_CHANNELS
from nirgeo.receptive_field import Conv, Operation, Unshuffle, Upsample, halo

_Network = TypeVar("_Network", bound=nn.Module)

MAX_LOG_DEGREES = math.log(180.0)

FULL_TRUST = float(hints.trust(hints.USUAL_ERROR))
"""Trust in a hint that takes all of ``error_trust``, and more does not take more of it."""


def check_limits(limits: Mapping[str, tuple[Any, int, int]]) -> None:
    """Refuse a shape of a network whose numbers, by name, are no integers in low … high.

    Raises
    ------
    ModelError : naming the first that is not
    """
    for name, (value, low, high) in limits.items():
        if not isinstance(value, int) or not low <= value <= high:
            raise ModelError(f"generator {name}={value!r} must be an integer in {low}…{high}")


@dataclass(frozen=True)
class GeneratorConfig:
    """Shape of a :class:`LocalAffineGenerator`.

    ``in_bands`` measured bands (working space) become ``out_bands`` colours. ``knots`` points of
    the table cover 0 … ``table_max`` evenly. ``dilations`` are those of the blocks' 3×3
    convolutions; none means 1 throughout. Gains and offsets of the colours are averaged over
    ``smoothing`` × ``smoothing`` cells. With ``expects_error`` the network can tell the error it
    expects, which with ``weighs_hint`` depends on the trust in the colour hint too.

    The limits keep tiling exact. Bilinear upsampling computes positions in float32; they are free
    of rounding, and so the same wherever a window starts, only if ``shuffle`` is a power of two.
    And from some hundred channels on torch computes convolutions of small and of large images
    differently: with 14 input bands, and with a width of 512, the last bit was seen to differ.
    """

    in_bands: int = 1
    out_bands: int = 3
    width: int = 64
    depth: int = 8
    shuffle: int = 4
    knots: int = 33
    table_max: float = 1.0
    dilations: tuple[int, ...] = ()
    smoothing: int = 1
    expects_error: bool = False
    weighs_hint: bool = False

    def __post_init__(self) -> None:
        object.__setattr__(self, "dilations", tuple(self.dilations))  # JSON has lists
        limits = {
            "in_bands": (self.in_bands, 1, 8),
            "out_bands": (self.out_bands, 1, 16),
            "width": (self.width, 4, 256),
            "depth": (self.depth, 0, 64),
            "shuffle": (self.shuffle, 1, 8),
            "knots": (self.knots, 2, 4096),
            "smoothing": (self.smoothing, 1, 33),
        }
        check_limits(limits)
        if len(self.dilations) not in (0, self.depth):
            raise ModelError(
                f"generator dilations={self.dilations!r} must be {self.depth} numbers or none"
            )
        for dilation in self.dilations:
            check_limits({"dilations": (dilation, 1, 8)})
        if self.smoothing % 2 == 0:
            raise ModelError(f"generator smoothing={self.smoothing} must be odd")
        for name in ("expects_error", "weighs_hint"):
            if not isinstance(getattr(self, name), bool):
                raise ModelError(f"generator {name}={getattr(self, name)!r} must be true or false")
        if self.shuffle & (self.shuffle - 1):
            raise ModelError(f"generator shuffle={self.shuffle} must be a power of two")
        if not isinstance(self.table_max, (int, float)) or not 0 < self.table_max <= 100:
            raise ModelError(f"generator table_max={self.table_max!r} must lie in 0…100")

    def to_json(self) -> dict[str, Any]:
        return asdict(self) | {"dilations": list(self.dilations)}

    @property
    def stem_channels(self) -> int:
        """Channels entering the trunk: folded bands, share of valid pixels, colour hint."""
        return self.in_bands * self.shuffle**2 + 1 + HINT_CHANNELS

    @property
    def stride(self) -> int:
        """Pixels per cell of the trunk."""
        return self.shuffle

    @property
    def path(self) -> tuple[Operation, ...]:
        """The operations between input and output, for :func:`nirgeo.receptive_field.halo`."""
        blocks = [Conv(3, dilation) for dilation in self.block_dilations]
        heads = (Conv(1), Conv(self.smoothing), Upsample(self.shuffle))
        return (Unshuffle(self.shuffle), Conv(3), *blocks, *heads)

    @property
    def block_dilations(self) -> tuple[int, ...]:
        """Dilation of every block's 3×3 convolution."""
        return self.dilations or (1,) * self.depth

    @property
    def halo(self) -> int:
        """Receptive-field radius in pixels, the upsampling included."""
        return halo(self.path, self.shuffle)

    def tensor_shapes(self) -> dict[str, tuple[int, ...]]:
        """Names and shapes of the network's tensors, as a model file must hold them.

        Known without building the network: torch loads 800 modules to build one without memory,
        and one with memory must not be built before a file was looked at.
        """
        shapes: dict[str, tuple[int, ...]] = {
            "input_range": (self.in_bands, 4),
            "table.values": (self.in_bands, self.knots, self.out_bands),
            "stem.weight": (self.width, self.stem_channels, 3, 3),
            "stem.bias": (self.width,),
        }
        for k in range(self.depth):
            shapes |= {
                f"blocks.{k}.spatial.weight": (self.width, self.width, 3, 3),
                f"blocks.{k}.spatial.bias": (self.width,),
                f"blocks.{k}.pointwise.weight": (self.width, self.width, 1, 1),
                f"blocks.{k}.pointwise.bias": (self.width,),
            }
        coarse = self.out_bands * (self.in_bands + 1)
        shapes |= {"head.weight": (coarse, self.width, 1, 1), "head.bias": (coarse,)}
        if self.expects_error:
            shapes |= {
                "error_table.values": (self.in_bands, self.knots, 1),
                "error_head.weight": (self.in_bands + 1, self.width, 1, 1),
                "error_head.bias": (self.in_bands + 1,),
            }
            if self.weighs_hint:
                shapes["error_trust"] = (1,)
        return shapes


LARGEST_EXACT_DILATION = 2
"""Up to here torch sums the taps of a 3×3 convolution in one order, whatever it is given."""


def pointwise(channels_in: int, channels_out: int) -> nn.Conv2d:
    """A 1×1 convolution that torch computes with one kernel whatever the number of threads.

    On one CPU thread torch sends plain 1×1 convolutions to another library than on two, and the
    last bit differs. It does not do so for dilated ones; on a single tap dilation means nothing.
    """
    return nn.Conv2d(channels_in, channels_out, 1, dilation=2)


class DilatedConv(nn.Conv2d):
    """A 3×3 convolution that torch computes alike whatever the number of threads and the size.

    From a dilation of three on, torch's kernel for two threads sums some sizes in another order
    than the one for one thread. Up to two it does not. So a wider one is taken apart into every
    second (or third …) row and column, which a narrower dilation then sees as neighbours.
    """

    whole: bool = False
    """Not to be taken apart: for a graph that another runtime computes."""

    def __init__(self, width: int, dilation: int) -> None:
        super().__init__(width, width, 3, padding=dilation, dilation=dilation)
        self.step = 1
        if dilation > LARGEST_EXACT_DILATION:
            self.step = dilation // 2 if dilation % 2 == 0 else dilation

    def forward(self, x: Tensor) -> Tensor:
        step = self.step
        if step == 1 or self.whole:
            return super().forward(x)
        count, _, height, width = x.shape
        x = F.pad(x, (0, -width % step, 0, -height % step))
        steps = [(down, across) for down in range(step) for across in range(step)]
        parts = torch.cat([x[:, :, i::step, j::step] for i, j in steps])
        parts = parts.contiguous(memory_format=torch.channels_last)
        reach = int(self.dilation[0]) // step
        made = F.conv2d(parts, self.weight, self.bias, 1, reach, reach)
        result = torch.empty_like(x)
        for number, (i, j) in enumerate(steps):
            result[:, :, i::step, j::step] = made[number * count : (number + 1) * count]
        return result[:, :, :height, :width]


class ResidualBlock(nn.Module):
    """``x + W₁ₓ₁ · relu(W₃ₓ₃ · x)``; starts as the identity."""

    def __init__(self, width: int, dilation: int = 1) -> None:
        super().__init__()
        self.spatial = DilatedConv(width, dilation)
        self.pointwise = pointwise(width, width)
        nn.init.kaiming_normal_(self.spatial.weight, nonlinearity="relu")
        nn.init.zeros_(self.spatial.bias)  # type: ignore[arg-type]
        nn.init.zeros_(self.pointwise.weight)
        nn.init.zeros_(self.pointwise.bias)  # type: ignore[arg-type]

    def forward(self, x: Tensor) -> Tensor:
        change: Tensor = self.pointwise(F.relu(self.spatial(x), inplace=True))
        return x + change


class PiecewiseLinear(nn.Module):
    """A table per input band, linear between evenly spaced knots, summed over the bands.

    ``values`` has shape (bands, knots, colours). Not trained by gradient: see
    :func:`nirgeo.training.table.fit_table`.
    """

    values: Tensor

    def __init__(self, bands: int, knots: int, colours: int, maximum: float) -> None:
        super().__init__()
        self.maximum = maximum
        self.register_buffer("values", torch.zeros(bands, knots, colours))

    def forward(self, x: Tensor) -> Tensor:
        """(N, bands, H, W) to (N, colours, H, W), a plane per colour."""
        count, bands, height, width = x.shape
        last, colours = self.values.shape[1] - 1, self.values.shape[2]
        position = x.clamp(0, self.maximum) * (last / self.maximum)
        index = position.floor().clamp(max=last - 1)
        fraction = position - index
        index = index.int()
        # One lookup fetches both ends of the segment: start values and slopes, plane by plane.
        starts, ends = self.values[:, :-1], self.values[:, 1:]
        segments = torch.cat((starts, ends - starts), dim=2)  # .diff() can not be exported
        total: Tensor | None = None
        for band in range(bands):
            both = segments[band].t().index_select(1, index[:, band].reshape(-1))
            found = both.view(2 * colours, count, height, width).transpose(0, 1)
            rest = fraction[:, band : band + 1]
            term = torch.addcmul(found[:, :colours], found[:, colours:], rest)
            total = term if total is None else total + term
        assert total is not None
        return total


class LocalAffineGenerator(nn.Module):
    """See the module's docstring.

    ``input_range`` holds, per band, the values where ``fade`` leaves 0, reaches 1, leaves 1 and
    reaches 0 again.
    """

    input_range: Tensor
    error_trust: Tensor
    dropout: float = 0.0
    """Share of trunk channels dropped in training; nothing is dropped in evaluation mode."""

    def __init__(self, config: GeneratorConfig) -> None:
        super().__init__()
        self.config = config
        self.stride = config.shuffle
        self.table = PiecewiseLinear(
            config.in_bands, config.knots, config.out_bands, config.table_max
        )
        self.stem = nn.Conv2d(config.stem_channels, config.width, 3, padding=1)
        self.blocks = nn.Sequential(
            *(ResidualBlock(config.width, dilation) for dilation in config.block_dilations)
        )
        coarse = config.out_bands * (config.in_bands + 1)
        self.head = pointwise(config.width, coarse)
        nn.init.zeros_(self.head.weight)
        nn.init.zeros_(self.head.bias)  # type: ignore[arg-type]
        self.error_head: nn.Conv2d | None = None
        if config.expects_error:
            self.error_table = PiecewiseLinear(config.in_bands, config.knots, 1, config.table_max)
            self.error_head = pointwise(config.width, config.in_bands + 1)
            nn.init.zeros_(self.error_head.weight)
            nn.init.zeros_(self.error_head.bias)  # type: ignore[arg-type]
            if config.weighs_hint:
                self.register_buffer("error_trust", torch.zeros(1))
        wide_open = torch.tensor([-2.0, -1.0, config.table_max + 1, config.table_max + 2])
        self.register_buffer("input_range", wide_open.repeat(config.in_bands, 1))

    @property
    def halo(self) -> int:
        """Receptive-field radius in pixels, the upsampling included."""
        return self.config.halo

    def fade(self, x: Tensor) -> Tensor:
        """How far the correction may act: (N, 1, H, W) in 0…1."""
        a, b, c, d = (self.input_range[:, k].view(1, -1, 1, 1) for k in range(4))
        rising = ((x - a) / (b - a)).clamp(0, 1)
        falling = ((d - x) / (d - c)).clamp(0, 1)
        inside = rising * falling
        return inside if inside.shape[1] == 1 else inside.amin(dim=1, keepdim=True)

    def folded(self, x: Tensor, valid: Tensor, hint: Tensor | None) -> Tensor:
        """What enters the trunk: (N, stem channels, H/s, W/s)."""
        factor = self.config.shuffle
        low = self.input_range[:, 0].view(1, -1, 1, 1)
        high = self.input_range[:, 3].view(1, -1, 1, 1)
        count, bands, height, width = x.shape
        rows, cols = height // factor, width // factor
        blocks = x.clamp(min=low, max=high).reshape(count, bands, rows, factor, cols, factor)
        # Channels go last here already, which is how convolutions want them.
        folded = blocks.permute(0, 2, 4, 1, 3, 5).reshape(count, rows, cols, -1)
        coverage = F.avg_pool2d(valid, factor).permute(0, 2, 3, 1)
        if hint is None:
            hint = x.new_zeros(count, HINT_CHANNELS, rows, cols)
        parts = (folded, coverage, hint.permute(0, 2, 3, 1))
        return torch.cat(parts, dim=3).permute(0, 3, 1, 2)

    def features(self, x: Tensor, valid: Tensor, hint: Tensor | None) -> Tensor:
        """What the trunk makes of its surroundings: (N, width, H/s, W/s)."""
        features = F.relu(self.blocks(self.stem(self.folded(x, valid, hint))))
        return F.dropout2d(features, self.dropout, self.training)

    def forward(self, x: Tensor, valid: Tensor, hint: Tensor | None = None) -> Tensor:
        """Colours in working space, not clipped: (N, out, H, W).

        Parameters
        ----------
        x : (N, in, H, W) float32, working space, invalid pixels 0; H and W multiples of the stride
        valid : (N, 1, H, W) float32, 1 where measured
        hint : (N, 3, H/stride, W/stride) float32 or None for an unknown colour
        """
        return self.colours(x, self.features(x, valid, hint))

    def with_error(
        self, x: Tensor, valid: Tensor, hint: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """:meth:`forward`, and the expected angular error in degrees: (N, 1, H, W).

        Only of a network that :attr:`GeneratorConfig.expects_error`.
        """
        features = self.features(x, valid, hint)
        return self.colours(x, features), self.expected_error(x, features, hint)

    def colours(self, x: Tensor, features: Tensor) -> Tensor:
        """Working space (N, out, H, W), from the input and what the trunk made of it."""
        return self.coloured(x, self.upsampled(self.coarse_colours(features)))

    def expected_error(self, x: Tensor, features: Tensor, hint: Tensor | None) -> Tensor:
        """Degrees, from the input and what the trunk made of it: (N, 1, H, W), at most 180."""
        return self.degrees(x, self.upsampled(self.coarse_error(features, hint)))

    def coarse_colours(self, features: Tensor) -> Tensor:
        """Gains and offsets of the colours: (N, out·(in+1), H/s, W/s)."""
        coarse: Tensor = self.head(features)
        if self.config.smoothing > 1:
            coarse = planes.averaged(coarse, self.config.smoothing)
        return coarse

    def coarse_error(self, features: Tensor, hint: Tensor | None) -> Tensor:
        """Gains and offset of the expected error's logarithm: (N, in+1, H/s, W/s).

        ``hint`` is that of the cells that ``features`` has.
        """
        assert self.error_head is not None
        coarse: Tensor = self.error_head(features)
        if hint is None or not self.config.weighs_hint:
            return coarse
        trusted = (hint[:, -1:] * (1 / FULL_TRUST)).clamp(max=1)
        gains, offset = coarse[:, :-1], coarse[:, -1:]
        return torch.cat((gains, torch.addcmul(offset, self.error_trust, trusted)), dim=1)

    def upsampled(self, coarse: Tensor) -> Tensor:
        """A field of the coarse grid at full resolution."""
        return planes.upsampled(coarse, self.stride)

    def coloured(self, x: Tensor, field: Tensor) -> Tensor:
        """Colours from the input and gains and offsets, both at full resolution."""
        return torch.addcmul(self.table(x), self.fade(x), self._affine(x, field))

    def degrees(self, x: Tensor, field: Tensor) -> Tensor:
        """Expected error from the input and gains and offset, both at full resolution."""
        logarithm = self.error_table(x) + self._affine(x, field)
        return logarithm.clamp(max=MAX_LOG_DEGREES).exp()

    def _affine(self, x: Tensor, field: Tensor) -> Tensor:
        """Gains and offsets (N, out·(in+1), H, W) applied: (N, out, H, W)."""
        bands = self.config.in_bands
        colours = field.shape[1] // (bands + 1)
        result = field[:, bands * colours :]
        for band in range(bands):
            gain = field[:, band * colours : (band + 1) * colours]
            result = torch.addcmul(result, gain, x[:, band : band + 1])
        return result


def channels_last(network: _Network) -> _Network:
    """The network with its weights in channels-last memory, the layout all exactness rests on."""
    network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    return network
