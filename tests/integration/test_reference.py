"""A coarser or older picture of the place gives its colours, and the scene keeps its detail."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
from helpers import NORTH_UP_10M, UTM, write_raster
from numpy.typing import NDArray
from pictures import command, painting_model, punch_holes, read, scene_values
from rasterio.vrt import WarpedVRT
from rasterio.warp import transform_bounds

import nirgeo
from nirgeo import hints
from nirgeo.budget import plan_for
from nirgeo.coarse_fields import belief
from nirgeo.engine import reach
from nirgeo.errors import BandError, GridError, OptionError, RadiometryError, ResumeError
from nirgeo.modelfile import Model
from nirgeo.radiometry import DisplayCurve, Quantity
from nirgeo.reference import ERROR, open_reference
from nirgeo.rgb_source import RgbSource
from nirgeo.scaling import Scaling
from nirgeo.scene import view_of
from nirgeo.tiling import Window

COLOURS = ("red", "green", "blue")


def coarse(values: NDArray[Any], block: int) -> NDArray[Any]:
    bands, height, width = values.shape
    parts = values.reshape(bands, height // block, block, width // block, block)
    return parts.mean(axis=(2, 4))


def write_reference(
    path: Path, colours: NDArray[Any], block: float, *, crs: str | None = UTM, **more: Any
) -> Path:
    transform = more.pop("transform", NORTH_UP_10M @ rasterio.Affine.scale(block))
    return write_raster(path, colours, crs=crs, transform=transform, descriptions=COLOURS, **more)


def reflectance_scene(folder: Path, height: int = 192, width: int = 160) -> tuple[Path, Any]:
    """A scene whose root colours are straight lines over its root near infrared, bent slowly."""
    nir = scene_values(height, width).astype(np.float64) / 10_000
    rows, cols = np.indices(nir.shape) / 200
    root = np.sqrt(nir)
    colours = np.stack(
        [0.5 - 0.4 * root + 0.1 * rows, 0.2 + 0.3 * root - 0.05 * cols, 0.3 - 0.1 * root]
    )
    path = write_raster(folder / "scene.tif", np.rint(nir * 10_000).astype(np.uint16))
    return path, np.square(colours).astype(np.float32)


def colours_of(scene: Path, model: Model | str, reference: Path | None, **options: Any) -> Any:
    rgb = nirgeo.colorize(
        nirgeo.open_scene(scene, scale="0.0001"), model, reference=reference, **options
    )
    return rgb.compute()


PLAIN = "baseline/mean-colour"
"""A model that paints one colour: what is seen beside a reference is the reference's doing."""


def test_one_colour_stays_one_colour(tmp_path: Path) -> None:
    scene = write_raster(tmp_path / "scene.tif", scene_values(64, 80, "uint8"))
    colour = np.array([200, 30, 90], dtype=np.uint8)[:, None, None]
    for size, side in ((1, 80), (5, 16), (20, 4)):
        picture = np.broadcast_to(colour, (3, side, side)).copy()
        reference = write_reference(tmp_path / f"{size}.tif", picture, size)
        rgb = nirgeo.colorize(nirgeo.open_scene(scene), PLAIN, reference=reference)
        np.testing.assert_array_equal(rgb.values, np.broadcast_to(colour, rgb.shape))


def test_nothing_finer_than_eight_pixels_comes_from_the_reference(
    tmp_path: Path, tiny: Model
) -> None:
    # A sharp picture of another day would be copied otherwise, its shadows and cars too.
    scene, truth = reflectance_scene(tmp_path)
    blocks = truth.reshape(3, 24, 8, 20, 8).swapaxes(2, 3).reshape(3, 24, 20, 64)
    shuffled = blocks[..., np.random.default_rng(0).permutation(64)]
    shuffled = shuffled.reshape(3, 24, 20, 8, 8).swapaxes(2, 3).reshape(truth.shape)
    assert np.abs(shuffled - truth).mean() > 0.001
    pictures = []
    for name, colours in (("truth", truth), ("shuffled", shuffled)):
        reference = write_reference(tmp_path / f"{name}.tif", colours.astype(np.float32), 1)
        pictures.append(colours_of(scene, tiny, reference).values.astype(int))
    assert np.abs(pictures[0] - pictures[1]).max() <= 1


