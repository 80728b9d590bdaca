"""A network with 8-bit convolutions, from its own weights and a small file of ranges.

Weights become 8-bit numbers with a scale per output channel; that needs nothing but the weights.
What flows between the layers needs a range, and ranges are measured once on training data
(``tools/make_int8.py``): a file ``MODEL.int8.safetensors`` beside ``MODEL.safetensors`` holds
(lowest, highest) for every place where values become 8-bit numbers. It belongs to one model file,
whose hash it names. What it does not name stays in 32 bits.
"""

from __future__ import annotations

import copy
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.numpy import save_file
from torch import Tensor, nn

from nirgeo.errors import ModelError, OptionError
from nirgeo.modelfile import Model, sha256_of
from nirgeo.registry import on_this_machine, shipped_at
from nirgeo.runtimes.onnx_export import replace_module
from nirgeo.tensorfile import open_tensors
from nirgeo.whole_file import written_whole

SUFFIX = ".int8.safetensors"
METADATA_KEY = "nirgeo-int8"
FORMAT = 1
MAX_BYTES = 2**20
LEVELS = 255

INPUT, OUTPUT = "input", "output"
Range = tuple[float, float]


@dataclass(frozen=True)
class Ranges:
    """Ranges by place: ``MODULE:input`` or ``MODULE:output``."""

    places: Mapping[str, Range]


def ranges_path(model: Model) -> Path:
    path = Path(model.path)
    return path.with_name(path.name.removesuffix(".safetensors") + SUFFIX)


def write_ranges(model: Model, ranges: Ranges, facts: Mapping[str, Any]) -> Path:
    """Write the file of ranges of a model; ``facts`` (JSON) say how it was made."""
    path = ranges_path(model)
    metadata = {"format": FORMAT, "model_sha256": model.sha256, **facts}
    places = sorted(ranges.places.items())
    with written_whole(path) as partial:
        save_file(
            {name: np.array(pair, dtype=np.float32) for name, pair in places},
            partial,
            metadata={METADATA_KEY: json.dumps(metadata, sort_keys=True)},
        )
    return path


def read_ranges(model: Model) -> Ranges:
    """The ranges of a model.

    Raises
    ------
    OptionError : the model has none
    ModelError : they are damaged, or those of another model; or a shipped model's are not those
        that the registry lists
    """
    model = on_this_machine(model)
    path = ranges_path(model)
    if not path.is_file():
        raise OptionError(
            f"--precision int8: {model.spec.full_name} has no {path.name} beside its weights; "
            "tools/make_int8.py in nirgeo's repository makes one"
        )
    _check_shipped(model, path)
    places: dict[str, Range] = {}
    try:
        with open_tensors(path, max_bytes=MAX_BYTES) as file:
            metadata = json.loads((file.metadata() or {}).get(METADATA_KEY, "{}"))
            if not isinstance(metadata, dict) or metadata.get("format") != FORMAT:
                raise ModelError(f"{path}: not a file of int8 ranges of format {FORMAT}")
            if metadata.get("model_sha256") != model.sha256:
                raise ModelError(
                    f"{path}: made for other weights than {Path(model.path).name}; make it anew "
                    "with tools/make_int8.py"
                )
            names = list(file.keys())
            for name in names:
                part = file.get_slice(name)
                if part.get_dtype() != "F32" or tuple(part.get_shape()) != (2,):
                    raise ModelError(f"{path}: {name[:60]!r} is no pair of numbers")
                low, high = (float(v) for v in file.get_tensor(name))
                if not (np.isfinite((low, high)).all() and low <= 0 <= high and low < high):
                    raise ModelError(f"{path}: {name[:60]!r} is no range around 0")
                places[name] = (low, high)
    except (SafetensorError, OSError, ValueError, RecursionError) as error:
        if isinstance(error, ModelError):
            raise
        raise ModelError(f"{path}: not a readable file of int8 ranges ({error})") from error
    return Ranges(places)


