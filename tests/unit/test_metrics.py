"""Metrics against closed forms, second implementations, and the defects others have published."""

from __future__ import annotations

import math
import subprocess
import sys
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray

from nirgeo import metrics
from nirgeo.place_statistics import mean_interval, place_means, ratio_interval

Doubles = NDArray[np.float64]

COLOURS = arrays(np.float64, (3, 7), elements=st.floats(1e-3, 1.5))


def picture(rng: np.random.Generator, *shape: int) -> Doubles:
    return rng.uniform(0.02, 0.6, size=shape)


# --- angular error -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("a", "b", "degrees"),
    [
        ((1, 0, 0), (0, 1, 0), 90.0),
        ((1, 1, 0), (1, 0, 0), 45.0),
        ((1, 1, 1), (1, 0, 0), math.degrees(math.acos(1 / math.sqrt(3)))),
        ((1, 0, 0), (-1, 0, 0), 180.0),
        ((1, 1e-7, 0), (1, 0, 0), math.degrees(1e-7)),
    ],
)
def test_angle_of_known_colours(a: Any, b: Any, degrees: float) -> None:
    assert metrics.angular_error(np.array(a), np.array(b)) == pytest.approx(degrees, rel=1e-12)


@given(COLOURS)
def test_perfect_prediction_is_exactly_zero_however_dark(colours: Doubles) -> None:
    for scale in (1.0, 1e-3, 1e-9):
        dark = (colours * scale).astype(np.float32)
        assert (metrics.angular_error(dark, dark) == 0).all()


def test_dark_pixels_have_their_own_angle() -> None:
    # With 1e-6 added to the denominator this pixel would be 0.8° off itself, a blacker one 90°.
    pixel = np.full(3, 0.01 / 3**0.5)
    other = pixel * np.array([1.0, 1.02, 1.0])
    assert metrics.angular_error(pixel, pixel) == 0
    assert metrics.angular_error(pixel, other) == pytest.approx(
        float(metrics.angular_error(np.ones(3), np.array([1.0, 1.02, 1.0]))), rel=1e-9
    )


def test_black_is_undefined_and_reported() -> None:
    truth = np.full((3, 2, 4), 0.2)
    prediction = truth.copy()
    truth[:, 0, 0] = 0
    prediction[:, 0, 1] = 0
    truth[:, 0, 2] = prediction[:, 0, 2] = 0
    valid = np.ones((2, 4), dtype=np.bool_)
    valid[1, 3] = False
    assert np.isnan(metrics.angular_error(prediction, truth)[0, :3]).all()
    summary = metrics.angular_summary(prediction, truth, valid)
    assert summary.mean == 0
    assert summary.pixels == 4
    assert summary.masked == pytest.approx(1 / 8)
    assert summary.undefined == pytest.approx(3 / 7)
    assert summary.undefined_prediction == pytest.approx(1 / 7)


def test_nan_prediction_is_the_models_fault() -> None:
    truth = np.full((3, 5), 0.2)
    prediction = truth.copy()
    prediction[1, 2] = np.nan
    summary = metrics.angular_summary(prediction, truth)
    assert summary.undefined == summary.undefined_prediction == pytest.approx(0.2)
    assert math.isnan(metrics.rmse(prediction, truth))
    assert math.isnan(metrics.mae(prediction, truth))
    assert math.isnan(metrics.sam(prediction, truth))
    assert math.isnan(summary.median)
    assert math.isnan(metrics.scene_error(prediction, truth, np.ones(5, dtype=bool)).angular)


def test_angles_of_integers_do_not_overflow() -> None:
    bright = np.array([255, 255, 254], dtype=np.uint8)
    assert metrics.angular_error(bright, bright) == 0
    assert 0 < metrics.angular_error(bright, bright[::-1].copy()) < 1


@given(COLOURS, COLOURS, st.floats(1e-3, 1e3), st.floats(1e-3, 1e3))
def test_angle_ignores_brightness(a: Doubles, b: Doubles, gain: float, other: float) -> None:
    scaled = metrics.angular_error(a * gain, b * other)
    np.testing.assert_allclose(scaled, metrics.angular_error(a, b), rtol=1e-9, atol=1e-9)


