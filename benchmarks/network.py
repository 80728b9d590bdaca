"""The network alone, on one thread: its share of what the processor can do.

    python -m benchmarks network [--rounds 5]

*Roof* is a float32 matrix product of 2048 × 2048, timed in turn with the network. Seconds are
processor time of the process, so that other work on the machine counts less. *Trunk* is the part
with convolutions; *network* is all of it. Row streaming is judged by what it could save at most:
the pixels that are computed and not written.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from statistics import median
from typing import Any

import numpy as np
import torch
from torch import nn

from nirgeo.inference import intra_op_threads, network, run_network
from nirgeo.modelfile import Model
from nirgeo.registry import load_model
from nirgeo.runtimes.choice import Runtime
from nirgeo.tiling import DEFAULT_CHUNK_TILES, TILE

MATRIX = 2048
WAYS = {
    "torch fp32": Runtime(),
    "onnx fp32": Runtime("onnx", "fp32"),
    "onnx int8": Runtime("onnx", "int8"),
}


def convolution_flops(net: Any, side: int) -> float:
    """Multiplications and additions of every convolution for one square window."""
    total = 0.0
    handles = []

    def count(module: nn.Module, _: Any, output: torch.Tensor) -> None:
        nonlocal total
        assert isinstance(module, nn.Conv2d)
        total += 2.0 * module.weight.numel() * output.shape[2] * output.shape[3]

    for module in net.modules():
        if isinstance(module, nn.Conv2d):
            handles.append(module.register_forward_hook(count))
    with torch.inference_mode():
        net(torch.zeros(1, net.config.in_bands, side, side), torch.ones(1, 1, side, side))
    for handle in handles:
        handle.remove()
    return total


def measure(rounds: int, name: str = "satellite-nir") -> dict[str, Any]:
    model = load_model(name)
    assert isinstance(model, Model)
    net: Any = network(model)
    chunk = DEFAULT_CHUNK_TILES * TILE
    side = chunk + 2 * net.halo
    side += -side % net.stride
    random = np.random.default_rng(0)
    inputs = (0.4 + 0.1 * random.standard_normal((len(model.spec.bands), side, side))).astype("f4")
    valid = np.ones((side, side), dtype=np.bool_)
    a = torch.randn(MATRIX, MATRIX)

    def trunk() -> Any:
        with torch.inference_mode():
            x = torch.from_numpy(inputs)[None].contiguous(memory_format=torch.channels_last)
            part = getattr(net, "features", None) or net.coarse
            return part(x, torch.from_numpy(valid).float()[None, None], None)

    work: dict[str, Callable[[], Any]] = {
        name: lambda way=way: run_network(inputs, valid, model, "cpu", None, way)  # type: ignore[misc]
        for name, way in WAYS.items()
    }
    work["trunk"] = trunk
    seconds: dict[str, list[float]] = {name: [] for name in (*work, "roof")}
    flops = convolution_flops(net, side)
    with intra_op_threads(1):
        for function in work.values():
            function()
        for _ in range(rounds):
            seconds["roof"].append(_timed(lambda: a @ a) / (2.0 * MATRIX**3))
            for name_, function in work.items():
                seconds[name_].append(_timed(function))
    roof = 1 / median(seconds["roof"])
    torch_s = median(seconds["torch fp32"])
    return {
        "model": model.spec.full_name,
        "rounds": rounds,
        "window": side,
        "halo": net.halo,
        "useful": chunk**2 / side**2,
        "flops_per_pixel": flops / side**2,
        "roof_gflops": roof / 1e9,
        "trunk_of_roof": flops / median(seconds["trunk"]) / roof,
        "network_of_roof": flops / torch_s / roof,
        "rows": [
            {
                "way": way,
                "mpix_per_s": side**2 / 1e6 / median(seconds[way]),
                "times_torch": torch_s / median(seconds[way]),
            }
            for way in WAYS
        ],
    }


def _timed(function: Callable[[], Any]) -> float:
    start = time.process_time()
    function()
    return time.process_time() - start
