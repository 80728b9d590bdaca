"""Have threads that wait for others fall asleep soon.

OpenMP's threads, which torch computes with where there are fewer chunks than cores, turn in circles
for milliseconds while they wait for each other. On cores that somebody else needs too, every small
operation then takes until the system interrupts the one that turns: chunks were seen to take
several times as long. Turning for some microseconds only keeps what is gained by it on idle cores;
asleep at once, a training took a tenth longer.

GNU's OpenMP reads it from the environment when torch is loaded; others do not know it. Only
nirgeo's own command sets it: a program that imports nirgeo is left alone, and what the user has set
wins.
"""

from __future__ import annotations

import os

USERS_OWN = ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT")

TURNS = 10_000
"""Before a thread sleeps; it is 300,000 otherwise."""


def sleep_soon() -> None:
    """Call it before torch is loaded."""
    if not any(os.environ.get(name) for name in USERS_OWN):
        os.environ["GOMP_SPINCOUNT"] = str(TURNS)
