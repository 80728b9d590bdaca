"""Small scenes under the names that the documentation's commands use."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import rasterio
from documented_commands import ROOT
from evaluation_scenes import ground, write_index, write_scene
from helpers import write_raster
from numpy.typing import NDArray
from stac_items import write_scene_item

from nirgeo.radiometry import DisplayCurve

PLACE = rasterio.Affine(10.0, 0.0, 500_000.0, 0.0, -10.0, 5_800_800.0)
SENTINEL = ("coastal", "blue", "green", "red", "red edge 1", "red edge 2", "red edge 3", "nir")


def _numbers(seed: int = 0, height: int = 160, width: int = 144) -> NDArray[np.uint16]:
    """(4, H, W) reflectance × 10000 of red, green, blue, nir."""
    return np.rint(ground(height, width, seed) * 10_000).astype(np.uint16)


def _moved(km: float) -> rasterio.Affine:
    return rasterio.Affine.translation(km * 1000, 0) @ PLACE


def _write(path: Path, values: NDArray[Any], *names: str, **options: Any) -> None:
    options.setdefault("transform", PLACE)
    options.setdefault("tags", {"TIFFTAG_DATETIME": "2024:05:08 10:15:59"})
    write_raster(path, values, descriptions=names, **options)


def single_scenes(folder: Path) -> None:
    """What the pages call scene.tif, cir.tif and so on."""
    red, green, blue, nir = _numbers()
    eight = np.stack((blue // 2, blue, green, red, red, nir, nir, nir))
    _write(folder / "scene.tif", eight, *SENTINEL)
    for name, seed in (("neighbour", 1), ("huge", 2), ("nir", 3)):
        _write(folder / f"{name}.tif", _numbers(seed)[3:], "nir")
    _write(folder / "cir.tif", np.stack((nir, red, green)))
    eight_bit = (np.stack((red, green, blue, nir)) / 10_000 * 255).astype(np.uint8)
    write_raster(folder / "rgbn.tif", eight_bit, transform=PLACE)
    colours = DisplayCurve().apply(np.stack((red, green, blue)).astype(np.float32) * 1e-4)
    _write(folder / "truth.tif", colours, "red", "green", "blue")
    coarse = rasterio.Affine.scale(8) @ rasterio.Affine.identity()
    for name in ("older.tif", "sentinel-2.tif"):
        blocks = colours.reshape(3, 20, 8, 18, 8).mean(axis=(2, 4)).astype(np.uint8)
        _write(folder / name, blocks, "red", "green", "blue", transform=PLACE @ coarse)
    for name, values in (("B03", green), ("B04", red), ("B08", nir)):
        write_raster(
            folder / f"{name}.jp2",
            values,
            driver="JP2OpenJPEG",
            transform=PLACE,
            quality="100",
            reversible="YES",
        )
    for name in ("archive", "scenes"):
        for number in range(2):
            path = folder / name / f"{number}.tif"
            _write(path, _numbers(number)[3:], "nir")


def training_sets(folder: Path) -> None:
    """Folders with scenes of several places, indexes, and a catalogue."""
    rows: dict[str, str] = {}
    for root in ("scenes", "satellite", "downloads", "aerial"):
        for side, numbers in (("train", (0, 1)), ("val", (2, 3))):
            for number in numbers:
                path = folder / root / side / f"{root}-{number}.tif"
                values = ground(128, 128, seed=number)
                if root == "aerial":
                    values = (values * 255).astype(np.uint8)
                write_scene(path, values, transform=_moved(50 * number))
                rows[str(path.relative_to(folder))] = f"{root}-{number}"
    write_index(folder / "index.csv", rows)
    inside = {f.removeprefix("scenes/"): p for f, p in rows.items() if f.startswith("scenes/")}
    write_index(folder / "scenes" / "index.csv", inside)
    for number in range(6):
        values = (ground(128, 160, seed=number) * 255).astype(np.uint8)
        write_scene(folder / "ground" / f"urban_{number:04d}.tif", values)


def catalogue(folder: Path) -> None:
    item = json.loads(write_scene_item(folder, counts=None).read_text(encoding="utf-8"))
    collection = {"type": "FeatureCollection", "features": [item]}
    (folder / "saved-search.json").write_text(json.dumps(collection), encoding="utf-8")


def everything(folder: Path) -> None:
    """What the commands of any page find in the folder they are typed in."""
    single_scenes(folder)
    training_sets(folder)
    catalogue(folder)
    shutil.copytree(ROOT / "examples", folder / "examples")
    results = folder / "docs" / "results"
    results.mkdir(parents=True)
    # A scene of its own: no other lies on the same ground.
    pairs = ("file,reference", "satellite-0.tif,satellite-0.tif", "satellite-2.tif,satellite-2.tif")
    (results / "another-date.csv").write_text("\n".join(pairs), encoding="utf-8")
    mine = folder / "runs" / "mine" / "best.safetensors"
    mine.parent.mkdir(parents=True)
    shutil.copy(ROOT / "nirgeo" / "weights" / "satellite-nir-5.safetensors", mine)
