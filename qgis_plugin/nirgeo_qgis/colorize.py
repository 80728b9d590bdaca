"""``nirgeo:colorize``: the form over ``nirgeo colorize``."""

from __future__ import annotations

import shlex
from contextlib import ExitStack
from dataclasses import replace
from typing import Any, ClassVar

from qgis.core import (
    QgsProcessingContext,
    QgsProcessingException,
    QgsProcessingFeedback,
    QgsProcessingParameterBand,
    QgsProcessingParameterBoolean,
    QgsProcessingParameterExtent,
    QgsProcessingParameterNumber,
    QgsProcessingParameterRasterDestination,
    QgsProcessingParameterRasterLayer,
    QgsProcessingParameterString,
)

from .algorithm import NirgeoTool, working_nirgeo
from .choice_parameter import DEVICES, MODELS, choice
from .events import RunError
from .nirgeo_cli import CancelledError
from .request import AUTO, ColorizeRequest, split_creation_options
from .result_layer import ResultLayer, style_when_loaded
from .scene import NEAR_INFRARED, REFERENCE_COLOURS, Scene, shown
from .wording import COLORIZE


class Colorize(NirgeoTool):
    """Runs nirgeo in a child process; this object only gathers options and reports."""

    BAND = "BAND"
    RED = "RED"
    GREEN = "GREEN"
    MODEL = "MODEL"
    REFERENCE = "REFERENCE"
    EXTENT = "EXTENT"
    SCALE = "SCALE"
    REFERENCE_SCALE = "REFERENCE_SCALE"
    NODATA = "NODATA"
    PRIOR = "PRIOR"
    UNCERTAINTY = "UNCERTAINTY"
    MAX_ERROR = "MAX_ERROR"
    DEVICE = "DEVICE"
    CHUNK = "CHUNK"
    OPTIONS = "OPTIONS"
    OUTPUT = "OUTPUT"

    RASTERS: ClassVar = {NirgeoTool.INPUT: NEAR_INFRARED, REFERENCE: REFERENCE_COLOURS}
    LABELS = COLORIZE

    def __init__(self) -> None:
        super().__init__()
        self._scene: Scene | None = None
        self._reference: Scene | None = None
        self._request: ColorizeRequest | None = None

    def name(self) -> str:
        return "colorize"

    def displayName(self) -> str:
        return "Colorize near-infrared"

    def shortDescription(self) -> str:
        return "Makes a natural-colour picture of a near-infrared raster."

    def tags(self) -> list[str]:
        return ["nir", "infrared", "rgb", "colour", "color", "true colour", "natural", "synthetic"]

    def shortHelpString(self) -> str:
        return (
            "Makes a natural-colour RGB raster of a near-infrared one.\n\n"
            "The band, the scaling of the values and the model are found by themselves where the "
            "file says enough; the log tells what was found. Position, size and missing pixels are "
            "those of the input.\n\n"
            "<b>The colours are synthetic.</b> They are what a place of this kind usually looks "
            "like, not a measurement: do not compute indices from them.\n\n"
            "The work is done by nirgeo in a Python environment of its own, which is set under "
            "Settings › Options › Processing › Providers › nirgeo."
        )

    def initAlgorithm(self, configuration: dict[str, Any] | None = None) -> None:
        self.add(
            QgsProcessingParameterRasterLayer(self.INPUT, "Near-infrared raster"),
            "A raster layer with a near-infrared band. Layers that are not files are copied to a "
            "temporary file first; services that send pictures (WMS, XYZ) can't be used.",
        )
        for name, label, text in (
            (self.BAND, self.LABELS["--nir"], "Needed only if the file does not say which it is."),
            (
                self.RED,
                self.LABELS["--red"],
                "For models that use it. Measured bands are kept as they are.",
            ),
            (self.GREEN, self.LABELS["--green"], "For models that use it."),
        ):
            self.add(
                QgsProcessingParameterBand(
                    name, label, parentLayerParameterName=self.INPUT, optional=True
                ),
                text,
            )
        self.add(
            choice(self.MODEL, self.LABELS["--model"], MODELS),
            "A shipped model by name, or a model file. With 'auto', nirgeo chooses by the kind of "
            "values in the input.",
        )
        self.add(
            QgsProcessingParameterRasterLayer(
                self.REFERENCE, self.LABELS["--reference"], optional=True
            ),
            "A coarser or older natural-colour raster of the same place, a Sentinel-2 image for "
            "example. Its colours are taken, and the detail of the near infrared kept.",
        )
        self.add(
            QgsProcessingParameterExtent(self.EXTENT, self.LABELS["--bounds"], optional=True),
            "Leaves everything outside out. The pixels inside are the same as those of a full run.",
        )
        self.add(
            QgsProcessingParameterString(self.SCALE, self.LABELS["--scale"], "", optional=True),
            "GAIN or GAIN,OFFSET that turn the file's numbers into reflectance, for example "
            "0.0000275,-0.2. Needed only if the file does not say and the log warns about it. A "
            "file made by nirgeo can be named instead, to use its scaling.",
            advanced=True,
        )
        self.add(
            QgsProcessingParameterString(
                self.REFERENCE_SCALE, self.LABELS["--reference-scale"], "", optional=True
            ),
            "The same for the raster whose colours are taken. Needed only if its numbers are "
            "reflectance, its file does not say how, and the log warns about it.",
            advanced=True,
        )
        self.add(
            QgsProcessingParameterNumber(
                self.NODATA,
                self.LABELS["--nodata"],
                QgsProcessingParameterNumber.Type.Double,
                optional=True,
            ),
            "Needed only if the file does not say. These pixels stay transparent.",
            advanced=True,
        )
        self.add(
            # Optional: models that were saved without it go on working.
            QgsProcessingParameterBoolean(
                self.PRIOR, self.LABELS["--no-prior"], True, optional=True
            ),
            "What a map of the world says of the land's colour at the scene's place. It shows "
            "summer: leave it out for a scene in winter.",
            advanced=True,
        )
        self.add(
            QgsProcessingParameterBoolean(
                self.UNCERTAINTY, self.LABELS["--uncertainty"], False, optional=True
            ),
            "A fourth band tells by how many degrees the colour of a pixel may be off (the band's "
            "values are quarters of a degree). High means: do not trust. Not together with the "
            "colours of another raster.",
            advanced=True,
        )
        self.add(
            QgsProcessingParameterNumber(
                self.MAX_ERROR,
                self.LABELS["--max-error"],
                QgsProcessingParameterNumber.Type.Double,
                optional=True,
                minValue=0.0,
            ),
            "Pixels whose colour is expected to be further off than this become transparent.",
            advanced=True,
        )
        self.add(
            choice(self.DEVICE, self.LABELS["--device"], DEVICES),
            "Where the network runs: auto, cpu, cuda, cuda:1, mps.",
            advanced=True,
        )
        self.add(
            QgsProcessingParameterNumber(
                self.CHUNK,
                self.LABELS["--chunk"],
                QgsProcessingParameterNumber.Type.Integer,
                optional=True,
                minValue=1,
            ),
            "How much is computed at a time; 12 if not set, 8 for wide networks, 16 on a GPU. "
            "Smaller needs less memory. The picture does not depend on it.",
            advanced=True,
        )
        self.add(
            QgsProcessingParameterString(self.OPTIONS, self.LABELS["--co"], "", optional=True),
            "Options of GDAL's COG driver, separated by | or spaces: COMPRESS=ZSTD|LEVEL=9",
            advanced=True,
        )
        self.add(
            QgsProcessingParameterRasterDestination(self.OUTPUT, self.LABELS["--output"]),
            "A Cloud Optimized GeoTIFF.",
        )

    def prepareAlgorithm(
        self,
        parameters: dict[str, Any],
        context: QgsProcessingContext,
        feedback: QgsProcessingFeedback,
    ) -> bool:
        """Layers are looked at here, in the main thread, where they live."""
        self._scene = self.scene(parameters, self.INPUT, context)
        if self._scene is None:
            raise QgsProcessingException(self.invalidRasterError(parameters, self.INPUT))
        self._reference = self.scene(parameters, self.REFERENCE, context)
        bounds = None
        if parameters.get(self.EXTENT):
            crs = self._scene.crs
            extent = self.parameterAsExtent(parameters, self.EXTENT, context, crs)
            if not extent.isNull():
                sides = (extent.xMinimum(), extent.yMinimum(), extent.xMaximum(), extent.yMaximum())
                bounds = sides
        self._request = ColorizeRequest(
            scene="",
            output="",
            nir=self.number(parameters, self.BAND, context),
            red=self.number(parameters, self.RED, context),
            green=self.number(parameters, self.GREEN, context),
            model=self.text(parameters, self.MODEL, context) or AUTO,
            bounds=bounds,
            scale=self.text(parameters, self.SCALE, context),
            reference_scale=self.text(parameters, self.REFERENCE_SCALE, context),
            nodata=self.decimal(parameters, self.NODATA, context),
            prior=self.parameterAsBool(parameters, self.PRIOR, context),
            uncertainty=self.parameterAsBool(parameters, self.UNCERTAINTY, context),
            max_error=self.decimal(parameters, self.MAX_ERROR, context),
            device=self.text(parameters, self.DEVICE, context) or AUTO,
            chunk=self.number(parameters, self.CHUNK, context),
            creation_options=split_creation_options(self.text(parameters, self.OPTIONS, context)),
        )
        return True

    def processAlgorithm(
        self,
        parameters: dict[str, Any],
        context: QgsProcessingContext,
        feedback: QgsProcessingFeedback,
    ) -> dict[str, Any]:
        if self._scene is None or self._request is None:
            raise QgsProcessingException("The tool was run without being prepared.")
        output = self.parameterAsOutputLayer(parameters, self.OUTPUT, context)
        for scene in (self._scene, self._reference):
            if scene is not None:
                scene.refuse_as_output(output, self.LABELS["--output"])
        try:
            nirgeo, versions = working_nirgeo(feedback)
            with ExitStack() as files:
                request = replace(
                    self._request,
                    scene=files.enter_context(self._scene.as_file(feedback)),
                    output=output,
                )
                if self._reference is not None:
                    reference = files.enter_context(self._reference.as_file(feedback))
                    request = replace(request, reference=reference)
                arguments = request.arguments()
                result = self.run_nirgeo(nirgeo, arguments, output, feedback)
        except CancelledError:
            feedback.pushInfo("Cancelled; nothing was written.")
            return {}
        except RunError as error:
            raise QgsProcessingException(str(error)) from error
        history = [
            f"Made from {self._scene.name} ({shown(self._scene.path or 'not a file')})",
            f"nirgeo {versions['nirgeo']}: {shlex.join(map(shown, arguments))}",
        ]
        style_when_loaded(
            context,
            output,
            ResultLayer(self._scene.crs_by_hand, history, result.tags),
            name=f"{self._scene.name} (natural colour)",
            default_name=self.LABELS["--output"],
        )
        return {self.OUTPUT: result.path}
