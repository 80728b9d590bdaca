"""A STAC item: its assets' bands, what their values mean, when and by what it was taken.

STAC 1.0 describes bands in ``eo:bands`` and ``raster:bands``, STAC 1.1 in ``bands``, with fields of
all bands on the asset. Both are read into the same :class:`AssetBand`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from typing import Any
from urllib.parse import urlsplit

from nirgeo.acquisition import Acquisition, parse_time
from nirgeo.errors import SourceError
from nirgeo.hrefs import is_url, public
from nirgeo.stac.document import Document, number_of, object_of, objects_of, resolve, text_of

_RASTER_SUFFIXES = (".tif", ".tiff", ".jp2", ".vrt", ".img")
_RASTER_TYPES = ("image/tiff", "image/jp2", "image/vnd.stac.geotiff", "image/x.geotiff")

# Pictures for people, and what describes pixels instead of showing the ground.
_OTHER_ROLES = frozenset(
    (
        *("thumbnail", "overview", "visual", "metadata", "cloud", "cloud-shadow", "snow-ice"),
        *("water-mask", "data-mask", "saturation", "temperature", "incidence-angle"),
    )
)

# How items say that a value has no unit. Other units are of what is no reflectance: Landsat's and
# Planet's radiances, kelvin, bits.
_NO_UNITS = ("", "1", "none", "unitless", "reflectance", "dimensionless")


@dataclass(frozen=True)
class AssetBand:
    """One band of one asset.

    ``reference`` is the asset's href as it stands in the item. ``index`` counts from 1 among
    ``count`` bands of the file, which is one where the item describes none of them. ``wavelength``
    is in micrometres. ``scale`` and ``offset`` lead from digital numbers to ``unit``;
    ``resolution`` is the side of a pixel, in metres or in units of the CRS.
    """

    asset: str
    reference: object
    index: int = 1
    count: int = 1
    described: bool = True
    name: str = ""
    common_name: str = ""
    wavelength: float | None = None
    scale: float | None = None
    offset: float | None = None
    unit: str = ""
    nodata: float | None = None
    resolution: float | None = None
    tiff: bool = False

    @property
    def measure(self) -> str:
        """The unit, the same for every way of saying that there is none."""
        unit = self.unit.strip()
        return "" if unit.lower() in _NO_UNITS else unit

    @property
    def stated(self) -> tuple[float, float] | None:
        """Scale and offset to reflectance; None if there is none, or only scale 1 and offset 0."""
        if self.measure:
            return None
        # The raster extension's defaults, each where only the other is stated.
        stated = 1.0 if self.scale is None else self.scale, self.offset or 0.0
        return None if stated == (1.0, 0.0) else stated

    def describe(self) -> str:
        known = [n for n in (self.common_name, self.name) if n and n != self.asset]
        return self.asset + (f" ({', '.join(known)})" if known else "")


@dataclass(frozen=True)
class Item:
    """What nirgeo needs of an item. ``href`` is where it was read."""

    id: str
    href: str
    collection: str
    bands: tuple[AssetBand, ...]
    properties: Mapping[str, Any] = field(default_factory=dict)
    links: tuple[tuple[str, object], ...] = ()
    """(relation, reference)."""
    bbox: tuple[float, float, float, float] | None = None
    """West, south, east, north in degrees; west is greater than east across 180°."""
    of_several: bool = False
    """Whether other items stand at ``href`` too."""

    @property
    def name(self) -> str:
        return f"STAC item {self.id}"

    def resolve(self, reference: object) -> str:
        """What a reference of this item leads to; see :func:`nirgeo.stac.document.resolve`."""
        return resolve(reference, self.href)

    def link(self, relation: str) -> object | None:
        """The first reference with a relation."""
        return next((href for rel, href in self.links if rel == relation), None)

    def text(self, *names: str) -> str:
        """The first of these properties that is a string, else nothing."""
        return next((t for n in names if (t := text_of(dict(self.properties), n))), "")

    def number(self, *names: str) -> float | None:
        """The first of these properties that is a number, written as one or as text."""
        for value in (self.properties.get(name) for name in names):
            if isinstance(value, (str, int, float)) and not isinstance(value, bool):
                try:
                    number = float(value)
                except (ValueError, OverflowError):
                    continue
                if math.isfinite(number):
                    return number
        return None

    @property
    def product(self) -> str:
        """Everything that may name the product."""
        names = ("s2:product_uri", "s2:product_type", "landsat:correction", "processing:level")
        said = [self.text(name) for name in (*names, "platform", "constellation")]
        return " ".join(part for part in (self.id, self.collection, *said) if part)

    def acquisition(self) -> Acquisition | None:
        """When and by what the scene was taken; None if the item holds no usable time."""
        ends = [parse_time(self.text(n)) for n in ("datetime", "start_datetime", "end_datetime")]
        instant, first, last = ends
        if instant is not None:
            start, end = instant
        elif first is not None and last is not None and first[0] <= last[1]:
            start, end = first[0], last[1]
        else:
            return None
        instrument: dict[str, str | tuple[str, ...]] = {
            name: self.text(name) for name in ("platform", "constellation") if self.text(name)
        }
        listed = self.properties.get("instruments")
        if isinstance(listed, list):
            names = tuple(name for name in listed if isinstance(name, str))
            instrument |= {"instruments": names} if names else {}
        own = self.link("self")
        href = None if self.of_several else self.href
        if isinstance(own, str) and is_url(own):
            href = own
        return Acquisition(start, end, self.name, href and public(href), instrument)


def is_item(content: Mapping[str, Any]) -> bool:
    """Whether a JSON object is a GeoJSON feature with STAC's assets."""
    return content.get("type") == "Feature" and isinstance(content.get("assets"), dict)


