"""netCDF files and Zarr stores: the same pixels as the GeoTIFF of the same scene."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import rasterio
import rioxarray
import xarray as xr
from helpers import NORTH_UP_10M, UTM, random_model, write_raster
from numpy.typing import NDArray
from pictures import command, events, listing, punch_holes, read, scene_values, whole_picture
from rasterio.crs import CRS

import nirgeo
from nirgeo import multidim
from nirgeo.errors import BandError, OptionError, ResumeError, SourceError
from nirgeo.georeference import grid_of
from nirgeo.modelfile import Model
from nirgeo.scene_attributes import VALID

pytest.importorskip("netCDF4")
pytest.importorskip("zarr")

# Of the libraries that write the test's stores.
pytestmark = pytest.mark.filterwarnings("ignore::UserWarning", "ignore::FutureWarning")

HEIGHT, WIDTH = 150, 170
XS = NORTH_UP_10M.c + NORTH_UP_10M.a * (np.arange(WIDTH) + 0.5)
YS = NORTH_UP_10M.f + NORTH_UP_10M.e * (np.arange(HEIGHT) + 0.5)


def band(values: NDArray[np.uint16], name: str) -> xr.DataArray:
    made = xr.DataArray(values, dims=("y", "x"), coords={"y": YS, "x": XS}, name=name)
    made = made.rio.write_crs(UTM)
    made.encoding["_FillValue"] = 0
    return made


def one_variable(nir: NDArray[np.uint16]) -> xr.Dataset:
    return band(nir, "nir").to_dataset()


def variable_per_band(nir: NDArray[np.uint16]) -> xr.Dataset:
    return xr.Dataset({"red": band(nir // 2, "red"), "nir": band(nir, "nir")})


def cube(nir: NDArray[np.uint16]) -> xr.Dataset:
    both = xr.concat([band(nir // 2, "r"), band(nir, "r")], dim="band")
    both = both.assign_coords(band=["red", "nir"]).rename("reflectance")
    both.encoding["_FillValue"] = 0
    return both.to_dataset()


def one_date(nir: NDArray[np.uint16]) -> xr.Dataset:
    dated = band(nir, "nir").expand_dims(time=np.array(["2024-06-01"], dtype="datetime64[ns]"))
    dated.encoding["_FillValue"] = 0
    return dated.to_dataset()


def transposed(nir: NDArray[np.uint16]) -> xr.Dataset:
    turned = band(nir, "nir").transpose("x", "y")
    turned.encoding["_FillValue"] = 0
    return turned.to_dataset()


def store(dataset: xr.Dataset, folder: Path, kind: str) -> Path:
    path = folder / f"scene.{kind}"
    if kind == "nc":
        dataset.to_netcdf(path)
    else:
        dataset.to_zarr(path)
    return path


@pytest.fixture
def nir() -> NDArray[np.uint16]:
    values: NDArray[np.uint16] = scene_values(HEIGHT, WIDTH)
    values[~punch_holes(HEIGHT, WIDTH)] = 0
    return values


@pytest.mark.parametrize("kind", ["nc", "zarr"])
@pytest.mark.parametrize(
    "layout",
    [one_variable, variable_per_band, cube, one_date, transposed],
    ids=lambda f: f.__name__,
)
def test_the_same_file_as_from_a_geotiff(
    tmp_path: Path,
    tiny: Model,
    nir: NDArray[np.uint16],
    layout: Callable[[NDArray[np.uint16]], xr.Dataset],
    kind: str,
) -> None:
    tif = write_raster(tmp_path / "scene.tif", nir, nodata=0)
    path = store(layout(nir), tmp_path, kind)
    made = []
    for source in (tif, path):
        target = tmp_path / f"{source.suffix[1:]}_out.tif"
        for chunk in (1, 16):
            options = ("--model", tiny.path, "--scale", "0.0001", "--chunk", chunk, "-q")
            command("colorize", source, "-o", target, "--overwrite", *options)
            made.append(target.read_bytes())
    assert all(other == made[0] for other in made[1:])
    pixels, mask = read(target)
    np.testing.assert_array_equal(pixels, whole_picture(nir[None], nir != 0, tiny))
    np.testing.assert_array_equal(mask, nir != 0)


@pytest.mark.parametrize("kind", ["nc", "zarr"])
def test_the_files_own_scaling_is_found(
    tmp_path: Path, tiny: Model, nir: NDArray[np.uint16], kind: str
) -> None:
    dataset = one_variable(nir)
    dataset["nir"].attrs |= {"scale_factor": 0.0001, "add_offset": 0.0}
    scene = nirgeo.open_scene(store(dataset, tmp_path, kind))
    assert scene.dtype == np.uint16  # as stored; nothing is decoded to floats
    rgb = nirgeo.colorize(scene, tiny)
    assert rgb.attrs["nirgeo_scaling"] == "reflectance:0.0001,0.0"
    assert "scale_factor" in rgb.attrs["nirgeo_scaling_origin"]
    np.testing.assert_array_equal(rgb.values, whole_picture(nir[None], nir != 0, tiny))
    np.testing.assert_array_equal(rgb[VALID].values, nir != 0)


@pytest.mark.parametrize("kind", ["nc", "zarr"])
def test_bands_by_name_and_number(tmp_path: Path, nir: NDArray[np.uint16], kind: str) -> None:
    model = random_model(tmp_path, bands=("red", "nir"), seed=4)
    red = scene_values(HEIGHT, WIDTH, seed=9)
    whole = whole_picture(np.stack([red, nir]), nir != 0, model)
    dataset = xr.Dataset({"B08": band(nir, "B08"), "B04": band(red, "B04")})
    path = store(dataset, tmp_path, kind)
    # A store has no order of its own: there bands count by name.
    numbers = {"nir": 1, "red": 2} if kind == "nc" else {"nir": 2, "red": 1}
    for asked in ({"nir": "B08", "red": "B04"}, numbers, {}):  # Sentinel-2's names tell as well
        scene = nirgeo.open_scene(path, scale="0.0001", **asked)  # type: ignore[arg-type]
        np.testing.assert_array_equal(nirgeo.colorize(scene, model).values, whole)
    with pytest.raises(BandError, match=r"--nir 'B99'.*B08"):
        nirgeo.open_scene(path, nir="B99")
    folder = tmp_path / "other"
    folder.mkdir()
    other = store(dataset.rename(B08="B8", B04="B4"), folder, kind)
    with pytest.raises(BandError, match="--nir"):
        nirgeo.open_scene(other)
    numbered = cube(nir)["reflectance"].assign_coords(band=[4, 8]).to_dataset()
    numbered["reflectance"].encoding["_FillValue"] = 0
    folder = tmp_path / "numbered"
    folder.mkdir()
    scene = nirgeo.open_scene(store(numbered, folder, kind), nir=2, scale="0.0001")
    np.testing.assert_array_equal(scene.sel(band="nir").values, nir)


def test_bands_coded_differently_are_not_read_together(
    tmp_path: Path, tiny: Model, nir: NDArray[np.uint16]
) -> None:
    dataset = variable_per_band(nir)
    dataset["red"].encoding["_FillValue"] = 65_535
    path = store(dataset, tmp_path, "nc")
    scene = nirgeo.open_scene(path, scale="0.0001")
    assert list(scene["band"].values) == ["nir"]
    np.testing.assert_array_equal(
        nirgeo.colorize(scene, tiny).values, whole_picture(nir[None], nir != 0, tiny)
    )
    with pytest.raises(BandError, match="--red"):
        nirgeo.open_scene(path, nir="nir", red="red")


def test_degrees_are_wgs_84_unless_the_file_says_otherwise(
    tmp_path: Path, tiny: Model, nir: NDArray[np.uint16]
) -> None:
    lon = xr.Variable("lon", 11 + np.arange(WIDTH) / 1000, {"units": "degrees_east"})
    lat = xr.Variable("lat", 48 - np.arange(HEIGHT) / 1000, {"units": "degrees_north"})
    dataset = xr.Dataset({"nir": (("lat", "lon"), nir)}, coords={"lon": lon, "lat": lat})
    scene = nirgeo.open_scene(store(dataset, tmp_path, "nc"), scale="0.0001", nodata=0)
    target = nirgeo.write_geotiff(nirgeo.colorize(scene, tiny), tmp_path / "out.tif")
    with rasterio.open(target) as file:
        assert file.crs == CRS.from_epsg(4326)
        wanted = rasterio.Affine(0.001, 0, 10.9995, 0, -0.001, 48.0005)
        assert file.transform.almost_equals(wanted, 1e-9)
        np.testing.assert_array_equal(file.dataset_mask() != 0, nir != 0)


@pytest.mark.parametrize("kind", ["nc", "zarr"])
def test_info(tmp_path: Path, tiny: Model, nir: NDArray[np.uint16], kind: str) -> None:
    path = store(variable_per_band(nir), tmp_path, kind)
    options = ("--model", tiny.path, "--scale", "0.0001")
    facts = json.loads(command("info", path, "--json", *options).stdout)
    assert facts["crs"] == UTM
    assert facts["size"] == "170 × 150 px"
    assert facts["pixel"] == "10 m"
    order = ["red", "nir"] if kind == "nc" else ["nir", "red"]
    assert facts["bands"] == [f"{k}: {name}" for k, name in enumerate(order, start=1)]
    assert sorted(facts["roles"]) == sorted(f"{n}={k}" for k, n in enumerate(order, start=1))
    assert facts["scaling"] == "reflectance = 0.0001 · DN (--scale)"
    assert "near infrared" not in facts["notes"]
    assert "170 × 150" in command("info", path, *options).stdout


@pytest.mark.parametrize("kind", ["nc", "zarr"])
def test_the_run_says_what_it_found(
    tmp_path: Path, tiny: Model, nir: NDArray[np.uint16], kind: str
) -> None:
    path = store(one_variable(nir), tmp_path, kind)
    result = command("colorize", path, "--model", tiny.path)
    assert result.stdout.strip() == str(tmp_path / "scene_rgb.tif")
    assert "assumed: reflectance × 10000" in result.stderr
    assert "--scale GAIN" in result.stderr
    assert tiny.spec.full_name in result.stderr


def test_resume(tmp_path: Path, tiny: Model, nir: NDArray[np.uint16]) -> None:
    path = store(one_variable(nir), tmp_path, "nc")
    target = tmp_path / "out.tif"

    def write(**options: object) -> Path:
        scene = nirgeo.open_scene(path, scale="0.0001", chunk=1)
        return nirgeo.write_geotiff(
            nirgeo.colorize(scene, tiny),
            target,
            resume=True,
            **options,  # type: ignore[arg-type]
        )

    def interrupt(done: int, total: int) -> None:
        if done == 4:
            raise RuntimeError("stopped")

    with pytest.raises(RuntimeError, match="stopped"):
        write(on_progress=interrupt)
    status = path.stat()
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns + 10**9))
    with pytest.raises(ResumeError):
        write()
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
    starts: list[tuple[int, int]] = []
    write(on_start=lambda *s: starts.append(s))
    assert starts[0][0] >= 4
    np.testing.assert_array_equal(read(target)[0], whole_picture(nir[None], nir != 0, tiny))


@pytest.mark.parametrize("kind", ["nc", "zarr"])
def test_what_is_no_scene_is_refused_in_a_line(tmp_path: Path, kind: str) -> None:
    flat = xr.Dataset({"a": ("t", np.arange(5))})
    folder = tmp_path / "flat"
    folder.mkdir()
    two = xr.Dataset({n: (("t", "y", "x"), np.ones((2, 9, 9))) for n in ("a", "b")})
    other = tmp_path / "two"
    other.mkdir()
    broken = tmp_path / f"broken.{kind}"
    if kind == "nc":
        broken.write_bytes(b"\x89HDF\r\n\x1a\n" + bytes(3000))
    else:
        broken.mkdir()
        (broken / "zarr.json").write_text('{"zarr_format": 3, "node_type": "gro')
    cases = {
        tmp_path / f"gone.{kind}": "no such file",
        broken: "can't open",
        store(flat, folder, kind): "no variable has two spatial dimensions",
        store(two, other, kind): "a, b have a dimension more, t of 2, and a scene is one raster",
    }
    before = listing(tmp_path)
    for path, words in cases.items():
        result = command("colorize", path, "--progress", "jsonl", expect=1)
        (error,) = events(result.stdout)
        assert words in error["message"]
        assert str(path) in error["message"]
        assert error["code"] in ("source-unreadable", "band-not-found")
        assert result.stderr == f"Error: {error['message']}\n"
    assert listing(tmp_path) == before


def test_a_part_of_a_store_is_that_of_a_geotiff(
    tmp_path: Path, tiny: Model, nir: NDArray[np.uint16]
) -> None:
    # With the halo of the whole; what lies beside the bounds is not computed.
    west, north = XS[40] - 5, YS[30] + 5
    bounds = ("--bounds", west, north - 700, west + 900, north)
    options = ("--model", tiny.path, "--scale", "0.0001", "--chunk", 1, *bounds)
    paths = [write_raster(tmp_path / "scene.tif", nir, nodata=0)]
    paths += [store(variable_per_band(nir), tmp_path, kind) for kind in ("nc", "zarr")]
    made, told = [], []
    for k, path in enumerate(paths):
        target = tmp_path / f"{k}.tif"
        done = command("colorize", path, "-o", target, *options, "--progress", "jsonl")
        made.append(target.read_bytes())
        told.append(json.loads(command("info", path, *options, "--json").stdout)["size"])
        assert events(done.stdout)[-1]["event"] == "result"
    assert made[0] == made[1] == made[2]
    assert told[0] == told[1] == told[2]
    pixels, _ = read(tmp_path / "2.tif")
    whole = whole_picture(nir[None], nir != 0, tiny)
    np.testing.assert_array_equal(pixels, whole[:, 30:100, 40:130])
    for path in paths[1:]:
        line = command("colorize", path, "--bounds", 0, 0, 1, 1, expect=1).stderr
        assert "lie outside the scene" in line


@pytest.mark.parametrize(
    ("name", "remedy"), [("x.nc", "netCDF files are read from disks"), ("x.zarr", "or download it")]
)
def test_what_can_not_be_read_from_a_server_is_to_be_downloaded(
    monkeypatch: pytest.MonkeyPatch, name: str, remedy: str
) -> None:
    def fails(*_: object, **__: object) -> None:
        raise ImportError("HTTPFileSystem requires aiohttp")

    monkeypatch.setattr(xr, "open_dataset", fails)
    with pytest.raises(SourceError, match=remedy) as told:
        nirgeo.open_scene(f"http://127.0.0.1:9/{name}")
    assert "nirgeo[netcdf]" not in str(told.value)


def test_options_that_need_gdal_are_refused(tmp_path: Path, nir: NDArray[np.uint16]) -> None:
    path = store(one_variable(nir), tmp_path, "nc")
    with pytest.raises(OptionError, match="bounds"):
        nirgeo.open_scene(path, bounds=(500_000, 4_999_000, 501_000, 5_000_000))
    with pytest.raises((OptionError, SourceError)):
        nirgeo.open_scene(path, stack={"red": path})


def test_masks_and_transforms_of_bands_are_kept(tmp_path: Path, tiny: Model) -> None:
    turned = rasterio.Affine(10, 0, 500_000, 0, -10, 5_200_000) @ rasterio.Affine.rotation(20)
    path = write_raster(tmp_path / "rot.tif", scene_values(60, 90), nodata=0, transform=turned)
    scene = nirgeo.open_scene(path, scale=1e-4)
    masked = scene.assign_coords(valid=scene.valid & (np.arange(90) < 30))
    masked.rename("scene").to_zarr(tmp_path / "a.zarr")
    found = nirgeo.colorize(nirgeo.open_scene(tmp_path / "a.zarr"), tiny)
    np.testing.assert_array_equal(found.valid, masked.valid)
    apart = rioxarray.open_rasterio(path, band_as_variable=True).rename(band_1="nir")
    apart.to_netcdf(tmp_path / "r.nc")
    again = nirgeo.open_scene(tmp_path / "r.nc")
    nirgeo.write_geotiff(nirgeo.colorize(again, tiny, scale=1e-4), tmp_path / "o.tif")
    with rasterio.open(tmp_path / "o.tif") as file:
        assert file.transform.almost_equals(turned, 1e-6)


def test_unsigned_bytes_of_a_classic_file(tmp_path: Path) -> None:
    counts = np.random.default_rng(0).integers(0, 256, (70, 80)).astype(np.uint8)
    stored = xr.Dataset({"nir": (("y", "x"), counts.view(np.int8))})
    stored["nir"].attrs |= {"_Unsigned": "true", "_FillValue": np.int8(-1)}
    stored.to_netcdf(tmp_path / "c.nc", format="NETCDF3_CLASSIC")
    scene = nirgeo.open_scene(tmp_path / "c.nc")
    assert scene.dtype == np.uint8
    np.testing.assert_array_equal(scene[0], counts)
    assert scene.rio.nodata == 255


@pytest.mark.parametrize("kind", ["nc", "zarr"])
@pytest.mark.parametrize("shape", [(1, 80), (80, 1)])
def test_a_scene_of_one_line(tmp_path: Path, kind: str, shape: tuple[int, int]) -> None:
    values = scene_values(*shape)
    coords = {"y": YS[: shape[0]], "x": XS[: shape[1]]}
    line = xr.DataArray(values, dims=("y", "x"), coords=coords, name="nir")
    scene = nirgeo.open_scene(store(line.to_dataset(), tmp_path, kind), scale="0.0001")
    assert scene.dims == ("band", "y", "x")
    np.testing.assert_array_equal(scene[0], values)


def test_bands_of_a_store_count_by_name_whatever_its_order(tmp_path: Path) -> None:
    named = {name: (("y", "x"), np.full((70, 80), k, np.uint16)) for k, name in enumerate("CAB")}
    path = tmp_path / "scene.zarr"
    xr.Dataset(named).to_zarr(path, zarr_format=2, consolidated=True)
    index = path / ".zmetadata"
    content = json.loads(index.read_text())
    for turned in (False, True):
        content["metadata"] = dict(sorted(content["metadata"].items(), reverse=turned))
        index.write_text(json.dumps(content))
        for number, value in ((1, 1), (2, 2), (3, 0)):
            scene = nirgeo.open_scene(path, nir=number, scale="0.0001")
            assert (scene.sel(band="nir").values == value).all()


def test_ground_control_points_of_bands_are_kept(tmp_path: Path) -> None:
    points = [(0, 0, 9.0, 46.0, 0), (0, 90, 9.1, 46.0, 0), (60, 0, 9.0, 45.9, 0)]
    path = write_raster(
        tmp_path / "a.tif", scene_values(60, 90), crs=None, transform=None, gcps=points
    )
    bands = rioxarray.open_rasterio(path, band_as_variable=True).rename(band_1="nir")
    bands.to_netcdf(tmp_path / "a.nc")
    scene = nirgeo.open_scene(tmp_path / "a.nc", scale="0.0001")
    assert [point[:4] for point in grid_of(scene).gcps] == [point[:4] for point in points]


def test_a_variable_that_is_stored_in_one_piece_is_one_chunk(tmp_path: Path) -> None:
    values = np.ones((1030, 1030), np.uint16)
    whole = xr.Dataset({"nir": (("y", "x"), values)})
    whole.to_netcdf(tmp_path / "a.nc", encoding={"nir": {"contiguous": True}})
    assert nirgeo.open_scene(tmp_path / "a.nc", scale="0.0001").shape == (1, 1030, 1030)


def test_only_integers_with_a_sign_are_taken_for_unsigned_ones(tmp_path: Path) -> None:
    for values in (np.linspace(0, 1, 5600, dtype=np.float32), np.arange(5600, dtype=np.uint16)):
        stored = xr.Dataset({"nir": (("y", "x"), values.reshape(70, 80), {"_Unsigned": "true"})})
        path = tmp_path / f"{values.dtype}.nc"
        stored.to_netcdf(path)
        scene = nirgeo.open_scene(path, scale="1")
        assert scene.dtype == values.dtype
        np.testing.assert_array_equal(scene[0], values.reshape(70, 80))


def test_a_store_is_not_opened_where_it_could_run_code(
    tmp_path: Path, nir: NDArray[np.uint16], monkeypatch: pytest.MonkeyPatch
) -> None:
    stores = {kind: store(one_variable(nir), tmp_path, kind) for kind in ("nc", "zarr")}
    monkeypatch.setattr(multidim, "version", lambda _: "0.16.5")
    with pytest.raises(SourceError, match=r"numcodecs 0\.16\.5, which reads Zarr stores"):
        nirgeo.open_scene(stores["zarr"])
    assert nirgeo.open_scene(stores["nc"], scale="0.0001").shape == (1, HEIGHT, WIDTH)
