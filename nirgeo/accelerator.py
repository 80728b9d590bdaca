"""A torch device behind a lane: pinned buffers, one stream, batches of blocks.

The device may be a CPU: the same code then runs without pinned memory, streams and events, and
gives the bits that :func:`nirgeo.inference.run_network` gives. That is how it is tested where there
is no GPU. Compilation and CUDA graphs are not used: from file to file the network is not what takes
time (docs/performance.md), and a graph per shape would hold memory that batches can use.
"""

from __future__ import annotations

import copy
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn

from nirgeo.built_once import BuiltOnce
from nirgeo.errors import OptionError
from nirgeo.lane import Block, FloatArray, NoRoomError
from nirgeo.memory_words import is_no_room
from nirgeo.plaintext import plain

if TYPE_CHECKING:
    from nirgeo.modelfile import Model

MAX_NETWORKS = 4
"""Of those whose trunk computes in 16 bits."""

SLOTS = 3
"""Sets of pinned buffers: two batches under way, and one being filled."""


_exactness = threading.Lock()


@dataclass(frozen=True)
class NetworkKey:
    """Which network a block goes through: of a model, its trunk in half precision or not."""

    model: Model
    half: bool = False
    expect_error: bool = False

    def __hash__(self) -> int:
        return hash((self.model.sha256, self.half, self.expect_error))


def torch_device(name: str) -> torch.device:
    """A device that can be used.

    Raises
    ------
    OptionError : there is no such device here, or this torch can't use it
    """
    try:
        device = torch.device(name)
        torch.empty(1, device=device).cpu()
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        reason = plain(str(error).partition("\n")[0], 100)
        raise OptionError(f"--device {name}: not available ({reason})") from error
    return device


class Accelerator:
    """See :class:`nirgeo.lane.Device`."""

    def __init__(self, name: str) -> None:
        self.device = torch_device(name)
        self._cuda = self.device.type == "cuda"
        self._stream: Any = torch.cuda.Stream(self.device) if self._cuda else None
        self._buffers: list[dict[tuple[str, tuple[int, ...]], Tensor]] = [{} for _ in range(SLOTS)]
        self._slot = 0
        self._halves: BuiltOnce[str, nn.Module] = BuiltOnce(MAX_NETWORKS)

    def start(self, blocks: Sequence[Block]) -> Ticket:
        key = blocks[0].network
        assert isinstance(key, NetworkKey)
        try:
            with self._on_stream():
                ticket = self._start(blocks, key)
        except RuntimeError as error:
            reason = str(error).partition("\n")[0][:100]
            if not is_no_room(error):
                raise
        else:
            # Only now: what fails must not take the slot of a batch that is under way.
            self._slot = (self._slot + 1) % SLOTS
            return ticket
        # Here, where the failure's frames and with them what the batch has taken are gone: whoever
        # hears of it wants that memory back.
        raise NoRoomError(reason)

    def _on_stream(self) -> Any:
        return torch.cuda.stream(self._stream) if self._cuda else nullcontext()

    def _start(self, blocks: Sequence[Block], key: NetworkKey) -> Ticket:
        net: Any = self._network(key)
        count = len(blocks)
        inputs = self._to_device("inputs", [block.inputs for block in blocks])
        # A byte per pixel travels, not four.
        valid = self._to_device("valid", [block.valid[None].view(np.uint8) for block in blocks])
        hint = None
        if blocks[0].hint is not None:
            hint = self._to_device("hint", [b.hint for b in blocks if b.hint is not None])
        mask = valid.to(torch.float32)
        if count == 1 and not self._cuda:
            # A CPU sends one small image through other kernels than several; see inference.py.
            inputs, mask = inputs.expand(2, -1, -1, -1), mask.expand(2, -1, -1, -1)
            hint = None if hint is None else hint.expand(2, -1, -1, -1)
        with torch.inference_mode(), exact_convolutions():
            inputs = inputs.contiguous(memory_format=torch.channels_last)
            if key.expect_error:
                made = torch.cat(net.with_error(inputs, mask.contiguous(), hint), dim=1)
            else:
                made = net(inputs, mask.contiguous(), hint)
            made = made[:count].contiguous()
            if not self._cuda:
                return Ticket(made.cpu())
            out = self._buffer("made", tuple(made.shape), torch.float32)
            out.copy_(made, non_blocking=True)
        # Blocking: the thread that waits must not take a core from those that read and write.
        done = torch.cuda.Event(blocking=True)
        done.record(self._stream)
        return Ticket(out, done)

    def _to_device(self, name: str, arrays: Sequence[Any]) -> Tensor:
        """Arrays of one shape as one tensor there: stacked into pinned memory, then copied."""
        shape = (len(arrays), *arrays[0].shape)
        staging = self._buffer(name, shape, torch.from_numpy(arrays[0]).dtype)
        for k, array in enumerate(arrays):
            staging[k].copy_(torch.from_numpy(array))
        # Other devices may read memory that nobody pinned after it was freed here.
        return staging.to(self.device, non_blocking=self._cuda)

    def _buffer(self, name: str, shape: tuple[int, ...], dtype: torch.dtype) -> Tensor:
        """Pinned memory of this slot. It is used again only after the slot's batch was fetched."""
        if not self._cuda:
            return torch.empty(shape, dtype=dtype)
        mine = self._buffers[self._slot]
        if (name, shape) not in mine:
            for old in [key for key in mine if key[0] == name]:
                del mine[old]
            mine[name, shape] = torch.empty(shape, dtype=dtype, pin_memory=True)
        return mine[name, shape]

    def _network(self, key: NetworkKey) -> nn.Module:
        from nirgeo.networks import network

        net: Any = network(key.model, str(self.device))
        if not key.half:
            return net
        return self._halves.get(key.model.sha256, lambda: half_trunk(net))

    def release(self) -> None:
        if self._cuda:
            with self._on_stream():  # else torch begins to use the first GPU too, which may be full
                torch.cuda.empty_cache()


