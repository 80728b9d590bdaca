"""What the tools have in common."""

from __future__ import annotations

import os
import shlex
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from qgis.core import (
    NULL,
    QgsProcessingAlgorithm,
    QgsProcessingContext,
    QgsProcessingException,
    QgsProcessingFeedback,
    QgsProcessingParameterDefinition,
)
from qgis.PyQt.QtGui import QIcon

from .cancelling import cancellation
from .events import Result, ToldError
from .interpreter import InterpreterError
from .leftovers import Beside
from .nirgeo_cli import InstallationError, NirgeoCommand
from .scene import NEAR_INFRARED, Role, Scene, shown
from .settings import nirgeo_command
from .wording import Labels

ICON = os.path.join(os.path.dirname(__file__), "icon.svg")


class NirgeoTool(QgsProcessingAlgorithm):
    """A form over one command of nirgeo."""

    INPUT = "INPUT"

    RASTERS: ClassVar[Mapping[str, Role]] = {INPUT: NEAR_INFRARED}
    """Parameters that are raster layers, and what these are read for."""

    LABELS: ClassVar[Labels] = {}
    """The form's words for options of the command."""

    def createInstance(self) -> NirgeoTool:
        return type(self)()

    def group(self) -> str:
        return ""  # a handful of tools needs no sub-folders

    def groupId(self) -> str:
        return ""

    def icon(self) -> QIcon:
        return QIcon(ICON)

    def svgIconPath(self) -> str:
        return ICON

    def add(
        self, parameter: QgsProcessingParameterDefinition, help_text: str, *, advanced: bool = False
    ) -> None:
        """Declare a parameter together with its explanation."""
        parameter.setHelp(help_text)
        if advanced:
            flag = QgsProcessingParameterDefinition.Flag.FlagAdvanced
            parameter.setFlags(parameter.flags() | flag)
        self.addParameter(parameter)

    def number(
        self, parameters: dict[str, Any], name: str, context: QgsProcessingContext
    ) -> int | None:
        """A whole number that may be left out, for which QGIS would say 0."""
        number: int = self.parameterAsInt(parameters, name, context)
        return None if _left_out(parameters, name) else number

    def decimal(
        self, parameters: dict[str, Any], name: str, context: QgsProcessingContext
    ) -> float | None:
        """A number that may be left out."""
        number: float = self.parameterAsDouble(parameters, name, context)
        return None if _left_out(parameters, name) else number

    def text(self, parameters: dict[str, Any], name: str, context: QgsProcessingContext) -> str:
        """A text that may be left out, for which QGIS would say 0 if it is NULL."""
        given: str = self.parameterAsString(parameters, name, context)
        return "" if _left_out(parameters, name) else given.strip()

    def canExecute(self) -> tuple[bool, str]:
        """Asked before the dialog opens; only looks at files."""
        try:
            nirgeo_command()
        except InterpreterError as error:
            return False, str(error)
        return True, ""

    def checkParameterValues(
        self, parameters: dict[str, Any], context: QgsProcessingContext
    ) -> tuple[bool, str]:
        """Refuse a layer that can't be used while the form is still open."""
        possible, message = super().checkParameterValues(parameters, context)
        for definition in self.parameterDefinitions() if possible else ():
            given = parameters.get(definition.name())
            if definition.type() == "number" and isinstance(given, str) and not _is_number(given):
                return False, f"{definition.description()}: {given!r} is no number."
        for name, role in self.RASTERS.items() if possible else ():
            layer = self.parameterAsRasterLayer(parameters, name, context)
            if layer is not None:
                try:
                    Scene.of(layer, role)
                except QgsProcessingException as error:
                    return False, str(error)
        return possible, message

    def scene(
        self, parameters: dict[str, Any], name: str, context: QgsProcessingContext
    ) -> Scene | None:
        """A layer as what another program can read; to be called in the layer's own thread.

        ``name`` is one of ``RASTERS``.

        Raises
        ------
        QgsProcessingException : it can't be used
        """
        layer = self.parameterAsRasterLayer(parameters, name, context)
        if layer is None and parameters.get(name):
            raise QgsProcessingException(self.invalidRasterError(parameters, name))
        return None if layer is None else Scene.of(layer, self.RASTERS[name])

    def run_nirgeo(
        self,
        nirgeo: NirgeoCommand,
        arguments: Sequence[str],
        output: str,
        feedback: QgsProcessingFeedback,
    ) -> Result:
        """Run the command, leaving nothing of ``output`` if it can't tidy up itself.

        Where it can, what lies beside the output may be another run's.

        Raises
        ------
        RunError, CancelledError : as :meth:`.NirgeoCommand.run`
        """
        feedback.pushCommandInfo(shlex.join(map(shown, nirgeo.arguments(*arguments))))
        beside = Beside(output) if output else None
        try:
            return nirgeo.run(arguments, feedback, cancellation(feedback), self.LABELS)
        except ToldError as error:
            if error.keeps and beside is not None:
                beside.clear()
            raise
        except BaseException:
            if beside is not None:
                beside.clear()
            raise


def _is_number(text: str) -> bool:
    """Whether a text is one, or nothing: QGIS takes anything else for 0."""
    try:
        float(text or "0")
    except ValueError:
        return False
    return True


def _left_out(parameters: dict[str, Any], name: str) -> bool:
    value = parameters.get(name)
    return value is None or value == NULL or value == ""


def working_nirgeo(feedback: QgsProcessingFeedback) -> tuple[NirgeoCommand, dict[str, Any]]:
    """A nirgeo that was just seen to answer, and its versions; the log says which one it is.

    Raises
    ------
    QgsProcessingException : there is none; the message says what to do
    CancelledError : the user cancelled
    """
    try:
        command = nirgeo_command()
        versions = command.versions(cancellation(feedback))
    except (InterpreterError, InstallationError) as error:
        raise QgsProcessingException(str(error)) from error
    interpreter = command.interpreter
    feedback.pushInfo(f"nirgeo {versions['nirgeo']}, {interpreter.path} ({interpreter.origin})")
    return command, versions
