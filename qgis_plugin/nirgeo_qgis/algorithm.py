"""What the tools have in common."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

from qgis.core import (
    NULL,
    QgsProcessingAlgorithm,
    QgsProcessingContext,
    QgsProcessingException,
    QgsProcessingFeedback,
    QgsProcessingParameterDefinition,
)
from qgis.PyQt.QtCore import QCoreApplication, QEventLoop, QThread
from qgis.PyQt.QtGui import QIcon

from .interpreter import InterpreterError
from .nirgeo_cli import InstallationError, NirgeoCommand
from .scene import Scene
from .settings import nirgeo_command

ICON = os.path.join(os.path.dirname(__file__), "icon.svg")


class Tool(QgsProcessingAlgorithm):
    """A tool of this provider."""

    def createInstance(self) -> Tool:
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
        value = parameters.get(name)
        if value is None or value == NULL or value == "":
            return None
        number: int = self.parameterAsInt(parameters, name, context)
        return number


class NirgeoTool(Tool):
    """A form over one command of nirgeo, for one raster layer."""

    INPUT = "INPUT"

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
        layer = self.parameterAsRasterLayer(parameters, self.INPUT, context) if possible else None
        if layer is not None:
            try:
                Scene.of(layer)
            except QgsProcessingException as error:
                return False, str(error)
        return possible, message


def cancellation(feedback: QgsProcessingFeedback) -> Callable[[], bool]:
    """Whether the user has cancelled, as a question that may be asked while a child runs."""

    def is_cancelled() -> bool:
        # qgis_process and the Python console run tools in the main thread, and Ctrl-C or a button
        # reach the feedback through its events only. Nothing new is begun meanwhile.
        application = QCoreApplication.instance()
        if application is not None and QThread.currentThread() == application.thread():
            QCoreApplication.processEvents(QEventLoop.ProcessEventsFlag.ExcludeUserInputEvents)
        cancelled: bool = feedback.isCanceled()
        return cancelled

    return is_cancelled


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
