"""Training scenes, the batches drawn from them, and the table fitted to them."""

from __future__ import annotations

import os
import zlib
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from helpers import write_raster
from numpy.typing import NDArray

from nirgeo import hints
from nirgeo.errors import EvaluationError, TrainingError
from nirgeo.evaluation.fitting import check_apart
from nirgeo.evaluation.scenes import read_scene
from nirgeo.radiometry import Quantity, from_working
from nirgeo.scene_lists import SceneEntry, index_notes, list_scenes
from nirgeo.training.config import TrainingConfig
from nirgeo.training.data import (
    HAZE_SHARE,
    Sampler,
    TrainingScene,
    _cell_means,
    load_scene,
    refuse_shared_places,
    through_air,
)
from nirgeo.training.table import fit_table, hat_weights, input_range

FloatArray = NDArray[np.float32]

# Nothing random but the place, the position and the orientation of a patch.
PLAIN = TrainingConfig(
    quantity=Quantity.REFLECTANCE,
    batch=8,
    gain_jitter=0.0,
    nir_jitter=0.0,
    coarsen=0.0,
    hole_share=0.0,
    hint_share=0.0,
)


def scene(
    name: str = "a",
    *,
    place: str | None = None,
    size: tuple[int, int] = (96, 96),
    inputs: Any = None,
    colours: Any = None,
    valid: NDArray[np.bool_] | None = None,
    bands: int = 1,
) -> TrainingScene:
    """A scene of random values, or of those given (broadcast over the raster)."""
    random = np.random.default_rng(len(name) + sum(map(ord, name)))

    def fill(values: Any, channels: int) -> FloatArray:
        if values is None:
            return random.uniform(0.1, 0.7, (channels, *size)).astype(np.float32)
        return np.broadcast_to(values, (channels, *size)).astype(np.float32)

    return TrainingScene(
        name,
        place or name,
        fill(inputs, bands),
        fill(colours, 3),
        np.ones(size, dtype=np.bool_) if valid is None else valid,
    )


def flat(*values: float) -> FloatArray:
    return np.array(values, dtype=np.float32).reshape(-1, 1, 1)


class TestBatches:
    def test_shapes_and_types(self) -> None:
        batch = Sampler([scene(bands=2)], replace(PLAIN, patch=64)).batch(0)
        assert batch.inputs.shape == (8, 2, 64, 64)
        assert batch.colours.shape == (8, 3, 64, 64)
        assert batch.valid.shape == (8, 1, 64, 64)
        assert batch.hint.shape == (8, 3, 16, 16)
        assert {part.dtype for part in batch} == {np.dtype(np.float32)}

    @pytest.mark.parametrize("quantity", list(Quantity))
    def test_a_function_of_seed_and_step(self, quantity: Quantity) -> None:
        config = TrainingConfig(quantity=quantity, batch=6, coarsen=0.5, hole_share=0.5)
        scenes = [scene("a", size=(200, 150)), scene("b"), scene("c", place="b")]
        one, two = Sampler(scenes, config), Sampler(list(scenes), config)
        one.batch(3)  # what was drawn before does not matter
        for step in (0, 7):
            for a, b in zip(one.batch(step), two.batch(step), strict=True):
                np.testing.assert_array_equal(a, b)
        assert not np.array_equal(one.batch(0).inputs, one.batch(1).inputs)
        other = Sampler(scenes, replace(config, seed=1))
        assert not np.array_equal(one.batch(0).inputs, other.batch(0).inputs)

    def test_pixels_of_all_parts_stay_together(self) -> None:
        """Whatever is cut, turned and mirrored: input, colour and mask of a pixel go together."""
        values = np.random.default_rng(3).uniform(0.1, 0.9, (1, 150, 130)).astype(np.float32)
        mask = values[0] > 0.3
        colours = np.concatenate([values, values**2, 1 - values])
        one = scene(size=(150, 130), inputs=values, colours=colours, valid=mask)
        batch = Sampler([one], replace(PLAIN, batch=32)).batch(0)
        np.testing.assert_array_equal(batch.valid[:, 0], batch.colours[:, 0] > 0.3)
        np.testing.assert_array_equal(batch.inputs[:, 0], batch.colours[:, 0] * batch.valid[:, 0])
        np.testing.assert_allclose(batch.colours[:, 1], batch.colours[:, 0] ** 2, rtol=1e-6)

    def test_all_eight_orientations_occur(self) -> None:
        ramp = np.arange(64 * 64, dtype=np.float32).reshape(1, 64, 64) / 5000
        batch = Sampler([scene(size=(64, 64), inputs=ramp)], replace(PLAIN, batch=128)).batch(0)
        assert len({patch.tobytes() for patch in batch.inputs}) == 8

    def test_every_position_can_be_drawn(self) -> None:
        ramp = np.arange(66 * 67, dtype=np.float32).reshape(1, 66, 67) / 5000
        batch = Sampler([scene(size=(66, 67), inputs=ramp)], replace(PLAIN, batch=200)).batch(0)
        corners = {round(float(patch.min()) * 5000) for patch in batch.inputs}
        assert corners == {row * 67 + col for row in range(3) for col in range(4)}

    def test_invalid_pixels_are_zero(self) -> None:
        mask = np.ones((96, 96), dtype=np.bool_)
        mask[::3] = False
        batch = Sampler([scene(valid=mask)], replace(PLAIN, coarsen=0.0)).batch(0)
        assert (batch.inputs[batch.valid == 0] == 0).all()
        assert (batch.inputs[batch.valid == 1] > 0).all()
        assert 0.6 < batch.valid.mean() < 0.7

    def test_holes(self) -> None:
        whole = Sampler([scene()], PLAIN).batch(0)
        assert whole.valid.all()
        holed = Sampler([scene()], replace(PLAIN, hole_share=1.0, batch=32)).batch(0)
        missing = 1 - holed.valid.mean(axis=(1, 2, 3))
        assert (missing < 0.3).all()  # less than a quarter of the patch, and of its border
        assert (missing > 0).mean() > 0.7  # a few fall outside
        assert (holed.inputs[holed.valid == 0] == 0).all()

    def test_a_patch_larger_than_the_scene_is_filled_up_with_nothing(self) -> None:
        batch = Sampler([scene(size=(64, 200))], replace(PLAIN, patch=128)).batch(0)
        assert batch.inputs.shape[2:] == (128, 128)
        assert (batch.valid.sum(axis=(1, 2, 3)) == 64 * 128).all()
        assert (batch.inputs[batch.valid == 0] == 0).all()

    def test_patches_are_half_valid_where_that_can_be_had(self) -> None:
        mask = np.zeros((192, 192), dtype=np.bool_)
        mask[:, :120] = True
        batch = Sampler([scene(size=(192, 192), valid=mask)], replace(PLAIN, batch=64)).batch(0)
        assert (batch.valid.mean(axis=(1, 2, 3)) >= 0.5).mean() > 0.95


