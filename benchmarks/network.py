"""The network alone, on one thread: its share of what the processor can do.

    python -m benchmarks network [--rounds 5]

*Roof* is a float32 matrix product of 2048 × 2048, timed in turn with the network. Seconds are
processor time of the process, so that other work on the machine counts less. *Trunk* is the part
with convolutions, over a whole window; *network* is all that a chunk of the default size takes.
*Useful* is the share of the convolutions' operations that the chunk's own pixels would need; row
streaming is judged by it, since it could save no more than the rest.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from statistics import median
from typing import Any

import numpy as np
import torch

from benchmarks import trunks
from nirgeo.generator import GeneratorConfig
from nirgeo.heap import keep_freed_memory
from nirgeo.inference import run_network
from nirgeo.modelfile import Model
from nirgeo.networks import network
from nirgeo.own_torch import intra_op_threads
from nirgeo.registry import load_model
from nirgeo.runtimes.choice import Runtime, installed_version
from nirgeo.tiling import DEFAULT_CHUNK_TILES, TILE
from nirgeo.windowed import Span, cells_behind

MATRIX = 2048
WAYS = {
    "torch fp32": Runtime(),
    "torch int8": Runtime("torch", "int8"),
    "onnx fp32": Runtime("onnx", "fp32"),
    "onnx int8": Runtime("onnx", "int8"),
}


def convolution_flops(config: GeneratorConfig, side: int, target: tuple[int, int]) -> float:
    """Multiplications and additions of every convolution for a square window and its target."""
    cells = [span.length**2 for span in cells_behind(Span(*target), side, config)]
    width = config.width
    total = cells[1] * config.stem_channels * width * 9
    total += sum(cells[2:-1]) * (width * width * 9 + width * width)
    total += cells[-2] * width * config.out_bands * (config.in_bands + 1)
    return 2.0 * total


def measure(rounds: int, name: str = "satellite-nir") -> dict[str, Any]:
    keep_freed_memory()  # as the command does
    model = load_model(name)
    assert isinstance(model, Model)
    net: Any = network(model)
    chunk = DEFAULT_CHUNK_TILES * TILE
    side = chunk + 2 * (-(-net.halo // net.stride) * net.stride)
    random = np.random.default_rng(0)
    inputs = (0.4 + 0.1 * random.standard_normal((len(model.spec.bands), side, side))).astype("f4")
    valid = np.ones((side, side), dtype=np.bool_)
    a = torch.randn(MATRIX, MATRIX)
    start = -(-net.halo // net.stride) * net.stride
    target = slice(start, start + chunk)

    def trunk() -> Any:
        with torch.inference_mode():
            x = torch.from_numpy(inputs)[None].contiguous(memory_format=torch.channels_last)
            part = getattr(net, "features", None) or net.coarse
            return part(x, torch.from_numpy(valid).float()[None, None], None)

    work: dict[str, Callable[[], Any]] = {
        name: lambda way=way: run_network(  # type: ignore[misc]
            inputs, valid, model, "cpu", None, way, target=(target, target)
        )
        for name, way in WAYS.items()
    }
    work["trunk"] = trunk
    seconds: dict[str, list[float]] = {name: [] for name in (*work, "roof")}
    whole = convolution_flops(net.config, side, (0, side))
    flops = convolution_flops(net.config, side, (target.start, target.stop))
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
        "useful": whole / side**2 * chunk**2 / flops,
        "flops_per_pixel": whole / side**2,
        "roof_gflops": roof / 1e9,
        "trunk_of_roof": whole / median(seconds["trunk"]) / roof,
        "network_of_roof": flops / torch_s / roof,
        "rows": [
            {
                "way": way,
                "mpix_per_s": chunk**2 / 1e6 / median(seconds[way]),
                "times_torch": torch_s / median(seconds[way]),
            }
            for way in WAYS
        ],
        "chunk": chunk,
        "trunks": trunks.measure(rounds),
        "openvino": installed_version("openvino"),
    }


def _timed(function: Callable[[], Any]) -> float:
    start = time.process_time()
    function()
    return time.process_time() - start
