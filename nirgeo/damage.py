"""Damage that shows late: chunks of a store that can't be decoded when they are computed.

What is read lazily fails in the middle of a computation, in ways of the codecs' own.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from nirgeo.errors import NirgeoError, SourceError

_READERS = frozenset(("zarr", "numcodecs", "netCDF4", "h5netcdf", "h5py"))


@contextmanager
def damage_told_of() -> Iterator[None]:
    """Errors that the readers of stores raise become one of the scene.

    Raises
    ------
    SourceError : a chunk can't be decoded
    """
    try:
        yield
    except (NirgeoError, MemoryError):
        raise
    except Exception as error:
        if not _is_of_reader(error):
            raise
        said = " ".join(f"{type(error).__name__}: {error}".split())
        raise SourceError(
            f"a chunk of the scene can't be decoded ({said}); it may be damaged"
        ) from error


def _is_of_reader(error: BaseException) -> bool:
    trace = error.__traceback__
    while trace is not None:
        if trace.tb_frame.f_globals.get("__name__", "").partition(".")[0] in _READERS:
            return True
        trace = trace.tb_next
    return False
