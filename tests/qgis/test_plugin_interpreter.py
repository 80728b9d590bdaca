"""Finding the Python that has nirgeo."""

from __future__ import annotations

from pathlib import Path

import pytest
from nirgeo_qgis.interpreter import (
    SETTING_PLACE,
    Interpreter,
    InterpreterError,
    find_interpreter,
    has_nirgeo,
)


def make_environment(
    prefix: Path, *, nirgeo: bool = True, windows: bool = False, package: str = "nirgeo"
) -> Path:
    """What an environment looks like from outside; returns its Python."""
    python = prefix / ("Scripts/python.exe" if windows else "bin/python")
    site = prefix / ("Lib/site-packages" if windows else "lib/python3.12/site-packages")
    python.parent.mkdir(parents=True)
    python.write_text("#!/bin/sh\n")
    python.chmod(0o755)
    site.mkdir(parents=True)
    if nirgeo:
        (site / f"{package}-0.1.0.dist-info").mkdir()
        (site / f"{package}-0.1.0.dist-info" / "METADATA").write_text("Name: nirgeo\n")
    return python


def find(home: Path, setting: str = "", windows: bool = False, **environ: str) -> Interpreter:
    return find_interpreter(setting, environ, home=home, windows=windows)


def test_the_variable_goes_before_the_setting(tmp_path: Path) -> None:
    first = make_environment(tmp_path / "a")
    second = make_environment(tmp_path / "b")
    found = find(tmp_path, str(second), NIRGEO_PYTHON=str(first))
    assert found.path == str(first)
    assert "NIRGEO_PYTHON" in found.origin


def test_the_setting_goes_before_any_search(tmp_path: Path) -> None:
    make_environment(tmp_path / "nirgeo")
    chosen = make_environment(tmp_path / "chosen", nirgeo=False)
    found = find(tmp_path, str(chosen))
    assert found == Interpreter(str(chosen), SETTING_PLACE)
    assert found.prefix == str(tmp_path / "chosen")


@pytest.mark.parametrize("named", ["env", "env/bin/nirgeo", '"env/bin/python"'])
def test_an_environment_or_its_command_stand_for_its_python(tmp_path: Path, named: str) -> None:
    python = make_environment(tmp_path / "env")
    (python.parent / "nirgeo").write_text("#!/bin/sh\n")
    text = named.replace("env", str(tmp_path / "env"), 1)
    assert find(tmp_path, text).path == str(python)


def test_a_named_link_to_the_command_leads_to_its_environment(tmp_path: Path) -> None:
    python = make_environment(tmp_path / "tools" / "nirgeo")
    (python.parent / "nirgeo").write_text("#!/bin/sh\n")
    link = tmp_path / ".local" / "bin" / "nirgeo"
    make_environment(tmp_path / ".local", nirgeo=False)  # another Python beside the link
    link.symlink_to(python.parent / "nirgeo")
    assert find(tmp_path, str(link)).path == str(python)
    assert find(tmp_path, NIRGEO_PYTHON=str(link)).path == str(python)


def test_a_link_to_python_is_not_followed(tmp_path: Path) -> None:
    # The executable of a virtual environment is a link to a Python that knows nothing of it.
    base = make_environment(tmp_path / "base", nirgeo=False)
    link = tmp_path / "venv" / "bin" / "python"
    link.parent.mkdir(parents=True)
    link.symlink_to(base)
    assert find(tmp_path, str(link)).path == str(link)


@pytest.mark.parametrize("named", ["/nowhere/python", "not a path at all", "{tmp}/empty"])
def test_what_is_named_and_is_no_python_is_refused_in_one_paragraph(
    tmp_path: Path, named: str
) -> None:
    (tmp_path / "empty").mkdir()
    make_environment(tmp_path / "nirgeo")  # not taken instead of what was named
    with pytest.raises(InterpreterError) as caught:
        find(tmp_path, named.format(tmp=tmp_path))
    message = str(caught.value)
    assert SETTING_PLACE in message
    assert "NIRGEO_PYTHON" in message
    assert "\n" not in message


def test_a_file_that_can_not_be_run_is_refused(tmp_path: Path) -> None:
    python = make_environment(tmp_path / "env")
    python.chmod(0o644)
    with pytest.raises(InterpreterError, match="not an executable file"):
        find(tmp_path, str(python))


def test_nothing_named_and_nothing_there_says_what_to_do(tmp_path: Path) -> None:
    make_environment(tmp_path / ".venv", nirgeo=False)
    with pytest.raises(InterpreterError) as caught:
        find(tmp_path, PATH="/nowhere")
    assert str(caught.value).startswith("No Python environment with nirgeo was found.")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "place",
    [
        "nirgeo",
        "nirgeo/.venv",
        ".venv",
        ".local/share/pipx/venvs/nirgeo",
        ".local/share/uv/tools/nirgeo",
        ".virtualenvs/maps",
        "miniforge3/envs/geo",
    ],
)
def test_usual_places_are_searched(tmp_path: Path, place: str) -> None:
    python = make_environment(tmp_path / place)
    assert find(tmp_path).path == str(python)


def test_conda_environments_are_found_by_condas_own_list(tmp_path: Path) -> None:
    python = make_environment(tmp_path / "far away" / "env")
    listing = tmp_path / ".conda" / "environments.txt"
    listing.parent.mkdir()
    listing.write_text(f"{tmp_path / 'gone'}\n\n{tmp_path / 'far away' / 'env'}\n")
    assert find(tmp_path).path == str(python)


def test_the_command_on_the_path_leads_to_its_environment(tmp_path: Path) -> None:
    python = make_environment(tmp_path / "tools" / "somewhere")
    command = python.parent / "nirgeo"
    command.write_text("#!/bin/sh\n")
    command.chmod(0o755)
    (tmp_path / ".local" / "bin").mkdir(parents=True)
    (tmp_path / ".local" / "bin" / "nirgeo").symlink_to(command)
    assert find(tmp_path).path == str(python)


def test_an_active_environment_is_found(tmp_path: Path) -> None:
    python = make_environment(tmp_path / "active")
    assert find(tmp_path, VIRTUAL_ENV=str(tmp_path / "active")).path == str(python)


def test_on_windows(tmp_path: Path) -> None:
    python = make_environment(tmp_path / "AppData/Roaming/uv/tools/nirgeo", windows=True)
    found = find(tmp_path, windows=True)
    assert found.path == str(python)
    assert found.prefix == str(python.parent.parent)


def test_a_package_with_a_longer_name_is_not_nirgeo(tmp_path: Path) -> None:
    make_environment(tmp_path / "env", package="nirgeo_extras")
    assert not has_nirgeo(tmp_path / "env", windows=False)
