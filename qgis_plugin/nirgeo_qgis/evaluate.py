"""``nirgeo:evaluate``: predicted colours against true ones, as a table and a map.

The command line scores models on whole collections; this compares two layers on the map, and needs
no nirgeo for it.
"""

from __future__ import annotations

import math
import shutil
import tempfile
from collections.abc import Sequence
from typing import Any, ClassVar

from qgis.core import (
    QgsProcessingContext,
    QgsProcessingException,
    QgsProcessingFeedback,
    QgsProcessingOutputNumber,
    QgsProcessingParameterBand,
    QgsProcessingParameterFileDestination,
    QgsProcessingParameterRasterDestination,
    QgsProcessingParameterRasterLayer,
    QgsRasterLayer,
)

from .algorithm import Tool
from .colour_error import CalculationCancelledError, ColourError, Picture, compare
from .report import page, rows
from .result_layer import ErrorMap, style_when_loaded
from .scene import Scene

ERROR_MAP = "Angular error"

_BANDS = ("red", "green", "blue")
_EIGHT_BIT = "8-bit"
_KINDS = {
    1: _EIGHT_BIT,
    2: "unsigned 16-bit",
    3: "signed 16-bit",
    4: "unsigned 32-bit",
    5: "signed 32-bit",
    6: "floating-point",
    7: "floating-point",
}


class Evaluate(Tool):
    """Compares what the two layers hold, number by number."""

    INPUT = "INPUT"
    TRUTH = "TRUTH"
    OUTPUT = "OUTPUT"
    TABLE = "TABLE"
    NUMBERS: ClassVar[dict[str, str]] = {
        "MEAN": "Mean angular error in degrees",
        "SD": "Standard deviation of the angular error in degrees",
        "MEDIAN": "Median angular error in degrees",
        "P95": "95th percentile of the angular error in degrees",
        "RMSE": "Root mean square error",
        "MAE": "Mean absolute error",
        "PSNR": "Peak signal-to-noise ratio in dB",
        "PIXELS": "Compared pixels",
    }

    def __init__(self) -> None:
        super().__init__()
        self._prediction: Picture | None = None
        self._truth: Picture | None = None
        self._peak: float | None = None
        self._remarks: list[str] = []

    def name(self) -> str:
        return "evaluate"

    def displayName(self) -> str:
        return "Evaluate colours"

    def shortDescription(self) -> str:
        return "Compares predicted colours with true ones."

    def tags(self) -> list[str]:
        return ["accuracy", "error", "angular", "rmse", "psnr", "truth", "compare", "validation"]

    def shortHelpString(self) -> str:
        return (
            "Compares predicted colours with true ones of the same place: a table of errors, and a "
            "map of the angle between the two colours of every pixel.\n\n"
            "The numbers in the layers are compared as they are, so both must be of one kind: an "
            "8-bit picture with an 8-bit picture that was rendered in the same way, or reflectance "
            "with reflectance. The truth is taken at the centres of the prediction's pixels; where "
            "the two do not lie exactly on each other, that counts as error.\n\n"
            "0° is the same hue and saturation, whatever the brightness; 90° is the largest angle. "
            "Pixels that are black in one of the two have no angle and are left out of it."
        )

    def initAlgorithm(self, configuration: dict[str, Any] | None = None) -> None:
        self.add(
            QgsProcessingParameterRasterLayer(self.INPUT, "Predicted colours"),
            "A result of “Colorize near-infrared”. Its first three bands are red, green and blue.",
        )
        self.add(
            QgsProcessingParameterRasterLayer(self.TRUTH, "True colours"),
            "A layer of the same place and time with measured colours.",
        )
        for number, colour in enumerate(_BANDS, start=1):
            self.add(
                QgsProcessingParameterBand(
                    f"TRUTH_{colour.upper()}",
                    f"True {colour} band",
                    parentLayerParameterName=self.TRUTH,
                    optional=True,
                ),
                f"Band {number} if not set.",
            )
        self.add(
            QgsProcessingParameterRasterDestination(self.OUTPUT, ERROR_MAP, optional=True),
            "A raster with the angle between the two colours in degrees.",
        )
        self.add(
            QgsProcessingParameterFileDestination(
                self.TABLE, "Table of errors", "HTML files (*.html)", optional=True
            ),
            "The figures as a page.",
        )
        for name, label in self.NUMBERS.items():
            self.addOutput(QgsProcessingOutputNumber(name, label))

    def checkParameterValues(
        self, parameters: dict[str, Any], context: QgsProcessingContext
    ) -> tuple[bool, str]:
        possible, message = super().checkParameterValues(parameters, context)
        if possible:
            try:
                self._look(parameters, context)
            except QgsProcessingException as error:
                return False, str(error)
        return possible, message

    def prepareAlgorithm(
        self,
        parameters: dict[str, Any],
        context: QgsProcessingContext,
        feedback: QgsProcessingFeedback,
    ) -> bool:
        self._look(parameters, context)
        for remark in self._remarks:
            feedback.pushWarning(remark)
        return True

    def _look(self, parameters: dict[str, Any], context: QgsProcessingContext) -> None:
        """Find out, in the main thread, whether and how the two layers can be compared."""
        prediction = self._layer(parameters, self.INPUT, context)
        truth = self._layer(parameters, self.TRUTH, context)
        numbers = (self.number(parameters, f"TRUTH_{c.upper()}", context) for c in _BANDS)
        bands = [number or default for default, number in enumerate(numbers, start=1)]
        for layer, wanted in ((prediction, (1, 2, 3)), (truth, bands)):
            if not 1 <= max(wanted) <= layer.bandCount():
                raise QgsProcessingException(
                    f"{layer.name()} has {layer.bandCount()} band(s), but band {max(wanted)} is "
                    "needed: a colour picture has red, green and blue."
                )
        kinds = [_kind(layer) for layer in (prediction, truth)]
        if kinds[0] != kinds[1]:
            raise QgsProcessingException(
                f"{prediction.name()} holds {kinds[0]} numbers and {truth.name()} {kinds[1]} ones: "
                "colours of different kinds can't be compared. Use a truth of the same kind, "
                "rendered in the same way."
            )
        self._peak = 255.0 if kinds[0] == _EIGHT_BIT else None
        self._remarks = _remarks(prediction, truth)
        self._prediction = _picture(prediction, (1, 2, 3))
        self._truth = _picture(truth, bands)

    def _layer(
        self, parameters: dict[str, Any], name: str, context: QgsProcessingContext
    ) -> QgsRasterLayer:
        layer = self.parameterAsRasterLayer(parameters, name, context)
        if layer is None:
            raise QgsProcessingException(self.invalidRasterError(parameters, name))
        Scene.of(layer)  # refuses what has no numbers
        return layer

    def processAlgorithm(
        self,
        parameters: dict[str, Any],
        context: QgsProcessingContext,
        feedback: QgsProcessingFeedback,
    ) -> dict[str, Any]:
        if self._prediction is None or self._truth is None:
            raise QgsProcessingException("The tool was run without being prepared.")
        results: dict[str, Any] = {}
        with tempfile.TemporaryDirectory(prefix="nirgeo-qgis-") as folder:
            try:
                found, angles = compare(self._prediction, self._truth, self._peak, folder, feedback)
            except CalculationCancelledError:
                feedback.pushInfo("Cancelled; nothing was written.")
                return {}
            output = self.parameterAsOutputLayer(parameters, self.OUTPUT, context)
            if output:
                shutil.move(angles, output)
                style_when_loaded(
                    context,
                    output,
                    ErrorMap(),
                    name=f"{self._prediction.name} (angular error)",
                    default_name=ERROR_MAP,
                )
                results[self.OUTPUT] = output
        results.update(_numbers(found))
        facts = {
            "prediction": self._prediction.name,
            "truth": self._truth.name,
            **{label: _shown(results[name]) for name, label in self.NUMBERS.items()},
            "pixels without an angle": f"{found.undefined:.2%}",
        }
        for label, text in rows(facts):
            feedback.pushInfo(f"{label}: {text}")
        table = self.parameterAsFileOutput(parameters, self.TABLE, context)
        if table:
            with open(table, "w", encoding="utf-8") as file:
                file.write(page(facts))
            results[self.TABLE] = table
        return results


