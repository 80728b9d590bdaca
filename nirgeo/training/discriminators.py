"""Networks that judge whether colours are real. They are trained beside a generator, never shipped.

Each maps (N, channels, P, P) to logits: one per patch of the picture, or one for all of it.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from nirgeo.bands import COLOURS
from nirgeo.training.config import TrainingConfig

_SLOPE = 0.2


class Spectral(nn.Module):
    """The project's own judge, patch by patch.

    Spectral normalisation keeps it gentle; it works at half resolution, because the generator's
    detail is the NIR's own and needs no judge.
    """

    def __init__(self, channels: int, width: int = 32) -> None:
        super().__init__()
        norm = nn.utils.parametrizations.spectral_norm
        self.layers = nn.Sequential(
            nn.PixelUnshuffle(2),
            norm(nn.Conv2d(channels * 4, width, 3, padding=1)),
            nn.LeakyReLU(_SLOPE),
            norm(nn.Conv2d(width, width * 2, 3, stride=2, padding=1)),
            nn.LeakyReLU(_SLOPE),
            norm(nn.Conv2d(width * 2, width * 2, 3, padding=1)),
            nn.LeakyReLU(_SLOPE),
            norm(nn.Conv2d(width * 2, 1, 1)),
        )

    def forward(self, picture: Tensor) -> Tensor:
        logits: Tensor = self.layers(picture)
        return logits


class Dcgan(nn.Module):
    """Strided convolutions down to 4×4, then one dense unit (Radford et al. 2016); 64-px patches.

    ``edge_norm`` normalises its first layer too.
    """

    def __init__(self, channels: int, width: int = 64, *, edge_norm: bool = True) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        before = channels
        for level in range(4):
            after = width * 2**level
            layers.append(nn.Conv2d(before, after, 4, 2, 1))
            if edge_norm or level > 0:
                layers.append(nn.BatchNorm2d(after))
            layers.append(nn.LeakyReLU(_SLOPE))
            before = after
        self.layers = nn.Sequential(*layers, nn.Flatten(), nn.Linear(before * 4 * 4, 1))

    def forward(self, picture: Tensor) -> Tensor:
        logits: Tensor = self.layers(picture)
        return logits


class PatchGan(nn.Module):
    """The 70×70 discriminator of pix2pix (Isola et al. 2017)."""

    def __init__(self, channels: int, width: int = 64) -> None:
        super().__init__()
        layers: list[nn.Module] = [nn.Conv2d(channels, width, 4, 2, 1), nn.LeakyReLU(_SLOPE)]
        for level, stride in ((1, 2), (2, 2), (3, 1)):
            before, after = width * 2 ** (level - 1), width * 2**level
            layers += [
                nn.Conv2d(before, after, 4, stride, 1),
                nn.BatchNorm2d(after),
                nn.LeakyReLU(_SLOPE),
            ]
        self.layers = nn.Sequential(*layers, nn.Conv2d(width * 8, 1, 4, 1, 1))

    def forward(self, picture: Tensor) -> Tensor:
        logits: Tensor = self.layers(picture)
        return logits


class Discriminator(nn.Module):
    """The judge that a configuration names, with what it is shown put together."""

    def __init__(self, config: TrainingConfig) -> None:
        super().__init__()
        self.conditional = config.conditional
        self.spectral = config.discriminator == "spectral"
        self.maximum = config.table_max
        channels = len(COLOURS) + (len(config.bands) if config.conditional else 0)
        if config.discriminator == "spectral":
            self.judge: nn.Module = Spectral(channels)
        elif config.discriminator == "dcgan":
            self.judge = Dcgan(channels, edge_norm=config.edge_norm)
        else:
            self.judge = PatchGan(channels)

    def forward(self, inputs: Tensor, colours: Tensor) -> Tensor:
        """Logits for measured bands and colours in working space."""
        seen = torch.cat((inputs, colours), dim=1) if self.conditional else colours
        # The judges from the literature are made for values in −1 … 1.
        logits: Tensor = self.judge(seen if self.spectral else seen * (2 / self.maximum) - 1)
        return logits
