"""Which band is near infrared: the labels that real files carry, and those that say nothing."""

from __future__ import annotations

import re
import warnings

import pytest

from nirgeo.bands import BandLabel, designation_of, find_roles, sensor_of
from nirgeo.errors import BandError, BandWarning


def described(*texts: str) -> list[BandLabel]:
    return [BandLabel(number, description=text) for number, text in enumerate(texts, start=1)]


def files(*stems: str) -> list[BandLabel]:
    return [BandLabel(number, file_stem=stem) for number, stem in enumerate(stems, start=1)]


S2_13 = ["B1", "B2", "B3", "B4", "B5", "B6", "B7", "B8", "B8A", "B9", "B10", "B11", "B12"]
S2_12 = ["B1", "B2", "B3", "B4", "B5", "B6", "B7", "B8", "B8A", "B9", "B11", "B12"]


class TestDescriptions:
    @pytest.mark.parametrize(
        ("texts", "roles"),
        [
            # NAIP, PlanetScope SuperDove, Maxar, German and French surveys
            (("Red", "Green", "Blue", "NIR"), {"red": 1, "green": 2, "blue": 3, "nir": 4}),
            (
                ("coastal_blue", "blue", "green_i", "green", "yellow", "red", "rededge", "nir"),
                {"blue": 2, "green": 4, "red": 6, "nir": 8},
            ),
            (("blue", "green", "red", "nir1", "nir2"), {"blue": 1, "green": 2, "red": 3, "nir": 4}),
            (("Blau", "Grün", "Rot", "NIR"), {"blue": 1, "green": 2, "red": 3, "nir": 4}),
            (("rouge", "vert", "bleu", "nir"), {"red": 1, "green": 2, "blue": 3, "nir": 4}),
            (("B", "G", "R", "N"), {"blue": 1, "green": 2, "red": 3, "nir": 4}),
            (("near infrared", "red"), {"nir": 1, "red": 2}),
            (("Near-Infra-Red", "green"), {"nir": 1, "green": 2}),
            ((" NIR ", "x"), {"nir": 1}),
            (("Band 8 - NIR", "pan"), {"nir": 1}),
            # STAC's narrow bands come second, wherever they stand
            (("nir08", "nir"), {"nir": 2}),
            (("nir09", "nir08", "red"), {"nir": 2, "red": 3}),
            (("rededge1", "rededge2", "nir09"), {"nir": 3}),
        ],
        ids=lambda value: " ".join(value),
    )
    def test_words(self, texts: tuple[str, ...], roles: dict[str, int]) -> None:
        assert find_roles(described(*texts)) == roles

    def test_stac_common_names(self) -> None:
        labels = [
            BandLabel(1, description="B02", common_name="blue"),
            BandLabel(2, description="B08", common_name="nir"),
            BandLabel(3, description="B8A", common_name="nir08"),
        ]
        assert find_roles(labels) == {"blue": 1, "nir": 2}

    def test_landsat_in_stac_has_only_nir08(self) -> None:
        labels = [BandLabel(k, common_name=n) for k, n in enumerate(("red", "nir08", "swir16"), 1)]
        assert find_roles(labels) == {"red": 1, "nir": 2}

    def test_words_beat_the_mission(self) -> None:
        # Somebody renamed the bands: what a band is called says more than what its file is called.
        labels = described("nir", "B8", "red")
        assert find_roles(labels, product="S2A_stack.tif") == {"red": 3, "nir": 1}

    def test_colour_interpretation_nir(self) -> None:
        labels = [BandLabel(1, colorinterp="red"), BandLabel(2, colorinterp="nir")]
        assert find_roles(labels) == {"nir": 2}

    def test_colour_interpretation_is_no_word_about_red_and_green(self) -> None:
        # Drivers set red, green, blue by position; only a label tells what a band really holds.
        labels = [
            BandLabel(k, colorinterp=c) for k, c in enumerate(("red", "green", "blue", "nir"), 1)
        ]
        assert find_roles(labels) == {"nir": 4}