@given(COLOURS, COLOURS)
def test_angle_is_symmetric_and_in_range(a: Doubles, b: Doubles) -> None:
    angle = metrics.angular_error(a, b)
    np.testing.assert_array_equal(angle, metrics.angular_error(b, a))
    assert ((angle >= 0) & (angle <= 90)).all()


@given(COLOURS, COLOURS, arrays(np.float64, (3, 3), elements=st.floats(-1, 1)))
def test_angle_does_not_depend_on_the_colour_axes(a: Doubles, b: Doubles, seed: Doubles) -> None:
    angle = metrics.angular_error(a, b)
    for shift in (1, 2):
        rolled = metrics.angular_error(np.roll(a, shift, axis=0), np.roll(b, shift, axis=0))
        np.testing.assert_allclose(rolled, angle, rtol=1e-9, atol=1e-9)
    rotation, _ = np.linalg.qr(seed + 3 * np.eye(3))
    rotated = metrics.angular_error(rotation @ a, rotation @ b)
    np.testing.assert_allclose(rotated, angle, rtol=1e-6, atol=1e-6)


@given(COLOURS, COLOURS)
def test_angle_equals_the_arccosine_where_that_is_exact(a: Doubles, b: Doubles) -> None:
    for pixel, angle in enumerate(metrics.angular_error(a, b)):
        x, y = a[:, pixel], b[:, pixel]
        cosine = float(x @ y) / math.sqrt(float(x @ x) * float(y @ y))
        if cosine < 0.999:
            assert angle == pytest.approx(math.degrees(math.acos(cosine)), abs=1e-6)


def test_summary_of_known_angles() -> None:
    angles = np.radians(np.arange(1.0, 21.0))
    prediction = np.stack((np.cos(angles), np.sin(angles), np.zeros(20)))
    truth = np.repeat(np.array([[1.0], [0.0], [0.0]]), 20, axis=1)
    summary = metrics.angular_summary(prediction, truth)
    assert summary.mean == pytest.approx(10.5)
    assert summary.median == pytest.approx(10.5)
    assert summary.standard_deviation == pytest.approx(np.arange(1, 21).std())
    assert summary.p95 == pytest.approx(np.quantile(np.arange(1, 21), 0.95))
    assert summary.masked == summary.undefined == 0
    assert metrics.sam(prediction, truth) == summary.mean


# --- differences ---------------------------------------------------------------------------------


def test_of_no_pixel_there_is_no_error(rng: np.random.Generator) -> None:
    prediction, truth = picture(rng, 3, 6, 5), picture(rng, 3, 6, 5)
    found = metrics.rmse_per_band(prediction, truth, np.zeros((6, 5), dtype=bool))
    assert found.shape == (3,)
    assert np.isnan(found).all()


def test_differences_against_loops(rng: np.random.Generator) -> None:
    prediction, truth = picture(rng, 3, 6, 5), picture(rng, 3, 6, 5)
    valid = rng.random((6, 5)) < 0.7
    squares, absolutes, means = [[], [], []], [], [[], [], []]  # type: ignore[var-annotated]
    for row, col in zip(*np.nonzero(valid), strict=True):
        for band in range(3):
            error = prediction[band, row, col] - truth[band, row, col]
            squares[band].append(error**2)
            absolutes.append(abs(error))
            means[band].append(truth[band, row, col])
    per_band = [math.sqrt(sum(s) / len(s)) for s in squares]
    np.testing.assert_allclose(metrics.rmse_per_band(prediction, truth, valid), per_band)
    pooled = math.sqrt(sum(map(sum, squares)) / len(absolutes))
    assert metrics.rmse(prediction, truth, valid) == pytest.approx(pooled)
    assert metrics.mae(prediction, truth, valid) == pytest.approx(sum(absolutes) / len(absolutes))
    relative = [e / (sum(m) / len(m)) for e, m in zip(per_band, means, strict=True)]
    wald = 100 * math.sqrt(sum(r**2 for r in relative) / 3)
    assert metrics.ergas(prediction, truth, valid) == pytest.approx(wald)
    assert metrics.psnr(prediction, truth, valid, data_range=1.0) == pytest.approx(
        -20 * math.log10(pooled)
    )


