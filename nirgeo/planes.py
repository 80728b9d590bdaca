"""Means and interpolation over planes, each value by sums of its own, wherever a plane starts.

torch has several kernels for either, chosen by layout and size, whose last bits differ; these are
made of sums of shifted planes, which have one, and are faster too.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812


def upsampled(field: Tensor, factor: int) -> Tensor:
    """Bilinear interpolation: (N, C, h, w) to (N, C, h·factor, w·factor), a plane per channel.

    Values stand for cells; at the border they go on as they are (``align_corners=False``).
    """
    return _interpolated(_interpolated(field.contiguous(), factor, 2), factor, 3)


def _interpolated(field: Tensor, factor: int, dim: int) -> Tensor:
    size = field.shape[dim]
    border = (1, 1, 0, 0) if dim == 3 else (0, 0, 1, 1)
    wide = F.pad(field, border, mode="replicate")
    slope = wide.narrow(dim, 1, size + 1) - wide.narrow(dim, 0, size + 1)
    phases = []
    for phase in range(factor):
        beyond = (phase + 0.5) / factor - 0.5  # of the cell's centre
        first = 0 if beyond < 0 else 1
        phases.append((first, beyond + 1 - first))
    if torch.is_grad_enabled():
        parts = [
            torch.add(wide.narrow(dim, k, size), slope.narrow(dim, k, size), alpha=share)
            for k, share in phases
        ]
        return torch.stack(parts, dim + 1).flatten(dim, dim + 1)
    shape = list(field.shape)
    made = field.new_empty(*shape[: dim + 1], factor, *shape[dim + 1 :])
    for phase, (k, share) in enumerate(phases):
        torch.add(
            wide.narrow(dim, k, size),
            slope.narrow(dim, k, size),
            alpha=share,
            out=made.select(dim + 1, phase),
        )
    return made.flatten(dim, dim + 1)


def averaged(field: Tensor, side: int) -> Tensor:
    """Mean over ``side`` × ``side`` cells around each, of those that are there: (N, C, h, w).

    Down, then across: the mean over a rectangle, in a fraction of the sums.
    """
    return _averaged(_averaged(field, side, 2), side, 3)


def _averaged(field: Tensor, side: int, dim: int) -> Tensor:
    there = field.new_ones(field.shape[dim])
    shape = (1, 1, 1, -1) if dim == 3 else (1, 1, -1, 1)
    return _sums(field, side, dim) / _sums(there.view(shape), side, dim)


def _sums(field: Tensor, side: int, dim: int) -> Tensor:
    size, half = field.shape[dim], side // 2
    wide = F.pad(field, (half, half, 0, 0) if dim == 3 else (0, 0, half, half))
    total = wide.narrow(dim, 0, size)
    for k in range(1, side):
        total = total + wide.narrow(dim, k, size)
    return total
