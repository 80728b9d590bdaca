"""How torch, and the libraries beneath it, say that memory is short: in the words of an error.

A device that has no room gets smaller batches; a processor that has none ends the run.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

_NO_ROOM = (
    "out of memory",
    "alloc_failed",
    "allocation_failed",  # from cuDNN 9 on
    "invalid buffer size",  # of Apple's
    "unable to find an engine",
)
"""How libraries beneath torch say in a RuntimeError that memory is short; in lower case."""


def is_no_room(error: RuntimeError) -> bool:
    """Whether a device had too little memory: torch's allocator says so, or what is beneath it."""
    import torch

    if isinstance(error, torch.OutOfMemoryError):
        return True
    return any(words in str(error).lower() for words in _NO_ROOM)


_NO_MEMORY = ("can't allocate memory", "could not create a primitive", "not enough memory")
"""What torch's allocator and oneDNN say, as RuntimeErrors."""


@contextmanager
def memory_errors() -> Iterator[None]:
    """What torch says so on the processor is Python's own error for it."""
    try:
        yield
    except RuntimeError as error:
        if any(words in str(error) for words in _NO_MEMORY):
            raise MemoryError(str(error)) from error
        raise
