"""What rio and a caller's rasterio.Env say holds in every thread that reads or writes."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import pytest
import rasterio
from click.testing import CliRunner
from helpers import write_raster
from pictures import scene_values
from rasterio.env import get_gdal_config, getenv, hasenv
from rasterio.rio.main import main_group

import nirgeo
from nirgeo import gdal_settings
from nirgeo.cores import cores
from nirgeo.creation_options import cog_options
from nirgeo.modelfile import Model
from nirgeo.source import RasterSource


@pytest.fixture
def scene(tmp_path: Path) -> Path:
    return write_raster(tmp_path / "scene.tif", scene_values(150, 140))


@pytest.fixture
def seen(monkeypatch: pytest.MonkeyPatch) -> list[tuple[bool, dict[str, Any]]]:
    """Whether each read was in a worker's thread, and rasterio's environment there."""
    found = []
    read = RasterSource.read

    def spy(self: RasterSource, *arguments: Any) -> Any:
        worker = threading.current_thread().name.startswith("nirgeo")
        found.append((worker, dict(getenv()) if hasenv() else {}))
        return read(self, *arguments)

    monkeypatch.setattr(RasterSource, "read", spy)
    return found


def rio(*arguments: object) -> Any:
    return CliRunner().invoke(main_group, [str(a) for a in arguments])


def test_rio_decides_how_much_is_said(scene: Path, tiny: Model, tmp_path: Path) -> None:
    arguments = ("colorize", scene, "--model", tiny.path, "--overwrite", "-o", tmp_path / "o.tif")
    said = rio(*arguments)
    assert said.exit_code == 0, said.output
    assert "near infrared: band 1" in said.output
    quiet = rio("-q", *arguments)
    assert quiet.exit_code == 0, quiet.output
    assert quiet.output == ""


def test_rio_decides_whether_tracebacks_are_shown(tmp_path: Path) -> None:
    missing = tmp_path / "missing.tif"
    plain, verbose = rio("colorize", missing), rio("-v", "colorize", missing)
    assert plain.exit_code == verbose.exit_code != 0
    assert "Traceback" not in plain.output
    assert "Traceback" in verbose.output


def test_rios_sign_in_reaches_the_workers(
    scene: Path, tiny: Model, tmp_path: Path, seen: list[tuple[bool, dict[str, Any]]]
) -> None:
    pytest.importorskip("boto3", reason="rasterio signs in to AWS with boto3 only")
    out = tmp_path / "o.tif"
    done = rio("--aws-no-sign-requests", "colorize", scene, "--model", tiny.path, "-o", out)
    assert done.exit_code == 0, done.output
    workers = [settings for worker, settings in seen if worker]
    assert workers
    assert all(settings.get("AWS_NO_SIGN_REQUEST") == "YES" for settings in workers)


def test_a_callers_environment_holds_in_every_thread(
    scene: Path, tiny: Model, tmp_path: Path, seen: list[tuple[bool, dict[str, Any]]]
) -> None:
    with rasterio.Env(NIRGEO_TEST="yes"):
        lazy = nirgeo.colorize(nirgeo.open_scene(scene, chunk=1), tiny)
        seen.clear()
        nirgeo.write_geotiff(lazy, tmp_path / "o.tif", workers=2)
    assert {worker for worker, _ in seen} == {True}
    assert all(settings["NIRGEO_TEST"] == "yes" for _, settings in seen)
    assert get_gdal_config("NIRGEO_TEST") is None


def test_what_a_user_has_set_is_not_set_again() -> None:
    url = "https://example.org/scene.tif"
    with gdal_settings.gdal_env(url):
        assert get_gdal_config("GDAL_DISABLE_READDIR_ON_OPEN") == "EMPTY_DIR"
    with rasterio.Env(GDAL_DISABLE_READDIR_ON_OPEN="FALSE"), gdal_settings.gdal_env(url):
        assert get_gdal_config("GDAL_DISABLE_READDIR_ON_OPEN") in (False, "FALSE", "NO")


def test_threads_of_the_driver_are_the_users() -> None:
    assert cog_options({})["NUM_THREADS"] == str(cores())
    with rasterio.Env(GDAL_NUM_THREADS=1):
        assert "NUM_THREADS" not in cog_options({})
        assert cog_options({"NUM_THREADS": "3"})["NUM_THREADS"] == "3"


def test_the_cache_is_bounded_unless_somebody_chose(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("GDAL_CACHEMAX", raising=False)
    with gdal_settings.bounded_cache():
        assert int(get_gdal_config("GDAL_CACHEMAX")) == gdal_settings.CACHE_BYTES
    with rasterio.Env(GDAL_CACHEMAX=50_000_000), gdal_settings.bounded_cache():
        assert int(get_gdal_config("GDAL_CACHEMAX")) == 50_000_000
