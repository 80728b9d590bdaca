"""The STAC item of a result: what a catalogue needs to find a colorized scene and to judge it.

It is made from the finished file and what is known of the scene, so it says nothing that the file
does not. Equal work makes equal items; none names a folder of this machine, unless the scene's own
item lies in one.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any
from urllib.parse import quote

from rasterio.crs import CRS

from nirgeo import expected_error
from nirgeo._version import __version__
from nirgeo.acquisition import Acquisition
from nirgeo.bands import COLOURS
from nirgeo.errors import OptionError, TargetError
from nirgeo.grid import Grid, read_grid
from nirgeo.handles import open_dataset
from nirgeo.hrefs import is_url
from nirgeo.outline import outline
from nirgeo.provenance import DESCRIPTION, NAMESPACE
from nirgeo.registry import shipped_models

STAC_VERSION = "1.1.0"
EXTENSIONS = (
    "https://stac-extensions.github.io/eo/v2.0.0/schema.json",
    "https://stac-extensions.github.io/processing/v1.2.0/schema.json",
    "https://stac-extensions.github.io/projection/v2.0.0/schema.json",
    "https://stac-extensions.github.io/raster/v2.0.0/schema.json",
)
MEDIA_TYPE = "image/tiff; application=geotiff; profile=cloud-optimized"
PREFIX = "nirgeo:"

_SEAL = f"{PREFIX}item_sha256"
"""Tells an item that somebody has changed, and wants to keep, from one as it was made."""

_MAX_BYTES = 2**20
"""No item of a result is that large."""

# What is cut off or decoded where a reference is read. Spaces stay: tools hand local references to
# GDAL as they are.
_ENCODED = str.maketrans({character: quote(character) for character in "#%?"})


def item_path(result: str) -> str:
    """``scene_rgb.json`` for ``scene_rgb.tif``.

    Raises
    ------
    OptionError : the result itself is called like that, or lies where only rasters can be written
    """
    if result.startswith("/vsi"):
        raise OptionError(
            f"--stac: GDAL writes rasters to {result}, but no other file; choose a local -o"
        )
    path = str(Path(result).with_suffix(".json"))
    if path == result:
        raise OptionError(f"{result} would be the name of its STAC item too; choose another -o")
    return path


def make_item(result: str | os.PathLike[str], acquisition: Acquisition) -> dict[str, Any]:
    """A STAC item for a file made by :func:`nirgeo.write_geotiff`.

    Parameters
    ----------
    result : the finished file
    acquisition : when the scene was taken; STAC needs a time

    Raises
    ------
    SourceError : the file can't be read
    """
    path = os.fspath(result)
    with open_dataset(path) as file:
        grid = read_grid(file)
        tags: dict[str, str] = file.tags(ns=NAMESPACE)
        names, dtype = file.descriptions, file.dtypes[0]
    place = outline(grid)
    gsd = grid.ground_sampling_distance()
    software, _, version = tags.get("SOFTWARE", f"nirgeo {__version__}").partition(" ")
    model = _model_card(tags.get("MODEL_SHA256", ""), version)
    item: dict[str, Any] = {
        "type": "Feature",
        "stac_version": STAC_VERSION,
        "stac_extensions": list(EXTENSIONS),
        "id": Path(path).stem,
        "geometry": place.geometry if place is not None else None,
    }
    if place is not None:
        item["bbox"] = list(place.bbox)
    item["properties"] = {
        **acquisition.fields(),
        "description": DESCRIPTION,
        **{k: list(v) if isinstance(v, tuple) else v for k, v in acquisition.instrument.items()},
        **({"gsd": _short(gsd)} if gsd is not None else {}),
        **_projection(grid),
        # The level of what a model makes, in the processing extension's own list.
        "processing:level": "L4",
        "processing:lineage": f"natural colour predicted by {tags.get('MODEL', 'a model')} from "
        "near infrared; synthetic",
        "processing:software": {software: version},
        **({} if model is None else {"processing:expression": _expression(model)}),
        **{PREFIX + key.lower(): value for key, value in sorted(tags.items())},
    }
    item["links"] = _links(path, acquisition, model, tags.get("MODEL", ""))
    item["assets"] = {"rgb": _asset(path, names, dtype, gsd, grid.area_or_point)}
    item["properties"][_SEAL] = _digest(item)
    return item


def write_item(result: str | os.PathLike[str], acquisition: Acquisition) -> str:
    """Write the item of a finished result beside it, all at once; returns its path.

    An item that is there is replaced: the result it described is gone.

    Raises
    ------
    TargetError : it can't be written
    SourceError : the result can't be read
    """
    target = item_path(os.fspath(result))
    item = make_item(result, acquisition)
    text = json.dumps(item, indent=2, ensure_ascii=False, allow_nan=False) + "\n"
    temporary = Path(target).with_name(f".{Path(target).name}.{os.getpid()}.nirgeo")
    try:
        with open(temporary, "w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, target)
    except OSError as error:
        raise TargetError(f"{target} can't be written ({error})") from error
    finally:
        with suppress(OSError):
            temporary.unlink()
    return target


def remove_item(result: str) -> str | None:
    """Remove the item of a result that was written over; returns the path of what was removed.

    Only what :func:`make_item` made for a file of this name, and nobody changed, goes.
    """
    path, content = _item_beside(result)
    try:
        if path is None or not _is_own_item(content, Path(result)):
            return None
        path.unlink()
    except (OSError, KeyError, TypeError):  # gone, or no item
        return None
    return str(path)


def changed_item(result: str) -> str | None:
    """The path of an item beside a result that nirgeo made for it and somebody has changed."""
    path, content = _item_beside(result)
    properties = content.get("properties") if isinstance(content, dict) else None
    made = isinstance(properties, dict) and f"{PREFIX}synthetic" in properties
    return str(path) if made else None


def _item_beside(result: str) -> tuple[Path | None, Any]:
    """Where the item of a result lies and what it holds; None where there is none that is JSON."""
    if result.startswith("/vsi"):
        return None, None
    path = Path(result).with_suffix(".json")
    try:
        with open(path, "rb") as file:
            return path, json.loads(file.read(_MAX_BYTES))
    except (OSError, ValueError, RecursionError):
        return None, None


def _is_own_item(content: object, result: Path) -> bool:
    """Whether this is an item as :func:`make_item` has made it, for a file of this name."""
    if not isinstance(content, dict) or not isinstance(content.get("properties"), dict):
        return False
    seal = content["properties"].pop(_SEAL, None)
    return bool(seal == _digest(content) and content["assets"]["rgb"]["href"] == _href(result))


def _digest(item: Mapping[str, Any]) -> str:
    """Of all that an item says, however it is laid out."""
    return hashlib.sha256(json.dumps(item, sort_keys=True).encode()).hexdigest()


def _href(result: Path) -> str:
    return f"./{result.name.translate(_ENCODED)}"


def _projection(grid: Grid) -> dict[str, Any]:
    fields: dict[str, Any] = {"proj:shape": list(grid.shape), "proj:code": None}
    if grid.crs is None:
        return fields
    crs = CRS.from_user_input(grid.crs)
    authority = crs.to_authority()
    if authority is not None:
        fields["proj:code"] = ":".join(authority)
    else:
        fields["proj:wkt2"] = crs.to_wkt(version="WKT2_2019")
    fields["proj:bbox"] = list(grid.bounds)
    fields["proj:transform"] = [*grid.transform, 0.0, 0.0, 1.0]
    return fields


def _asset(
    path: str, names: tuple[str, ...], dtype: str, gsd: float | None, sampling: str
) -> dict[str, Any]:
    display = dtype == "uint8"
    asset: dict[str, Any] = {
        "href": _href(Path(path)),
        "type": MEDIA_TYPE,
        "title": "natural colour (synthetic)",
        "roles": ["visual"] if display else ["data"],
        "data_type": dtype,
        "bands": [_band(name, display) for name in names],
        "raster:sampling": sampling.lower(),
    }
    if not display:
        asset |= {"nodata": "nan", "unit": "1"}
    if gsd is not None:
        asset["raster:spatial_resolution"] = _short(gsd)
    return asset


def _band(name: str, display: bool) -> dict[str, Any]:
    """A band as STAC 1.1 has it; an expected error is no colour, and counts in degrees."""
    if name in COLOURS:
        return {"name": name, "eo:common_name": name}
    scale = {"raster:scale": expected_error.STEP} if display else {}
    return {"name": name, "unit": expected_error.UNIT, **scale}


def _model_card(sha256: str, version: str) -> str | None:
    """A name for a shipped network's own STAC item that means the same on every machine.

    A package URL (purl): the item lies in the package, and the package lies anywhere. Weights tell
    a shipped model from somebody's own with the same name.
    """
    for model in shipped_models():
        if model.sha256 == sha256:
            card = Path(model.file).with_suffix(".json").name
            return f"pkg:pypi/nirgeo@{version}#nirgeo/weights/{card}"
    return None


def _expression(model: str) -> dict[str, str]:
    """As the best practices of the MLM extension want a model's results described."""
    return {"format": "stac-mlm", "expression": model}


def _links(
    path: str, acquisition: Acquisition, model: str | None, name: str
) -> list[Mapping[str, str]]:
    links = []
    if acquisition.item is not None:
        href: str | None = acquisition.item
        if not is_url(acquisition.item):
            href = _relative(acquisition.item, path)
        if href is not None:
            links.append({"rel": "derived_from", "href": href, "title": "the scene"})
    if model is not None:
        links.append({"rel": "derived_from", "href": model, "title": f"the model {name}"})
    return [link | {"type": "application/geo+json"} for link in links]


def _relative(item: str, result: str) -> str | None:
    """The reference from the folder of a result to an item; None where no such way leads."""
    try:
        way = os.path.relpath(item, Path(result).absolute().parent)
    except ValueError:  # another drive
        return None
    return Path(way).as_posix().translate(_ENCODED)


def _short(number: float) -> float:
    """Six digits: pixels of 10 m in degrees come out as 9.99997."""
    return float(f"{number:.6g}")
