"""A saved baseline: one safetensors file with its arrays, its name, its quantity and a card.

Like a model file it is data: nothing in it is executed, and it names one of the classes below.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import save

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
from nirgeo.plaintext import is_plain
from nirgeo.radiometry import Quantity
from nirgeo.tensorfile import open_tensors
from nirgeo.whole_file import written_whole

FORMAT = 1
METADATA_KEY = "nirgeo-baseline"
MAX_BYTES = 64 * 2**20
MAX_TEXT = 4000
"""Characters of each text of a card."""

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


BASELINE_PREFIX = "baseline/"
"""Names of baselines start with it wherever models are named too."""

ORACLES = frozenset(kind.name for kind in _CLASSES if kind.sees_truth)
"""Baselines that are shown the truth of the scene, so there is nothing to colorize with them."""

UNFITTED = frozenset(kind.name for kind in _CLASSES if not kind.learns)
"""Baselines that learn nothing from other scenes; oracles are among them."""


@dataclass(frozen=True)
class Card:
    """What a file says of a baseline beside what it learned.

    ``version`` is None for one that nobody released; ``gsd`` is the range of ground sampling
    distances in metres it was fitted at, None if it is not known or does not matter.
    """

    version: int | None = None
    gsd: tuple[float, float] | None = None
    data: str = ""
    licence: str = ""
    attribution: str = ""

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Card:
        """Inverse of ``asdict``; a field that is missing has its default.

        Raises
        ------
        ValueError, TypeError, IndexError : a field can't be what it should be
        """
        version, gsd = data.get("version"), data.get("gsd")
        card = cls(
            version=None if version is None else int(version),
            gsd=None if gsd is None else (float(gsd[0]), float(gsd[1])),
            **{key: str(data.get(key, "")) for key in ("data", "licence", "attribution")},
        )
        if card.gsd is not None and not 0 < card.gsd[0] <= card.gsd[1] < float("inf"):
            raise ValueError(f"{card.gsd} is no range of pixel sizes in metres")
        for text in (card.data, card.licence, card.attribution):
            if len(text) > MAX_TEXT or not is_plain(text):
                raise ValueError(f"{text[:40]!r} is too long, or can't be printed")
        return card


def serialise(baseline: Baseline, card: Card | None = None) -> bytes:
    """A baseline and its card as the bytes of a file; equal ones make equal bytes."""
    facts: dict[str, Any] = {
        "format": FORMAT,
        "name": baseline.name,
        "quantity": baseline.quantity.value,
    }
    if card is not None:
        facts["card"] = asdict(card)
    arrays = {key: np.ascontiguousarray(value) for key, value in sorted(baseline.arrays().items())}
    return save(arrays, metadata={METADATA_KEY: json.dumps(facts, sort_keys=True)})


def save_baseline(
    path: str | os.PathLike[str], baseline: Baseline, card: Card | None = None
) -> None:
    """Write a fitted baseline; the file appears under its name only when it is whole."""
    content = serialise(baseline, card)
    with written_whole(Path(path)) as partial:
        partial.write_bytes(content)


def load_baseline(path: str | os.PathLike[str]) -> Baseline:
    """Read a baseline that :func:`save_baseline` wrote.

    Raises
    ------
    ModelError : not a saved baseline, of a newer format, or damaged
    """
    return load_with_card(path)[0]


def load_with_card(path: str | os.PathLike[str]) -> tuple[Baseline, Card]:
    """A saved baseline and its card.

    Raises
    ------
    ModelError : see :func:`load_baseline`
    """
    name = os.fspath(path)
    try:
        with open_tensors(name, max_bytes=MAX_BYTES) as file:
            text = (file.metadata() or {}).get(METADATA_KEY)
            if text is None:
                raise ModelError(f"{name}: not a saved baseline (no {METADATA_KEY!r} metadata)")
            facts = json.loads(text)
            if facts["format"] != FORMAT:
                raise ModelError(f"{name}: format {facts['format']!r} is not {FORMAT}; update")
            kind, quantity = BASELINES[facts["name"]], Quantity(facts["quantity"])
            card = Card.from_json(facts.get("card", {}))
            arrays = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
        return kind.from_arrays(arrays, quantity), card
    except ModelError as error:
        raise error if name in str(error) else ModelError(f"{name}: {error}") from error
    except (
        SafetensorError,
        OSError,
        ValueError,
        KeyError,
        TypeError,
        IndexError,
        AttributeError,
        OverflowError,
        RecursionError,
    ) as error:
        raise ModelError(f"{name}: not a readable baseline ({error!r})") from error


def is_baseline_file(path: str | os.PathLike[str]) -> bool:
    """Whether a file says that it is a saved baseline; it may be damaged all the same."""
    try:
        with open_tensors(path) as file:
            return METADATA_KEY in (file.metadata() or {})
    except (SafetensorError, OSError):
        return False