class TestZoom:
    """Patches resampled by a random factor, everything together."""

    CONFIG = replace(PLAIN, zoom=0.4, batch=48)

    def test_a_ramp_keeps_its_course_and_changes_its_slope(self) -> None:
        ramp = np.broadcast_to(np.arange(256, dtype=np.float32) / 400, (1, 256, 256))
        one = scene(size=(256, 256), inputs=ramp, colours=ramp)
        config = replace(self.CONFIG, quantity=Quantity.COUNTS, orientations="upright")
        batch = Sampler([one], config).batch(0)
        assert batch.inputs.shape == (48, 1, 64, 64)
        assert batch.valid.all()
        # The filter's weights are those of whole pixels, so steps are equal but for a tenth.
        steps = np.diff(batch.inputs[:, 0, 2:-2, 2:-2], axis=-1) * 400
        factor = steps.mean(axis=(1, 2))
        np.testing.assert_allclose(
            steps, np.broadcast_to(factor[:, None, None], steps.shape), atol=0.2
        )
        assert np.exp(-0.4) - 0.01 <= factor.min() < 0.75
        assert 1.33 < factor.max() <= np.exp(0.4) + 0.01
        np.testing.assert_allclose(batch.colours[:, 1], batch.inputs[:, 0], atol=1e-6)

    def test_light_is_averaged_and_not_its_root(self) -> None:
        """Stripes of one pixel, zoomed far out, have the mean of their reflectances."""
        stripes = np.broadcast_to(np.sqrt(np.tile([0.0, 0.5], 300)), (1, 600, 600))
        one = scene(size=(600, 600), inputs=stripes, colours=stripes)
        config = replace(self.CONFIG, quantity=Quantity.REFLECTANCE, zoom=2.0)
        batch = Sampler([one], config).batch(0)
        light = from_working(batch.colours[:, 0, 8:-8, 8:-8], Quantity.REFLECTANCE)
        spread = light.std(axis=(1, 2))
        far = spread < 0.02
        assert far.any()
        np.testing.assert_allclose(light[far].mean(axis=(1, 2)), 0.25, atol=0.01)

    def test_nothing_is_made_of_missing_pixels(self) -> None:
        mask = np.ones((256, 256), dtype=np.bool_)
        mask[:, 100:140] = False
        inputs = np.where(mask, 0.5, 0.0).astype(np.float32)
        one = scene(size=(256, 256), inputs=inputs, colours=inputs, valid=mask)
        batch = Sampler([one], replace(self.CONFIG, quantity=Quantity.COUNTS)).batch(0)
        valid = batch.valid[:, 0] == 1
        assert (~valid).any()
        np.testing.assert_allclose(batch.inputs[:, 0][valid], 0.5, atol=1e-3)
        np.testing.assert_allclose(batch.colours[:, 2][valid], 0.5, atol=1e-3)

    def test_a_scene_smaller_than_what_is_looked_for(self) -> None:
        batch = Sampler([scene(size=(64, 64))], self.CONFIG).batch(0)
        assert batch.inputs.shape[2:] == (64, 64)
        assert 0.3 < batch.valid.mean() < 1


class TestWeights:
    def test_area_to_a_power(self) -> None:
        scenes = [scene("a", size=(128, 128)), scene("b", size=(256, 128))]
        sampler = Sampler(scenes, replace(PLAIN, area_exponent=0.5))
        np.testing.assert_allclose(sampler.weights[1] / sampler.weights[0], 2**0.5)
        assert sampler.weights.sum() == pytest.approx(1)

    def test_scenes_of_one_place_share_its_weight(self) -> None:
        scenes = [scene(n, place="p", size=(128, 128)) for n in "abcd"] + [
            scene("e", size=(256, 256))
        ]
        sampler = Sampler(scenes, PLAIN)
        assert [[s.name for s in place] for place in sampler.places] == [["e"], list("abcd")]
        np.testing.assert_allclose(sampler.weights, 0.5)

    def test_only_valid_pixels_count(self) -> None:
        mask = np.zeros((128, 128), dtype=np.bool_)
        mask[:, :64] = True
        sampler = Sampler(
            [scene("a", size=(128, 128), valid=mask), scene("b", size=(128, 128))],
            replace(PLAIN, area_exponent=1.0),
        )
        np.testing.assert_allclose(sampler.weights, [1 / 3, 2 / 3])

    def test_small_places_get_their_share_together(self) -> None:
        scenes = [scene(f"s{k}", size=(64, 64)) for k in range(10)]
        scenes += [scene("x", size=(128, 128)), scene("y", size=(256, 256))]
        sampler = Sampler(scenes, replace(PLAIN, small_place_share=0.2))
        names = [place[0].name for place in sampler.places]
        small = np.array([name.startswith("s") for name in names])
        np.testing.assert_allclose(sampler.weights[small], 0.02)
        assert sampler.weights[~small].sum() == pytest.approx(0.8)
        x, y = (sampler.weights[names.index(n)] for n in "xy")
        np.testing.assert_allclose(y / x, 4**PLAIN.area_exponent)

    def test_small_places_alone_are_equal(self) -> None:
        scenes = [scene(f"s{k}", size=(64, 64)) for k in range(4)]
        np.testing.assert_allclose(Sampler(scenes, PLAIN).weights, 0.25)

    def test_draws_follow_the_weights(self) -> None:
        scenes = [
            scene("a", size=(64, 64), inputs=0.1),
            scene("b", size=(128, 128), inputs=0.2),
            scene("c", size=(256, 256), inputs=0.3),
        ]
        sampler = Sampler(scenes, replace(PLAIN, batch=64, small_place_share=0.5))
        values = np.concatenate([sampler.batch(k).inputs[:, 0, 0, 0] for k in range(12)])
        shares = [float(np.isclose(values, v).mean()) for v in (0.1, 0.2, 0.3)]
        np.testing.assert_allclose(shares, sampler.weights, atol=4 * 0.5 / len(values) ** 0.5)

    @pytest.mark.parametrize(
        "scenes",
        [
            [],
            [scene(size=(63, 200))],
            [scene(valid=np.zeros((96, 96), dtype=np.bool_))],
        ],
        ids=["none", "too small", "nothing valid"],
    )
    def test_nothing_to_draw_from(self, scenes: list[TrainingScene]) -> None:
        with pytest.raises(TrainingError, match="64×64 px with valid pixels"):
            Sampler(scenes, PLAIN)


