"""ENVI's files: bands by their wavelengths, numbers by the header's factor."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import rasterio
import rioxarray
import xarray as xr
from numpy.testing import assert_array_equal
from rasterio.transform import from_origin

import nirgeo
from nirgeo.cube import band_labels
from nirgeo.scene import view_of

NANOMETRES = (491.0, 559.5, 664.0, 704.0, 842.0)


@pytest.fixture
def cube(tmp_path: Path) -> Path:
    """Five bands that have no names, of reflectance × 4000."""
    path = tmp_path / "cube.img"
    rows, cols = np.mgrid[:70, :90]
    bands = np.stack([400 * k + 3 * rows + 5 * cols for k in range(1, 6)]).astype("uint16")
    with rasterio.open(
        path,
        "w",
        driver="ENVI",
        width=90,
        height=70,
        count=5,
        dtype="uint16",
        crs="EPSG:32632",
        transform=from_origin(500_000, 5_400_000, 10, 10),
    ) as file:
        file.write(bands)
    header = path.with_suffix(".hdr")
    kept = header.read_text().split("band names")[0]
    listed = ", ".join(map(str, NANOMETRES))
    header.write_text(
        f"{kept}\nwavelength units = Nanometers\nwavelength = {{{listed}}}\n"
        "reflectance scale factor = 4000\n"
    )
    return path


def test_a_file(cube: Path) -> None:
    scene = nirgeo.open_scene(cube)
    view = view_of(scene)
    assert view is not None
    assert dict(view.source.roles) == {"blue": 1, "green": 2, "red": 3, "nir": 5}
    assert view.scaling.gain == 1 / 4000
    assert view.scaling.origin == "reflectance scale factor of the ENVI header"


def test_what_rioxarray_reads_of_it_is_the_same_picture(cube: Path) -> None:
    from_file = nirgeo.colorize(nirgeo.open_scene(cube), prior=False)
    array = rioxarray.open_rasterio(cube)
    assert isinstance(array, xr.DataArray)
    from_array = nirgeo.colorize(array, prior=False)
    assert_array_equal(from_array.values, from_file.values)
    assert from_file.values.std() > 5
    assert "wavelength" not in from_array.coords
    assert "wavelength" not in from_array.attrs


@pytest.mark.parametrize(
    ("unit", "factor"), [("nanometers", 1.0), ("micrometers", 1e-3), (None, 1.0), (None, 1e-3)]
)
def test_wavelengths_of_an_array(cube: Path, unit: str | None, factor: float) -> None:
    array = rioxarray.open_rasterio(cube)
    bare = array.drop_vars("wavelength").drop_attrs()
    attrs = {} if unit is None else {"units": unit}
    named = bare.assign_coords(wavelengths=("band", np.array(NANOMETRES) * factor, attrs))
    found = [label.wavelength for label in band_labels(named)]
    assert found == pytest.approx([n / 1000 for n in NANOMETRES])


def test_wavelengths_of_something_else_than_bands_say_nothing(cube: Path) -> None:
    array = rioxarray.open_rasterio(cube)
    bare = array.drop_vars("wavelength").drop_attrs()
    assert {label.wavelength for label in band_labels(bare)} == {None}
    one = bare.assign_coords(wavelength=842.0)
    assert {label.wavelength for label in band_labels(one)} == {None}
    words = bare.assign_coords(wavelength=("band", list("abcde")))
    assert {label.wavelength for label in band_labels(words)} == {None}


@pytest.mark.parametrize("factor", ["0", "-3", "nan", "many"])
def test_a_factor_that_is_none_is_not_believed(cube: Path, factor: str) -> None:
    header = cube.with_suffix(".hdr")
    header.write_text(header.read_text().replace("factor = 4000", f"factor = {factor}"))
    view = view_of(nirgeo.open_scene(cube))
    assert view is not None
    assert view.scaling.origin.startswith("assumed")


def test_a_tag_goes_before_the_factor(cube: Path) -> None:
    with rasterio.open(cube, "r+") as file:
        file.update_tags(REFLECTANCE_SCALE="0.0002")
    header = cube.with_suffix(".hdr")
    if "scale factor" not in header.read_text():  # GDAL has written the header anew
        header.write_text(header.read_text() + "\nreflectance scale factor = 4000\n")
    view = view_of(nirgeo.open_scene(cube))
    assert view is not None
    assert (view.scaling.gain, view.scaling.origin) == (0.0002, "REFLECTANCE_SCALE tag")


def test_wavelengths_without_a_unit(cube: Path) -> None:
    header = cube.with_suffix(".hdr")
    header.write_text(header.read_text().replace("wavelength units = Nanometers\n", ""))
    view = view_of(nirgeo.open_scene(cube))
    assert view is not None
    assert dict(view.source.roles) == {"blue": 1, "green": 2, "red": 3, "nir": 5}
    found = [label.wavelength for label in band_labels(rioxarray.open_rasterio(cube))]
    assert found == pytest.approx([n / 1000 for n in NANOMETRES])


def test_units_and_names_of_an_array_tell_its_wavelengths(cube: Path) -> None:
    array = rioxarray.open_rasterio(cube)
    bare = array.drop_vars("wavelength").drop_attrs()
    names = [f"{n:g} nm" for n in NANOMETRES]
    found = [label.wavelength for label in band_labels(bare.assign_coords(band=names))]
    assert found == pytest.approx([n / 1000 for n in NANOMETRES])
    numbers = bare.assign_coords(wavelength=("band", np.array(NANOMETRES)))
    for unit, known in (("Nanometers", True), ("Unknown", False), ("Index", False)):
        told = numbers.assign_attrs(wavelength_units=unit)
        assert [label.wavelength is not None for label in band_labels(told)] == [known] * 5
