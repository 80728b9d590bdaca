"""What a generator is asked to get right, and the discriminator that asks for more."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812

from nirgeo.radiometry import Quantity


def masked_mean(values: Tensor, valid: Tensor) -> Tensor:
    """Mean over valid pixels; ``valid`` (N, 1, H, W) broadcasts over channels.

    Here and below ``valid`` may hold weights beside 0 and 1.
    """
    weight = valid.expand_as(values)
    return (values * weight).sum() / weight.sum().clamp(min=1)


def reconstruction(prediction: Tensor, truth: Tensor, valid: Tensor) -> Tensor:
    """L1 in working space."""
    return masked_mean((prediction - truth).abs(), valid)


def squares(prediction: Tensor, truth: Tensor, valid: Tensor) -> Tensor:
    """Mean square of the error in working space.

    Where a value may be a tree or a roof, L1 is least for the commoner of the two, whatever the
    odds; this is least for the mean, and so moves with them.
    """
    return masked_mean((prediction - truth) ** 2, valid)


def without_cast(prediction: Tensor, truth: Tensor, valid: Tensor) -> Tensor:
    """The prediction (N, 3, H, W) times the gain per patch and colour that makes its mean right.

    Gains stay between a half and twice.
    """
    said, true = ((a * valid).sum(dim=(2, 3), keepdim=True) for a in (prediction, truth))
    return prediction * (true / said.clamp(min=1e-3)).clamp(0.5, 2)


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


def structure(prediction: Tensor, truth: Tensor, valid: Tensor) -> Tensor:
    """One minus the structural similarity (Wang et al. 2004) in working space, a range of 1.

    Means over 7×7 pixels; windows with an invalid pixel do not count.
    """

    def mean(values: Tensor) -> Tensor:
        return F.avg_pool2d(values, 7, stride=1)

    a, b = mean(prediction), mean(truth)
    spread_a = mean(prediction**2) - a * a
    spread_b = mean(truth**2) - b * b
    both = mean(prediction * truth) - a * b
    c1, c2 = 0.01**2, 0.03**2
    likeness = ((2 * a * b + c1) * (2 * both + c2)) / (
        (a * a + b * b + c1) * (spread_a + spread_b + c2)
    )
    whole = (-F.max_pool2d(-valid, 7, stride=1)).expand_as(likeness)
    return ((1 - likeness) * whole).sum() / whole.sum().clamp(min=1)


def adversarial(kind: str, real: Tensor | None, fake: Tensor) -> Tensor:
    """Loss of the discriminator where ``real`` is given, else that of the generator.

    Both take logits. With σ the sigmoid, and means over everything that is judged:

    ``minimax``
        −log σ(real) − log(1 − σ(fake)), and log(1 − σ(fake)), which saturates while the
        discriminator wins (Suárez et al. 2017, Eq. 1 and 2, as losses to descend)
    ``nonsaturating``
        the same, and −log σ(fake) (Goodfellow et al. 2014)
    ``hinge``
        max(0, 1 − real) + max(0, 1 + fake), and −fake (Miyato et al. 2018)
    """
    if kind == "hinge":
        if real is None:
            return -fake.mean()
        return F.relu(1 - real).mean() + F.relu(1 + fake).mean()
    if real is not None:
        return F.softplus(-real).mean() + F.softplus(fake).mean()
    return -F.softplus(fake).mean() if kind == "minimax" else F.softplus(-fake).mean()
