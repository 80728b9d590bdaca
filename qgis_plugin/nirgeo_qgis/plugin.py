"""The plugin: puts the provider into QGIS's Processing, and takes it out again."""

from __future__ import annotations

from collections.abc import Callable

from qgis.core import QgsApplication

from .provider import NirgeoProvider


class NirgeoPlugin:
    """Has no window and no menu of its own: the tools live in the Processing toolbox."""

    def __init__(self) -> None:
        self.provider: NirgeoProvider | None = None
        self._unregister_widgets: Callable[[], None] = lambda: None

    def initProcessing(self) -> None:
        """All that ``qgis_process`` calls."""
        self.provider = NirgeoProvider()
        QgsApplication.processingRegistry().addProvider(self.provider)

    def initGui(self) -> None:
        from . import widgets  # needs QGIS's windows, which qgis_process does not have

        if widgets.needed():
            widgets.register()
            self._unregister_widgets = widgets.unregister
        self.initProcessing()

    def unload(self) -> None:
        if self.provider is not None:
            QgsApplication.processingRegistry().removeProvider(self.provider)
            self.provider = None
        self._unregister_widgets()
