"""Networks that are ready to run: built from a model file and checked against it, once per process.

torch is imported when the first is asked for.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

import numpy as np
from safetensors import SafetensorError

from nirgeo import own_torch
from nirgeo.built_once import BuiltOnce
from nirgeo.errors import ModelError, OptionError
from nirgeo.memory_words import is_no_room
from nirgeo.modelfile import MAX_BYTES, Model, sha256_of
from nirgeo.registry import on_this_machine
from nirgeo.tensorfile import open_tensors

if TYPE_CHECKING:
    from torch import nn

    from nirgeo.architectures import Generator


MAX_NETWORKS = 16
_networks: BuiltOnce[tuple[str, str], Generator] = BuiltOnce(MAX_NETWORKS)


def network(model: Model, device: str = "cpu") -> Generator:
    """The model's network on a device, built once per process.

    Raises
    ------
    ModelError : see :func:`load_generator`
    OptionError : there is no such device
    """
    import torch

    def build() -> Generator:
        with own_torch.building():
            built = load_generator(model)
        try:
            built.to(torch.device(device))
        except (RuntimeError, AssertionError) as error:
            if isinstance(error, RuntimeError) and is_no_room(error):
                raise  # the lane makes room
            reason = str(error).partition("\n")[0]
            raise OptionError(f"--device {device}: not available ({reason})") from error
        return cast("Generator", built)

    return _networks.get((model.sha256, device), build)


def load_generator(model: Model) -> nn.Module:
    """Build the network of a model and fill in its weights, in evaluation mode on the CPU.

    Raises
    ------
    ModelError : the file changed since it was read, or a tensor is missing, superfluous, of
        another shape or type, not finite, or a range of inputs that does not rise
    """
    import torch

    from nirgeo.architectures import build, generator_shape
    from nirgeo.generator import channels_last

    model = on_this_machine(model)
    if sha256_of(model.path) != model.sha256:
        raise ModelError(f"{model.path}: changed since it was opened (its sha256 differs)")
    try:
        shape = generator_shape(model.spec.architecture, model.spec.generator)
    except ModelError as error:
        raise ModelError(f"{model.path}: {error}") from error
    expected = shape.tensor_shapes()
    weights = {}
    try:
        with open_tensors(model.path, max_bytes=MAX_BYTES) as file:
            names = set(file.keys())
            if names != set(expected):
                differing = sorted(names ^ set(expected))
                # The names come from the file: quoted and cut, so that the message stays a line.
                some = ", ".join(repr(name)[:60] for name in differing[:4])
                raise ModelError(f"{model.path}: tensors do not fit: {some}")
            for name, wanted in expected.items():
                part = file.get_slice(name)
                found = tuple(part.get_shape())
                if found != wanted or part.get_dtype() != "F32":
                    raise ModelError(
                        f"{model.path}: tensor {name} is {part.get_dtype()} {found}, expected F32 "
                        f"{wanted}"
                    )
                values = file.get_tensor(name)
                if not np.isfinite(values).all():
                    raise ModelError(f"{model.path}: tensor {name} holds NaN or infinity")
                weights[name] = torch.from_numpy(values.copy())
    except (SafetensorError, OSError) as error:
        raise ModelError(f"{model.path}: not a readable model file ({error})") from error
    ranges = weights.get("input_range")
    if ranges is not None and not bool((ranges.diff(dim=1) > 0).all()):
        raise ModelError(f"{model.path}: input_range must rise from left to right")
    if any(bool((v < 0).any()) for name, v in weights.items() if name.endswith("running_var")):
        raise ModelError(f"{model.path}: a variance is negative")
    with own_torch.without_values():
        network = build(model.spec.architecture, shape)
    # Normalisations count their batches, which a model file has no use for.
    counts = {
        name: torch.zeros(value.shape, dtype=value.dtype, device="cpu")
        for name, value in network.state_dict().items()
        if name not in weights
    }
    network.load_state_dict(weights | counts, assign=True)
    network.eval().requires_grad_(False)
    return channels_last(network)
