"""The conda recipe asks for what pyproject.toml asks for."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from typing import Any

import pytest

from nirgeo._version import __version__

yaml = pytest.importorskip("yaml", reason="PyYAML comes with mkdocs")

ROOT = Path(__file__).parents[2]

# Where a package is called otherwise on conda-forge; numpy, which dask[array] is for, is listed.
CONDA = {"torch": "pytorch", "dask[array]": "dask-core"}


@pytest.fixture(scope="module")
def recipe() -> Any:
    return yaml.safe_load((ROOT / "recipe" / "recipe.yaml").read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def project() -> Any:
    return tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))


def as_conda(requirement: str) -> str:
    match = re.fullmatch(r"([\w.-]+(?:\[[\w,]+\])?)(.*)", requirement.replace(" ", ""))
    assert match
    return f"{CONDA.get(match[1], match[1])} {match[2]}".strip()


def test_dependencies_are_the_same(recipe: Any, project: Any) -> None:
    wanted = {as_conda(entry) for entry in project["project"]["dependencies"]}
    wanted.add(f"python {project['project']['requires-python']}")
    assert set(recipe["requirements"]["run"]) == wanted
    assert set(map(as_conda, project["build-system"]["requires"])) <= set(
        recipe["requirements"]["host"]
    )


def test_what_describes_the_package_is_the_same(recipe: Any, project: Any) -> None:
    assert recipe["context"]["version"] == __version__
    assert recipe["package"]["name"] == project["project"]["name"]
    assert recipe["about"]["summary"] == project["project"]["description"]
    assert recipe["about"]["license"] == project["project"]["license"]
    assert (ROOT / recipe["about"]["license_file"]).is_file()
    points = dict(entry.split(" = ") for entry in recipe["build"]["python"]["entry_points"])
    assert points == project["project"]["scripts"]


def test_its_oldest_python_is_the_project_s(recipe: Any, project: Any) -> None:
    oldest = project["project"]["requires-python"].removeprefix(">=")
    assert f"python {oldest}.*" in recipe["requirements"]["host"]
