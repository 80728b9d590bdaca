"""The Processing provider ``nirgeo``."""

from __future__ import annotations

import os

from qgis.core import QgsProcessingProvider
from qgis.PyQt.QtGui import QIcon

from . import settings
from .colorize import Colorize
from .evaluate import Evaluate
from .info import Info

ICON = os.path.join(os.path.dirname(__file__), "icon.svg")


class NirgeoProvider(QgsProcessingProvider):
    """Registers the tools. Nothing is run, and no environment is looked for, until one is used."""

    def id(self) -> str:
        return "nirgeo"

    def name(self) -> str:
        return settings.GROUP  # the options dialog finds a provider's settings by its name

    def longName(self) -> str:
        return "nirgeo (natural colour from near infrared)"

    def icon(self) -> QIcon:
        return QIcon(ICON)

    def svgIconPath(self) -> str:
        return ICON

    def load(self) -> bool:
        settings.register(self.icon())
        self.refreshAlgorithms()
        return True

    def unload(self) -> None:
        settings.unregister()

    def loadAlgorithms(self) -> None:
        for algorithm in (Colorize(), Evaluate(), Info()):
            self.addAlgorithm(algorithm)

    def supportedOutputRasterLayerExtensions(self) -> list[str]:
        return ["tif", "tiff"]

    def defaultRasterFileExtension(self, hasRasterOutput: bool = True) -> str:  # noqa: N803
        return "tif"

    def supportsNonFileBasedOutput(self) -> bool:
        return False
