"""The tested law: the same pixels for every chunk size, worker, thread and way in."""

from __future__ import annotations

import pickle
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Literal

import dask.array as da
import numpy as np
import pytest
import rasterio
import torch
import xarray as xr
from helpers import NORTH_UP_10M, write_raster
from numpy.typing import NDArray
from pictures import (
    COLOURS,
    hint_of,
    painting_model,
    punch_holes,
    read,
    scene_values,
    whole_picture,
)

import nirgeo
from nirgeo import array_blocks
from nirgeo.modelfile import Model
from nirgeo.scene_attributes import VALID

# Neither multiples of 4 nor of 64, one exact tile, one pixel, a strip, and primes.
SIZES = [(301, 205), (64, 64), (1, 1), (1, 300), (67, 131)]
SCALE = "0.0001"

Output = Literal["display", "reflectance"]


@pytest.fixture(params=[1, 2], ids=["one torch thread", "two torch threads"])
def threads(request: pytest.FixtureRequest) -> Iterator[int]:
    before = torch.get_num_threads()
    torch.set_num_threads(request.param)
    yield request.param
    torch.set_num_threads(before)


def make_scene(
    folder: Path, size: tuple[int, int]
) -> tuple[Path, NDArray[np.uint16], NDArray[np.bool_]]:
    """A raster with nodata 0 in a slanted border and in holes."""
    values = scene_values(*size)
    valid = punch_holes(*size)
    values[~valid] = 0
    return write_raster(folder / "scene.tif", values, nodata=0), values, valid


def test_the_pictures_can_tell_a_difference(
    tmp_path: Path, tiny: Model, full_size: Model, with_prior: Model
) -> None:
    # Black and white hide every rounding; a picture that is neither hides none.
    values, valid = scene_values(200, 200), np.ones((200, 200), dtype=np.bool_)
    for model in (tiny, full_size, with_prior):
        picture = whole_picture(values[None], valid, model)
        assert ((picture > 0) & (picture < 255)).mean() > 0.9
        assert picture.std() > 20


def written(scene: xr.DataArray, model: Model, path: Path, workers: int, output: Output) -> Any:
    rgb = nirgeo.colorize(scene, model, output=output)
    nirgeo.write_geotiff(rgb, path, workers=workers)
    return read(path)


@pytest.mark.parametrize("output", ["display", "reflectance"])
@pytest.mark.parametrize("size", SIZES, ids=lambda s: f"{s[0]}x{s[1]}")
def test_every_chunk_size_and_worker_writes_the_whole_arrays_pixels(
    tmp_path: Path, full_size: Model, size: tuple[int, int], output: Output
) -> None:
    path, values, valid = make_scene(tmp_path, size)
    whole = whole_picture(values[None], valid, full_size, output=output)
    for chunk in (1, 3, 16):
        for workers in (1, 2):
            scene = nirgeo.open_scene(path, chunk=chunk, scale=SCALE)
            target = tmp_path / f"{chunk}-{workers}.tif"
            pixels, mask = written(scene, full_size, target, workers, output)
            np.testing.assert_array_equal(
                pixels, whole, err_msg=f"chunk {chunk}, {workers} workers"
            )
            np.testing.assert_array_equal(mask, valid)


@pytest.mark.parametrize("shape", [(8, 1), (16, 0), (24, 2)], ids=lambda s: f"{s[0]}x{s[1]}")
def test_narrow_networks_are_exact_too(
    tmp_path: Path, shape: tuple[int, int], threads: int
) -> None:
    # Narrow layers reach the size below which torch picks another kernel in larger windows.
    model = painting_model(tmp_path, width=shape[0], depth=shape[1], seed=3)
    path, values, valid = make_scene(tmp_path, (268, 204))
    whole = whole_picture(values[None], valid, model, output="reflectance")
    for chunk in (1, 2, 3, 16):
        scene = nirgeo.open_scene(path, chunk=chunk, scale=SCALE)
        rgb = nirgeo.colorize(scene, model, output="reflectance")
        np.testing.assert_array_equal(rgb.values, whole, err_msg=f"chunk {chunk}")


