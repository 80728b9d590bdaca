"""Open datasets: one set per thread, opened anew when a file changes, never too many."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import rasterio
from helpers import NORTH_UP_10M, UTM, write_raster

from nirgeo import gdal_settings, handles
from nirgeo.errors import SourceError


@pytest.fixture(autouse=True)
def _closed() -> Iterator[None]:
    handles.close_all()
    yield
    handles.close_all()


def _raster(path: Path, value: int = 1, size: int = 8) -> str:
    return str(write_raster(path, np.full((size, size), value, dtype=np.uint16)))


def test_a_dataset_is_opened_once_per_thread(tmp_path: Path) -> None:
    path = _raster(tmp_path / "a.tif")
    mine = handles.dataset(path)
    assert handles.dataset(path) is mine
    theirs = []
    thread = threading.Thread(target=lambda: theirs.append(handles.dataset(path)))
    thread.start()
    thread.join()
    assert theirs[0] is not mine


def test_a_replaced_file_is_opened_anew(tmp_path: Path) -> None:
    path = _raster(tmp_path / "a.tif", value=1)
    assert handles.dataset(path).read(1).max() == 1
    other = _raster(tmp_path / "b.tif", value=2)
    os.replace(other, path)
    assert handles.dataset(path).read(1).max() == 2


def test_a_file_rewritten_in_place_with_the_same_size_is_opened_anew(tmp_path: Path) -> None:
    path = _raster(tmp_path / "a.tif", value=1)
    size = os.stat(path).st_size
    assert handles.dataset(path).read(1).max() == 1
    before = os.stat(path).st_mtime_ns
    _raster(tmp_path / "a.tif", value=3)
    os.utime(path, ns=(before + 10**9, before + 10**9))  # whatever the file system's clock does
    assert os.stat(path).st_size == size
    assert handles.dataset(path).read(1).max() == 3


def test_a_vanished_file_is_an_error_even_if_it_is_still_open(tmp_path: Path) -> None:
    path = _raster(tmp_path / "a.tif")
    handles.dataset(path)
    os.unlink(path)
    with pytest.raises(SourceError, match="no such file"):
        handles.dataset(path)


def test_the_least_recently_used_is_closed(tmp_path: Path) -> None:
    paths = [_raster(tmp_path / f"{k}.tif") for k in range(handles.MAX_OPEN_PER_THREAD + 1)]
    opened = [handles.dataset(path) for path in paths[:-1]]
    assert handles.dataset(paths[0]) is opened[0]  # used again, so the second is now the oldest
    handles.dataset(paths[-1])
    assert [dataset.closed for dataset in opened] == [False, True] + [False] * (len(opened) - 2)
    assert handles.dataset(paths[1]).read(1).max() == 1


def test_close_all(tmp_path: Path) -> None:
    opened = [handles.dataset(_raster(tmp_path / f"{k}.tif")) for k in range(3)]
    handles.close_all()
    assert all(dataset.closed for dataset in opened)
    assert not handles.dataset(opened[0].name).closed


def test_a_warp_target_is_another_dataset_of_the_same_file(tmp_path: Path) -> None:
    path = _raster(tmp_path / "a.tif", value=7, size=8)
    target = handles.WarpTarget(16, 12, tuple(NORTH_UP_10M @ rasterio.Affine.scale(0.5))[:6], UTM)
    warp = handles.Warp(target, 1)
    plain, warped = handles.dataset(path), handles.dataset(path, warp)
    assert (plain.height, plain.width) == (8, 8)
    assert (warped.height, warped.width) == (16, 12)
    assert (warped.read(1) == 7).all()
    assert handles.dataset(path, warp) is warped
    # What counts as missing is part of how a band is resampled.
    other = [handles.Warp(target, 1, nodata=float("nan")) for _ in range(2)]
    assert handles.dataset(path, other[0]) is not warped
    assert handles.dataset(path, other[0]) is handles.dataset(path, other[1])


def test_settings_for_remote_files_last_only_inside(monkeypatch: pytest.MonkeyPatch) -> None:
    name = "GDAL_DISABLE_READDIR_ON_OPEN"
    monkeypatch.delenv(name, raising=False)
    with rasterio.Env():
        with gdal_settings.gdal_env("https://example.com/scene.tif"):
            assert rasterio.env.getenv()[name] == "EMPTY_DIR"
        assert name not in rasterio.env.getenv()
        with gdal_settings.gdal_env("scene.tif"):
            assert name not in rasterio.env.getenv()


def test_what_the_user_has_set_wins(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GDAL_HTTP_MAX_RETRY", "9")
    with gdal_settings.gdal_env("https://example.com/scene.tif"):
        assert "GDAL_HTTP_MAX_RETRY" not in rasterio.env.getenv()


@pytest.mark.parametrize("content", [b"", b"not a raster", b"II*\x00\x08\x00\x00\x00"])
def test_not_a_raster(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "broken.tif"
    path.write_bytes(content)
    with pytest.raises(SourceError, match=r"broken\.tif: not a raster"):
        handles.open_dataset(str(path))


def test_a_folder_is_not_a_raster(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="not a raster"):
        handles.open_dataset(str(tmp_path))


def test_no_such_file(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match=r"gone\.tif: no such file"):
        handles.open_dataset(str(tmp_path / "gone.tif"))


def test_file_stamp(tmp_path: Path) -> None:
    path = _raster(tmp_path / "a.tif")
    status = os.stat(path)
    assert handles.file_stamp(path) == (status.st_size, status.st_mtime_ns)
    assert handles.file_stamp("/vsicurl/https://example.com/a.tif") is None
    assert handles.file_stamp("null\0byte") is None
