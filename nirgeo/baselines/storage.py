"""A saved baseline: one safetensors file with its arrays, its name and its quantity.

Like a model file it is data: nothing in it is executed, and it names one of the classes below.
"""

from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from nirgeo.baselines.grey import GreyCopy
from nirgeo.baselines.histogram import HistogramMatch
from nirgeo.baselines.interface import Baseline
from nirgeo.baselines.lookup import MeanColourTable, MeanDirectionTable
from nirgeo.baselines.mean_colour import MeanColour
from nirgeo.baselines.missing_blue import LinearBlue, SpotNatural, TerraLook
from nirgeo.baselines.oracle import ColourOracle, DirectionOracle
from nirgeo.baselines.polynomial import CubicPolynomial
from nirgeo.baselines.trees import BoostedTrees
from nirgeo.baselines.welsh import WelshTransfer
from nirgeo.errors import ModelError
from nirgeo.radiometry import Quantity

FORMAT = 1
METADATA_KEY = "nirgeo-baseline"

_CLASSES: tuple[type[Baseline], ...] = (
    GreyCopy,
    MeanColour,
    CubicPolynomial,
    MeanColourTable,
    MeanDirectionTable,
    HistogramMatch,
    BoostedTrees,
    WelshTransfer,
    LinearBlue,
    TerraLook,
    SpotNatural,
    ColourOracle,
    DirectionOracle,
)
BASELINES: dict[str, type[Baseline]] = {kind.name: kind for kind in _CLASSES}
"""Every baseline by its name, from the simplest to the oracles."""


def save_baseline(path: str | os.PathLike[str], baseline: Baseline) -> None:
    """Write a fitted baseline; the file appears under its name only when it is whole."""
    target = Path(path)
    partial = target.with_name(target.name + ".part")
    facts = {"format": FORMAT, "name": baseline.name, "quantity": baseline.quantity.value}
    arrays = {key: np.ascontiguousarray(value) for key, value in sorted(baseline.arrays().items())}
    save_file(arrays, partial, metadata={METADATA_KEY: json.dumps(facts, sort_keys=True)})
    os.replace(partial, target)


def load_baseline(path: str | os.PathLike[str]) -> Baseline:
    """Read a baseline that :func:`save_baseline` wrote.

    Raises
    ------
    ModelError : not a saved baseline, of a newer format, or damaged
    """
    name = os.fspath(path)
    try:
        with safe_open(name, framework="numpy") as file:
            text = (file.metadata() or {}).get(METADATA_KEY)
            if text is None:
                raise ModelError(f"{name}: not a saved baseline (no {METADATA_KEY!r} metadata)")
            facts = json.loads(text)
            if facts["format"] != FORMAT:
                raise ModelError(f"{name}: format {facts['format']!r} is not {FORMAT}; update")
            kind, quantity = BASELINES[facts["name"]], Quantity(facts["quantity"])
            arrays = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
    except (SafetensorError, OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        if isinstance(error, ModelError):
            raise
        raise ModelError(f"{name}: not a readable baseline ({error!r})") from error
    return kind.from_arrays(arrays, quantity)
