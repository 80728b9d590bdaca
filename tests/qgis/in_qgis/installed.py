"""The plugin's zip in a QGIS of its own, which is used through ``qgis_process``."""

from __future__ import annotations

import os
import shutil
import subprocess
import zipfile
from collections.abc import Callable
from pathlib import Path

import package

# Debian's wrapper without .bin passes an option that the program does not know.
PROGRAM = shutil.which("qgis_process.bin") or shutil.which("qgis_process")


class QgisProcess:
    """``qgis_process`` with a profile of its own, into which the zip was unpacked."""

    def __init__(self, folder: Path, python: str) -> None:
        run, configuration = folder / "run", folder / "configuration"
        run.mkdir(mode=0o700, parents=True)
        plugins = configuration / "profiles" / "default" / "python" / "plugins"
        made = folder / "plugin.zip"
        made.write_bytes(package.build(package.PLUGIN))
        with zipfile.ZipFile(made) as archive:
            archive.extractall(plugins)
        self._environment = {
            **{k: v for k, v in os.environ.items() if k not in ("PYTHONPATH", "QGIS_PLUGINPATH")},
            "HOME": str(folder),
            "QGIS_CUSTOM_CONFIG_PATH": str(configuration),
            "XDG_RUNTIME_DIR": str(run),
            "QT_QPA_PLATFORM": "offscreen",
            "NIRGEO_PYTHON": python,
            # Right for QGIS, wrong for its child.
            "PYTHONHOME": "/usr",
            "PROJ_LIB": "/usr/share/proj",
        }
        code, said = self("plugins", "enable", "nirgeo_qgis")
        assert code == 0, said

    def start(self, *arguments: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [str(PROGRAM), *arguments],
            env=self._environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def __call__(self, *arguments: str) -> tuple[int, str]:
        child = self.start(*arguments)
        said, _ = child.communicate(timeout=240)
        return child.returncode, said


Install = Callable[[object], QgisProcess]
