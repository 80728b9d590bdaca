"""The proxies put typical spectra where one expects them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from evaluation_scenes import write_scene

from nirgeo.evaluation import landcover
from nirgeo.evaluation.landcover import COVERS, ClassSums
from nirgeo.evaluation.scenes import EvaluationScene, read_scene
from nirgeo.scene_lists import SceneEntry

# Typical surface reflectances: red, green, blue, nir.
SPECTRA = {
    "water": (0.03, 0.05, 0.05, 0.02),
    "vegetation": (0.04, 0.08, 0.03, 0.45),
    "bare or built": (0.25, 0.18, 0.12, 0.32),
    "snow or cloud": (0.80, 0.82, 0.85, 0.75),
    "sparse or mixed": (0.12, 0.11, 0.08, 0.25),
}


def scene(tmp_path: Path, values: np.ndarray) -> EvaluationScene:
    return read_scene(SceneEntry(write_scene(tmp_path / "s.tif", values), "here"))


@pytest.mark.parametrize("cover", COVERS)
def test_typical_spectra(tmp_path: Path, cover: str) -> None:
    values = np.broadcast_to(np.array(SPECTRA[cover])[:, None, None], (4, 8, 8)).copy()
    values[:, 0, 0] = 0  # nodata
    found = landcover.covers(scene(tmp_path, values))
    assert found[0, 0] == landcover.OUTSIDE
    assert (found.ravel()[1:] == COVERS.index(cover)).all()


def test_counts_have_thresholds_of_their_own(tmp_path: Path) -> None:
    lawn = np.array([90, 110, 80, 170], dtype=np.uint8)
    values = np.broadcast_to(lawn[:, None, None], (4, 8, 8)).copy()
    counts = scene(tmp_path, values)
    assert (landcover.covers(counts) == COVERS.index("vegetation")).all()
    assert (
        len(landcover.brightness_names(counts.quantity)) == landcover.brightness(counts).max() + 5
    )


def test_brightness_bins(tmp_path: Path) -> None:
    values = np.full((4, 1, 7), 0.0)
    values[:3, 0] = (0.02, 0.05, 0.08, 0.12, 0.2, 0.3, 0.9)
    values[3] = 0.1
    bins = landcover.brightness(scene(tmp_path, values))
    assert bins.tolist() == [[0, 1, 2, 3, 4, 5, 6]]


def test_classes_are_averaged_over_the_places_that_show_them() -> None:
    many, few = 1000, landcover.MIN_PIXELS - 1
    places = {
        "a": ClassSums(np.array([many, 100]), np.array([many * 2.0, 100 * 1.0])),
        "b": ClassSums(np.array([100, few]), np.array([100 * 4.0, few * 90.0])),
    }
    first, second = landcover.class_errors(("x", "y"), places)
    assert (first.angular, first.places) == (3.0, 2)
    assert (second.angular, second.places) == (1.0, 1)
    assert first.share + second.share == pytest.approx(1)


def test_class_sums_skip_pixels_without_an_angle() -> None:
    classes = np.array([[0, 0, 1, landcover.OUTSIDE]], dtype=np.uint8)
    sums = landcover.class_sums(classes, np.array([[1, np.nan, 3, 9]], dtype=np.float32), 2)
    assert sums.pixels.tolist() == [1, 1]
    assert sums.angle.tolist() == [1, 3]


@pytest.mark.parametrize(
    ("spectrum", "cover"),
    [
        ((0.50, 0.35, 0.22, 0.55), "bare or built"),  # a bright desert is no snow
        ((0.30, 0.34, 0.36, 0.28), "bare or built"),  # haze over land is no water
    ],
)
def test_bright_ground_that_is_something_else(tmp_path: Path, spectrum: tuple, cover: str) -> None:
    values = np.broadcast_to(np.array(spectrum)[:, None, None], (4, 8, 8)).copy()
    assert (landcover.covers(scene(tmp_path, values)) == COVERS.index(cover)).all()


def test_negative_reflectance_of_dark_water_is_black_and_water(tmp_path: Path) -> None:
    dark = {"red": -0.002, "green": 0.004, "blue": 0.006, "nir": -0.006}
    bands = {role: np.full((8, 8), value, dtype=np.float32) for role, value in dark.items()}
    water = replace(scene(tmp_path, np.full((4, 8, 8), 0.01)), bands=bands)
    assert (landcover.covers(water) == COVERS.index("water")).all()
    assert (water.truth[0] == 0).all()
    assert (water.truth[1] > 0).all()
