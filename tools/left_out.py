"""How many pixels lie within the interval of expected errors, on places left out of calibrating.

    python tools/left_out.py INDEX.csv FOLDER LEVEL MODEL...

FOLDER may be several, joined by '+'; LEVEL is - where there is none.

The expected errors that a model has are scaled by all places but one, and counted on that one, as
`nirgeo calibrate` does it: without a hint of the place's colours, and with one as wrong as a map of
the world. Data of a single place have scenes instead of places. What was found of each model is
kept in docs/results/left-out.json.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, cast

from usage import arguments

from nirgeo.generator import LocalAffineGenerator
from nirgeo.modelfile import Model
from nirgeo.networks import load_generator
from nirgeo.registry import load_model
from nirgeo.scene_lists import list_scenes
from nirgeo.training.data import load_scene
from nirgeo.training.error_head import calibrate

TARGET = Path(__file__).parents[1] / "docs" / "results" / "left-out.json"


def found(name: str, index: str, given: str, level: str) -> dict[str, Any]:
    model = load_model(name)
    assert isinstance(model, Model)
    spec = model.spec
    folders = [Path(folder) for folder in given.split("+")]
    entries = list_scenes(folders, Path(index), [] if level == "-" else [level])
    scenes = [load_scene(entry, spec.bands, spec.quantity) for entry in entries]
    by_scene = len({scene.place for scene in scenes}) == 1
    network = cast(LocalAffineGenerator, load_generator(model))
    calibration = calibrate(network, scenes, spec.quantity, by_scene=by_scene)
    facts = calibration.to_json()
    return {
        "model": spec.full_name,
        "folder": " and ".join("/".join(folder.parts[-2:]) for folder in folders),
        "level": level,
        "unit": calibration.unit,
        "count": facts["places"],
        "coverage": facts["coverage_left_out"],
        "range": facts["coverage_range"],
        "hinted": facts["coverage_hinted"],
    }


def _name(record: dict[str, Any]) -> str:
    """The model's, whatever its version: an older one is not in the package any more."""
    return str(record["model"]).partition("@")[0]


def main() -> None:
    index, folder, level, *names = arguments(__doc__)
    known = json.loads(TARGET.read_text(encoding="utf-8")) if TARGET.exists() else []
    for name in names:
        record = found(name, index, folder, level)
        print(json.dumps(record))
        known = [r for r in known if _name(r) != _name(record)] + [record]
    TARGET.write_text(json.dumps(known, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
