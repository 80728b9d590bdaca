"""Scenes before anybody has looked at them: files of a folder, items of STAC catalogues.

What each says of itself, in its name or in its item, goes into the index unless somebody knows
better.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from nirgeo.errors import TrainingError
from nirgeo.hrefs import SCENE_SUFFIXES, is_url, public
from nirgeo.preparation.places import Footprint
from nirgeo.source import RasterSource, open_source
from nirgeo.stac.item import Item
from nirgeo.stac.licence import Licences
from nirgeo.stac.scene import open_item

_DATE = re.compile(r"(?<!\d)((?:19|20)\d{2})[-_.]?(0[1-9]|1[0-2])[-_.]?(0[1-9]|[12]\d|3[01])(?!\d)")


@dataclass(frozen=True)
class Facts:
    """What is said about scenes from outside; a line of a table wins over what holds for all."""

    source: str = ""
    licence: str = ""
    level: str = ""
    table: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    """By file, relative to the folder, or by the identifier of a STAC item."""

    def get(self, file: str, column: str) -> str:
        return self.table.get(file, {}).get(column, "") or str(getattr(self, column, ""))


def read_table(path: Path) -> dict[str, dict[str, str]]:
    """A CSV with a column ``file`` and any of group, date, source, level and licence.

    Raises
    ------
    TrainingError : it can't be read, or has no column ``file``
    """
    try:
        with open(path, newline="", encoding="utf-8") as lines:
            rows = list(csv.DictReader(lines))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise TrainingError(f"--index {path} can't be read ({error})") from error
    if rows and "file" not in rows[0]:
        raise TrainingError(f"--index {path} has no column 'file'")
    return {row["file"]: {k: v or "" for k, v in row.items() if k} for row in rows}


@dataclass(frozen=True)
class Candidate:
    """A scene that nobody has looked at yet: how it is called, and how it is opened."""

    file: str
    open: Callable[[], RasterSource]
    stem: str = ""
    """What its tiles are called after."""
    known: Mapping[str, str] = field(default_factory=dict)
    """Columns of the index that it states itself."""
    level_text: str = ""
    """What may name its processing level."""
    item: Item | None = None
    """Its STAC item, if it comes from one."""
    folder: str = ""
    """Where it lies on this machine, which means nothing elsewhere."""

    def without_folder(self, message: str) -> str:
        """A message that names the scene's files as anybody may know them."""
        return message.replace(self.folder, "") if len(self.folder) > 1 else message

    def origin(self) -> dict[str, str]:
        """The URL of its STAC item, for the report."""
        if self.item is None or not is_url(self.item.href):
            return {}
        return {"item": public(self.item.href)}


def from_folder(folder: Path, roles: Mapping[str, str] | None) -> list[Candidate]:
    """Every raster under a folder, by name; ``roles`` are bands that an option names.

    Raises
    ------
    TrainingError : there is none
    """
    files = sorted(
        p for p in folder.rglob("*") if p.suffix.lower() in SCENE_SUFFIXES and p.is_file()
    )
    if not files:
        raise TrainingError(f"no scene in {folder} ({', '.join(sorted(SCENE_SUFFIXES))})")
    candidates = []
    for path in files:
        file = path.relative_to(folder)
        candidates.append(
            Candidate(
                file=file.as_posix(),
                open=partial(open_source, path, roles=roles),
                stem=file.with_suffix("").as_posix(),
                known={"date": _date(file.as_posix())},
                level_text=file.as_posix(),
                folder=str(path).removesuffix(file.as_posix()),
            )
        )
    return candidates


def from_items(
    items: Sequence[Item], roles: Mapping[str, str] | None, scale: str | None, facts: Facts
) -> list[Candidate]:
    """Scenes of STAC items, with what these and their collections say for the index."""
    licences = Licences()
    candidates = []
    for item in items:
        taken = item.acquisition()
        known = {
            "date": "" if taken is None else taken.start.date().isoformat(),
            "source": item.collection,
            # Whoever states a licence for all has no need to ask every collection.
            "licence": facts.get(item.id, "licence") or licences.of(item),
        }
        if item.bbox is not None:
            lon, lat = Footprint.of(*item.bbox).centre
            known |= {"lon": f"{lon:.5f}", "lat": f"{lat:.5f}"}
        candidates.append(
            Candidate(
                file=item.id,
                open=partial(open_item, item, roles=roles, scale=scale),
                stem=item.id,
                known=known,
                level_text=item.product,
                item=item,
                folder="" if is_url(item.href) else f"{Path(item.href).parent}/",
            )
        )
    return candidates


def named(candidates: Sequence[Candidate]) -> list[tuple[Candidate, str]]:
    """A name for every scene that is plain, unique, and does not change with the others' order."""
    found: list[tuple[Candidate, str]] = []
    taken: set[str] = set()
    for candidate in candidates:
        plain = re.sub(r"[^A-Za-z0-9.-]+", "_", candidate.stem)[:150]
        name, number = plain, 1
        while name in taken:
            number += 1
            name = f"{plain}-{number}"
        taken.add(name)
        found.append((candidate, name))
    return found


def _date(file: str) -> str:
    """The first date in a file's name, then in the folders above it."""
    for part in reversed(Path(file).parts):
        match = _DATE.search(part)
        if match is not None:
            return "-".join(match.groups())
    return ""
