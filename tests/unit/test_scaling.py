"""What numbers mean: what is believed of a scene, in which order, and what is said of it."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nirgeo.errors import RadiometryError
from nirgeo.radiometry import Quantity
from nirgeo.scaling import (
    Scaling,
    ScalingClues,
    assumption,
    cf_scaling,
    find_scaling,
    is_assumed,
    is_surface,
    level_1_mark,
    processing_level,
    refuse_what_was_applied,
)

L2SP = "LC08_L2SP_196030_20210704_20210713_02_T1_SR_B5.TIF"


def _reads(scaling: Scaling) -> tuple[Quantity, float, float]:
    return scaling.quantity, scaling.gain, scaling.offset


def _reflectance(gain: float, offset: float = 0.0) -> tuple[Quantity, float, float]:
    return Quantity.REFLECTANCE, gain, offset


COUNTS = (Quantity.COUNTS, 1.0, 0.0)


class TestFindScaling:
    def test_order_of_trust(self) -> None:
        """Strike out the strongest clue, and the next one decides, down to the last."""
        everything: dict[str, Any] = {
            "reflectance_scale_tag": 0.001,
            "gdal_scale": 0.002,
            "gdal_offset": 0.5,
            "stac_scale": 0.003,
            "stac_offset": -0.25,
            "product": "S2A_MSIL2A_20220701T101611_N0400_R065_T32TQM_20220701T162310",
            "low": 0.0,
            "high": 200.0,
        }
        expected = [
            (_reflectance(0.001), ("reflectance_scale_tag",)),
            (_reflectance(0.002, 0.5), ("gdal_scale", "gdal_offset")),
            (_reflectance(0.003, -0.25), ("stac_scale", "stac_offset")),
            (_reflectance(1e-4, -0.1), ("product",)),
            (COUNTS, ("low", "high")),
            (_reflectance(1e-4), ()),
        ]
        override = find_scaling(ScalingClues("uint16", **everything), "0.5,0.1")
        assert _reads(override) == _reflectance(0.5, 0.1)
        for result, struck in expected:
            assert _reads(find_scaling(ScalingClues("uint16", **everything))) == result
            for clue in struck:
                del everything[clue]

    def test_a_recorded_scaling_is_taken_as_it_is(self) -> None:
        recorded = Scaling(Quantity.COUNTS, 0.5, 3.0, "an earlier output")
        assert find_scaling(ScalingClues("float32", gdal_scale=0.1), recorded) is recorded

    @pytest.mark.parametrize(
        ("text", "gain", "offset"),
        [("1e-4", 1e-4, 0.0), ("2.75e-05,-0.2", 2.75e-5, -0.2), (" 1 , 0.5 ", 1.0, 0.5)],
    )
    def test_override(self, text: str, gain: float, offset: float) -> None:
        assert _reads(find_scaling(ScalingClues("uint8"), text)) == _reflectance(gain, offset)

    @pytest.mark.parametrize(
        "text",
        ["", "abc", "1,2,3", "1,", ",1", "1;2", "0", "-1e-4", "nan", "inf", "1,nan", "1,inf"],
    )
    def test_override_that_can_not_be_used(self, text: str) -> None:
        with pytest.raises(RadiometryError, match="--scale"):
            find_scaling(ScalingClues("uint16"), text)

    @pytest.mark.parametrize(
        ("dtype", "tag", "result"),
        [
            ("uint8", 1.0, COUNTS),
            ("uint8", 0.004, _reflectance(0.004)),
            ("uint16", 1.0, _reflectance(1.0)),
            ("float32", 1.0, _reflectance(1.0)),
            ("int16", 1e-4, _reflectance(1e-4)),
        ],
    )
    def test_reflectance_scale_tag(
        self, dtype: str, tag: float, result: tuple[Quantity, float, float]
    ) -> None:
        clues = ScalingClues(dtype, reflectance_scale_tag=tag)
        assert _reads(find_scaling(clues)) == result

    @pytest.mark.parametrize("tag", [0.0, -1.0, float("nan"), float("inf")])
    def test_a_tag_that_can_not_be_a_gain_is_an_error_with_a_remedy(self, tag: float) -> None:
        with pytest.raises(RadiometryError, match=r"REFLECTANCE_SCALE.*--scale GAIN"):
            find_scaling(ScalingClues("uint16", reflectance_scale_tag=tag))

    @pytest.mark.parametrize(
        ("clues", "result"),
        [
            ({"gdal_scale": 0.5}, _reflectance(0.5)),
            ({"gdal_offset": -0.1}, _reflectance(1.0, -0.1)),
            ({"gdal_scale": 2.0, "gdal_offset": 3.0}, _reflectance(2.0, 3.0)),
            ({"stac_scale": 2e-4}, _reflectance(2e-4)),
        ],
    )
    def test_partial_clues(
        self, clues: dict[str, Any], result: tuple[Quantity, float, float]
    ) -> None:
        assert _reads(find_scaling(ScalingClues("uint16", **clues))) == result

    @pytest.mark.parametrize(
        ("product", "result"),
        [
            (L2SP, _reflectance(2.75e-5, -0.2)),
            ("LE07_L2SP_196030_20030704_20200915_02_T1", _reflectance(2.75e-5, -0.2)),
            ("lt05_l2sr_196030_19950704_20200915_02_t2_sr_b4.tif", _reflectance(2.75e-5, -0.2)),
            # Collection 1 had another scaling, Level 1 is no surface reflectance.
            ("LC08_L2SP_196030_20210704_20210713_01_T1", _reflectance(1e-4)),
            ("LC08_L1TP_196030_20210704_20210713_02_T1_B5.TIF", _reflectance(2e-5, -0.1)),
            ("HLS.L30.T32TQM.2021185T101010.v2.0.B05.tif", _reflectance(1e-4)),
            ("HLS.S30.T32TQM.2022185T101010.v2.0.B8A.tif", _reflectance(1e-4)),
            (
                "S2A_MSIL2A_20220701T101611_N0400_R065_T32TQM_20220701T162310.SAFE",
                _reflectance(1e-4, -0.1),
            ),
            (
                "S2B_MSIL1C_20230701T101611_N0509_R065_T32TQM_20230701T162310.SAFE",
                _reflectance(1e-4, -0.1),
            ),
            (
                "S2B_MSIL2A_20210701T101611_N0301_R065_T32TQM_20210701T162310.SAFE",
                _reflectance(1e-4),
            ),
            ("S2A_MSIL2A_20200701T101611_N9999_R065_T32TQM_20230701T162310", _reflectance(1e-4)),
            ("my_scene.tif", _reflectance(1e-4)),
        ],
    )
    def test_products(self, product: str, result: tuple[Quantity, float, float]) -> None:
        clues = ScalingClues("uint16", product=product, low=8000.0, high=20000.0)
        assert _reads(find_scaling(clues)) == result

    @pytest.mark.parametrize(
        ("band", "dtype", "low", "result"),
        [
            ("SR_B5", "uint16", 8000.0, _reflectance(2.75e-5, -0.2)),  # as Earth Engine exports it
            ("nir SR_B4_median", "uint16", 8000.0, _reflectance(2.75e-5, -0.2)),
            ("SR_B5", "uint16", 600.0, _reflectance(1e-4)),  # what somebody has scaled
            ("sr_band4", "uint16", 8000.0, _reflectance(1e-4)),  # Collection 1
            ("SR_B10", "uint16", 8000.0, _reflectance(1e-4)),
            ("CSR_B5", "uint16", 8000.0, _reflectance(1e-4)),
            ("SR_B5", "uint16", None, _reflectance(1e-4)),
        ],
    )
    def test_landsat_s_names_of_bands(
        self, band: str, dtype: str, low: float | None, result: tuple[Quantity, float, float]
    ) -> None:
        clues = ScalingClues(dtype, band=band, low=low, high=20000.0)
        assert _reads(find_scaling(clues)) == result

    @pytest.mark.parametrize(
        ("product", "low", "offset"),
        [
            ("T33UUU_20230216T102059_B08_10m.jp2 scenes", 1200.0, -0.1),
            ("T33UUU_20220125T102059_B08.jp2", 1200.0, -0.1),
            ("T33UUU_20220124T102059_B08.jp2", 1200.0, 0.0),
            ("T33UUU_20230216T102059_B08_10m.tif", 350.0, 0.0),  # somebody has taken it away
            ("T33UUU_20230216T102059_TCI_10m.jp2", 1200.0, 0.0),
            ("20230216T102059_20230216T102355_T33UUU.tif", 1200.0, 0.0),  # may be harmonized
        ],
    )
    def test_sentinel_2_s_names_of_images(self, product: str, low: float, offset: float) -> None:
        scaling = find_scaling(ScalingClues("uint16", product=product, low=low, high=5000.0))
        assert _reads(scaling) == _reflectance(1e-4, offset)
        assert scaling.origin.startswith("Sentinel-2 image of 202") == (offset != 0)

    @pytest.mark.parametrize(
        ("product", "sun", "result"),
        [
            ("LC08_L1TP_196030_20210704_20210713_02_T1", None, _reflectance(2e-5, -0.1)),
            ("LC09_L1GT_196030_20220704_20220713_02_T2", 30.0, _reflectance(4e-5, -0.2)),
            ("LC08_L1TP_196030_20210704_20210713_01_T1_sr_band5", None, _reflectance(1e-4)),
            ("LT05_L1TP_196030_19950704_20200915_01_T1_sr_band4", None, _reflectance(1e-4)),
            ("LT05_L1TP_196030_19950704_20200915_02_T1", 30.0, _reflectance(1e-4)),
        ],
    )
    def test_landsat_level_1(
        self, product: str, sun: float | None, result: tuple[Quantity, float, float]
    ) -> None:
        clues = ScalingClues("uint16", product=product, low=7000.0, high=20000.0, sun_elevation=sun)
        found = find_scaling(clues)
        assert found.quantity is result[0]
        np.testing.assert_allclose((found.gain, found.offset), result[1:])
        assert is_assumed(found) == product.endswith("0915_02_T1")

    def test_a_scale_that_divides(self) -> None:
        modis = find_scaling(ScalingClues("int16", gdal_scale=10000.0, low=100.0, high=4000.0))
        assert _reads(modis) == _reflectance(1e-4)
        assert "divides" in modis.origin
        assert _reads(find_scaling(ScalingClues("float32", gdal_scale=100.0)))[1] == 100.0

    @pytest.mark.parametrize(
        ("product", "marked"),
        [
            ("S2A_30SVG_20200604_0_L1C B08.tif", True),
            ("2020-06-04_Sentinel-2_L1C_B08_(Raw).tiff", True),
            ("LC80170362013109LGN01_B5.TIF", True),
            ("LC08_L1TP_196030_20210704_20210713_01_T1_B5.TIF", True),
            ("LC08_L1TP_196030_20210704_20210713_01_T1_sr_band5.tif", False),
            ("S2A_30SVG_20200604_0_L2A B08.tif", False),
            ("tile_L1C_7.tif", False),
        ],
    )
    def test_level_1_by_its_makers_names(self, product: str, marked: bool) -> None:
        assert bool(level_1_mark(product)) == marked
        assert not marked or processing_level(product) == "toa"  # an index says the same

    @pytest.mark.parametrize(
        ("product", "level"),
        [
            ("LC08_L1TP_193023_20170101_20170101_01_T1_sr_band5.tif", "boa"),
            ("AST_L1T_00301012020.tif", "toa"),
            ("LM01_L1GS_193023_19750101_20200823_02_T2_B7.tif", "toa"),
            ("tile_L1C_7.tif", "toa"),
            (L2SP, "boa"),
            ("scene.tif", "unknown"),
        ],
    )
    def test_levels_for_an_index(self, product: str, level: str) -> None:
        assert processing_level(product) == level

    @pytest.mark.parametrize("product", [L2SP, "S2A_MSIL2A_20220701T101611_N0400_R065_T32TQM_2022"])
    def test_what_was_made_of_a_product_has_its_own_numbers(self, product: str) -> None:
        fractions = ScalingClues("float32", product=product, low=0.02, high=0.6)
        assert _reads(find_scaling(fractions)) == _reflectance(1.0)
        assert _reads(find_scaling(ScalingClues("uint8", product=product))) == COUNTS
        scaled = ScalingClues("int16", product=L2SP, low=500.0, high=5000.0)
        assert _reads(find_scaling(scaled)) == _reflectance(1e-4)
        whole = ScalingClues("float32", product=product, low=8000.0, high=20000.0)
        assert _reads(find_scaling(whole))[1:] != (1.0, 0.0)

    def test_an_assumption_that_can_not_be_is_told(self) -> None:
        assumed = find_scaling(ScalingClues("uint16", low=9000.0, high=43000.0))
        (said,) = assumption(assumed, "give --scale", "the scene", 43000.0)
        assert "It seems to be wrong: numbers go up to 43000" in said
        assert "0.0000275,-0.2" in said
        (said,) = assumption(assumed, "give --scale", "the scene", 15000.0)
        assert "It may well be wrong" in said
        (said,) = assumption(assumed, "give --scale", "the scene", 8000.0)
        assert "It seems" not in said
        assert not assumption(find_scaling(ScalingClues("uint8")), "x", high=255.0)

    @pytest.mark.parametrize(
        ("baseline", "offset"), [(2.14, 0.0), (3.01, 0.0), (4.0, -0.1), (5.11, -0.1)]
    )
    def test_baseline_from_metadata_beats_the_name(self, baseline: float, offset: float) -> None:
        name = "S2A_MSIL2A_20220701T101611_N0400_R065_T32TQM_20220701T162310"
        clues = ScalingClues("uint16", product=name, processing_baseline=baseline)
        assert _reads(find_scaling(clues)) == _reflectance(1e-4, offset)

    def test_baseline_4_is_told_from_3_by_its_origin(self) -> None:
        scaling = find_scaling(ScalingClues("uint16", processing_baseline=4.0))
        assert "04.00" in scaling.describe()

    @pytest.mark.parametrize(
        ("dtype", "low", "high", "result"),
        [
            ("uint8", None, None, COUNTS),
            ("uint8", 0.0, 1.0, COUNTS),
            ("float32", 0.0, 0.6, _reflectance(1.0)),
            ("float64", -0.01, 1.4, _reflectance(1.0)),
            ("float32", 0.0, 2.0, _reflectance(1.0)),
            ("float32", 0.0, 2.1, COUNTS),
            ("float32", 3.0, 255.0, COUNTS),
            ("float32", 3.0, 256.0, _reflectance(1e-4)),
            ("float32", 200.0, 8000.0, _reflectance(1e-4)),
            ("uint16", 0.0, 255.0, COUNTS),
            ("uint16", 0.0, 256.0, _reflectance(1e-4)),
            ("int16", -5.0, 200.0, _reflectance(1e-4)),
            ("int16", 0.0, 1.0, _reflectance(1e-4)),
            ("uint16", None, None, _reflectance(1e-4)),
            ("float32", None, None, _reflectance(1e-4)),
        ],
    )
    def test_type_and_range(
        self,
        dtype: str,
        low: float | None,
        high: float | None,
        result: tuple[Quantity, float, float],
    ) -> None:
        assert _reads(find_scaling(ScalingClues(dtype, low=low, high=high))) == result


gains = st.floats(1e-12, 1e12)
offsets = st.floats(-1e12, 1e12)


class TestScaling:
    @given(st.sampled_from(Quantity), gains, offsets)
    def test_tag_round_trip_is_exact(self, quantity: Quantity, gain: float, offset: float) -> None:
        scaling = Scaling(quantity, gain, offset, "somewhere")
        back = Scaling.from_tag(scaling.tag(), "somewhere")
        assert back == scaling

    def test_tag_of_numpy_numbers_reads_like_any_other(self) -> None:
        # Scale factors from xarray attributes are numpy scalars, whose repr is no number.
        scaling = Scaling(Quantity.REFLECTANCE, np.float64(1e-4), np.float64(0.0), "CF attributes")
        assert scaling.tag() == "reflectance:0.0001,0.0"

    @pytest.mark.parametrize(
        "text",
        ["", "reflectance", "reflectance:1", "radiance:1,0", "reflectance:a,b", "counts:1,2,3"],
    )
    def test_unreadable_tag(self, text: str) -> None:
        with pytest.raises(RadiometryError, match=r"old\.tif records an unreadable scaling"):
            Scaling.from_tag(text, "old.tif")

    @pytest.mark.parametrize("numbers", ["nan,0", "0,0", "-1,0", "1,inf"])
    def test_a_tag_with_impossible_numbers(self, numbers: str) -> None:
        with pytest.raises(RadiometryError, match=r"old\.tif"):
            Scaling.from_tag(f"reflectance:{numbers}", "old.tif")

    @pytest.mark.parametrize("dtype", ["uint8", "int16", "uint16", "int32", "uint32", "float64"])
    def test_apply_is_computed_in_double_and_returned_in_single(self, dtype: str) -> None:
        limits = np.iinfo(dtype) if np.dtype(dtype).kind in "ui" else np.finfo("float32")
        values = np.array([limits.min, 0, 1, 7, limits.max], dtype=dtype)
        scaled = Scaling(Quantity.REFLECTANCE, 2.75e-5, -0.2, "test").apply(values)
        expected = [np.float32(float(v) * 2.75e-5 - 0.2) for v in values]
        assert scaled.dtype == np.float32
        assert scaled.tolist() == expected

    def test_apply_does_not_touch_its_argument(self) -> None:
        values = np.array([[0.5]], dtype=np.float32)
        Scaling(Quantity.REFLECTANCE, 1.0, 0.0, "test").apply(values)[...] = 9
        assert values[0, 0] == 0.5

    @pytest.mark.parametrize(
        ("scaling", "text"),
        [
            (Scaling(Quantity.REFLECTANCE, 1.0, 0.0, "x"), "values are reflectance (x)"),
            (Scaling(Quantity.COUNTS, 1.0, 0.0, "x"), "values are display counts (x)"),
            (Scaling(Quantity.REFLECTANCE, 1e-4, 0.0, "x"), "reflectance = 0.0001 · DN (x)"),
            (Scaling(Quantity.REFLECTANCE, 1e-4, -0.1, "x"), "reflectance = 0.0001 · DN − 0.1 (x)"),
            (Scaling(Quantity.REFLECTANCE, 1.0, 0.5, "x"), "reflectance = 1 · DN + 0.5 (x)"),
        ],
    )
    def test_describe(self, scaling: Scaling, text: str) -> None:
        assert scaling.describe() == text


def test_an_offset_is_a_scaling_beside_a_gain_of_one_and_alone() -> None:
    for attributes in ({"scale_factor": 1.0, "add_offset": -0.1}, {"add_offset": -0.1}):
        found = cf_scaling(attributes)
        assert found is not None
        assert (found.gain, found.offset) == (1.0, -0.1)
    for attributes in ({"scale_factor": 1.0, "add_offset": 0.0}, {"add_offset": 0}, {}):
        assert cf_scaling(attributes) is None


@pytest.mark.parametrize(("high", "applied"), [(0.4, True), (1.2, True), (2.0, True), (2.1, False)])
def test_snow_may_be_brighter_than_one(high: float, applied: bool) -> None:
    scaling = Scaling(Quantity.REFLECTANCE, 1e-4, 0.0, "attributes")
    if applied:
        with pytest.raises(RadiometryError, match="as if they were reflectance already"):
            refuse_what_was_applied(scaling, high)
    else:
        refuse_what_was_applied(scaling, high)


@pytest.mark.parametrize(
    ("product", "band", "surface"),
    [
        (L2SP, "", True),
        ("S2A_MSIL2A_20220701T101611_N0400_R065_T32TQM_20220701T161611", "", True),
        ("renamed", "SR_B5", True),
        ("renamed", "nir", False),
        ("S2A_MSIL1C_20220701T101611_N0400_R065_T32TQM_20220701T161611", "", False),
    ],
)
def test_what_is_known_to_be_corrected_for_the_air(product: str, band: str, surface: bool) -> None:
    clues = ScalingClues("uint16", product=product, band=band, low=7000, high=20000)
    assert is_surface(product, find_scaling(clues)) == surface
