"""When a scene was taken: what is believed, in which order, and how it is written."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from nirgeo.acquisition import Acquisition, find_acquisition, parse_interval, parse_time
from nirgeo.errors import OptionError

INSTANT = {"datetime": "2024-05-08T10:15:59Z"}
DAY = {
    "datetime": None,
    "start_datetime": "2024-05-08T00:00:00Z",
    "end_datetime": "2024-05-08T23:59:59Z",
}


PRODUCT = "S2B_MSIL2A_20240508T101559_N0510_R065_T32TNS_20240508T150155.SAFE"


@pytest.mark.parametrize(
    ("tags", "fields"),
    [
        ({"acquisition_datetime": "2024-05-08T12:15:59+02:00"}, INSTANT),
        ({"SENSING_TIME": "2024-05-08T10:15:59Z; 2024-05-08T10:16:10Z"}, INSTANT),
        ({"EXIF_DateTimeOriginal": "2024:05:08 10:15:59"}, INSTANT),
        ({"DATE_ACQUIRED": "2024-05-08", "SCENE_CENTER_TIME": "10:15:59Z"}, INSTANT),
        ({"DATE_ACQUIRED": "2024-05-08"}, DAY),
        ({"TIFFTAG_DATETIME": "2024:05:08 10:15:59"}, INSTANT),
    ],
)
def test_found_in_tags(tags: dict[str, str], fields: dict[str, str]) -> None:
    found = find_acquisition(tags, {}, [], "")
    assert found is not None
    assert found.fields() == fields
    assert found.origin.removeprefix("tag ").upper() in {key.upper() for key in tags}


@pytest.mark.parametrize(
    ("path", "fields"),
    [
        ("/d/T32TNS_20240508T101559_B08_10m.jp2", INSTANT),
        (f"/d/{PRODUCT}/GRANULE/IMG_DATA/B08.jp2", INSTANT),
        ("https://a/HLS.S30.T32TNS.2024129T101559.v2.0/B08.tif?sig=1", INSTANT),
        ("/d/LC09_L2SP_193028_20240508_20240509_02_T1_SR_B5.TIF", DAY),
        ("S2B_32TNS_20240508_0_L2A/B08.tif", DAY),
    ],
)
def test_found_in_a_products_name(path: str, fields: dict[str, str]) -> None:
    found = find_acquisition({}, {}, [path], "")
    assert found is not None
    assert (found.fields(), found.origin) == (fields, "product name")
    assert find_acquisition({}, {}, [], path) == found


def test_what_is_believed_first() -> None:
    name = ["T32TNS_20240508T101559_B08.jp2"]
    # The time in TIFF's own tag may be that of processing: it comes last.
    found = find_acquisition({"TIFFTAG_DATETIME": "2030:01:01 00:00:00"}, {}, name, "")
    assert found is not None
    assert found.start.year == 2024
    tags = {"ACQUISITION_DATE": "2023-05-08"}
    found = find_acquisition(tags, {}, name, "")
    assert found is not None
    assert found.start.year == 2023
    found = find_acquisition(tags, {"ACQUISITIONDATETIME": "2022-05-08 10:15:59"}, name, "")
    assert found is not None
    assert (found.start.year, found.origin) == (2022, "IMAGERY metadata")


@pytest.mark.parametrize(
    ("tags", "paths"),
    [
        ({}, []),
        ({"TIFFTAG_DATETIME": "yesterday"}, ["/d/scene_20240508.tif"]),  # no product's name
        ({"ACQUISITION_DATETIME": "0001-01-01T00:00:00"}, ["T32TNS_20249999T101559_B08.jp2"]),
    ],
)
def test_not_found(tags: dict[str, str], paths: list[str]) -> None:
    assert find_acquisition(tags, {}, paths, "") is None


def test_intervals() -> None:
    assert parse_interval("2024-05-08").fields() == DAY
    assert parse_interval("2024-05-08T10:15:59Z").fields() == INSTANT
    both = parse_interval("2024-05-01/2024-05-31")
    assert (both.start.day, both.end.day, both.end.hour) == (1, 31, 23)
    for wrong in ("", "soon", "2024-05-31/2024-05-01", "2024-05-01/2024-05-02/2024-05-03", "/"):
        with pytest.raises(OptionError, match="--datetime"):
            parse_interval(wrong)


def test_times_are_utc_unless_they_say_otherwise() -> None:
    assert parse_time("2024-05-08T10:00:00") == parse_time("2024-05-08T12:00:00+02:00")
    assert parse_time("not") is None


def test_fractions_are_kept() -> None:
    moment = datetime(2024, 5, 8, 10, 15, 59, 123000, tzinfo=UTC)
    fields = Acquisition(moment, moment, "").fields()
    assert fields == {"datetime": "2024-05-08T10:15:59.123000Z"}
