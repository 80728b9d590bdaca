"""Warnings that nobody wants to hear, in programs of many threads.

``warnings.catch_warnings`` puts back the list of filters that it has found. Of two threads in it at
once the second would find the first's, and leave it to the process for ever.
"""

from __future__ import annotations

import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

_one_at_a_time = threading.RLock()


@contextmanager
def unheard(kind: type[Warning] = Warning) -> Iterator[None]:
    """Nothing is heard of warnings of this kind."""
    with _one_at_a_time, warnings.catch_warnings():
        warnings.simplefilter("ignore", kind)
        yield
