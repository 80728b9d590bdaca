"""Every baseline recovers a mapping it can represent, and ignores what is not valid."""

from __future__ import annotations

import pickle
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from safetensors.numpy import save_file

from nirgeo.baselines import (
    BASELINES,
    Baseline,
    Context,
    Patch,
    load_baseline,
    samples_from,
    save_baseline,
)
from nirgeo.baselines.forest import Forest
from nirgeo.baselines.histogram import LEVELS, HistogramMatch
from nirgeo.baselines.interface import own_tiles
from nirgeo.baselines.least_squares import fit_least_squares
from nirgeo.baselines.lookup import ENTRIES, MeanColourTable, MeanDirectionTable
from nirgeo.baselines.mean_colour import MeanColour
from nirgeo.baselines.missing_blue import LinearBlue, SpotNatural, TerraLook
from nirgeo.baselines.model import BaselineModel, read_baseline_model
from nirgeo.baselines.model import _unchanged as from_reference
from nirgeo.baselines.neighbourhood import (
    FEATURES,
    Neighbourhoods,
    mean_and_spread,
    multi_scale_features,
)
from nirgeo.baselines.oracle import ColourOracle, DirectionOracle
from nirgeo.baselines.pixels import from_linear, to_linear, working_limit
from nirgeo.baselines.polynomial import CubicPolynomial
from nirgeo.baselines.storage import ORACLES, UNFITTED, Card
from nirgeo.baselines.trees import BoostedTrees
from nirgeo.baselines.welsh import WelshTransfer
from nirgeo.errors import ModelError, TrainingError
from nirgeo.metrics import angular_error, angular_summary, rmse
from nirgeo.radiometry import MAX_REFLECTANCE, Quantity, to_working
from nirgeo.tiling import Window, input_window
from nirgeo.training.config import TrainingConfig
from nirgeo.training.data import Sampler, TrainingScene

REFLECTANCE, COUNTS = Quantity.REFLECTANCE, Quantity.COUNTS
NAMES = sorted(BASELINES)
LEARNING = [n for n in NAMES if BASELINES[n].learns]
QUANTITIES = [REFLECTANCE, COUNTS]

Floats = NDArray[np.float32]


def make_sample(
    rng: np.random.Generator, bands: int = 1, size: tuple[int, int] = (24, 31)
) -> Patch:
    """Smooth bands, colours that follow them, and a hole."""
    steps = rng.normal(0, 0.02, (bands, *size))
    field = 0.45 + steps.cumsum(axis=1).cumsum(axis=2) / 4
    inputs = np.clip(field, 0.02, 0.98).astype(np.float32)
    colours = np.stack((inputs[-1] ** 2, 0.8 * inputs[-1], 0.3 + 0.1 * inputs[0]))
    valid = np.ones(size, dtype=np.bool_)
    valid[3:7, 10:20] = False
    return Patch(inputs, colours.astype(np.float32), valid)


def fitted(name: str, samples: list[Patch], quantity: Quantity = REFLECTANCE) -> Baseline:
    if name == "trees":
        return grow(samples, quantity, trees=8)
    return BASELINES[name].fit(samples, quantity)


def grow(samples: list[Patch], quantity: Quantity = REFLECTANCE, **options: int) -> BoostedTrees:
    """Trees grown on one thread: so few pixels are not worth waiting for a second one."""
    pytest.importorskip("sklearn")
    with pytest.importorskip("threadpoolctl").threadpool_limits(1):
        return BoostedTrees.fit(samples, quantity, **options)


def samples_for(name: str, rng: np.random.Generator, count: int = 2) -> list[Patch]:
    return [make_sample(rng, len(BASELINES[name].bands)) for _ in range(count)]


def spoil(sample: Patch) -> Patch:
    """The same sample with rubbish where it is not valid."""
    return Patch(
        np.where(sample.valid, sample.inputs, np.float32(np.nan)),
        np.where(sample.valid, sample.colours, np.float32(1e9)),
        sample.valid,
    )


def context_of(sample: Patch, quantity: Quantity = REFLECTANCE) -> Context:
    return Context(quantity, truth=sample.colours)


# --- what all have in common ---------------------------------------------------------------------


@pytest.mark.parametrize("quantity", QUANTITIES)
@pytest.mark.parametrize("name", NAMES)
def test_prediction_is_a_picture_in_working_space(
    name: str, quantity: Quantity, rng: np.random.Generator
) -> None:
    samples = samples_for(name, rng)
    colours = fitted(name, samples, quantity).predict(
        samples[0].inputs, samples[0].valid, context_of(samples[0], quantity)
    )
    assert colours.dtype == np.float32
    assert colours.shape == samples[0].colours.shape
    assert colours.min() >= 0
    assert colours.max() <= np.float32(working_limit(quantity))
    assert (colours[:, ~samples[0].valid] == 0).all()
    assert (colours[:, samples[0].valid].max(axis=0) > 0).all()