def test_the_number_of_torch_threads_does_not_matter(
    tmp_path: Path, full_size: Model, threads: int
) -> None:
    path, values, valid = make_scene(tmp_path, (197, 263))
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    whole = whole_picture(values[None], valid, full_size, output="reflectance")
    torch.set_num_threads(before)
    np.testing.assert_array_equal(
        whole_picture(values[None], valid, full_size, output="reflectance"), whole
    )
    for chunk in (1, 3):
        scene = nirgeo.open_scene(path, chunk=chunk, scale=SCALE)
        for workers in (1, 2):
            # dask's own scheduler here: write_geotiff sets the number of threads itself.
            rgb = nirgeo.colorize(scene, full_size, output="reflectance").compute(
                num_workers=workers
            )
            np.testing.assert_array_equal(rgb.values, whole)


def test_every_way_in_makes_the_same_pixels(tmp_path: Path, full_size: Model) -> None:
    path, values, valid = make_scene(tmp_path, (301, 205))
    whole = whole_picture(values[None], valid, full_size)

    scene = nirgeo.open_scene(path, chunk=3, scale=SCALE)
    from_file, mask = written(scene, full_size, tmp_path / "file.tif", 2, "display")
    np.testing.assert_array_equal(from_file, whole)
    np.testing.assert_array_equal(mask, valid)

    lazy = nirgeo.colorize(scene, full_size)
    assert lazy.dtype == np.uint8
    computed = lazy.compute()
    np.testing.assert_array_equal(computed.values, whole)
    np.testing.assert_array_equal(computed[VALID].values, valid)

    in_memory = nirgeo.colorize(
        xr.DataArray(values, dims=("y", "x")), full_size, scale=SCALE, nodata=0
    )
    assert isinstance(in_memory.data, np.ndarray)
    np.testing.assert_array_equal(in_memory.values, whole)
    np.testing.assert_array_equal(in_memory[VALID].values, valid)
    np.testing.assert_array_equal(
        nirgeo.colorize(scene.compute(), full_size).values, whole, err_msg="a loaded scene"
    )

    for chunks in ((97, 71), ((5, 130, 1, 165), (64, 141)), (301, 66)):
        blocks = da.from_array(values, chunks=chunks)
        odd = nirgeo.colorize(
            xr.DataArray(blocks, dims=("y", "x")), full_size, scale=SCALE, nodata=0
        )
        assert isinstance(odd.data, da.Array)
        np.testing.assert_array_equal(odd.values, whole, err_msg=f"dask chunks {chunks}")
        target = nirgeo.write_geotiff(odd, tmp_path / "odd.tif", overwrite=True)
        np.testing.assert_array_equal(read(target)[0], whole)
        np.testing.assert_array_equal(read(target)[1], valid)


def test_two_bands_in_any_order_of_dimensions(tmp_path: Path) -> None:
    model = painting_model(tmp_path, bands=("red", "nir"), width=24, seed=5)
    values = np.stack([scene_values(130, 187, seed=s) for s in (1, 2)])
    valid = punch_holes(130, 187)
    values[1, ~valid] = 0
    path = write_raster(tmp_path / "two.tif", values, nodata=0, descriptions=("red", "nir"))
    valid &= (values != 0).all(axis=0)
    whole = whole_picture(values, valid, model)
    scene = nirgeo.open_scene(path, chunk=1, scale=SCALE)
    np.testing.assert_array_equal(nirgeo.colorize(scene, model).values, whole)
    swapped = xr.DataArray(
        np.ascontiguousarray(values[::-1].transpose(1, 2, 0)),
        dims=("y", "x", "band"),
        coords={"band": ["nir", "red"]},
    )
    rgb = nirgeo.colorize(swapped, model, scale=SCALE, nodata=0)
    assert rgb.dims == ("band", "y", "x")
    np.testing.assert_array_equal(rgb.values, whole)


