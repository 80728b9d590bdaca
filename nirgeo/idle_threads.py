"""Have threads that wait for others sleep.

OpenMP's threads, which torch computes with where there are fewer chunks than cores, turn in circles
while they wait for each other. On cores that somebody else needs too, every small operation then
takes until the system interrupts the one that turns: a chunk was seen to take ten times as long. On
idle cores sleeping costs next to nothing, since a chunk's operations are few and large.

OpenMP reads it from the environment when torch is loaded. So only nirgeo's own command sets it; a
program that imports nirgeo is left alone, and what the user has set wins.
"""

from __future__ import annotations

import os

USERS_OWN = ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT", "KMP_BLOCKTIME")


def sleep_while_waiting() -> None:
    """Call it before torch is loaded."""
    if not any(os.environ.get(name) for name in USERS_OWN):
        os.environ["OMP_WAIT_POLICY"] = "PASSIVE"