class TestMissions:
    @pytest.mark.parametrize(
        ("texts", "product", "roles"),
        [
            (
                ("B4", "B3", "B2", "B8"),
                "S2_median_2020.tif",
                {"red": 1, "green": 2, "blue": 3, "nir": 4},
            ),
            (
                ("B02", "B03", "B04", "B08", "B8A"),
                "",  # only Sentinel-2 has a band 8A
                {"blue": 1, "green": 2, "red": 3, "nir": 4},
            ),
            # only Sentinel-2 pads the numbers, and has near infrared in band 8
            (("B04", "B03", "B08"), "", {"red": 1, "green": 2, "nir": 3}),
            (("scl", "b08", "b02"), "", {"blue": 3, "nir": 2}),
            (("B04_10m", "B08_10m", "B11_20m"), "", {"red": 1, "nir": 2}),
            (
                ("SR_B2", "SR_B3", "SR_B4", "SR_B5"),
                "LC08_L2SP_196030_20210704_20210713_02_T1",
                {"blue": 1, "green": 2, "red": 3, "nir": 4},
            ),
            (("SR_B3", "SR_B4"), "LE07_L2SP_196030_20030704_02_T1", {"red": 1, "nir": 2}),
            (
                tuple(f"band {k} reflectance" for k in (1, 2, 3, 4, 5, 7)),
                "landsat7_bands.tif",
                {"blue": 1, "green": 2, "red": 3, "nir": 4},
            ),
            (
                ("VNIR_Band1", "VNIR_Band2", "VNIR_Band3N"),
                "AST_L1T_00305042006.tif",
                {"green": 1, "red": 2, "nir": 3},
            ),
            (("B01", "B02", "B3N"), "aster_scene", {"green": 1, "red": 2, "nir": 3}),
            (("XS1", "XS2", "XS3"), "SPOT5_HRG", {"green": 1, "red": 2, "nir": 3}),
            (("B1", "B2", "B3"), "spot-4.tif", {"green": 1, "red": 2, "nir": 3}),
            (
                ("sur_refl_b01", "sur_refl_b02", "sur_refl_b03", "sur_refl_b04"),
                "MOD09A1.A2021185.h18v04.061",
                {"red": 1, "nir": 2, "blue": 3, "green": 4},
            ),
            (("B4", "B5", "B6", "B7"), "LM01_L1TP_x", {"green": 1, "red": 2, "nir": 4}),
            (("B1", "B2", "B3", "B4"), "LM05_L1TP_x", {"green": 1, "red": 2, "nir": 4}),
            (("B04", "B05"), "HLS.L30.T32TQM.2021185T1.v2.0", {"red": 1, "nir": 2}),
            (("B04", "B08", "B8A"), "HLS.S30.T32TQM.2021185T1.v2.0", {"red": 1, "nir": 2}),
        ],
        ids=lambda value: value if isinstance(value, str) else None,
    )
    def test_designations(
        self, texts: tuple[str, ...], product: str, roles: dict[str, int]
    ) -> None:
        assert find_roles(described(*texts), product=product) == roles

    @pytest.mark.parametrize(
        ("stems", "roles"),
        [
            (
                ("T32TQM_20220701T101611_B02_10m", "T32TQM_20220701T101611_B08_10m"),
                {"blue": 1, "nir": 2},
            ),
            (
                (
                    "LC08_L2SP_196030_20210704_20210713_02_T1_SR_B4",
                    "LC08_L2SP_196030_20210704_20210713_02_T1_SR_B5",
                ),
                {"red": 1, "nir": 2},
            ),
        ],
    )
    def test_one_file_per_band(self, stems: tuple[str, ...], roles: dict[str, int]) -> None:
        assert find_roles(files(*stems), product=" ".join(stems)) == roles

    @pytest.mark.parametrize(("names", "count"), [(S2_13, 13), (S2_12, 12)])
    def test_unlabelled_full_sets_of_sentinel_2(self, names: list[str], count: int) -> None:
        wanted = {"red": "B4", "green": "B3", "blue": "B2", "nir": "B8"}
        expected = {role: names.index(band) + 1 for role, band in wanted.items()}
        labels = [BandLabel(k, file_stem="s2_chip_7") for k in range(1, count + 1)]
        assert find_roles(labels, product="s2_chip_7.tif") == expected
        # The same number of bands from an unknown mission says nothing.
        with pytest.raises(BandError, match="nothing says"):
            find_roles(labels, product="chip_7.tif")

    def test_a_file_of_several_bands_named_after_one_says_nothing(self) -> None:
        # "B8_B4_B3" lists the bands in some order; its first designation is not every band's.
        labels = [BandLabel(k, file_stem="S2A_B8_B4_B3") for k in (1, 2, 3)]
        with pytest.raises(BandError, match="nothing says"):
            find_roles(labels, product="S2A_B8_B4_B3.tif")

    @pytest.mark.parametrize(
        ("product", "sensor"),
        [
            ("S2A_MSIL2A_20220701T101611_N0400_R065_T32TQM_20220701T162310.SAFE", "Sentinel-2"),
            ("T32TQM_20220701T101611_B08_10m.jp2", "Sentinel-2"),
            ("sentinel-2-l2a", "Sentinel-2"),
            ("LC09_L2SP_196030_20220704", "Landsat 8/9"),
            ("landsat-8", "Landsat 8/9"),
            ("LANDSAT_7", "Landsat 4–7"),
            ("LT05_L2SP_196030_19950704", "Landsat 4–7"),
            ("LM02_L1TP_210", "Landsat MSS 1–3"),
            ("LM04_L1TP_210", "Landsat MSS 4–5"),
            ("MYD09GA.A2020", "MODIS"),
            ("terra-modis", "MODIS"),
            # words that only contain a mission's name
            ("raster_master.tif", None),
            ("hotspot_10.tif", None),
            ("landsat_2019.tif", None),
            ("images2.tif", None),
            ("ortho_2021_rgbn.tif", None),
            ("", None),
        ],
    )
    def test_sensor_of(self, product: str, sensor: str | None) -> None:
        assert sensor_of(product) == sensor

    @pytest.mark.parametrize(
        ("text", "designation"),
        [
            ("B4", "B4"),
            ("B04", "B4"),
            ("b8a", "B8A"),
            ("SR_B5", "B5"),
            ("band 4 reflectance", "B4"),
            ("Band_10", "B10"),
            ("VNIR_Band3N", "B3N"),
            ("XS3", "XS3"),
            ("sur_refl_b02", "B2"),
            ("T32TQM_20220701T101611_B08_10m", "B8"),
            ("nir", None),
            ("AB4", None),
            ("B444", None),
            ("10m", None),
            ("", None),
        ],
    )
    def test_designation_of(self, text: str, designation: str | None) -> None:
        assert designation_of(text) == designation

    def test_a_mission_without_matching_designations_is_no_guess(self) -> None:
        with pytest.raises(BandError, match="nothing says"):
            find_roles(described("B2", "B3", "B4"), product="S2A_rgb.tif")
        # Four 16-bit bands of a Sentinel-2 stack come in any order.
        with pytest.raises(BandError, match="nothing says"):
            find_roles([BandLabel(k) for k in range(1, 5)], product="S2A.tif", dtype="uint16")

    @pytest.mark.parametrize(
        "texts",
        [
            ("B04", "B03", "B05", "B08"),  # of HLS, B05 of a Landsat is near infrared
            ("B4", "B3", "B8"),  # Landsat's panchromatic band
            ("B04", "B3", "B08"),
            ("sur_refl_b03", "sur_refl_b04", "sur_refl_b08"),  # MODIS
            ("B08", "B11"),
            ("band 02", "band 08"),
        ],
        ids=" ".join,
    )
    def test_other_bands_8_are_no_guess(self, texts: tuple[str, ...]) -> None:
        with pytest.raises(BandError, match="nothing says"):
            find_roles(described(*texts))

    @pytest.mark.parametrize(
        ("texts", "roles"),
        [
            (("B01", "B02", "B3N", "B08"), {"green": 1, "red": 2, "nir": 3}),  # ASTER, padded
            (("B1", "B2", "B3N"), {"green": 1, "red": 2, "nir": 3}),
            (("XS3", "XS2", "XS1", "SWIR"), {"nir": 1, "red": 2, "green": 3}),
            (
                ("B02", "B03", "B04", "B05", "B8A", "B11"),
                {"blue": 1, "green": 2, "red": 3, "nir": 5},
            ),
            (("B2", "B3", "B4", "B8", "B11", "B12"), {"blue": 1, "green": 2, "red": 3, "nir": 4}),
            (
                ("SR_B1", "SR_B2", "SR_B3", "SR_B4", "SR_B5", "SR_B6", "SR_B7"),
                {"blue": 2, "green": 3, "red": 4, "nir": 5},
            ),
            (
                ("SR_B1", "SR_B2", "SR_B3", "SR_B4", "SR_B5", "SR_ATMOS_OPACITY"),
                {"blue": 1, "green": 2, "red": 3, "nir": 4},
            ),
            (
                ("250m 16 days red reflectance", "250m 16 days NIR reflectance"),
                {"red": 1, "nir": 2},
            ),
            (("Red (660 nm)", "NIR (860 nm)"), {"nir": 2}),
            (
                ("Green", "Red", "NearInfrared_1", "NearInfrared_2"),
                {"green": 1, "red": 2, "nir": 3},
            ),
        ],
        ids=lambda value: " ".join(value) if isinstance(value, tuple) else "",
    )
    def test_names_that_no_other_sensor_has(
        self, texts: tuple[str, ...], roles: dict[str, int]
    ) -> None:
        assert find_roles(described(*texts)) == roles

    def test_names_of_bands_go_before_what_a_folder_is_called(self) -> None:
        texts = [f"SR_B{k}" for k in range(1, 8)]
        found = find_roles(described(*texts), product="landsat7_8_sr.tif oli")
        assert found["nir"] == 5

    @pytest.mark.parametrize(
        ("product", "count", "roles"),
        [
            ("20200604_103051_1003_3B_AnalyticMS_SR.tif", 4, (3, 2, 1, 4)),
            ("20200604_103051_1003_3B_AnalyticMS_clip.tif", 4, (3, 2, 1, 4)),
            ("3256408_2012-05-07_RE4_3A_Analytic.tif", 5, (3, 2, 1, 5)),
            ("GF1_PMS1_E116.5_N39.4_20200604_L1A-MSS1.tiff", 4, (3, 2, 1, 4)),
        ],
    )
    def test_makers_orders(self, product: str, count: int, roles: tuple[int, ...]) -> None:
        labels = [BandLabel(k) for k in range(1, count + 1)]
        found = find_roles(labels, product=product, dtype="uint16")
        assert found == dict(zip(("red", "green", "blue", "nir"), roles, strict=True))
        with pytest.raises(BandError, match="nothing says"):  # another number of them
            find_roles(labels[1:], product=product, dtype="uint16")

    def test_running_numbers_are_no_designations(self) -> None:
        numbered = [BandLabel(k, description=f"Band {k}") for k in range(1, 8)]
        oli = "LC08_L2SP_196030_20210704_20210713_02_T1_stack.img"
        assert find_roles(numbered, product=oli)["nir"] == 5  # all of its bands, from the first on
        for count in (3, 5, 6):
            with pytest.raises(BandError, match="1: Band 1; 2: Band 2"):
                find_roles(numbered[:count], product=oli)
        spot = numbered[:3]
        with pytest.raises(BandError, match="nothing says"):
            find_roles(spot, product="SPOT5_20070614_xs.img")
        assert find_roles(spot, product="SPOT5_x.img", explicit={"nir": "band 1"})["nir"] == 1
        # Numbers of a mission's own do not run with those of the file.
        own = [BandLabel(k, description=f"Band {n}") for k, n in enumerate((3, 4, 5), start=1)]
        assert find_roles(own, product=oli) == {"green": 1, "red": 2, "nir": 3}

    @pytest.mark.parametrize(
        "product",
        [
            "AST_L1T_00305052006104633_VNIR.tif",  # the fourth looks back
            "LT05_L1TP_196030_19950704_20200915_02_T1_2345.tif",
            "SPOT5_HRG2_J imagery.tif",
            "R2_LISS3_stack.tif",
            "IRS-P6_LISS-III.tif",
            "AWiFS_stack.tif",
        ],
    )
    def test_the_fourth_of_some_missions_is_something_else(self, product: str) -> None:
        labels = [BandLabel(k) for k in range(1, 5)]
        with pytest.raises(BandError, match="nothing says"):
            find_roles(labels, product=product, dtype="uint8")
        for another in ("s2a_rgbn_8bit.tif", "lisse_rgbn.tif"):  # a town
            assert find_roles(labels, product=another, dtype="uint8") == {"nir": 4}

    @pytest.mark.parametrize(
        ("stem", "said"),
        [
            ("T30SVG_20200604T105031_WVP_10m", "WVP"),
            ("T30SVG_20200604T105031_AOT_10m", "AOT"),
            ("HLS.S30.T30SVG.2020156T105031.v2.0.Fmask", "Fmask"),
            ("HLS.S30.T30SVG.2020156T105031.v2.0.SZA", "SZA"),
            ("LC08_L2SP_196030_20210704_20210713_02_T1_ST_EMIS", "ST_EMIS"),
            ("field_index_ndvi", "ndvi"),
            ("DJI_20230604_0015_MS_RE", "MS_RE"),
            ("IMG_170604_RED", "RED"),
            ("field_transparent_reflectance_red edge", "reflectance_red edge"),
            ("CBERS_4_MUX_20200505_155_121_L4_BAND5", "blue"),
            ("LC80170362013109LGN01_B4", "red"),
        ],
    )
    def test_what_a_single_band_can_not_be(self, stem: str, said: str) -> None:
        with pytest.warns(BandWarning, match=re.escape(f"label says {said}")):
            assert find_roles([BandLabel(1, file_stem=stem)], product=stem) == {"nir": 1}

    @pytest.mark.parametrize(
        "stem",
        [
            "DJI_20230604_0015_MS_NIR",
            "IMG_170604_NIR",
            "CBERS_4_MUX_20200505_155_121_L4_BAND8",
            "LC80170362013109LGN01_B5",
            "st_louis_nir",
            "field_reflectance_nir",
        ],
    )
    def test_what_a_single_band_can_be(self, stem: str) -> None:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            assert find_roles([BandLabel(1, file_stem=stem)], product=stem) == {"nir": 1}

    def test_a_band_8_whose_common_name_is_another_is_no_guess(self) -> None:
        labels = [
            BandLabel(1, description="B04", common_name="red"),
            BandLabel(2, description="B08", common_name="pan"),
        ]
        with pytest.raises(BandError, match="nothing says"):
            find_roles(labels)