def test_ergas_has_ratio_one() -> None:
    truth = np.full((3, 4, 4), 0.2)
    assert metrics.ergas(truth * 1.1, truth) == pytest.approx(10.0)
    assert math.isnan(metrics.ergas(truth, truth * np.array([1, 0, 1]).reshape(3, 1, 1)))


def test_psnr_range_is_fixed(rng: np.random.Generator) -> None:
    truth = picture(rng, 3, 8, 8)
    assert metrics.psnr(truth + 0.1, truth, data_range=1) == pytest.approx(20.0)
    assert metrics.psnr(truth, truth, data_range=1) == math.inf
    counts = np.full((3, 4, 4), 200, dtype=np.uint8)
    assert metrics.psnr(counts - 25, counts, data_range=255) == pytest.approx(
        20 * math.log10(255 / 25)
    )
    for bad in (0.0, -1.0, math.nan):
        with pytest.raises(ValueError, match="data_range"):
            metrics.psnr(truth, truth, data_range=bad)
        with pytest.raises(ValueError, match="data_range"):
            metrics.ssim(truth, truth, data_range=bad)


def test_psnr_against_scikit_image(rng: np.random.Generator) -> None:
    skimage = pytest.importorskip("skimage.metrics")
    prediction, truth = picture(rng, 3, 9, 9), picture(rng, 3, 9, 9)
    expected = skimage.peak_signal_noise_ratio(truth, prediction, data_range=1.0)
    assert metrics.psnr(prediction, truth, data_range=1.0) == pytest.approx(expected)


# --- structural similarity -----------------------------------------------------------------------


def loop_ssim(a: Doubles, b: Doubles, valid: NDArray[np.bool_], data_range: float) -> float:
    """Wang et al. (2004), eq. 13, window by window."""
    distance = np.arange(-5, 6)
    weights = np.exp(-(distance[:, None] ** 2 + distance[None] ** 2) / (2 * 1.5**2))
    weights /= weights.sum()
    c1, c2 = (0.01 * data_range) ** 2, (0.03 * data_range) ** 2
    found = []
    for band in range(a.shape[0]):
        for row in range(5, a.shape[1] - 5):
            for col in range(5, a.shape[2] - 5):
                window = (slice(row - 5, row + 6), slice(col - 5, col + 6))
                if not valid[window].all():
                    continue
                x, y = a[band][window], b[band][window]
                mx, my = (weights * x).sum(), (weights * y).sum()
                vx, vy = (weights * (x - mx) ** 2).sum(), (weights * (y - my) ** 2).sum()
                cov = (weights * (x - mx) * (y - my)).sum()
                found.append(
                    (2 * mx * my + c1) * (2 * cov + c2) / ((mx**2 + my**2 + c1) * (vx + vy + c2))
                )
    return float(np.mean(found)) if found else math.nan


@pytest.mark.parametrize("data_range", [1.0, 255.0])
def test_ssim_against_loops_with_holes(rng: np.random.Generator, data_range: float) -> None:
    pytest.importorskip("skimage")
    truth = picture(rng, 2, 19, 23) * data_range
    prediction = truth + 0.1 * data_range * rng.standard_normal(truth.shape)
    valid = np.ones((19, 23), dtype=np.bool_)
    valid[2, 20] = valid[17, 0] = False
    expected = loop_ssim(prediction, truth, valid, data_range)
    assert metrics.ssim(prediction, truth, valid, data_range=data_range) == pytest.approx(expected)
    spoilt = np.where(valid, prediction, np.nan)
    again = metrics.ssim(spoilt, truth, valid, data_range=data_range)
    assert again == metrics.ssim(prediction, truth, valid, data_range=data_range)


def test_ssim_does_not_take_its_range_from_the_prediction(rng: np.random.Generator) -> None:
    pytest.importorskip("skimage")
    truth = picture(rng, 3, 16, 16)
    flat = np.full_like(truth, 0.3)
    flat[0, 0, 0] = 100.0
    # One wild pixel touches only its own windows; as a range it would raise all of them to 1.
    assert metrics.ssim(flat, truth, data_range=1.0) < 0.5


