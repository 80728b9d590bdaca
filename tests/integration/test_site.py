"""The documentation site builds without a warning, and stands on its own."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SHIPPED = ROOT / "nirgeo" / "weights"


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    pytest.importorskip("mkdocs", reason="the site needs the extra docs")
    folder = tmp_path_factory.mktemp("site")
    done = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(folder)],
        cwd=ROOT,
        env={**os.environ, "NO_MKDOCS_2_WARNING": "1"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    return folder


def html(page: Path) -> str:
    return page.read_text(encoding="utf-8")


def test_every_model_card_and_notebook_is_a_page(site: Path) -> None:
    models = html(site / "models" / "index.html")
    for card in SHIPPED.glob("*.md"):
        page = site / "models" / card.stem / "index.html"
        sha256 = re.search(r"[0-9a-f]{64}", card.read_text(encoding="utf-8"))
        assert sha256
        assert sha256[0] in html(page)
        assert f'href="{card.stem}/"' in models
    for notebook in (ROOT / "notebooks").glob("*.ipynb"):
        assert (site / "notebooks" / notebook.stem / "index.html").is_file()


def test_everything_public_has_an_entry(site: Path) -> None:
    import nirgeo
    import nirgeo.errors

    api = html(site / "api" / "index.html")
    for name in set(nirgeo.__all__) - {"__version__", "NirgeoError"}:
        assert f'id="nirgeo.{name}"' in api
    for name, value in vars(nirgeo.errors).items():
        if isinstance(value, type):
            assert f'id="nirgeo.errors.{name}"' in api
    from nirgeo.cli.main import main

    commands = html(site / "commands" / "index.html")
    for name, command in main.commands.items():
        assert f"nirgeo {name}" in commands
        for param in command.params:
            assert param.opts[-1].upper() in commands.upper()


def test_no_markup_of_docstrings_is_left(site: Path) -> None:
    api = html(site / "api" / "index.html")
    assert not re.search(r":(func|class|meth|mod|data|attr|exc):", api)
    assert "``" not in api


def test_pages_load_nothing_from_elsewhere(site: Path) -> None:
    loads = re.compile(
        r"<(?:script|img|link|iframe)\b[^>]*?(?:src|href)=[\"']?(https?://[^\"' >]+)"
    )
    for page in site.rglob("*.html"):
        assert not loads.findall(html(page)), page


def test_no_page_names_a_folder_of_the_builder(site: Path) -> None:
    for page in site.rglob("*.html"):
        assert str(ROOT) not in html(page), page


def test_every_picture_is_there(site: Path) -> None:
    for page in site.rglob("*.html"):
        for source in re.findall(r'<img\b[^>]*?src="([^"]+)"', html(page)):
            if not source.startswith("data:"):
                assert (page.parent / source).is_file(), f"{page}: {source}"
