"""The second head: colours stay, errors are learnt, scaled and covered."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from helpers import random_model
from test_training_loop import TRAINING, VALIDATION, patchwork

from nirgeo.errors import TrainingError
from nirgeo.metrics import angular_error
from nirgeo.modelfile import Model, load_generator
from nirgeo.radiometry import Quantity, from_working
from nirgeo.training.config import TrainingConfig
from nirgeo.training.data import Sampler, TrainingScene
from nirgeo.training.error_head import (
    LEVEL,
    calibrate,
    fit_error_head,
    tensors_of,
    with_error_head,
)
from nirgeo.training.validation import predict_scene, predict_with_error

pytestmark = pytest.mark.usefixtures("one_thread")

CONFIG = TrainingConfig(
    quantity=Quantity.REFLECTANCE,
    width=8,
    depth=1,
    knots=9,
    batch=4,
    hint_share=0.5,
    hole_share=0.3,
)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Model:
    return random_model(tmp_path_factory.mktemp("model"), seed=3)


def half_wrong(name: str, seed: int) -> TrainingScene:
    """Bright pixels have the colour that a network without a correction gives; dark ones do not."""
    random = np.random.default_rng(seed)
    nir = random.uniform(0.1, 0.9, (96, 96)).astype(np.float32)
    colours = np.stack([nir, nir, np.where(nir > 0.5, nir, nir * 0.5)]).astype(np.float32)
    return TrainingScene(name, name, nir[None], colours, np.ones((96, 96), dtype=np.bool_))


def grey_network(model: Model) -> torch.nn.Module:
    """Every colour is the near infrared itself."""
    network = with_error_head(model)
    knots = torch.linspace(0, network.config.table_max, network.config.knots)
    network.table.values.copy_(knots[None, :, None].expand_as(network.table.values))
    network.head.weight.zero_()
    network.head.bias.zero_()  # type: ignore[operator]
    return network


def test_colours_stay_to_the_bit(model: Model) -> None:
    network = with_error_head(model)
    fit_error_head(network, Sampler(TRAINING, CONFIG), steps=3)
    calibrate(network, VALIDATION, CONFIG.quantity)
    scene = VALIDATION[0]
    made, _ = predict_with_error(network, scene)
    np.testing.assert_array_equal(
        made, predict_scene(load_generator(model), scene, torch.device("cpu"))
    )
    known = load_generator(model).state_dict()
    kept = tensors_of(network)
    assert set(kept) - set(known) == {"error_table.values", "error_head.weight", "error_head.bias"}
    for name, tensor in known.items():
        np.testing.assert_array_equal(kept[name], tensor.numpy())


def test_it_learns_where_the_errors_are(model: Model) -> None:
    network = grey_network(model)
    fit_error_head(network, Sampler([half_wrong("a", 1), half_wrong("b", 2)], CONFIG), steps=60)
    scene = half_wrong("c", 3)
    made, expected = predict_with_error(network, scene)
    wrong = scene.inputs[0] < 0.45
    right = scene.inputs[0] > 0.6
    truth = angular_error(
        from_working(made, CONFIG.quantity).astype(np.float64),
        from_working(scene.colours, CONFIG.quantity).astype(np.float64),
    )
    assert truth[wrong].mean() > 10
    assert expected[0][wrong].mean() == pytest.approx(truth[wrong].mean(), rel=0.3)
    assert expected[0][right].mean() < 0.3 * expected[0][wrong].mean()


def test_calibration_makes_the_mean_right_and_holds_the_level(model: Model) -> None:
    network = grey_network(model)
    fit_error_head(network, Sampler([half_wrong("a", 1)], CONFIG), steps=20)
    scenes = [half_wrong(name, seed) for seed, name in enumerate("vwxyz", start=10)]
    network.error_table.values += 1.0  # far too pessimistic, as after a training on hard places
    found = calibrate(network, scenes, CONFIG.quantity)
    assert found.scale < 0.6
    again = calibrate(network, scenes, CONFIG.quantity)
    assert again.scale == pytest.approx(1, abs=0.01)
    # Every place is like the others, so the interval holds on those left out too.
    assert set(found.coverage) == set("vwxyz")
    assert np.mean(list(found.coverage.values())) == pytest.approx(LEVEL, abs=0.03)


def test_coverage_shows_a_place_that_is_not_like_the_others(model: Model) -> None:
    network = grey_network(model)
    scenes = [half_wrong(name, seed) for seed, name in enumerate("abc", start=1)]
    odd = half_wrong("odd", 9)
    odd.colours[2] *= 0.1
    found = calibrate(network, [*scenes, odd], CONFIG.quantity)
    assert found.coverage["odd"] < 0.6 < min(found.coverage[name] for name in "abc")


def test_scenes_of_one_place_can_count_as_places(model: Model) -> None:
    network = with_error_head(model)
    scenes = [
        TrainingScene(name, "city", s.inputs, s.colours, s.valid)
        for name, s in zip("ab", VALIDATION, strict=True)
    ]
    assert calibrate(network, scenes, CONFIG.quantity).coverage == {}
    assert set(calibrate(network, scenes, CONFIG.quantity, by_scene=True).coverage) == {"a", "b"}


def test_without_a_valid_pixel_there_is_nothing_to_calibrate_on(model: Model) -> None:
    scene = patchwork("empty", 5)
    scene.valid[:] = False
    with pytest.raises(TrainingError, match="valid pixel"):
        calibrate(with_error_head(model), [scene], CONFIG.quantity)