def test_ssim_closed_forms() -> None:
    pytest.importorskip("skimage")
    dark, bright = np.full((3, 12, 12), 0.2), np.full((3, 12, 12), 0.5)
    expected = (2 * 0.2 * 0.5 + 1e-4) / (0.2**2 + 0.5**2 + 1e-4)
    assert metrics.ssim(dark, bright, data_range=1.0) == pytest.approx(expected, rel=1e-6)
    assert metrics.ssim(dark, dark, data_range=1.0) == pytest.approx(1.0)


def test_ssim_without_a_whole_window_is_undefined() -> None:
    small = np.full((3, 10, 40), 0.2)
    assert math.isnan(metrics.ssim(small, small, data_range=1.0))
    holed = np.full((3, 12, 12), 0.2)
    valid = np.ones((12, 12), dtype=np.bool_)
    valid[6, 6] = False
    assert math.isnan(metrics.ssim(holed, holed, valid, data_range=1.0))


# --- CIEDE2000 -----------------------------------------------------------------------------------

# Sharma, Wu and Dalal (2005), table 1: L, a, b of both colours and their difference. The pairs sit
# where implementations go wrong: hue means across 0°, grey, the blue rotation term.
SHARMA = [
    (50, 2.6772, -79.7751, 50, 0, -82.7485, 2.0425),
    (50, 3.1571, -77.2803, 50, 0, -82.7485, 2.8615),
    (50, 2.8361, -74.02, 50, 0, -82.7485, 3.4412),
    (50, -1.3802, -84.2814, 50, 0, -82.7485, 1.0),
    (50, -1.1848, -84.8006, 50, 0, -82.7485, 1.0),
    (50, -0.9009, -85.5211, 50, 0, -82.7485, 1.0),
    (50, 0, 0, 50, -1, 2, 2.3669),
    (50, -1, 2, 50, 0, 0, 2.3669),
    (50, 2.49, -0.001, 50, -2.49, 0.0009, 7.1792),
    (50, 2.49, -0.001, 50, -2.49, 0.001, 7.1792),
    (50, 2.49, -0.001, 50, -2.49, 0.0011, 7.2195),
    (50, 2.49, -0.001, 50, -2.49, 0.0012, 7.2195),
    (50, -0.001, 2.49, 50, 0.0009, -2.49, 4.8045),
    (50, -0.001, 2.49, 50, 0.001, -2.49, 4.8045),
    (50, -0.001, 2.49, 50, 0.0011, -2.49, 4.7461),
    (50, 2.5, 0, 50, 0, -2.5, 4.3065),
    (50, 2.5, 0, 73, 25, -18, 27.1492),
    (50, 2.5, 0, 61, -5, 29, 22.8977),
    (50, 2.5, 0, 56, -27, -3, 31.9030),
    (50, 2.5, 0, 58, 24, 15, 19.4535),
    (50, 2.5, 0, 50, 3.1736, 0.5854, 1.0),
    (50, 2.5, 0, 50, 3.2972, 0, 1.0),
    (50, 2.5, 0, 50, 1.8634, 0.5757, 1.0),
    (50, 2.5, 0, 50, 3.2592, 0.335, 1.0),
    (60.2574, -34.0099, 36.2677, 60.4626, -34.1751, 39.4387, 1.2644),
    (63.0109, -31.0961, -5.8663, 62.8187, -29.7946, -4.0864, 1.2630),
    (61.2901, 3.7196, -5.3901, 61.4292, 2.2480, -4.9620, 1.8731),
    (35.0831, -44.1164, 3.7933, 35.0232, -40.0716, 1.5901, 1.8645),
    (22.7233, 20.0904, -46.6940, 23.0331, 14.9730, -42.5619, 2.0373),
    (36.4612, 47.8580, 18.3852, 36.2715, 50.5065, 21.2231, 1.4146),
    (90.8027, -2.0831, 1.4410, 91.1528, -1.6435, 0.0447, 1.4441),
    (90.9257, -0.5406, -0.9208, 88.6381, -0.8985, -0.7239, 1.5381),
    (6.7747, -0.2908, -2.4247, 5.8714, -0.0985, -2.2286, 0.6377),
    (2.0776, 0.0795, -1.1350, 0.9033, -0.0636, -0.5514, 0.9082),
]