def _check_shipped(model: Model, path: Path) -> None:
    shipped = shipped_at(model.path)
    if shipped is None:
        return
    found = sha256_of(path)
    if found != shipped.int8_sha256:
        listed = f"{shipped.int8_sha256[:12]}…" if shipped.int8_sha256 else "that there is none"
        raise ModelError(
            f"{path}: its sha256 is {found[:12]}…, the registry says {listed}; reinstall nirgeo"
        )


def ranges_sha256(model: Model) -> str:
    """Hash of the model's file of ranges.

    Raises
    ------
    OptionError, ModelError : see :func:`read_ranges`
    """
    read_ranges(model)
    return sha256_of(ranges_path(on_this_machine(model)))


def ranges_stamp(model: Model) -> tuple[int, int]:
    """When the model's file of ranges was written, and its size; zeros where there is none."""
    try:
        found = ranges_path(on_this_machine(model)).stat()
    except OSError:
        return (0, 0)
    return found.st_mtime_ns, found.st_size


def scale_and_zero(low: float, high: float) -> tuple[float, int]:
    """Of unsigned 8-bit numbers: value = scale · (number - zero). 0 is met exactly."""
    scale = max((high - low) / LEVELS, 1e-12)
    return scale, min(LEVELS, max(0, round(-low / scale)))


def weight_scales(convolution: nn.Conv2d) -> Tensor:
    """Of signed 8-bit weights, one per output channel: weight = scale · number."""
    return convolution.weight.detach().abs().amax(dim=(1, 2, 3)).clamp(min=1e-12) / 127


class Rounded(nn.Module):
    """Values as 8-bit numbers would keep them."""

    def __init__(self, place: Range) -> None:
        super().__init__()
        self.scale, self.zero = scale_and_zero(*place)

    def forward(self, x: Tensor) -> Tensor:
        return torch.fake_quantize_per_tensor_affine(x, self.scale, self.zero, 0, LEVELS)


class RoundedConv(nn.Module):
    """A convolution of 8-bit values with 8-bit weights."""

    scales: Tensor
    zeros: Tensor

    def __init__(self, convolution: nn.Conv2d, before: Range, after: Range | None) -> None:
        super().__init__()
        self.convolution = convolution
        self.before = Rounded(before)
        self.after = nn.Identity() if after is None else Rounded(after)
        scales = weight_scales(convolution)
        self.register_buffer("scales", scales)
        self.register_buffer("zeros", torch.zeros(len(scales), dtype=torch.int32))

    def forward(self, x: Tensor) -> Tensor:
        c = self.convolution
        weight = torch.fake_quantize_per_channel_affine(
            c.weight, self.scales, self.zeros, 0, -128, 127
        )
        out = nn.functional.conv2d(
            self.before(x), weight, c.bias, c.stride, c.padding, c.dilation, c.groups
        )
        rounded: Tensor = self.after(out)
        return rounded


def in_8_bits(network: nn.Module, ranges: Ranges) -> nn.Module:
    """A copy of the network that rounds where ``ranges`` say so.

    It runs in torch, slowly, with the values that 8-bit kernels give; exported, its roundings and
    convolutions become such kernels.

    Raises
    ------
    ModelError : a range belongs to nothing in the network
    """
    result = copy.deepcopy(network)
    left = dict(ranges.places)
    # Inner modules first: a sequence with roundings in it numbers its steps anew.
    for name, module in reversed(list(result.named_modules())):
        if isinstance(module, nn.Conv2d) and f"{name}:{INPUT}" in left:
            before = left.pop(f"{name}:{INPUT}")
            after = left.pop(f"{name}:{OUTPUT}", None)
            replace_module(result, name, RoundedConv(module, before, after))
        elif isinstance(module, nn.Sequential):
            steps: list[nn.Module] = []
            for key, child in module.named_children():
                place = left.pop(f"{name}.{key}:{INPUT}", None)
                steps += [child] if place is None else [Rounded(place), child]
            if len(steps) > len(module):
                replace_module(result, name, nn.Sequential(*steps))
    if left:
        some = ", ".join(repr(name)[:60] for name in list(left)[:4])
        raise ModelError(f"ranges that fit no layer of the network: {some}")
    return result
