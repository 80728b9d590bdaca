"""STAC items with small scenes behind them, and a web server that hands them out."""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import numpy as np
import rasterio
from evaluation_scenes import ground
from helpers import NORTH_UP_10M, write_raster

COG = "image/tiff; application=geotiff; profile=cloud-optimized"
ROLES = ("red", "green", "blue", "nir")
SENTINEL = {"red": "B04", "green": "B03", "blue": "B02", "nir": "B08"}
GAIN, OFFSET = 1e-4, -0.1


def band(href: str, name: str, common_name: str, *, version: str = "1.0", **raster: Any) -> Any:
    """An asset of one band, as STAC 1.0 or 1.1 writes it."""
    asset: dict[str, Any] = {"href": href, "type": COG, "roles": ["data", "reflectance"]}
    if version == "1.0":
        eo = {"name": name, "common_name": common_name} if common_name else {"name": name}
        return asset | {"eo:bands": [eo]} | ({"raster:bands": [raster]} if raster else {})
    prefixed = {
        k if k in ("nodata", "unit", "data_type") else f"raster:{k}": v for k, v in raster.items()
    }
    return asset | prefixed | {"bands": [{"name": name, "eo:common_name": common_name}]}


def item(assets: Mapping[str, Any], **fields: Any) -> dict[str, Any]:
    """A STAC item; ``fields`` replace its own, and ``properties`` are added."""
    properties = {"datetime": "2024-05-08T10:15:59Z"} | fields.pop("properties", {})
    return {
        "type": "Feature",
        "stac_version": "1.0.0",
        "id": "S2B_32TNS_20240508_0_L2A",
        "collection": "sentinel-2-c1-l2a",
        "geometry": None,
        "links": [],
        "properties": properties,
        "assets": dict(assets),
    } | fields


def scene_counts(height: int = 140, width: int = 200, seed: int = 3) -> dict[str, Any]:
    """Digital numbers of each role for a gain of 0.0001 and an offset of −0.1; some are nodata."""
    values = np.rint((ground(height, width, seed=seed) - OFFSET) / GAIN).astype(np.uint16)
    values[:, :6, :9] = 0
    return dict(zip(ROLES, values, strict=True))


def write_scene_item(
    folder: Path,
    *,
    counts: Mapping[str, Any] | None = None,
    version: str = "1.0",
    raster: Mapping[str, Any] | None = None,
    east_km: float = 0,
    nodata: float | None = 0,
    **fields: Any,
) -> Path:
    """A Sentinel-2-like item with four GeoTIFFs beside it; returns the path of the item."""
    place = rasterio.Affine.translation(east_km * 1000, 0) @ NORTH_UP_10M
    stated = {"nodata": 0, "scale": GAIN, "offset": OFFSET} if raster is None else dict(raster)
    assets = {}
    for role, values in (counts or scene_counts()).items():
        name = SENTINEL[role]
        write_raster(folder / f"{name}.tif", values, transform=place, nodata=nodata)
        assets[role] = band(f"./{name}.tif", name, role, version=version, **stated)
    path = folder / "item.json"
    path.write_text(json.dumps(item(assets, **fields)), encoding="utf-8")
    return path


class Server:
    """Files of a folder, byte ranges included, and answers of one's own; keeps what was asked."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.asked: list[tuple[str, str]] = []
        self.sent = 0
        self.answers: dict[str, Callable[[Any], tuple[int, dict[str, str], bytes]]] = {}
        self.url = ""

    def answer(self, path: str, body: Any, status: int = 200, **headers: str) -> None:
        """Answer requests for ``path`` with this; what is no bytes is sent as JSON."""
        kind = {} if isinstance(body, bytes) else {"Content-Type": "application/geo+json"}
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        self.answers[path] = lambda _: (status, kind | headers, data)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_: Any) -> None:
        pass

    def _serve(self) -> None:
        owner: Server = self.server.owner  # type: ignore[attr-defined]
        parts = urlsplit(self.path)
        owner.asked.append((self.command, self.path))
        size = int(self.headers.get("Content-Length") or 0)
        self.posted = json.loads(self.rfile.read(size)) if size else {}
        self.query = parse_qs(parts.query)
        if parts.path in owner.answers:
            status, headers, body = owner.answers[parts.path](self)
        else:
            status, headers, body = self._file(owner.root / parts.path.lstrip("/"))
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            owner.sent += len(body)
            self.wfile.write(body)

    def _file(self, path: Path) -> tuple[int, dict[str, str], bytes]:
        if not path.is_file():
            return 404, {}, b""
        data = path.read_bytes()
        kind = "application/json" if path.suffix == ".json" else "image/tiff"
        headers = {"Accept-Ranges": "bytes", "Content-Type": kind}
        asked = re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range") or "")
        if asked is None:
            return 200, headers, data
        first, last = int(asked[1]), min(int(asked[2] or len(data)), len(data) - 1)
        if first > last:
            return 416, headers, b""
        headers["Content-Range"] = f"bytes {first}-{last}/{len(data)}"
        return 206, headers, data[first : last + 1]

    do_GET = do_HEAD = do_POST = _serve  # noqa: N815


@contextmanager
def serve(root: Path) -> Iterator[Server]:
    """A web server on this machine, for as long as the block lasts."""
    owner = Server(root)
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Handler)
    server.daemon_threads, server.block_on_close = True, False  # GDAL keeps its connections
    server.owner = owner  # type: ignore[attr-defined]
    owner.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield owner
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
