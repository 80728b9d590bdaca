"""Rasters that are sound files and strange all the same: a clear error, or the right picture."""

from __future__ import annotations

import shutil
import struct
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import rasterio
import torch
from helpers import write_raster
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from pictures import painting_model, punch_holes
from rasterio.errors import RasterioError

from nirgeo.modelfile import Model
from nirgeo.networks import load_generator
from torture.fuzz import judge, judged_scene
from torture.judge import Case
from torture.record import Record

DTYPES = (
    *("uint8", "int8", "uint16", "int16", "uint32", "int32", "uint64", "int64"),
    *("float32", "float64", "complex64"),
)
# Compressions of GDAL's GeoTIFF driver, as far as rasterio's GDAL has them. Some take bytes only.
OF_ONE_BIT = ("ccittrle", "ccittfax3", "ccittfax4")
OF_BYTES = ("jpeg", "webp", *OF_ONE_BIT)
COMPRESSIONS = (
    *("none", "deflate", "lzw", "packbits", "zstd", "lzma", "lerc", "lerc_deflate", "lerc_zstd"),
    *OF_BYTES,
)
VALUES = ("ordinary", "all zero", "one value", "extremes", "full range", "holes of nan", "negative")
SCALES = (
    (1.0, 0.0),
    (1e-4, 0.0),
    (1e-4, -0.1),
    (0.0, 0.0),
    (-1e-4, 0.0),
    (1e300, 0.0),
    (1e-300, 0),
)
NOT_FINITE = ((float("nan"), 0.0), (1e-4, float("nan")), (float("inf"), 0.0), (1.0, float("-inf")))
NODATA = ("", "0", "-9999", "65535", "1e400", "-1e300", "nan", "inf", "-inf", "0.5", "nonsense")
TRANSFORMS = {
    "north up": (10.0, 0.0, 5e5, 0.0, -10.0, 5e6),
    "south up": (10.0, 0.0, 5e5, 0.0, 10.0, 5e6),
    "rotated": (7.0, 7.0, 5e5, 7.0, -7.0, 5e6),
    "degrees": (1e-4, 0.0, 12.0, 0.0, -1e-4, 50.0),
    "beyond the poles": (1.0, 0.0, -720.0, 0.0, -1.0, 500.0),
    "zero": (0.0, 0.0, 5e5, 0.0, 0.0, 5e6),
    "not finite": (float("nan"), 0.0, 5e5, 0.0, float("inf"), 5e6),
    "huge": (1e300, 0.0, 1e308, 0.0, -1e300, 1e308),
    "tiny": (1e-300, 0.0, 5e5, 0.0, -1e-300, 5e6),
    "none": (1.0, 0.0, 0.0, 0.0, 1.0, 0.0),
}
CRSS = (None, "EPSG:32632", "EPSG:4326", "EPSG:4978", "EPSG:3857", 'LOCAL_CS["somewhere"]')


