"""What GDAL copies into the finished file: a small VRT over the block store.

It adds to the raw blocks what makes them a picture with a place: colours, mask, georeference, tags.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from xml.etree import ElementTree as ET

import rasterio.shutil

from nirgeo import expected_error
from nirgeo.blockstore import TiledFile
from nirgeo.grid import Grid
from nirgeo.plaintext import plain
from nirgeo.provenance import DESCRIPTION, NAMESPACE
from nirgeo.tiling import Window

# What GDAL reads from a GeoTIFF that has a transform and no CRS. Written again it would get a unit.
_NAMELESS = 'LOCAL_CS["unnamed"'


@dataclass(frozen=True)
class Picture:
    """What the finished file says about its pixels; with another one it is another file."""

    grid: Grid
    bands: tuple[str, ...]
    dtype: str
    tags: Mapping[str, str] = field(default_factory=dict)


def write_vrt(
    path: Path,
    store: TiledFile,
    picture: Picture,
    areas: Sequence[Window] | None = None,
    overviews: Sequence[TiledFile] = (),
) -> None:
    """Describe ``store`` (colours, then the mask as last band) as a georeferenced picture.

    ``areas`` are all of it that is not 0, without overlap; None means everywhere. ``overviews`` are
    files beside the store with the same bands, each half as large as the one before; without any
    area they are empty too.
    """
    grid = picture.grid
    parts = [Window(0, 0, grid.height, grid.width)] if areas is None else areas
    empty = not parts
    root = ET.Element("VRTDataset", rasterXSize=str(grid.width), rasterYSize=str(grid.height))
    if grid.crs is not None and not grid.crs.startswith(_NAMELESS):
        ET.SubElement(root, "SRS").text = grid.crs
    if not (grid.affine.is_identity and grid.crs is None):
        numbers = (repr(float(v)) for v in grid.affine.to_gdal())
        ET.SubElement(root, "GeoTransform").text = ", ".join(numbers)
    if grid.gcps:
        gcp_list = ET.SubElement(root, "GCPList", Projection=grid.gcp_crs or "")
        for number, (row, col, x, y, z) in enumerate(grid.gcps, start=1):
            ET.SubElement(
                gcp_list,
                "GCP",
                Id=str(number),
                Pixel=repr(col),
                Line=repr(row),
                X=repr(x),
                Y=repr(y),
                Z=repr(z),
            )
    common = {
        "AREA_OR_POINT": grid.area_or_point,
        "TIFFTAG_SOFTWARE": picture.tags.get("SOFTWARE", "nirgeo"),
        "TIFFTAG_IMAGEDESCRIPTION": DESCRIPTION,
    }
    _metadata(root, common)
    _metadata(root, picture.tags, NAMESPACE)
    if grid.rpcs:
        _metadata(root, dict(grid.rpcs), "RPC")
    _bands(root, store, picture, parts, [_overview_vrt(file, picture, empty) for file in overviews])
    ET.ElementTree(root).write(path, encoding="unicode")


def describe_moved(moved: Path, path: Path, picture: Picture, *, as_mask: bool) -> None:
    """Describe a picture that GDAL has brought to another grid, with its tags and names of bands.

    ``as_mask`` makes its alpha band a mask, for a format without one: where GDAL does it, it loses
    the tags once more.
    """
    rasterio.shutil.copy(str(moved), str(path), driver="VRT")
    tree = ET.parse(path)
    root = tree.getroot()
    _metadata(root, picture.tags, NAMESPACE)
    bands = list(root.iter("VRTRasterBand"))
    for band, name in zip(bands, picture.bands, strict=False):
        ET.SubElement(band, "Description").text = plain(name)
    for band in bands:
        kind = band.find("ColorInterp")
        if as_mask and kind is not None and kind.text == "Alpha":
            root.remove(band)
            band.remove(kind)
            del band.attrib["band"]
            ET.SubElement(root, "MaskBand").append(band)
    for source in root.iter("SourceFilename"):
        source.set("relativeToVRT", "1")
        source.text = moved.name
    tree.write(path, encoding="unicode")


def write_strip_vrt(
    path: Path, file: TiledFile, picture: Picture, strip: Window, parts: Sequence[Window]
) -> None:
    """Describe a strip of ``file`` as a picture without a place.

    ``parts`` are all of it that is not 0, in the pixels of the file.
    """
    root = ET.Element("VRTDataset", rasterXSize=str(strip.width), rasterYSize=str(strip.height))
    _bands(root, file, picture, parts, origin=strip)
    ET.ElementTree(root).write(path, encoding="unicode")


def _overview_vrt(file: TiledFile, picture: Picture, empty: bool) -> Path:
    """A VRT of an overview: GDAL looks for its mask nowhere but in the overview's dataset."""
    height, width = file.shape
    root = ET.Element("VRTDataset", rasterXSize=str(width), rasterYSize=str(height))
    _bands(root, file, picture, [] if empty else [Window(0, 0, height, width)])
    path = file.path.with_suffix(".vrt")
    ET.ElementTree(root).write(path, encoding="unicode")
    return path