def test_the_scenes_detail_comes_back_into_blocks(tmp_path: Path) -> None:
    scene, truth = reflectance_scene(tmp_path)
    reference = write_reference(tmp_path / "reference.tif", coarse(truth, 8), 8)
    rgb = colours_of(scene, PLAIN, reference, output="reflectance").values
    blocks = np.kron(coarse(truth, 8), np.ones((8, 8)))
    inner = (slice(None), slice(16, -16), slice(16, -16))
    error = np.abs(rgb - truth)[inner].mean()
    assert error < 0.25 * np.abs(blocks - truth)[inner].mean()
    # At its own resolution it is the reference.
    np.testing.assert_allclose(coarse(rgb, 8)[inner], coarse(truth, 8)[inner], atol=0.02)


def test_a_picture_is_turned_back_into_light(tmp_path: Path, tiny: Model) -> None:
    scene, truth = reflectance_scene(tmp_path)
    light = coarse(truth, 8)
    measured = write_reference(tmp_path / "light.tif", light, 8, tags={"REFLECTANCE_SCALE": "1"})
    shown = write_reference(tmp_path / "shown.tif", DisplayCurve().apply(light), 8)
    expected = colours_of(scene, tiny, measured).values.astype(int)
    got = colours_of(scene, tiny, shown).values.astype(int)
    saturated = expected > 250
    assert np.abs(got - expected)[~saturated].max() <= 4


def test_a_picture_is_turned_back_with_the_curve_that_it_records(
    tmp_path: Path, tiny: Model
) -> None:
    """One that nirgeo has made darker and bent tells the same light as a plain one."""
    scene, _ = reflectance_scene(tmp_path)
    opened = nirgeo.open_scene(scene, scale="0.0001")
    found = []
    for name, options in (("plain", {}), ("bent", {"brightness": 0.4, "gamma": 1.3})):
        older = tmp_path / f"{name}.tif"
        nirgeo.write_geotiff(nirgeo.colorize(opened, "baseline/table-colour", **options), older)
        found.append(colours_of(scene, PLAIN, older).values.astype(int))
    assert (read(tmp_path / "plain.tif")[0] != read(tmp_path / "bent.tif")[0]).mean() > 0.9
    assert np.abs(found[0] - found[1]).max() <= 2


def test_every_level_of_a_picture_comes_back_from_light() -> None:
    curve, levels = DisplayCurve(2.5), np.arange(256, dtype=np.uint8)
    for options in ({}, {"brightness": 1.3, "gamma": 1.2}):
        light = curve.invert(levels / np.float32(255), **options)
        np.testing.assert_array_equal(curve.apply(light, **options), levels)


def rotated(block: float) -> dict[str, Any]:
    turn = rasterio.Affine.translation(-300, 900) @ NORTH_UP_10M @ rasterio.Affine.rotation(20)
    return {"transform": turn @ rasterio.Affine.scale(block)}


def geographic(side: int, size: tuple[int, int]) -> dict[str, Any]:
    west, north = NORTH_UP_10M.c, NORTH_UP_10M.f
    bounds = (west, north - size[0] * 10, west + size[1] * 10, north)
    left, bottom, right, top = transform_bounds(UTM, "EPSG:4326", *bounds)
    return {
        "crs": "EPSG:4326",
        "transform": rasterio.transform.from_bounds(left, bottom, right, top, side, side),
    }


REFERENCES: dict[str, tuple[int, dict[str, Any]]] = {
    "coarser": (30, {"transform": NORTH_UP_10M @ rasterio.Affine.scale(7.3)}),
    "finer": (400, {"transform": NORTH_UP_10M @ rasterio.Affine.scale(0.4)}),
    "rotated": (40, rotated(6.0)),
    "oblong": (40, {"transform": NORTH_UP_10M @ rasterio.Affine.scale(7, 40)}),
    "geographic": (50, geographic(50, (201, 333))),
}


BANDS = ("red", "green", "nir")


@pytest.fixture(scope="module")
def doubtful(tmp_path_factory: pytest.TempPathFactory) -> Model:
    """A network for missing blue that believes no reference farther away than some degrees."""
    folder = tmp_path_factory.mktemp("doubtful")
    shape = {"out_bands": 1, "expects_error": True}
    told = {"quantile": 0.5}
    return painting_model(folder, bands=BANDS, width=16, depth=1, shape=shape, uncertainty=told)