def test_the_hint_of_the_place_does_not_depend_on_chunks(tmp_path: Path, with_prior: Model) -> None:
    # Pixels of a kilometre, so that the hint changes across the scene.
    transform = rasterio.Affine(1000.0, 0.0, 300_000.0, 0.0, -1000.0, 5_300_000.0)
    values, valid = scene_values(203, 271), punch_holes(203, 271)
    values[~valid] = 0
    path = write_raster(tmp_path / "scene.tif", values, nodata=0, transform=transform)
    hint = hint_of(path, with_prior)
    whole = whole_picture(values[None], valid, with_prior, hint=hint)
    unhinted = whole_picture(values[None], valid, with_prior)
    assert (whole != unhinted).mean() > 0.3, "the hint must matter for this test to mean anything"
    assert np.ptp(hint.nodes, axis=(1, 2)).max() > 0.05

    for chunk in (1, 2, 16):
        scene = nirgeo.open_scene(path, chunk=chunk, scale=SCALE)
        target = tmp_path / f"{chunk}.tif"
        np.testing.assert_array_equal(written(scene, with_prior, target, 2, "display")[0], whole)
    scene = nirgeo.open_scene(path, chunk=2, scale=SCALE)
    np.testing.assert_array_equal(nirgeo.colorize(scene, with_prior, prior=False).values, unhinted)
    in_memory = scene.compute()
    np.testing.assert_array_equal(nirgeo.colorize(in_memory, with_prior).values, whole)
    odd = in_memory.chunk({"y": 97, "x": 71})
    np.testing.assert_array_equal(nirgeo.colorize(odd, with_prior).values, whole)

    box = (slice(None), slice(70, 190), slice(33, 222))
    (west, north), (east, south) = transform @ (33, 70), transform @ (222, 190)
    part = nirgeo.open_scene(path, scale=SCALE, bounds=(west, south, east, north), chunk=1)
    np.testing.assert_array_equal(nirgeo.colorize(part, with_prior).values, whole[box])


def test_display_counts(tmp_path: Path, tiny_counts: Model) -> None:
    values = scene_values(150, 90, "uint8")
    path = write_raster(tmp_path / "aerial.tif", values)
    valid = np.ones(values.shape, dtype=np.bool_)
    counts = nirgeo.open_scene(path).attrs["nirgeo_scaling"]
    assert counts == "counts:1.0,0.0"
    from nirgeo.scaling import Scaling

    whole = whole_picture(values[None], valid, tiny_counts, Scaling.from_tag(counts, "test"))
    for chunk in (1, 2):
        scene = nirgeo.open_scene(path, chunk=chunk)
        np.testing.assert_array_equal(nirgeo.colorize(scene, tiny_counts).values, whole)


@pytest.mark.parametrize("output", ["display", "reflectance"])
def test_bounds_give_exactly_the_pixels_of_the_full_run(
    tmp_path: Path, full_size: Model, output: Output
) -> None:
    path, values, valid = make_scene(tmp_path, (301, 205))
    whole = whole_picture(values[None], valid, full_size, output=output)
    # Rows 37 to 214, columns 51 to 190: the halo comes from outside on every side.
    row, col, height, width = 37, 51, 177, 139
    west, north = NORTH_UP_10M @ (col, row)
    east, south = NORTH_UP_10M @ (col + width, row + height)
    inside = (slice(None), slice(row, row + height), slice(col, col + width))
    for chunk in (1, 16):
        scene = nirgeo.open_scene(path, chunk=chunk, scale=SCALE, bounds=(west, south, east, north))
        assert scene.shape == (1, height, width)
        target = tmp_path / f"bounds{chunk}.tif"
        pixels, mask = written(scene, full_size, target, 2, output)
        np.testing.assert_array_equal(pixels, whole[inside])
        np.testing.assert_array_equal(mask, valid[inside[1:]])
        with rasterio.open(target) as file:
            assert file.transform == NORTH_UP_10M @ NORTH_UP_10M.translation(col, row)