class TestAugmentation:
    @pytest.mark.parametrize("quantity", list(Quantity))
    def test_the_ratio_of_colours_is_kept(self, quantity: Quantity) -> None:
        linear = np.array([0.05, 0.09, 0.03])
        working = np.sqrt(linear) if quantity is Quantity.REFLECTANCE else linear
        one = scene(size=(256, 256), inputs=flat(0.5), colours=flat(*working))
        config = replace(
            PLAIN, quantity=quantity, gain_jitter=0.5, nir_jitter=0.2, coarsen=0.5, batch=64
        )
        batch = Sampler([one], config).batch(0)
        colours = from_working(batch.colours, quantity)
        np.testing.assert_allclose(colours[:, 0] / colours[:, 1], 5 / 9, rtol=1e-4)
        np.testing.assert_allclose(colours[:, 2] / colours[:, 1], 3 / 9, rtol=1e-4)
        # And the light does change, by up to a factor of e^0.5 either way.
        light = colours[:, 1, 0, 0] / colours[:, 1, 0, 0].mean()
        assert light.min() < 0.75
        assert light.max() > 1.3

    @pytest.mark.parametrize("quantity", list(Quantity))
    def test_the_measured_band_follows_the_light_but_for_its_own_gain(
        self, quantity: Quantity
    ) -> None:
        value = 0.25 if quantity is Quantity.REFLECTANCE else 0.5
        one = scene(inputs=flat(0.5), colours=flat(0.4, 0.4, 0.4))
        config = replace(PLAIN, quantity=quantity, gain_jitter=0.3, nir_jitter=0.1, batch=256)
        batch = Sampler([one], config).batch(0)
        nir = from_working(batch.inputs[:, 0, 0, 0], quantity)
        green = from_working(batch.colours[:, 1, 0, 0], quantity)
        reference = from_working(flat(0.4), quantity).item()
        unit = 1 if quantity is Quantity.REFLECTANCE else 255
        own = np.log((nir / (value * unit)) / (green / reference))
        assert np.abs(own).max() <= 0.1 + 1e-5
        assert own.std() == pytest.approx(0.1 / 3**0.5, rel=0.2)
        assert abs(np.corrcoef(np.log(nir), np.log(green))[0, 1]) > 0.8

    @pytest.mark.parametrize("quantity", list(Quantity))
    def test_coarsening_averages_light(self, quantity: Quantity) -> None:
        dark, bright = 0.2, 0.8
        board = np.where(np.indices((256, 256)).sum(axis=0) % 2, dark, bright)
        one = scene(size=(256, 256), inputs=board, colours=board)
        batch = Sampler([one], replace(PLAIN, quantity=quantity, coarsen=1.0)).batch(0)
        if quantity is Quantity.REFLECTANCE:
            expected = ((dark**2 + bright**2) / 2) ** 0.5
        else:
            expected = (dark + bright) / 2
        np.testing.assert_allclose(batch.inputs, expected, rtol=1e-5)
        np.testing.assert_allclose(batch.colours, expected, rtol=1e-5)

    def test_a_coarse_pixel_is_valid_if_all_of_it_is(self) -> None:
        mask = np.ones((256, 256), dtype=np.bool_)
        mask[8::16, 8::16] = False
        one = scene(size=(256, 256), inputs=flat(0.5), valid=mask)
        batch = Sampler([one], replace(PLAIN, coarsen=1.0)).batch(0)
        assert batch.valid.mean() == pytest.approx(1 - 1 / 64)
        assert set(np.unique(batch.inputs).round(5)) == {0.0, 0.5}

    def test_small_scenes_are_not_coarsened(self) -> None:
        board = np.where(np.indices((127, 127)).sum(axis=0) % 2, 0.2, 0.8)
        batch = Sampler([scene(size=(127, 127), inputs=board)], replace(PLAIN, coarsen=1.0)).batch(
            0
        )
        np.testing.assert_allclose(np.unique(batch.inputs), [0.2, 0.8])

    @pytest.mark.parametrize("quantity", list(Quantity))
    def test_haze_brightens_the_measured_band_and_not_the_colours(self, quantity: Quantity) -> None:
        one = scene(inputs=flat(0.4), colours=flat(0.4, 0.3, 0.2))
        config = replace(PLAIN, quantity=quantity, haze=0.1, batch=200)
        batch = Sampler([one], config).batch(0)
        for channel, value in enumerate((0.4, 0.3, 0.2)):
            np.testing.assert_allclose(batch.colours[:, channel], value, rtol=1e-6)
        full = 1 if quantity is Quantity.REFLECTANCE else 255
        clear = from_working(flat(0.4), quantity).item() / full
        seen = from_working(batch.inputs[:, 0, 0, 0], quantity) / full
        veil = (seen - clear) / (1 - clear)  # seen = clear · (1 − veil) + veil
        assert veil.min() == pytest.approx(0, abs=1e-6)
        assert 0.09 < veil.max() <= 0.1 + 1e-6
        hazy = veil > 1e-6
        assert hazy.mean() == pytest.approx(HAZE_SHARE, abs=4 * (0.24 / 200) ** 0.5)
        np.testing.assert_allclose(batch.inputs, batch.inputs[:, :, :1, :1] * np.ones((64, 64)))

    def test_values_stay_inside_the_table(self) -> None:
        one = scene(inputs=flat(1.2), colours=flat(1.2, 1.2, 1.2))
        batch = Sampler([one], replace(PLAIN, gain_jitter=1.0)).batch(0)
        limit = np.float32(PLAIN.table_max)
        assert batch.inputs.max() == batch.colours.max() == limit


