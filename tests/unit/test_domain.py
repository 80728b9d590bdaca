"""What a model has seen, and scenes that are told apart from it."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from nirgeo.domain import (
    DARK_GROUND,
    BandDomain,
    domain_from_json,
    domain_to_json,
    measure_domain,
    remarks,
    veil,
)
from nirgeo.errors import ModelError
from nirgeo.radiometry import Quantity, to_working

SEEN = {"nir": BandDomain(0.05, 0.60, 0.15, 0.45)}


def tiles(values: Any, quantity: Quantity = Quantity.REFLECTANCE) -> list[Any]:
    array = np.asarray(values, dtype=np.float32).reshape(1, 1, -1)
    return [(to_working(array, quantity), np.ones(array.shape[1:], dtype=np.bool_))]


def test_places_weigh_alike_and_tails_are_cut() -> None:
    random = np.random.default_rng(0)
    bright = [{"nir": random.uniform(0.4, 0.5, 5000).astype(np.float32)} for _ in range(9)]
    dark = [{"nir": random.uniform(0.0, 0.1, 5000).astype(np.float32)}]
    domain = measure_domain(bright + dark, ["many"] * 9 + ["one"])
    # Nine scenes of one place weigh as much as one of the other, so the dark half counts fully.
    assert domain["nir"].low == pytest.approx(0.0, abs=0.001)
    assert domain["nir"].high == pytest.approx(0.5, abs=0.001)
    assert domain["nir"].median_low == pytest.approx(0.05, abs=0.005)
    assert domain["nir"].median_high == pytest.approx(0.45, abs=0.005)


def test_one_freak_pixel_does_not_widen_the_range() -> None:
    values = np.full(100_000, 0.3, dtype=np.float32)
    values[:5] = 1.4
    domain = measure_domain([{"nir": values}], ["here"])
    assert domain["nir"].high == pytest.approx(0.3)


def test_a_scene_like_the_training_is_not_remarked_on() -> None:
    usual = np.linspace(0.06, 0.59, 500)
    assert remarks(SEEN, ["nir"], Quantity.REFLECTANCE, tiles(usual)) == []


def test_values_never_seen_are_named_with_their_share() -> None:
    snow = np.concatenate((np.full(250, 0.9), np.full(750, 0.3)))
    (said,) = remarks(SEEN, ["nir"], Quantity.REFLECTANCE, tiles(snow))
    assert (
        said == "25% of the near infrared lies outside the reflectance 0.050–0.600 "
        "that the model has seen"
    )


@pytest.mark.parametrize(("value", "word"), [(0.10, "darker"), (0.55, "brighter")])
def test_an_unusual_median_is_named(value: float, word: str) -> None:
    (said,) = remarks(SEEN, ["nir"], Quantity.REFLECTANCE, tiles(np.full(100, value)))
    assert word in said
    assert f"median reflectance {value:.3f}" in said


def test_counts_are_told_in_counts() -> None:
    seen = {"nir": BandDomain(20.0, 200.0, 60.0, 150.0)}
    (said,) = remarks(seen, ["nir"], Quantity.COUNTS, tiles(np.full(64, 250.0), Quantity.COUNTS))
    assert "100% of the near infrared lies outside the counts 20–200" in said


def test_masked_pixels_and_unknown_bands_say_nothing() -> None:
    values, valid = tiles(np.full(100, 2.0))[0]
    assert remarks(SEEN, ["nir"], Quantity.REFLECTANCE, [(values, ~valid)]) == []
    assert remarks({}, ["nir"], Quantity.REFLECTANCE, [(values, valid)]) == []
    assert remarks(SEEN, ["nir"], Quantity.REFLECTANCE, []) == []


def test_shadows_that_are_bright_tell_of_air() -> None:
    seen = {"green": BandDomain(0.01, 0.60, 0.03, 0.45, dark_high=0.07)}
    surface = np.linspace(0.05, 0.2, 500)
    assert remarks(seen, ["green"], Quantity.REFLECTANCE, tiles(surface)) == []
    (said,) = remarks(seen, ["green"], Quantity.REFLECTANCE, tiles(surface + 0.05))
    assert said.startswith("even the darkest green of the scene is bright (reflectance 0.103; up")
    assert "0.070 in 97.5% of the scenes" in said
    # Other bands, and models whose file does not tell, say nothing of it.
    nir = {"nir": seen["green"]}
    assert remarks(nir, ["nir"], Quantity.REFLECTANCE, tiles(surface + 0.05)) == []
    silent = {"green": BandDomain(0.01, 0.60, 0.03, 0.45)}
    assert remarks(silent, ["green"], Quantity.REFLECTANCE, tiles(surface + 0.05)) == []


def test_the_air_of_a_scene_is_what_its_darkest_green_has_too_much() -> None:
    seen = {"green": BandDomain(0.01, 0.60, 0.03, 0.45, dark_high=0.07)}
    both = seen | {"nir": seen["green"]}
    surface = np.linspace(0.05, 0.2, 500)

    def air(values: Any, domain: dict[str, BandDomain], bands: list[str]) -> float:
        (working, valid), *_ = tiles(values)
        stacked = [(np.repeat(working, len(bands), axis=0), valid)]
        return veil(domain, bands, Quantity.REFLECTANCE, stacked)

    assert air(surface, seen, ["green"]) == 0
    found = air(surface + 0.05, both, ["nir", "green"])
    assert found == pytest.approx(np.quantile(surface + 0.05, 0.02) - DARK_GROUND, abs=1e-5)
    # A bright desert is bright ground, near infrared tells nothing of blue, counts are no light.
    assert air(surface + 0.4, seen, ["green"]) == 0
    assert air(surface + 0.05, both, ["nir"]) == 0
    assert veil(seen, ["green"], Quantity.REFLECTANCE, []) == 0
    counts = tiles(surface + 0.05, Quantity.COUNTS)
    assert veil(seen, ["green"], Quantity.COUNTS, counts) == 0


def test_the_darkest_of_nearly_all_scenes_is_measured() -> None:
    values = np.linspace(0, 0.5, 2001).astype(np.float32)
    scenes = [{"green": values + np.float32(k / 1000)} for k in range(100)]
    domain = measure_domain(scenes, [str(k) for k in range(100)])
    # Two hundredths into the scene that 97.5% of the scenes are no brighter than.
    assert domain["green"].dark_high == pytest.approx(0.01 + 0.097, abs=0.0015)


@pytest.mark.parametrize(
    "domain", [SEEN, {"green": BandDomain(0.05, 0.60, 0.15, 0.45, dark_high=0.07)}]
)
def test_json_and_back(domain: dict[str, BandDomain]) -> None:
    assert domain_from_json(domain_to_json(domain)) == domain


@pytest.mark.parametrize(
    "damage",
    [
        {"nir": 5},
        {"nir": {}},
        {"nir": {"low": 0.1}},
        {"nir": {"low": "a", "high": 1, "median_low": 0, "median_high": 1}},
        {"nir": {"low": float("nan"), "high": 1, "median_low": 0, "median_high": 1}},
        {"nir": {"low": 1, "high": 0, "median_low": 0, "median_high": 1}},
        {"nir": {"low": 0, "high": 1, "median_low": 0, "median_high": 1, "more": 2}},
    ],
)
def test_damaged_domains_are_refused(damage: dict[str, Any]) -> None:
    with pytest.raises(ModelError, match="training domain"):
        domain_from_json(damage)


@pytest.mark.parametrize("numbers", [(0.1, 0.5, 0.4, 0.3), (0.5, 0.5, 0.1, 0.2)])
def test_numbers_out_of_order_are_damage(numbers: tuple[float, ...]) -> None:
    names = ("low", "high", "median_low", "median_high")
    with pytest.raises(ModelError, match="damaged training domain of 'nir'"):
        domain_from_json({"nir": dict(zip(names, numbers, strict=True))})


def test_a_place_of_many_scenes_weighs_no_more_than_one_of_one_scene() -> None:
    many = [{"nir": np.full(50, 0.1, dtype=np.float32)}] * 99
    one = [{"nir": np.full(50, 0.5, dtype=np.float32)}]
    assert measure_domain(many + one, ["a"] * 99 + ["b"])["nir"].dark_high == pytest.approx(0.5)


def test_a_range_from_next_to_nothing_begins_with_no_0() -> None:
    domain = {"nir": BandDomain(0.0003, 0.5, 0.1, 0.3)}
    (said,) = remarks(domain, ["nir"], Quantity.REFLECTANCE, tiles(np.full(100, 0.0)))
    assert "100% of the near infrared lies outside the reflectance 0.0003–0.500" in said