@pytest.mark.parametrize("name", NAMES)
def test_invalid_pixels_have_no_influence(name: str, rng: np.random.Generator) -> None:
    samples = samples_for(name, rng)
    spoilt = [spoil(sample) for sample in samples]
    clean, other = fitted(name, samples), fitted(name, spoilt)
    for key, values in clean.arrays().items():
        np.testing.assert_array_equal(other.arrays()[key], values)
    expected = clean.predict(samples[0].inputs, samples[0].valid, context_of(samples[0]))
    found = clean.predict(spoilt[0].inputs, spoilt[0].valid, context_of(spoilt[0]))
    np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize("name", NAMES)
def test_fitting_twice_is_fitting_once(name: str, rng: np.random.Generator) -> None:
    samples = samples_for(name, rng)
    first, second = fitted(name, samples), fitted(name, samples)
    assert list(first.arrays()) == list(second.arrays())
    for key, values in first.arrays().items():
        np.testing.assert_array_equal(second.arrays()[key], values)


@pytest.mark.parametrize("quantity", QUANTITIES)
@pytest.mark.parametrize("name", NAMES)
def test_saving_keeps_every_bit(
    name: str, quantity: Quantity, rng: np.random.Generator, tmp_path: Path
) -> None:
    samples = samples_for(name, rng)
    baseline = fitted(name, samples, quantity)
    save_baseline(tmp_path / "one.safetensors", baseline)
    loaded = load_baseline(tmp_path / "one.safetensors")
    assert type(loaded) is type(baseline)
    assert loaded.quantity is quantity
    assert sorted(loaded.arrays()) == sorted(baseline.arrays())
    for key, values in baseline.arrays().items():
        assert loaded.arrays()[key].dtype == values.dtype
        assert loaded.arrays()[key].tobytes() == np.ascontiguousarray(values).tobytes()
    context = context_of(samples[1], quantity)
    expected = baseline.predict(samples[1].inputs, samples[1].valid, context)
    found = loaded.predict(samples[1].inputs, samples[1].valid, context)
    assert found.tobytes() == expected.tobytes()
    save_baseline(tmp_path / "two.safetensors", loaded)
    assert (tmp_path / "one.safetensors").read_bytes() == (
        tmp_path / "two.safetensors"
    ).read_bytes()
    assert sorted(p.name for p in tmp_path.iterdir()) == ["one.safetensors", "two.safetensors"]


@pytest.mark.parametrize("name", NAMES)
def test_a_scene_without_valid_pixels_is_black(name: str, rng: np.random.Generator) -> None:
    sample = samples_for(name, rng, 1)[0]
    nothing = np.zeros_like(sample.valid)
    colours = fitted(name, [sample]).predict(sample.inputs, nothing, context_of(sample))
    assert colours.shape == sample.colours.shape
    assert not colours.any()


@pytest.mark.parametrize("quantity", QUANTITIES)
@pytest.mark.parametrize("name", [n for n in NAMES if not n.startswith("oracle")])
def test_a_window_makes_the_pixels_that_the_whole_scene_makes(
    name: str, quantity: Quantity, rng: np.random.Generator
) -> None:
    bands = len(BASELINES[name].bands)
    samples = [make_sample(rng, bands, size=(60, 70)) for _ in range(2)]
    baseline = fitted(name, samples, quantity)
    scene = make_sample(rng, bands, size=(83, 97))
    inputs = np.where(scene.valid, scene.inputs, np.float32(0))
    whole = baseline.predict(inputs, scene.valid, Context(quantity))
    survey = baseline.survey(own_tiles(inputs, scene.valid))
    assert len(np.unique(whole)) > 50 or name == "mean-colour"
    for size in [(1, 1), (1, 7), (5, 3), (16, 16), (31, 64), (70, 90)]:
        for _ in range(4):
            row, col = (int(rng.integers(n - k + 1)) for n, k in zip((83, 97), size, strict=True))
            window = input_window(
                Window(row, col, *size), halo=baseline.halo, stride=1, raster=(83, 97)
            )
            seen = (slice(None), *window.read.slices)
            found = baseline.predict(
                np.ascontiguousarray(inputs[seen]),
                np.ascontiguousarray(scene.valid[seen[1:]]),
                Context(quantity, survey=survey),
            )
            target = (slice(None), *Window(row, col, *size).slices)
            np.testing.assert_array_equal(found[(slice(None), *window.crop)], whole[target])


@pytest.mark.parametrize("name", LEARNING)
def test_nothing_to_learn_from_is_an_error(name: str, rng: np.random.Generator) -> None:
    sample = samples_for(name, rng, 1)[0]
    empty = Patch(sample.inputs, sample.colours, np.zeros_like(sample.valid))
    with pytest.raises(TrainingError, match="no valid pixel"):
        fitted(name, [empty])
    with pytest.raises(TrainingError, match="no valid pixel"):
        fitted(name, [])