def scalar_ciede2000(lab1: tuple[float, ...], lab2: tuple[float, ...]) -> float:
    """Eqs. 2–22 of the paper for one pair, angles in degrees."""
    (l1, a1, b1), (l2, a2, b2) = lab1, lab2
    mean_c7 = ((math.hypot(a1, b1) + math.hypot(a2, b2)) / 2) ** 7
    g = 0.5 * (1 - math.sqrt(mean_c7 / (mean_c7 + 25**7)))
    a1, a2 = (1 + g) * a1, (1 + g) * a2
    c1, c2 = math.hypot(a1, b1), math.hypot(a2, b2)
    h1 = math.degrees(math.atan2(b1, a1)) % 360 if c1 else 0.0
    h2 = math.degrees(math.atan2(b2, a2)) % 360 if c2 else 0.0
    if c1 * c2 == 0:
        turn, mean_h = 0.0, h1 + h2
    else:
        turn = h2 - h1
        turn += -360 if turn > 180 else 360 if turn < -180 else 0
        mean_h = (h1 + h2) / 2
        if abs(h1 - h2) > 180:
            mean_h += 180 if h1 + h2 < 360 else -180
    dh = 2 * math.sqrt(c1 * c2) * math.sin(math.radians(turn / 2))
    mean_l, mean_c = (l1 + l2) / 2, (c1 + c2) / 2

    def cos(degrees: float) -> float:
        return math.cos(math.radians(degrees))

    t = 1 - 0.17 * cos(mean_h - 30) + 0.24 * cos(2 * mean_h)
    t += 0.32 * cos(3 * mean_h + 6) - 0.20 * cos(4 * mean_h - 63)
    s_l = 1 + 0.015 * (mean_l - 50) ** 2 / math.sqrt(20 + (mean_l - 50) ** 2)
    s_c, s_h = 1 + 0.045 * mean_c, 1 + 0.015 * mean_c * t
    r_c = 2 * math.sqrt(mean_c**7 / (mean_c**7 + 25**7))
    r_t = -math.sin(math.radians(60 * math.exp(-(((mean_h - 275) / 25) ** 2)))) * r_c
    light, chroma, hue = (l2 - l1) / s_l, (c2 - c1) / s_c, dh / s_h
    return math.sqrt(light**2 + chroma**2 + hue**2 + r_t * chroma * hue)


def scalar_lab(srgb: NDArray[np.uint8]) -> tuple[float, ...]:
    """IEC 61966-2-1 to CIE L*a*b* under D65 for one pixel."""
    linear = [
        v / 12.92 if v <= 0.04045 else ((v + 0.055) / 1.055) ** 2.4 for v in (srgb / 255).tolist()
    ]
    x = 0.412453 * linear[0] + 0.357580 * linear[1] + 0.180423 * linear[2]
    y = 0.212671 * linear[0] + 0.715160 * linear[1] + 0.072169 * linear[2]
    z = 0.019334 * linear[0] + 0.119193 * linear[1] + 0.950227 * linear[2]

    def f(t: float) -> float:
        return math.cbrt(t) if t > (6 / 29) ** 3 else t / (3 * (6 / 29) ** 2) + 4 / 29

    fx, fy, fz = f(x / 0.95047), f(y), f(z / 1.08883)
    return 116 * fy - 16, 500 * (fx - fy), 200 * (fy - fz)


@pytest.mark.parametrize("pair", SHARMA)
def test_ciede2000_of_the_published_pairs(pair: tuple[float, ...]) -> None:
    color = pytest.importorskip("skimage.color")
    lab1, lab2, expected = pair[:3], pair[3:6], pair[6]
    assert scalar_ciede2000(lab1, lab2) == pytest.approx(expected, abs=5.1e-5)
    assert color.deltaE_ciede2000(lab1, lab2) == pytest.approx(expected, abs=5.1e-5)


