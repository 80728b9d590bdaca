"""A JSON document from a file or a web server, written by somebody one need not trust.

Its size is bounded, its types are checked where they are used, and what it refers to is limited: a
document from the network names nothing on this machine, and none names what only GDAL understands.
"""

from __future__ import annotations

import json
import math
import os
import re
import time
import urllib.error
import urllib.request
from dataclasses import dataclass
from http.client import HTTPException
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urljoin, urlsplit
from urllib.request import url2pathname

from nirgeo._version import __version__
from nirgeo.errors import SourceError
from nirgeo.hrefs import conceal, has_scheme, is_url, public, without_query

MAX_BYTES = 64 * 2**20
"""An item takes some ten thousand bytes; a saved search of a thousand items, some ten million."""

TIMEOUT = 30.0
DEADLINE = 120.0
"""Seconds without an answer, and for the whole of it."""

_HREF_LENGTH = 8192
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
_STORES = {"s3": "/vsis3/", "gs": "/vsigs/"}

JSON_SUFFIXES = (".json", ".geojson")


@dataclass(frozen=True)
class Document:
    """A JSON object and where it was read: a URL, or an absolute local path."""

    content: dict[str, Any]
    href: str

    @property
    def remote(self) -> bool:
        return is_url(self.href)


def read_document(href: str | os.PathLike[str]) -> Document:
    """Read a JSON object.

    Parameters
    ----------
    href : a local path, or a ``file://``, ``http://`` or ``https://`` URL

    Raises
    ------
    SourceError : not there, not reachable, too large, or no JSON object
    """
    text = os.fspath(href)
    if is_url(text):
        document = _fetch(text, anything=True)
        assert document is not None
        return document
    if has_scheme(text) and not text.startswith("file://"):
        raise SourceError(
            f"{public(text)}: STAC documents are read from files and web servers; download it first"
        )
    path = Path(_file_of_url(text) if text.startswith("file://") else text).absolute()
    try:
        with open(path, "rb") as file:
            data = file.read(MAX_BYTES + 1)
    except FileNotFoundError as error:
        raise SourceError(f"{text}: no such file") from error
    except OSError as error:
        raise SourceError(f"{text}: can't be read ({error})") from error
    return Document(_parse(data, text), str(path))


def probe_document(url: str) -> Document | None:
    """A JSON object, if that is what a web server has under this URL; None if not.

    Nothing but the head of another answer is read, and no failure is reported: whatever is there
    may be read by other means.
    """
    try:
        return _fetch(url, anything=False)
    except SourceError:
        return None


class _Redirects(urllib.request.HTTPRedirectHandler):
    """Follows to web servers only."""

    def redirect_request(
        self, req: Any, fp: Any, code: int, msg: str, headers: Any, newurl: str
    ) -> urllib.request.Request | None:
        if not is_url(newurl):
            raise SourceError(f"{public(req.full_url)}: redirects to {public(newurl)}, no web page")
        return super().redirect_request(req, fp, code, msg, headers, newurl)


def _fetch(url: str, *, anything: bool) -> Document | None:
    """GET; with ``anything`` False only what calls itself JSON."""
    opener = urllib.request.OpenerDirector()
    for handler in (
        urllib.request.ProxyHandler(),
        urllib.request.HTTPHandler(),
        urllib.request.HTTPSHandler(),
        urllib.request.HTTPDefaultErrorHandler(),
        _Redirects(),
        urllib.request.HTTPErrorProcessor(),
    ):
        opener.add_handler(handler)
    headers = {
        "Accept": "application/geo+json, application/json;q=0.9, */*;q=0.1",
        "User-Agent": f"nirgeo/{__version__}",
    }
    try:
        request = urllib.request.Request(url, headers=headers)
        with opener.open(request, timeout=TIMEOUT) as answer:
            kind = str(answer.headers.get("Content-Type", ""))
            if not anything and "json" not in kind.lower():
                return None
            data = _read_bounded(answer, url)
            return Document(_parse(data, public(url)), str(answer.url))
    except urllib.error.HTTPError as error:
        hint = "; sign its URL first" if error.code in (401, 403, 409) else ""
        raise SourceError(
            f"{public(url)}: the server answers {error.code} {error.reason}{hint}"
        ) from error
    except SourceError:
        raise
    except (OSError, HTTPException, ValueError) as error:
        raise SourceError(f"{public(url)}: can't be reached ({conceal(error, url)})") from error


def _read_bounded(answer: Any, url: str) -> bytes:
    """All of an answer, or one byte more than is allowed."""
    started, parts, size = time.monotonic(), [], 0
    while size <= MAX_BYTES:
        part = answer.read1(1 << 16)  # what has come; all of it may take its time
        if not part:
            break
        parts.append(part)
        size += len(part)
        if time.monotonic() - started > DEADLINE:
            raise SourceError(f"{public(url)}: not read after {DEADLINE:g} s; download it first")
    return b"".join(parts)


