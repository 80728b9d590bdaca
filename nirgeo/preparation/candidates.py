"""Scenes before anybody has looked at them: files of a folder, items of STAC catalogues.

What each says of itself, in its name or in its item, goes into the index unless somebody knows
better.
"""

from __future__ import annotations

import hashlib
import re
import unicodedata
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from nirgeo.errors import BandError, TrainingError
from nirgeo.hrefs import SCENE_SUFFIXES, is_url, public
from nirgeo.opening import open_source
from nirgeo.preparation.places import Footprint
from nirgeo.source import RasterSource
from nirgeo.stac.item import Item
from nirgeo.stac.licence import Licences
from nirgeo.stac.scene import open_item
from nirgeo.tables import first_few, name_here, read_rows

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


def read_table(path: Path, folder: Path | None = None) -> dict[str, dict[str, str]]:
    """A CSV with a column ``file`` and any of group, date, source, level and licence, by file.

    ``folder`` : where the files lie, if not all are items of a catalogue

    Raises
    ------
    TrainingError : it can't be read, or has no column ``file``
    """
    rows = read_rows(path, ("file",), called=f"--index {path}", error=TrainingError)
    if folder is None:
        return {row["file"]: row for row in rows}
    return {name_here(row["file"], folder): row for row in rows}


def table_notes(table: Mapping[str, Mapping[str, str]], files: Sequence[str]) -> list[str]:
    """What a user should hear of a table: how many scenes it has no line for, and the first.

    Raises
    ------
    TrainingError : it has a line for none
    """
    missing = [file for file in files if file not in table]
    if not table or not missing:
        return []
    if len(missing) == len(files):
        raise TrainingError(
            f"--index has a line for none of {len(files)} scenes: it names {first_few(table)}, and "
            f"there are {first_few(files)}; its column file is relative to the folder of scenes, "
            "or the identifier of an item"
        )
    return [f"{len(missing)} of {len(files)} scenes have no line in --index: {first_few(missing)}"]


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
                open=partial(_open_described, path, roles),
                stem=file.with_suffix("").as_posix(),
                known={"date": _date(file.as_posix())},
                level_text=file.as_posix(),
                folder=str(path).removesuffix(file.as_posix()),
            )
        )
    return candidates


def _open_described(path: Path, roles: Mapping[str, str] | None) -> RasterSource:
    """A scene by what its file says of its bands; by ``roles`` where that does not name all."""
    if roles is None:
        return open_source(path)
    try:
        source = open_source(path)
        if set(roles) <= set(dict(source.roles)):
            return source
    except BandError:
        pass
    return open_source(path, roles=roles)


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
    """A name for every scene that is plain, unique, and its own whatever other scenes there are.

    Only of scenes that are called alike up to the suffix the later ones are numbered.
    """
    found: list[tuple[Candidate, str]] = []
    taken: set[str] = set()
    for candidate in candidates:
        plain = _plain_name(candidate.stem)
        name, number = plain, 1
        while name in taken:
            number += 1
            name = f"{plain}-{number}"
        taken.add(name)
        found.append((candidate, name))
    return found


def _plain_name(stem: str) -> str:
    """Letters and figures of any script; a hash tells apart what the rest did.

    In one form of Unicode, as systems differ in how they write a letter with an accent.
    """
    stem = unicodedata.normalize("NFC", stem)
    kept = (c if c in "._-" or unicodedata.category(c)[0] in "LMN" else " " for c in stem)
    # In bytes, as file systems count them.
    name = re.sub(" +", "_", "".join(kept)).encode()[:150].decode(errors="ignore")
    if name == stem:
        return name
    return f"{name}-{hashlib.sha256(stem.encode(errors='surrogatepass')).hexdigest()[:8]}"


def _date(file: str) -> str:
    """The first date in a file's name, then in the folders above it."""
    for part in reversed(Path(file).parts):
        match = _DATE.search(part)
        if match is not None:
            return "-".join(match.groups())
    return ""
