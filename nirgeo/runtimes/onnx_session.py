"""Run a network in ONNX Runtime, in the calling thread.

A session computes where it is called and with as many threads as torch would use there
(:func:`nirgeo.inference.intra_op_threads`): one, when every worker has a core. Several workers
share a session.
"""

from __future__ import annotations

import threading
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nirgeo.hints import CHANNELS as HINT_CHANNELS
from nirgeo.modelfile import Model, load_generator
from nirgeo.runtimes.choice import INT8
from nirgeo.runtimes.onnx_export import OUTPUT, onnx_graph

MAX_SESSIONS = 4

_sessions: dict[Any, Any] = {}
_lock = threading.Lock()


def run(
    inputs: NDArray[np.float32],
    valid: NDArray[np.bool_],
    model: Model,
    precision: str,
    hint: NDArray[np.float32] | None = None,
    *,
    expect_error: bool = False,
) -> NDArray[np.float32]:
    """As :func:`nirgeo.inference.run_network`: (out, H, W) in working space."""
    import torch

    session = _session(model, precision, expect_error, torch.get_num_threads())
    height, width = valid.shape
    cells = (height // session.stride, width // session.stride)
    given = {
        "x": np.ascontiguousarray(inputs)[None],
        "valid": valid.astype(np.float32)[None, None],
        "hint": np.zeros((1, HINT_CHANNELS, *cells), dtype=np.float32)
        if hint is None
        else np.ascontiguousarray(hint)[None],
    }
    wanted = {name: given[name] for name in session.inputs}
    (colours,) = session.session.run([OUTPUT], wanted)
    result: NDArray[np.float32] = colours[0]
    return result


class _Session:
    def __init__(self, session: Any, stride: int) -> None:
        self.session = session
        self.stride = stride
        self.inputs = [entry.name for entry in session.get_inputs()]


def _session(model: Model, precision: str, expect_error: bool, threads: int) -> _Session:
    """The model's session, built once per process."""
    key = (model.sha256, precision, expect_error, threads)
    with _lock:
        if key not in _sessions:
            while len(_sessions) >= MAX_SESSIONS:
                _sessions.pop(next(iter(_sessions)))
            _sessions[key] = _build(model, precision, expect_error, threads)
        found: _Session = _sessions[key]
        return found


def _build(model: Model, precision: str, expect_error: bool, threads: int) -> _Session:
    import onnxruntime

    network = load_generator(model)
    stride = int(network.stride)  # type: ignore[arg-type]
    if precision == INT8:
        from nirgeo.runtimes.int8 import in_8_bits, read_ranges

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
