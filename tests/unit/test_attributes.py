"""Which attributes of a scene its picture keeps."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from nirgeo.attributes import of_the_scene


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("title", "a scene"),
        ("AREA_OR_POINT", "Point"),
        ("TIFFTAG_DATETIME", "2024:05:08 10:15:59"),
        ("cloud_cover", 12.5),
        ("orbit", np.int64(7)),
        ("sun", np.array([31.0, 140.5])),
        ("instruments", ["msi"]),
        ("unit_of_work", "a name that only begins like one of the values'"),
    ],
)
def test_kept(name: str, value: Any) -> None:
    assert of_the_scene({name: value}) == {name: value}


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("_FillValue", 0),
        ("fill_value", 0),
        ("nodata", 0),
        ("nodatavals", (0.0,)),
        ("scale_factor", 0.5),
        ("add_offset", 1.0),
        ("units", "1"),
        ("long_name", "near infrared"),
        ("valid_range", [0, 10_000]),
        ("flag_values", [1, 2]),
        ("STATISTICS_MEAN", "3"),
        ("REFLECTANCE_SCALE", "0.0001"),
        ("nirgeo_model", "of a picture made before"),
        ("transform", (10.0, 0.0, 0.0, 0.0, -10.0, 0.0)),
        ("spec", object()),
        ("anything", {"nested": 1}),
        ("anything", [[1], [2]]),
        ("anything", None),
        (7, "a name that is no text"),
    ],
)
def test_left_out(name: Any, value: Any) -> None:
    assert of_the_scene({name: value}) == {}
