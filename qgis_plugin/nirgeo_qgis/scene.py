"""From a layer in QGIS to a file that another program can open."""

from __future__ import annotations

import os
import re
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import unquote

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
_OPEN_OPTION = "|option:"
_PARTS = re.compile(r"\|(option|credential|authcfg|layername|layerid):?")
"""What QGIS adds to the name of a layer's file."""
_LOGIN = re.compile(r"(://)[^/@\s]+@")
"""A user's name and password in a URL."""


def shown(text: str) -> str:
    """An argument without what follows a URL's question mark, which may be a signature, and without
    a password: what is shown is copied, and what is noted about a layer is saved with the
    project."""
    remote = "://" in text or text.startswith("/vsi")
    return _LOGIN.sub(r"\1", text.partition("?")[0]) if remote else text


@dataclass
class Scene:
    """What is needed of a layer once the work has left the main thread.

    ``path`` is a name that GDAL opens. Where there is none, or another CRS was chosen for the
    layer in QGIS (``crs_by_hand`` is valid then), another program is given a file that refers to
    what GDAL opens in this process as ``here``, with its options. Where that can't be, ``pixels``
    have to be copied to a file. ``source`` is all that QGIS says of where the layer comes from, and
    ``hidden`` whether values are hidden in QGIS that its file does not call missing.
    """

    name: str
    role: Role
    crs: QgsCoordinateReferenceSystem
    path: str | None
    pixels: QgsRasterDataProvider | None = None
    here: tuple[str, list[str]] | None = None
    crs_by_hand: QgsCoordinateReferenceSystem = field(default_factory=QgsCoordinateReferenceSystem)
    source: str = ""
    hidden: bool = False

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
        path = here = None
        if provider.name() == "gdal":
            path, here = _gdal_name(layer.source()), _gdal_name_here(layer.source())
        by_hand = QgsCoordinateReferenceSystem()
        if layer.crs() != provider.crs():
            by_hand = layer.crs()
        pixels = None if path else provider.clone()
        bands = range(1, provider.bandCount() + 1)
        hidden = any(provider.userNoDataValues(band) for band in bands)
        source = layer.source()
        return cls(layer.name(), role, layer.crs(), path, pixels, here, by_hand, source, hidden)

    def refuse_as_output(self, output: str, label: str) -> None:
        """What is made must not take the place of a file that the layer is made of: where that is
        copied, nirgeo could not know.

        Raises
        ------
        QgsProcessingException : ``output``, which stands in the field ``label``, is one of them
        """
        if not output or not os.path.exists(output):
            return
        written = re.escape(Path(output).absolute().as_posix())
        named = re.search(rf"{written}(?![\w.])", unquote(self.source).replace("\\", "/"))
        own = self.path is not None and os.path.exists(self.path)
        if named or (own and os.path.samefile(output, str(self.path))):
            raise QgsProcessingException(
                f"{label}: {output} is a file of {self.name}, which would be lost. Choose another "
                "place."
            )

    @contextmanager
    def as_file(self, feedback: QgsProcessingFeedback) -> Iterator[str]:
        """The scene's own file; or a temporary one that is removed afterwards, which refers to it
        or is a copy.

        A copy can be made once: the pixels are given away for it.

        Raises
        ------
        QgsProcessingException : the pixels can't be copied
        CancelledError : the user cancelled while they were
        """
        if self.hidden:
            feedback.pushWarning(
                f"{self.name}: additional no-data values are set for this layer in QGIS. They are "
                "not heeded; name one as the value of missing pixels, if there is such a field."
            )
        if self.path is not None and not self.crs_by_hand.isValid():
            yield self.path
            return
        with tempfile.TemporaryDirectory(prefix="nirgeo-qgis-") as folder:
            if self.here is not None and "/vsimem/" not in self.here[0]:
                reference = os.path.join(folder, _named_alike(self.here[0]))
                os.makedirs(os.path.dirname(reference), exist_ok=True)
                if _copied(*self.here, reference, self.crs_by_hand, cancellation(feedback), "VRT"):
                    yield reference
                    return
            if self.path is not None:
                yield self.path
                return
            copy = os.path.join(folder, "scene.tif")
            said = f"{self.name} is not a file: its pixels are copied to a temporary one first."
            if self.here is not None and _copied(
                *self.here, copy, self.crs_by_hand, cancellation(feedback)
            ):
                feedback.pushInfo(said)
            else:
                feedback.pushInfo(f"{said} {self.role.loss}")
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
    # Memory of this very process; credentials that only QGIS can look up; options that change what
    # is opened.
    if "/vsimem/" in source or "authcfg=" in source or _PARTS.search(source):
        return None
    return str(Path(source).absolute()) if os.path.exists(source) else source


def _gdal_name_here(source: str) -> tuple[str, list[str]] | None:
    """Name and options with which GDAL opens a layer in this process; None if it needs more."""
    path, *options = source.split(_OPEN_OPTION)
    if "authcfg=" in source or any(_PARTS.search(part) for part in (path, *options)):
        return None
    return path, options


def _named_alike(path: str) -> str:
    """Where in a folder of its own something is called as a file is, and lies as it does.

    A product's name says which band is which, and what its numbers are.
    """
    parts = Path(path.partition("?")[0]).parts
    products = [part for part in parts[:-2] if part.upper().endswith(".SAFE")]
    names = [*products, *parts[-2:-1], Path(parts[-1]).stem + ".vrt"] if parts else ["scene.vrt"]
    return os.path.join(*(re.sub(r"[^\w.\- ()]+", "_", name) or "_" for name in names))


def _copied(
    path: str,
    options: list[str],
    target: str,
    crs: QgsCoordinateReferenceSystem,
    is_cancelled: Callable[[], bool],
    driver: str = "GTiff",
) -> bool:
    """Copy a raster with all that is known of its bands and its mask, or refer to it (VRT); False
    if GDAL can't.

    Raises
    ------
    CancelledError : the user cancelled
    """
    try:
        from osgeo import gdal

        named = str(Path(path).absolute()) if os.path.exists(path) else path
        opened = gdal.OpenEx(named, gdal.OF_RASTER, open_options=options)
        if opened is None:
            return False
        made = gdal.Translate(
            target, opened, format=driver, callback=lambda *_: 0 if is_cancelled() else 1
        )
        if made is not None:  # how a result was made, which a comparison asks
            made.SetMetadata(opened.GetMetadata("NIRGEO"), "NIRGEO")
            if crs.isValid():
                made.SetProjection(crs.toWkt())
    except (ImportError, RuntimeError):  # GDAL may have been told to raise
        made = None
    if is_cancelled():
        raise CancelledError
    return made is not None
