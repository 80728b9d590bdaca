"""The zip, installed as a user installs it, and run by ``qgis_process`` in a process of its own."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest
from installed import Install
from osgeo import gdal
from plugin_helpers import Fake, is_gone_within, pid_in, write_fake_python, write_reflectance

pytestmark = pytest.mark.qgis

WAITING = """
open({pid!r}, "w").write(f"{{os.getpid()}}\\n")
os.mkdir(os.path.join(os.path.dirname(output), "." + os.path.basename(output) + ".nirgeo"))
while True:
    say(event="progress", done=1, total=100)
    time.sleep(0.2)
"""


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


def test_the_installed_zip_evaluates(install: Install, real_python: str, tmp_path: Path) -> None:
    scene, truth = (write_reflectance(tmp_path / name, bands=3) for name in ("a.tif", "b.tif"))
    error, table = tmp_path / "error.tif", tmp_path / "table.html"
    code, said = install(real_python)(
        *("run", "nirgeo:evaluate", "--", f"INPUT={scene}", f"TRUTH={truth}"),
        *(f"OUTPUT={error}", f"TABLE={table}"),
    )
    assert code == 0, said
    assert "MEAN:\t0" in said
    assert "PIXELS:\t4096" in said
    assert gdal.Open(str(error)).ReadAsArray().max() == 0
    assert "Mean angular error" in table.read_text("utf-8")


def test_the_installed_zip_informs(install: Install, real_python: str, tmp_path: Path) -> None:
    scene = write_reflectance(tmp_path / "scene.tif")
    code, said = install(real_python)("run", "nirgeo:info", "--", f"INPUT={scene}")
    assert code == 0, said
    assert "EPSG:32632" in said


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
