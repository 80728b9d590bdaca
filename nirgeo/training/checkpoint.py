"""The whole state of a training as tensors in one safetensors file. No pickle anywhere."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import save
from torch import Tensor, nn

from nirgeo.errors import TrainingError
from nirgeo.tensorfile import open_tensors
from nirgeo.whole_file import written_whole

METADATA_KEY = "nirgeo-training"


def _flatten(prefix: str, optimizer: torch.optim.Optimizer) -> dict[str, Tensor]:
    flat = {}
    for index, slots in optimizer.state_dict()["state"].items():
        for slot, value in slots.items():
            tensor = value if isinstance(value, Tensor) else torch.tensor(float(value))
            flat[f"{prefix}.{index}.{slot}"] = tensor
    return flat


def _restore(prefix: str, optimizer: torch.optim.Optimizer, tensors: Mapping[str, Tensor]) -> None:
    state: dict[int, dict[str, Tensor]] = {}
    for name, tensor in tensors.items():
        head, _, slot = name.rpartition(".")
        owner, _, index = head.rpartition(".")
        if owner == prefix:
            state.setdefault(int(index), {})[slot] = tensor
    template = optimizer.state_dict()
    template["state"] = state
    optimizer.load_state_dict(template)
    # A file has no strides; one kernel for all of it wants those of the parameters.
    for parameter, slots in optimizer.state.items():
        for slot, value in slots.items():
            if isinstance(value, Tensor) and value.shape == parameter.shape:
                slots[slot] = torch.empty_like(parameter, requires_grad=False).copy_(value)


def save_checkpoint(
    path: Path,
    modules: Mapping[str, nn.Module],
    optimizers: Mapping[str, torch.optim.Optimizer],
    facts: Mapping[str, Any],
) -> None:
    """Write modules, optimizers and JSON ``facts``; the old file stays until this one is whole.

    Raises
    ------
    TrainingError : it can't be written
    """
    tensors: dict[str, Tensor] = {}
    for name, module in modules.items():
        tensors |= {f"{name}/{key}": value for key, value in module.state_dict().items()}
    for name, optimizer in optimizers.items():
        tensors |= _flatten(f"{name}|opt", optimizer)
    contiguous = {k: v.detach().cpu().contiguous().clone() for k, v in tensors.items()}
    try:
        with written_whole(path) as partial:
            # Not by save_file, whose files nobody but their owner may read.
            partial.write_bytes(save(contiguous, {METADATA_KEY: json.dumps(dict(facts))}))
    except (SafetensorError, OSError) as error:
        raise TrainingError(f"{path} can't be written ({error}); the last one stays") from error


def read_facts(path: Path) -> dict[str, Any]:
    """The facts of a checkpoint alone.

    Raises
    ------
    TrainingError : not a checkpoint
    """
    try:
        with open_tensors(path, framework="pt") as file:
            facts: dict[str, Any] = json.loads((file.metadata() or {})[METADATA_KEY])
    except (SafetensorError, OSError, KeyError, ValueError) as error:
        raise TrainingError(f"{path}: can't be resumed from ({error})") from error
    return facts


def load_checkpoint(
    path: Path,
    modules: Mapping[str, nn.Module],
    optimizers: Mapping[str, torch.optim.Optimizer],
) -> dict[str, Any]:
    """Inverse of :func:`save_checkpoint`; returns the facts.

    Raises
    ------
    TrainingError : not a checkpoint, or one of another network
    """
    facts = read_facts(path)
    try:
        with open_tensors(path, framework="pt") as file:
            # Copies: a view would keep the file, and its room on the disk, when it is replaced.
            tensors = {name: file.get_tensor(name).clone() for name in file.keys()}  # noqa: SIM118
        for name, module in modules.items():
            prefix = f"{name}/"
            module.load_state_dict(
                {k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)}
            )
        for name, optimizer in optimizers.items():
            _restore(f"{name}|opt", optimizer, tensors)
    except (SafetensorError, OSError, KeyError, ValueError, RuntimeError) as error:
        raise TrainingError(f"{path}: can't be resumed from ({error})") from error
    return facts