@pytest.mark.parametrize("name", NAMES)
def test_scenes_that_do_not_fit_are_refused(name: str, rng: np.random.Generator) -> None:
    sample = samples_for(name, rng, 1)[0]
    baseline = fitted(name, [sample])
    with pytest.raises(ModelError, match="eats"):
        baseline.predict(
            np.concatenate((sample.inputs, sample.inputs[:1])), sample.valid, context_of(sample)
        )
    with pytest.raises(ModelError, match="eats"):
        baseline.predict(sample.inputs, sample.valid.T, context_of(sample))
    with pytest.raises(ModelError, match="fitted to reflectance"):
        baseline.predict(sample.inputs, sample.valid, context_of(sample, COUNTS))


def test_names_are_those_of_the_classes() -> None:
    assert all(kind.name == name for name, kind in BASELINES.items())
    assert len(BASELINES) == 13
    assert {"grey", "terralook", "spot"} | ORACLES == UNFITTED
    assert {"oracle-colour", "oracle-direction"} == ORACLES


# --- files ---------------------------------------------------------------------------------------


def test_files_that_are_no_baselines_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "other.safetensors"
    with pytest.raises(ModelError, match="not a readable baseline"):
        load_baseline(path)
    path.write_bytes(b"rubbish")
    with pytest.raises(ModelError, match="not a readable baseline"):
        load_baseline(path)
    save_file({"a": np.zeros(1)}, path)
    with pytest.raises(ModelError, match="not a saved baseline"):
        load_baseline(path)
    for facts, message in (
        ('{"format": 2, "name": "grey", "quantity": "counts"}', "format 2"),
        ('{"format": 1, "name": "os.system", "quantity": "counts"}', "not a readable"),
        ('{"format": 1, "name": "grey", "quantity": "volts"}', "not a readable"),
        ("[]", "not a readable"),
        ("{", "not a readable"),
        ('{"format": 1, "name": "cubic", "quantity": "counts"}', "'coefficients' .* missing"),
        ('{"format": 1, "name": "grey", "quantity": "counts", "card": 1}', "not a readable"),
        ('{"format": 1, "name": "grey", "quantity": "counts", "card": {"gsd": [2, 1]}}', "range"),
        ('{"format": 1, "name": "grey", "quantity": "counts", "card": {"gsd": []}}', "readable"),
        ('{"format": 1, "name": "grey", "quantity": "counts", "card": {"version": "x"}}', "read"),
    ):
        save_file({"a": np.zeros(1)}, path, metadata={"nirgeo-baseline": facts})
        with pytest.raises(ModelError, match=message):
            load_baseline(path)


def test_a_card_is_kept_and_changes_the_hash(rng: np.random.Generator, tmp_path: Path) -> None:
    baseline = fitted("cubic", samples_for("cubic", rng))
    card = Card(3, (0.5, 20.0), "some scenes", "CC0", "everyone")
    bare, carded = BaselineModel.of(baseline), BaselineModel.of(baseline, card)
    assert bare.sha256 != carded.sha256
    assert (bare.spec.full_name, carded.spec.full_name) == ("baseline/cubic", "baseline/cubic@3")
    save_baseline(tmp_path / "carded.safetensors", baseline, card)
    read = read_baseline_model(tmp_path / "carded.safetensors")
    assert (read.card, read.sha256, read.spec) == (card, carded.sha256, carded.spec)
    assert read.spec.licence == "CC0"
    save_baseline(tmp_path / "bare.safetensors", baseline)
    assert read_baseline_model(tmp_path / "bare.safetensors").sha256 == bare.sha256


def test_a_model_travels_as_a_reference_to_its_file(
    rng: np.random.Generator, tmp_path: Path
) -> None:
    baseline = fitted("histogram", samples_for("histogram", rng))
    path = tmp_path / "h.safetensors"
    save_baseline(path, baseline)
    model = read_baseline_model(path)
    sent = pickle.dumps(model)
    assert len(sent) < 1000
    np.testing.assert_array_equal(
        pickle.loads(sent).baseline.arrays()["quantiles"], baseline.arrays()["quantiles"]
    )
    # One that is in no file takes what it learned along.
    alone = pickle.loads(pickle.dumps(BaselineModel.of(baseline)))
    assert alone.sha256 == model.sha256
    save_baseline(path, fitted("histogram", samples_for("histogram", rng)))
    from_reference.cache_clear()
    with pytest.raises(ModelError, match="changed since it was opened"):
        pickle.loads(sent)


@pytest.mark.parametrize(
    "colour",
    [
        np.zeros(4, np.float32),
        np.zeros((3, 1), np.float32),
        np.zeros(3, np.float64),
        np.array([0.1, np.nan, 0.2], np.float32),
    ],
)
def test_damaged_arrays_are_refused(colour: NDArray[Any]) -> None:
    with pytest.raises(ModelError, match="colour"):
        MeanColour.from_arrays({"colour": colour}, COUNTS)


