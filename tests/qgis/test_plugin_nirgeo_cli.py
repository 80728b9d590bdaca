"""Calling nirgeo: a double of it for everything that can go wrong, and the real one."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

import pytest
from nirgeo_qgis.events import RunError
from nirgeo_qgis.interpreter import Interpreter
from nirgeo_qgis.nirgeo_cli import CancelledError, InstallationError, NirgeoCommand
from nirgeo_qgis.request import ColorizeRequest, CompareRequest
from nirgeo_qgis.wording import COLORIZE, EVALUATE
from plugin_helpers import Fake, write_reflectance
from test_plugin_events import Log

pytestmark = pytest.mark.skipif(os.name != "posix", reason="its doubles are Unix scripts")


def command(python: object, environ: Mapping[str, str] | None = None) -> NirgeoCommand:
    return NirgeoCommand(Interpreter(str(python), "a test"), environ or os.environ)


def test_versions(fake_python: Fake) -> None:
    assert command(fake_python()).versions() == {"nirgeo": "9.9.9", "protocol": 1}


def test_models(fake_python: Fake) -> None:
    (model,) = command(fake_python()).models()
    assert model.full_name == "some-nir@2"
    assert model.describe() == "some-nir@2: nir, reflectance, 10–30 m"


@pytest.mark.parametrize(
    ("protocol", "older"), [(2, "this plugin"), (0, "nirgeo"), ("x", "this plugin")]
)
def test_another_protocol_says_which_side_to_update(
    fake_python: Fake, protocol: object, older: str
) -> None:
    with pytest.raises(InstallationError, match=f"Update {older}") as caught:
        command(fake_python(protocol=protocol)).versions()
    assert "\n" not in str(caught.value)


def test_a_python_without_nirgeo_says_what_to_do(tmp_path: Path) -> None:
    python = tmp_path / "python"
    python.write_text("#!/bin/sh\necho 'No module named nirgeo' >&2\nexit 1\n")
    python.chmod(0o755)
    with pytest.raises(InstallationError) as caught:
        command(python).versions()
    message = str(caught.value)
    assert "No module named nirgeo" in message
    assert str(python) in message
    assert "Options › Processing › Providers › nirgeo" in message
    assert "\n" not in message


@pytest.mark.parametrize("text", ["#!/bin/sh\necho hello\n", "#!/nowhere/interpreter\n"])
def test_what_is_no_nirgeo_at_all_says_what_to_do(tmp_path: Path, text: str) -> None:
    python = tmp_path / "python"
    python.write_text(text)
    python.chmod(0o755)
    with pytest.raises(InstallationError, match="does not run"):
        command(python).versions()


def test_a_question_can_be_cancelled(fake_python: Fake) -> None:
    python = fake_python("time.sleep(60)")
    with pytest.raises(CancelledError):
        command(python).query("evaluate", is_cancelled=lambda: True)


def test_a_failing_run_tells_its_reason(fake_python: Fake) -> None:
    python = fake_python("say(event='error', code='x', message='the disk is full'); sys.exit(1)")
    with pytest.raises(RunError, match=r"^the disk is full$"):
        command(python).run(["colorize"], Log(), lambda: False, COLORIZE)


# From here on, the real nirgeo.


def test_the_real_nirgeo_answers_in_the_environment_of_a_qgis(
    real_python: str, poisoned: Mapping[str, str]
) -> None:
    nirgeo = command(real_python, poisoned)
    assert nirgeo.versions()["protocol"] == 1
    assert nirgeo.models()


def test_the_real_nirgeo_colorizes_in_the_environment_of_a_qgis(
    real_python: str, poisoned: Mapping[str, str], tmp_path: Path
) -> None:
    scene, output = tmp_path / "nir scene.tif", tmp_path / "rgb.tif"
    write_reflectance(scene)
    log = Log()
    request = ColorizeRequest(
        str(scene), str(output), bounds=(500_100, 4_999_500, 500_400, 4_999_900)
    )
    nirgeo = command(real_python, poisoned)
    result = nirgeo.run(request.arguments(), log, lambda: False, COLORIZE)
    assert result.path == str(output)
    assert log.progress[-1] == 100
    assert result.tags["SYNTHETIC"] == "yes"
    assert result.tags["MODEL"]
    assert len(result.tags["MODEL_SHA256"]) == 64

    comparison = CompareRequest(result.path, result.path, error_map=str(tmp_path / "angles.tif"))
    compared = nirgeo.run(comparison.arguments(), log, lambda: False, EVALUATE)
    assert compared.path == str(tmp_path / "angles.tif")
    assert compared.figures["angular"] == 0
    assert compared.figures["pixels"] == 30 * 40


def test_the_real_nirgeo_refuses_in_words_of_the_form(
    real_python: str, poisoned: Mapping[str, str], tmp_path: Path
) -> None:
    scene = tmp_path / "scene.tif"
    write_reflectance(scene)
    request = ColorizeRequest(str(scene), str(tmp_path / "o.tif"), bounds=(900, 900, 901, 901))
    with pytest.raises(RunError, match="“Only this part” 900 900 901 901 lie outside"):
        command(real_python, poisoned).run(request.arguments(), Log(), lambda: False, COLORIZE)
    assert [entry.name for entry in tmp_path.iterdir()] == ["scene.tif"]
