"""A network as an ONNX graph: made when it is needed, in memory, never kept on disk.

Of a local affine generator it is the graph of its trunk: gains and offsets on the coarse grid. What
follows at full resolution, tables and sums for every pixel, torch does in strips that stay in the
processor's cache (:func:`nirgeo.windowed.render`), several times as fast. Of other networks it is
the whole.

The graph comes from tracing the network's own code. Two things are written in another way first,
with the same meaning, for only torch needs them: 1×1 convolutions lose a dilation, and those of a
wide one stay whole.
"""

from __future__ import annotations

import copy
import io
import logging
import threading
from typing import Any, cast

import torch
from torch import Tensor, nn

from nirgeo.generator import DilatedConv, LocalAffineGenerator
from nirgeo.hints import CHANNELS as HINT_CHANNELS
from nirgeo.unheard import unheard

OPSET = 17
INPUTS = ("x", "valid", "hint")
OUTPUT = "made"

_export_lock = threading.Lock()  # the exporter keeps its state in globals


def onnx_graph(network: nn.Module, *, expect_error: bool = False) -> bytes:
    """The graph of a network for images of any size, as a serialised ONNX model.

    Its inputs are called ``x`` (1, bands, H, W), ``valid`` (1, 1, H, W) and ``hint``
    (1, 3, H/stride, W/stride), those that the network looks at. Its output ``made`` is
    (1, out, H, W); or, of a local affine generator, gains and offsets (1, out·(in+1), H/stride,
    W/stride), and with ``expect_error`` those of the expected error after them.
    """
    traced: nn.Module = network
    if isinstance(network, LocalAffineGenerator):
        traced = _Fields(network, expect_error=expect_error)
    stride, bands = int(cast(Any, network).stride), int(cast(Any, network).config.in_bands)
    cells = (16, 20)
    size = (cells[0] * stride, cells[1] * stride)
    example = (
        torch.full((1, bands, *size), 0.5, dtype=torch.float32),
        torch.ones(1, 1, *size, dtype=torch.float32),
        torch.zeros(1, HINT_CHANNELS, *cells, dtype=torch.float32),
    )
    large, small = {2: "height", 3: "width"}, {2: "rows", 3: "cols"}
    file = io.BytesIO()
    with _export_lock, unheard(), _quiet():  # that this exporter is the older one, and of constants
        torch.onnx.export(
            exportable(traced),
            example,
            cast(Any, file),  # a stream, which its annotation leaves out
            dynamo=False,  # the newer one can't decompose pixel_unshuffle of an unknown size
            opset_version=OPSET,
            input_names=list(INPUTS),
            output_names=[OUTPUT],
            dynamic_axes={
                "x": large,
                "valid": large,
                "hint": small,
                OUTPUT: {2: "rows_made", 3: "cols_made"},
            },
        )
    return file.getvalue()


class _quiet:  # noqa: N801
    """No words of the exporter on a user's terminal."""

    def __enter__(self) -> None:
        self._log = logging.getLogger("torch.onnx")
        self._before = self._log.level
        self._log.setLevel(logging.ERROR)

    def __exit__(self, *_: object) -> None:
        self._log.setLevel(self._before)


class _Fields(nn.Module):
    """What a local affine generator's trunk finds out, as planes of one tensor."""

    def __init__(self, network: LocalAffineGenerator, *, expect_error: bool) -> None:
        super().__init__()
        self.network = network
        self.expect_error = expect_error

    def forward(self, x: Tensor, valid: Tensor, hint: Tensor) -> Tensor:
        features = self.network.features(x, valid, hint)
        fields = [self.network.coarse_colours(features)]
        if self.expect_error:
            fields.append(self.network.coarse_error(features, hint))
        return torch.cat(fields, dim=1)


def exportable(network: nn.Module) -> nn.Module:
    """A copy of the network for tracing; see the module's docstring."""
    result = copy.deepcopy(network)
    for module in result.modules():
        if isinstance(module, nn.Conv2d) and module.kernel_size == (1, 1):
            module.dilation = (1, 1)
        if isinstance(module, DilatedConv):
            module.whole = True
    return result


def replace_module(root: nn.Module, name: str, module: nn.Module) -> None:
    """Put ``module`` where ``root`` has the one of this dotted name."""
    parent, _, last = name.rpartition(".")
    setattr(root.get_submodule(parent), last, module)