class TestUnlabelled:
    def test_a_single_band_is_near_infrared(self) -> None:
        assert find_roles([BandLabel(1)]) == {"nir": 1}
        assert find_roles(described("something"), dtype="uint16") == {"nir": 1}

    @pytest.mark.parametrize(
        ("label", "product", "said"),
        [
            (BandLabel(1, description="Red"), "", "says red;"),
            (BandLabel(1, common_name="swir16"), "", "says swir16;"),
            (BandLabel(1, colorinterp="green"), "", "says green;"),
            (BandLabel(3, file_stem="B04"), "B04.jp2", "says red, as Sentinel-2"),
            (
                BandLabel(1, file_stem="T32TQM_20220701T101611_B02_10m"),
                "T32TQM_20220701T101611_B02_10m",
                "says blue;",
            ),
            (BandLabel(1, description="SR_B4"), "LC08_L2SP_196030_20210704", "says red;"),
            (BandLabel(1, colorinterp="palette"), "", "says numbers of a palette;"),
        ],
    )
    def test_a_single_band_that_says_otherwise_is_warned_of(
        self, label: BandLabel, product: str, said: str
    ) -> None:
        with pytest.warns(BandWarning) as told:
            assert find_roles([label], product=product) == {"nir": label.number}
        (warning,) = told
        assert said in str(warning.message)
        assert label.describe() in str(warning.message)
        assert f"--nir {label.number}" in str(warning.message)

    @pytest.mark.parametrize(
        ("label", "product", "explicit"),
        [
            (BandLabel(1, description="red"), "", {"nir": "1"}),
            (BandLabel(1, description="nir"), "", {}),
            (BandLabel(1, description="something"), "", {}),
            (BandLabel(1, file_stem="B08"), "B08.jp2", {}),
            (BandLabel(1, file_stem="B4"), "B4.tif", {}),  # Landsat 7's near infrared, for example
            (BandLabel(1, file_stem="B04"), "LT05_L1TP_B04", {}),
            (BandLabel(1, description="SR_B4"), "LE07_L2SP_196030_20030704", {}),
        ],
    )
    def test_nothing_is_said_about_other_single_bands(
        self, label: BandLabel, product: str, explicit: dict[str, str]
    ) -> None:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            assert find_roles([label], product=product, explicit=explicit) == {"nir": 1}

    def test_the_fourth_of_four_8_bit_bands(self) -> None:
        interpretations = ("red", "green", "blue", "alpha")
        labels = [BandLabel(k, colorinterp=c) for k, c in enumerate(interpretations, 1)]
        assert find_roles(labels, dtype="uint8") == {"nir": 4}

    def test_the_fourth_band_is_not_both_red_and_near_infrared(self) -> None:
        with pytest.raises(BandError, match="nothing says"):
            find_roles([BandLabel(k) for k in range(1, 5)], dtype="uint8", explicit={"red": "4"})

    def test_four_16_bit_bands_are_listed_and_refused(self) -> None:
        interpretations = ("gray", "undefined", "undefined", "alpha")
        labels = [BandLabel(k, colorinterp=c) for k, c in enumerate(interpretations, 1)]
        with pytest.raises(BandError) as caught:
            find_roles(labels, dtype="uint16")
        message = str(caught.value)
        assert "--nir NUMBER or NAME" in message
        assert message.endswith("Bands: 1; 2; 3; 4: [alpha]")

    def test_of_an_array_messages_name_no_option(self) -> None:
        with pytest.raises(BandError, match="rename the band or variable to nir") as caught:
            find_roles(described("thermal", "pan"), in_array=True)
        assert "--nir" not in str(caught.value)
        with pytest.warns(BandWarning, match="rename it to nir") as told:
            find_roles(described("red"), in_array=True)
        assert "--nir" not in str(told[0].message)

    def test_four_8_bit_bands_with_foreign_labels_are_refused(self) -> None:
        labels = described("thermal", "pan", "depth", "height")
        with pytest.raises(BandError, match="1: thermal; 2: pan; 3: depth; 4: height"):
            find_roles(labels, dtype="uint8")

    def test_the_only_band_beside_an_alpha_band(self) -> None:
        labels = [BandLabel(1, colorinterp="gray"), BandLabel(2, colorinterp="alpha")]
        assert find_roles(labels, dtype="uint8") == {"nir": 1}
        with pytest.raises(BandError, match="nothing says"):
            find_roles([BandLabel(1), BandLabel(2), BandLabel(3, colorinterp="alpha")])
        assert find_roles(labels[1:]) == {"nir": 2}  # where there is nothing else
        kinds = ("red", "green", "blue", "alpha")
        picture = [BandLabel(k, colorinterp=kind) for k, kind in enumerate(kinds, start=1)]
        with pytest.raises(BandError, match="nothing says"):
            find_roles(picture, dtype="uint16", explicit={"red": "1", "green": "2"})

    @pytest.mark.parametrize("count", [2, 3, 5, 12])
    def test_other_numbers_of_bands_are_refused(self, count: int) -> None:
        with pytest.raises(BandError, match=f"; {count}$"):
            find_roles([BandLabel(k) for k in range(1, count + 1)], dtype="uint8")


