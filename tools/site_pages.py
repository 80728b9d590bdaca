"""Pages of the documentation site that lie elsewhere in the repository (hooks of MkDocs).

The README is the site's first page, the model cards lie beside their weights, and the notebooks in
a folder of their own. They are not copied: what changes there has changed on the site. Links are
written as GitHub wants them, from file to file, and turned into links between pages here; a link
to a file that is no page of the site is an error in a strict build. A map of a notebook would have
the reader's browser fetch its scripts from elsewhere; its pictures are shown instead.
"""

from __future__ import annotations

import html as markup
import json
import logging
import posixpath
import re
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from mkdocs.plugins import event_priority
from mkdocs.structure.files import File, Files

if TYPE_CHECKING:
    from mkdocs.config.defaults import MkDocsConfig
    from mkdocs.structure.nav import Navigation
    from mkdocs.structure.pages import Page
    from mkdocs.utils.templates import TemplateContext

ROOT = Path(__file__).resolve().parents[1]
WEIGHTS = "nirgeo/weights"
CARDS = "<!-- model cards -->"
NOTEBOOKS = "<!-- notebooks -->"
_FOLDERS = {"docs/results": "results.md", "notebooks": "notebooks/index.md"}

_log = logging.getLogger("mkdocs.hooks.site_pages")
_FENCE = re.compile(r"^( {0,3}|\t*)(```+|~~~+).*?^\1\2\s*$", re.MULTILINE | re.DOTALL)
_LINK = re.compile(r"(!?\[(?:[^\[\]]|\[[^\]]*\])*\]\()([^()\s]+)(\))")

_WIDGET_STATE = re.compile(
    r'<script type="application/vnd\.jupyter\.widget-state\+json">(.*?)</script>', re.DOTALL
)
_WIDGET_VIEW = re.compile(
    r'<script type="application/vnd\.jupyter\.widget-view\+json">.*?</script>', re.DOTALL
)
_WIDGET_RENDERER = re.compile(
    r"<script>\s*\(function\(\) \{\s*function addWidgetsRenderer.*?</script>", re.DOTALL
)


def pages_elsewhere() -> dict[str, str]:
    """Files outside ``docs/`` that are pages: path in the repository → path on the site."""
    cards = {f"{WEIGHTS}/{c.name}": f"models/{c.name}" for c in (ROOT / WEIGHTS).glob("*.md")}
    notebooks = {f"notebooks/{n.name}": f"notebooks/{n.name}" for n in _notebooks()}
    return {
        "README.md": "index.md",
        "CHANGELOG.md": "changelog.md",
        **dict(sorted(cards.items())),
        f"{WEIGHTS}/baselines/README.md": "models/baselines.md",
        **notebooks,
    }


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """Model cards and notebooks go to the end of their parts of the navigation."""
    config.watch += [str(ROOT / source) for source in pages_elsewhere()]
    elsewhere = pages_elsewhere().values()
    for part in config.nav or []:
        for title, entries in part.items():
            folder = {"Models": "models/", "Notebooks": "notebooks/"}.get(title)
            if folder:
                entries.extend(page for page in elsewhere if page.startswith(folder))
    return config


@event_priority(100)  # before the plugin that makes pages of notebooks
def on_files(files: Files, *, config: MkDocsConfig) -> Files:
    for source, uri in pages_elsewhere().items():
        if uri.endswith(".ipynb"):
            # A notebook is opened by its path, which is the same on both sides.
            files.append(File(uri, str(ROOT), config.site_dir, config.use_directory_urls))
        else:
            files.append(File.generated(config, uri, abs_src_path=str(ROOT / source)))
    return files


def on_page_markdown(markdown: str, *, page: Page, config: MkDocsConfig, files: Files) -> str:
    sources = {uri: source for source, uri in pages_elsewhere().items()}
    uri = page.file.src_uri
    here = posixpath.dirname(sources.get(uri, f"docs/{uri}"))
    for mark, made in ((CARDS, _table_of_cards), (NOTEBOOKS, _list_of_notebooks)):
        if mark in markdown:
            markdown = markdown.replace(mark, made())

    def on_site(link: re.Match[str]) -> str:
        before, target, after = link.groups()
        return before + _site_link(target, here, uri) + after

    return _outside_code(markdown, lambda text: _LINK.sub(on_site, text))