def test_ciede2000_of_pictures_against_scalars(rng: np.random.Generator) -> None:
    pytest.importorskip("skimage")
    prediction = rng.integers(0, 256, (3, 5, 8), dtype=np.uint8)
    truth = np.clip(prediction + rng.integers(-30, 31, prediction.shape), 0, 255).astype(np.uint8)
    truth[:, 0, 0] = prediction[:, 0, 0]
    truth[:, 0, 1] = 0
    difference = metrics.ciede2000(prediction, truth)
    assert difference.shape == (5, 8)
    assert difference[0, 0] == 0
    for row, col in np.ndindex(5, 8):
        expected = scalar_ciede2000(
            scalar_lab(prediction[:, row, col]), scalar_lab(truth[:, row, col])
        )
        # A hue near grey decides by the last digit of the white point, hence not closer.
        assert difference[row, col] == pytest.approx(expected, abs=2e-3)
    valid = np.zeros((5, 8), dtype=np.bool_)
    valid[2] = True
    mean = metrics.mean_ciede2000(prediction, truth, valid)
    assert mean == pytest.approx(difference[2].mean())


def test_ciede2000_of_black_and_white() -> None:
    pytest.importorskip("skimage")
    black, white = np.zeros((3, 1), np.uint8), np.full((3, 1), 255, np.uint8)
    assert metrics.ciede2000(black, white)[0] == pytest.approx(100.0, abs=1e-3)


def test_ciede2000_wants_rendered_pictures() -> None:
    picture = np.full((3, 2, 2), 0.5)
    with pytest.raises(ValueError, match="8-bit"):
        metrics.ciede2000(picture, picture)


# --- what all have in common ---------------------------------------------------------------------


def test_invalid_pixels_have_no_influence(rng: np.random.Generator) -> None:
    pytest.importorskip("skimage")
    truth = picture(rng, 3, 14, 14)
    prediction = truth * rng.uniform(0.9, 1.1, truth.shape)
    valid = np.ones((14, 14), dtype=np.bool_)
    valid[0, :] = False
    spoilt = np.where(valid, prediction, np.inf)
    for spoilt_truth in (truth, np.where(valid, truth, np.nan)):
        for measure in (metrics.sam, metrics.rmse, metrics.mae, metrics.ergas):
            expected = measure(prediction, truth, valid)
            assert measure(spoilt, spoilt_truth, valid) == expected
            assert math.isfinite(expected)
        for ranged in (metrics.psnr, metrics.ssim):
            expected = ranged(prediction, truth, valid, data_range=1.0)
            assert ranged(spoilt, spoilt_truth, valid, data_range=1.0) == expected


def test_nothing_valid_is_undefined_everywhere() -> None:
    truth = np.full((3, 12, 12), 0.2)
    nothing = np.zeros((12, 12), dtype=np.bool_)
    for measure in (metrics.sam, metrics.rmse, metrics.mae, metrics.ergas):
        assert math.isnan(measure(truth, truth, nothing))
    assert math.isnan(metrics.psnr(truth, truth, nothing, data_range=1.0))
    assert math.isnan(metrics.ssim(truth, truth, nothing, data_range=1.0))
    counts = truth.astype(np.uint8)
    assert math.isnan(metrics.mean_ciede2000(counts, counts, nothing))
    summary = metrics.angular_summary(truth, truth, nothing)
    assert summary.masked == 1
    assert summary.pixels == 0
    error = metrics.scene_error(truth, truth, nothing)
    assert error.pixels == 0
    assert math.isnan(error.angular)
    assert math.isnan(error.undefined)


def test_scene_error_agrees_with_its_parts(rng: np.random.Generator) -> None:
    prediction, truth = picture(rng, 3, 6, 6), picture(rng, 3, 6, 6)
    truth[:, 0, 0] = 0
    valid = np.ones((6, 6), dtype=np.bool_)
    valid[5] = False
    error = metrics.scene_error(prediction, truth, valid)
    assert error.angular == metrics.sam(prediction, truth, valid)
    assert error.rmse == metrics.rmse(prediction, truth, valid)
    assert error.pixels == 30
    assert error.undefined == pytest.approx(1 / 30)


