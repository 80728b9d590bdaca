"""Run a network in ONNX Runtime, in the calling thread.

A session computes where it is called and with as many threads as torch would use there
(:func:`nirgeo.own_torch.intra_op_threads`): one, when every worker has a core. Several workers
share a session.
"""

from __future__ import annotations

import os
from typing import Any, TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray

from nirgeo import own_torch
from nirgeo.built_once import BuiltOnce
from nirgeo.generator import LocalAffineGenerator
from nirgeo.hints import CHANNELS as HINT_CHANNELS
from nirgeo.modelfile import Model
from nirgeo.networks import load_generator, network
from nirgeo.runtimes.choice import INT8
from nirgeo.runtimes.int8 import in_8_bits, ranges_stamp, read_ranges
from nirgeo.runtimes.onnx_export import OUTPUT, onnx_graph
from nirgeo.windowed import render, stages_for

FloatArray = NDArray[np.float32]

MAX_SESSIONS = 16

Key: TypeAlias = tuple[str, tuple[int, int] | None, bool, int]
"""Weights, ranges of 8 bits, whether errors are expected, threads."""

_sessions: BuiltOnce[Key, _Session] = BuiltOnce(MAX_SESSIONS)


def run(
    inputs: FloatArray,
    valid: NDArray[np.bool_],
    model: Model,
    precision: str,
    hint: FloatArray | None,
    target: tuple[slice, slice],
    *,
    expect_error: bool = False,
) -> FloatArray:
    """As :func:`nirgeo.inference.run_network`: (out, h, w) in working space."""
    session = _session(model, precision, expect_error, torch.get_num_threads())
    net: Any = network(model)
    if not isinstance(net, LocalAffineGenerator):
        return np.ascontiguousarray(session.run(inputs, valid, hint)[0][:, *target])
    stages = stages_for(net.config, valid.shape, target)
    first, last = stages[0], stages[-1]
    needed = first.pixels(net.stride)
    seen = None if hint is None else hint[first.slices]
    made = session.run(inputs[needed], valid[needed], seen)[last.within(first)]
    colours = net.config.out_bands * (net.config.in_bands + 1)
    fields = [torch.from_numpy(made[:, :colours])]
    if expect_error:
        fields.append(torch.from_numpy(made[:, colours:]))
    with own_torch.computing():
        result: FloatArray = render(net, torch.from_numpy(inputs)[None], fields, last, target)[
            0
        ].numpy()
    return result


class _Session:
    def __init__(self, session: Any, stride: int) -> None:
        self.session = session
        self.stride = stride
        self.inputs = [entry.name for entry in session.get_inputs()]

    def run(
        self, inputs: FloatArray, valid: NDArray[np.bool_], hint: FloatArray | None
    ) -> FloatArray:
        """What the graph makes of one window."""
        cells = (valid.shape[0] // self.stride, valid.shape[1] // self.stride)
        if hint is None:
            hint = np.zeros((HINT_CHANNELS, *cells), dtype=np.float32)
        given = {
            "x": np.ascontiguousarray(inputs)[None],
            "valid": valid.astype(np.float32)[None, None],
            "hint": np.ascontiguousarray(hint)[None],
        }
        (made,) = self.session.run([OUTPUT], {name: given[name] for name in self.inputs})
        result: FloatArray = made
        return result


def _session(model: Model, precision: str, expect_error: bool, threads: int) -> _Session:
    """The model's session, built once per process."""
    ranges = ranges_stamp(model) if precision == INT8 else None
    key = (model.sha256, ranges, expect_error, threads)
    return _sessions.get(key, lambda: _build(model, precision, expect_error, threads))


def _onnxruntime() -> Any:
    """The package, imported as one that tells nobody of it.

    Its builds of today make an id of this machine when they are imported, keep it in the user's
    folder, and have an address of their makers to send it to.
    """
    name = "ORT_DISABLE_TELEMETRY"
    before = os.environ.get(name)
    os.environ.setdefault(name, "1")
    try:
        import onnxruntime
    finally:
        if before is None:
            del os.environ[name]
    return onnxruntime


def _build(model: Model, precision: str, expect_error: bool, threads: int) -> _Session:
    onnxruntime = _onnxruntime()

    with own_torch.building():
        network = load_generator(model)
        stride = int(network.stride)  # type: ignore[arg-type]
        if precision == INT8:
            network = in_8_bits(network, read_ranges(model))
        graph = onnx_graph(network, expect_error=expect_error)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = 3
    # An arena of its own would keep the most that any pass has needed, for every worker.
    options.enable_cpu_mem_arena = False
    options.enable_mem_pattern = False
    # Threads that wait would take the cores from other workers.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    built = onnxruntime.InferenceSession(graph, options, providers=["CPUExecutionProvider"])
    return _Session(built, stride)
