"""The zip: the same everywhere, and what plugins.qgis.org takes."""

from __future__ import annotations

import gc
import io
import os
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path

import package
import pytest


@pytest.fixture(autouse=True, scope="module")
def garbage_of_others_is_gone() -> None:
    """What other tests have left may log a traceback when it is collected, and where Python 3.11
    parses a source just then it fails (python/cpython#106905)."""
    gc.collect()


@pytest.fixture
def plugin(tmp_path: Path) -> Path:
    """A copy of the plugin that a test may spoil."""
    return Path(shutil.copytree(package.PLUGIN, tmp_path / "source" / "nirgeo_qgis"))


def names(data: bytes) -> list[str]:
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        return archive.namelist()


def test_the_plugin_is_fit_to_be_published() -> None:
    data = package.build(package.PLUGIN)
    assert package.problems(data) == []
    assert {name.split("/")[0] for name in names(data)} == {"nirgeo_qgis"}
    assert "nirgeo_qgis/LICENSE" in names(data)


def test_metadata_says_what_the_issue_asks() -> None:
    metadata = package.read_metadata((package.PLUGIN / "metadata.txt").read_text("utf-8"))
    expected = {
        "hasProcessingProvider": "yes",
        "qgisMinimumVersion": "3.22",
        "qgisMaximumVersion": "4.99",
        "supportsQt6": "True",
    }
    assert expected.items() <= metadata.items()
    assert "External dependency" in metadata["about"]


def test_equal_sources_give_equal_bytes(plugin: Path) -> None:
    first = package.build(package.PLUGIN)
    cache = plugin / "__pycache__"
    cache.mkdir(exist_ok=True)
    (cache / "x.cpython-311.pyc").write_bytes(b"x")
    (plugin / ".hidden").write_text("x")
    (plugin / "notes.md").write_text("x")
    for path in plugin.rglob("*.py"):
        path.write_bytes(path.read_bytes().replace(b"\n", b"\r\n"))
        os.utime(path, (0, 0))
        path.chmod(0o700)
    assert package.build(plugin) == first


def test_the_script_runs_alone(tmp_path: Path) -> None:
    script = Path(package.__file__)
    done = subprocess.run(
        [sys.executable, "-I", "-S", script, "--out", tmp_path],
        capture_output=True,
        text=True,
        check=True,
    )
    (made,) = tmp_path.iterdir()
    assert str(made) in done.stdout
    assert "for development" in done.stdout
    assert made.read_bytes() == package.build(package.PLUGIN)
    version = package.read_metadata((package.PLUGIN / "metadata.txt").read_text("utf-8"))
    assert made.name == f"nirgeo_qgis-{version['version']}.zip"


ADDRESSES = {
    "homepage": "https://nirgeo.sourcehut.page",
    "repository": "https://git.sr.ht/~me/nirgeo",
    "tracker": "https://todo.sr.ht/~me/nirgeo",
    "email": "me@posteo.de",
}


def test_a_release_needs_real_addresses() -> None:
    found = package.problems(package.build(package.PLUGIN), release=True)
    assert [text.split()[1] for text in found] == list(ADDRESSES)
    data = package.build(package.PLUGIN, ADDRESSES)
    assert package.problems(data, release=True) == []
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        metadata = package.read_metadata(archive.read("nirgeo_qgis/metadata.txt").decode("utf-8"))
    before = package.read_metadata((package.PLUGIN / "metadata.txt").read_text("utf-8"))
    assert metadata == before | ADDRESSES


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("homepage", "https://example.org/nirgeo"),
        ("homepage", "http://homepage"),
        ("repository", "https://git.nirgeo.invalid/x"),
        ("tracker", "http://localhost:8000/"),
        ("tracker", "http://bugs"),
        ("email", "me@example.com"),
        ("email", "me@mail.nirgeo.test"),
        ("email", "nobody"),
    ],
)
def test_a_release_takes_no_placeholder(key: str, value: str) -> None:
    data = package.build(package.PLUGIN, {**ADDRESSES, key: value})
    (problem,) = package.problems(data, release=True)
    assert key in problem


def test_the_script_builds_releases(tmp_path: Path) -> None:
    command = [sys.executable, "-I", package.__file__, "--out", str(tmp_path), "--release"]
    refused = subprocess.run(command, capture_output=True, text=True, check=False)
    assert refused.returncode == 1
    assert "give --tracker" in refused.stderr
    assert not list(tmp_path.iterdir())
    given = [word for key, value in ADDRESSES.items() for word in (f"--{key}", value)]
    done = subprocess.run([*command, *given], capture_output=True, text=True, check=True)
    assert "development" not in done.stdout
    (made,) = tmp_path.iterdir()
    assert made.read_bytes() == package.build(package.PLUGIN, ADDRESSES)


def replace_in(file: str, old: str, new: str) -> Callable[[Path], object]:
    def spoil(plugin: Path) -> None:
        text = (plugin / file).read_text("utf-8")
        assert old in text
        (plugin / file).write_text(text.replace(old, new), "utf-8")

    return spoil


@pytest.mark.parametrize(
    ("spoil", "complaint"),
    [
        (lambda p: (p / "LICENSE").unlink(), "LICENSE is missing"),
        (lambda p: (p / "icon.svg").unlink(), "icon icon.svg is not in the archive"),
        (lambda p: (p / "__init__.py").unlink(), "__init__.py is missing"),
        (lambda p: (p / "x.py").write_text("import torch"), "imports torch"),
        (lambda p: (p / "x.py").write_text("from nirgeo import cog"), "imports nirgeo"),
        (lambda p: (p / "x.py").write_text("from PyQt5 import QtCore"), "use qgis.PyQt"),
        (lambda p: (p / "x.py").write_text("match 1:\n  case 1: pass"), "is no Python 3.9"),
        (lambda p: (p / "x.png").write_bytes(bytes(26 * 2**20)), "bytes, more than"),
        (replace_in("metadata.txt", "[general]", "[other]"), "can't be read"),
        (replace_in("metadata.txt", "tracker=https://", "tracker="), "not a web address"),
        (replace_in("metadata.txt", "about=", "abort="), "about is missing"),
        (replace_in("metadata.txt", "author=", "author=a/b"), "slash"),
        (replace_in("metadata.txt", "Provider=yes", "Provider=no"), "qgis_process ignores"),
        (replace_in("metadata.txt", "version=0", "version=v0"), "not a version number"),
        (replace_in("metadata.txt", "about=", "about=100% "), "percent sign"),
    ],
)
def test_a_spoilt_plugin_is_refused(
    plugin: Path, spoil: Callable[[Path], object], complaint: str
) -> None:
    spoil(plugin)
    assert any(complaint in problem for problem in package.problems(package.build(plugin)))


@pytest.mark.parametrize(
    ("folder", "complaint"), [("nirgeo", "hide the library"), ("2x", "is not a Python identifier")]
)
def test_a_bad_folder_name_is_refused(plugin: Path, folder: str, complaint: str) -> None:
    renamed = plugin.rename(plugin.parent / folder)
    assert any(complaint in problem for problem in package.problems(package.build(renamed)))


@pytest.mark.parametrize(
    "name", ["nirgeo_qgis/__pycache__/a.pyc", "nirgeo_qgis/.git/config", "__MACOSX/x", "readme.txt"]
)
def test_what_does_not_belong_into_an_archive_is_found(name: str) -> None:
    buffer = io.BytesIO(package.build(package.PLUGIN))
    with zipfile.ZipFile(buffer, "a") as archive:
        archive.writestr(name, "x")
    assert package.problems(buffer.getvalue())