class TestExplicit:
    def test_number(self) -> None:
        labels = described("x", "y", "z")
        assert find_roles(labels, explicit={"nir": "2"}) == {"nir": 2}
        assert find_roles(labels, explicit={"nir": " 03 ", "red": "1"}) == {"nir": 3, "red": 1}

    def test_name_in_any_case(self) -> None:
        labels = [BandLabel(1, description="Pan"), BandLabel(2, common_name="swir16")]
        assert find_roles(labels, explicit={"nir": "PAN"}) == {"nir": 1}
        assert find_roles(labels, explicit={"nir": "SWIR16"}) == {"nir": 2}

    def test_explicit_beats_every_label(self) -> None:
        labels = described("red", "green", "blue", "nir")
        assert find_roles(labels, explicit={"nir": "3"})["nir"] == 3

    def test_a_band_given_to_one_role_is_not_found_for_another(self) -> None:
        # The user knows that "red" is mislabelled; it can't be red and near infrared at once.
        labels = described("red", "green")
        assert find_roles(labels, explicit={"nir": "1"}) == {"nir": 1, "green": 2}

    @pytest.mark.parametrize("wanted", ["0", "4", "99"])
    def test_wrong_number(self, wanted: str) -> None:
        with pytest.raises(BandError) as caught:
            find_roles(described("a", "b", "c"), explicit={"nir": wanted})
        message = str(caught.value)
        assert f"--nir {wanted}" in message
        assert "bands 1 to 3" in message
        assert message.endswith("Bands: 1: a; 2: b; 3: c")

    @pytest.mark.parametrize("wanted", ["infrared", "-1", "1.0", "", " ", "²"])
    def test_wrong_name(self, wanted: str) -> None:
        labels = [BandLabel(1, description="a"), BandLabel(2, colorinterp="alpha")]
        with pytest.raises(BandError) as caught:
            find_roles(labels, explicit={"red": wanted, "nir": "1"})
        message = str(caught.value)
        assert f"--red {wanted.strip()!r}" in message
        assert message.endswith("Bands: 1: a; 2: [alpha]")

    def test_the_number_of_a_band_wins_over_its_name(self) -> None:
        assert find_roles(described("2", "1"), explicit={"nir": "1"}) == {"nir": 1}

    def test_an_explicit_role_of_a_single_band_is_kept(self) -> None:
        assert find_roles(described("x"), explicit={"nir": "x"}) == {"nir": 1}