# --- spaces --------------------------------------------------------------------------------------


@pytest.mark.parametrize("quantity", QUANTITIES)
def test_linear_values_are_those_of_the_radiometry(quantity: Quantity) -> None:
    unit = 1.0 if quantity is REFLECTANCE else 255.0
    values = np.linspace(0, MAX_REFLECTANCE if quantity is REFLECTANCE else 1, 50)
    working = to_working((values * unit).astype(np.float32), quantity)
    np.testing.assert_allclose(to_linear(working, quantity), values, atol=1e-6)
    np.testing.assert_allclose(from_linear(values, quantity), working, atol=1e-6)
    assert working[-1] == np.float32(working_limit(quantity))


def test_least_squares_does_not_depend_on_the_parts(rng: np.random.Generator) -> None:
    a, x = rng.normal(size=(50, 4)), rng.normal(size=(4, 2))
    parts = [(a[:2], a[:2] @ x), (a[2:9], a[2:9] @ x), (a[9:], a[9:] @ x)]
    np.testing.assert_allclose(fit_least_squares(parts), x, atol=1e-12)
    with pytest.raises(ValueError, match="no rows"):
        fit_least_squares([])


# --- single-pixel baselines ----------------------------------------------------------------------


def test_grey_shows_the_near_infrared_bit_for_bit(rng: np.random.Generator) -> None:
    sample = make_sample(rng)
    colours = BASELINES["grey"](REFLECTANCE).predict(  # type: ignore[call-arg]
        sample.inputs, sample.valid, context_of(sample)
    )
    for band in colours:
        np.testing.assert_array_equal(band, np.where(sample.valid, sample.inputs[0], 0))


def test_mean_colour_has_the_least_error_of_any_colour(rng: np.random.Generator) -> None:
    sample = make_sample(rng)
    colour = MeanColour.fit([sample], REFLECTANCE).colour
    mean = (sample.colours[:, sample.valid].astype(np.float64) ** 2).mean(axis=1)
    np.testing.assert_allclose(colour.astype(np.float64) ** 2, mean, rtol=1e-6)


def test_cubic_recovers_a_cubic(rng: np.random.Generator) -> None:
    sample = make_sample(rng)
    nir = sample.inputs[0].astype(np.float64)
    truth = np.stack((0.1 + 0.2 * nir, nir**2 - 0.3 * nir + 0.2, 0.9 * nir**3)).astype(np.float32)
    exact = Patch(sample.inputs, truth, sample.valid)
    found = CubicPolynomial.fit([exact], REFLECTANCE).predict(
        sample.inputs, sample.valid, context_of(exact)
    )
    np.testing.assert_allclose(found, np.where(sample.valid, truth, 0), atol=2e-6)


def test_cubic_of_one_value_is_its_mean() -> None:
    flat = Patch(
        np.full((1, 4, 4), 0.5, np.float32),
        np.full((3, 4, 4), 0.25, np.float32),
        np.ones((4, 4), dtype=np.bool_),
    )
    found = CubicPolynomial.fit([flat], COUNTS).predict(flat.inputs, flat.valid, Context(COUNTS))
    np.testing.assert_allclose(found, 0.25, atol=1e-6)


@pytest.mark.parametrize("kind", [MeanColourTable, MeanDirectionTable])
def test_tables_recover_any_mapping_of_counts(kind: Any, rng: np.random.Generator) -> None:
    counts = rng.permutation(ENTRIES).reshape(16, 16)
    colours = rng.integers(1, 256, (ENTRIES, 3))
    sample = Patch(
        to_working(counts[None].astype(np.float32), COUNTS),
        to_working(np.moveaxis(colours[counts], -1, 0).astype(np.float32), COUNTS),
        np.ones((16, 16), dtype=np.bool_),
    )
    found = kind.fit([sample], COUNTS).predict(sample.inputs, sample.valid, Context(COUNTS))
    np.testing.assert_allclose(found, sample.colours, atol=1e-6)


def test_tables_bridge_values_that_were_not_seen() -> None:
    counts = np.array([[100.0, 102.0]], dtype=np.float32)
    colours = np.array([[[0.2, 0.4]], [[0.2, 0.4]], [[0.2, 0.4]]], dtype=np.float32)
    sample = Patch(to_working(counts[None], COUNTS), colours, np.ones((1, 2), dtype=np.bool_))
    table = MeanColourTable.fit([sample], COUNTS).colours[:, 0]
    np.testing.assert_allclose(table[[0, 100, 101, 102, 255]], [0.2, 0.2, 0.3, 0.4, 0.4], atol=1e-6)