def parse_item(document: Document, *, of_several: bool = False) -> Item:
    """The item that a document holds, or that was taken out of one with several.

    Raises
    ------
    SourceError : not a STAC item, or a field of an asset has a type that it must not have
    """
    content = document.content
    if not is_item(content):
        kind = text_of(content, "type") or "JSON object"
        raise SourceError(f"{public(document.href)}: a {kind[:40]}, not a STAC item")
    identifier = text_of(content, "id")
    if not identifier:
        raise SourceError(f"{public(document.href)}: the STAC item has no id")
    bands: list[AssetBand] = []
    for key, asset in object_of(content, "assets").items():
        if isinstance(asset, dict):
            try:
                bands += _bands_of(str(key), asset)
            except SourceError as error:
                raise SourceError(f"STAC item {identifier[:80]}, asset {key}: {error}") from None
    return Item(
        id=identifier,
        href=document.href,
        collection=text_of(content, "collection") or "",
        bands=tuple(bands),
        properties=object_of(content, "properties"),
        links=links_of(content),
        bbox=_bbox(content.get("bbox")),
        of_several=of_several,
    )


def links_of(content: dict[str, Any]) -> tuple[tuple[str, object], ...]:
    """(relation, reference) of every link."""
    return tuple((text_of(x, "rel") or "", x.get("href")) for x in objects_of(content, "links"))


def self_href(feature: dict[str, Any], document: Document) -> str:
    """Where a member of a collection lies: under its own link, if both come from the network."""
    own = next((href for relation, href in links_of(feature) if relation == "self"), None)
    return own if document.remote and isinstance(own, str) and is_url(own) else document.href


def _is_number(value: object) -> bool:
    """Whether it is one that fits into a float, which integers of JSON need not."""
    try:
        return isinstance(value, (int, float)) and math.isfinite(value)
    except OverflowError:
        return False


def _bbox(value: object) -> tuple[float, float, float, float] | None:
    if not isinstance(value, list) or len(value) not in (4, 6):
        return None
    numbers = [v for v in value if _is_number(v)]
    if len(numbers) != len(value):
        return None
    half = len(numbers) // 2
    return float(numbers[0]), float(numbers[1]), float(numbers[half]), float(numbers[half + 1])