class Ticket:
    """A batch whose results are, or will be, in host memory."""

    def __init__(self, made: Tensor, done: Any = None) -> None:
        self._made = made
        self._done = done

    def results(self) -> Sequence[FloatArray]:
        if self._done is None:
            return [part.numpy() for part in self._made]
        self._done.synchronize()
        return [part.numpy().copy() for part in self._made]  # the buffer is used again


@contextmanager
def exact_convolutions() -> Iterator[None]:
    """No TF32, no choosing of kernels by timing: both would change bits from run to run.

    torch keeps these settings for the whole process and looks at them when work is handed to a
    device. So those who hand work over take turns, and the settings are put back after each.
    """
    cudnn: Any = torch.backends.cudnn
    wanted: list[tuple[Any, str, Any]] = [
        (cudnn, "enabled", True),
        (cudnn, "benchmark", False),
        (cudnn, "deterministic", True),
    ]
    # From torch 2.9 on each kind of operation has a setting of its own. The older one can't even be
    # read any more, so cudnn.flags() neither, where a program has used those.
    conv = getattr(cudnn, "conv", None)
    wanted.append(
        (cudnn, "allow_tf32", False) if conv is None else (conv, "fp32_precision", "ieee")
    )
    with _exactness:
        before = [(owner, name, getattr(owner, name)) for owner, name, _ in wanted]
        try:
            for owner, name, value in wanted:
                setattr(owner, name, value)
            yield
        finally:
            for owner, name, value in before:
                setattr(owner, name, value)


def half_trunk(network: nn.Module) -> nn.Module:
    """A copy whose trunk computes in 16 bits, and everything around it in 32.

    What the trunk makes are gains and offsets; table, head, upsampling and their application to the
    input stay exact. ``benchmarks/drift.py`` measures what that changes.

    Raises
    ------
    OptionError : a network without that structure
    """
    if not (hasattr(network, "stem") and hasattr(network, "blocks")):
        raise OptionError("--precision fp16 is for nirgeo's own network; this one has no trunk")
    half: Any = copy.deepcopy(network)
    half.stem.half()
    half.blocks.half()
    half.stem.register_forward_pre_hook(lambda _, inputs: (inputs[0].half(),))
    half.blocks.register_forward_hook(lambda _module, _inputs, output: output.float())
    return half
