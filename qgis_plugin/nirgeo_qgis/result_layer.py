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
    QgsRasterTransparency,
    QgsSingleBandPseudoColorRenderer,
    QgsStyle,
)

_SYNTHETIC = (
    "Synthetic natural colour, predicted from near infrared by nirgeo. The colours are not "
    "measurements: do not compute indices from them."
)
_ANGLES = "Angle in degrees between predicted and true colours: 0 is the same hue and saturation."

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
        # QGIS may name saved results by their files instead, as its user has set.
        details.name = name
    _ALIVE.append(processor)
    details.setPostProcessor(processor)


class ErrorMap(QgsProcessingLayerPostProcessorInterface):
    """Dresses a map of angles, every one in the same colours so that two can be compared."""

    LARGEST = 20.0
    """Degrees at the end of the colour ramp."""

    def __init__(self, history: Sequence[str]) -> None:
        super().__init__()
        self._history = list(history)

    def postProcessLayer(
        self, layer: QgsMapLayer, context: QgsProcessingContext, feedback: QgsProcessingFeedback
    ) -> None:
        if not isinstance(layer, QgsRasterLayer) or not layer.isValid():
            return
        ramp = QgsStyle.defaultStyle().colorRamp("Magma")
        if ramp is not None:
            renderer = QgsSingleBandPseudoColorRenderer(layer.dataProvider(), 1)
            renderer.setClassificationMin(0.0)
            renderer.setClassificationMax(self.LARGEST)
            renderer.createShader(ramp)
            layer.setRenderer(renderer)
        _describe(layer, _ANGLES, ["angular error"], self._history)
        layer.triggerRepaint()


class ResultLayer(QgsProcessingLayerPostProcessorInterface):
    """Dresses the layer of one result. ``crs`` is valid if the input's was chosen in QGIS, against
    what its file says or does not say; ``tags`` are what nirgeo says about how it was made."""

    def __init__(
        self, crs: QgsCoordinateReferenceSystem, history: Sequence[str], tags: Mapping[str, str]
    ) -> None:
        super().__init__()
        self._crs = crs
        self._history = [*history, *(f"{key}: {value}" for key, value in sorted(tags.items()))]

    def postProcessLayer(
        self, layer: QgsMapLayer, context: QgsProcessingContext, feedback: QgsProcessingFeedback
    ) -> None:
        if not isinstance(layer, QgsRasterLayer) or not layer.isValid():
            return
        if self._crs.isValid():
            layer.setCrs(self._crs)  # given to the input by hand, unknown to its file
        provider = layer.dataProvider()
        if provider.bandCount() >= 3:
            # No stretch: two results lie side by side in the colours nirgeo gave them.
            renderer = QgsMultiBandColorRenderer(provider, 1, 2, 3)
            alpha = _alpha_band(provider)
            renderer.setAlphaBand(alpha)
            if alpha < 0:
                # QGIS turns a rotated picture, or one whose north is below, and loses the mask.
                # Missing pixels are black; measured ones hardly ever quite.
                black = QgsRasterTransparency()
                black.initializeTransparentPixelList(0, 0, 0)
                renderer.setRasterTransparency(black)
            layer.setRenderer(renderer)
        _describe(layer, _SYNTHETIC, ["synthetic", "natural colour"], self._history)
        layer.triggerRepaint()


def _describe(
    layer: QgsRasterLayer, abstract: str, keywords: Sequence[str], history: Sequence[str]
) -> None:
    metadata = layer.metadata()
    metadata.setType("dataset")
    metadata.setTitle(layer.name())
    metadata.setAbstract(abstract)
    metadata.setKeywords({"nirgeo": [*keywords, "near infrared"]})
    for fact in history:
        metadata.addHistoryItem(fact)
    layer.setMetadata(metadata)


def _alpha_band(provider: QgsRasterDataProvider) -> int:
    """The band that QGIS makes of a file's mask, or -1."""
    kinds = getattr(Qgis, "RasterColorInterpretation", None) or QgsRaster.ColorInterpretation
    for band in range(provider.bandCount(), 3, -1):
        if provider.colorInterpretation(band) == kinds.AlphaBand:
            return band
    return -1
