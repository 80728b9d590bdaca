"""``nirgeo:evaluate``: the form over ``nirgeo compare``, as a table and a map.

The command line also scores models on whole collections; this compares two layers on the map.
"""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from contextlib import ExitStack
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
    QgsProcessingParameterString,
)

from .algorithm import NirgeoTool, working_nirgeo
from .events import RunError
from .nirgeo_cli import CancelledError
from .page_file import PageFile
from .report import rows
from .request import CompareRequest
from .result_layer import ErrorMap, style_when_loaded
from .scene import PREDICTION, TRUE_COLOURS, Scene, shown
from .wording import EVALUATE

_COLOURS = ("red", "green", "blue")
_SPACES = {"reflectance": "reflectance", "display": "pictures, values as shares of 255"}


class Evaluate(NirgeoTool):
    """Runs nirgeo in a child process; this object only gathers options and reports."""

    INPUT = NirgeoTool.INPUT
    TRUTH = "TRUTH"
    SCALE = "SCALE"
    OUTPUT = "OUTPUT"
    TABLE = "TABLE"

    PAGE = "Table of errors"
    """The form's name of the page."""

    RASTERS: ClassVar = {INPUT: PREDICTION, TRUTH: TRUE_COLOURS}
    LABELS = EVALUATE

    NUMBERS: ClassVar[dict[str, tuple[str, str]]] = {
        "MEAN": ("angular", "Mean angular error in degrees"),
        "SD": ("angular_sd", "Standard deviation of the angular error in degrees"),
        "MEDIAN": ("angular_median", "Median angular error in degrees"),
        "P95": ("angular_p95", "95th percentile of the angular error in degrees"),
        "RMSE": ("rmse", "Root mean square error"),
        "MAE": ("mae", "Mean absolute error"),
        "PSNR": ("psnr", "Peak signal-to-noise ratio in dB"),
        "ERGAS": ("ergas", "ERGAS in percent"),
        "SSIM": ("ssim", "Structural similarity (SSIM)"),
        "CIEDE2000": ("ciede2000", "Colour difference ΔE2000"),
        "PIXELS": ("pixels", "Compared pixels"),
    }
    """Outputs, each with nirgeo's name for the figure and words for people."""

    def __init__(self) -> None:
        super().__init__()
        self._prediction: Scene | None = None
        self._truth: Scene | None = None
        self._bands: tuple[int, int, int] | None = None

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
            "The truth may be a picture, or a scene with red, green and blue bands: its "
            "reflectance is rendered as the prediction was. If it lies on another grid or in "
            "another coordinate system, it is resampled; where the two do not lie exactly on each "
            "other, that counts as error.\n\n"
            "0° is the same hue and saturation, whatever the brightness; 90° is the largest angle. "
            "Pixels that are black in one of the two have no angle and are left out of it."
        )

    def initAlgorithm(self, configuration: dict[str, Any] | None = None) -> None:
        self.add(
            QgsProcessingParameterRasterLayer(self.INPUT, "Predicted colours"),
            "A result of “Colorize near-infrared”.",
        )
        self.add(
            QgsProcessingParameterRasterLayer(self.TRUTH, "True colours"),
            "A layer of the same place and time with measured colours.",
        )
        for colour in _COLOURS:
            self.add(
                QgsProcessingParameterBand(
                    f"TRUTH_{colour.upper()}",
                    f"True {colour} band",
                    parentLayerParameterName=self.TRUTH,
                    optional=True,
                ),
                "Needed only if the file does not say which it is; then name all three.",
            )
        self.add(
            QgsProcessingParameterString(self.SCALE, self.LABELS["--scale"], "", optional=True),
            "GAIN or GAIN,OFFSET that turn the numbers of the true colours into reflectance, for "
            "example 0.0000275,-0.2. Needed only if the file does not say.",
            advanced=True,
        )
        self.add(
            QgsProcessingParameterRasterDestination(
                self.OUTPUT, self.LABELS["--error-map"], optional=True
            ),
            "A raster with the angle between the two colours in degrees.",
        )
        self.add(
            QgsProcessingParameterFileDestination(
                self.TABLE, self.PAGE, "HTML files (*.html)", optional=True
            ),
            "The figures as a page.",
        )
        for name, (_, label) in self.NUMBERS.items():
            self.addOutput(QgsProcessingOutputNumber(name, label))

    def checkParameterValues(
        self, parameters: dict[str, Any], context: QgsProcessingContext
    ) -> tuple[bool, str]:
        possible, message = super().checkParameterValues(parameters, context)
        if not possible:
            return possible, message
        try:
            self._truth_bands(parameters, context)
        except QgsProcessingException as error:
            return False, str(error)
        layers = [self.parameterAsRasterLayer(parameters, name, context) for name in self.RASTERS]
        if None not in layers and layers[0].source() == layers[1].source():
            # What the dialog offers at first: the layer that is selected, for both.
            return False, (
                "Predicted and true colours are the same layer. Choose as true colours a layer "
                "in which they were measured."
            )
        return True, ""

    def _truth_bands(
        self, parameters: dict[str, Any], context: QgsProcessingContext
    ) -> tuple[int, int, int] | None:
        numbers = [
            self.number(parameters, f"TRUTH_{colour.upper()}", context) for colour in _COLOURS
        ]
        given = [number for number in numbers if number is not None]
        if not given:
            return None
        if len(given) < len(numbers):
            raise QgsProcessingException(
                "Name all three bands of the true colours (red, green and blue), or none."
            )
        return given[0], given[1], given[2]

    def prepareAlgorithm(
        self,
        parameters: dict[str, Any],
        context: QgsProcessingContext,
        feedback: QgsProcessingFeedback,
    ) -> bool:
        """Layers are looked at here, in the main thread, where they live."""
        self._prediction = self.scene(parameters, self.INPUT, context)
        self._truth = self.scene(parameters, self.TRUTH, context)
        self._bands = self._truth_bands(parameters, context)
        return True

    def processAlgorithm(
        self,
        parameters: dict[str, Any],
        context: QgsProcessingContext,
        feedback: QgsProcessingFeedback,
    ) -> dict[str, Any]:
        if self._prediction is None or self._truth is None:
            raise QgsProcessingException("Two layers are needed, predicted and true colours.")
        output = self.parameterAsOutputLayer(parameters, self.OUTPUT, context)
        table = PageFile(self.PAGE, self.parameterAsFileOutput(parameters, self.TABLE, context))
        if table.path:
            table.check(output)
        for scene in (self._prediction, self._truth):
            scene.refuse_as_output(output, self.LABELS["--error-map"])
            scene.refuse_as_output(table.path, self.PAGE)
        try:
            nirgeo, versions = working_nirgeo(feedback)
            with ExitStack() as files:
                request = CompareRequest(
                    prediction=files.enter_context(self._prediction.as_file(feedback)),
                    truth=files.enter_context(self._truth.as_file(feedback)),
                    bands=self._bands,
                    scale=self.text(parameters, self.SCALE, context),
                    error_map=output,
                )
                arguments = request.arguments()
                result = self.run_nirgeo(nirgeo, arguments, output, feedback)
        except CancelledError:
            feedback.pushInfo("Cancelled; nothing was written.")
            return {}
        except RunError as error:
            raise QgsProcessingException(str(error)) from error
        facts = self._facts(result.figures)
        for label, text in rows(facts):
            feedback.pushInfo(f"{label}: {text}")
        results = {name: result.figures.get(key) for name, (key, _) in self.NUMBERS.items()}
        if output:
            history = [
                *(f"{label}: {text}" for label, text in rows(facts)),
                f"nirgeo {versions['nirgeo']}: {shlex.join(map(shown, arguments))}",
            ]
            style_when_loaded(
                context,
                output,
                ErrorMap(history),
                name=f"Angular error of {self._prediction.name}",
                default_name=self.LABELS["--error-map"],
            )
            results[self.OUTPUT] = result.path
        if table.path:
            table.write(facts)
            results[self.TABLE] = table.path
        return results

    def _facts(self, figures: Mapping[str, Any]) -> dict[str, Any]:
        """The table for people."""
        space = figures.get("space")
        return {
            "Predicted colours": self._prediction.name if self._prediction else "",
            "True colours": self._truth.name if self._truth else "",
            "Compared as": _SPACES.get(str(space), space),
            **{label: _shown(figures.get(key)) for key, label in self.NUMBERS.values()},
            "Missing in one of the two": _share(figures.get("masked")),
            "Black in one of the two, without an angle": _share(figures.get("undefined")),
        }


def _shown(number: object) -> str:
    if isinstance(number, int):
        return str(number)
    return f"{number:.4g}" if isinstance(number, float) else "not defined"


def _share(number: object) -> str:
    return f"{number:.2%}" if isinstance(number, (int, float)) else "unknown"
