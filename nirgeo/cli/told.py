"""What the library warns of, told like everything else that a command says."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from nirgeo.errors import BandWarning


@contextmanager
def warnings_told(tell: Callable[[str], None]) -> Iterator[None]:
    """Hand nirgeo's own warnings to ``tell``, each once; others go where they go anyway."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", BandWarning)
        yield
    said = set()
    for warning in caught:
        text = str(warning.message)
        if not isinstance(warning.message, BandWarning):
            warnings.showwarning(
                warning.message, warning.category, warning.filename, warning.lineno
            )
        elif text not in said:
            said.add(text)
            tell(text)