def test_chunks_of_one_tile_are_literal_dask_chunks_up_to_the_file(
    tmp_path: Path, tiny: Model
) -> None:
    path, values, valid = make_scene(tmp_path, (301, 205))
    scene = nirgeo.open_scene(path, chunk=1, scale=SCALE)
    tiles = ((64, 64, 64, 64, 45), (64, 64, 64, 13))
    assert scene.chunks == ((1,), *tiles)
    assert scene[VALID].chunks == tiles
    np.testing.assert_array_equal(scene.values[0], values)
    np.testing.assert_array_equal(scene[VALID].values, valid)
    rgb = nirgeo.colorize(scene, tiny)
    assert rgb.chunks == ((3,), *tiles)
    assert list(rgb["band"].values) == list(COLOURS)
    steps: list[tuple[int, int]] = []
    nirgeo.write_geotiff(rgb, tmp_path / "out.tif", on_progress=lambda *s: steps.append(s))
    assert steps == [(n, 20) for n in range(1, 21)]  # every tile was a task of its own
    np.testing.assert_array_equal(
        read(tmp_path / "out.tif")[0], whole_picture(values[None], valid, tiny)
    )


def test_the_colour_of_a_pixel_does_not_depend_on_what_invalid_pixels_hold(
    tmp_path: Path, tiny: Model
) -> None:
    values = scene_values(120, 140)
    valid = punch_holes(120, 140)
    pictures = []
    for filler in (0, 1, 9_999, 65_535):
        values[~valid] = filler
        path = write_raster(tmp_path / f"{filler}.tif", values, mask=valid)
        pictures.append(nirgeo.colorize(nirgeo.open_scene(path, scale=SCALE), tiny).values)
    assert pictures[0].any()
    for picture in pictures[1:]:
        np.testing.assert_array_equal(picture, pictures[0])


def test_a_mask_of_ones_own_counts(tmp_path: Path, tiny: Model) -> None:
    # Clouds, say: they must neither be shown nor lend their brightness to their neighbours.
    path, values, valid = make_scene(tmp_path, (150, 170))
    clear = punch_holes(150, 170, seed=8) & valid
    assert clear.sum() < valid.sum()
    scene = nirgeo.open_scene(path, chunk=1, scale=SCALE)
    whole = whole_picture(values[None], clear, tiny)
    for masked in (
        scene.assign_coords({VALID: (("y", "x"), clear)}),
        scene.assign_coords({VALID: scene[VALID] & clear}),
    ):
        target = nirgeo.write_geotiff(
            nirgeo.colorize(masked, tiny), tmp_path / "out.tif", overwrite=True
        )
        pixels, mask = read(target)
        np.testing.assert_array_equal(mask, clear)
        np.testing.assert_array_equal(pixels, whole)


def irregular(total: int) -> tuple[int, ...]:
    """Chunks of all sizes that together are ``total`` wide."""
    sizes = [64, 1, 70, 3, 128, 2, 90]
    kept = [size for k, size in enumerate(sizes) if sum(sizes[: k + 1]) < total]
    return (*kept, total - sum(kept))


@pytest.mark.parametrize("wide", [1, 100, 300, 512])
@pytest.mark.parametrize("chunks", ["64", "irregular", "strips"])
def test_an_array_keeps_its_chunks_and_small_ones_are_computed_together(
    tmp_path: Path, tiny: Model, monkeypatch: pytest.MonkeyPatch, wide: int, chunks: str
) -> None:
    monkeypatch.setattr("nirgeo.array_blocks.WIDE_ENOUGH", wide)
    path, values, valid = make_scene(tmp_path, (301, 205))
    how: dict[str, Any] = {
        "64": {"y": 64, "x": 64},
        "irregular": {"y": irregular(301), "x": irregular(205)},
        "strips": {"y": 64, "x": 205},
    }[chunks]
    array = nirgeo.open_scene(path, scale=SCALE).compute().chunk(how)
    rgb = nirgeo.colorize(array, tiny)
    assert rgb.chunks[1:] == array.chunks[1:]
    assert rgb.valid.chunks == array.chunks[1:]
    whole = whole_picture(values[None], valid, tiny)
    np.testing.assert_array_equal(rgb.values, whole)
    np.testing.assert_array_equal(rgb.valid.values, valid)
    one = rgb.isel(y=slice(60, 75), x=slice(130, 140)).compute()
    np.testing.assert_array_equal(one.values, whole[:, 60:75, 130:140])
    target = tmp_path / "rgb.tif"
    nirgeo.write_geotiff(rgb, target, workers=2)
    np.testing.assert_array_equal(read(target)[0], whole)


