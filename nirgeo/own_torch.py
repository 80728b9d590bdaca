"""torch as nirgeo needs it, whatever a caller has set around the call, and for this thread alone.

Networks are built and used in the caller's own thread where nothing else computes. What
``torch.set_default_device``, ``torch.device`` or ``torch.autocast`` ask for there is meant for the
caller's tensors. Types that ``torch.set_default_dtype`` chooses hold for all threads; so nothing
here leaves a type to torch.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def building() -> Iterator[None]:
    """New tensors lie in the processor's memory, and are computed as they are."""
    import torch

    with torch.device("cpu"), torch.autocast("cpu", enabled=False):
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