def _parse(data: bytes, name: str) -> dict[str, Any]:
    if len(data) > MAX_BYTES:
        raise SourceError(f"{name}: more than {MAX_BYTES >> 20} MiB, too large for a STAC document")
    try:
        content = json.loads(data)
    except (ValueError, RecursionError) as error:  # not UTF-8 is a ValueError too
        raise SourceError(f"{name}: not a JSON document ({error})") from error
    if not isinstance(content, dict):
        raise SourceError(f"{name}: not a JSON object")
    return content


def resolve(href: object, base: str) -> str:
    """What GDAL or :func:`read_document` opens for a reference that stands in a document.

    ``http(s)`` URLs stay as they are; ``s3://`` and ``gs://`` become GDAL's paths, read with the
    reader's own credentials. References without a scheme are relative to ``base``, where the
    document was read.

    Raises
    ------
    SourceError : no reference, or one that a document from there must not hold
    """
    if not isinstance(href, str) or not href or len(href) > _HREF_LENGTH or _CONTROL.search(href):
        raise SourceError(f"{public(base)}: {public(str(href))[:80]!r} is no reference to a file")
    shown = f"{public(base)}: {public(href)[:200]}"
    scheme = href.partition(":")[0].lower() if re.match(r"[A-Za-z][A-Za-z0-9+.-]+:", href) else ""
    if scheme in ("http", "https"):
        return href
    if scheme in _STORES:
        bucket, _, key = href.partition("://")[2].partition("/")
        if not bucket or not key or set(key.split("/")) & {".", ".."}:
            raise SourceError(f"{shown} names no object of a bucket")
        return f"{_STORES[scheme]}{bucket}/{key}"
    if scheme not in ("", "file"):
        raise SourceError(
            f"{shown}: references of this kind are not followed; http, https, s3, gs and files are"
        )
    if href.startswith("/vsi"):
        raise SourceError(
            f"{shown} is a name that only GDAL understands; such references are not followed"
        )
    if is_url(base):
        if scheme == "file":
            raise SourceError(
                f"{shown}: a document from the network must not name files of this machine"
            )
        joined = urljoin(base, href)
        if not is_url(joined):
            raise SourceError(f"{shown} is no reference to a file")
        return joined
    if href.startswith(("//", "\\\\")):
        raise SourceError(f"{shown} names a file of another machine")
    found = _local(_file_of_url(href) if scheme else href, base, literal=bool(scheme))
    if found.startswith("/vsi"):
        raise SourceError(
            f"{shown} is a name that only GDAL understands; such references are not followed"
        )
    return found


def _local(path: str, base: str, *, literal: bool) -> str:
    """A path relative to a local document: percent-encoded, as references are, or as it stands.

    Both may be there, ``a b.tif`` and ``a%20b.tif``: nirgeo's own items call the latter
    ``a%2520b.tif``.
    """
    folder = Path(base).parent
    plain = os.path.normpath(folder / path)
    decoded = os.path.normpath(folder / unquote(path))
    return decoded if not literal and os.path.exists(decoded) else plain


def _file_of_url(url: str) -> str:
    parts = urlsplit(url)
    if parts.netloc not in ("", "localhost"):
        raise SourceError(f"{url}: names a file of another machine")
    try:
        return url2pathname(parts.path)  # of Windows, /C:/x.tif is C:\x.tif
    except (OSError, IndexError) as error:
        raise SourceError(f"{url}: names no file") from error


def has_json_suffix(path: str) -> bool:
    return without_query(path).lower().endswith(JSON_SUFFIXES)


# --- fields -------------------------------------------------------------------------------------


def text_of(fields: dict[str, Any], name: str) -> str | None:
    """A string field; None if it is missing, null or of another type."""
    value = fields.get(name)
    return value if isinstance(value, str) else None


def number_of(fields: dict[str, Any], name: str) -> float | None:
    """A finite number; None if it is missing or null.

    Raises
    ------
    SourceError : it is something else; what comes of it would be wrong without anybody noticing
    """
    value = fields.get(name)
    if value is None:
        return None
    try:
        if isinstance(value, bool) or not isinstance(value, (int, float)):
            raise ValueError
        number = float(value)
        if not math.isfinite(number):
            raise ValueError
    except (ValueError, OverflowError):
        raise SourceError(f"{name} is {str(value)[:40]!r}, not a number") from None
    return number


def objects_of(fields: dict[str, Any], name: str) -> list[dict[str, Any]]:
    """A list of objects, where the field is one; what is no object in it becomes an empty one."""
    value = fields.get(name)
    return [v if isinstance(v, dict) else {} for v in value] if isinstance(value, list) else []


def object_of(fields: dict[str, Any], name: str) -> dict[str, Any]:
    """An object; an empty one if the field is missing or of another type."""
    value = fields.get(name)
    return value if isinstance(value, dict) else {}
