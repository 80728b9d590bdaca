"""A STAC item as a scene: its near infrared, red, green and blue, each wherever it lies.

Bands are found by common name: ``nir``, else ``nir08``, else ``nir09``; where an item has none, by
the names of assets and bands, as with files. Among equal ones the finest wins, then GeoTIFF.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from nirgeo.bands import ROLES, BandLabel, find_roles
from nirgeo.errors import BandError, OptionError, RadiometryError, SourceError
from nirgeo.handles import PIXEL_DRIVERS
from nirgeo.hrefs import is_remote, is_url, item_in_document, public
from nirgeo.opening import StackedBand, count_bands, open_source, sample_range
from nirgeo.plaintext import plain
from nirgeo.scaling import Scaling, ScalingClues, find_scaling
from nirgeo.source import RasterSource
from nirgeo.stac.document import (
    Document,
    has_json_suffix,
    objects_of,
    probe_document,
    read_document,
    text_of,
)
from nirgeo.stac.item import AssetBand, Item, is_item, parse_item, self_href

BOA_GAIN = 1e-4

# Earth Search subtracts Sentinel-2's offset from the pixels and says so here; the scale and offset
# of its assets still name the offset (Element84/earth-search issue 9).
_OFFSET_APPLIED = ("earthsearch:boa_offset_applied", "sentinel:boa_offset_applied")

_IMPOSSIBLE = -0.04
"""Two in a hundred pixels darker than this reflectance: no surface is, so an offset is wrong."""


def find_item(path: str) -> Item | None:
    """The STAC item that ``path`` names; None if it names something else, for GDAL to open.

    A local file is looked at if its name ends in ``.json`` or ``.geojson``. So is a URL, and one of
    an API's ``…/items/…``; a URL without any suffix is asked whether it is JSON. Behind ``#``
    stands the id of one of several items.

    Raises
    ------
    SourceError : STAC, but not one item; or it can't be read
    """
    path, wanted = item_in_document(path)
    if is_url(path):
        document = _ask(path)
    elif has_json_suffix(path) and not is_remote(path):
        document = read_document(path)
    else:
        document = None
    if document is None:
        return None
    content = document.content
    if content.get("type") == "FeatureCollection":
        members = objects_of(content, "features")
        features = members
        if wanted is not None:
            features = [feature for feature in features if text_of(feature, "id") == wanted]
            if len(features) != 1:
                remedy = "; save each in a file of its own" if features else ""
                raise SourceError(
                    f"{public(document.href)}: {len(features)} of its items are called {wanted}"
                    f"{remedy}"
                )
        if len(features) != 1:
            raise SourceError(_of_several(document, features))
        href = self_href(features[0], document)
        several = len(members) > 1 and href == document.href
        return parse_item(Document(features[0], href), of_several=several)
    if not is_item(content) and "stac_version" not in content:
        return None
    return parse_item(document)


def _of_several(document: Document, features: list[dict[str, Any]]) -> str:
    shown = public(document.href)
    names = [name for name in (text_of(feature, "id") for feature in features) if name]
    if document.remote:
        remedy = "name one, for example by its 'self' link"
    elif len(set(names)) < len(features):
        remedy = "they have no ids of their own, so save each in a file"
    else:
        listed = ", ".join(plain(name, 80) for name in names[:4]) + (", …" if names[4:] else "")
        remedy = f"name one as {shown}#ID ({listed})"
    return f"{shown}: holds {len(features)} items; {remedy}"


def _ask(url: str) -> Document | None:
    """What a web server has, if it may be an item."""
    if has_json_suffix(url) or "/items/" in url:
        return read_document(url)
    last = url.partition("?")[0].rstrip("/").rpartition("/")[2]
    return None if "." in last else probe_document(url)


def choose_bands(
    item: Item, explicit: Mapping[str, str] | None = None
) -> tuple[dict[str, AssetBand], list[str]]:
    """The band of each role, and notes on what was left out.

    ``explicit`` names assets, bands or common names by role; with a single asset, band numbers too.

    Raises
    ------
    BandError : a band asked for is not there, nothing is near infrared, or a band asked for is
        scaled otherwise than near infrared
    """
    explicit = explicit or {}
    order = sorted(
        item.bands,
        key=lambda b: (b.count > 1, b.resolution or float("inf"), not b.tiff),
    )
    wanted = {role: _named(item, order, role, name) for role, name in explicit.items()}
    nir = order[_find(item, order, wanted)["nir"] - 1]
    # A file with several bands that is not near infrared's is most likely a picture for people.
    order = [
        band
        for band in order
        if band.count == 1 or band.asset == nir.asset or band in wanted.values()
    ]
    found = {role: order[k - 1] for role, k in _find(item, order, wanted | {"nir": nir}).items()}
    notes = []
    for role, band in list(found.items()):
        if band.stated != nir.stated or band.measure != nir.measure:
            said = f"{role}: asset {band.describe()} is scaled otherwise than {nir.describe()}"
            if role in wanted:
                raise BandError(f"{item.name}: --{said}; the two can't be read together")
            notes.append(f"{said}; it is left out")
            del found[role]
    return found, notes


def _named(item: Item, bands: list[AssetBand], role: str, name: str) -> AssetBand:
    """The band that an option names: an asset of one band, a band, a common name; or a number."""
    text = name.strip().casefold()
    if text.isdecimal() and len({band.asset for band in bands}) == 1:
        matches = [band for band in bands if band.index == int(text)]
    elif text:
        matches = [b for b in bands if b.count == 1 and b.asset.casefold() == text]
        matches += [b for b in bands if b.name.casefold() == text]
        matches += [b for b in bands if b.common_name.casefold() == text]
    else:
        matches = []
    if not matches:
        raise BandError(
            f"{item.name}: --{role} {name!r}: no asset or band has this name. {_list(bands)}"
        )
    return matches[0]


def _find(item: Item, bands: list[AssetBand], wanted: Mapping[str, AssetBand]) -> dict[str, int]:
    """Numbers (from 1) by role, through the rules that hold for files."""
    labels = [
        BandLabel(
            number,
            description=band.name or band.asset,
            common_name=band.common_name or (band.asset if band.count == 1 else ""),
            wavelength=band.wavelength,
        )
        for number, band in enumerate(bands, start=1)
    ]
    explicit = {role: str(bands.index(band) + 1) for role, band in wanted.items()}
    try:
        found = find_roles(labels, product=item.product, explicit=explicit)
        called = bands[found["nir"] - 1].common_name.lower()
        # The only band of a file is near infrared, but not if an item calls it something else.
        if "nir" not in wanted and called and not called.startswith("nir"):
            raise BandError(f"the only band is {called}")
    except BandError as error:
        raise BandError(
            f"{item.name}: no asset is near infrared (common name nir or nir08); name one with "
            f"--nir ASSET. {_list(bands)}"
        ) from error
    return found


def _list(bands: list[AssetBand]) -> str:
    names = [band.describe() for band in bands[:40]]
    return "Raster assets: " + (", ".join(names) if names else "none")


def open_item(
    item: Item,
    *,
    roles: Mapping[str, str] | None = None,
    stack: Mapping[str, str | os.PathLike[str]] | None = None,
    nodata: float | None = None,
    scale: str | Scaling | None = None,
) -> RasterSource:
    """Look at a scene that an item describes; see :func:`nirgeo.opening.open_source`.

    Bands are resampled to near infrared's grid where they lie on others. Scale, offset and nodata
    of the item hold where the files say nothing.

    Parameters
    ----------
    roles : explicit assets or bands by role
    stack : files by role, instead of the item's
    nodata : value of missing pixels, instead of what files and item say
    scale : given, the item's own scaling is not doubted

    Raises
    ------
    SourceError : an asset can't be opened, or the item refers to what it must not
    BandError : no asset is near infrared
    OptionError : ``stack`` replaces near infrared itself
    RadiometryError : the item's offset makes pixels darker than any surface
    """
    stack = dict(stack or {})
    if "nir" in stack:
        raise OptionError(f"{item.name}: --stack nir=FILE leaves nothing of the item to colorize")
    try:
        source, nir, notes = _open(item, dict(roles or {}), stack, nodata)
    except SourceError as error:
        raise SourceError(f"{item.name}: {error}{_hint(str(error))}") from error
    clues = _clues(item, nir, source.clues)
    source = replace(
        source,
        clues=clues,
        notes=(*source.notes, *notes),
        acquisition=item.acquisition() or source.acquisition,
    )
    if scale is None:
        _doubt_offset(item, source)
    return source


def _open(
    item: Item,
    roles: dict[str, str],
    stack: dict[str, str | os.PathLike[str]],
    nodata: float | None,
) -> tuple[RasterSource, AssetBand, list[str]]:
    """The scene, what the item says of its near infrared, and notes on what was left out."""
    undescribed = len(item.bands) == 1 and not item.bands[0].described
    chosen: dict[str, AssetBand] = {}
    if not undescribed:
        named = {role: name for role, name in roles.items() if not name.strip().isdecimal()}
        several = len({band.asset for band in item.bands}) > 1
        chosen, _ = choose_bands(item, named if several else roles)
    nir = item.bands[0] if undescribed else chosen["nir"]
    if not nir.described:
        file = _stacked(item, nir)
        if count_bands(file) > 1:  # so the file alone says what they are
            whole = replace(file, index=None, count=None, description="")
            asked = {k: v for k, v in roles.items() if v.strip().casefold() != nir.asset.casefold()}
            return open_source(whole, stack=stack, roles=asked, nodata=nodata), nir, []
    chosen, notes = choose_bands(item, roles)
    nir = chosen["nir"]
    files: dict[str, str | os.PathLike[str] | StackedBand] = {}
    for role in ROLES:
        if role in stack:
            files[role] = stack[role]
        elif role in chosen:
            band = chosen[role]
            file = _stacked(item, band)
            if band.asset != nir.asset and count_bands(file) != band.count:
                said = f"{role}: asset {band.describe()} has other bands than the item says"
                if role in roles:
                    raise BandError(f"{item.name}: --{said}")
                notes.append(f"{said}; it is left out")
                continue
            files[role] = file
    return open_source(stack=files, nodata=nodata), nir, notes


def _stacked(item: Item, band: AssetBand) -> StackedBand:
    path = item.resolve(band.reference)
    return StackedBand(
        path=path,
        index=band.index,
        count=band.count,
        description=band.describe(),
        nodata=band.nodata,
        # What comes from the network may pretend: a VRT under a TIFF's name reads any file here.
        drivers=PIXEL_DRIVERS if is_remote(path) else (),
    )


def _hint(message: str) -> str:
    if "/vsis3/" in message:
        return "; for a public bucket set AWS_NO_SIGN_REQUEST=YES"
    if any(f"response code: {code}" in message for code in (401, 403, 409)):
        return "; if its URLs must be signed, sign the item first"
    return ""


def _clues(item: Item, nir: AssetBand, clues: ScalingClues) -> ScalingClues:
    """What the files say of their values, and what the item adds."""
    properties = dict(item.properties)
    stated, origin = nir.stated, "STAC raster:bands"
    if any(properties.get(name) is True for name in _OFFSET_APPLIED):
        # An offset alone says nothing of the gain, and these flags are Sentinel-2's.
        stated = (stated[0] if stated is not None and nir.scale is not None else BOA_GAIN, 0.0)
        origin = "STAC; Sentinel-2's offset is already applied"
    if stated is not None:
        clues = replace(clues, stac_scale=stated[0], stac_offset=stated[1], stac_origin=origin)
    baseline = clues.processing_baseline
    if baseline is None:
        baseline = item.number("s2:processing_baseline", "sentinel:processing_baseline")
    product = f"{clues.product or ''} {item.product}"
    return replace(clues, processing_baseline=baseline, product=product)


def _doubt_offset(item: Item, source: RasterSource) -> None:
    """Refuse an offset that Earth Search says is not applied, where the pixels say it is.

    Its flag is wrong for many scenes since 2022 (Element84/earth-search issues 66 and 71).
    """
    properties = dict(item.properties)
    if not any(properties.get(name) is False for name in _OFFSET_APPLIED):
        return
    scaling = find_scaling(source.clues)
    if scaling.offset >= 0:
        return
    roles = dict(source.roles)
    low, _ = sample_range(source, roles.get("red", roles["nir"]))
    darkest = 0.0 if low is None else scaling.gain * low + scaling.offset
    if darkest >= _IMPOSSIBLE:
        return
    raise RadiometryError(
        f"{item.name}: says that its offset of {scaling.offset:g} is not applied yet; but with it, "
        f"two in a hundred pixels have a reflectance below {darkest:.2f}. Give "
        f"--scale {scaling.gain:g}, or --scale {scaling.gain:g},{scaling.offset:g} to insist"
    )
