"""Nothing half-made stays behind.

nirgeo gives its output the final name only when it is complete, and removes its working files when
it is asked to end. A child that had to be killed (on Windows, every one that is cancelled) can't.
"""

from __future__ import annotations

import shutil
import time
from contextlib import suppress
from pathlib import Path


class Beside:
    """Remembers what lies beside an output before a run, to remove what a failed run adds.

    Only names made from the output's own name are looked at: ``NAME``, ``NAME.*`` and ``.NAME.*``.
    What was there before, an earlier result above all, is never touched.
    """

    def __init__(self, target: str) -> None:
        self._target = Path(target)
        self._before = self._related()

    def _related(self) -> set[Path]:
        name = self._target.name
        with suppress(OSError):
            return {
                entry
                for entry in self._target.parent.iterdir()
                if entry.name == name or entry.name.startswith((f"{name}.", f".{name}."))
            }
        return set()

    def clear(self, patience: float = 2.0) -> None:
        """Remove what has appeared since; Windows may need a moment to let go of the files."""
        deadline = time.monotonic() + patience
        while True:
            added = self._related() - self._before
            for entry in added:
                if entry.is_dir() and not entry.is_symlink():
                    shutil.rmtree(entry, ignore_errors=True)
                else:
                    with suppress(OSError):
                        entry.unlink()
            if not self._related() - self._before or time.monotonic() > deadline:
                return
            time.sleep(0.1)
