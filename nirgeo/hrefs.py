"""Names of rasters and documents: which are scenes, which are remote, and what may be shown.

A signed URL carries a secret that lets whoever holds it read the file for an hour. It must not get
into messages, and it must not make the same file look like another one.
"""

from __future__ import annotations

import os
import re
from pathlib import Path
from urllib.parse import quote, unquote, urlsplit

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

# Parameters of signatures: AWS (version 4 and 2), Google, CloudFront, and plain access tokens and
# keys. Whole names only: page_token and keyword say what is asked for.
_SIGNATURE = re.compile(
    r"x-amz-[^=&\s]*|x-goog-[^=&\s]*|sig|signature|expires|policy|key-pair-id|awsaccesskeyid|googleaccessid"
    r"|(?:access|auth|sas|security|session)?[-_]?token|auth|jwt|hmac"
    r"|key|api[-_]?key|(?:ocp-apim-)?subscription-key",
    re.IGNORECASE,
)
# One of them in the middle of a text, percent-encoded or not.
_SIGNED = re.compile(
    rf"((?:[?&]|%3F|%26)(?:{_SIGNATURE.pattern})(?:=|%3D))[^\s&'\",;)#]+", re.IGNORECASE
)
# What GDAL sends along with a request, in its form with options first.
_SENT = re.compile(r"userpwd|proxyuserpwd|cookie|header\..*", re.IGNORECASE)
# Name and password, before the last @ in front of the host's end.
_USERINFO = re.compile(r"(?<=://)[^/?#]*@")
_PASSWORD = re.compile(r"(?<=://)[^\s/?#@'\"]*@")  # in the middle of a text
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
    remote = has_scheme(path) and not path.startswith("file://")
    return remote or path.startswith(_REMOTE_PREFIXES)


def has_scheme(path: str) -> bool:
    """Whether a URL is in it; ``C://scene.tif`` is a file of Windows."""
    return "://" in path and not re.match(r"[A-Za-z]://", path)


def is_url(path: str) -> bool:
    """Whether this is a URL that a web server answers."""
    return path.lower().startswith(("http://", "https://"))


def without_query(path: str) -> str:
    """The part of a name that says which file it is; a local name may hold any character."""
    return path.partition("?")[0] if is_remote(path) and not _options_first(path) else path


def _options_first(path: str) -> bool:
    """Whether this is GDAL's form with the URL, mostly percent-encoded, among the parameters."""
    return path.startswith(("/vsicurl?", "/vsicurl_streaming?"))


def _parameter(pair: str) -> str:
    return unquote(pair.partition("=")[0]).lower()


def _url_within(path: str) -> str:
    """The URL that one of GDAL's names for web servers holds; the name itself if it is none."""
    if _options_first(path):
        pairs = path.partition("?")[2].split("&")
        urls = [pair.partition("=")[2] for pair in pairs if _parameter(pair) == "url"]
        return unquote(urls[-1]) if urls else path
    kind, _, url = path.lstrip("/").partition("/")
    return url if path.startswith("/vsicurl") and kind.startswith("vsicurl") and url else path


def public(path: str) -> str:
    """A name without password and signature; the other parameters of a URL say what it names."""
    if not is_remote(path):
        return path
    base, mark, rest = path.partition("?")
    base = _USERINFO.sub("", base)
    if not mark:
        return base
    query, mark, fragment = rest.partition("#")
    pairs = query.split("&")
    dropped = _SHARED_ACCESS if "sig" in map(_parameter, pairs) else frozenset[str]()
    options = _options_first(path)
    kept = []
    for pair in pairs:
        name = _parameter(pair)
        if _SIGNATURE.fullmatch(name) or name in dropped or (options and _SENT.fullmatch(name)):
            continue
        kept.append(_public_url(pair) if options else pair)  # a proxy is one too
    return base + ("?" + "&".join(kept) if kept else "") + mark + fragment


def _public_url(pair: str) -> str:
    """``name=URL`` of GDAL's form with options first, encoded only if it was."""
    name, _, value = pair.partition("=")
    url = unquote(value)
    shown = public(url)
    if shown == url:
        return pair
    return f"{name}={shown if '://' in value else quote(shown, safe='')}"


def conceal(text: object, path: str) -> str:
    """A message that may name ``path``, or a part of it, without password and signature.

    Nor are there signatures of other files, such as the sources of a VRT.
    """
    shown = str(text)
    if not is_remote(path):
        return path.join(map(unsigned, shown.split(path or None)))  # a file may be called so
    url = _url_within(path)
    for name in (path, url):
        shown = shown.replace(name, public(name))
    for name in (path, url):  # GDAL calls a file by what comes after its last slash
        last, plain = (re.split(r"[/\\]", each)[-1] for each in (name, public(name)))
        if last and last != plain:  # perhaps two letters of a signature, which are in any word
            parts = re.split(rf"(?<!\w){re.escape(last)}(?!\w)", shown)
            shown = plain.join(parts)
    userinfo = _USERINFO.search(url)
    if userinfo is not None:  # http.client takes a password for the host's port, and says so
        for secret in (userinfo[0], userinfo[0].partition(":")[2]):
            shown = shown.replace(secret, "") if secret else shown
    return unsigned(shown)


def unsigned(text: str) -> str:
    """Any text without the signatures and passwords of URLs in it."""
    return _PASSWORD.sub("", _SIGNED.sub(r"\1…", text))


def item_in_document(path: str) -> tuple[str, str | None]:
    """``search.json#ID`` as document and identifier; None for a path that names no item that way.

    A local file or folder may have a ``#`` in its name: what exists is one.
    """
    if os.path.exists(path):
        return path, None
    parts = path.split("#")
    splits = [("#".join(parts[:k]), "#".join(parts[k:])) for k in range(1, len(parts))]
    named = [
        (document, wanted)
        for document, wanted in splits
        if wanted and document.lower().endswith((".json", ".geojson"))
    ]
    there = [split for split in named if os.path.exists(split[0])]
    found = there or named
    return found[0] if found else (path, None)


def absolute(path: str) -> str:
    """A local path as it is called from everywhere. Links stay: they have a right to be followed
    when the file is opened, not before."""
    named = Path(path)  # the current folder may be gone, and then only a relative one needs it
    return str(named if named.is_absolute() else Path.cwd() / named)


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
    if _options_first(path) and (url := _url_within(path)) != path:
        return stem(url)
    plain = without_query(path).rstrip("/")
    if not is_url(plain):
        return Path(plain).stem
    parent, _, name = urlsplit(plain).path.rpartition("/")
    if parent.endswith("/items") and not name.lower().endswith((".json", ".geojson")):
        return name
    return Path(name).stem
