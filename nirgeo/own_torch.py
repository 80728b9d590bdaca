"""torch as nirgeo needs it, whatever a caller has set around the call, and for this thread alone.

Networks are built and used in the caller's own thread where nothing else computes. What
``torch.set_default_device``, ``torch.device`` or ``torch.autocast`` ask for there is meant for the
caller's tensors. Types that ``torch.set_default_dtype`` chooses hold for all threads; so nothing
here leaves a type to torch.
"""

from __future__ import annotations

import threading
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


class _ThreadSetting:
    """Who has changed torch's threads per operation, and what they were before the first."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.users = 0
        self.before = 1


_setting = _ThreadSetting()


@contextmanager
def intra_op_threads(count: int) -> Iterator[None]:
    """Set torch's threads per operation, and restore what was set before.

    torch has one number for threads that are still to come and one for each that is there. So
    when several runs overlap, each restores its own thread's, and the last one the process's.
    """
    import torch

    with _setting.lock:
        mine = torch.get_num_threads()
        if _setting.users == 0:
            _setting.before = mine
        _setting.users += 1
        torch.set_num_threads(count)
    try:
        yield
    finally:
        with _setting.lock:
            _setting.users -= 1
            torch.set_num_threads(mine if _setting.users else _setting.before)
