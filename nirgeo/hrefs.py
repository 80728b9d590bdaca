"""Names of rasters and documents: which are scenes, which are remote, and what may be shown.

A signed URL carries a secret that lets whoever holds it read the file for an hour. It must not get
into messages, and it must not make the same file look like another one.
"""

from __future__ import annotations

import os
import re
from pathlib import Path
from urllib.parse import urlsplit

SCENE_SUFFIXES = (".tif", ".tiff", ".gtif", ".jp2", ".vrt", ".img")
"""Files of a folder that are taken for scenes; in lower case."""

_REMOTE_PREFIXES = (
    "/vsicurl",
    "/vsis3",
    "/vsigs",
    "/vsiaz",
    "/vsiadls",
    "/vsioss",
    "/vsiswift",
    "/vsiwebhdfs",
    "/vsihdfs",
)

# Parameters of signatures: AWS (version 4 and 2), Google, CloudFront, and plain access tokens.
_SIGNATURE = re.compile(
    r"x-amz-.*|x-goog-.*|sig|signature|expires|policy|key-pair-id|awsaccesskeyid|googleaccessid"
    r"|token|access_token|api_key|apikey",
    re.IGNORECASE,
)
# Azure's shared access signatures have names too short to be taken for one unless "sig" is there.
_SHARED_ACCESS = frozenset(
    (
        *("sv", "ss", "srt", "sr", "sp", "st", "se", "spr", "sip", "si", "sdd", "scid"),
        *("skoid", "sktid", "skt", "ske", "sks", "skv", "saoid", "suoid"),
        *("rscc", "rscd", "rsce", "rscl", "rsct"),
    )
)


def is_remote(path: str) -> bool:
    """Whether GDAL reads this path over the network."""
    return ("://" in path and not path.startswith("file://")) or path.startswith(_REMOTE_PREFIXES)


def is_url(path: str) -> bool:
    """Whether this is a URL that a web server answers."""
    return path.lower().startswith(("http://", "https://"))


def without_query(path: str) -> str:
    """The part of a name that says which file it is; a local name may hold any character."""
    options_first = path.startswith("/vsicurl?")  # GDAL's form with the URL among the parameters
    return path.partition("?")[0] if is_remote(path) and not options_first else path


def public(path: str) -> str:
    """A name without its signature; other parameters of a URL say what it names, and stay."""
    base, mark, rest = path.partition("?")
    if not mark or not is_remote(path):
        return path
    query, mark, fragment = rest.partition("#")
    pairs = query.split("&")
    names = {pair.partition("=")[0].lower() for pair in pairs}
    dropped = _SHARED_ACCESS if "sig" in names else frozenset[str]()
    kept = [
        pair
        for pair in pairs
        if not _SIGNATURE.fullmatch(name := pair.partition("=")[0]) and name.lower() not in dropped
    ]
    return base + ("?" + "&".join(kept) if kept else "") + mark + fragment


def conceal(text: object, path: str) -> str:
    """A message that may name ``path``, without its signature."""
    return str(text).replace(path, public(path))


def item_in_document(path: str) -> tuple[str, str | None]:
    """``search.json#ID`` as document and identifier; None for a path that names no item that way.

    A local file may have a ``#`` in its name: what exists is one.
    """
    document, mark, wanted = path.partition("#")
    named = document.lower().endswith((".json", ".geojson"))
    if not mark or not wanted or not named or os.path.exists(path):
        return path, None
    return document, wanted


def absolute(path: str) -> str:
    """A local path as it is called from everywhere. Links stay: they have a right to be followed
    when the file is opened, not before."""
    return str(Path.cwd() / path)


def absolute_scene(path: str) -> str:
    """The same for whatever :func:`nirgeo.open_scene` opens: only files that are there change."""
    document, _ = item_in_document(path)
    return absolute(path) if os.path.exists(document) else path


def stem(path: str) -> str:
    """The last part of a name, without suffix: what a result of it is called.

    An item of an API is called by its identifier, which may hold any number of dots.
    """
    _, wanted = item_in_document(path)
    if wanted is not None:
        return re.sub(r"[^\w.-]+", "_", wanted)
    plain = without_query(path).rstrip("/")
    if not is_url(plain):
        return Path(plain).stem
    parent, _, name = urlsplit(plain).path.rpartition("/")
    if parent.endswith("/items") and not name.lower().endswith((".json", ".geojson")):
        return name
    return Path(name).stem