def test_tiles_of_64_pixels_do_not_each_read_a_halo(
    tiny: Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.undo()  # groups as wide as those of real scenes
    calls = []
    colorize_block = array_blocks.colorize_block

    def counted(values: Any, *rest: Any) -> Any:
        calls.append(values.shape)
        return colorize_block(values, *rest)

    monkeypatch.setattr(array_blocks, "colorize_block", counted)
    values = scene_values(1024, 704).astype(np.float32) * 1e-4
    array = xr.DataArray(values, dims=("y", "x")).chunk(64)
    rgb = nirgeo.colorize(array, tiny, scale="1")
    rgb.compute(scheduler="synchronous")
    assert len(calls) == 4
    calls.clear()
    part = rgb.isel(y=slice(0, 64), x=slice(0, 64)).compute()
    assert part.shape == (3, 64, 64)
    assert len(calls) == 1  # and nothing else of the scene


@pytest.mark.parametrize(
    "change",
    [
        lambda s: s.copy(),
        lambda s: s.rename("other"),
        lambda s: s.sel(band="nir"),
        lambda s: s.transpose("y", "x", "band"),
        lambda s: s.drop_vars(VALID),
        lambda s: s.chunk({"y": 100, "x": 77}),
        lambda s: s * 1,
        lambda s: s.astype("float32"),
        lambda s: s.to_dataset(name="scene")["scene"],
        lambda s: pickle.loads(pickle.dumps(s)),
    ],
    ids=[
        *("copy", "rename", "sel", "transpose", "drop valid", "chunk", "times one"),
        *("as float", "dataset", "pickle"),
    ],
)
def test_what_xarray_does_to_a_scene_does_not_change_its_picture(
    tmp_path: Path, tiny: Model, change: Callable[[xr.DataArray], xr.DataArray]
) -> None:
    path, values, valid = make_scene(tmp_path, (150, 170))
    scene = change(nirgeo.open_scene(path, chunk=1, scale=SCALE))
    rgb = nirgeo.colorize(scene, tiny)
    assert rgb.dims == ("band", "y", "x")
    np.testing.assert_array_equal(rgb.values, whole_picture(values[None], valid, tiny))
    np.testing.assert_array_equal(rgb[VALID].values, valid)


def test_chunks_are_computed_in_other_processes(tmp_path: Path, tiny: Model) -> None:
    # A chunk's work is one pure function: dask may send it anywhere.
    path, values, valid = make_scene(tmp_path, (150, 170))
    rgb = nirgeo.colorize(nirgeo.open_scene(path, chunk=1, scale=SCALE), tiny)
    elsewhere = rgb.compute(scheduler="processes", num_workers=1)
    np.testing.assert_array_equal(elsewhere.values, whole_picture(values[None], valid, tiny))


@pytest.mark.parametrize("inside", [True, False])
def test_a_mask_and_a_nodata_value_count_both(tmp_path: Path, tiny: Model, inside: bool) -> None:
    # GDAL asks the mask alone; but a value that is said to be missing is no measurement.
    values = scene_values(150, 170)
    values[:30] = 0
    mask = np.ones(values.shape, dtype=bool)
    mask[:, :40] = False
    with rasterio.Env(GDAL_TIFF_INTERNAL_MASK=inside):
        path = write_raster(tmp_path / "scene.tif", values, nodata=0, mask=mask)
    known = mask & (values != 0)
    expected = whole_picture(values[None], known, tiny)
    scene = nirgeo.open_scene(path, chunk=1, scale=SCALE)
    for array in (scene, scene.chunk({"y": 64}), scene.compute()):
        picture = nirgeo.colorize(array, tiny)
        np.testing.assert_array_equal(picture.valid.values, known)
        np.testing.assert_array_equal(picture.values, expected)