def _kind(layer: QgsRasterLayer) -> str:
    """The kind of numbers in a layer."""
    number = layer.dataProvider().sourceDataType(1)
    # An integer in QGIS 3, an enumeration in QGIS 4.
    return _KINDS.get(getattr(number, "value", number), "other")


def _picture(layer: QgsRasterLayer, bands: Sequence[int]) -> Picture:
    provider = layer.dataProvider().name()
    return Picture(layer.name(), layer.source(), provider, (bands[0], bands[1], bands[2]))


def _remarks(prediction: QgsRasterLayer, truth: QgsRasterLayer) -> list[str]:
    same = (
        prediction.crs() == truth.crs()
        and prediction.width() == truth.width()
        and prediction.height() == truth.height()
        and prediction.extent() == truth.extent()
    )
    if same:
        return []
    return [
        f"{truth.name()} lies on another grid than {prediction.name()}: its nearest pixels are "
        "taken, and what is displaced counts as error"
    ]


def _numbers(found: ColourError) -> dict[str, float | None]:
    return {
        "MEAN": found.mean,
        "SD": found.standard_deviation,
        "MEDIAN": found.median,
        "P95": found.p95,
        "RMSE": found.rmse,
        "MAE": found.mae,
        "PSNR": found.psnr,
        "PIXELS": found.pixels,
    }


def _shown(number: float | None) -> str:
    if number is None or math.isnan(number):
        return "not defined"
    return str(number) if isinstance(number, int) else f"{number:.4g}"
