"""The result on the map: colours as written, the mask transparent, provenance attached."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from qgis.core import (
    Qgis,
    QgsCoordinateReferenceSystem,
    QgsMapLayer,
    QgsMultiBandColorRenderer,
    QgsProcessingContext,
    QgsProcessingFeedback,
    QgsProcessingLayerPostProcessorInterface,
    QgsRaster,
    QgsRasterDataProvider,
    QgsRasterLayer,
    QgsSingleBandPseudoColorRenderer,
    QgsStyle,
)

from .provenance import read_provenance

_ABSTRACT = (
    "Synthetic natural colour, predicted from near infrared by nirgeo. The colours are not "
    "measurements: do not compute indices from them."
)

# QGIS keeps a bare pointer to a post-processor, so Python has to keep the object.
_ALIVE: list[QgsProcessingLayerPostProcessorInterface] = []


def style_when_loaded(
    context: QgsProcessingContext,
    output: str,
    processor: QgsProcessingLayerPostProcessorInterface,
    *,
    name: str,
    default_name: str,
) -> None:
    """Have a result named and styled when, and only if, QGIS puts it on the map.

    ``name`` replaces ``default_name``, the name of every output of this tool; a name that a model
    gives its output stays.
    """
    if not context.willLoadLayerOnCompletion(output):
        return
    details = context.layerToLoadOnCompletionDetails(output)
    if details.name in ("", default_name):
        details.name = name
        details.forceName = True
    _ALIVE.append(processor)
    details.setPostProcessor(processor)


class ErrorMap(QgsProcessingLayerPostProcessorInterface):
    """Dresses a map of angles, every one in the same colours so that two can be compared."""

    LARGEST = 30.0
    """Degrees at the end of the colour ramp."""

    def postProcessLayer(
        self, layer: QgsMapLayer, context: QgsProcessingContext, feedback: QgsProcessingFeedback
    ) -> None:
        ramp = QgsStyle.defaultStyle().colorRamp("Magma")
        if not isinstance(layer, QgsRasterLayer) or not layer.isValid() or ramp is None:
            return
        renderer = QgsSingleBandPseudoColorRenderer(layer.dataProvider(), 1)
        renderer.setClassificationMin(0.0)
        renderer.setClassificationMax(self.LARGEST)
        renderer.createShader(ramp)
        layer.setRenderer(renderer)
        layer.triggerRepaint()


class ResultLayer(QgsProcessingLayerPostProcessorInterface):
    """Dresses the layer of one result."""

    def __init__(
        self, path: str, crs: QgsCoordinateReferenceSystem, history: Sequence[str]
    ) -> None:
        super().__init__()
        self._path = path
        self._crs = crs
        self._history = list(history)

    def postProcessLayer(
        self, layer: QgsMapLayer, context: QgsProcessingContext, feedback: QgsProcessingFeedback
    ) -> None:
        if not isinstance(layer, QgsRasterLayer) or not layer.isValid():
            return
        if not layer.crs().isValid() and self._crs.isValid():
            layer.setCrs(self._crs)  # given to the input by hand, unknown to its file
        provider = layer.dataProvider()
        if provider.bandCount() >= 3:
            # No stretch: two results lie side by side in the colours nirgeo gave them.
            renderer = QgsMultiBandColorRenderer(provider, 1, 2, 3)
            renderer.setAlphaBand(alpha_band(provider))
            layer.setRenderer(renderer)
        self._describe(layer, read_provenance(self._path))
        layer.triggerRepaint()

    def _describe(self, layer: QgsRasterLayer, tags: Mapping[str, str]) -> None:
        metadata = layer.metadata()
        metadata.setType("dataset")
        metadata.setTitle(layer.name())
        metadata.setAbstract(_ABSTRACT)
        metadata.setKeywords({"nirgeo": ["synthetic", "natural colour", "near infrared"]})
        for fact in [*self._history, *(f"{key}: {value}" for key, value in sorted(tags.items()))]:
            metadata.addHistoryItem(fact)
        layer.setMetadata(metadata)


def alpha_band(provider: QgsRasterDataProvider) -> int:
    """The band that QGIS makes of a file's mask, or -1."""
    kinds = getattr(Qgis, "RasterColorInterpretation", None) or QgsRaster.ColorInterpretation
    for band in range(provider.bandCount(), 3, -1):
        if provider.colorInterpretation(band) == kinds.AlphaBand:
            return band
    return -1