class TestMeasuredColours:
    """Where red and green are measured, they are the same numbers in inputs and colours."""

    BANDS = ("red", "green", "nir")

    def sampler(self, **changes: Any) -> Sampler:
        random = np.random.default_rng(5)
        colours = random.uniform(0.2, 0.5, (3, 96, 96)).astype(np.float32)
        nir = random.uniform(0.4, 0.6, (1, 96, 96)).astype(np.float32)
        known = scene(inputs=np.concatenate((colours[:2], nir)), colours=colours, bands=3)
        return Sampler([known], replace(PLAIN, bands=self.BANDS, batch=64, **changes))

    @pytest.mark.parametrize(
        "changes",
        [
            {},
            {"gain_jitter": 0.3, "nir_jitter": 0.2},
            {"coarsen": 1.0},
            {"path_radiance": 0.1, "gain_jitter": 0.3, "nir_jitter": 0.2},
        ],
        ids=str,
    )
    def test_whatever_is_done_to_a_patch(self, changes: dict[str, float]) -> None:
        batch = self.sampler(**changes).batch(3)
        np.testing.assert_array_equal(batch.inputs[:, :2], batch.colours[:, :2])

    @pytest.mark.parametrize("share", [0.0, 0.5, 1.0])
    def test_air_adds_most_to_blue(self, share: float) -> None:
        dark = scene(inputs=flat(0.2, 0.2, 0.2), colours=flat(0.2, 0.2, 0.2), bands=3)
        config = replace(PLAIN, bands=self.BANDS, batch=200, path_radiance=0.1, path_share=share)
        batch = Sampler([dark], config).batch(0)
        joined = np.concatenate((batch.colours, batch.inputs[:, 2:]), axis=1)[:, :, 0, 0]
        red, green, blue, nir = (from_working(joined, Quantity.REFLECTANCE) - 0.04).T
        touched = blue > 1e-4
        assert touched.mean() == pytest.approx(share, abs=0.1)
        if share:
            ordered = np.stack([blue, green, red, nir])[:, touched]
            assert (np.diff(ordered, axis=0) < 0).all()
            assert 0.08 < blue.max() < 0.1
        np.testing.assert_allclose(red[~touched], 0, atol=1e-4)

    def test_closed_form(self) -> None:
        working = np.sqrt(np.full((2, 4, 4), 0.25, dtype=np.float32))
        seen = from_working(through_air(working, ("blue", "nir"), 0.1, 4.0), Quantity.REFLECTANCE)
        np.testing.assert_allclose(seen[0], 0.25 * 0.9 + 0.1, rtol=1e-5)
        path = 0.1 * (0.84 / 0.49) ** -4
        np.testing.assert_allclose(seen[1], 0.25 * (1 - path) + path, rtol=1e-5)

    def test_counts_have_no_air(self) -> None:
        with pytest.raises(TrainingError, match="display counts have none"):
            TrainingConfig(Quantity.COUNTS, path_radiance=0.1)


class TestHints:
    def test_none_is_all_zeros(self) -> None:
        assert not Sampler([scene()], PLAIN).batch(0).hint.any()

    def test_share(self) -> None:
        batch = Sampler([scene()], replace(PLAIN, hint_share=0.6, batch=256)).batch(0)
        given = batch.hint[:, 2].any(axis=(1, 2)).mean()
        assert given == pytest.approx(0.6, abs=4 * (0.24 / 256) ** 0.5)

    @pytest.mark.parametrize("quantity", list(Quantity))
    def test_without_error_a_hint_is_the_truth(self, quantity: Quantity) -> None:
        linear = np.array([0.05, 0.09, 0.03])
        working = np.sqrt(linear) if quantity is Quantity.REFLECTANCE else linear
        config = replace(
            PLAIN, quantity=quantity, hint_share=1.0, hint_error=0.0, gain_jitter=0.3, batch=32
        )
        hint = Sampler([scene(colours=flat(*working))], config).batch(0).hint
        np.testing.assert_allclose(hint[:, 0], np.log(5 / 9), atol=1e-4)
        np.testing.assert_allclose(hint[:, 1], np.log(3 / 9), atol=1e-4)
        np.testing.assert_allclose(hint[:, 2], 1)

    def test_a_hint_lies_where_its_colours_lie(self) -> None:
        # Left red, right blue: wherever a patch was cut and however it was turned, the hint of a
        # cell has the sign of the colours under it.
        colours = np.empty((3, 128, 128), dtype=np.float32)
        colours[1] = 0.4
        colours[0, :, :64], colours[0, :, 64:] = 0.6, 0.2
        colours[2] = 0.8 - colours[0]
        config = replace(PLAIN, hint_share=1.0, hint_error=0.0, batch=64)
        batch = Sampler([scene(size=(128, 128), colours=colours)], config).batch(0)
        truth = 2 * np.log(batch.colours[:, 0] / batch.colours[:, 1])
        cells = truth.reshape(64, 16, 4, 16, 4).mean(axis=(2, 4))
        local = batch.hint[:, 0].std(axis=(1, 2)) > 0.3  # cells small enough to tell sides apart
        assert local.sum() > 10
        likeness = [
            np.corrcoef(hint.ravel(), true.ravel())[0, 1]
            for hint, true in zip(batch.hint[local, 0], cells[local], strict=True)
        ]
        assert min(likeness) > 0.4  # cells of half a patch blur a lot
        assert np.median(likeness) > 0.9

    def test_trust_falls_with_the_error(self) -> None:
        config = replace(PLAIN, hint_share=1.0, hint_error=0.3, batch=256)
        hint = Sampler([scene(colours=flat(0.3, 0.3, 0.3))], config).batch(0).hint
        trusted = hint[:, 2].mean(axis=(1, 2))
        assert trusted.min() >= hints.trust(0.3) - 1e-6
        assert trusted.max() > 0.9
        # The truth is a ratio of one, so what the hint says is its error.
        error = np.abs(hint[:, 0].mean(axis=(1, 2)) / trusted)
        sure = trusted > np.median(trusted)
        assert error[sure].mean() < 0.5 * error[~sure].mean()


