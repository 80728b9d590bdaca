"""Bands that nothing names, by where they lie in the spectrum."""

from __future__ import annotations

import pytest

from nirgeo.bands import BandLabel, find_roles, wavelength_of
from nirgeo.errors import BandError, BandWarning


def lying_at(*wavelengths: float | None) -> list[BandLabel]:
    return [BandLabel(n, wavelength=at) for n, at in enumerate(wavelengths, start=1)]


class TestWavelengthOf:
    @pytest.mark.parametrize(
        ("text", "unit", "found"),
        [
            ("842.3 Nanometers", "", 0.8423),
            ("842 nm", "", 0.842),
            ("865.2999877929688 nm", "", 0.8653),  # of single precision
            ("0.842 µm", "", 0.842),
            ("0.842 μm", "", 0.842),  # another letter that looks like it
            ("0.665um", "", 0.665),
            ("0.665 Micrometers", "", 0.665),
            ("0.665 micrometres", "", 0.665),
            ("842", "Nanometers", 0.842),
            ("0.842", "Micrometers", 0.842),
            ("Near (842.0 Nanometers)", "", 0.842),
            ("B8, central wavelength 842 nm", "", 0.842),
        ],
    )
    def test_numbers_with_a_unit(self, text: str, unit: str, found: float) -> None:
        assert wavelength_of(text, unit) == pytest.approx(found)

    @pytest.mark.parametrize(
        ("text", "unit"),
        [
            ("842", ""),
            ("842", "Unknown"),
            ("", "Nanometers"),
            ("band 8", "nm"),
            ("750-1300 nm", ""),  # a range
            ("750 - 1300 nm", ""),
            ("filter of 10 nm", ""),
            ("842 nmi", ""),
            ("5 nm", ""),  # no light of the sun
            ("12000 nm", ""),
            ("21 µm", ""),
        ],
    )
    def test_what_is_none(self, text: str, unit: str) -> None:
        assert wavelength_of(text, unit) is None


class TestRoles:
    def test_the_nearest_band_of_a_spectrometer_is_taken(self) -> None:
        labels = lying_at(*(0.4 + 0.013 * k for k in range(150)))
        found = find_roles(labels)
        at = {role: round(0.4 + 0.013 * (number - 1), 3) for role, number in found.items()}
        assert at == {"red": 0.66, "green": 0.556, "blue": 0.491, "nir": 0.842}

    @pytest.mark.parametrize(
        ("wavelengths", "roles"),
        [
            ((0.56, 0.661, 0.807), {"green": 1, "red": 2, "nir": 3}),  # ASTER
            ((0.55, 0.65, 0.75, 0.95), {"green": 1, "red": 2, "nir": 4}),  # Landsat MSS
            ((0.705, 0.74, 0.783, 0.865), {"nir": 4}),  # Sentinel-2 at 20 m: no red edge
            ((1.61, 0.842, None), {"nir": 2}),
            ((0.84, 0.84), {"nir": 1}),
        ],
    )
    def test_sensors(self, wavelengths: tuple[float | None, ...], roles: dict[str, int]) -> None:
        assert find_roles(lying_at(*wavelengths)) == roles

    def test_a_name_goes_before(self) -> None:
        labels = [BandLabel(1, wavelength=0.842), BandLabel(2, description="nir", wavelength=0.865)]
        assert find_roles(labels) == {"nir": 2}

    def test_and_a_wavelength_before_the_product(self) -> None:
        labels = [
            BandLabel(1, description="B4", wavelength=0.842),
            BandLabel(2, description="B8", wavelength=0.665),
        ]
        assert find_roles(labels, product="S2A_stack.tif") == {"red": 2, "nir": 1}

    def test_a_panchromatic_band_is_not_red(self) -> None:
        labels = [BandLabel(1, common_name="pan", wavelength=0.65), *lying_at(None, 0.83)[1:]]
        assert find_roles(labels) == {"nir": 2}

    def test_nothing_near_is_nothing(self) -> None:
        with pytest.raises(BandError, match=r"near infrared.*1: 1\.61 µm; 2: 2\.2 µm"):
            find_roles(lying_at(1.61, 2.2))

    def test_four_bands_of_8_bits_of_which_the_fourth_lies_elsewhere(self) -> None:
        with pytest.raises(BandError, match="which band is near infrared"):
            find_roles(lying_at(0.45, 0.55, 0.65, 1.61), dtype="uint8")

    def test_the_only_band_lies_elsewhere(self) -> None:
        with pytest.warns(BandWarning, match=r"its label says 1\.61 µm"):
            assert find_roles(lying_at(1.61)) == {"nir": 1}

    @pytest.mark.filterwarnings("error")
    def test_the_only_band_is_near_infrared(self) -> None:
        assert find_roles(lying_at(0.86)) == {"nir": 1}
