"""The lanes of this process: one to each device, made when it is first asked for."""

from __future__ import annotations

import os
import threading

from nirgeo.lane import Lane

_lanes: dict[str, Lane] = {}
_lanes_lock = threading.Lock()


def _forget() -> None:
    """In a copy of a process (``fork``): it has no threads of its original, and no devices."""
    global _lanes_lock
    _lanes.clear()
    _lanes_lock = threading.Lock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget)


def has_lane(device_name: str) -> bool:
    """Whether somebody has come by a lane to a device of this name, which torch need not know."""
    return device_name in _lanes


def lane_of(device_name: str) -> Lane:
    """The lane to a torch device, one per process."""
    from nirgeo.accelerator import Accelerator

    with _lanes_lock:
        if device_name not in _lanes:
            _lanes[device_name] = Lane(Accelerator(device_name))
        return _lanes[device_name]
