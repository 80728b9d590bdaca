"""``nirgeo:info``: the form over ``nirgeo info``."""

from __future__ import annotations

import json
from typing import Any

from qgis.core import (
    QgsProcessingContext,
    QgsProcessingException,
    QgsProcessingFeedback,
    QgsProcessingOutputString,
    QgsProcessingParameterBand,
    QgsProcessingParameterFileDestination,
    QgsProcessingParameterRasterLayer,
)

from .algorithm import NirgeoTool, working_nirgeo
from .cancelling import cancellation
from .events import RunError
from .nirgeo_cli import CancelledError
from .page_file import PageFile
from .report import rows
from .scene import Scene
from .wording import INFO, in_words_of_the_form


class Info(NirgeoTool):
    """What nirgeo sees in a layer; without a layer, whether nirgeo itself is well."""

    BAND = "BAND"
    OUTPUT = "OUTPUT"
    FACTS = "FACTS"

    PAGE = "Information"
    """The form's name of the page."""

    def __init__(self) -> None:
        super().__init__()
        self._scene: Scene | None = None

    def name(self) -> str:
        return "info"

    def displayName(self) -> str:
        return "Near-infrared information"

    def shortDescription(self) -> str:
        return "What nirgeo sees in a raster, or which nirgeo is in use."

    def tags(self) -> list[str]:
        return ["nir", "infrared", "bands", "metadata", "models", "installation", "test", "version"]

    def shortHelpString(self) -> str:
        return (
            "Tells what nirgeo sees in a raster before anything is computed: which band it takes "
            "for near infrared, how it scales the values, which model it would choose, and what "
            "colorizing will take in memory and time.\n\n"
            "Without a raster, it tells which nirgeo is used, its versions and its models: the way "
            "to test the installation."
        )

    def initAlgorithm(self, configuration: dict[str, Any] | None = None) -> None:
        self.add(
            QgsProcessingParameterRasterLayer(self.INPUT, "Near-infrared raster", optional=True),
            "Leave empty to test the installation.",
        )
        self.add(
            QgsProcessingParameterBand(
                self.BAND, INFO["--nir"], parentLayerParameterName=self.INPUT, optional=True
            ),
            "Needed only if the file does not say which it is.",
        )
        self.add(
            QgsProcessingParameterFileDestination(
                self.OUTPUT, self.PAGE, "HTML files (*.html)", optional=True
            ),
            "The same as a table.",
        )
        self.addOutput(QgsProcessingOutputString(self.FACTS, "Facts as JSON"))

    def prepareAlgorithm(
        self,
        parameters: dict[str, Any],
        context: QgsProcessingContext,
        feedback: QgsProcessingFeedback,
    ) -> bool:
        self._scene = self.scene(parameters, self.INPUT, context)
        return True

    def processAlgorithm(
        self,
        parameters: dict[str, Any],
        context: QgsProcessingContext,
        feedback: QgsProcessingFeedback,
    ) -> dict[str, Any]:
        page = PageFile(self.PAGE, self.parameterAsFileOutput(parameters, self.OUTPUT, context))
        if page.path:
            page.check()
            if self._scene is not None:
                self._scene.refuse_as_output(page.path, self.PAGE)
        try:
            nirgeo, facts = working_nirgeo(feedback)
            if self._scene is None:
                facts = {
                    "python": nirgeo.interpreter.path,
                    "found by": nirgeo.interpreter.origin,
                    **facts,
                    "models": [m.describe() for m in nirgeo.models(cancellation(feedback))],
                }
            else:
                band = self.number(parameters, self.BAND, context)
                chosen = [] if band is None else ["--nir", str(band)]
                with self._scene.as_file(feedback) as path:
                    facts = nirgeo.query(
                        *("info", "--json", *chosen, "--", path),
                        is_cancelled=cancellation(feedback),
                    )
        except CancelledError:
            return {}
        except RunError as error:
            raise QgsProcessingException(in_words_of_the_form(str(error), INFO)) from error
        for label, text in rows(facts):
            feedback.pushInfo(f"{label}: {text}")
        results = {self.FACTS: json.dumps(facts)}
        if page.path:
            page.write(facts)
            results[self.OUTPUT] = page.path
        return results