@pytest.mark.parametrize(
    ("label", "text"),
    [
        (BandLabel(1), "1"),
        (BandLabel(2, description="B8"), "2: B8"),
        (BandLabel(3, common_name="nir"), "3: nir"),
        (BandLabel(4, colorinterp="alpha"), "4: [alpha]"),
        (BandLabel(5, description="B8", colorinterp="gray", file_stem="x"), "5: B8"),
        (BandLabel(6, file_stem="T32_B08", colorinterp="undefined"), "6: T32_B08"),
    ],
)
def test_describe(label: BandLabel, text: str) -> None:
    assert label.describe() == text


@pytest.mark.parametrize(
    ("product", "sensor"),
    [
        ("mss_1975 landsat_60m", None),
        ("a landsat_98", None),
        ("x landsat-8 y", "Landsat 8/9"),
        ("x landsat7 y", "Landsat 4–7"),
        # The file's own name comes before its folder's.
        ("LC08_L1TP_193023_20200101_20200823_02_T1 S2_and_L8", "Landsat 8/9"),
        ("T33UUU_20200101T100000_B08 landsat_8_and_more", "Sentinel-2"),
    ],
)
def test_the_mission_that_is_named_first(product: str, sensor: str | None) -> None:
    assert sensor_of(product) == sensor


