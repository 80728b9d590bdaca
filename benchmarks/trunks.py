"""A trunk alone in every runtime, OpenVINO's too where it is installed.

nirgeo has no OpenVINO; whether it should is judged by this. All runtimes but torch get the same
graph (:mod:`nirgeo.runtimes.onnx_export`) and the same arrays, one thread each, turn by turn;
seconds are processor time. OpenVINO is told to compute in 32 bits where the graph does.

    pip install --no-deps --target build/openvino openvino openvino-telemetry
    PYTHONPATH=build/openvino python -m benchmarks network
"""

from __future__ import annotations

import time
from collections.abc import Callable
from importlib.util import find_spec
from statistics import median
from typing import Any

import numpy as np
import torch

from nirgeo.hints import CHANNELS as HINT_CHANNELS
from nirgeo.modelfile import Model
from nirgeo.networks import network
from nirgeo.own_torch import intra_op_threads
from nirgeo.registry import load_model
from nirgeo.runtimes.choice import FP32, INT8
from nirgeo.runtimes.int8 import in_8_bits, read_ranges
from nirgeo.runtimes.int8_trunk import trunk_of
from nirgeo.runtimes.onnx_export import OUTPUT, onnx_graph
from nirgeo.windowed import stages_for

MODELS = ("satellite-nir", "aerial-nir")
SIDE = 848

Run = Callable[[], np.ndarray]


def measure(rounds: int) -> list[dict[str, Any]]:
    if find_spec("openvino") is None:
        print("openvino is not installed: left out (benchmarks/trunks.py says how)")
    return [row for name in MODELS for row in _of(name, rounds)]


def _of(name: str, rounds: int) -> list[dict[str, Any]]:
    model = load_model(name)
    assert isinstance(model, Model)
    net: Any = network(model)
    cells = SIDE // net.stride
    random = np.random.default_rng(0)
    image = (0.4 + 0.1 * random.standard_normal((1, len(model.spec.bands), SIDE, SIDE))).astype(
        "f4"
    )
    given = {
        "x": image,
        "valid": np.ones((1, 1, SIDE, SIDE), dtype=np.float32),
        "hint": np.zeros((1, HINT_CHANNELS, cells, cells), dtype=np.float32),
    }
    graphs = {
        FP32: onnx_graph(net),
        INT8: onnx_graph(in_8_bits(net, read_ranges(model))),
    }

    def in_torch() -> np.ndarray:
        with torch.inference_mode():
            x, valid, hint = (torch.from_numpy(part) for part in given.values())
            x = x.contiguous(memory_format=torch.channels_last)
            made: np.ndarray = net.coarse_colours(net.features(x, valid, hint)).numpy()
            return made

    def in_torch_8_bits() -> np.ndarray:
        with torch.inference_mode():
            x, valid, hint = (torch.from_numpy(part) for part in given.values())
            made: np.ndarray = net.coarse_colours(
                eight_bits(net.folded(x, valid, hint), stages)
            ).numpy()
            return made

    eight_bits = trunk_of(model, net)
    stages = stages_for(net.config, (SIDE, SIDE), (slice(0, SIDE), slice(0, SIDE)))
    work: dict[str, Run] = {"torch fp32": in_torch, "torch int8": in_torch_8_bits}
    for precision, graph in graphs.items():
        work[f"onnx {precision}"] = _in_onnx_runtime(graph, given)
        if find_spec("openvino") is not None:
            work[f"openvino {precision}"] = _in_openvino(graph, given)
    seconds: dict[str, list[float]] = {way: [] for way in work}
    with intra_op_threads(1):
        made = {way: run() for way, run in work.items()}
        for _ in range(rounds):
            for way, run in work.items():
                start = time.process_time()
                run()
                seconds[way].append(time.process_time() - start)
    reference = median(seconds["torch fp32"])
    return [
        {
            "model": model.spec.full_name,
            "way": way,
            "mpix_per_s": SIDE**2 / 1e6 / median(found),
            "times_torch": reference / median(found),
            "farthest": float(np.abs(made[way] - made["torch fp32"]).max()),
        }
        for way, found in seconds.items()
    ]


def _in_onnx_runtime(graph: bytes, given: dict[str, np.ndarray]) -> Run:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(graph, options, providers=["CPUExecutionProvider"])
    wanted = {entry.name: given[entry.name] for entry in session.get_inputs()}
    return lambda: session.run([OUTPUT], wanted)[0]


def _in_openvino(graph: bytes, given: dict[str, np.ndarray]) -> Run:
    import openvino

    core = openvino.Core()
    settings = {"INFERENCE_NUM_THREADS": 1, "NUM_STREAMS": 1, "INFERENCE_PRECISION_HINT": "f32"}
    compiled = core.compile_model(core.read_model(graph), "CPU", settings)
    wanted = {entry.any_name: given[entry.any_name] for entry in compiled.inputs}
    request = compiled.create_infer_request()
    return lambda: np.array(request.infer(wanted)[compiled.output(0)])
