"""The batches of a training in order, drawn in between or ahead by other processes.

A batch follows from its step alone, so who draws it, and when, changes nothing of it. On a GPU a
step takes less than drawing its patches does on one core.
"""

from __future__ import annotations

import signal
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from nirgeo.training.data import Sampler

AHEAD = 4
"""Batches that wait, per process."""


class _BySteps(Dataset[tuple[Tensor, ...]]):
    """What torch's loader asks for a step's batch."""

    def __init__(self, sampler: Sampler) -> None:
        self._sampler = sampler

    def __getitem__(self, step: int) -> tuple[Tensor, ...]:
        return tuple(torch.from_numpy(part) for part in self._sampler.batch(step))


def _left_to_the_training(worker: int) -> None:
    """What ends a training may reach all its processes, and its own steps go on for a while.

    Without the training they end by themselves.
    """
    for name in ("SIGINT", "SIGTERM", "SIGHUP"):
        if hasattr(signal, name):
            signal.signal(getattr(signal, name), signal.SIG_IGN)


def batches(
    sampler: Sampler, first: int, end: int, *, loaders: int = 0, pin: bool = False
) -> Iterator[tuple[Tensor, ...]]:
    """The batches of the steps ``first`` … ``end`` − 1, each as the tensors of a
    :class:`~nirgeo.training.data.Batch`.

    ``loaders`` processes draw ahead; with none, each batch is drawn when it is asked for. ``pin``
    puts them into memory that a GPU copies from while it computes.
    """
    ahead: dict[str, Any] = {"prefetch_factor": AHEAD} if loaders else {}
    loader: DataLoader[tuple[Tensor, ...]] = DataLoader(
        _BySteps(sampler),
        batch_size=None,
        sampler=range(first, end),
        num_workers=loaders,
        pin_memory=pin,
        worker_init_fn=_left_to_the_training,
        generator=torch.Generator(),  # or it would take from torch's own random numbers
        **ahead,
    )
    return iter(loader)