@pytest.mark.parametrize(
    ("stem", "said"),
    [
        ("LC08_L2SP_193023_20200101_20200823_02_T1_ST_B10", "ST_B10"),
        ("LC08_L2SP_193023_20200101_20200823_02_T1_SR_B6", "B6 of Landsat 8/9"),
        ("LC08_L2SP_193023_20200101_20200823_02_T1_QA_PIXEL", "QA_PIXEL"),
        ("T33UUU_20200101T100000_B11_20m", "B11 of Sentinel-2"),
        ("T33UUU_20200101T100000_SCL_20m", "SCL"),
        ("AST_L1T_00301012020_ImageData2", "says red"),
    ],
)
def test_an_only_band_that_is_surely_another(stem: str, said: str) -> None:
    with pytest.warns(BandWarning, match=said):
        assert find_roles([BandLabel(1, file_stem=stem)], product=stem) == {"nir": 1}


@pytest.mark.parametrize(
    "stem",
    [
        "LC08_L2SP_193023_20200101_20200823_02_T1_SR_B5",
        "T33UUU_20200101T100000_B08_10m",
        "T33UUU_20200101T100000_B8A_20m",
        "AST_L1T_00301012020_ImageData3N",
        "scene",
    ],
)
def test_an_only_band_that_is_near_infrared_or_says_nothing(stem: str) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert find_roles([BandLabel(1, file_stem=stem)], product=stem) == {"nir": 1}


def test_what_is_left_beside_bands_that_were_named() -> None:
    labels = [BandLabel(k, file_stem=stem) for k, stem in enumerate("nrg", start=1)]
    assert find_roles(labels, explicit={"red": "2", "green": "3"})["nir"] == 1
    with pytest.raises(BandError):
        find_roles(labels, explicit={"red": "2"})
