"""The GDAL settings under which rasters are read, its cache during a run, and its errors.

They are made where they are used, and put back.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

import rasterio
from rasterio._err import CPLE_BaseError, CPLE_NotSupportedError, stack_errors
from rasterio.env import defenv, get_gdal_config, getenv, hasenv, set_gdal_config, setenv
from rasterio.errors import RasterioError

from nirgeo.hrefs import is_remote

GdalError = CPLE_BaseError
"""GDAL's own errors, where rasterio lets them through."""

NOT_SUPPORTED = CPLE_NotSupportedError
"""What GDAL says of what it has no way to do, such as to go from a local CRS to another one."""

GDAL_ERRORS = (RasterioError, CPLE_BaseError, OSError, ValueError, SystemError)
"""What rasterio raises for a file that can't be used; some of GDAL's own errors come through. Where
GDAL fails without a word, as it may on a full disk, rasterio says SystemError."""

# Settings under which a remote COG is read in few requests, from GDAL's documentation of its
# network file systems. A value that the user has set wins.
_REMOTE_SETTINGS = {
    "GDAL_DISABLE_READDIR_ON_OPEN": "EMPTY_DIR",
    "GDAL_HTTP_MERGE_CONSECUTIVE_RANGES": "YES",
    "GDAL_HTTP_MULTIPLEX": "YES",
    "GDAL_HTTP_VERSION": "2TLS",
    "GDAL_HTTP_MAX_RETRY": "3",
    "GDAL_HTTP_RETRY_DELAY": "1",
    # Without them a server that has stopped to answer is waited for for ever, by signals too.
    "GDAL_HTTP_CONNECTTIMEOUT": "30",
    "GDAL_HTTP_LOW_SPEED_TIME": "30",
    "GDAL_HTTP_LOW_SPEED_LIMIT": "1",
    "VSI_CACHE": "YES",
    "VSI_CACHE_SIZE": "16777216",
}

# libdeflate, which GDAL prefers, does not notice that a damaged block ends early: whatever was in
# memory stays in the rest of it, every time something else. zlib is slower and always the same.
_SETTINGS = {"GDAL_TIFF_DEFLATE_SUBCODEC": "ZLIB"}


# With more threads GDAL decodes several tiles of JPEG 2000 side by side, and nobody hears of those
# that can't be read: they are 0, and no error. So this holds whatever the user has set; chunks are
# read by many threads all the same.
_ALWAYS = {"GDAL_NUM_THREADS": "1"}


def unset(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Those of some GDAL settings that nobody has made yet.

    A user makes them in the environment, in GDAL's own configuration file, or in a
    ``rasterio.Env`` around the call, as ``rio`` does; wherever it was, that is what counts.
    """
    return {name: value for name, value in settings.items() if get_gdal_config(name) is None}


def gdal_env(path: str) -> rasterio.Env:
    """The GDAL environment for reading ``path``; restored when it is left."""
    settings = _SETTINGS | (_REMOTE_SETTINGS if is_remote(path) else {})
    return rasterio.Env(**(unset(settings) | _ALWAYS))


def settings_here() -> dict[str, Any]:
    """What the ``rasterio.Env`` around the caller has set, credentials included."""
    return dict(getenv()) if hasenv() else {}


def adopt(settings: Mapping[str, Any]) -> None:
    """Give a new thread the ``rasterio.Env`` that its starter is in, until the thread ends.

    GDAL shows settings to every thread. But rasterio knows the environment of its own thread only,
    and signs in anew where there is none, as whoever the defaults name.
    """
    if settings:
        defenv(**settings)


@contextmanager
def settings_from(settings: Mapping[str, Any]) -> Iterator[None]:
    """The ``rasterio.Env`` of another process, for as long as this context.

    With what it has signed in with, which ``rasterio.Env`` itself does not take.
    """
    with rasterio.Env():
        if settings:
            setenv(**settings)
        yield


CACHE_BYTES = 64 * 2**20
"""GDAL's block cache during a run. Its own default is a share of the machine's memory.

Where threads share decoded blocks (see :mod:`nirgeo.decoded`), most of it is theirs.
"""

_cache_bytes: ContextVar[int] = ContextVar("_cache_bytes", default=CACHE_BYTES)


class _BoundedCache:
    """The size of GDAL's block cache, which is one for the whole process."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._users = 0
        self._before: Any = None
        self._size = 0

    def __enter__(self) -> None:
        with self._lock:
            if self._users == 0:
                self._before = get_gdal_config("GDAL_CACHEMAX")
                self._size = _cache_bytes.get()
                set_gdal_config("GDAL_CACHEMAX", self._size)
            self._users += 1

    def __exit__(self, *_: object) -> None:
        with self._lock:
            self._users -= 1
            if self._users == 0:
                set_gdal_config("GDAL_CACHEMAX", self._before)

    def leave(self, share: float) -> None:
        with self._lock:
            if self._users > 0:
                set_gdal_config("GDAL_CACHEMAX", int(self._size * share))


_bounded_cache = _BoundedCache()


@contextmanager
def bounded_cache() -> Iterator[None]:
    """Keep GDAL's block cache at ``CACHE_BYTES``, so that memory does not grow with the scene.

    What it was before comes back with the end of the last of several runs in one process. A value
    that the user has set wins. (A plain number means bytes here; in the environment it means
    megabytes.)
    """
    # GDAL answers with the size in use, whoever chose it.
    if "GDAL_CACHEMAX" in os.environ or "GDAL_CACHEMAX" in settings_here():
        yield
        return
    with rasterio.Env(), _bounded_cache:
        yield


def leave_to_gdal(share: float) -> None:
    """Keep GDAL's block cache at this share of its size, if it is bounded by a run; 1 is all."""
    _bounded_cache.leave(share)


@contextmanager
def cache_of(size: int) -> Iterator[None]:
    """Another size than ``CACHE_BYTES`` for the block cache of runs that begin in this context."""
    token = _cache_bytes.set(size)
    try:
        yield
    finally:
        _cache_bytes.reset(token)


def cache_bytes() -> int:
    """The size that :func:`bounded_cache` gives GDAL's block cache here."""
    return _cache_bytes.get()


def forget_errors() -> None:
    """Clear this thread's last error of GDAL, after a failure that was dealt with.

    GDAL keeps it, and rasterio would raise it again at the next call that returns a number other
    than 0: for another file, which is sound.
    """
    with stack_errors():
        pass
