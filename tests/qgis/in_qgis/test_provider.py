"""The provider and its tools, as QGIS sees them."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from plugin_helpers import Fake, write_fake_python
from processing.core.ProcessingConfig import ProcessingConfig
from qgis.core import QgsApplication, QgsProcessingParameterDefinition

pytestmark = pytest.mark.qgis

TOOLS = {"colorize", "evaluate", "info"}
REGISTRY = QgsApplication.processingRegistry


def test_the_provider_and_its_tools_are_there(provider: Any) -> None:
    assert provider.name() == "nirgeo"
    assert not provider.icon().isNull()
    assert {tool.name() for tool in provider.algorithms()} == TOOLS


def test_unloading_leaves_nothing(qgis_processing: Any) -> None:
    from nirgeo_qgis import classFactory

    for _ in range(2):
        plugin = classFactory(None)
        plugin.initGui()
        assert REGISTRY().algorithmById("nirgeo:colorize") is not None
        assert "NIRGEO_PYTHON" in ProcessingConfig.settings
        plugin.unload()
        assert REGISTRY().algorithmById("nirgeo:colorize") is None
        assert "NIRGEO_PYTHON" not in ProcessingConfig.settings
        assert "nirgeo" not in ProcessingConfig.settingIcons


def test_no_process_is_started_while_registering(
    provider: Any, fake_python: Fake, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NIRGEO_PYTHON", str(fake_python()))

    def refuse(*arguments: object, **options: object) -> None:
        raise AssertionError(f"started {arguments}")

    monkeypatch.setattr(subprocess, "Popen", refuse)
    provider.refreshAlgorithms()
    for tool in provider.algorithms():
        copy = tool.create()
        assert copy.canExecute()[0]
        assert copy.parameterDefinitions()


@pytest.mark.parametrize("name", sorted(TOOLS))
def test_every_tool_explains_itself(provider: Any, name: str) -> None:
    tool = provider.algorithm(name)
    assert tool.displayName()
    assert tool.shortHelpString()
    assert tool.tags()
    assert not tool.icon().isNull()
    for parameter in tool.parameterDefinitions():
        assert parameter.description()
        assert parameter.help()


def test_parameters_of_colorize(provider: Any) -> None:
    parameters = {p.name(): p for p in provider.algorithm("colorize").parameterDefinitions()}
    advanced = QgsProcessingParameterDefinition.Flag.FlagAdvanced
    optional = QgsProcessingParameterDefinition.Flag.FlagOptional
    assert [n for n, p in parameters.items() if not p.flags() & advanced] == [
        *("INPUT", "BAND", "RED", "GREEN", "MODEL", "REFERENCE", "EXTENT", "OUTPUT")
    ]
    assert {n for n, p in parameters.items() if p.flags() & advanced} == {
        *("SCALE", "REFERENCE_SCALE", "NODATA", "PRIOR", "UNCERTAINTY", "MAX_ERROR"),
        *("DEVICE", "CHUNK", "OPTIONS"),
    }
    for name in ("BAND", "RED", "GREEN", "REFERENCE", "EXTENT"):
        assert parameters[name].flags() & optional
    assert parameters["MODEL"].defaultValue() == "auto"
    assert parameters["PRIOR"].defaultValue() is True


def test_without_an_interpreter_every_tool_says_what_to_do(
    provider: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("NIRGEO_PYTHON", raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("PATH", "/nowhere")
    for variable in ("VIRTUAL_ENV", "CONDA_PREFIX", "XDG_DATA_HOME"):
        monkeypatch.delenv(variable, raising=False)
    for name in TOOLS:
        possible, message = provider.algorithm(name).create().canExecute()
        assert not possible
        assert "Options › Processing › Providers › nirgeo" in message
        assert "NIRGEO_PYTHON" in message
        assert "\n" not in message


def test_the_setting_is_used_and_the_variable_goes_before_it(
    provider: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from nirgeo_qgis.settings import nirgeo_command

    first = write_fake_python(tmp_path / "first", "")
    second = write_fake_python(tmp_path / "second", "")
    monkeypatch.delenv("NIRGEO_PYTHON", raising=False)
    ProcessingConfig.setSettingValue("NIRGEO_PYTHON", str(first))
    try:
        assert nirgeo_command().interpreter.path == str(first)
        monkeypatch.setenv("NIRGEO_PYTHON", str(second))
        assert nirgeo_command().interpreter.path == str(second)
    finally:
        ProcessingConfig.setSettingValue("NIRGEO_PYTHON", "")


def test_neither_torch_nor_rasterio_nor_numpy_comes_with_the_plugin() -> None:
    # In an interpreter of its own: this one may have imported anything.
    code = (
        "import sys; sys.path[:0] = sys.argv[1:]\n"
        "from qgis.core import QgsApplication\n"
        "import processing.core.ProcessingConfig\n"
        "before = set(sys.modules)\n"
        "import nirgeo_qgis.plugin\n"
        "new = {name.split('.')[0] for name in set(sys.modules) - before}\n"
        "allowed = sys.stdlib_module_names | {'nirgeo_qgis', 'qgis', 'processing', 'PyQt5'}\n"
        "allowed |= {'PyQt6'}\n"
        "print(sorted(new - allowed))\n"
    )
    folders = [path for path in sys.path if path]
    done = subprocess.run(
        [sys.executable, "-c", code, *folders], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "[]"
