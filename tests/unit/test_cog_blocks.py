"""Blocks of a COG that are missing, cut off or holes are noticed."""

from __future__ import annotations

import os
import struct
from pathlib import Path

import numpy as np
import pytest
import rasterio
import rasterio.shutil
from hypothesis import given, settings
from hypothesis import strategies as st

from nirgeo.cog_blocks import check_blocks

OPTIONS: tuple[dict[str, str], ...] = (
    {},
    {"COMPRESS": "NONE"},
    {"COMPRESS": "ZSTD", "BIGTIFF": "YES"},
    {"COMPRESS": "JPEG"},
    {"INTERLEAVE": "BAND"},
    {"SPARSE_OK": "TRUE"},
    {"STATISTICS": "YES"},
    {"ADD_ALPHA": "YES"},
    {"TILING_SCHEME": "GoogleMapsCompatible"},
)


def write_cog(folder: Path, options: dict[str, str]) -> Path:
    """A picture of 500 × 400 px with a corner of nothing, and its overviews."""
    values = np.random.default_rng(0).integers(1, 255, (3, 500, 400), dtype=np.uint8)
    values[:, :260, :260] = 0
    source, target = folder / "source.tif", folder / "cog.tif"
    place = {"crs": "EPSG:32633", "transform": rasterio.Affine(10, 0, 4e5, 0, -10, 6e6)}
    size = {"count": 3, "dtype": "uint8", "height": 500, "width": 400}
    with rasterio.Env(GDAL_TIFF_INTERNAL_MASK="YES"):
        with rasterio.open(source, "w", driver="GTiff", tiled=True, **size, **place) as file:
            file.write(values)
            file.write_mask(np.where(values[0] > 0, 255, 0).astype(np.uint8))
        made = {"COMPRESS": "DEFLATE", "BLOCKSIZE": "128", "OVERVIEWS": "AUTO", **options}
        rasterio.shutil.copy(source, target, driver="COG", **made)
    return target


def look_at(path: Path, *, sparse: bool = False) -> None:
    with open(path, "rb") as file:
        check_blocks(file, sparse=sparse)


@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_what_gdal_writes_is_whole(tmp_path: Path, options: dict[str, str]) -> None:
    path = write_cog(tmp_path, options)
    sparse = "SPARSE_OK" in options
    look_at(path, sparse=sparse)
    os.truncate(path, path.stat().st_size - 1)
    with pytest.raises(OSError, match="not whole"):
        look_at(path, sparse=sparse)


@pytest.mark.parametrize("options", [{"COMPRESS": "WEBP"}, {"OVERVIEW_COMPRESS": "WEBP"}], ids=str)
def test_a_block_that_an_encoder_failed_on_is_noticed(
    tmp_path: Path, options: dict[str, str]
) -> None:
    """Of five bands WebP makes nothing, in threads of its own that tell nobody."""
    source, target = tmp_path / "source.tif", tmp_path / "cog.tif"
    place = {"crs": "EPSG:32633", "transform": rasterio.Affine(10, 0, 4e5, 0, -10, 6e6)}
    size = {"count": 5, "dtype": "uint8", "height": 600, "width": 600}
    with rasterio.open(source, "w", driver="GTiff", tiled=True, **size, **place) as file:
        file.write(np.full((5, 600, 600), 90, dtype=np.uint8))
    rasterio.shutil.copy(source, target, driver="COG", NUM_THREADS="2", **options)
    with rasterio.open(target) as made:
        level = made if "COMPRESS" in options else None
        assert level is None or (level.read() == 0).all()  # as if it were a picture
    with pytest.raises(OSError, match="could not be encoded"):
        look_at(target)


def test_a_sparse_file_may_lack_blocks_and_no_other(tmp_path: Path) -> None:
    path = write_cog(tmp_path, {"SPARSE_OK": "TRUE"})
    look_at(path, sparse=True)
    with pytest.raises(OSError, match="could not be encoded"):
        look_at(path)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    return write_cog(tmp_path_factory.mktemp("cog"), {}).read_bytes()


@settings(max_examples=80, deadline=None)
@given(data=st.data())
def test_a_write_that_is_lost_is_noticed(
    whole: bytes, tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    # What a disk without room does: the end is gone, or what follows has moved up.
    path = tmp_path_factory.getbasetemp() / "damaged.tif"
    start = data.draw(st.integers(1024, len(whole) - 8))
    length = data.draw(st.integers(8, len(whole) - start))
    how = data.draw(st.sampled_from(("cut", "moved up")))
    path.write_bytes(whole[:start] + (b"" if how == "cut" else whole[start + length :]))
    with pytest.raises(OSError, match=r"not whole|cut off|lists no blocks"):
        look_at(path)


def test_every_block_is_looked_at(tmp_path: Path, whole: bytes) -> None:
    # GDAL names those of the picture; between them lie those of its mask.
    path = tmp_path / "cog.tif"
    path.write_bytes(whole)
    ends = []
    with rasterio.open(path) as file:
        for level in (None, *range(len(file.overviews(1)))):
            for row, col in np.ndindex(4, 4):
                places = [
                    file.get_tag_item(f"BLOCK_{what}_{col}_{row}", "TIFF", bidx=1, ovr=level)
                    for what in ("OFFSET", "SIZE")
                ]
                if None not in places:
                    ends.append(sum(map(int, places)))
    assert len(ends) == 16 + 4 + 1
    masks = []
    for end in ends:
        (length,) = struct.unpack_from("<I", whole, end + 4)
        masks.append(end + 8 + length)
    assert max(masks) + 4 == len(whole)
    for end in ends + masks:
        damaged = bytearray(whole)
        damaged[end - 1] ^= 1
        path.write_bytes(damaged)
        with pytest.raises(OSError, match="not whole"):
            look_at(path)
        path.write_bytes(whole[: end + 3])
        with pytest.raises(OSError, match="not whole"):
            look_at(path)


def test_a_file_that_ends_within_its_last_block_is_not_whole(tmp_path: Path, whole: bytes) -> None:
    path = tmp_path / "cog.tif"
    for lost in range(1, 13):
        path.write_bytes(whole[:-lost])
        with pytest.raises(OSError, match="not whole"):
            look_at(path)


def test_a_block_of_another_length_than_is_listed_is_noticed(tmp_path: Path, whole: bytes) -> None:
    path = tmp_path / "cog.tif"
    path.write_bytes(whole)
    with rasterio.open(path) as file:
        start = int(file.get_tag_item("BLOCK_OFFSET_1_2", "TIFF", bidx=1))
    damaged = bytearray(whole)
    damaged[start - 4] ^= 1
    path.write_bytes(damaged)
    with pytest.raises(OSError, match=f"byte {start} of .* is not whole"):
        look_at(path)


def test_another_layout_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "plain.tif"
    size = {"count": 1, "dtype": "uint8", "height": 64, "width": 64}
    place = {"crs": "EPSG:32633", "transform": rasterio.Affine(10, 0, 4e5, 0, -10, 6e6)}
    with rasterio.open(path, "w", driver="GTiff", **size, **place) as file:
        file.write(np.ones((1, 64, 64), np.uint8))
    with pytest.raises(OSError, match="does not say"):
        look_at(path)
