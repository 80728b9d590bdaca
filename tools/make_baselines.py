"""Fit the baselines that the package ships, and list them in their registry.

    python tools/make_baselines.py DATA

DATA holds ``aerial/train`` (display counts), ``satellite/train`` (reflectance) and ``index.csv``,
as the models were trained with. Takes about five minutes, most of it for the trees. The same data
and the same versions of numpy and scikit-learn give the same files.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from together import written_together
from usage import arguments

from nirgeo.baselines import BASELINES, save_baseline
from nirgeo.baselines.model import read_baseline_model
from nirgeo.baselines.storage import ORACLES, UNFITTED, Card
from nirgeo.evaluation.fitting import fit_baselines
from nirgeo.evaluation.scenes import find_scenes
from nirgeo.radiometry import Quantity
from nirgeo.scene_lists import SceneEntry

FOLDER = Path(__file__).parents[1] / "nirgeo" / "weights" / "baselines"
VERSION = 2
LICENCE = "MIT"


@dataclass(frozen=True)
class Source:
    """Where the samples of one quantity come from, and what a card says of them."""

    folder: str
    levels: tuple[str, ...]
    gsd: tuple[float, float]
    data: str
    attribution: str


SOURCES = {
    Quantity.COUNTS: Source(
        folder="aerial/train",
        levels=(),
        gsd=(0.3, 6.0),
        data=(
            "USDA NAIP, 8-bit display counts: 313 chips of 256x256 px at 0.6 m from four "
            "Californian cities, one or two years each, and seven dates of one North Dakota "
            "wetland at 5 m"
        ),
        attribution=(
            "Imagery: USDA National Agriculture Imagery Program, public domain; chips from "
            "naip-urban-trees (Ventura et al. 2024, CC BY 4.0)"
        ),
    ),
    Quantity.REFLECTANCE: Source(
        folder="satellite/train",
        levels=("boa",),
        gsd=(8.0, 100.0),
        data=(
            "Surface reflectance of Sentinel-2 (L2A), HLS and Landsat: 2,500 patches of 64x64 px "
            "all over Europe and about 50 further places in larger pieces"
        ),
        attribution=(
            "Contains modified Copernicus Sentinel data; Landsat imagery courtesy of the U.S. "
            "Geological Survey; HLS by NASA"
        ),
    ),
}


def make(data: Path) -> None:
    FOLDER.mkdir(exist_ok=True)
    scenes = {
        quantity: find_scenes([data / source.folder], data / "index.csv", source.levels)
        for quantity, source in SOURCES.items()
    }
    with written_together(FOLDER) as scratch:
        entries = [entry for quantity in SOURCES for entry in _fit(scratch, scenes, quantity)]
        entries.sort(key=lambda e: (e["name"], e["version"], e["quantity"]))
        text = json.dumps(entries, indent=1) + "\n"
        (scratch / "registry.json").write_text(text, encoding="utf-8")


def _fit(
    folder: Path, scenes: Mapping[Quantity, list[SceneEntry]], quantity: Quantity
) -> Iterator[dict[str, Any]]:
    """Write the baselines of one quantity; their entries in the registry."""
    names = [name for name in BASELINES if name not in ORACLES]
    source = SOURCES[quantity]
    learnt = Card(VERSION, source.gsd, source.data, LICENCE, source.attribution)
    nothing = Card(VERSION, licence=LICENCE)
    for baseline in fit_baselines(names, scenes[quantity], quantity):
        file = folder / f"{baseline.name}-{quantity.value}-{VERSION}.safetensors"
        save_baseline(file, baseline, nothing if baseline.name in UNFITTED else learnt)
        model = read_baseline_model(file)
        yield {
            "name": model.spec.name,
            "version": VERSION,
            "quantity": quantity.value,
            "file": file.name,
            "sha256": model.sha256,
        }
        print(f"{file.name}: {file.stat().st_size} bytes")


if __name__ == "__main__":
    make(Path(*arguments(__doc__)))
