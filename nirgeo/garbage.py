"""Have Python look for cycles of unused objects seldom while modules are loaded.

Loading torch, xarray and dask makes some hundred thousand objects that stay. Python looks through
all of them again and again for cycles that nothing refers to, which is a tenth of the time until
the first pixel is read. Arrays are not what it looks for: they are given back at once, as before.

Only nirgeo's own command does so: a program that imports nirgeo is left alone.
"""

from __future__ import annotations

import gc

NEW_OBJECTS = 50_000
"""Before Python looks; it is some hundreds or thousands otherwise."""


def look_seldom() -> None:
    """Call it before the modules are loaded."""
    if gc.isenabled():
        gc.set_threshold(NEW_OBJECTS, *gc.get_threshold()[1:])
