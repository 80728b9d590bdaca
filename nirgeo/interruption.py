"""Ctrl-C, SIGTERM and SIGHUP during one long call of GDAL.

Python runs no signal handler before a call into C returns, and the copy of a large scene takes a
while. But all that while GDAL asks its source for pixels. Here the source is read through Python,
and says that there are none left once a handler has raised: the copy then fails at once.
"""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Any, BinaryIO
from uuid import uuid4

import rasterio
import rasterio.shutil

from nirgeo.gdal_settings import forget_errors

_SIGNALS = tuple(
    getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)
)


def copy_raster(
    source: Path, target: Path, *, on_read: Callable[[int], None] | None = None, **options: str
) -> None:
    """``rasterio.shutil.copy`` of a local file or VRT, which a signal interrupts.

    ``on_read`` is told how many bytes were read, after every read. Files that a VRT refers to must
    lie beside it. In another thread than the main one, which no
    signal reaches, it is the plain copy.

    Raises
    ------
    KeyboardInterrupt, or whatever else a signal's handler raises
    """
    # GDAL knows the file by a name of no meaning: rasterio tells openers apart by it, and takes
    # what a path may contain for parts of a URL.
    alias = f"{uuid4()}/source{source.suffix}"
    with _SignalsNoted() as signals:

        def told(count: int) -> None:
            try:
                if on_read is not None:
                    on_read(count)
            except BaseException as error:  # GDAL would drop it
                signals.raised.append(error)

        def opener(name: str, mode: str = "rb") -> _Reader:
            path = source if name == alias else source.with_name(Path(name).name)
            return _Reader(open(path, "rb"), signals.raised, told)

        with rasterio.open(alias, opener=opener) as opened:
            rasterio.shutil.copy(opened, str(target), **options)


class _Reader:
    """A file that comes to its end when a signal's handler has raised."""

    def __init__(
        self,
        file: BinaryIO,
        raised: list[BaseException],
        on_read: Callable[[int], None] = lambda count: None,
    ) -> None:
        self._file = file
        self._raised = raised
        self._on_read = on_read
        self.seek = file.seek
        self.tell = file.tell

    def read(self, size: int = -1) -> bytes:
        if self._raised:
            return b""
        data = self._file.read(size)
        self._on_read(len(data))
        return data

    def __enter__(self) -> _Reader:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()


class _SignalsNoted:
    """Keeps what the handlers of signals raise, and raises the first of it at the end.

    An exception must not reach the code that calls back from GDAL: it could only be dropped there.
    """

    def __init__(self) -> None:
        self.raised: list[BaseException] = []
        self._handlers: dict[int, Callable[[int, FrameType | None], Any]] = {}

    def __enter__(self) -> _SignalsNoted:
        if threading.current_thread() is threading.main_thread():
            for number in _SIGNALS:
                handler = signal.getsignal(number)
                if callable(handler):  # else the system deals with it
                    self._handlers[number] = handler
                    signal.signal(number, self._note)
        return self

    def _note(self, number: int, frame: FrameType | None) -> None:
        try:
            self._handlers[number](number, frame)
        except BaseException as error:
            self.raised.append(error)

    def __exit__(self, *_: object) -> None:
        for number, handler in self._handlers.items():
            signal.signal(number, handler)
        if self.raised:
            forget_errors()
            raise self.raised[0] from None