def test_tables_average_light_and_direction_apart() -> None:
    # A bright red and a dark green pixel of one value.
    linear = np.array([[[0.8, 0.0]], [[0.0, 0.2]], [[0.0, 0.0]]])
    sample = Patch(
        np.full((1, 1, 2), 0.5, np.float32),
        from_linear(linear, REFLECTANCE).astype(np.float32),
        np.ones((1, 2), dtype=np.bool_),
    )
    entry = round(0.5 / working_limit(REFLECTANCE) * (ENTRIES - 1))
    colour = MeanColourTable.fit([sample], REFLECTANCE).colours[entry].astype(np.float64) ** 2
    np.testing.assert_allclose(colour, [0.4, 0.1, 0], atol=1e-6)
    colour = MeanDirectionTable.fit([sample], REFLECTANCE).colours[entry].astype(np.float64) ** 2
    np.testing.assert_allclose(colour, [0.5 / 2**0.5, 0.5 / 2**0.5, 0], atol=1e-6)


def test_a_table_entry_of_black_is_black() -> None:
    black = Patch(
        np.zeros((1, 2, 2), np.float32), np.zeros((3, 2, 2), np.float32), np.ones((2, 2), np.bool_)
    )
    for kind in (MeanColourTable, MeanDirectionTable):
        assert not kind.fit([black], REFLECTANCE).colours.any()


@pytest.mark.parametrize("quantity", QUANTITIES)
def test_histogram_recovers_a_monotone_mapping(
    quantity: Quantity, rng: np.random.Generator
) -> None:
    nir = rng.uniform(0, 1, (1, 60, 70)).astype(np.float32)
    colours = np.stack((nir[0] ** 2, np.sqrt(0.2 + nir[0]) / 2, 0.5 + 0.3 * nir[0])).astype(
        np.float32
    )
    sample = Patch(nir, colours, np.ones((60, 70), dtype=np.bool_))
    found = HistogramMatch.fit([sample], quantity).predict(nir, sample.valid, Context(quantity))
    np.testing.assert_allclose(found, colours, atol=3e-3)
    # The order counts, not the values: a darker scene gets the same colours.
    darker = HistogramMatch.fit([sample], quantity).predict(
        nir * np.float32(0.5), sample.valid, Context(quantity)
    )
    np.testing.assert_array_equal(darker, found)


def test_histogram_of_a_flat_scene_is_the_median(rng: np.random.Generator) -> None:
    sample = make_sample(rng)
    flat = np.full_like(sample.inputs, 0.3)
    match = HistogramMatch.fit([sample], REFLECTANCE)
    found = match.predict(flat, sample.valid, context_of(sample))
    np.testing.assert_allclose(
        found[:, sample.valid].max(axis=1),
        np.median(sample.colours[:, sample.valid], axis=1),
        atol=3e-3,
    )
    assert np.ptp(found[:, sample.valid], axis=1).max() == 0


def test_ranks_are_taken_from_a_few_samples_of_many(rng: np.random.Generator) -> None:
    nir = rng.uniform(0, 1, (1, 250, 250)).astype(np.float32)
    valid = np.ones((250, 250), dtype=np.bool_)
    match = HistogramMatch.fit([make_sample(rng)], REFLECTANCE)
    values, ranks = match.survey(own_tiles(nir, valid))
    assert values.size == ranks.size <= LEVELS
    assert (np.diff(values) > 0).all()
    assert (np.diff(ranks) > 0).all()
    np.testing.assert_allclose(ranks, values, atol=0.01)
    # Of display counts every value that occurs keeps its own rank.
    counts = np.rint(nir * 255) / np.float32(255)
    values, ranks = match.survey(own_tiles(counts, valid))
    np.testing.assert_array_equal(values.astype(np.float32), np.unique(counts))
    below = np.array([(counts < v).mean() + (counts == v).mean() / 2 for v in np.unique(counts)])
    np.testing.assert_allclose(ranks, below, atol=1e-12)


@pytest.mark.parametrize("name", ["histogram", "welsh"])
def test_a_scene_whose_samples_are_all_empty_has_colours_all_the_same(
    name: str, rng: np.random.Generator
) -> None:
    sample = make_sample(rng)
    baseline = fitted(name, [sample])
    survey = baseline.survey([(sample.inputs, np.zeros_like(sample.valid))])
    assert survey is not None
    found = baseline.predict(sample.inputs, sample.valid, Context(REFLECTANCE, survey=survey))
    assert np.isfinite(found).all()
    assert (found[:, sample.valid].max(axis=0) > 0).all()
    if name == "welsh":
        np.testing.assert_array_equal(survey, baseline.arrays()["light"])


# --- neighbourhoods and trees --------------------------------------------------------------------