def _bands(
    root: ET.Element,
    store: TiledFile,
    picture: Picture,
    parts: Sequence[Window],
    overviews: Sequence[Path] = (),
    *,
    origin: Window | None = None,
) -> None:
    gdal_type = {"uint8": "Byte", "float32": "Float32"}[picture.dtype]
    for number, name in enumerate(picture.bands, start=1):
        band = ET.SubElement(root, "VRTRasterBand", dataType=gdal_type, band=str(number))
        if name == expected_error.BAND:
            ET.SubElement(band, "Description").text = expected_error.DESCRIPTION
            ET.SubElement(band, "UnitType").text = expected_error.UNIT
            if picture.dtype == "uint8":
                ET.SubElement(band, "Scale").text = repr(expected_error.STEP)
        else:
            ET.SubElement(band, "Description").text = plain(name)
            ET.SubElement(band, "ColorInterp").text = plain(name).capitalize()
        for file in overviews:
            overview = ET.SubElement(band, "Overview")
            ET.SubElement(overview, "SourceFilename", relativeToVRT="1").text = file.name
            ET.SubElement(overview, "SourceBand").text = str(number)
        for part in parts:
            _simple_source(band, store, number, gdal_type, part, origin)
    mask = ET.SubElement(ET.SubElement(root, "MaskBand"), "VRTRasterBand", dataType="Byte")
    for part in parts:
        _simple_source(mask, store, len(picture.bands) + 1, gdal_type, part, origin)


def _metadata(root: ET.Element, items: Mapping[str, str], domain: str | None = None) -> None:
    element = ET.SubElement(root, "Metadata", _domain(domain))
    for key, value in items.items():
        # XML holds no control characters, and names of bands may come from anywhere.
        ET.SubElement(element, "MDI", key=plain(key)).text = plain(value)


def _domain(name: str | None) -> dict[str, str]:
    return {} if name is None else {"domain": name}


def _simple_source(
    band: ET.Element,
    store: TiledFile,
    number: int,
    gdal_type: str,
    part: Window,
    origin: Window | None,
) -> None:
    source = ET.SubElement(band, "SimpleSource")
    ET.SubElement(source, "SourceFilename", relativeToVRT="1").text = store.path.name
    ET.SubElement(source, "SourceBand").text = str(number)
    ET.SubElement(
        source,
        "SourceProperties",
        RasterXSize=str(store.shape[1]),
        RasterYSize=str(store.shape[0]),
        DataType=gdal_type,
        BlockXSize=str(store.tile),
        BlockYSize=str(store.tile),
    )
    row, col = (0, 0) if origin is None else (origin.row, origin.col)
    for name, window in (("SrcRect", part), ("DstRect", part.shifted(-row, -col))):
        ET.SubElement(
            source,
            name,
            xOff=str(window.col),
            yOff=str(window.row),
            xSize=str(window.width),
            ySize=str(window.height),
        )
