"""Fixtures of the tests in a real QGIS."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from installed import PROGRAM, Install, QgisProcess
from plugin_helpers import POISON, Fake, write_reflectance
from qgis.core import QgsApplication, QgsProcessingFeedback, QgsProject, QgsRasterLayer


class Log(QgsProcessingFeedback):
    """Remembers what the user would see."""

    def __init__(self) -> None:
        super().__init__(False)
        self.info: list[str] = []
        self.warnings: list[str] = []
        self.errors: list[str] = []
        self.percent: list[float] = []
        self.on_info: Callable[[str], object] = lambda text: None
        self.progressChanged.connect(self.percent.append)

    def pushInfo(self, info: str) -> None:  # noqa: N802
        self.info.append(info)
        self.on_info(info)

    def pushCommandInfo(self, info: str) -> None:  # noqa: N802
        self.info.append(info)

    def pushWarning(self, warning: str) -> None:  # noqa: N802
        self.warnings.append(warning)

    def reportError(self, error: str, fatalError: bool = False) -> None:  # noqa: N802
        self.errors.append(error)


@pytest.fixture
def log() -> Log:
    return Log()


@pytest.fixture
def provider(qgis_processing: Any, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """The plugin, installed as ``qgis_process`` installs it, in the environment of a QGIS."""
    from nirgeo_qgis import classFactory

    for name, value in POISON.items():
        monkeypatch.setenv(name, value)
    plugin = classFactory(None)
    plugin.initProcessing()
    yield QgsApplication.processingRegistry().providerById("nirgeo")
    plugin.unload()


@pytest.fixture
def use_fake(provider: Any, fake_python: Fake, monkeypatch: pytest.MonkeyPatch) -> Fake:
    """``use_fake(body)``: the plugin runs a double of nirgeo."""

    def use(body: str = "", protocol: object = 1) -> Path:
        python = fake_python(body, protocol)
        monkeypatch.setenv("NIRGEO_PYTHON", str(python))
        return python

    return use


@pytest.fixture
def real(provider: Any, real_python: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The plugin runs the real nirgeo."""
    monkeypatch.setenv("NIRGEO_PYTHON", real_python)


@pytest.fixture
def scene(tmp_path: Path) -> Path:
    folder = tmp_path / "scenes"
    folder.mkdir()
    return write_reflectance(folder / "near infrared.tif")


@pytest.fixture
def layer(scene: Path) -> Iterator[QgsRasterLayer]:
    """The scene, in the project under a name of its own."""
    made = QgsRasterLayer(str(scene), "Spring scene")
    assert made.isValid()
    QgsProject.instance().addMapLayer(made)
    yield made
    QgsProject.instance().clear()


@pytest.fixture
def install(tmp_path: Path) -> Install:
    """``install(python)``: a QGIS with the plugin, which runs nirgeo in that Python."""
    if PROGRAM is None:
        pytest.skip("qgis_process is not installed")
    return lambda python: QgisProcess(tmp_path / "profile", str(python))
