"""What the SCENE arguments stand for: one scene each, or all that a folder or collection holds."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from nirgeo.errors import SourceError
from nirgeo.hrefs import SCENE_SUFFIXES, is_url, without_query

MADE = "_rgb"
"""How results beside their scenes are called; they are no scenes."""


def expand(scenes: Iterable[str]) -> list[str]:
    """Every scene by a name that :func:`nirgeo.open_scene` opens, in the order they were named.

    A folder stands for the rasters in it, by name, without results of earlier runs. A local
    collection of STAC items, as searches save them, stands for its items (``search.json#ID``), and
    a STAC collection for those it links to.

    Raises
    ------
    SourceError : a folder or collection holds no scene, or a document can't be read
    """
    found: list[str] = []
    for scene in scenes:
        if not scene:
            raise SourceError("'' names no scene; is a variable of the shell empty?")
        if Path(scene).is_dir() and not scene.lower().rstrip("/").endswith(".zarr"):
            found += _of_folder(Path(scene))
        elif _may_hold_several(scene):
            found += _of_document(scene)
        else:
            found.append(scene)
    return found


def _may_hold_several(scene: str) -> bool:
    """Local documents are looked at; of a URL the name must tell, since looking takes its time."""
    if is_url(scene):
        return without_query(scene).lower().endswith("/collection.json")
    return scene.lower().endswith((".json", ".geojson"))


def _of_folder(folder: Path) -> list[str]:
    rasters = sorted(
        str(path)
        for path in folder.iterdir()
        if path.suffix.lower() in SCENE_SUFFIXES
        and not path.name.startswith(".")
        and (path.is_file() or path.suffix.lower() == ".zarr")
        and not path.stem.endswith(MADE)
    )
    if not rasters:
        raise SourceError(
            f"{folder}: a folder without scenes; they are looked for by their suffix "
            f"({', '.join(SCENE_SUFFIXES)})"
        )
    return rasters


def _of_document(href: str) -> list[str]:
    from nirgeo.stac.document import Document, objects_of, read_document, text_of

    document: Document = read_document(href)
    kind = text_of(document.content, "type")
    if kind == "FeatureCollection":
        features = objects_of(document.content, "features")
        if len(features) < 2:
            return [href]
        names = [text_of(feature, "id") or "" for feature in features]
        if "" in names or len(set(names)) < len(names):
            raise SourceError(
                f"{href}: items without an id, or two of one; save each in a file of its own"
            )
        return [f"{href}#{name}" for name in names]
    if kind == "Collection":
        linked = list(_linked(document.content, document.href))
        if not linked:
            raise SourceError(
                f"{href}: a STAC collection that links to no items; name its items, or save a "
                "search of them"
            )
        return linked
    return [href]


def _linked(content: dict[str, Any], base: str) -> Iterator[str]:
    from nirgeo.stac.document import resolve
    from nirgeo.stac.item import links_of

    for relation, href in links_of(content):
        if relation == "item":
            yield resolve(href, base)
