"""What a raster's file says of its bands, its product and its numbers."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from nirgeo import handles
from nirgeo.bands import BandLabel, wavelength_in, wavelength_of
from nirgeo.hrefs import without_query
from nirgeo.scaling import ENVI_FACTOR, ENVI_ORIGIN, TAG_ORIGIN, ScalingClues, envi_scale


def labels_of(opened: Any, path: str, first_number: int) -> list[BandLabel]:
    stem = Path(without_query(path)).stem
    # Asked for once: of a file of fifty thousand bands, which damage can make, each takes long.
    told, kinds = handles.descriptions(opened) or ("",) * opened.count, opened.colorinterp
    camera = _camera_band(opened) if opened.count == 1 else ""
    labels = []
    for index in range(1, opened.count + 1):
        tags = {k.lower(): v for k, v in opened.tags(index).items()}
        description = told[index - 1] or tags.get("band_description", "") or camera
        labels.append(
            BandLabel(
                number=first_number + index - 1,
                description=description,
                common_name=tags.get("common_name", tags.get("eo:common_name", "")),
                colorinterp=kinds[index - 1].name,
                file_stem=stem,
                wavelength=_wavelength(opened, index, tags, description),
            )
        )
    return labels


def _wavelength(opened: Any, index: int, tags: Mapping[str, str], description: str) -> float | None:
    """Of a band, in µm: as GDAL's raster data model says it, or ENVI's header, or its name."""
    imagery = opened.tags(index, ns="IMAGERY")
    return (
        wavelength_of(imagery.get("CENTRAL_WAVELENGTH_UM", ""), "µm")
        or wavelength_in(_number(tags, "wavelength") or 0.0, tags.get("wavelength_units"))
        or wavelength_of(description)
    )


_XMP_BAND = re.compile(r'\bBandName(?:="|>\s*(?:<rdf:(?:Seq|Bag)>\s*<rdf:li>\s*)?)([^"<>]{1,40})')


def _camera_band(opened: Any) -> str:
    """What a drone's multispectral camera calls the band of a picture, in its XMP (MicaSense's and
    Parrot's ``Camera:BandName``)."""
    found = _XMP_BAND.search(" ".join(opened.tags(ns="xml:XMP").values()))
    return "" if found is None else found[1].strip()


def product_names(path: str) -> str:
    """The parts of a path that may name a product: the file, its folder, and any ``.SAFE`` above.

    Inside a Sentinel-2 product only the outermost folder tells the processing baseline, and with
    it whether 1000 must be subtracted. A local path is made absolute first: where one stands when
    naming a file must not change its radiometry.
    """
    plain = without_query(path)
    whole = Path(path).absolute() if handles.file_stamp(path) is not None else Path(plain)
    products = [part for part in whole.parts[:-2] if part.upper().endswith(".SAFE")]
    return " ".join([whole.name, whole.parent.name, *products])


def product_in_tags(tags: Mapping[str, str]) -> str:
    """What a file's tags say of product and mission: bands, scaling and date are told by the same.

    Names of products first, since the first mission that is named counts.
    """
    names = ("LANDSAT_PRODUCT_ID", "PRODUCT_URI", "PRODUCT_ID", "SPACECRAFT_ID", "PLATFORM")
    said = [tags[name] for name in names if name in tags]
    if "MISSION_INDEX" in tags:  # of SPOT's DIMAP files
        said.append(f"{tags.get('MISSION', '')}{tags['MISSION_INDEX']}")
    return " ".join(said)


def first_clues(opened: Any, index: int, path: str) -> ScalingClues:
    """What the file of the NIR band says; the range of values is added only where it decides."""
    tags = opened.tags()
    scale, offset = opened.scales[index - 1], opened.offsets[index - 1]
    given = scale != 1 or offset != 0
    baseline = _number(tags, "PROCESSING_BASELINE")
    named = handles.descriptions(opened)
    described = (named[index - 1] if named is not None else None) or ""
    product = f"{product_names(path)} {product_in_tags(tags)}"
    tag, origin = reflectance_scale(opened, index)
    return ScalingClues(
        dtype=handles.types(opened)[index - 1],
        reflectance_scale_tag=tag,
        reflectance_scale_origin=origin,
        gdal_scale=scale if given else None,
        gdal_offset=offset if given else None,
        product=product,
        processing_baseline=baseline,
        sun_elevation=_sun_elevation(opened),
        band=f"{described} {Path(without_query(path)).stem}",
    )


def _sun_elevation(opened: Any) -> float | None:
    """What a Landsat scene's own metadata file says, if it lies beside it: GDAL reads it."""
    metadata = opened.tags(ns="IMD")
    name = next((key for key in metadata if key.endswith("IMAGE_ATTRIBUTES.SUN_ELEVATION")), None)
    return None if name is None else _number(metadata, name)


def reflectance_scale(opened: Any, index: int) -> tuple[float | None, str]:
    """What a file says goes before scale and offset, and where it says so."""
    for tags in (opened.tags(), opened.tags(index)):
        if (found := _number(tags, "REFLECTANCE_SCALE")) is not None:
            return found, TAG_ORIGIN
    return envi_scale(opened.tags(ns="ENVI").get(ENVI_FACTOR)), ENVI_ORIGIN


def _number(tags: Mapping[str, str], name: str) -> float | None:
    try:
        return float(tags[name])
    except (KeyError, ValueError):
        return None
