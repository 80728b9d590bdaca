"""No NaN and no overflow reaches a picture, whatever the numbers of a scene or a model are."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from helpers import random_generator
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numpy.typing import NDArray

from nirgeo.engine import colouriser_of
from nirgeo.inference import colorize_block, model_output, network_input
from nirgeo.modelfile import ModelSpec, read_model, write_model
from nirgeo.radiometry import MAX_REFLECTANCE, Quantity
from nirgeo.recipe import Output, Recipe
from nirgeo.registry import load_model, shipped_baselines, shipped_models
from nirgeo.scaling import Scaling
from nirgeo.tiling import Window, input_window

SIDE = 24
pytestmark = pytest.mark.usefixtures("one_thread")


def recipe_of(
    name: str, quantity: Quantity, gain: float = 1.0, offset: float = 0.0, output: str = "display"
) -> Recipe:
    shown: Output = "reflectance" if output == "reflectance" else "display"
    model = load_model(name, quantity)
    return Recipe(colouriser_of(model), Scaling(quantity, gain, offset, "test"), shown)


def paint(
    values: NDArray[np.generic], recipe: Recipe, valid: NDArray[np.bool_] | None = None
) -> tuple[NDArray[np.generic], NDArray[np.bool_]]:
    """A whole raster (H, W) of one band, as one block."""
    shape = values.shape
    window = input_window(
        Window(0, 0, *shape), halo=recipe.halo, stride=recipe.colouriser.stride, raster=shape
    )
    bands = np.stack([values] * len(recipe.spec.bands))
    if valid is None:
        valid = np.isfinite(values) if values.dtype.kind == "f" else np.ones(shape, np.bool_)
    return colorize_block(bands, valid, window, recipe)


NAMES = sorted({m.name for m in (*shipped_models(), *shipped_baselines())})


def quantities(name: str) -> list[Quantity]:
    """What a model of this name eats, that the recipe below may hand it."""
    own = [m.quantity for m in shipped_baselines() if m.name == name]
    return [q for q in own if q is not None] or [load_model(name).spec.quantity]


MODELS = [(name, quantity) for name in NAMES for quantity in quantities(name)]


@pytest.mark.parametrize(("name", "quantity"), MODELS, ids=lambda v: str(v))
def test_extreme_values_of_every_type(name: str, quantity: Quantity) -> None:
    chance = np.random.default_rng(0)
    for dtype in ("uint8", "int16", "int64", "float32", "float64"):
        ends = np.finfo(dtype) if dtype.startswith("float") else np.iinfo(dtype)
        extremes: list[float] = [ends.min, ends.max, 0, 1]
        if dtype.startswith("float"):
            extremes += [np.nan, np.inf, -np.inf, float(ends.tiny), -0.0]
        values = chance.choice(np.array(extremes, dtype=dtype), (SIDE, SIDE))
        for gain, offset in ((1e-4, -0.1), (1e300, 0.0), (1e-300, 1e300), (1.0, -1e300)):
            rgb, valid = paint(values, recipe_of(name, quantity, gain, offset))
            assert rgb.dtype == np.uint8
            assert rgb.shape == (3, SIDE, SIDE)
            assert not rgb[:, ~valid].any()
            if quantity is Quantity.REFLECTANCE:
                rgb, valid = paint(values, recipe_of(name, quantity, gain, offset, "reflectance"))
                assert np.isfinite(rgb[:, valid]).all()
                assert rgb[:, valid].min(initial=0) >= 0
                assert rgb[:, valid].max(initial=0) <= 1
                assert np.isnan(rgb[:, ~valid]).all()


@settings(max_examples=25)
@given(
    hnp.arrays(
        np.float32, (SIDE, SIDE), elements=st.floats(width=32, allow_nan=True, allow_infinity=True)
    )
)
def test_any_floats(values: NDArray[np.float32]) -> None:
    rgb, valid = paint(
        values, recipe_of("satellite-nir", Quantity.REFLECTANCE, output="reflectance")
    )
    assert np.array_equal(valid, np.isfinite(values))
    assert np.array_equal(np.isfinite(rgb).all(axis=0), valid)
    assert (rgb[:, valid] >= 0).all()
    assert (rgb[:, valid] <= 1).all()


@pytest.mark.parametrize("name", ["satellite-nir", "baseline/table-colour", "baseline/trees"])
@pytest.mark.parametrize(
    ("value", "like"),
    [(-3.0, 0.0), (-1e-6, 0.0), (9.0, MAX_REFLECTANCE), (1e30, MAX_REFLECTANCE)],
    ids=["negative", "hardly negative", "saturated", "absurd"],
)
def test_reflectances_beyond_the_range_are_the_nearest_within(
    name: str, value: float, like: float
) -> None:
    chance = np.random.default_rng(1)
    scene = chance.uniform(0.05, 0.5, (SIDE, SIDE)).astype(np.float32)
    spots = chance.random((SIDE, SIDE)) < 0.2
    recipe = recipe_of(name, Quantity.REFLECTANCE)
    pictures = [paint(np.where(spots, np.float32(v), scene), recipe)[0] for v in (value, like)]
    assert np.array_equal(*pictures)


@pytest.mark.parametrize("value", [0.5, 1.0, 1.2, MAX_REFLECTANCE])
def test_reflectances_up_to_that_reach_the_network_as_they_are(value: float) -> None:
    """Those of snow exceed one."""
    recipe = recipe_of("satellite-nir", Quantity.REFLECTANCE)
    values = np.full((1, 4, 4), value, dtype=np.float32)
    found = network_input(values, np.ones((4, 4), dtype=bool), recipe)
    np.testing.assert_allclose(found, np.sqrt(value), rtol=1e-6)


@pytest.mark.parametrize("counts", [(-7.0, 0.0), (300.0, 255.0)])
def test_counts_beyond_the_range_too(counts: tuple[float, float]) -> None:
    scene = np.random.default_rng(1).uniform(0, 255, (SIDE, SIDE)).astype(np.float32)
    scene[3:7, 5:9] = counts[0]
    other = scene.copy()
    other[3:7, 5:9] = counts[1]
    recipe = recipe_of("aerial-nir", Quantity.COUNTS)
    assert np.array_equal(paint(scene, recipe)[0], paint(other, recipe)[0])


def test_weights_that_overflow_make_no_nan(tmp_path_factory: pytest.TempPathFactory) -> None:
    # Every weight is finite, as it must be; what they make of a scene is not.
    net = random_generator(0, width=8, depth=1, knots=9, table_max=1.225)
    with torch.no_grad():
        for name, parameter in net.named_parameters():
            if not name.startswith("table"):
                parameter.mul_(1e25)
    spec = ModelSpec("wild", 1, ("nir",), Quantity.REFLECTANCE, net.config.to_json())
    path = tmp_path_factory.mktemp("wild") / "wild.safetensors"
    write_model(path, spec, {k: v.numpy() for k, v in net.state_dict().items()})
    scene = np.random.default_rng(1).uniform(0, 0.5, (SIDE, SIDE)).astype(np.float32)
    scaling = Scaling(Quantity.REFLECTANCE, 1.0, 0.0, "test")
    colouriser = colouriser_of(read_model(path))
    whole = input_window(
        Window(0, 0, SIDE, SIDE), halo=colouriser.halo, stride=4, raster=(SIDE, SIDE)
    )
    working = colouriser.paint(
        np.sqrt(np.pad(scene, (0, whole.pad_right)))[None],
        np.ones(whole.shape, np.bool_),
        whole,
    )
    assert not np.isfinite(working).all()  # or it tests nothing
    shown, _ = paint(scene, Recipe(colouriser, scaling))
    assert shown.dtype == np.uint8
    reflectance, _ = paint(scene, Recipe(colouriser, scaling, "reflectance"))
    assert np.isfinite(reflectance).all()
    assert reflectance.min() >= 0
    assert reflectance.max() <= 1


@pytest.mark.parametrize("output", ["display", "reflectance"])
def test_what_is_no_number_becomes_black_and_never_another_number_of_chance(output: str) -> None:
    recipe = recipe_of("satellite-nir", Quantity.REFLECTANCE, output=output)
    working = np.array([[[np.nan, np.inf, -np.inf]]] * 3, dtype=np.float32)
    white = 255 if output == "display" else 1
    assert model_output(working, recipe).tolist() == [[[0, white, 0]]] * 3