def on_page_context(
    context: TemplateContext, *, page: Page, config: MkDocsConfig, nav: Navigation
) -> TemplateContext:
    """Columns without a use give their room to code and pictures."""
    if page.parent is None:  # alone in its part of the navigation
        page.meta["hide"] = ["navigation"]
    elif page.file.src_uri.endswith(".ipynb"):
        page.meta["hide"] = ["toc"]
    return context


def on_page_content(html: str, *, page: Page, config: MkDocsConfig, files: Files) -> str:
    return without_widgets(html)


def without_widgets(html: str) -> str:
    """A notebook's page with the pictures of its map in place of the map itself."""
    state = _WIDGET_STATE.search(html)
    if state is None:
        return html
    widgets = [widget["state"] for widget in json.loads(state[1])["state"].values()]
    layers = [w for w in widgets if w.get("_model_name") == "LeafletImageOverlayModel"]
    shown = [
        f'<figure><img src="{layer["url"]}" alt="{markup.escape(layer["name"])}">'
        f"<figcaption>{markup.escape(layer['name'])}</figcaption></figure>"
        for layer in sorted(layers, key=lambda layer: str(layer["pane"]))
    ]
    note = "<p>Here side by side; in the running notebook on one map, with a divider to drag.</p>"
    instead = f'<div class="map-pictures">{"".join(shown)}</div>{note}'
    for pattern, text in ((_WIDGET_STATE, ""), (_WIDGET_RENDERER, ""), (_WIDGET_VIEW, instead)):
        html, count = pattern.subn(lambda _, text=text: text, html)
        if count != 1:  # a strict build fails here
            _log.warning("%d matches of %s in a page with a map", count, pattern.pattern)
    return html


def _site_link(target: str, here: str, uri: str) -> str:
    """A link of a file in folder ``here``, as the page ``uri`` has to write it."""
    path, mark, anchor = target.partition("#")
    if not path or re.match(r"[a-z][a-z0-9+.-]*:", target):
        return target
    file = posixpath.normpath(posixpath.join(here, path))
    page = pages_elsewhere().get(file)
    if page is None:
        page = _FOLDERS.get(file)
    if page is None and file.startswith("docs/"):
        page = file.removeprefix("docs/")
    if page is None:  # a strict build fails here
        _log.warning("%s links to %s, which is no page of the site", uri, file)
        return target
    return posixpath.relpath(page, posixpath.dirname(uri) or ".") + mark + anchor


def _outside_code(markdown: str, change: Callable[[str], str]) -> str:
    parts, end = [], 0
    for fence in _FENCE.finditer(markdown):
        parts += [change(markdown[end : fence.start()]), fence.group()]
        end = fence.end()
    return "".join([*parts, change(markdown[end:])])


def _table_of_cards() -> str:
    """One line per shipped model, from the STAC item beside its weights and its card."""
    lines = ["| model | given | what for |", "|---|---|---|"]
    for source in pages_elsewhere():
        if not re.fullmatch(rf"{WEIGHTS}/[^/]+\.md", source):
            continue
        item = json.loads((ROOT / source).with_suffix(".json").read_text(encoding="utf-8"))
        facts = item["properties"]
        bands = ", ".join(facts["mlm:input"][0]["bands"])
        name = f"[`{facts['mlm:name']}@{facts['version']}`](../../{source})"
        lines.append(f"| {name} | {bands} | {facts['description']} |")
    return "\n".join(lines)


def _list_of_notebooks() -> str:
    """Title and first paragraph of each."""
    lines = []
    for path in _notebooks():
        (first, *_) = json.loads(path.read_text(encoding="utf-8"))["cells"]
        title, _, text = "".join(first["source"]).partition("\n\n")
        paragraph = " ".join(text.partition("\n\n")[0].split())
        # As a file of the repository, which is what links between files are made of here.
        link = f"../../notebooks/{path.name}"
        lines.append(f"- [{title.removeprefix('# ')}]({link}): {paragraph}")
    return "\n".join(lines)


def _notebooks() -> list[Path]:
    return sorted((ROOT / "notebooks").glob("*.ipynb"))
