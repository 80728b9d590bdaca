"""What a generator is asked to get right, and the discriminator that asks for more."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

from nirgeo.radiometry import Quantity


def masked_mean(values: Tensor, valid: Tensor) -> Tensor:
    """Mean over valid pixels; ``valid`` (N, 1, H, W) broadcasts over channels."""
    weight = valid.expand_as(values)
    return (values * weight).sum() / weight.sum().clamp(min=1)


def reconstruction(prediction: Tensor, truth: Tensor, valid: Tensor) -> Tensor:
    """L1 in working space."""
    return masked_mean((prediction - truth).abs(), valid)


def direction(prediction: Tensor, truth: Tensor, valid: Tensor, quantity: Quantity) -> Tensor:
    """One minus the cosine of the angle between linear colours.

    Dark pixels have a poorly measured direction: their weight falls to zero with the length of the
    true colour (full from a reflectance of 0.06, or 26 counts).
    """
    if quantity is Quantity.REFLECTANCE:
        prediction, truth, full = prediction.clamp(min=0) ** 2, truth**2, 0.06
    else:
        full = 0.1
    cosine = F.cosine_similarity(prediction, truth, dim=1, eps=1e-4).unsqueeze(1)
    length = torch.linalg.vector_norm(truth, dim=1, keepdim=True)
    weight = (length / full).clamp(max=1) * valid
    return ((1 - cosine) * weight).sum() / weight.sum().clamp(min=1)


class PatchDiscriminator(nn.Module):
    """Judges colour together with the NIR it was made from, patch by patch (Isola et al. 2017).

    Spectral normalisation keeps it gentle; it works at half resolution, because the generator's
    detail is the NIR's own and needs no judge.
    """

    def __init__(self, channels: int, width: int = 32) -> None:
        super().__init__()
        norm = nn.utils.parametrizations.spectral_norm
        self.layers = nn.Sequential(
            nn.PixelUnshuffle(2),
            norm(nn.Conv2d(channels * 4, width, 3, padding=1)),
            nn.LeakyReLU(0.2),
            norm(nn.Conv2d(width, width * 2, 3, stride=2, padding=1)),
            nn.LeakyReLU(0.2),
            norm(nn.Conv2d(width * 2, width * 2, 3, padding=1)),
            nn.LeakyReLU(0.2),
            norm(nn.Conv2d(width * 2, 1, 1)),
        )

    def forward(self, inputs: Tensor, colours: Tensor) -> Tensor:
        return self.layers(torch.cat((inputs, colours), dim=1))


def discriminator_hinge(real: Tensor, fake: Tensor) -> Tensor:
    """Hinge loss of the discriminator (Miyato et al. 2018)."""
    return F.relu(1 - real).mean() + F.relu(1 + fake).mean()


def generator_hinge(fake: Tensor) -> Tensor:
    """Hinge loss of the generator."""
    return -fake.mean()