def _bands_of(key: str, asset: dict[str, Any]) -> list[AssetBand]:
    """The bands of one asset; none if it is no raster of the ground."""
    if not _is_ground(asset):
        return []
    modern = objects_of(asset, "bands")
    spectral = modern or objects_of(asset, "eo:bands")
    raster = modern or objects_of(asset, "raster:bands")
    count = max(len(spectral), len(raster), 1)
    tiff = "tiff" in (text_of(asset, "type") or "") or _suffix(asset) in (".tif", ".tiff")
    bands = []
    for k in range(count):
        # A band says more than its asset; the second spelling is STAC 1.0's, of its band objects.
        places = (
            (spectral[k] if k < len(spectral) else {}, True),
            (raster[k] if k < len(raster) else {}, True),
            (asset, False),
        )
        bands.append(
            AssetBand(
                asset=key,
                reference=asset.get("href"),
                index=k + 1,
                count=count,
                described=bool(spectral or raster),
                name=_text(places[:1], "name"),
                common_name=_text(places, "eo:common_name", "common_name"),
                wavelength=_number(places[:1], "eo:center_wavelength", "center_wavelength"),
                scale=_number(places, "raster:scale", "scale"),
                offset=_number(places, "raster:offset", "offset"),
                unit=_text(places, "unit", "unit"),
                nodata=_nodata(places),
                resolution=_resolution(asset, places),
                tiff=tiff,
            )
        )
    return bands


def _suffix(asset: dict[str, Any]) -> str:
    return PurePosixPath(urlsplit(text_of(asset, "href") or "").path).suffix.lower()


def _is_ground(asset: dict[str, Any]) -> bool:
    roles = asset.get("roles")
    if isinstance(roles, list) and _OTHER_ROLES & {r for r in roles if isinstance(r, str)}:
        return False
    kind = (text_of(asset, "type") or "").lower()
    if kind:
        return kind.startswith(_RASTER_TYPES)
    described = bool(objects_of(asset, "bands") or objects_of(asset, "eo:bands"))
    return _suffix(asset) in (*_RASTER_SUFFIXES, *([""] if described else []))


_Places = tuple[tuple[dict[str, Any], bool], ...]


def _spellings(places: _Places, name: str, old: str) -> list[tuple[dict[str, Any], str]]:
    """Where a field may stand, the nearest first; the old name counts in band objects only."""
    return [
        (fields, spelt)
        for fields, of_band in places
        for spelt in ((name, old) if of_band else (name,))
    ]


def _text(places: _Places, name: str, old: str | None = None) -> str:
    found = (text_of(f, n) for f, n in _spellings(places, name, old or name))
    return next((text for text in found if text), "")


def _number(places: _Places, name: str, old: str) -> float | None:
    found = (number_of(f, n) for f, n in _spellings(places, name, old))
    return next((number for number in found if number is not None), None)


def _nodata(places: _Places) -> float | None:
    """A number, or one of the words for what JSON has no number for."""
    for fields, _ in places:
        value = fields.get("nodata")
        if isinstance(value, str):
            words = {"nan": math.nan, "inf": math.inf, "-inf": -math.inf}
            if value.lower() not in words:
                raise SourceError(
                    f"nodata is {value[:40]!r}, neither a number nor nan, inf or -inf"
                )
            return words[value.lower()]
        if value is not None:
            return number_of(fields, "nodata")
    return None


def _resolution(asset: dict[str, Any], places: _Places) -> float | None:
    """Side of a pixel: of the grid if it is known, else as stated, else of the sensor."""
    transform = asset.get("proj:transform")
    if isinstance(transform, list) and len(transform) in (6, 9):
        numbers = [v for v in transform if _is_number(v)]
        if len(numbers) == len(transform):
            side = math.hypot(numbers[0], numbers[3])
            if side > 0 and math.isfinite(side):
                return side
    stated = _number(places, "raster:spatial_resolution", "spatial_resolution")
    return stated if stated is not None else _number(places, "gsd", "gsd")