def test_neighbourhoods_against_loops(rng: np.random.Generator) -> None:
    values = rng.integers(-(2**20), 2**20, (9, 12)) / 2**18  # held exactly
    valid = rng.random((9, 12)) < 0.6
    mean, spread = mean_and_spread(np.where(valid, values, np.nan), valid, 2)
    for row, col in np.ndindex(9, 12):
        window = (
            slice(max(0, row - 2), row + 3),
            slice(max(0, col - 2), col + 3),
        )
        known = values[window][valid[window]]
        assert mean[row, col] == pytest.approx(known.mean() if known.size else 0, abs=1e-12)
        assert spread[row, col] == pytest.approx(known.std() if known.size else 0, abs=1e-12)


def test_neighbourhoods_stay_whole_at_their_limits() -> None:
    # Sums of squares wrap around in so large a picture; their differences must not.
    values = np.where(np.indices((1500, 1500)).sum(axis=0) % 2 == 0, 8.0, -8.0)
    mean, spread = Neighbourhoods(values, np.ones((1500, 1500), np.bool_), 16).mean_and_spread(16)
    np.testing.assert_allclose(np.abs(mean[16:-16, 16:-16]), 8 / 33**2, rtol=1e-12)
    np.testing.assert_allclose(spread[16:-16, 16:-16], 8.0, rtol=1e-5)
    flat = mean_and_spread(np.full((40, 40), 1 / 3), np.ones((40, 40), np.bool_), 16)[1]
    assert not flat.any()


def test_features_of_a_flat_picture_are_flat() -> None:
    valid = np.ones((5, 40), dtype=np.bool_)
    valid[:, :3] = False
    features = multi_scale_features(np.full((5, 40), 0.25, np.float32), valid)
    assert features.shape == (FEATURES, valid.sum())
    expected = np.array([0.25] + [0.25, 0, 0] * 5)[:, None].repeat(valid.sum(), axis=1)
    np.testing.assert_allclose(features, expected, atol=1e-6)


def stump(**changes: Any) -> dict[str, Any]:
    """A forest of one tree: feature 2 up to 0.5 gives 1, above it 2; and 10 to start from."""
    return {
        "start": np.array([10.0]),
        "roots": np.array([0], np.int32),
        "feature": np.array([2, 0, 0], np.int32),
        "threshold": np.array([0.5, 0, 0], np.float32),
        "children": np.array([[1, 2], [1, 1], [2, 2]], np.int32),
        "value": np.array([0.0, 1.0, 2.0]),
    } | changes


def test_forest_walks_its_trees() -> None:
    features = np.zeros((FEATURES, 3), np.float32)
    features[2] = [0.4, 0.5, 0.6]
    np.testing.assert_array_equal(Forest(**stump()).predict(features), [11, 11, 12])


@pytest.mark.parametrize(
    "changes",
    [
        {"children": np.array([[1, 3], [1, 1], [2, 2]], np.int32)},
        {"children": np.array([[1, 2], [0, 0], [2, 2]], np.int32)},
        {"children": np.array([[-1, 2], [1, 1], [2, 2]], np.int32)},
        {"feature": np.array([FEATURES, 0, 0], np.int32)},
        {"roots": np.array([3], np.int32)},
    ],
)
def test_forests_that_lead_nowhere_are_refused(changes: dict[str, Any]) -> None:
    with pytest.raises(ModelError, match="leads nowhere"):
        Forest(**stump(**changes))


def test_a_forest_knows_its_depth() -> None:
    assert Forest(**stump()).depth == 1
    leaf = stump(children=np.array([[0, 0], [1, 1], [2, 2]], np.int32))
    assert Forest(**leaf).depth == 0
    chain = np.stack((np.arange(1, 101), np.full(100, 100)), axis=1)
    deep = {
        "feature": np.zeros(101, np.int32),
        "threshold": np.zeros(101, np.float32),
        "children": np.concatenate((chain, [[100, 100]])).astype(np.int32),
        "value": np.zeros(101),
    }
    with pytest.raises(ModelError, match="deeper than 64"):
        Forest(**stump(**deep))


def test_forest_predicts_what_scikit_learn_does(rng: np.random.Generator) -> None:
    ensemble = pytest.importorskip("sklearn.ensemble")
    features = rng.normal(size=(FEATURES, 3000)).astype(np.float32)
    target = np.sin(3 * features[0]) + features[3] * features[5]
    grown = ensemble.HistGradientBoostingRegressor(max_iter=20, max_depth=6, random_state=0)
    with pytest.importorskip("threadpoolctl").threadpool_limits(1):
        grown.fit(features.T, target)
    forest = Forest.from_sklearn(grown)
    fresh = rng.normal(size=(FEATURES, 3000)).astype(np.float32)
    for part in (features, fresh):
        np.testing.assert_allclose(forest.predict(part), grown.predict(part.T), atol=1e-12)


