"""What a scene's near infrared as a whole tells of its colour, beyond what the network sees.

    python tools/scene_statistics.py MODEL INDEX.csv TRAINING VALIDATION [LEVEL]

A network could be told of every scene how bright, how varied and how coarse it is (conditioning on
statistics of the scene). Before one is trained so, a forest learns from such statistics by how much
the mean colour of a scene differs from what MODEL makes of it without a hint. If the forest is no
better on places that it has not seen, the network would not be either. The errors, root mean
squares over places of log(R/G) and log(B/G), are kept in docs/results/scene-statistics.json.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.ensemble import ExtraTreesRegressor
from sklearn.model_selection import GroupKFold
from usage import arguments

from nirgeo import hints
from nirgeo.modelfile import Model
from nirgeo.networks import load_generator
from nirgeo.radiometry import Quantity, from_working
from nirgeo.registry import load_model
from nirgeo.scene_lists import list_scenes
from nirgeo.training.data import load_scene
from nirgeo.training.validation import predict_scene

TARGET = Path(__file__).parents[1] / "docs" / "results" / "scene-statistics.json"

FEWEST = 500
"""Valid pixels that a scene must have, to have statistics."""

_PERCENTILES = (1, 5, 10, 25, 50, 75, 90, 95, 99)
_SCALES = 5
_FOLDS = 4

Doubles = NDArray[np.float64]


class Scenes(NamedTuple):
    """What is known of S scenes."""

    places: NDArray[np.str_]
    statistics: Doubles
    """(S, features)"""
    true: Doubles
    """(S, 2), log ratios of the mean colour."""
    made: Doubles
    """(S, 2), of what the network makes without a hint."""


def statistics(nir: NDArray[np.float32], valid: NDArray[np.bool_]) -> list[float]:
    """Of near infrared (H, W): its distribution, and steps and spread at five resolutions."""
    values = nir[valid].astype(np.float64)
    found = [*np.percentile(values, _PERCENTILES), values.mean(), values.std()]
    plane = np.where(valid, nir, values.mean()).astype(np.float64)
    for _ in range(_SCALES):
        found += [np.abs(np.diff(plane, axis=axis)).mean() for axis in (0, 1)]
        found.append(plane.std())
        plane = plane[: plane.shape[0] // 2 * 2, : plane.shape[1] // 2 * 2]
        plane = (plane[::2, ::2] + plane[1::2, ::2] + plane[::2, 1::2] + plane[1::2, 1::2]) / 4
    return [float(value) for value in found]


def read(model: Model, folder: Path, index: Path, levels: list[str]) -> Scenes:
    network, quantity = load_generator(model).eval(), model.spec.quantity
    unit = np.float32(1 if quantity is Quantity.REFLECTANCE else 255)
    rows: list[tuple[Any, ...]] = []
    for entry in list_scenes([folder], index, levels):
        scene = load_scene(entry, ("nir",), quantity)
        if scene.valid.sum() < FEWEST or min(scene.shape) < 2 ** (_SCALES + 1):
            continue
        made = np.clip(predict_scene(network, scene, torch.device("cpu")), 0, None)
        light = [from_working(part, quantity) / unit for part in (scene.colours, made)]
        true, found = (hints.log_ratios(part[:, scene.valid].mean(axis=1)) for part in light)
        nir = from_working(scene.inputs, quantity)[0] / unit
        rows.append((scene.place, statistics(nir, scene.valid), true, found))
    return Scenes(*(np.array(column) for column in zip(*rows, strict=True)))


def weights(places: NDArray[np.str_]) -> Doubles:
    """One for each place, shared among its scenes."""
    _, number, count = np.unique(places, return_inverse=True, return_counts=True)
    shares: Doubles = 1 / count[number]
    return shares


def learnt(scenes: Scenes, others: Scenes) -> Doubles:
    """What a forest that has learnt from ``scenes`` adds to the colours of ``others``."""
    forest = ExtraTreesRegressor(
        400, min_samples_leaf=4, max_features=0.4, random_state=0, n_jobs=-1
    )
    missing = scenes.true - scenes.made
    forest.fit(scenes.statistics, missing, sample_weight=weights(scenes.places))
    added: Doubles = forest.predict(others.statistics)
    return added


def some(scenes: Scenes, which: NDArray[Any]) -> Scenes:
    return Scenes(*(part[which] for part in scenes))


def error(scenes: Scenes, colours: Doubles) -> list[float]:
    """Root mean square over places of both ratios."""
    share = weights(scenes.places)[:, None]
    squares = (share * np.square(colours - scenes.true)).sum(axis=0) / share.sum()
    return [round(float(value), 3) for value in np.sqrt(squares)]


def compared(name: str, scenes: Scenes, added: Doubles, constant: Doubles) -> dict[str, Any]:
    row = {
        "scenes": name,
        "places": len(np.unique(scenes.places)),
        "constant": error(scenes, np.broadcast_to(constant, scenes.true.shape)),
        "network": error(scenes, scenes.made),
        "statistics": error(scenes, scenes.made + added),
    }
    print(json.dumps(row))
    return row


def main(name: str, index: str, training: str, validation: str, *levels: str) -> None:
    model = load_model(name)
    assert isinstance(model, Model)
    learn, judge = (read(model, Path(f), Path(index), list(levels)) for f in (training, validation))
    constant = np.average(learn.true, axis=0, weights=weights(learn.places))
    left_out = np.zeros_like(learn.true)
    for kept, out in GroupKFold(_FOLDS).split(learn.statistics, groups=learn.places):
        left_out[out] = learnt(some(learn, kept), some(learn, out))
    # EuroSAT's patches are places of their own: most of them, and all of one kind.
    patches = np.char.startswith(learn.places, "eurosat")
    rows = [
        compared(label, some(learn, which), left_out[which], constant)
        for label, which in (("EuroSAT's patches", patches), ("other training places", ~patches))
        if which.any()
    ]
    rows.append(compared("validation places", judge, learnt(learn, judge), constant))
    kept = json.loads(TARGET.read_text()) if TARGET.exists() else {}
    kept[model.spec.full_name] = rows
    TARGET.write_text(json.dumps(kept, indent=1, sort_keys=True) + "\n")


if __name__ == "__main__":
    main(*arguments(__doc__))
