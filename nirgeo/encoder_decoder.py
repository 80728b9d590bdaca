"""Encoder-decoder generators from the literature: DCGAN-style and U-Net.

Both halve the picture ``levels`` times with strided convolutions and double it again with
transposed ones; a U-Net hands every level's features across to the other side. They are here to be
compared with: the project's own network is :class:`nirgeo.generator.LocalAffineGenerator`.

Batch normalisation uses its running statistics outside training, so a pixel's colour depends on
its receptive field alone, and tiles of any size give the same picture.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

from nirgeo.errors import ModelError
from nirgeo.generator import check_limits
from nirgeo.receptive_field import Deconv, Operation, StridedConv, halo

_KERNEL, _STRIDE, _PADDING = 4, 2, 1
_SLOPE = 0.2
_DROPPED_LEVELS = 3
"""Deepest decoder levels with dropout (Isola et al. 2017)."""


@dataclass(frozen=True)
class EncoderDecoderConfig:
    """Shape of an :class:`EncoderDecoder`.

    Channels double from ``width`` with every level up to eight times ``width``. ``skips`` makes it
    a U-Net. ``edge_norm`` also normalises the first encoder layer and the last decoder layer, as
    "batch normalisation in every layer" says when taken literally. Inputs and outputs cover
    0 … ``maximum`` in working space.
    """

    in_bands: int = 1
    out_bands: int = 3
    width: int = 64
    levels: int = 3
    skips: bool = False
    edge_norm: bool = True
    maximum: float = 1.0

    def __post_init__(self) -> None:
        limits = {
            "in_bands": (self.in_bands, 1, 8),
            "out_bands": (self.out_bands, 1, 16),
            "width": (self.width, 4, 256),
            "levels": (self.levels, 1, 6),
        }
        check_limits(limits)
        for name, flag in (("skips", self.skips), ("edge_norm", self.edge_norm)):
            if not isinstance(flag, bool):
                raise ModelError(f"generator {name}={flag!r} must be true or false")
        if not isinstance(self.maximum, (int, float)) or not 0 < self.maximum <= 100:
            raise ModelError(f"generator maximum={self.maximum!r} must lie in 0…100")

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    @property
    def stride(self) -> int:
        return int(_STRIDE**self.levels)

    @property
    def narrowest(self) -> float:
        """Values per pixel that enter the convolution with the fewest of them."""
        entering = [c / 4**k for k, c in enumerate(self.encoder_channels[:-1])]
        entering += [
            before / 4 ** (self.levels - k) for k, (before, _) in enumerate(self.decoder_channels)
        ]
        return min(entering)

    @property
    def path(self) -> tuple[Operation, ...]:
        """The deepest way through the network; every other way sees less."""
        down = (StridedConv(_KERNEL, _STRIDE, _PADDING),) * self.levels
        return down + (Deconv(_KERNEL, _STRIDE, _PADDING),) * self.levels

    @property
    def halo(self) -> int:
        """Receptive-field radius in pixels."""
        return halo(self.path, self.stride)

    @property
    def encoder_channels(self) -> tuple[int, ...]:
        """Channels entering and leaving each encoder level: ``levels`` + 1 numbers."""
        return (self.in_bands, *(self.width * 2 ** min(k, 3) for k in range(self.levels)))

    @property
    def decoder_channels(self) -> tuple[tuple[int, int], ...]:
        """Channels entering and leaving each decoder level, the deepest first."""
        pairs = []
        for level in range(self.levels, 0, -1):
            doubled = 2 if self.skips and level < self.levels else 1
            out = self.out_bands if level == 1 else self.encoder_channels[level - 1]
            pairs.append((self.encoder_channels[level] * doubled, out))
        return tuple(pairs)

    def normalised(self, index: int, *, last: int) -> bool:
        """Whether layer ``index`` of an encoder or decoder that ends at ``last`` is."""
        return self.edge_norm or index != last

    def tensor_shapes(self) -> dict[str, tuple[int, ...]]:
        """Names and shapes of the tensors that a model file must hold."""
        shapes: dict[str, tuple[int, ...]] = {}
        square = (_KERNEL, _KERNEL)
        channels = self.encoder_channels
        for k in range(self.levels):
            shapes |= _layer(
                f"encoder.{k}",
                (channels[k + 1], channels[k], *square),
                channels[k + 1],
                norm=self.normalised(k, last=0),
            )
        for k, (before, after) in enumerate(self.decoder_channels):
            shapes |= _layer(
                f"decoder.{k}",
                (before, after, *square),
                after,
                norm=self.normalised(k, last=self.levels - 1),
            )
        return shapes


def _layer(
    name: str, weight: tuple[int, ...], out: int, *, norm: bool
) -> dict[str, tuple[int, ...]]:
    shapes = {f"{name}.convolution.weight": weight, f"{name}.convolution.bias": (out,)}
    if norm:
        parts = ("weight", "bias", "running_mean", "running_var")
        shapes |= {f"{name}.norm.{part}": (out,) for part in parts}
    return shapes


class _Layer(nn.Module):
    def __init__(self, convolution: nn.Conv2d | nn.ConvTranspose2d, *, norm: bool) -> None:
        super().__init__()
        self.convolution = convolution
        self.norm = nn.BatchNorm2d(convolution.out_channels) if norm else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.norm(self.convolution(x))
        return out


class EncoderDecoder(nn.Module):
    """See the module's docstring."""

    dropout: float = 0.0
    """Share of values dropped in the deepest decoder levels; in training only."""

    def __init__(self, config: EncoderDecoderConfig) -> None:
        super().__init__()
        self.config = config
        self.stride = config.stride
        channels = config.encoder_channels
        self.encoder = nn.ModuleList(
            _Layer(
                nn.Conv2d(channels[k], channels[k + 1], _KERNEL, _STRIDE, _PADDING),
                norm=config.normalised(k, last=0),
            )
            for k in range(config.levels)
        )
        self.decoder = nn.ModuleList(
            _Layer(
                nn.ConvTranspose2d(before, after, _KERNEL, _STRIDE, _PADDING),
                norm=config.normalised(k, last=config.levels - 1),
            )
            for k, (before, after) in enumerate(config.decoder_channels)
        )

    @property
    def halo(self) -> int:
        return self.config.halo

    def forward(self, x: Tensor, valid: Tensor, hint: Tensor | None = None) -> Tensor:
        """Colours in working space (N, out, H, W), for H and W multiples of the stride.

        ``valid`` and ``hint`` are taken to fit the interface of every generator; these networks
        know neither.
        """
        signal = x * (2 / self.config.maximum) - 1
        across = []
        for layer in self.encoder:
            signal = F.leaky_relu(layer(signal), _SLOPE)
            across.append(signal)
        last = self.config.levels - 1
        for k, layer in enumerate(self.decoder):
            if self.config.skips and k > 0:
                signal = torch.cat((signal, across[last - k]), dim=1)
            signal = layer(signal)
            if k < last:
                signal = F.relu(signal)
                if k < _DROPPED_LEVELS:
                    signal = F.dropout(signal, self.dropout, self.training)
        return (torch.tanh(signal) + 1) * (self.config.maximum / 2)
