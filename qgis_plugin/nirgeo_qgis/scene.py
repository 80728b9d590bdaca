"""From a layer in QGIS to a file that another program can open."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from qgis.core import (
    QgsCoordinateReferenceSystem,
    QgsCoordinateTransformContext,
    QgsProcessingException,
    QgsProcessingFeedback,
    QgsRasterDataProvider,
    QgsRasterFileWriter,
    QgsRasterLayer,
    QgsRasterPipe,
)

_PICTURE_SERVICES = frozenset({"wms", "arcgismapserver"})
_OPEN_OPTIONS = "|option:"


@dataclass
class Scene:
    """What is needed of a layer once the work has left the main thread.

    ``path`` is a name that GDAL opens; where there is none, ``pixels`` have to be copied to a file.
    """

    name: str
    crs: QgsCoordinateReferenceSystem
    path: str | None
    pixels: QgsRasterDataProvider | None = None

    @classmethod
    def of(cls, layer: QgsRasterLayer) -> Scene:
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
                "not measurements: near infrared can't be read from it. Download the scene itself "
                "and use its file."
            )
        path = _gdal_name(layer.source()) if provider.name() == "gdal" else None
        return cls(layer.name(), layer.crs(), path, None if path else provider.clone())

    @contextmanager
    def as_file(self, feedback: QgsProcessingFeedback) -> Iterator[str]:
        """The scene's own file, or a temporary copy that is removed afterwards."""
        if self.path is not None:
            yield self.path
            return
        feedback.pushInfo(
            f"{self.name} is not a file: its pixels are copied to a temporary one first. The names "
            "of its bands are lost on the way, so it may be necessary to say which one is near "
            "infrared."
        )
        with tempfile.TemporaryDirectory(prefix="nirgeo-qgis-") as folder:
            copy = os.path.join(folder, "scene.tif")
            self._export(copy)
            yield copy

    def _export(self, path: str) -> None:
        pipe = QgsRasterPipe()
        if self.pixels is None or not pipe.set(self.pixels.clone()):
            raise QgsProcessingException(f"The pixels of {self.name} can't be read.")
        error = QgsRasterFileWriter(path).writeRaster(
            pipe,
            self.pixels.xSize(),
            self.pixels.ySize(),
            self.pixels.extent(),
            self.crs,
            QgsCoordinateTransformContext(),
        )
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
