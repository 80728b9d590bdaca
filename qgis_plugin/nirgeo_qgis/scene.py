"""From a layer in QGIS to a file that another program can open."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from qgis.core import (
    QgsCoordinateReferenceSystem,
    QgsCoordinateTransformContext,
    QgsProcessingException,
    QgsProcessingFeedback,
    QgsRasterBlockFeedback,
    QgsRasterDataProvider,
    QgsRasterFileWriter,
    QgsRasterLayer,
    QgsRasterPipe,
)

from .cancelling import cancellation
from .nirgeo_cli import CancelledError


@dataclass(frozen=True)
class Role:
    """What a layer is read for, in words of the messages about it."""

    refusal: str
    """Why a service that sends pictures can't stand for it."""
    loss: str
    """What a copy lacks, and what follows."""


_NAMES_ARE_LOST = "The names of its bands are lost on the way, so"
_NO_FIXED_PIXELS = "colours that are drawn anew for every view"

NEAR_INFRARED = Role(
    refusal="near infrared can't be read from it",
    loss=f"{_NAMES_ARE_LOST} it may be necessary to say which one is near infrared.",
)
REFERENCE_COLOURS = Role(
    refusal=f"{_NO_FIXED_PIXELS} are no reference",
    loss=f"{_NAMES_ARE_LOST} it has to consist of red, green and blue in this order.",
)
PREDICTION = Role(
    refusal=f"{_NO_FIXED_PIXELS} can't be compared",
    loss="nirgeo's record of how it was rendered is lost on the way, so true colours in "
    "reflectance are rendered with nirgeo's usual curve.",
)
TRUE_COLOURS = Role(
    refusal=f"{_NO_FIXED_PIXELS} can't be compared",
    loss=f"{_NAMES_ARE_LOST} it may be necessary to say which ones are red, green and blue.",
)

_PICTURE_SERVICES = frozenset({"wms", "arcgismapserver"})
_OPEN_OPTIONS = "|option:"


@dataclass
class Scene:
    """What is needed of a layer once the work has left the main thread.

    ``path`` is a name that GDAL opens; where there is none, ``pixels`` have to be copied to a file.
    """

    name: str
    role: Role
    crs: QgsCoordinateReferenceSystem
    path: str | None
    pixels: QgsRasterDataProvider | None = None

    @classmethod
    def of(cls, layer: QgsRasterLayer, role: Role) -> Scene:
        """Look at a layer; to be called in the thread that the layer lives in.

        Raises
        ------
        QgsProcessingException : the layer holds no measurements that could be colorized
        """
        provider = layer.dataProvider()
        if provider is None or not layer.isValid():
            raise QgsProcessingException(f"{layer.name()} is not a valid layer; is its file there?")
        # A layer without a size of its own is drawn anew for every view.
        if provider.name() in _PICTURE_SERVICES or layer.width() == 0:
            raise QgsProcessingException(
                f"{layer.name()} comes from a map service ({provider.name()}) that sends pictures, "
                f"not measurements: {role.refusal}. Download the raster itself and use its file."
            )
        path = _gdal_name(layer.source()) if provider.name() == "gdal" else None
        return cls(layer.name(), role, layer.crs(), path, None if path else provider.clone())

    @contextmanager
    def as_file(self, feedback: QgsProcessingFeedback) -> Iterator[str]:
        """The scene's own file, or a temporary copy that is removed afterwards.

        A copy can be made once: the pixels are given away for it.

        Raises
        ------
        QgsProcessingException : the pixels can't be copied
        CancelledError : the user cancelled while they were
        """
        if self.path is not None:
            yield self.path
            return
        feedback.pushInfo(
            f"{self.name} is not a file: its pixels are copied to a temporary one first. "
            f"{self.role.loss}"
        )
        with tempfile.TemporaryDirectory(prefix="nirgeo-qgis-") as folder:
            copy = os.path.join(folder, "scene.tif")
            self._export(copy, cancellation(feedback))
            yield copy

    def _export(self, path: str, is_cancelled: Callable[[], bool]) -> None:
        # The pipe deletes what it is given. A clone of the clone would be safe from that, but in
        # QGIS 3.22 that of a virtual raster reads memory that nobody has written.
        pixels, self.pixels = self.pixels, None
        pipe = QgsRasterPipe()
        if pixels is None or not pipe.set(pixels):
            raise QgsProcessingException(f"The pixels of {self.name} can't be read.")
        block_feedback = QgsRasterBlockFeedback()

        def look() -> None:
            if is_cancelled():
                block_feedback.cancel()

        # Sent for every tile, in this thread.
        block_feedback.progressChanged.connect(look)
        look()
        error = QgsRasterFileWriter(path).writeRaster(
            pipe,
            pixels.xSize(),
            pixels.ySize(),
            pixels.extent(),
            self.crs,
            QgsCoordinateTransformContext(),
            block_feedback,
        )
        look()
        if block_feedback.isCanceled():
            raise CancelledError
        # An integer in QGIS 3, an enumeration in QGIS 4.
        if getattr(error, "value", error) != 0 or not os.path.exists(path):
            raise QgsProcessingException(
                f"The pixels of {self.name} can't be copied to a temporary file. Export the layer "
                "to a GeoTIFF yourself and use that."
            )


def _gdal_name(source: str) -> str | None:
    """What another program can give to GDAL to open a layer; None where it could not."""
    path = source.split(_OPEN_OPTIONS)[0]
    # Memory of this very process, and credentials that only QGIS can look up.
    if "/vsimem/" in path or "authcfg=" in path:
        return None
    return str(Path(path).absolute()) if os.path.exists(path) else path
