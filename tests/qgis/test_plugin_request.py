"""From the form's fields to the command's arguments."""

from __future__ import annotations

import pytest
from nirgeo_qgis.request import ColorizeRequest, CompareRequest, split_creation_options


def test_defaults_stay_unsaid() -> None:
    assert ColorizeRequest("/a/s.tif", "/a/o.tif").arguments() == [
        *("colorize", "-o", "/a/o.tif", "--overwrite", "--progress", "jsonl", "--", "/a/s.tif")
    ]


def test_everything() -> None:
    request = ColorizeRequest(
        "-s.tif",
        "/o.tif",
        nir=4,
        red=1,
        green=2,
        model="satellite-nir",
        reference="/older.tif",
        reference_scale="0.0001,-0.1",
        bounds=(-10.5, -3.0, 1e-7, 4.25),
        scale="0.0001,-0.1",
        nodata=-9999,
        prior=False,
        uncertainty=True,
        max_error=8,
        device="cpu",
        chunk=8,
        creation_options=("COMPRESS=ZSTD", "LEVEL=9"),
    )
    words = " ".join(request.arguments())
    assert words == (
        "colorize -o /o.tif --nir 4 --red 1 --green 2 --model satellite-nir --reference /older.tif "
        "--reference-scale 0.0001,-0.1 --bounds -10.5 -3.0 1e-07 4.25 "
        "--scale 0.0001,-0.1 --nodata -9999.0 --no-prior --uncertainty --max-error 8.0 "
        "--device cpu --chunk 8 --co COMPRESS=ZSTD --co LEVEL=9 --overwrite --progress jsonl "
        "-- -s.tif"
    )


def test_a_comparison() -> None:
    assert CompareRequest("/p.tif", "-t.tif").arguments() == [
        *("compare", "--progress", "jsonl", "--", "/p.tif", "-t.tif")
    ]
    request = CompareRequest("/p.tif", "/t.tif", (3, 2, 1), "0.0001", "/angles.tif")
    assert " ".join(request.arguments()) == (
        "compare --bands 3,2,1 --scale 0.0001 --error-map /angles.tif --overwrite "
        "--progress jsonl -- /p.tif /t.tif"
    )


@pytest.mark.parametrize(
    "text", ["COMPRESS=ZSTD|LEVEL=9", "COMPRESS=ZSTD LEVEL=9", " COMPRESS=ZSTD |\nLEVEL=9 "]
)
def test_creation_options_in_every_spelling(text: str) -> None:
    assert split_creation_options(text) == ("COMPRESS=ZSTD", "LEVEL=9")


def test_no_creation_options() -> None:
    assert split_creation_options("") == ()
