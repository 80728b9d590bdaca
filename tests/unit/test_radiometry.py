"""Reflectance, working space and 8 bits: every step against its definition."""

from __future__ import annotations

import warnings
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nirgeo.radiometry import (
    MAX_REFLECTANCE,
    DisplayCurve,
    Quantity,
    from_working,
    quantize,
    to_working,
)
from nirgeo.scaling import Scaling


class TestWorkingSpace:
    @given(st.floats(0, MAX_REFLECTANCE, width=32))
    def test_reflectance_there_and_back(self, value: float) -> None:
        values = np.array([value], dtype=np.float32)
        working = to_working(values, Quantity.REFLECTANCE)
        np.testing.assert_allclose(working, np.sqrt(value), rtol=1e-6)
        back = from_working(working, Quantity.REFLECTANCE)
        np.testing.assert_allclose(back, values, rtol=1e-6, atol=1e-30)

    def test_counts_there_and_back_are_exact(self) -> None:
        counts = np.arange(256, dtype=np.float32)
        working = to_working(counts, Quantity.COUNTS)
        assert (working[0], working[255]) == (0, 1)
        np.testing.assert_array_equal(quantize(working), counts.astype(np.uint8))
        back = from_working(working, Quantity.COUNTS)
        np.testing.assert_allclose(back, counts, rtol=1e-6)

    def test_values_outside_are_clipped(self) -> None:
        values = np.array([-0.2, 0.0, 1.5, 7.0, np.inf, -np.inf], dtype=np.float32)
        limit = np.sqrt(np.float32(1.5))
        assert to_working(values, Quantity.REFLECTANCE).tolist() == [0, 0, limit, limit, limit, 0]
        counts = np.array([-3, 0, 255, 300, np.inf, -np.inf], dtype=np.float32)
        assert to_working(counts, Quantity.COUNTS).tolist() == [0, 0, 1, 1, 1, 0]

    def test_a_negative_prediction_is_black(self) -> None:
        working = np.array([-0.5, 0.5], dtype=np.float32)
        assert from_working(working, Quantity.REFLECTANCE).tolist() == [0, 0.25]

    @pytest.mark.parametrize("quantity", list(Quantity))
    @pytest.mark.parametrize(
        "dtype", ["uint8", "int8", "uint16", "int16", "uint32", "int32", "float32", "float64"]
    )
    def test_extremes_of_every_type_stay_finite_down_to_8_bits(
        self, quantity: Quantity, dtype: str
    ) -> None:
        kind = np.dtype(dtype).kind
        if kind == "f":
            limits = np.finfo(dtype)
            values = np.array([-np.inf, limits.min, -0.0, limits.tiny, limits.max, np.inf], dtype)
        else:
            values = np.array([np.iinfo(dtype).min, 0, 1, np.iinfo(dtype).max], dtype)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", RuntimeWarning)  # float64 beyond float32 is infinity
            scaled = Scaling(quantity, 3.0, -0.2, "test").apply(values)
        working = to_working(scaled, quantity)
        assert working.dtype == np.float32
        assert np.isfinite(working).all()
        assert working.min() >= 0
        picture = DisplayCurve().apply(from_working(working, Quantity.REFLECTANCE))
        assert picture.dtype == np.uint8


def _srgb(linear: float) -> float:
    """IEC 61966-2-1, as its text states it."""
    linear = min(max(linear, 0.0), 1.0)
    if linear <= 0.0031308:
        return 12.92 * linear
    return float(1.055 * linear ** (1 / 2.4) - 0.055)


