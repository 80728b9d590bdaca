"""Keep a process's freed memory for its next block instead of giving it back after each.

glibc takes large arrays from the system one by one and gives them back when they are freed; and
each thread's heap returns what is free at its end. Every chunk then faults in its hundreds of
megabytes anew, page by page, which was seen to cost up to a third of the time. With heaps that keep
what they have it costs nothing. There is one for every two cores: glibc would make eight for each,
and every one keeps the memory that its largest chunk took; with a single one sixteen threads wait
for each other, and get what lies in another core's cache.

That is a decision about a whole process which can't be taken back (glibc tells nobody what was set
before). So only nirgeo's own command makes it, before there are threads; a program that imports
nirgeo, and ``rio``, are left alone. What the user has set in the environment wins.
"""

from __future__ import annotations

import ctypes
import os
import platform
import sys

from nirgeo.cores import cores

# Of glibc's malloc.h.
_M_TRIM_THRESHOLD = -1
_M_MMAP_THRESHOLD = -3
_M_ARENA_MAX = -8

_LARGEST = 2**30
_NEVER = 2**31 - 1

USERS_OWN = (
    "MALLOC_ARENA_MAX",
    "MALLOC_MMAP_THRESHOLD_",
    "MALLOC_TRIM_THRESHOLD_",
    "GLIBC_TUNABLES",
    "LD_PRELOAD",  # perhaps another allocator
)


def keep_freed_memory() -> bool:
    """Tell glibc to; returns whether it did. Nothing happens with another C library."""
    if sys.platform != "linux" or platform.libc_ver()[0] != "glibc":
        return False
    if any(os.environ.get(name) for name in USERS_OWN):
        return False
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError):
        return False
    settings = (
        (_M_ARENA_MAX, max(1, cores() // 2)),
        (_M_MMAP_THRESHOLD, _LARGEST),
        (_M_TRIM_THRESHOLD, _NEVER),
    )
    answers = [mallopt(name, value) for name, value in settings]  # all of them, whatever one says
    return all(answer == 1 for answer in answers)
