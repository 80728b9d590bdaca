"""What happens in QGIS while the pictures of docs/qgis.md are taken; see ``make_pictures.py``.

QGIS runs this file when it has started (``qgis --code``). Windows are painted by themselves and put
over each other, as there is no window manager.
"""

from __future__ import annotations

import os
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

from processing.gui.AlgorithmDialog import AlgorithmDialog
from qgis.core import QgsApplication, QgsProject, QgsRasterLayer, QgsRectangle
from qgis.PyQt.QtCore import QEventLoop, QPoint, Qt, QTimer
from qgis.PyQt.QtGui import QColor, QPainter, QPixmap, QTextCursor
from qgis.PyQt.QtWidgets import (
    QApplication,
    QDockWidget,
    QGroupBox,
    QLineEdit,
    QSplitter,
    QTextEdit,
    QWidget,
)
from qgis.utils import iface

SCENES = Path(os.environ["NIRGEO_SCENES"])
PICTURES = Path(os.environ["NIRGEO_PICTURES"])

SIZE = (1400, 900)
SHOWN = QgsRectangle(330_300, 5_815_500, 335_100, 5_820_100)
RIGHT_HALF = "332700,345360,5814360,5822040 [EPSG:32633]"
OVER = QPoint(8, 430)
PATIENCE = 120


def wait(until: Callable[[], bool], what: str) -> None:
    """Let QGIS work until something holds."""
    deadline = time.monotonic() + PATIENCE
    while not until():
        if time.monotonic() > deadline:
            raise TimeoutError(f"waited {PATIENCE} s for {what}")
        QApplication.processEvents(QEventLoop.AllEvents, 50)
        time.sleep(0.02)


def settle(seconds: float = 0.5) -> None:
    deadline = time.monotonic() + seconds
    wait(lambda: time.monotonic() > deadline, "nothing in particular")


def layer(name: str, title: str) -> QgsRasterLayer:
    made = QgsRasterLayer(str(SCENES / name), title)
    QgsProject.instance().addMapLayer(made)
    return made


def dialog(tool: str, **values: Any) -> Any:
    """The tool's own dialog, filled in."""
    algorithm = QgsApplication.processingRegistry().createAlgorithmById(f"nirgeo:{tool}")
    made = AlgorithmDialog(algorithm, parent=iface.mainWindow())
    made.show()
    settle(4)  # the models arrive from a process of their own
    made.setParameters(values)
    return made


def run(shown: Any) -> None:
    finished: list[bool] = []
    shown.algorithmFinished.connect(lambda success, _: finished.append(success))
    shown.runAlgorithm()
    wait(lambda: bool(finished), "the tool")
    if not finished[0]:
        raise RuntimeError(shown.findChild(QWidget, "txtLog").toPlainText())
    settle(1)


def show_map(extent: QgsRectangle) -> None:
    canvas = iface.mapCanvas()
    canvas.setExtent(extent)
    canvas.refreshAllLayers()
    settle(1)
    canvas.waitWhileRendering()
    settle()


def save(name: str, below: QWidget, *above: tuple[QWidget, QPoint]) -> None:
    """A window, and others over it within a thin line."""
    picture = below.grab()
    painter = QPainter(picture)
    for window, place in above:
        painted: QPixmap = window.grab()
        painter.drawPixmap(place, painted)
        painter.setPen(QColor(90, 90, 90))
        painter.drawRect(place.x() - 1, place.y() - 1, painted.width() + 1, painted.height() + 1)
    painter.end()
    picture.save(str(PICTURES / name))


def with_log(form: Any, from_line: str) -> Any:
    """A dialog after its run, small, its help folded away, and its log from a certain line on."""
    form.resize(450, 460)
    for splitter in form.findChildren(QSplitter):
        splitter.setSizes([1, 0])
    settle()
    log = form.findChild(QTextEdit, "txtLog")
    log.moveCursor(QTextCursor.Start)
    if not log.find(from_line):
        raise RuntimeError(f"no {from_line!r} in the log:\n{log.toPlainText()}")
    log.verticalScrollBar().setValue(log.verticalScrollBar().value() + log.cursorRect().top())
    log.moveCursor(QTextCursor.StartOfLine)  # nothing stays selected
    iface.messageBar().clearWidgets()
    settle()
    return form


def session() -> None:
    window = iface.mainWindow()
    window.resize(*SIZE)
    for dock in window.findChildren(QDockWidget):
        dock.setVisible(dock.objectName() in ("Layers", "ProcessingToolbox"))
    window.findChild(QDockWidget, "ProcessingToolbox").findChild(QLineEdit).setText("nirgeo")
    layers = window.findChild(QDockWidget, "Layers")
    window.resizeDocks([layers], [360], Qt.Horizontal)
    scene = layer("brandenburg_cir.tif", "Havel")
    QgsProject.instance().setCrs(scene.crs())

    form = dialog("colorize", INPUT=scene, MODEL="satellite-rgn-toa", EXTENT=RIGHT_HALF)
    form.findChild(QGroupBox, "grpAdvanced").setProperty("collapsed", False)
    form.resize(900, 1110)
    settle()
    for line in form.findChildren(QLineEdit):
        line.setCursorPosition(0)
    save("qgis-form.png", form)
    run(form)
    show_map(SHOWN)
    save("qgis.png", window, (with_log(form, "near infrared: band"), OVER))
    form.close()

    alone = layer("brandenburg_nir.tif", "Near infrared")
    form = dialog("colorize", INPUT=alone)
    run(form)
    form.close()
    QgsProject.instance().removeMapLayer(scene)
    (picture,) = QgsProject.instance().mapLayersByName("Near infrared (natural colour)")
    truth = layer("brandenburg_true.tif", "Measured colours")
    QgsProject.instance().layerTreeRoot().findLayer(truth).setItemVisibilityChecked(False)
    form = dialog("evaluate", INPUT=picture, TRUTH=truth)
    run(form)
    show_map(picture.extent())
    save("qgis-evaluate.png", window, (with_log(form, "Predicted colours"), OVER))
    form.close()


def main() -> None:
    try:
        session()
    except Exception:
        (SCENES / "problem.txt").write_text(traceback.format_exc(), encoding="utf-8")
    QgsProject.instance().clear()
    os._exit(0)  # nothing asks whether to save


QTimer.singleShot(3000, main)
