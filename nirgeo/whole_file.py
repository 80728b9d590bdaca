"""Files that have their name only when they are whole."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path


@contextmanager
def written_whole(path: Path) -> Iterator[Path]:
    """Where to write a file, which gets its name when it is whole.

    What fails, or is interrupted, leaves nothing, and what stood under the name stays.
    """
    partial = path.with_name(path.name + ".part")
    with suppress(FileNotFoundError):
        partial.unlink()  # may be a link, and lead to another file
    try:
        yield partial
        os.replace(partial, path)
    except BaseException:
        with suppress(OSError):
            partial.unlink()
        raise