@pytest.mark.parametrize("kind", REFERENCES)
@pytest.mark.parametrize("which", ["tiny", "doubtful"])
def test_chunks_do_not_show(
    tmp_path: Path, request: pytest.FixtureRequest, kind: str, which: str
) -> None:
    model: Model = request.getfixturevalue(which)
    side, place = REFERENCES[kind]
    bands = model.spec.bands
    values = np.stack([scene_values(201, 333, seed=k) for k in range(len(bands))])
    valid = punch_holes(201, 333)
    values[:, ~valid] = 0
    scene = write_raster(tmp_path / "scene.tif", values, nodata=0, descriptions=bands)
    random = np.random.default_rng(3)
    colours = random.integers(1, 256, (3, side, side), dtype=np.uint8)
    colours[:, side // 2 : side // 2 + 3, :4] = 0
    reference = write_reference(tmp_path / "reference.tif", colours, 1, nodata=0, **place)
    pictures = []
    for chunk, workers in ((1, 2), (2, 1), (16, 1)):
        lazy = nirgeo.colorize(nirgeo.open_scene(scene, chunk=chunk), model, reference=reference)
        out = tmp_path / f"{chunk}.tif"
        nirgeo.write_geotiff(lazy, out, workers=workers)
        pictures.append(read(out))
    array = nirgeo.open_scene(scene).compute().chunk({"y": 100, "x": 130})
    in_memory = nirgeo.colorize(array, model, reference=reference).compute()
    plain = nirgeo.colorize(nirgeo.open_scene(scene), model).compute()
    made = [COLOURS.index(colour) for colour in model.spec.made]
    assert (pictures[0][0] != plain.values)[made].mean() > 0.2
    for picture, mask in pictures[1:]:
        np.testing.assert_array_equal(picture, pictures[0][0])
        np.testing.assert_array_equal(mask, pictures[0][1])
    np.testing.assert_array_equal(in_memory.values, pictures[0][0])
    part = nirgeo.open_scene(scene, bounds=(500_500, 4_998_600, 501_400, 4_999_300))
    cut = nirgeo.colorize(part, model, reference=reference).compute()
    np.testing.assert_array_equal(cut.values, pictures[0][0][:, 70:140, 50:140])


def test_the_models_own_detail_comes_back_too(tmp_path: Path) -> None:
    # Where the reference is the model's own picture made coarse, nothing is left to change.
    scene = write_raster(tmp_path / "scene.tif", scene_values(192, 160, "uint8"))
    own = nirgeo.colorize(nirgeo.open_scene(scene), "baseline/cubic").values.astype(np.float64)
    assert own.std(axis=(1, 2)).min() > 5
    reference = write_reference(
        tmp_path / "own.tif", np.rint(coarse(own, 16)).astype(np.uint8), 16.0
    )
    rgb = nirgeo.colorize(nirgeo.open_scene(scene), "baseline/cubic", reference=reference)
    assert np.abs(rgb.values - own).max() <= 2


def test_beside_the_reference_the_model_paints(tmp_path: Path, tiny: Model) -> None:
    scene, truth = reflectance_scene(tmp_path)
    half = coarse(truth, 8)[:, :, :10]
    reference = write_reference(tmp_path / "reference.tif", half, 8)
    halo = reach(tiny)[0]
    # The hint that a network takes from the reference ends where the reference ends, and the
    # network looks around; a model without hints does not.
    for model, beyond in ((tiny, 84 + halo), (PLAIN, 84)):
        got = colours_of(scene, model, reference).values
        plain = colours_of(scene, model, None).values
        assert beyond < 150
        np.testing.assert_array_equal(got[:, :, beyond:], plain[:, :, beyond:])
        assert (got[:, :, :76] != plain[:, :, :76]).mean() > 0.5


def test_missing_pixels_of_a_reference_are_no_colour(tmp_path: Path) -> None:
    scene, truth = reflectance_scene(tmp_path)
    light = coarse(truth, 8)
    light[:, 10:14, 10:14] = -1
    reference = write_reference(tmp_path / "reference.tif", light, 8, nodata=-1)
    got = colours_of(scene, PLAIN, reference).values
    plain = colours_of(scene, PLAIN, None).values
    np.testing.assert_array_equal(got[:, 84:108, 84:108], plain[:, 84:108, 84:108])
    assert not np.array_equal(got, plain)


def test_the_network_is_told_the_references_colours(tmp_path: Path) -> None:
    scene = nirgeo.open_scene(write_raster(tmp_path / "scene.tif", scene_values(64, 96)))
    light = np.full((3, 8, 8), 0.2, dtype=np.float32)
    light[0] *= 2
    light[2, :4] /= 2
    light[:, 6:] = -1
    path = write_reference(tmp_path / "reference.tif", light, 8, nodata=-1)
    view = view_of(scene)
    assert view is not None
    reference = open_reference(str(path), view.source.grid)
    told, share = reference.hint(0, 0, (16, 24), 4, Quantity.REFLECTANCE, DisplayCurve())
    trust = hints.trust(ERROR)
    assert told.shape == (3, 16, 24)
    # Cells of 4 pixels; the reference has the first 64 pixels across, and 48 down.
    np.testing.assert_allclose(share[:11, :16], 1)
    np.testing.assert_array_equal(share[13:], 0)
    np.testing.assert_array_equal(share[:, 17:], 0)
    np.testing.assert_array_equal(told[:, 13:], 0)
    np.testing.assert_array_equal(told[:, :, 17:], 0)
    np.testing.assert_allclose(told[0, :11, :16], np.log(2) * trust, rtol=1e-5)
    np.testing.assert_allclose(told[1, :7, :16], np.log(1 / 2) * trust, rtol=1e-5)
    np.testing.assert_allclose(told[1, 9:11, :16], 0, atol=1e-6)
    np.testing.assert_allclose(told[2, :11, :16], trust, rtol=1e-6)
    # Another part of the scene says the same of the same cells.
    part, _ = reference.hint(8, 20, (9, 7), 4, Quantity.REFLECTANCE, DisplayCurve())
    np.testing.assert_array_equal(part, told[:, 2:11, 5:12])


def test_beyond_the_reference_the_place_is_the_hint(tmp_path: Path) -> None:
    model = nirgeo.load_model("satellite-nir")
    scene = write_raster(tmp_path / "scene.tif", scene_values(64, 320))
    reference = write_reference(tmp_path / "r.tif", np.full((3, 8, 8), 90, dtype=np.uint8), 8)
    rgb = nirgeo.colorize(nirgeo.open_scene(scene), model, reference=reference)
    plain = nirgeo.colorize(nirgeo.open_scene(scene), model)
    prior = plain.attrs["nirgeo_colour_hint"]
    assert "Blue Marble" in prior
    assert rgb.attrs["nirgeo_colour_hint"] == f"the reference; beyond it {prior}"
    beyond = 64 + 8 + reach(model)[0]
    np.testing.assert_array_equal(rgb.values[:, :, beyond:], plain.values[:, :, beyond:])


def test_what_has_changed_is_left_to_the_model(tmp_path: Path, doubtful: Model) -> None:
    values = np.stack([scene_values(256, 256, seed=k) for k in range(3)])
    scene = write_raster(tmp_path / "scene.tif", values, descriptions=BANDS)
    alone = colours_of(scene, doubtful, None, output="reflectance").values.astype(np.float64)
    light = coarse(alone, 8)
    light[2] *= 1.2
    # Bluer than the model thinks; and on the right another ground than was measured as well.
    changed = light.copy()
    changed[0, :, 16:] *= 0.05
    pictures = []
    for name, colours in (("bluer", light), ("changed", changed)):
        path = write_reference(tmp_path / f"{name}.tif", colours.astype(np.float32), 8)
        pictures.append(colours_of(scene, doubtful, path, output="reflectance").values)
    bluer = (coarse(pictures[0], 8) / coarse(alone, 8))[2, 2:-2, 2:-2]
    assert 1.13 < np.median(bluer) < 1.25
    left, right = np.s_[2, :, :64], np.s_[2, 16:-16, 160:-16]
    np.testing.assert_array_equal(pictures[1][left], pictures[0][left])
    moved = [np.abs(picture[right] - alone[right]).mean() for picture in pictures]
    assert moved[1] < 0.6 * moved[0]


def test_a_reference_is_believed_within_the_models_errors() -> None:
    # Colours 20 degrees apart in a plane, and errors of 40, 20, 10 and 5 degrees.
    model = np.zeros((3, 4, 12))
    model[0] = 1
    reference = np.zeros_like(model)
    reference[0], reference[1] = np.cos(np.radians(20)), np.sin(np.radians(20))
    error = np.repeat([40.0, 20.0, 10.0, 5.0], 3)[None].repeat(4, axis=0)
    usable = np.ones((4, 12), dtype=np.bool_)
    found = belief(model, 0.2 * reference, error, usable)[1, [1, 4, 7, 10]]
    np.testing.assert_allclose(found, [1, 1, 1 / 4, 1 / 16], rtol=0.02)
    usable[:, 6:] = False
    found = belief(model, reference, error, usable)
    np.testing.assert_array_equal(found[:, 6:], 1)
    assert (belief(model, 0 * reference, error, usable) == 1).all()


def test_near_infrared_alone_can_not_tell_a_change_from_haze(tmp_path: Path) -> None:
    # A bluish veil over all of the scene: the reference has to be believed.
    model = painting_model(tmp_path, width=16, depth=1, shape={"expects_error": True})
    scene = write_raster(tmp_path / "scene.tif", scene_values(256, 256))
    light = coarse(colours_of(scene, model, None, output="reflectance").values, 8)
    light = light * 0.3 + np.array([0.1, 0.15, 0.4])[:, None, None]
    reference = write_reference(tmp_path / "r.tif", light.astype(np.float32), 8)
    rgb = colours_of(scene, model, reference, output="reflectance").values
    inner = np.s_[:, 2:-2, 2:-2]
    assert np.median(np.abs(coarse(rgb, 8) - light)[inner]) < 0.01


def test_where_green_is_measured_a_reference_may_be_darker(tmp_path: Path) -> None:
    model = painting_model(tmp_path, bands=BANDS, shape={"out_bands": 1})
    values = np.stack([scene_values(192, 192, seed=k) for k in range(3)])
    scene = write_raster(tmp_path / "s.tif", values, descriptions=BANDS)
    green = coarse(values[1:2] / 10_000, 16)[0]
    light = np.stack([1.2 * green, green, 0.6 * green])
    pictures = []
    for brightness in (1.0, 0.4):
        path = write_reference(
            tmp_path / f"{brightness}.tif", (brightness * light).astype(np.float32), 16
        )
        pictures.append(colours_of(scene, model, path, output="reflectance").values)
    inner = np.s_[:, 32:-32, 32:-32]
    np.testing.assert_allclose(pictures[1][inner], pictures[0][inner], atol=0.004)
    found = coarse(pictures[0], 16)[2, 2:-2, 2:-2]
    assert abs(np.median(found / green[2:-2, 2:-2]) - 0.6) < 0.02


def test_measured_bands_stay(tmp_path: Path) -> None:
    model = nirgeo.load_model("satellite-rgn")
    values = np.stack([scene_values(96, 96, seed=k) for k in range(3)])
    scene = write_raster(tmp_path / "s.tif", values, descriptions=("red", "green", "nir"))
    wrong = np.full((3, 12, 12), 200, dtype=np.uint8)
    reference = write_reference(tmp_path / "reference.tif", wrong, 8)
    got, plain = (
        colours_of(scene, model, known, output="reflectance").values for known in (reference, None)
    )
    assert (got[2] != plain[2]).mean() > 0.9
    np.testing.assert_array_equal(got[:2], plain[:2])


@pytest.mark.parametrize(
    ("block", "more", "said"),
    [
        (65.0, {}, "65 times as wide"),
        (0.1, {}, "0.1 times as wide"),
        (8.0, {"transform": rasterio.Affine(80, 0, 900_000, 0, -80, 5e6)}, "does not overlap"),
        (8.0, {"crs": None}, "no CRS"),
    ],
)
def test_what_can_not_be_laid_over_the_scene_is_refused(
    tmp_path: Path, tiny: Model, block: float, more: dict[str, Any], said: str
) -> None:
    scene, _ = reflectance_scene(tmp_path)
    reference = write_reference(
        tmp_path / "reference.tif", np.full((3, 24, 24), 9, dtype=np.uint8), block, **more
    )
    with pytest.raises(GridError, match=said):
        colours_of(scene, tiny, reference)


@pytest.mark.parametrize("corner", [False, True])
@pytest.mark.parametrize("crs", [UTM, "EPSG:4326"])
def test_a_reference_without_a_valid_pixel_over_the_scene_is_told(
    tmp_path: Path, tiny: Model, corner: bool, crs: str
) -> None:
    """Valid beside the scene, or also in one of its corners."""
    scene, _ = reflectance_scene(tmp_path)
    picture = np.full((3, 60, 60), 120, dtype=np.uint8)
    picture[:, :24, : 20 - 4 * corner] = 0  # 24 × 20 of its pixels lie over the scene
    reference = write_reference(tmp_path / "reference.tif", picture, 8, nodata=0)
    if crs != UTM:
        with rasterio.open(reference) as file, WarpedVRT(file, crs=crs) as warped:
            reference = tmp_path / "degrees.tif"
            profile = warped.profile | {"driver": "GTiff", "nodata": 0}
            with rasterio.open(reference, "w", **profile) as target:
                target.write(warped.read())
                target.descriptions = COLOURS
    done = command(
        *("colorize", scene, "-o", tmp_path / "out.tif", "--reference", reference),
        *("--model", tiny.path, "--scale", "0.0001"),
    )
    said = "no valid pixel of it was found over the scene"
    assert (f"Warning: reference: {reference.name}" in done.output) is not corner
    with rasterio.open(tmp_path / "out.tif") as file:
        assert (said in file.tags(ns="NIRGEO")["REFERENCE"]) is not corner


def test_a_references_own_scaling(tmp_path: Path, tiny: Model) -> None:
    """Bands of Sentinel-2 out of their product: nothing says that 1000 of their numbers are 0."""
    scene, truth = reflectance_scene(tmp_path)
    numbers = np.rint(coarse(truth, 8) * 10_000).astype(np.uint16)
    light = write_reference(tmp_path / "light.tif", numbers.astype(np.float32) / 10_000, 8)
    bare = write_reference(tmp_path / "bare.tif", numbers + np.uint16(1000), 8)
    expected = colours_of(scene, tiny, light).values
    wrong = colours_of(scene, tiny, bare).values.astype(int)
    assert (wrong - expected).mean() > 20  # haze over everything
    scaling = Scaling(Quantity.REFLECTANCE, 1e-4, -0.1, "a test")
    for scale in ("0.0001,-0.1", scaling):
        found = colours_of(scene, tiny, bare, reference_scale=scale).values.astype(int)
        assert np.abs(found - expected).max() <= 1
    plain = write_reference(tmp_path / "plain.tif", numbers, 8)
    found = colours_of(scene, tiny, plain, reference_scale=1e-4).values.astype(int)
    assert np.abs(found - expected).max() <= 1


def test_scaling_of_a_reference_at_the_command_line(tmp_path: Path, tiny: Model) -> None:
    scene, truth = reflectance_scene(tmp_path)
    numbers = np.rint(coarse(truth, 8) * 10_000).astype(np.uint16) + np.uint16(1000)
    reference = write_reference(tmp_path / "bare.tif", numbers, 8)
    options = ("--model", tiny.path, "--scale", "0.0001", "--reference", reference)

    def tag(name: str) -> str:
        with rasterio.open(tmp_path / name) as file:
            return str(file.tags(ns="NIRGEO")["REFERENCE"])

    said = command("colorize", scene, "-o", tmp_path / "a.tif", *options).output
    assert "Warning: reference: bare.tif" in said
    assert "assumed: reflectance × 10000. If that is wrong, give --reference-scale" in said
    assert tag("a.tif").endswith("its numbers are assumed: reflectance × 10000")
    scaled = (*options, "--reference-scale", "0.0001,-0.1", "--memory", "2G")
    said = command("colorize", scene, "-o", tmp_path / "b.tif", *scaled).output
    assert "Warning: reference" not in said
    assert tag("b.tif").endswith("reflectance = 0.0001 · DN − 0.1 (--reference-scale)")
    assert (read(tmp_path / "a.tif")[0] != read(tmp_path / "b.tif")[0]).mean() > 0.9

    def stop(done: int, total: int) -> None:
        raise InterruptedError

    def lazy(scale: str | None) -> Any:
        opened = nirgeo.open_scene(scene, scale="0.0001", chunk=1)
        return nirgeo.colorize(opened, tiny, reference=reference, reference_scale=scale)

    again = tmp_path / "again.tif"
    with pytest.raises(InterruptedError):
        nirgeo.write_geotiff(lazy(None), again, resume=True, workers=1, on_progress=stop)
    with pytest.raises(ResumeError):
        nirgeo.write_geotiff(lazy("0.0001,-0.1"), again, resume=True)


@pytest.mark.parametrize(
    ("scale", "said"),
    [
        ("light.tif", "--reference-scale 'light.tif' is not GAIN[,OFFSET]"),
        ("1,2,3", "--reference-scale '1,2,3' is not GAIN[,OFFSET]"),
        ("0", "(--reference-scale) can't be used: the gain must be a positive finite number"),
        (-1.0, "give --reference-scale GAIN[,OFFSET]"),
    ],
)
def test_scalings_that_are_none_are_refused(
    tmp_path: Path, tiny: Model, scale: str | float, said: str
) -> None:
    scene, truth = reflectance_scene(tmp_path)
    reference = write_reference(tmp_path / "light.tif", coarse(truth, 8), 8)
    with pytest.raises(RadiometryError) as refused:
        colours_of(scene, tiny, reference, reference_scale=scale)
    assert said in str(refused.value)
    with pytest.raises(OptionError, match="there is no --reference"):
        colours_of(scene, tiny, None, reference_scale=scale)


def test_a_budget_knows_that_a_reference_makes_chunks_wider(tmp_path: Path) -> None:
    values = np.zeros((4000, 4000), dtype=np.uint8)
    scene = write_raster(tmp_path / "scene.tif", values, tiled=True, compress="deflate")
    reference = write_reference(tmp_path / "coarse.tif", np.full((3, 63, 63), 90, np.uint8), 64)
    opened = nirgeo.open_scene(scene)
    cost: dict[bool, Any] = {}
    for guided in (False, True):
        told = str(reference) if guided else None
        cost[guided] = plan_for("800M", opened, "aerial-nir", workers=1, reference=told)
    assert cost[True].chunk < cost[False].chunk


def test_a_raster_without_colours_is_refused(tmp_path: Path, tiny: Model) -> None:
    scene, _ = reflectance_scene(tmp_path)
    with pytest.raises(BandError, match="red, green and blue"):
        colours_of(scene, tiny, scene)


def test_the_output_names_its_reference_and_resumes_with_no_other(
    tmp_path: Path, tiny: Model
) -> None:
    scene, truth = reflectance_scene(tmp_path)
    first = write_reference(tmp_path / "first.tif", coarse(truth, 8), 8)
    second = write_reference(tmp_path / "second.tif", coarse(truth, 16), 16)
    out = tmp_path / "out.tif"
    arguments = ["colorize", scene, "-o", out, "--model", tiny.path, "--scale", "0.0001"]
    command(*arguments, "--reference", first, "-q")
    with rasterio.open(out) as file:
        assert file.tags(ns="NIRGEO")["REFERENCE"] == "first.tif, pixels 8 scene pixels wide"

    class StoppedError(Exception):
        pass

    def stop(done: int, total: int) -> None:
        raise StoppedError

    def lazy(reference: Path) -> Any:
        opened = nirgeo.open_scene(scene, scale="0.0001", chunk=1)
        return nirgeo.colorize(opened, tiny, reference=reference)

    again = tmp_path / "again.tif"
    with pytest.raises(StoppedError):
        nirgeo.write_geotiff(lazy(first), again, resume=True, workers=1, on_progress=stop)
    with pytest.raises(ResumeError):
        nirgeo.write_geotiff(lazy(second), again, resume=True)
    nirgeo.write_geotiff(lazy(first), again, resume=True)
    np.testing.assert_array_equal(read(again)[0], read(out)[0])


def test_a_reference_is_not_written_over(tmp_path: Path, tiny: Model) -> None:
    scene, truth = reflectance_scene(tmp_path)
    reference = write_reference(tmp_path / "reference.tif", coarse(truth, 8), 8)
    before = reference.read_bytes()
    done = command(
        *("colorize", scene, "-o", reference, "--reference", reference, "--overwrite"),
        *("--model", tiny.path, "--scale", "0.0001"),
        expect=None,
    )
    assert done.exit_code != 0
    assert "is a file of the scene itself" in done.output
    assert reference.read_bytes() == before


@pytest.mark.parametrize("width", [9.3, 10.5, 12.5])
def test_the_last_bit_of_a_georeference_moves_no_block(
    tmp_path: Path, tiny: Model, width: float
) -> None:
    # Blocks of half pixels end in the middle of a pixel: on one side of it or the other.
    degrees = rasterio.Affine(1e-4, 0, 10, 0, -1e-4, 45)
    values = scene_values(130, 140)
    path = write_raster(tmp_path / "scene.tif", values, crs="EPSG:4326", transform=degrees)
    scene = nirgeo.open_scene(path, scale="1e-4")
    colours = np.random.default_rng(0).integers(1, 255, (3, 16, 16), dtype=np.uint8)
    pictures = []
    for shift in (0.0, 1e-13, -1e-13):
        there = degrees @ rasterio.Affine.scale(width)
        moved = rasterio.Affine.translation(shift, shift) @ there
        reference = write_raster(
            tmp_path / f"{shift}.tif",
            colours,
            crs="EPSG:4326",
            transform=moved,
            descriptions=("red", "green", "blue"),
        )
        pictures.append(nirgeo.colorize(scene, tiny, reference=reference).values)
    assert pictures[0].any()
    np.testing.assert_array_equal(pictures[1], pictures[0])
    np.testing.assert_array_equal(pictures[2], pictures[0])


def fine_reference(folder: Path, dtype: str, side: int = 4) -> Path:
    """Numbers 0…250 of quarter pixels, some missing, under a scene of 96×80 px."""
    rng = np.random.default_rng(5)
    colours = np.kron(
        rng.integers(1, 200, (3, 12, 10)), np.ones((1, 8 * side, 8 * side), dtype=np.int64)
    )
    colours += rng.integers(0, 50, colours.shape)
    colours[:, ~punch_holes(*colours.shape[1:])] = 0
    return write_reference(folder / f"{dtype}.tif", colours.astype(dtype), 1 / side, nodata=0)


@pytest.mark.parametrize("scale", ["0.004", None])
def test_a_table_of_a_references_numbers_says_what_each_of_them_does(
    tmp_path: Path, tiny: Model, scale: str | None
) -> None:
    scene = write_raster(tmp_path / "scene.tif", scene_values(96, 80))
    pictures = {}
    for dtype in ("uint8", "uint16", "int16", "int32", "float64"):
        reference = fine_reference(tmp_path, dtype)
        how = scale if scale or dtype == "uint8" else Scaling(Quantity.COUNTS, 1, 0, "test")
        made = colours_of(scene, tiny, reference, reference_scale=how)
        pictures[dtype] = made.values
    for dtype, picture in pictures.items():
        np.testing.assert_array_equal(picture, pictures["float64"], err_msg=dtype)


def windows_read(monkeypatch: pytest.MonkeyPatch) -> list[Window]:
    """Those of references, from now on."""
    windows: list[Window] = []
    read_numbers = RgbSource.read_numbers

    def noted(source: RgbSource, window: Window) -> Any:
        windows.append(window)
        return read_numbers(source, window)

    monkeypatch.setattr(RgbSource, "read_numbers", noted)
    return windows


def test_a_chunk_reads_its_reference_once(
    tmp_path: Path, tiny: Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    scene = write_raster(tmp_path / "scene.tif", scene_values(96, 80))
    reference = fine_reference(tmp_path, "uint8")
    rgb = nirgeo.colorize(nirgeo.open_scene(scene, scale="1e-4"), tiny, reference=reference)
    windows = windows_read(monkeypatch)
    rgb.compute()
    assert windows == [Window(0, 0, 96 * 4, 80 * 4)]


def test_a_fine_reference_is_held_strip_by_strip(
    tmp_path: Path, tiny: Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    scene = write_raster(tmp_path / "scene.tif", scene_values(96, 80))
    reference = fine_reference(tmp_path, "uint8")
    at_once = colours_of(scene, tiny, reference).values
    monkeypatch.setattr("nirgeo.reference._STRIP", 2 * 32 * 320)
    windows = windows_read(monkeypatch)
    in_strips = colours_of(scene, tiny, reference).values
    np.testing.assert_array_equal(in_strips, at_once)
    read_later = windows[-6:]  # after those by which it is told whether anything is valid
    assert read_later == [Window(row, 0, 64, 320) for row in range(0, 384, 64)]