def test_trees_recover_what_no_pixel_alone_can_tell(rng: np.random.Generator) -> None:
    smooth = np.full((40, 80), 0.5)
    rough = 0.5 + 0.2 * rng.standard_normal((40, 80))
    nir = np.concatenate((smooth, rough)).astype(np.float32)[None]
    blue, green = np.array([0.1, 0.2, 0.6]), np.array([0.2, 0.6, 0.1])
    colours = np.empty((3, 80, 80), np.float32)
    colours[:, :40], colours[:, 40:] = blue[:, None, None], green[:, None, None]
    sample = Patch(nir, colours, np.ones((80, 80), dtype=np.bool_))
    baseline = grow([sample], trees=40, pixels_per_sample=3000)
    found = baseline.predict(nir, sample.valid, Context(REFLECTANCE))
    inside = np.zeros((80, 80), dtype=np.bool_)
    inside[:30] = inside[50:] = True
    assert np.abs(found - colours)[:, inside].mean() < 0.02
    table = MeanColourTable.fit([sample], REFLECTANCE)
    single = table.predict(nir, sample.valid, Context(REFLECTANCE))
    assert rmse(found, colours, inside) < 0.2 * rmse(single, colours, inside)


def test_fitting_trees_without_scikit_learn_names_the_extra(
    monkeypatch: pytest.MonkeyPatch, rng: np.random.Generator
) -> None:
    monkeypatch.setitem(sys.modules, "sklearn.ensemble", None)
    with pytest.raises(ModuleNotFoundError, match=r"scikit-learn.*nirgeo\[evaluate\]"):
        BoostedTrees.fit([make_sample(rng)], REFLECTANCE)


def test_stored_trees_predict_without_scikit_learn(
    monkeypatch: pytest.MonkeyPatch, rng: np.random.Generator, tmp_path: Path
) -> None:
    monkeypatch.setitem(sys.modules, "sklearn.ensemble", None)
    forest = Forest(**stump(start=np.array([0.0]), value=np.array([0.0, 0.25, 0.75])))
    save_baseline(tmp_path / "trees.safetensors", BoostedTrees(COUNTS, (forest, forest, forest)))
    sample = make_sample(rng)
    found = load_baseline(tmp_path / "trees.safetensors").predict(
        sample.inputs, sample.valid, Context(COUNTS)
    )
    assert set(np.unique(found[:, sample.valid])) <= {np.float32(0.25), np.float32(0.75)}


# --- Welsh et al. --------------------------------------------------------------------------------


@pytest.mark.parametrize("quantity", QUANTITIES)
def test_welsh_gives_a_one_hued_reference_its_hue(
    quantity: Quantity, rng: np.random.Generator
) -> None:
    sample = make_sample(rng)
    hue = np.array([0.9, 0.6, 0.3])
    linear = hue[:, None, None] * to_linear(sample.inputs, quantity)
    reference = Patch(sample.inputs, from_linear(linear, quantity).astype(np.float32), sample.valid)
    found = WelshTransfer.fit([reference], quantity).predict(
        sample.inputs, sample.valid, Context(quantity)
    )
    summary = angular_summary(to_linear(found, quantity), linear, sample.valid)
    assert summary.p95 < 0.05
    # The picture keeps its own light: brighter stays brighter.
    order = np.argsort(sample.inputs[0][sample.valid], kind="stable")
    assert (np.diff(found[1][sample.valid][order]) >= -1e-6).all()


def test_welsh_tells_dark_from_bright(rng: np.random.Generator) -> None:
    shade = np.where(np.arange(64) < 32, 0.15, 0.6)[None, None].repeat(48, axis=1)
    nir = np.sqrt(shade * rng.uniform(0.95, 1.05, shade.shape)).astype(np.float32)
    water, field = np.array([0.5, 0.9, 1.2]), np.array([1.1, 1.2, 0.5])
    tint = np.where((shade < 0.3), water[:, None, None], field[:, None, None])
    linear = tint * nir.astype(np.float64) ** 2
    sample = Patch(
        nir, from_linear(linear, REFLECTANCE).astype(np.float32), np.ones((48, 64), np.bool_)
    )
    found = WelshTransfer.fit([sample], REFLECTANCE).predict(
        nir, sample.valid, Context(REFLECTANCE)
    )
    inside = np.ones((48, 64), dtype=np.bool_)
    inside[:, 28:36] = False
    assert angular_summary(to_linear(found, REFLECTANCE), linear, inside).p95 < 0.1


def test_welsh_needs_a_swatch() -> None:
    with pytest.raises(ModelError, match="no swatch"):
        WelshTransfer.from_arrays({"swatches": np.zeros((0, 4)), "light": np.zeros(2)}, COUNTS)


def test_welsh_accepts_a_reference_without_contrast(rng: np.random.Generator) -> None:
    flat = Patch(
        np.full((1, 8, 8), 0.4, np.float32),
        np.full((3, 8, 8), 0.4, np.float32),
        np.ones((8, 8), dtype=np.bool_),
    )
    sample = make_sample(rng)
    found = WelshTransfer.fit([flat], REFLECTANCE).predict(
        sample.inputs, sample.valid, context_of(sample)
    )
    np.testing.assert_allclose(found[0][sample.valid], sample.inputs[0][sample.valid], rtol=0.01)