@dataclass(frozen=True)
class Strange:
    """How to make one raster."""

    dtype: str
    bands: int
    height: int
    width: int
    compress: str
    tiled: bool
    block: int
    interleave: str
    values: str
    masked: str
    nodata: str
    scale: tuple[float, float]
    transform: str
    crs: str | None
    declared: int
    """Side that a file of a few bytes says it has; 0 for an honest file."""
    explicit: bool
    seed: int

    def pixels(self) -> NDArray[Any]:
        chance = np.random.default_rng(self.seed)
        shape = (self.bands, self.height, self.width)
        dtype = np.dtype(self.dtype)
        floats = dtype.kind in "fc"
        top = 1.0 if floats else min(9000.0, float(np.iinfo(dtype).max))
        values = chance.beta(1.5, 3, shape) * top
        if self.values == "all zero":
            values = np.zeros(shape)
        elif self.values == "one value":
            values = np.full(shape, top / 3)
        elif self.values == "holes of nan" and floats:
            values[:, punch_holes(self.height, self.width, self.seed)] = np.nan
        elif self.values == "negative" and dtype.kind != "u":
            values -= top / 2
        with np.errstate(over="ignore"):
            made = values.astype(dtype)
        if self.values == "extremes":
            ends = np.finfo(dtype) if floats else np.iinfo(dtype)
            extremes = [ends.min, ends.max, 0, *((np.inf, -np.inf, np.nan) if floats else ())]
            made = chance.choice(np.array(extremes, dtype=dtype), shape)
        elif self.values == "full range":
            raw = chance.bytes(int(np.prod(shape)) * dtype.itemsize)
            made = np.frombuffer(raw, dtype).reshape(shape).copy()
        return made

    def write(self, path: Path) -> bool:
        """Make the file; False if GDAL does not write such a thing."""
        if self.declared and path.suffix == ".vrt":
            path.write_text(
                f'<VRTDataset rasterXSize="{self.declared}" rasterYSize="{self.declared}">'
                '<VRTRasterBand dataType="UInt16" band="1"/></VRTDataset>'
            )
            return True
        blocks = {"blockysize": self.block}
        if self.tiled:
            side = -(-self.block // 16) * 16
            blocks = {"tiled": True, "blockxsize": side, "blockysize": side}
        mask = punch_holes(self.height, self.width) if self.masked == "mask" else None
        more = {"alpha": "yes"} if self.masked == "alpha" and self.bands > 1 else {}
        if self.compress in OF_ONE_BIT:
            more["nbits"] = "1"
        given_scale = self.scale != (1.0, 0.0)
        # Marks that rasterio would refuse for this type; GDAL keeps them as text.
        mark = f"{self.nodata:<9}" if self.nodata else None
        try:
            write_raster(
                path,
                self.pixels(),
                nodata=None if mark is None else 1,
                mask=mask,
                crs=self.crs,
                transform=rasterio.Affine(*TRANSFORMS[self.transform]),
                scales=(self.scale[0],) * self.bands if given_scale else (),
                offsets=(self.scale[1],) * self.bands if given_scale else (),
                compress=self.compress,
                interleave=self.interleave,
                **blocks,
                **more,
            )
        except (RasterioError, ValueError, TypeError, OverflowError, AttributeError):
            return False
        if mark is not None:
            _set_nodata(path, self.nodata)
        if self.declared:
            _set_size(path, self.declared)
        return True


def _set_size(path: Path, side: int) -> None:
    """Say in a small GeoTIFF that it is ``side`` pixels high and wide."""
    raw = bytearray(path.read_bytes())
    for tag in (256, 257):  # ImageWidth, ImageLength, as one 32-bit number each
        struct.pack_into("<HII", raw, _entry(raw, tag) + 2, 4, 1, side)
    path.write_bytes(raw)


def _entry(raw: bytearray, tag: int) -> int:
    """Where the first directory of a little-endian TIFF speaks of a tag."""
    (start,) = struct.unpack_from("<I", raw, 4)
    (count,) = struct.unpack_from("<H", raw, start)
    places = range(start + 2, start + 2 + 12 * count, 12)
    return next(place for place in places if struct.unpack_from("<H", raw, place)[0] == tag)


def _set_nodata(path: Path, text: str) -> None:
    """Write any text where a GeoTIFF says which value is missing."""
    raw = bytearray(path.read_bytes())
    entry, data = _entry(raw, 42113), text.encode() + b"\0"
    if len(data) <= 4:
        struct.pack_into("<I", raw, entry + 4, len(data))
        raw[entry + 8 : entry + 12] = data.ljust(4, b"\0")
    else:
        struct.pack_into("<II", raw, entry + 4, len(data), len(raw))
        raw += data
    path.write_bytes(raw)


def strange_rasters() -> st.SearchStrategy[Strange]:
    """Everything at once; most of it is ordinary in most examples, or all would be refused for one
    reason or another."""

    def mostly(ordinary: Any, *others: Any, times: int = 5) -> st.SearchStrategy[Any]:
        # Hypothesis takes equal branches of a choice for one; numbers it draws evenly.
        return st.sampled_from((*[ordinary] * (times * len(others)), *others))

    return st.builds(
        Strange,
        dtype=st.sampled_from(DTYPES),
        bands=st.one_of(st.just(1), st.integers(1, 20)),
        height=st.one_of(st.integers(1, 8), st.integers(1, 150)),
        width=st.one_of(st.integers(1, 8), st.integers(1, 150)),
        compress=st.sampled_from(COMPRESSIONS),
        tiled=st.booleans(),
        block=st.integers(1, 200),
        interleave=st.sampled_from(("pixel", "band")),
        values=mostly(*VALUES),
        masked=mostly("no", "mask", "alpha"),
        nodata=mostly(*NODATA),
        scale=mostly(*SCALES, *NOT_FINITE),
        transform=mostly(*TRANSFORMS),
        crs=st.sampled_from(CRSS),
        declared=mostly(0, 10**5, 10**6, 2**31 - 1, times=12),
        explicit=st.booleans(),
        seed=st.integers(0, 2**32 - 1),
    ).map(_written_by_gdal)


def _written_by_gdal(raster: Strange) -> Strange:
    """With the types and shapes that its compression needs."""
    if raster.compress not in OF_BYTES:
        return raster
    fewest, most = {"webp": (3, 4), "jpeg": (1, 4)}.get(raster.compress, (1, 20))
    bands = min(max(raster.bands, fewest), most)
    block = -(-raster.block // 16) * 16
    return replace(raster, dtype="uint8", bands=bands, block=block, interleave="pixel")


def judged_raster(
    place: Path, raster: Strange, models: tuple[Model, Model]
) -> tuple[str, list[str]]:
    """Make a raster in an empty folder and colorize it."""
    in_xml = raster.declared and raster.tiled
    scene = place / ("scene.vrt" if in_xml else "scene.tif")
    if not raster.write(scene):
        return "GDAL writes no such file", []
    # A VRT of nothing is nodata without saying so; any size of it that fits may be colorized.
    return judged_scene(place, scene, raster.explicit, models)


def rasters(number: int, cases: int, folder: Path) -> Record:
    """Strange rasters, drawn by hypothesis."""
    torch.set_num_threads(1)
    models = (
        painting_model(folder, name="tiny", seed=11),
        painting_model(folder, name="tiny", quantity="counts", seed=12),
    )
    for model in models:
        load_generator(model)
    drawn: list[Strange] = []

    @seed(number)
    @settings(
        max_examples=cases,
        database=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(strange_rasters())
    def draw(raster: Strange) -> None:
        drawn.append(raster)

    draw()

    def make() -> Iterator[tuple[str, Case]]:
        for position, raster in enumerate(drawn):
            yield f"{position} ({raster})", _case(folder / f"case-{position}", raster, models)

    return judge(Record("rasters", number), make())


def _case(place: Path, raster: Strange, models: tuple[Model, Model]) -> Case:
    def case() -> tuple[str, list[str]]:
        place.mkdir()
        try:
            return judged_raster(place, raster, models)
        finally:
            shutil.rmtree(place)

    return case