def of_entry(entry: SceneEntry) -> TrainingScene:
    nothing = np.full((1, 64, 64), zlib.crc32(str(entry.path).encode()) / 2**32, np.float32)
    valid = np.ones((64, 64), np.bool_)
    return TrainingScene(entry.path.stem, entry.place, nothing, nothing, valid, entry.origin)


class TestNotes:
    """What `colorize` says of a scene is said where it is learnt from too."""

    def test_numbers_that_are_assumed_and_pixels_that_may_be_missing(self, tmp_path: Path) -> None:
        random = np.random.default_rng(0)
        values = random.integers(300, 3000, (4, 80, 80)).astype(np.int16)
        values[:, :8] = -9999
        path = tmp_path / "x.tif"
        roles = ("red", "green", "blue", "nir")
        write_raster(path, values, descriptions=roles)
        scene = load_scene(SceneEntry(path, "x"), ("nir",), Quantity.REFLECTANCE)
        assert "nothing in it says how its numbers become reflectance" in scene.notes[0]
        assert scene.notes[1].startswith("10.0% of nir is -9999")
        assert len(scene.notes) == 5
        (noted,) = [read_scene(SceneEntry(path, "x")).notes]
        assert sorted(noted) == sorted(scene.notes)
        write_raster(path, values, descriptions=roles, nodata=-9999, scales=[1e-4] * 4)
        said = load_scene(SceneEntry(path, "x"), ("nir",), Quantity.REFLECTANCE)
        assert said.notes == ()


