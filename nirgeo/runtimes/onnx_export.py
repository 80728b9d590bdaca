"""A network as an ONNX graph: made when it is needed, in memory, never kept on disk.

The graph comes from tracing the network's own ``forward``, so it knows nothing of architectures.
Two things are written in another way first, with the same meaning: 1×1 convolutions lose a dilation
that only torch needs, and the per-pixel table becomes planes before it is multiplied, which ONNX
Runtime does in half the time.
"""

from __future__ import annotations

import copy
import io
import logging
import threading
import warnings
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

from nirgeo.generator import PiecewiseLinear
from nirgeo.hints import CHANNELS as HINT_CHANNELS

OPSET = 17
INPUTS = ("x", "valid", "hint")
OUTPUT = "colours"

_export_lock = threading.Lock()  # the exporter keeps its state in globals


def onnx_graph(network: nn.Module, *, expect_error: bool = False) -> bytes:
    """The graph of ``network(x, valid, hint)`` for images of any size, as a serialised ONNX model.

    Its inputs are called ``x`` (1, bands, H, W), ``valid`` (1, 1, H, W) and ``hint``
    (1, 3, H/stride, W/stride), those that the network looks at; its output ``colours`` is
    (1, out, H, W). With ``expect_error`` the expected error is one more of its planes.
    """
    traced = _WithError(network) if expect_error else network
    stride, bands = int(cast(Any, network).stride), int(cast(Any, network).config.in_bands)
    cells = (16, 20)
    size = (cells[0] * stride, cells[1] * stride)
    example = (
        torch.full((1, bands, *size), 0.5),
        torch.ones(1, 1, *size),
        torch.zeros(1, HINT_CHANNELS, *cells),
    )
    large, small = {2: "height", 3: "width"}, {2: "rows", 3: "cols"}
    file = io.BytesIO()
    with _export_lock, warnings.catch_warnings(), _quiet():
        warnings.simplefilter("ignore")  # that this exporter is the older one, and of constants
        torch.onnx.export(
            exportable(traced),
            example,
            cast(Any, file),  # a stream, which its annotation leaves out
            dynamo=False,  # the newer one can't decompose pixel_unshuffle of an unknown size
            opset_version=OPSET,
            input_names=list(INPUTS),
            output_names=[OUTPUT],
            dynamic_axes={"x": large, "valid": large, "hint": small, OUTPUT: large},
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


class _WithError(nn.Module):
    """Colours and expected error as planes of one tensor."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, x: Tensor, valid: Tensor, hint: Tensor) -> Tensor:
        return torch.cat(cast(Any, self.network).with_error(x, valid, hint), dim=1)


class _PlanarTable(nn.Module):
    """:class:`nirgeo.generator.PiecewiseLinear` with start and slope side by side as planes."""

    def __init__(self, table: PiecewiseLinear) -> None:
        super().__init__()
        self.maximum = table.maximum
        self.last = table.values.shape[1] - 1
        self.colours = table.values.shape[2]
        starts, ends = table.values[:, :-1], table.values[:, 1:]
        self.register_buffer("segments", torch.cat((starts, ends - starts), dim=2))

    def forward(self, x: Tensor) -> Tensor:
        position = x.clamp(0, self.maximum) * (self.last / self.maximum)
        index = position.floor().clamp(max=self.last - 1)
        fraction = position - index
        index = index.long()
        segments = cast(Tensor, self.segments)
        total: Tensor | None = None
        for band in range(segments.shape[0]):
            planes = F.embedding(index[:, band], segments[band]).permute(0, 3, 1, 2)
            start, slope = planes[:, : self.colours], planes[:, self.colours :]
            term = start + slope * fraction[:, band : band + 1]
            total = term if total is None else total + term
        assert total is not None
        return total


def exportable(network: nn.Module) -> nn.Module:
    """A copy of the network for tracing; see the module's docstring."""
    result = copy.deepcopy(network)
    for name, module in list(result.named_modules()):
        if isinstance(module, nn.Conv2d) and module.kernel_size == (1, 1):
            module.dilation = (1, 1)
        if isinstance(module, PiecewiseLinear):
            replace_module(result, name, _PlanarTable(module))
    return result


def replace_module(root: nn.Module, name: str, module: nn.Module) -> None:
    """Put ``module`` where ``root`` has the one of this dotted name."""
    parent, _, last = name.rpartition(".")
    setattr(root.get_submodule(parent), last, module)
