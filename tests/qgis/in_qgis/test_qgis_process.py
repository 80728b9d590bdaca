"""The zip, installed as a user installs it, and run by ``qgis_process`` in a process of its own."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import zipfile
from collections.abc import Callable
from pathlib import Path

import package
import pytest
from osgeo import gdal
from plugin_helpers import Fake, is_gone_within, pid_in, write_fake_python, write_reflectance

# Debian's wrapper without .bin passes an option that the program does not know.
PROGRAM = shutil.which("qgis_process.bin") or shutil.which("qgis_process")

pytestmark = [
    pytest.mark.qgis,
    pytest.mark.skipif(PROGRAM is None, reason="qgis_process is not installed"),
]

WAITING = """
open({pid!r}, "w").write(f"{{os.getpid()}}\\n")
os.mkdir(os.path.join(os.path.dirname(output), "." + os.path.basename(output) + ".nirgeo"))
while True:
    say(event="progress", done=1, total=100)
    time.sleep(0.2)
"""


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


@pytest.fixture
def install(tmp_path: Path) -> Install:
    """``install(python)``: a QGIS with the plugin, which runs nirgeo in that Python."""
    return lambda python: QgisProcess(tmp_path / "profile", str(python))


def test_the_tools_are_listed_and_described(install: Install, fake_python: Fake) -> None:
    qgis_process = install(fake_python())
    code, said = qgis_process("list")
    assert code == 0
    assert "nirgeo:colorize" in said.replace("\t", "")
    assert "nirgeo:info" in said
    code, said = qgis_process("help", "nirgeo:colorize")
    assert code == 0
    for parameter in ("INPUT", "BAND", "RED", "GREEN", "MODEL", "EXTENT", "OUTPUT"):
        assert parameter in said


def test_the_installed_zip_colorizes(install: Install, real_python: str, tmp_path: Path) -> None:
    scene = write_reflectance(tmp_path / "scene.tif", bands=4)
    output = tmp_path / "rgb.tif"
    code, said = install(real_python)(
        *("run", "nirgeo:colorize", "--", f"INPUT={scene}", "BAND=4", f"OUTPUT={output}")
    )
    assert code == 0, said
    assert "near infrared: band 4" in said
    assert "100" in said
    made = gdal.Open(str(output))
    assert made.RasterCount == 3
    assert made.GetMetadata("NIRGEO")["SYNTHETIC"] == "yes"


def test_a_missing_interpreter(install: Install, tmp_path: Path) -> None:
    scene = write_reflectance(tmp_path / "scene.tif")
    output = tmp_path / "rgb.tif"
    code, said = install("/nowhere/python")(
        *("run", "nirgeo:colorize", "--", f"INPUT={scene}", f"OUTPUT={output}")
    )
    assert code != 0
    assert "/nowhere/python" in said
    assert "Options › Processing › Providers › nirgeo" in said
    assert not output.exists()


def test_a_failing_child(install: Install, fake_python: Fake, tmp_path: Path) -> None:
    python = fake_python("say(event='error', code='x', message='disk full'); sys.exit(1)")
    scene = write_reflectance(tmp_path / "scene.tif")
    output = tmp_path / "rgb.tif"
    code, said = install(python)(
        *("run", "nirgeo:colorize", "--", f"INPUT={scene}", f"OUTPUT={output}")
    )
    assert code != 0
    assert "disk full" in said
    assert not output.exists()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_no_child_outlives_qgis(install: Install, tmp_path: Path, number: signal.Signals) -> None:
    """Ctrl-C is a cancellation; where QGIS dies at once, the child ends with its pipe."""
    pid_file, out = tmp_path / "pid", tmp_path / "out"
    out.mkdir()
    python = write_fake_python(tmp_path, WAITING.format(pid=str(pid_file)))
    scene = write_reflectance(tmp_path / "scene.tif")
    qgis = install(python).start(
        *("run", "nirgeo:colorize", "--", f"INPUT={scene}", f"OUTPUT={out / 'rgb.tif'}")
    )
    child = pid_in(pid_file, patience=60)
    qgis.send_signal(number)
    try:
        qgis.communicate(timeout=30)
    finally:
        qgis.kill()
    assert is_gone_within(child, 5)
    if number == signal.SIGINT:
        assert list(out.iterdir()) == []