class TestDisplayCurve:
    @pytest.mark.parametrize("gain", [1.0, 2.5])
    def test_against_the_standard(self, gain: float) -> None:
        points = np.concatenate(
            [np.linspace(0, 0.6, 997), [0.0031308, 0.0031308 / gain, 0.18, 1.0, 5.0, -0.3]]
        ).astype(np.float32)
        expected = [255 * _srgb(float(p) * gain) for p in points]
        rendered = DisplayCurve(gain).apply(points)
        # Half a level is rounding; the rest is float32.
        assert np.abs(rendered - np.array(expected)).max() <= 0.5 + 1e-3

    def test_known_points(self) -> None:
        reflectance = np.array([0, 0.01, 0.1, 0.2, 0.4, 0.8], dtype=np.float32)
        assert DisplayCurve().apply(reflectance).tolist() == [0, 44, 137, 188, 255, 255]

    def test_rises_with_reflectance(self) -> None:
        rendered = DisplayCurve().apply(np.linspace(0, 0.4, 5000, dtype=np.float32))
        assert all(a <= b for a, b in pairwise(rendered.tolist()))
        assert set(rendered.tolist()) == set(range(256))

    def test_brightness_multiplies_reflectance(self) -> None:
        reflectance = np.linspace(0, 0.5, 100, dtype=np.float32)
        brighter = DisplayCurve().apply(reflectance, brightness=1.5)
        np.testing.assert_array_equal(brighter, DisplayCurve(2.5 * 1.5).apply(reflectance))

    def test_more_than_all_light_is_all_of_it(self) -> None:
        # Shown darker too: 1 is what a reflectance can be, and what a file of them holds.
        found = DisplayCurve().apply(np.array([1, 1.2, 1e30], dtype=np.float32), brightness=0.1)
        assert len(set(found.tolist())) == 1
        assert abs(int(found[0]) - 255 * _srgb(0.25)) <= 0.51

    def test_gamma_above_one_is_brighter_and_keeps_black_and_white(self) -> None:
        reflectance = np.array([0, 0.1, 0.4], dtype=np.float32)
        plain = DisplayCurve().apply(reflectance)
        bright = DisplayCurve().apply(reflectance, gamma=1.5)
        dark = DisplayCurve().apply(reflectance, gamma=0.7)
        assert plain[0] == bright[0] == dark[0] == 0
        assert plain[2] == bright[2] == dark[2] == 255
        assert dark[1] < plain[1] < bright[1]
        expected = 255 * _srgb(0.25) ** (1 / 1.5)
        assert abs(int(bright[1]) - expected) <= 0.51

    def test_what_is_not_a_number_is_black_or_white(self) -> None:
        extremes = np.array([np.nan, -np.inf, -1, np.inf, 3e38], dtype=np.float32)
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            np.testing.assert_array_equal(
                DisplayCurve().apply(extremes[:4]), np.array([0, 0, 0, 255], dtype=np.uint8)
            )
        with np.errstate(over="ignore"):
            assert DisplayCurve().apply(extremes)[4] == 255


class TestQuantize:
    def test_rounds_half_to_even(self) -> None:
        below = np.arange(255)
        unit = ((below + 0.5) / 255).astype(np.float32)
        ties = unit * np.float32(255) == below + 0.5  # where float32 hits the half exactly
        assert ties.sum() > 100
        np.testing.assert_array_equal(quantize(unit)[ties], (below + below % 2)[ties])

    def test_every_level_is_its_own_inverse(self) -> None:
        levels = np.arange(256)
        unit = (levels / 255).astype(np.float32)
        np.testing.assert_array_equal(quantize(unit), levels)

    def test_outside_and_not_a_number(self) -> None:
        values = np.array([np.nan, -np.inf, -0.1, 1.0, 1.1, np.inf], dtype=np.float32)
        assert quantize(values).tolist() == [0, 0, 0, 255, 255, 255]

    def test_brightness_and_gamma(self) -> None:
        values = np.array([0.0, 0.25, 0.6, np.nan], dtype=np.float32)
        assert quantize(values, brightness=2.0).tolist() == [0, 128, 255, 0]
        assert quantize(values, gamma=2.0).tolist() == [0, 128, 198, 0]

    def test_shape_is_kept(self) -> None:
        assert quantize(np.zeros((3, 4, 5), dtype=np.float32)).shape == (3, 4, 5)
