"""Several files that belong together are written together, or not at all."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory


@contextmanager
def written_together(folder: Path) -> Iterator[Path]:
    """A scratch folder whose files are moved into ``folder`` when the block ends well.

    If it does not, nothing in ``folder`` has changed.
    """
    with TemporaryDirectory(prefix=".", dir=folder) as name:
        scratch = Path(name)
        yield scratch
        # The list last: it must not name what is not there.
        for file in sorted(scratch.iterdir(), key=lambda file: file.name == "registry.json"):
            file.replace(folder / file.name)
