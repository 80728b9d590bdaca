"""Under which licence the data of an item are: its own word, else its collection's."""

from __future__ import annotations

from nirgeo.errors import SourceError
from nirgeo.hrefs import is_remote, is_url
from nirgeo.stac.document import read_document, text_of
from nirgeo.stac.item import Item, links_of

# Words that send the reader to a link; STAC 1.1 has only the first.
_ELSEWHERE = ("other", "various", "proprietary")


class Licences:
    """Looks collections up, each once."""

    def __init__(self) -> None:
        self._of_collections: dict[str, str] = {}

    def of(self, item: Item) -> str:
        """An SPDX expression, or a word and a link; empty where nothing says.

        The collection of an item is asked over the network only if the item or its bands come from
        there anyway.
        """
        own = _licence(item.text("license"), item.links)
        if own:
            return own
        reference = item.link("collection")
        if reference is None:
            return ""
        try:
            href = item.resolve(reference)
        except SourceError:
            return ""
        local = not is_url(item.href) and not any(
            isinstance(band.reference, str) and is_remote(band.reference) for band in item.bands
        )
        if is_remote(href) and (local or not is_url(href)):
            return ""
        if href not in self._of_collections:
            self._of_collections[href] = _licence_of_collection(href)
        return self._of_collections[href]


def _licence_of_collection(href: str) -> str:
    try:
        content = read_document(href).content
    except SourceError:
        return ""
    return _licence(text_of(content, "license") or "", links_of(content))


def _licence(word: str, links: tuple[tuple[str, object], ...]) -> str:
    if word not in _ELSEWHERE:
        return word
    text = next((h for rel, h in links if rel == "license" and isinstance(h, str)), None)
    return word if text is None else f"{word}: {text}"