# --- missing blue --------------------------------------------------------------------------------


@pytest.mark.parametrize("quantity", QUANTITIES)
def test_linear_blue_recovers_a_linear_blue(quantity: Quantity, rng: np.random.Generator) -> None:
    sample = make_sample(rng, bands=3)
    red, green, nir = to_linear(sample.inputs, quantity)
    blue = from_linear(0.02 + 0.1 * red + 0.5 * green + 0.05 * nir, quantity).astype(np.float32)
    colours = np.stack((sample.inputs[0], sample.inputs[1], blue))
    exact = Patch(sample.inputs, colours, sample.valid)
    baseline = LinearBlue.fit([exact], quantity)
    np.testing.assert_allclose(baseline.coefficients, [0.02, 0.1, 0.5, 0.05], atol=1e-5)
    found = baseline.predict(sample.inputs, sample.valid, context_of(exact, quantity))
    np.testing.assert_array_equal(found[:2, sample.valid], sample.inputs[:2, sample.valid])
    np.testing.assert_allclose(found[2][sample.valid], blue[sample.valid], atol=1e-5)


@pytest.mark.parametrize(("kind", "share"), [(TerraLook, 1 / 3), (SpotNatural, 1 / 4)])
@pytest.mark.parametrize("quantity", QUANTITIES)
def test_recipes_mix_near_infrared_into_green(
    kind: Any, share: float, quantity: Quantity, rng: np.random.Generator
) -> None:
    sample = make_sample(rng, bands=3)
    found = kind.fit([], quantity).predict(
        sample.inputs, sample.valid, context_of(sample, quantity)
    )
    red, green, nir = sample.inputs[:, sample.valid]
    np.testing.assert_array_equal(found[0][sample.valid], red)
    np.testing.assert_array_equal(found[2][sample.valid], green)
    expected = (1 - share) * to_linear(green, quantity) + share * to_linear(nir, quantity)
    np.testing.assert_allclose(to_linear(found[1][sample.valid], quantity), expected, rtol=1e-5)


# --- oracles -------------------------------------------------------------------------------------


def test_oracles_are_tables_of_the_scene_itself(rng: np.random.Generator) -> None:
    sample, other = make_sample(rng), make_sample(rng)
    noisy = Patch(
        sample.inputs,
        np.clip(sample.colours + rng.normal(0, 0.05, sample.colours.shape), 0.01, 1).astype(
            np.float32
        ),
        sample.valid,
    )
    truth = to_linear(noisy.colours, REFLECTANCE)

    def errors(baseline: Baseline) -> tuple[float, float]:
        found = baseline.predict(noisy.inputs, noisy.valid, context_of(noisy))
        linear = to_linear(found, REFLECTANCE)
        angles = np.radians(angular_error(linear[:, noisy.valid], truth[:, noisy.valid]))
        return rmse(linear, truth, noisy.valid), 1 - float(np.cos(angles).mean())

    colour, direction = errors(ColourOracle(REFLECTANCE)), errors(DirectionOracle(REFLECTANCE))
    assert colour[0] < direction[0]
    assert direction[1] < colour[1]
    for table in (MeanColourTable, MeanDirectionTable, CubicPolynomial):
        honest = errors(table.fit([other], REFLECTANCE))
        assert honest[0] > colour[0]
        assert honest[1] > direction[1]


def test_oracles_need_the_truth(rng: np.random.Generator) -> None:
    sample = make_sample(rng)
    with pytest.raises(ModelError, match="needs the scene's truth"):
        ColourOracle(REFLECTANCE).predict(sample.inputs, sample.valid, Context(REFLECTANCE))


# --- samples -------------------------------------------------------------------------------------


def test_samples_come_from_a_trainings_sampler_and_from_its_scenes(
    rng: np.random.Generator,
) -> None:
    sample = make_sample(rng, size=(70, 80))
    scene = TrainingScene("scene", "place", sample.inputs, sample.colours, sample.valid)
    config = TrainingConfig(REFLECTANCE, batch=3, coarsen=0)
    patches = list(samples_from(Sampler([scene], config), batches=2))
    assert len(patches) == 6
    assert patches[0].inputs.shape == (1, 64, 64)
    assert patches[0].valid.dtype == np.bool_
    again = list(samples_from(Sampler([scene], config), batches=2))
    np.testing.assert_array_equal(patches[5].colours, again[5].colours)
    assert np.isfinite(MeanColourTable.fit(patches, REFLECTANCE).colours).all()
    assert np.isfinite(MeanColour.fit([scene], REFLECTANCE).colour).all()
