"""Which ranges the values between a network's layers have: found by watching it work."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from nirgeo.runtimes.int8 import INPUT, LEVELS, OUTPUT, Range, Ranges, scale_and_zero

_SAMPLES = 16384
"""Values kept per place and run, evenly spread."""

_SHARES = np.linspace(0.2, 1.0, 81)


class Watch:
    """Collects values at every place of a network that may become 8-bit numbers.

    These are the inputs of its convolutions and of the steps of its sequences; and the outputs of
    those convolutions that no other place takes over, directly or through a ReLU in place.
    """

    def __init__(self, network: nn.Module, keep_float: Sequence[str] = ()) -> None:
        self._samples: dict[str, list[Tensor]] = {}
        self._pending: tuple[str, Tensor] | None = None
        self._taken_over: set[str] = set()
        self._network = network
        self._keep_float = set(keep_float)

    def see(
        self,
        inputs: NDArray[np.float32],
        valid: NDArray[np.bool_],
        hint: NDArray[np.float32] | None,
    ) -> None:
        """Watch the network colour a window; parameters as for
        :func:`nirgeo.inference.run_network`.

        The network's own ``forward`` runs, layer by layer. Runs for a target do not go through its
        layers (:mod:`nirgeo.windowed`), so watching them would miss most of it.
        """
        x, mask = torch.from_numpy(inputs)[None], torch.from_numpy(valid)[None, None]
        field = None if hint is None else torch.from_numpy(hint)[None]
        with self._watching(), torch.inference_mode():
            self._network(x, mask.to(x.dtype), field)

    @contextmanager
    def _watching(self) -> Iterator[None]:
        handles = []
        steps = {
            f"{name}.{key}"
            for name, module in self._network.named_modules()
            if isinstance(module, nn.Sequential)
            for key, child in module.named_children()
            if any(isinstance(part, nn.Conv2d) for part in child.modules())
        }
        for name, module in self._network.named_modules():
            convolution = isinstance(module, nn.Conv2d) and name not in self._keep_float
            if convolution or name in steps:
                handles.append(module.register_forward_pre_hook(self._before(name)))
            if convolution:
                handles.append(module.register_forward_hook(self._after(name)))
        try:
            yield
        finally:
            self._pending = None
            for handle in handles:
                handle.remove()

    def _before(self, name: str) -> Any:
        def hook(_: nn.Module, inputs: tuple[Tensor, ...]) -> None:
            # The tensor itself is kept: its memory must not become another's meanwhile.
            if self._pending is not None:
                last, output = self._pending
                if output.data_ptr() == inputs[0].data_ptr():
                    self._taken_over.add(last)
            self._pending = None
            self._keep(f"{name}:{INPUT}", inputs[0])

        return hook

    def _after(self, name: str) -> Any:
        def hook(_: nn.Module, __: tuple[Tensor, ...], output: Tensor) -> None:
            self._pending = (name, output)
            self._keep(f"{name}:{OUTPUT}", output)

        return hook

    def _keep(self, place: str, values: Tensor) -> None:
        flat = values.detach().permute(0, 2, 3, 1).reshape(-1)
        # An odd step, so that it meets every channel.
        step = max(1, flat.numel() // _SAMPLES) | 1
        kept = torch.cat((flat[::step], flat.amin()[None], flat.amax()[None]))
        self._samples.setdefault(place, []).append(kept.clone())

    def ranges(self, inputs: Range | None = None) -> Ranges:
        """The ranges that lose least, in the mean square, of what was seen.

        What enters the network is never clipped: it holds unlike things (intensities, a mask, a
        colour hint), and what is rare among them may be what matters. ``inputs`` is a range that it
        may have although it was not seen.
        """
        found = {}
        for number, (place, parts) in enumerate(self._samples.items()):
            name, _, side = place.rpartition(":")
            if side == OUTPUT and name in self._taken_over:
                continue
            values = torch.cat(parts).numpy()
            if number == 0:
                low, high = inputs or (0.0, 0.0)
                found[place] = (min(low, float(values.min())), max(high, float(values.max())))
            else:
                found[place] = best_range(values)
        return Ranges(found)


def best_range(values: NDArray[np.float32]) -> Range:
    """(low, high) whose 256 steps come closest to the values; beyond it they are clipped."""
    low, high = min(0.0, float(values.min())), max(0.0, float(values.max()))
    if low == high:
        return (0.0, 1.0)
    best, chosen = np.inf, (low, high)
    for share in _SHARES[::-1]:
        scale, zero = scale_and_zero(low * share, high * share)
        numbers = np.clip(np.rint(values / scale) + zero, 0, LEVELS)
        error = float(np.square((numbers - zero) * scale - values).mean())
        if error < best:
            best, chosen = error, (low * share, high * share)
    return chosen
