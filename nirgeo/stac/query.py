"""Items by the dozen: from files, saved searches, and catalogues that can be searched.

The same conditions hold wherever items come from. What an item does not say of itself is not held
against it.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

from nirgeo._version import __version__
from nirgeo.acquisition import parse_time, rfc3339
from nirgeo.errors import OptionError, SourceError
from nirgeo.hrefs import conceal, is_url, public
from nirgeo.stac.document import TIMEOUT, Document, objects_of, read_document, text_of
from nirgeo.stac.item import Item, parse_item, self_href

Box = tuple[float, float, float, float]

MAX_LOOKED_AT = 10_000
"""Items of one search, for a server that does not know some condition and sends everything."""


@dataclass(frozen=True)
class Query:
    """Which items are wanted.

    ``bbox`` is west, south, east, north in degrees. ``interval`` is a time, a day, or START/END,
    with ``..`` for an open end. ``max_cloud_cover`` is in per cent of a scene. ``limit`` counts
    items in all.

    Raises
    ------
    OptionError : one of these can't be used
    """

    collections: tuple[str, ...] = ()
    bbox: Box | None = None
    interval: str | None = None
    max_cloud_cover: float | None = None
    limit: int = 100

    def __post_init__(self) -> None:
        if self.bbox is not None:
            west, south, east, north = self.bbox
            if not (-180 <= west < east <= 180 and -90 <= south < north <= 90):
                raise OptionError(
                    f"--bbox {west:g} {south:g} {east:g} {north:g}: need west < east and south < "
                    "north, in degrees; an area across 180° takes two runs"
                )
        if self.max_cloud_cover is not None and not 0 <= self.max_cloud_cover <= 100:
            raise OptionError(
                f"--max-cloud-cover {self.max_cloud_cover:g}: need per cent, 0 to 100"
            )
        if self.limit < 1:
            raise OptionError(f"--limit {self.limit}: need at least one")
        self.times()

    def times(self) -> tuple[datetime | None, datetime | None]:
        """First and last moment; None for an open end."""
        if self.interval is None:
            return None, None
        ends = self.interval.split("/")
        found = [None if end.strip() in ("", "..") else parse_time(end) for end in ends]
        wrong = any(
            time is None and end.strip() not in ("", "..")
            for end, time in zip(ends, found, strict=True)
        )
        first, last = found[0], found[-1]
        if wrong or len(ends) > 2 or (len(ends) == 1 and first is None):
            raise OptionError(
                f"--datetime {self.interval}: need a time, a day, or START/END, as in "
                "2024-05-01/2024-06-30"
            )
        start, end = first and first[0], last and last[1]
        if start is not None and end is not None and end < start:
            raise OptionError(f"--datetime {self.interval}: ends before it starts")
        return start, end

    def accepts(self, item: Item) -> bool:
        """Whether an item meets every condition, as far as it says."""
        if self.collections and item.collection and item.collection not in self.collections:
            return False
        if self.bbox is not None and item.bbox is not None and not _touch(self.bbox, item.bbox):
            return False
        cover = item.properties.get("eo:cloud_cover")
        if (
            self.max_cloud_cover is not None
            and isinstance(cover, (int, float))
            and cover > self.max_cloud_cover
        ):
            return False
        start, end = self.times()
        taken = item.acquisition()
        return taken is None or not (
            (start is not None and taken.end < start) or (end is not None and taken.start > end)
        )


def _touch(wanted: Box, box: Box) -> bool:
    west, south, east, north = box
    spans = [(west, east)] if west <= east else [(west, 180.0), (-180.0, east)]
    across = any(w < wanted[2] and e > wanted[0] for w, e in spans)
    return across and south < wanted[3] and north > wanted[1]


@dataclass
class Found:
    """Items that meet a query, members of collections that are none, and remarks."""

    items: list[Item] = field(default_factory=list)
    rejected: dict[str, str] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)


def find_items(sources: Sequence[str], query: Query) -> Found:
    """Look for items in each of ``sources``: an item, an ItemCollection, or a searchable catalogue.

    Parameters
    ----------
    sources : local files or URLs

    Raises
    ------
    SourceError : one can't be read, or holds something else; or a search fails
    OptionError : a catalogue is to be searched, and pystac-client is not installed
    """
    found = Found()
    seen: set[tuple[str, ...]] = set()
    for source in sources:
        document = read_document(source)
        for number, member in enumerate(_members(document, query, found), start=1):
            if number > MAX_LOOKED_AT:
                found.notes.append(f"{public(source)}: gave up after {MAX_LOOKED_AT} items")
                break
            try:
                item = parse_item(member)
            except SourceError as error:
                if member is document:
                    raise
                where = public(source) if is_url(source) else Path(source).name
                name = text_of(member.content, "id") or f"{where}, item {number}"
                found.rejected[name] = str(error)
                continue
            # Ids are unique within a collection; without one, items of two folders may share one.
            key = (item.collection, item.id, "" if item.collection else member.href)
            if key in seen or not query.accepts(item):
                continue
            if len(found.items) == query.limit:
                found.notes.append(f"more than {query.limit} items; see --limit")
                return found
            seen.add(key)
            found.items.append(item)
    return found


def _members(document: Document, query: Query, found: Found) -> Iterator[Document]:
    content = document.content
    kind = text_of(content, "type")
    if kind == "FeatureCollection":
        if any(link.get("rel") == "next" for link in objects_of(content, "links")):
            found.notes.append(
                f"{public(document.href)}: one page of several; name the catalogue and "
                "--collection to search all of it"
            )
        for feature in objects_of(content, "features"):
            yield Document(feature, self_href(feature, document))
    elif kind == "Catalog" or "conformsTo" in content:
        yield from _search(document, query)
    elif kind == "Collection":
        raise SourceError(
            f"{public(document.href)}: a STAC collection; name its catalogue, and the collection "
            f"with --collection {text_of(content, 'id') or 'ID'}"
        )
    else:
        yield document


def _search(catalogue: Document, query: Query) -> Iterator[Document]:
    """The results of an API, as far as it knows the conditions."""
    url = catalogue.href
    if not is_url(url) or not objects_of(catalogue.content, "links"):
        raise SourceError(
            f"{public(url)}: a catalogue of files, which can't be searched; name its items"
        )
    try:
        from pystac_client import Client
        from pystac_client.exceptions import APIError, ParametersError
        from pystac_client.warnings import PystacClientWarning
    except ImportError as error:
        raise OptionError(
            f"--stac {public(url)}: searching a catalogue needs pip install 'nirgeo[stac]'"
        ) from error
    conditions: dict[str, Any] = {}
    if query.collections:
        conditions["collections"] = list(query.collections)
    if query.bbox is not None:
        conditions["bbox"] = list(query.bbox)
    if query.interval is not None:
        conditions["datetime"] = "/".join(
            ".." if end is None else rfc3339(end) for end in query.times()
        )
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", PystacClientWarning)
            client = Client.open(
                url, timeout=TIMEOUT, headers={"User-Agent": f"nirgeo/{__version__}"}
            )
            if query.max_cloud_cover is not None and client.conforms_to("QUERY"):
                conditions["query"] = {"eo:cloud_cover": {"lte": query.max_cloud_cover}}
            search = client.search(limit=min(query.limit, 100), max_items=None, **conditions)
        for feature in search.items_as_dicts():
            if isinstance(feature, dict):
                yield Document(feature, self_href(feature, catalogue))
    except PystacClientWarning as error:  # raised where an API offers no search
        raise SourceError(
            f"{public(url)}: a catalogue that can't be searched ({error}); name its items"
        ) from error
    except (
        *(APIError, ParametersError, OSError, NotImplementedError),
        *(ValueError, KeyError, TypeError, AttributeError),  # answers of no known form
    ) as error:
        text = " ".join(conceal(error, url).split())[:300]
        raise SourceError(f"{public(url)}: the search failed ({text})") from error
