"""Fit how Blue Marble's colours become the expected colours of a model's scenes.

    python tools/fit_tone_map.py NAME INDEX.csv FOLDER [LEVEL]

Every located place under FOLDER gives one equation: the log ratios of its mean colour against those
of Blue Marble there. A ridge regression is fitted, its error measured on places left out one by
one, and the result stored in ``tone_maps.json`` under NAME. Keep validation scenes out of FOLDER.
"""

from __future__ import annotations

import csv
import json
from collections import defaultdict
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from usage import arguments

from nirgeo import hints
from nirgeo.location_prior import ToneMap, look_up
from nirgeo.radiometry import from_working
from nirgeo.scene_lists import list_scenes
from nirgeo.training.data import load_scene
from nirgeo.training.presets import PRESETS

TARGET = Path(__file__).with_name("tone_maps.json")
RIDGE = 0.05


def place_colours(
    name: str, index: Path, folder: Path, levels: list[str]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Blue Marble's log ratios (places, 2) and the scenes' own (places, 2)."""
    quantity = PRESETS[name].quantity
    with open(index, newline="", encoding="utf-8") as lines:
        located = {
            (index.parent / row["file"]).resolve(): (float(row["lon"]), float(row["lat"]))
            for row in csv.DictReader(lines)
            if row["lon"] and row["lat"]
        }
    entries = [e for e in list_scenes([folder], index, levels) if e.path.resolve() in located]
    by_place = defaultdict(list)
    for entry in entries:
        scene = load_scene(entry, ("nir",), quantity)
        light = from_working(scene.colours, quantity)[:, scene.valid].mean(axis=1)
        place = located[entry.path.resolve()]
        by_place[entry.place].append((*place, *hints.log_ratios(light)))
    rows = np.array([np.mean(v, axis=0) for v in by_place.values()])
    ratios, land = look_up(rows[:, 0], rows[:, 1])
    on_land = land > 0
    print(f"{int(on_land.sum())} located places on land of {len(rows)}")
    return ratios.T[on_land], rows[on_land, 2:]


def fit(tones: NDArray[np.float64], colours: NDArray[np.float64]) -> NDArray[np.float64]:
    """Coefficients (3, 2): offset, then one row per Blue Marble ratio."""
    design = np.column_stack((np.ones(len(tones)), tones))
    penalty = np.diag([0.0, RIDGE, RIDGE])
    solution: NDArray[np.float64] = np.linalg.solve(design.T @ design + penalty, design.T @ colours)
    return solution


def main(name: str, index: str, folder: str, *levels: str) -> None:
    tones, colours = place_colours(name, Path(index), Path(folder), list(levels))
    errors = []
    for left_out in range(len(tones)):
        keep = np.arange(len(tones)) != left_out
        predicted = np.array([1.0, *tones[left_out]]) @ fit(tones[keep], colours[keep])
        errors.append(predicted - colours[left_out])
    error = np.sqrt(np.mean(np.square(errors), axis=0))
    spread = colours.std(axis=0)
    coefficients = fit(tones, colours)
    result = ToneMap.from_json(
        {
            "offset": coefficients[0].round(4).tolist(),
            "matrix": coefficients[1:].T.round(4).tolist(),
            "error": error.round(4).tolist(),
        }
    )
    stored = json.loads(TARGET.read_text()) if TARGET.exists() else {}
    stored[name] = result.to_json()
    TARGET.write_text(json.dumps(stored, indent=1, sort_keys=True) + "\n")
    print(f"error of log(R/G), log(B/G) at places left out: {error.round(3)}")
    print(f"their spread, which a constant would leave:     {spread.round(3)}")


if __name__ == "__main__":
    main(*arguments(__doc__))