def test_shapes_that_do_not_fit_are_refused() -> None:
    good, valid = np.ones((3, 4, 5)), np.ones((4, 5), dtype=np.bool_)
    with pytest.raises(ValueError, match="3, …"):
        metrics.angular_error(good[:2], good[:2])
    with pytest.raises(ValueError, match="bands, …"):
        metrics.rmse(good[:, :3], good)
    with pytest.raises(ValueError, match="mask"):
        metrics.rmse(good, good, valid.T)
    with pytest.raises(ValueError, match="mask"):
        metrics.rmse(good, good, valid.astype(np.uint8))
    with pytest.raises(ValueError, match="H, W"):
        metrics.ssim(good[:, 0], good[:, 0], data_range=1.0)


def test_a_missing_library_is_named_with_its_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in ("skimage.metrics", "skimage.color"):
        monkeypatch.setitem(sys.modules, module, None)
    scene = np.full((3, 12, 12), 7, dtype=np.uint8)
    with pytest.raises(ModuleNotFoundError, match=r"SSIM needs .*nirgeo\[evaluate\]"):
        metrics.ssim(scene, scene, data_range=255)
    with pytest.raises(ModuleNotFoundError, match=r"CIEDE2000 needs .*nirgeo\[evaluate\]"):
        metrics.ciede2000(scene, scene)


def test_importing_metrics_and_baselines_is_light() -> None:
    code = (
        "import sys, nirgeo.metrics, nirgeo.place_statistics, nirgeo.baselines;"
        "print({'skimage', 'sklearn', 'torch'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"


# --- over places ---------------------------------------------------------------------------------


def test_scenes_of_a_place_are_averaged_first() -> None:
    errors = [("b", 1.0), ("a", 10.0), ("b", 3.0), ("b", math.nan), ("c", math.nan)]
    means = place_means(errors)
    assert list(means) == ["a", "b", "c"]
    assert means["a"] == 10
    assert means["b"] == 2
    assert math.isnan(means["c"])
    interval = mean_interval(list(means.values()))
    assert interval.value == 6
    assert interval.places == 2
    assert interval.left_out == 1


def test_interval_is_seeded_and_ordered(rng: np.random.Generator) -> None:
    values = rng.gamma(2.0, 2.0, size=30)
    interval = mean_interval(values, draws=2000)
    assert interval == mean_interval(values, draws=2000)
    assert interval != mean_interval(values, draws=2000, seed=1)
    assert interval.value == pytest.approx(values.mean())
    assert interval.low < interval.value < interval.high
    wide = mean_interval(values, draws=2000, level=0.99)
    assert wide.low < interval.low < interval.high < wide.high


def test_interval_has_the_width_of_the_standard_error(rng: np.random.Generator) -> None:
    values = rng.normal(5.0, 1.0, size=100)
    interval = mean_interval(values, draws=4000)
    expected = 1.96 * values.std() / 10
    assert interval.high - interval.value == pytest.approx(expected, rel=0.1)
    assert interval.value - interval.low == pytest.approx(expected, rel=0.1)


def test_ratio_keeps_the_places_in_pairs(rng: np.random.Generator) -> None:
    baseline = rng.uniform(1, 20, size=12)
    # Places differ twentyfold, the ratio not at all: only drawing in pairs can see that.
    interval = ratio_interval(0.8 * baseline, baseline, draws=500)
    assert interval.low == pytest.approx(0.8)
    assert interval.high == pytest.approx(0.8)
    gap = ratio_interval([1.0, math.nan, 3.0], [2.0, 2.0, math.nan])
    assert (gap.value, gap.places, gap.left_out) == (0.5, 1, 2)


def test_one_place_has_no_interval() -> None:
    interval = mean_interval([4.0])
    assert interval.value == 4
    assert math.isnan(interval.low)
    assert math.isnan(interval.high)
    assert math.isnan(mean_interval([]).value)


def test_interval_options_are_checked() -> None:
    for options in ({"level": 1.0}, {"level": 0.0}, {"draws": 0}):
        with pytest.raises(ValueError, match="level"):
            mean_interval([1.0, 2.0], **options)
    with pytest.raises(ValueError, match="one error per place"):
        mean_interval(np.ones((2, 2)))
    with pytest.raises(ValueError, match="one error per place"):
        ratio_interval([1.0, 2.0], [1.0])
