"""The second head: colours stay, errors are learnt, scaled and covered."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from helpers import random_generator, random_model
from test_training_loop import TRAINING, VALIDATION, patchwork

from nirgeo.errors import TrainingError
from nirgeo.metrics import angular_error
from nirgeo.modelfile import Model, ModelSpec, read_model, write_model
from nirgeo.networks import load_generator
from nirgeo.radiometry import Quantity, from_working
from nirgeo.training import error_head
from nirgeo.training.config import TrainingConfig
from nirgeo.training.data import Sampler, TrainingScene
from nirgeo.training.error_head import (
    FLOOR,
    LEVEL,
    calibrate,
    fit_error_head,
    tensors_of,
    with_error_head,
)
from nirgeo.training.validation import predict_scene, predict_with_error, validation_hint

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
    new = {"error_table.values", "error_head.weight", "error_head.bias", "error_trust"}
    assert set(kept) - set(known) == new
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


PLAIN = replace(
    CONFIG, hint_share=0.0, hole_share=0.0, gain_jitter=0.0, nir_jitter=0.0, coarsen=0.0
)


def painted(name: str, nir: Any, blue: Any, valid: Any = True) -> TrainingScene:
    """A scene of this near infrared, grey but for its blue, which is such a part of it."""
    inputs = np.broadcast_to(np.float32(nir), (96, 96))
    colours = np.stack([inputs, inputs, inputs * np.float32(blue)])
    mask = np.broadcast_to(valid, (96, 96)).copy()
    return TrainingScene(name, name, np.where(mask, inputs, 0)[None], colours, mask)


def angle_of(blue: float) -> float:
    """Degrees between grey and a grey whose blue is such a part of it, in working space."""
    return float(np.degrees(np.arccos((2 + blue**2) / np.sqrt(3 * (2 + blue**4)))))


def test_errors_are_expected_at_the_values_that_have_them(model: Model) -> None:
    network = grey_network(model)
    spacing = network.config.table_max / (network.config.knots - 1)
    columns = np.where(np.arange(96) < 48, 2 * spacing, 6 * spacing)
    one = painted("a", columns[None], np.where(np.arange(96) < 48, 0.5, 1.0)[None])
    table = np.exp(error_head._error_table(network, Sampler([one], PLAIN))[0, :, 0])
    assert table[2] == pytest.approx(angle_of(0.5) + FLOOR, rel=0.1)
    assert table[6] < 0.1 * table[2]
    np.testing.assert_allclose(table[[0, 4, 8]], table[0], rtol=1e-4)  # the mean, where none was


def test_what_is_right_to_the_last_bit_is_expected_to_be_off_by_the_floor(model: Model) -> None:
    network = grey_network(model)
    fit_error_head(network, Sampler([painted("a", 0.5, 1.0)], PLAIN), steps=2)
    _, expected = predict_with_error(network, painted("b", 0.5, 1.0))
    np.testing.assert_allclose(expected, FLOOR, rtol=0.1)


def test_missing_pixels_teach_nothing(model: Model) -> None:
    half = np.arange(96)[None] % 32 < 16
    one = painted("a", 0.02, 0.5, half)  # nearly as dark as missing pixels are
    for steps in (1, 60):
        network = grey_network(model)
        fit_error_head(network, Sampler([one], PLAIN), steps=steps)
        _, expected = predict_with_error(network, one)
        assert np.median(expected[0][one.valid]) == pytest.approx(angle_of(0.5), rel=0.1)


def test_where_red_and_green_are_measured_the_error_is_that_of_the_whole_colour(
    tmp_path: Path,
) -> None:
    def measured(scene: TrainingScene) -> TrainingScene:
        return replace(scene, inputs=np.concatenate((scene.colours[:2], scene.inputs)))

    bands = ("red", "green", "nir")
    made = random_generator(in_bands=3, out_bands=1, width=8, depth=1, knots=9, table_max=1.225)
    spec = ModelSpec(
        name="blue", version=1, bands=bands, quantity=CONFIG.quantity,
        generator=made.config.to_json(),
    )  # fmt: skip
    write_model(tmp_path / "blue.safetensors", spec, tensors_of(made))
    network = with_error_head(read_model(tmp_path / "blue.safetensors"))
    scenes = [measured(half_wrong(name, seed)) for seed, name in enumerate("abc")]
    sampler = Sampler(scenes, replace(PLAIN, bands=bands))
    _, _, errors, known = error_head._residuals(network, sampler, sampler.config, 7)
    batch = sampler.batch(7)
    with torch.no_grad():
        blue = network(*map(torch.from_numpy, (batch.inputs, batch.valid))).numpy()
    colours = np.concatenate((batch.colours[:, :2], blue.clip(0)), axis=1)
    predicted, truth = (
        from_working(a, CONFIG.quantity).swapaxes(0, 1).astype(np.float64)
        for a in (colours, batch.colours)
    )
    wanted = angular_error(predicted, truth) + FLOOR
    assert bool(known.all())
    np.testing.assert_allclose(errors[:, 0].numpy(), wanted, rtol=1e-3, atol=1e-3)
    # Three tables add up to one expectation, when they are fitted and when they are scaled.
    fit_error_head(network, sampler, steps=1, rate=1e-9)
    assert calibrate(network, scenes, CONFIG.quantity).scale == pytest.approx(1, abs=0.3)
    network.error_table.values -= 0.5
    calibrate(network, scenes, CONFIG.quantity)
    assert calibrate(network, scenes, CONFIG.quantity).scale == pytest.approx(1, abs=0.01)


def test_a_place_left_out_has_no_say_in_its_own_interval(model: Model) -> None:
    places = [painted("calm", 0.5, 0.95), painted("odd", 0.5, 0.2)]
    coverage = calibrate(grey_network(model), places, CONFIG.quantity).coverage
    assert coverage["odd"] == pytest.approx(0, abs=0.01)
    assert coverage["calm"] == pytest.approx(1, abs=0.01)


def test_coverage_is_of_what_is_made_without_a_hint(
    model: Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    def told(network: Any, scene: TrainingScene, hint: Any = None) -> Any:
        made, expected = predict_with_error(network, scene, hint)
        return (made if hint is None else scene.colours), expected

    places = [painted("calm", 0.5, 0.95), painted("odd", 0.5, 0.2)]
    monkeypatch.setattr(error_head, "predict_with_error", told)
    found = calibrate(grey_network(model), places, CONFIG.quantity)
    assert found.coverage["odd"] == pytest.approx(0, abs=0.01)
    assert found.coverage["calm"] == pytest.approx(1, abs=0.01)
    assert set(found.hinted_coverage.values()) == {1.0}  # with a hint it knows all
    assert found.to_json()["coverage_hint"] == "none"
    assert found.to_json()["coverage_hinted"] == 1
    assert "without a hint" in found.describe()


def helped(by: float) -> Any:
    """A prediction whose blue a hint brings nearer to the truth, by such a part of the way."""

    def told(network: Any, scene: TrainingScene, hint: Any = None) -> Any:
        made, expected = predict_with_error(network, scene, hint)
        if hint is not None:
            made = made + np.float32(by) * (scene.colours - made)
        return made, expected

    return told


def test_expectations_are_right_with_a_hint_and_without(
    model: Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    network = grey_network(model)
    blues = (0.8, 0.5, 0.7)
    places = [painted(name, 0.5, blue) for name, blue in zip("abc", blues, strict=True)]
    monkeypatch.setattr(error_head, "predict_with_error", helped(0.5))
    found = calibrate(network, places, CONFIG.quantity)
    true = np.array([np.ones(3), np.ones(3), np.square(blues)])
    nearer = np.array([np.ones(3), np.ones(3), np.square((1 + np.array(blues)) / 2)])
    wanted = (np.mean([angle_of(b) for b in blues]), angular_error(nearer, true).mean())
    for hinted in (False, True):
        said = [
            predict_with_error(network, s, validation_hint(s, CONFIG.quantity) if hinted else None)
            for s in places
        ]
        mean = np.mean([expected.mean() for _, expected in said])
        assert mean == pytest.approx(wanted[hinted], rel=0.01)
    assert network.error_trust.item() == pytest.approx(
        np.log(found.hinted_scale / found.scale), abs=1e-6
    )
    assert found.hinted_scale < 0.6 * found.scale
    again = calibrate(network, places, CONFIG.quantity)
    assert (again.scale, again.hinted_scale) == pytest.approx((1, 1), abs=1e-4)
    assert again.quantile == pytest.approx(found.quantile, rel=0.01)


def test_a_network_that_cannot_weigh_hints_has_one_scale(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    network = random_generator(width=8, depth=1, knots=9, table_max=1.225, expects_error=True)
    with torch.no_grad():
        network.error_table.values.fill_(1.0)
    places = [painted("a", 0.5, 0.8), painted("b", 0.5, 0.5)]
    monkeypatch.setattr(error_head, "predict_with_error", helped(0.5))
    found = calibrate(network, places, CONFIG.quantity)
    assert found.scale == found.hinted_scale
    assert min(found.hinted_coverage[p] - found.coverage[p] for p in "ab") >= 0
    assert "error_trust" not in network.state_dict()


def test_what_an_earlier_head_knew_is_forgotten(model: Model, tmp_path: Path) -> None:
    first = with_error_head(model)
    fit_error_head(first, Sampler(TRAINING, CONFIG), steps=3)
    calibration = calibrate(first, VALIDATION, CONFIG.quantity)
    spec = replace(model.spec, generator=first.config.to_json(), uncertainty=calibration.to_json())
    write_model(tmp_path / "doubtful.safetensors", spec, tensors_of(first))
    second = with_error_head(read_model(tmp_path / "doubtful.safetensors"))
    assert not second.error_table.values.any()
    fit_error_head(second, Sampler(TRAINING, CONFIG), steps=3)
    assert calibrate(second, VALIDATION, CONFIG.quantity) == calibration
    for name, values in tensors_of(first).items():
        np.testing.assert_array_equal(tensors_of(second)[name], values)


def test_half_of_a_calibration_is_hinted(model: Model, monkeypatch: pytest.MonkeyPatch) -> None:
    given = []

    def spy(network: Any, scene: TrainingScene, hint: Any = None) -> Any:
        given.append(hint)
        return predict_with_error(network, scene, hint)

    monkeypatch.setattr(error_head, "predict_with_error", spy)
    calibrate(grey_network(model), [VALIDATION[0]], CONFIG.quantity)
    assert given[0] is None
    np.testing.assert_array_equal(given[1], validation_hint(VALIDATION[0], CONFIG.quantity))
    assert len(given) == 2


def test_what_lies_under_missing_pixels_is_not_calibrated_on(model: Model) -> None:
    half = np.arange(96)[None] < 48
    clean = painted("a", 0.5, np.where(half, 0.5, 1.0), half)
    dirty = painted("a", 0.5, np.where(half, 0.5, 0.01), half)
    first, second = (calibrate(grey_network(model), [s], CONFIG.quantity) for s in (clean, dirty))
    assert (first.scale, first.quantile) == (second.scale, second.quantile)


def test_every_scene_of_a_place_is_calibrated_on(model: Model) -> None:
    def scale(*scenes: TrainingScene) -> float:
        return calibrate(grey_network(model), scenes, CONFIG.quantity).scale

    bad, good = painted("bad", 0.5, 0.2), painted("good", 0.5, 0.9)
    both = scale(replace(bad, place="p"), replace(good, place="p"))
    assert both == pytest.approx((scale(bad) + scale(good)) / 2, rel=1e-3)
