"""Cancelling, by the user."""

from __future__ import annotations

from collections.abc import Callable

from qgis.core import QgsProcessingFeedback
from qgis.PyQt.QtCore import QCoreApplication, QThread


def cancellation(feedback: QgsProcessingFeedback) -> Callable[[], bool]:
    """Whether the user has cancelled, as a question that may be asked while a child runs."""

    def is_cancelled() -> bool:
        # Batches, qgis_process and the Python console run tools in the main thread, and Ctrl-C or
        # a click on "Cancel" reach the feedback through its events only. QGIS's own dialogs let
        # all of them through at every line of the log, so user input is no more of a risk here.
        application = QCoreApplication.instance()
        if application is not None and QThread.currentThread() == application.thread():
            QCoreApplication.processEvents()
        cancelled: bool = feedback.isCanceled()
        return cancelled

    return is_cancelled
