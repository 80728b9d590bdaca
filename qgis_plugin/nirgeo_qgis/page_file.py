"""A page of facts as a file in a place that the user chose."""

from __future__ import annotations

import errno
import os
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any

from qgis.core import QgsProcessingException

from .report import page


@dataclass(frozen=True)
class PageFile:
    """``label`` is the name of the form's field, ``path`` what stands in it."""

    label: str
    path: str

    def check(self, output: str = "") -> None:
        """See whether a page can be written, before anything takes time; and not over the
        ``output`` of the same run.

        Raises
        ------
        QgsProcessingException : it can't
        """
        target = os.path.realpath(self.path)
        if output and target == os.path.realpath(output):
            raise QgsProcessingException(
                f"{self.label}: {self.path} is a raster of this run, which would be lost. Choose "
                "another place."
            )
        with self._told():
            if os.path.isdir(target):
                raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
            if os.path.exists(target) and not os.access(target, os.W_OK):
                raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
            # Rights alone do not tell: network folders and Windows have rules of their own.
            with tempfile.TemporaryFile(dir=os.path.dirname(target)):
                pass

    def write(self, facts: Mapping[str, Any]) -> None:
        """Write the page; an earlier one stays until the new one is complete.

        Raises
        ------
        QgsProcessingException : it can't be written
        """
        target = os.path.realpath(self.path)
        part = f"{target}.part"
        with self._told():
            with suppress(FileNotFoundError):
                os.unlink(part)  # may be a link, and lead to another file
            try:
                with open(part, "x", encoding="utf-8") as file:
                    file.write(page(facts))
                os.replace(part, target)
            except BaseException:
                with suppress(OSError):
                    os.unlink(part)
                raise

    @contextmanager
    def _told(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise QgsProcessingException(
                f"{self.label}: {self.path} can't be written ({error.strerror or error}). Choose "
                "another place."
            ) from error
