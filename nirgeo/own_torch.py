"""torch as nirgeo needs it, whatever a caller has set around the call, and for this thread alone.

Networks are built and used in the caller's own thread where nothing else computes. What
``torch.set_default_device``, ``torch.device`` or ``torch.autocast`` ask for there is meant for the
caller's tensors. Types that ``torch.set_default_dtype`` chooses hold for all threads; so nothing
here leaves a type to torch.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

_DRAWS = frozenset(("normal_", "uniform_", "kaiming_normal_", "kaiming_uniform_"))


@contextmanager
def building() -> Iterator[None]:
    """New tensors lie in the processor's memory, and are computed as they are."""
    import torch

    with torch.device("cpu"), torch.autocast("cpu", enabled=False):
        yield


@contextmanager
def without_values() -> Iterator[None]:
    """Layers that are built hold whatever was in memory, to be replaced: their first weights would
    be drawn from the caller's random numbers.

    On torch's device for this, "meta", some of it takes its compiler, which is slow to load.
    """
    import torch
    from torch.overrides import TorchFunctionMode

    class Undrawn(TorchFunctionMode):
        def __torch_function__(
            self, func: Any, types: Any, args: Any = (), kwargs: Mapping[str, Any] | None = None
        ) -> Any:
            kwargs = kwargs or {}
            if getattr(func, "__name__", "") in _DRAWS:  # of tensors, and of torch.nn.init
                return args[0] if args else kwargs["tensor"]
            return func(*args, **kwargs)

    with torch.device("cpu"), Undrawn():
        yield


@contextmanager
def computing() -> Iterator[None]:
    """Nothing is computed in fewer bits than it has, and nothing noted for gradients.

    Not as :func:`building`: what is computed lies where it comes from, and every call of torch
    would take longer if it had to ask.
    """
    import torch

    with torch.inference_mode(), torch.autocast("cpu", enabled=False):
        yield
