"""PNGs that others can read, and pictures that say what they should."""

from __future__ import annotations

import base64

import numpy as np
import pytest
from rasterio.io import MemoryFile

from nirgeo.evaluation.pictures import SCALE_DEGREES, data_uri, error_colours, legend, png, shrink
from nirgeo.evaluation.sheet import _draw


def test_png_is_read_back_by_gdal(rng: np.random.Generator) -> None:
    picture = rng.integers(0, 256, (3, 13, 29)).astype(np.uint8)
    with MemoryFile(png(picture)) as memory, memory.open() as opened:
        assert opened.driver == "PNG"
        np.testing.assert_array_equal(opened.read(), picture)
    prefix, _, data = data_uri(picture).partition(",")
    assert prefix == "data:image/png;base64"
    assert base64.b64decode(data) == png(picture)


def test_larger_errors_are_lighter_and_unknown_ones_grey() -> None:
    angles = np.array([[0, 5, 10, 15, SCALE_DEGREES, 90, np.nan]])
    colours = error_colours(angles)[:, 0]
    light = colours.astype(float).T @ [0.2126, 0.7152, 0.0722]
    assert (np.diff(light[:5]) > 0).all()
    assert (colours[:, 4] == colours[:, 5]).all()
    assert len(set(colours[:, 6])) == 1
    assert legend().shape == (3, 1, 256)


def test_shrinking_averages_what_is_known() -> None:
    values = np.arange(24.0).reshape(1, 4, 6)
    values[0, 0, 0] = np.nan
    small = shrink(values, side=3)
    assert small.shape == (1, 2, 3)
    assert small[0, 0, 0] == pytest.approx((1 + 6 + 7) / 3)
    assert small[0, 1, 2] == pytest.approx((16 + 17 + 22 + 23) / 4)
    assert shrink(values, side=6) is values
    assert np.isnan(shrink(np.full((9, 1200), np.nan), side=400)).all()


def test_a_sheet_of_very_many_scenes_is_wider_instead_of_too_tall() -> None:
    from io import BytesIO

    from PIL import Image

    panel = np.zeros((3, 90, 20), dtype=np.uint8)
    rows = [(f"scene {k}", {"truth": panel}) for k in range(2000)]
    with Image.open(BytesIO(_draw("a model", rows, 2, 20))) as made:
        width, height = made.size
    assert height < 65_500
    assert width * height > 2000 * panel[0].size
