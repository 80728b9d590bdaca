"""The one setting: which Python runs nirgeo (Options › Processing › Providers › nirgeo)."""

from __future__ import annotations

import os
import sys

from processing.core.ProcessingConfig import ProcessingConfig, Setting
from qgis.core import QgsApplication
from qgis.PyQt.QtGui import QIcon

from .interpreter import find_interpreter
from .nirgeo_cli import NirgeoCommand

GROUP = "nirgeo"
PYTHON = "NIRGEO_PYTHON"


def register(icon: QIcon) -> None:
    """Show the setting in QGIS's options."""
    ProcessingConfig.settingIcons[GROUP] = icon
    ProcessingConfig.addSetting(
        Setting(
            GROUP,
            PYTHON,
            "Python of the environment with nirgeo",
            "",
            valuetype=Setting.FILE,
            placeholder="Leave blank to search for one",
        )
    )
    ProcessingConfig.readSettings()


def unregister() -> None:
    ProcessingConfig.settings.pop(PYTHON, None)
    ProcessingConfig.settingIcons.pop(GROUP, None)


def nirgeo_command() -> NirgeoCommand:
    """The nirgeo that the settings, the environment or a search lead to. Starts no process.

    Raises
    ------
    InterpreterError : none was found; the message says what to do
    """
    interpreter = find_interpreter(str(ProcessingConfig.getSetting(PYTHON) or ""), os.environ)
    return NirgeoCommand(interpreter, dict(os.environ), _qgis_roots())


def _qgis_roots() -> tuple[str, ...]:
    """Folders with QGIS's own copies of what a Python brings along itself."""
    named = (os.environ.get(name) for name in ("OSGEO4W_ROOT", "APPDIR", "SNAP"))
    roots = {root for root in (*named, QgsApplication.prefixPath(), sys.prefix) if root}
    # A macOS bundle spreads over several folders inside the .app.
    return tuple(sorted(r[: r.index(".app/") + 4] if ".app/" in r else r for r in roots))
