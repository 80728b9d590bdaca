"""Coverage and sparsification against what can be worked out by hand."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nirgeo.evaluation.expectation import (
    FRACTIONS,
    ExpectationSums,
    expectation_json,
    expectation_sums,
    over_places,
)


def sums_of(expected: object, angles: object, quantile: float = 2.0) -> ExpectationSums:
    said, actual = (np.asarray(a, dtype=np.float32).reshape(1, -1) for a in (expected, angles))
    return expectation_sums(said, actual, quantile)


def test_means_and_coverage() -> None:
    sums = sums_of([1.0, 2.0, 3.0, 4.0], [1.0, 5.0, 3.0, 8.0])
    assert sums.expected == pytest.approx(2.5)
    assert sums.actual == pytest.approx(4.25)
    assert sums.coverage == pytest.approx(3 / 4)  # 5 > 2 · 2


def test_pixels_without_an_angle_do_not_count() -> None:
    sums = sums_of([1.0, 2.0, np.nan], [1.0, np.nan, 7.0])
    assert sums.pixels.sum() == 1
    assert sums.actual == pytest.approx(1.0)


def test_expectations_that_order_perfectly_have_no_area() -> None:
    angles = np.linspace(0.5, 40, 4000)
    sums = sums_of(angles, angles)
    assert sums.ause == pytest.approx(0, abs=0.01)
    assert sums.ause_blind > 0.3
    curve = sums.sparsified()
    assert curve[0] == pytest.approx(angles.mean(), rel=0.01)
    assert curve[10] == pytest.approx(angles[:2000].mean(), rel=0.02)


def test_expectations_that_say_nothing_are_blind() -> None:
    angles = np.linspace(0.5, 40, 4000)
    sums = sums_of(np.full(4000, 9.0), angles)
    np.testing.assert_allclose(sums.sparsified(), angles.mean(), rtol=0.01)
    assert sums.ause == pytest.approx(sums.ause_blind, abs=0.01)


def test_expectations_that_order_the_wrong_way_are_worse_than_blind() -> None:
    angles = np.linspace(0.5, 40, 4000)
    sums = sums_of(angles[::-1].copy(), angles)
    assert sums.ause > sums.ause_blind + 0.1


@given(st.integers(0, 2**32 - 1), st.integers(1, 300), st.integers(1, 300))
def test_parts_add_up(seed: int, first: int, second: int) -> None:
    random = np.random.default_rng(seed)
    expected, angles = random.uniform(0, 80, first + second), random.uniform(0, 180, first + second)
    whole = sums_of(expected, angles)
    parts = sums_of(expected[:first], angles[:first]) + sums_of(expected[first:], angles[first:])
    for name in ("pixels", "angle", "within", "histogram"):
        np.testing.assert_allclose(getattr(parts, name), getattr(whole, name), rtol=1e-9)


def test_places_weigh_alike_whatever_their_size() -> None:
    large, small = sums_of(np.full(900, 1.0), np.full(900, 1.0)), sums_of([3.0], [9.0])
    both = over_places([large, small])
    assert both.actual == pytest.approx(5.0)
    assert both.coverage == pytest.approx(0.5)


def test_the_report_has_every_figure() -> None:
    places = {
        "a": sums_of([1.0, 2.0], [1.0, 5.0]),
        "b": sums_of([4.0], [2.0]),
        "c": ExpectationSums(),
    }
    report = expectation_json(places, 2.0, [])
    assert report["coverage_by_place"] == {"a": 0.5, "b": 1.0}
    assert report["coverage"] == pytest.approx(0.75)
    assert len(report["sparsification"]) == len(report["sparsification_best"]) == len(FRACTIONS)


def test_small_errors_are_in_order_too() -> None:
    # As of a model that is mostly a degree off: the curve by sorting them, one by one.
    angles = np.random.default_rng(0).exponential(1.1, 20000)
    ordered = np.sort(angles)
    best = [ordered[: round(len(ordered) * (1 - share))].mean() for share in FRACTIONS]
    found = sums_of(np.full(len(angles), 1.0), angles)
    np.testing.assert_allclose(found.best(), best, rtol=0.005)
    gap = angles.mean() - np.mean(best)
    assert found.ause_blind == pytest.approx(gap / angles.mean(), abs=0.002)


def test_the_best_order_begins_with_the_mean_angle() -> None:
    angles = np.linspace(0.5, 40, 4000)
    assert sums_of(angles, angles).best()[0] == pytest.approx(angles.mean(), abs=0.03)
