"""Sums of errors agree with the metrics of whole scenes, however the scene is cut."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from nirgeo import metrics
from nirgeo.evaluation.scenes import render
from nirgeo.evaluation.sums import ErrorSums, blocks, measure, measure_block
from nirgeo.radiometry import Quantity


@pytest.fixture
def pair(
    rng: np.random.Generator,
) -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.bool_]]:
    truth = rng.uniform(0.01, 0.5, (3, 61, 75)).astype(np.float32)
    prediction = np.clip(truth + rng.normal(0, 0.05, truth.shape), 0, 1).astype(np.float32)
    prediction[:, 5, 5] = 0
    valid = np.ones((61, 75), dtype=bool)
    valid[20:32, 30:44] = False
    return prediction, truth, valid


def shown(*values: NDArray[np.float32]) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    a, b = (render(v, Quantity.REFLECTANCE) for v in values)
    return a, b


def test_figures_equal_the_metrics_of_the_whole_scene(pair) -> None:
    prediction, truth, valid = pair
    pictures = shown(prediction, truth)
    sums, angles = measure(prediction, truth, valid, pictures)
    figures = sums.figures()
    expected = metrics.angular_summary(prediction, truth, valid)
    assert figures["angular"] == pytest.approx(expected.mean, rel=1e-12)
    assert figures["angular_sd"] == pytest.approx(expected.standard_deviation, rel=1e-9)
    assert figures["angular_median"] == pytest.approx(expected.median, abs=0.011)
    assert figures["angular_p95"] == pytest.approx(expected.p95, abs=0.02)
    assert figures["masked"] == pytest.approx(expected.masked)
    assert figures["undefined"] == pytest.approx(expected.undefined)
    assert figures["undefined_prediction"] == pytest.approx(expected.undefined_prediction)
    assert figures["undefined_prediction"] > 0
    assert figures["rmse"] == pytest.approx(metrics.rmse(prediction, truth, valid))
    assert figures["mae"] == pytest.approx(metrics.mae(prediction, truth, valid))
    assert figures["ergas"] == pytest.approx(metrics.ergas(prediction, truth, valid))
    assert figures["psnr"] == pytest.approx(metrics.psnr(prediction, truth, valid, data_range=1))
    assert figures["ssim"] == pytest.approx(metrics.ssim(prediction, truth, valid, data_range=1))
    assert figures["ssim_picture"] == pytest.approx(metrics.ssim(*pictures, valid, data_range=255))
    assert figures["ciede2000"] == pytest.approx(metrics.mean_ciede2000(*pictures, valid))
    assert np.isnan(angles[~valid]).all()


@pytest.mark.parametrize("size", [16, 23, 64, 200])
def test_blocks_add_up_to_the_whole(pair, size: int) -> None:
    prediction, truth, valid = pair
    pictures = shown(prediction, truth)
    whole, _ = measure(prediction, truth, valid, pictures)
    total = ErrorSums()
    for block in blocks((61, 75), size):
        window = (block.rows, block.cols)
        part, _ = measure_block(
            prediction[:, *window],
            truth[:, *window],
            valid[window],
            (pictures[0][:, *window], pictures[1][:, *window]),
            block.core,
        )
        total = total + part
    assert total.windows == whole.windows
    assert (total.histogram == whole.histogram).all()
    for name, value in whole.figures().items():
        assert total.figures()[name] == pytest.approx(value, rel=1e-9), name


def test_a_prediction_with_nan_in_a_valid_pixel_is_not_rewarded(pair) -> None:
    prediction, truth, valid = pair
    prediction[:, 0, 0] = np.nan
    sums, _ = measure(prediction, truth, valid, shown(prediction, truth))
    assert np.isnan(sums.figures()["rmse"])
    assert sums.figures()["undefined_prediction"] == pytest.approx(2 / valid.sum())


def test_a_perfect_prediction_has_no_error(pair) -> None:
    _, truth, valid = pair
    figures = measure(truth, truth, valid, shown(truth, truth))[0].figures()
    assert figures["angular"] == figures["angular_median"] == figures["angular_p95"] == 0
    assert figures["rmse"] == figures["mae"] == figures["ciede2000"] == 0
    assert figures["psnr"] == float("inf")
    assert figures["ssim"] == pytest.approx(1)


def test_nothing_valid_gives_nan_and_no_warning(pair) -> None:
    prediction, truth, valid = pair
    sums, _ = measure(prediction, truth, np.zeros_like(valid), shown(prediction, truth))
    figures = sums.figures()
    assert figures["masked"] == 1
    assert all(np.isnan(figures[name]) for name in ("angular", "rmse", "ssim", "ciede2000"))


def test_a_prediction_with_nan_has_no_angle(pair) -> None:
    prediction, truth, valid = pair
    prediction[:, 0, 0] = np.nan
    figures = measure(prediction, truth, valid, shown(prediction, truth))[0].figures()
    names = ("angular", "angular_sd", "angular_median", "angular_p95", "rmse", "mae")
    assert [name for name in names if not np.isnan(figures[name])] == []


def test_black_ground_is_nobodys_fault_and_has_no_angle(pair) -> None:
    prediction, truth, valid = pair
    truth[:, 32:] = 0
    figures = measure(prediction, truth, valid, shown(prediction, truth))[0].figures()
    expected = metrics.angular_summary(prediction, truth, valid)
    assert expected.undefined > 0.4
    assert figures["undefined"] == pytest.approx(expected.undefined)
    assert figures["undefined_prediction"] == pytest.approx(expected.undefined_prediction)
    assert expected.undefined_prediction == pytest.approx(1 / valid.sum())
    assert figures["angular_median"] == pytest.approx(expected.median, abs=0.011)
    assert figures["angular_p95"] == pytest.approx(expected.p95, abs=0.02)