class TestListScenes:
    @staticmethod
    def _tree(folder: Path) -> None:
        for name in ("a.tif", "sub/b.TIFF", "sub/deep/c.vrt", "notes.txt", "d.tif.aux.xml"):
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).touch()

    def test_without_an_index_every_file_is_a_place(self, tmp_path: Path) -> None:
        self._tree(tmp_path)
        entries = list_scenes([tmp_path])
        assert entries == [
            SceneEntry(tmp_path / "a.tif", "a", alone=True),
            SceneEntry(tmp_path / "sub" / "b.TIFF", "b", alone=True),
            SceneEntry(tmp_path / "sub" / "deep" / "c.vrt", "c", alone=True),
        ]

    def test_a_file_of_two_folders_is_one_scene(self, tmp_path: Path) -> None:
        self._tree(tmp_path)
        twice = list_scenes([tmp_path, tmp_path / "sub"])
        assert [entry.path for entry in twice] == [e.path for e in list_scenes([tmp_path])]
        assert [entry.place for entry in twice] == ["a", "b", "c"]

    def test_what_is_one_place_does_not_depend_on_names(self, tmp_path: Path) -> None:
        for folder in ("2019", "2020", "other"):
            write_raster(tmp_path / folder / "stack.tif", np.ones((4, 70, 70), np.uint8))
        (both,) = [list_scenes([tmp_path / "2019", tmp_path / "2020"])]
        (one,) = list_scenes([tmp_path / "2020"])
        (other,) = list_scenes([tmp_path / "other"])
        assert one.place == other.place == "stack"  # each is the only one of that name there
        learnt = [of_entry(entry) for entry in both]
        refuse_shared_places(learnt, [of_entry(other)])
        with pytest.raises(TrainingError, match="share places"):
            refuse_shared_places(learnt, [of_entry(one)])
        check_apart(both, [other])
        with pytest.raises(EvaluationError, match="both in --fit and in --data"):
            check_apart(both, [one])

    def test_levels_that_nothing_tells(self, tmp_path: Path) -> None:
        self._tree(tmp_path)
        with pytest.raises(TrainingError, match="levels are a column of --index, and there is"):
            list_scenes([tmp_path], levels=["L2A"])
        index = tmp_path / "index.csv"
        index.write_text("file,group\na.tif,x\n")
        with pytest.raises(TrainingError, match="tells no level of any"):
            list_scenes([tmp_path], index, ["L2A"])

    @pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig"])
    def test_index(self, tmp_path: Path, encoding: str) -> None:
        self._tree(tmp_path)
        index = tmp_path / "index.csv"
        index.write_text(
            "file,group,level,remark\na.tif,Zürich,L2A,x\nsub/b.TIFF,Zürich,L1C,\n",
            encoding=encoding,
        )
        places = {e.path.name: e.place for e in list_scenes([tmp_path], index)}
        assert places == {"a.tif": "Zürich", "b.TIFF": "Zürich", "c.vrt": "c"}
        chosen = list_scenes([tmp_path], index, levels=["L2A"])
        assert chosen == [SceneEntry(tmp_path / "a.tif", "Zürich")]

    def test_paths_of_the_index_are_relative_to_it(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        self._tree(tmp_path / "data")
        index = tmp_path / "lists" / "index.csv"
        index.parent.mkdir()
        index.write_text("file,group\n../data/a.tif,here\n")
        monkeypatch.chdir(tmp_path)
        entries = list_scenes([Path("data")], Path("lists/index.csv"))
        assert {e.path.name: e.place for e in entries}["a.tif"] == "here"

    @pytest.mark.parametrize(
        ("text", "message"),
        [
            ("path,group\na.tif,x\n", "no column 'file'"),
            ("file,place\na.tif,x\n", "no column 'group'"),
            ("", "no column 'file'"),
        ],
    )
    def test_an_index_without_its_columns(self, tmp_path: Path, text: str, message: str) -> None:
        self._tree(tmp_path)
        (tmp_path / "index.csv").write_text(text)
        with pytest.raises(TrainingError, match=message):
            list_scenes([tmp_path], tmp_path / "index.csv")

    def test_an_index_that_was_written_on_windows(self, tmp_path: Path) -> None:
        self._tree(tmp_path)
        index = tmp_path / "index.csv"
        index.write_text("file,group\nsub\\b.TIFF,here\nsub\\deep\\c.vrt,here\na.tif,here\n")
        assert {e.place for e in list_scenes([tmp_path], index)} == {"here"}
        assert index_notes([tmp_path], index) == []
        if os.name != "nt":
            (tmp_path / "sub\\b.TIFF").touch()  # a name as good as others
            places = {e.path.name: e.place for e in list_scenes([tmp_path], index)}
            assert places["sub\\b.TIFF"] == "here"
            assert places["b.TIFF"] == "b"

    def test_places_of_such_an_index_are_not_shared(self, tmp_path: Path) -> None:
        array = np.full((4, 64, 64), 3000, dtype=np.uint16)
        for name in ("tr/a0.tif", "va/a1.tif"):
            write_raster(tmp_path / name, array, descriptions=["nir", "red", "green", "blue"])
        (tmp_path / "index.csv").write_text("file,group\ntr\\a0.tif,X\nva\\a1.tif,X\n")
        sides = [
            [
                load_scene(entry, ("nir",), Quantity.REFLECTANCE)
                for entry in list_scenes([tmp_path / side], tmp_path / "index.csv")
            ]
            for side in ("tr", "va")
        ]
        with pytest.raises(TrainingError, match=r"share places.*X"):
            refuse_shared_places(*sides)

    @pytest.mark.parametrize("rows", ["other/x.tif,X\nother/y.tif,X\n", ""])
    def test_an_index_of_other_scenes_is_refused(self, tmp_path: Path, rows: str) -> None:
        self._tree(tmp_path)
        index = tmp_path / "index.csv"
        index.write_text("file,group\n" + rows)
        for levels in ([], ["L2A"]):
            with pytest.raises(TrainingError, match="lists none of 3 scenes") as refused:
                list_scenes([tmp_path], index, levels)
            assert ("other/x.tif, other/y.tif" if rows else "no file") in str(refused.value)
            assert "a.tif, sub/b.TIFF, sub/deep/c.vrt" in str(refused.value)

    def test_scenes_without_a_line_are_told_of(self, tmp_path: Path) -> None:
        self._tree(tmp_path / "data")
        index = tmp_path / "index.csv"
        assert index_notes([tmp_path], None) == []
        index.write_text("file,group\ndata/a.tif,X\ndata/sub/b.TIFF,X\ngone.tif,X\n")
        (note,) = index_notes([tmp_path / "data", tmp_path / "data" / "sub"], index)
        assert note.startswith("1 of 3 scenes have no line in")
        assert note.endswith(": data/sub/deep/c.vrt")
        for k in range(5):
            (tmp_path / "data" / f"z{k}.tif").touch()
        (note,) = index_notes([tmp_path / "data"], index)
        assert note.startswith("6 of 8 scenes")
        assert note.endswith(": data/sub/deep/c.vrt, data/z0.tif, data/z1.tif, …")

    def test_an_index_that_is_not_there(self, tmp_path: Path) -> None:
        with pytest.raises(TrainingError, match=r"index\.csv: can't be read"):
            list_scenes([tmp_path], tmp_path / "index.csv")

    def test_a_short_row_is_a_place_of_its_own(self, tmp_path: Path) -> None:
        self._tree(tmp_path)
        (tmp_path / "index.csv").write_text("file,group\na.tif\nsub/b.TIFF,\n")
        places = {e.place for e in list_scenes([tmp_path], tmp_path / "index.csv")}
        assert places == {"a", "b", "c"}

    def test_nothing_found(self, tmp_path: Path) -> None:
        with pytest.raises(TrainingError, match="no training scene in"):
            list_scenes([tmp_path])
        self._tree(tmp_path)
        with pytest.raises(TrainingError, match="with level L9"):
            list_scenes([tmp_path], levels=["L9"])


class TestLoadScene:
    def test_reflectance(self, tmp_path: Path) -> None:
        array = np.random.default_rng(0).integers(1, 9000, (4, 70, 66)).astype(np.uint16)
        array[0, 3, 5] = 0
        path = write_raster(
            tmp_path / "x.tif", array, nodata=0, descriptions=("green", "nir", "blue", "red")
        )
        loaded = load_scene(SceneEntry(path, "p"), ("nir",), Quantity.REFLECTANCE)
        assert (loaded.name, loaded.place, loaded.shape) == ("x", "p", (70, 66))
        valid = array[0] != 0
        np.testing.assert_array_equal(loaded.valid, valid)
        np.testing.assert_allclose(loaded.inputs, np.sqrt(array[1:2] * 1e-4) * valid, rtol=1e-6)
        np.testing.assert_allclose(
            loaded.colours, np.sqrt(array[[3, 0, 2]] * 1e-4) * valid, rtol=1e-6
        )

    def test_counts(self, tmp_path: Path) -> None:
        array = np.random.default_rng(0).integers(0, 256, (4, 64, 64)).astype(np.uint8)
        path = write_raster(tmp_path / "x.tif", array, descriptions=("red", "green", "blue", "nir"))
        loaded = load_scene(SceneEntry(path, "p"), ("nir", "red"), Quantity.COUNTS)
        np.testing.assert_allclose(loaded.inputs, array[[3, 0]] / 255, rtol=1e-6)
        np.testing.assert_allclose(loaded.colours, array[:3] / 255, rtol=1e-6)
        np.testing.assert_allclose(
            loaded.mean_colour, (array[:3] / 255).mean(axis=(1, 2)), rtol=1e-5
        )

    def test_another_quantity(self, tmp_path: Path) -> None:
        path = write_raster(
            tmp_path / "x.tif",
            np.zeros((4, 8, 8), dtype=np.uint8),
            descriptions=("red", "green", "blue", "nir"),
        )
        with pytest.raises(TrainingError, match=r"x\.tif: holds counts, wanted reflectance"):
            load_scene(SceneEntry(path, "p"), ("nir",), Quantity.REFLECTANCE)

    def test_a_missing_colour(self, tmp_path: Path) -> None:
        path = write_raster(
            tmp_path / "x.tif", np.zeros((2, 8, 8), dtype=np.uint8), descriptions=("red", "nir")
        )
        with pytest.raises(TrainingError, match=r"x\.tif: .*green band"):
            load_scene(SceneEntry(path, "p"), ("nir",), Quantity.COUNTS)

    def test_no_raster(self, tmp_path: Path) -> None:
        with pytest.raises(TrainingError, match=r"none\.tif"):
            load_scene(SceneEntry(tmp_path / "none.tif", "p"), ("nir",), Quantity.COUNTS)


class TestTable:
    def test_hat_weights(self) -> None:
        values = np.array([-1.0, 0.0, 0.3, 1.0, 2.0], dtype=np.float32)
        left, part = hat_weights(values, 5, 1.0)
        assert left.tolist() == [0, 0, 1, 3, 3]
        np.testing.assert_allclose(part, [0, 0, 0.2, 1, 1], atol=1e-6)

    def test_a_piecewise_linear_mapping_is_recovered(self) -> None:
        knots, maximum = 9, PLAIN.table_max
        truth = np.random.default_rng(1).uniform(0.1, 0.9, (knots, 3))
        nir = np.random.default_rng(2).uniform(0, maximum, (128, 128))
        positions = np.linspace(0, maximum, knots)
        colours = np.stack([np.interp(nir, positions, truth[:, c]) for c in range(3)])
        sampler = Sampler([scene(size=(128, 128), inputs=nir, colours=colours)], PLAIN)
        table = fit_table(sampler, knots, maximum, patches=4 * PLAIN.batch, smoothness=1e-9)
        assert table.shape == (1, knots, 3)
        np.testing.assert_allclose(table[0], truth, atol=1e-4)

    def test_a_straight_line_is_carried_on_where_nothing_was_seen(self) -> None:
        # Second differences are what is penalised: a line costs nothing, at any smoothness.
        nir = np.random.default_rng(2).uniform(0.3, 0.5, (128, 128))
        colours = np.stack([0.2 + 0.5 * nir, 0.1 + nir, 0.8 - nir])
        sampler = Sampler([scene(size=(128, 128), inputs=nir, colours=colours)], PLAIN)
        table = fit_table(sampler, 17, PLAIN.table_max, patches=4 * PLAIN.batch)
        positions = np.linspace(0, PLAIN.table_max, 17)
        expected = np.stack([0.2 + 0.5 * positions, 0.1 + positions, 0.8 - positions], axis=1)
        np.testing.assert_allclose(table[0], expected, atol=2e-3)

    def test_two_bands_add_up(self) -> None:
        random = np.random.default_rng(4)
        inputs = random.uniform(0, 1, (2, 128, 128))
        colours = np.stack([0.3 * inputs[0] + 0.4 * inputs[1]] * 3)
        config = replace(PLAIN, quantity=Quantity.COUNTS)
        sampler = Sampler([scene(size=(128, 128), inputs=inputs, colours=colours, bands=2)], config)
        table = fit_table(sampler, 5, 1.0, patches=4 * PLAIN.batch)
        positions = np.linspace(0, 1, 5)
        for a, b in ((0.1, 0.9), (0.5, 0.5), (1.0, 0.0)):
            predicted = sum(np.interp(v, positions, table[k, :, 1]) for k, v in enumerate((a, b)))
            assert predicted == pytest.approx(0.3 * a + 0.4 * b, abs=1e-3)

    def test_invalid_pixels_have_no_say(self) -> None:
        nir = np.full((128, 128), 0.5)
        mask = np.zeros((128, 128), dtype=np.bool_)
        mask[:, :80] = True
        colours = np.where(mask, 0.3, 77.0)
        sampler = Sampler([scene(size=(128, 128), inputs=nir, colours=colours, valid=mask)], PLAIN)
        table = fit_table(sampler, 5, PLAIN.table_max, patches=4 * PLAIN.batch)
        middle = np.interp(0.5, np.linspace(0, PLAIN.table_max, 5), table[0, :, 0])
        assert middle == pytest.approx(0.3, abs=1e-3)

    def test_the_range_of_inputs(self) -> None:
        random = np.random.default_rng(4)
        inputs = np.stack(
            [random.uniform(0.2, 0.6, (128, 128)), random.uniform(0, 1.2, (128, 128))]
        )
        sampler = Sampler([scene(size=(128, 128), inputs=inputs, bands=2)], PLAIN)
        maximum = PLAIN.table_max
        rows = input_range(sampler, maximum, batches=4)
        ramp = maximum / 8
        np.testing.assert_allclose(rows[0], [0.2 - ramp, 0.2, 0.6, 0.6 + ramp], atol=2e-3)
        np.testing.assert_allclose(rows[1], [-ramp, 0.0, 1.2, 1.2 + ramp], atol=3e-3)

    def test_the_range_of_a_single_value_still_rises(self) -> None:
        rows = input_range(Sampler([scene(inputs=flat(0.5))], PLAIN), PLAIN.table_max, batches=1)
        assert (np.diff(rows[0]) > 0).all()
        assert rows[0, 1] <= 0.5 <= rows[0, 2]


class TestConfig:
    def test_json_round_trip(self) -> None:
        config = TrainingConfig(Quantity.COUNTS, bands=("red", "green", "nir"), steps=7, seed=3)
        assert TrainingConfig.from_json(config.to_json()) == config

    @pytest.mark.parametrize(
        "bad",
        [
            {"patch": 0},
            {"patch": 32},
            {"patch": -64},
            {"patch": 100},
            {"steps": 0},
            {"batch": 0},
            {"validate_every": 0},
            {"seed": -1},
        ],
        ids=str,
    )
    def test_refused(self, bad: dict[str, int]) -> None:
        with pytest.raises(TrainingError):
            TrainingConfig(Quantity.COUNTS, **bad)  # type: ignore[arg-type]

    def test_table_covers_the_working_space(self) -> None:
        # The largest value that to_working lets through must lie in the table.
        assert PLAIN.table_max >= 1.5**0.5
        assert replace(PLAIN, quantity=Quantity.COUNTS).table_max == 1


def test_files_of_one_name_are_places_of_their_own(tmp_path: Path) -> None:
    values = np.ones((4, 64, 64), dtype=np.uint8)
    names = ("blue", "green", "red", "nir")
    for folder, name in (("a", "scene"), ("b", "scene"), ("b", "other")):
        write_raster(tmp_path / folder / f"{name}.tif", values, descriptions=names)
    places = [entry.place for entry in list_scenes([tmp_path], None, ())]
    assert len(set(places)) == 3
    assert "other" in places


def test_a_table_is_fitted_to_pixels_that_were_measured() -> None:
    levels = np.random.default_rng(0).integers(10, 200, (1, 96, 96)) / np.float32(256)
    zoomed = Sampler([scene(inputs=levels)], replace(PLAIN, zoom=0.4))

    def measured(sampler: Sampler) -> bool:
        inputs = sampler.batch(3)[0] * 256
        return bool((inputs == np.rint(inputs)).all())

    assert not measured(zoomed)
    assert measured(zoomed.unjittered())


def test_a_hint_of_a_cell_without_a_valid_pixel_is_that_of_the_others() -> None:
    colours = flat(0.6, 0.4, 0.2)
    one = scene(colours=colours)
    valid = one.valid.copy()
    valid[:8] = False
    for cell in (4, 8):
        found = _cell_means(np.where(valid, colours, 0), valid, cell)
        np.testing.assert_allclose(found, np.broadcast_to(found[:, -1:, -1:], found.shape))


@pytest.mark.parametrize(
    "name", ["gain_jitter", "nir_jitter", "nir_gamma", "coarsen", "haze", "zoom"]
)
def test_nothing_that_was_not_measured_is_left_of_jitter(name: str) -> None:
    scenes = [scene(size=(200, 200), colours=flat(0.5, 0.4, 0.3))]
    jittered = Sampler(scenes, replace(PLAIN, **{name: 0.9}))
    plain = Sampler(scenes, PLAIN).batch(3)
    assert not all(map(np.array_equal, jittered.batch(3), plain))
    for found, wanted in zip(jittered.unjittered().batch(3), plain, strict=True):
        np.testing.assert_array_equal(found, wanted)


def test_a_hint_of_a_cell_is_that_of_its_valid_pixels_whatever_lies_under_the_others() -> None:
    colours = np.broadcast_to(flat(0.6, 0.4, 0.2), (3, 16, 16))
    valid = np.ones((16, 16), dtype=np.bool_)
    valid[3:, 2] = False
    valid[8:, 8:] = False
    found = _cell_means(np.where(valid, colours, np.float32(0.9)), valid, 8)
    np.testing.assert_allclose(found, np.broadcast_to(flat(0.6, 0.4, 0.2), (3, 2, 2)), rtol=1e-5)


@pytest.mark.parametrize("quantity", list(Quantity))
def test_an_exponent_bends_the_measured_band_alone(quantity: Quantity) -> None:
    one = scene(inputs=flat(0.5), colours=flat(0.5, 0.4, 0.3))
    config = replace(PLAIN, quantity=quantity, nir_gamma=0.3, batch=200)
    batch = Sampler([one], config).batch(0)
    bent = np.log(np.log(batch.inputs[:, 0, 0, 0]) / np.log(0.5))
    assert -0.3 <= bent.min() < -0.25
    assert 0.25 < bent.max() <= 0.3
    np.testing.assert_allclose(
        batch.colours, np.broadcast_to(flat(0.5, 0.4, 0.3), (200, 3, 64, 64))
    )


def test_the_mean_colour_is_that_of_valid_pixels() -> None:
    valid = np.ones((64, 64), dtype=np.bool_)
    valid[:, 20:] = False
    colours = np.where(valid, flat(0.5, 0.4, 0.3), 0)
    found = scene(size=(64, 64), colours=colours, valid=valid).mean_colour
    np.testing.assert_allclose(found, [0.5, 0.4, 0.3], rtol=1e-6)


def test_a_checksum_is_of_all_that_is_learnt_from() -> None:
    one = scene()
    darker, fewer = one.colours / 2, one.valid.copy()
    fewer[0, 0] = False
    others = [replace(one, colours=darker), replace(one, valid=fewer)]
    assert len({s.checksum for s in (one, *others)}) == 3
    assert replace(one, name="b", place="b").checksum == one.checksum


@pytest.mark.parametrize(("orientations", "count"), [("all", 8), ("mirrored", 2), ("upright", 1)])
def test_pictures_with_an_above_keep_it(orientations: Any, count: int) -> None:
    ramp = np.arange(64 * 64, dtype=np.float32).reshape(1, 64, 64) / 5000
    config = replace(PLAIN, batch=128, orientations=orientations)
    batch = Sampler([scene(size=(64, 64), inputs=ramp)], config).batch(0)
    assert len({patch.tobytes() for patch in batch.inputs}) == count
    if orientations != "all":
        assert (np.diff(batch.inputs, axis=2) > 0).all()
