"""Which pixels are learnt from and which are scored.

``image``
    Five folds over whole images: nothing of an image that is scored was seen in training.
``leaky``
    The paper's: patches of 64 px are cropped from all images, overlapping as densely as the paper's
    number of patches implies, and split at random. Nearly every patch that is scored overlaps one
    that was learnt from. For comparison with the paper only.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from pathlib import Path

import numpy as np

from nirgeo.errors import EvaluationError, TrainingError
from nirgeo.radiometry import Quantity
from nirgeo.scene_lists import list_scenes
from nirgeo.tiling import TILE
from nirgeo.training.data import TrainingScene, load_scene

FOLDS = 5

LEAKY_DENSITY = 8.3
"""Patches per disjoint tile: 77,000 patches of 58 pairs of 1024×680 px (Suárez et al. 2017)."""

LEAKY_SCORED = 12_800 / 77_000
"""Share of the patches that the paper does not train on."""

MAX_SCORED_PATCHES = 2000
"""Patches scored under the leaky protocol, drawn from those not trained on."""

_SPLIT_SEED = 2017


class Protocol(StrEnum):
    IMAGE = "image"
    LEAKY = "leaky"


@dataclass(frozen=True)
class Split:
    """``training`` to learn from; ``scored`` by name of what is scored: images or patches."""

    training: Sequence[TrainingScene]
    scored: Sequence[TrainingScene]


def category(name: str) -> str:
    """``"urban"`` for ``"urban_0003"``."""
    return name.rpartition("_")[0]


def read_images(folder: Path, categories: Sequence[str] = ()) -> list[TrainingScene]:
    """The pairs under ``folder``, named CATEGORY_NUMBER, each a place of its own, sorted by name.

    Bands must be described as red, green, blue and nir; 8-bit.

    Raises
    ------
    EvaluationError : too few images of these categories, or one can't be read
    """
    try:
        entries = list_scenes([folder])
        wanted = [e for e in entries if not categories or category(e.path.stem) in categories]
        scenes = [
            replace(load_scene(entry, ("nir",), Quantity.COUNTS), place=entry.path.stem, origin="")
            for entry in wanted
        ]
    except TrainingError as error:
        raise EvaluationError(str(error)) from error
    if len(scenes) < FOLDS:
        found = sorted({category(e.path.stem) for e in entries})
        raise EvaluationError(
            f"{folder} holds {len(scenes)} images of {', '.join(categories) or 'any category'}, "
            f"need at least {FOLDS}; categories there: {', '.join(found)}"
        )
    return sorted(scenes, key=lambda scene: scene.name)


def fold_of(names: Sequence[str]) -> dict[str, int]:
    """The fold of every image: dealt out category by category, in an order that is fixed for ever.

    An image's fold does not depend on which other categories take part.
    """
    folds: dict[str, int] = {}
    for kind in sorted({category(name) for name in names}):
        members = sorted(name for name in names if category(name) == kind)
        # A start that differs by category, so that small ones do not all end in the same folds.
        seed = (_SPLIT_SEED, *kind.encode())
        order = np.random.default_rng(seed).permutation(len(members))
        first = int(np.random.default_rng(seed).integers(FOLDS))
        for position, index in enumerate(order):
            folds[members[index]] = (first + position) % FOLDS
    return folds


def image_split(images: Sequence[TrainingScene], fold: int, learn_from: int | None = None) -> Split:
    """Fold ``fold`` is scored; learnt from are the other four, or ``learn_from`` images of them.

    Which these are is drawn once: fewer are a part of more.

    Raises
    ------
    EvaluationError : no such fold, or not as many images
    """
    if not 0 <= fold < FOLDS:
        raise EvaluationError(f"--fold {fold}: folds are numbered 0 to {FOLDS - 1}")
    folds = fold_of([image.name for image in images])
    others = [image for image in images if folds[image.name] != fold]
    scored = [image for image in images if folds[image.name] == fold]
    if learn_from is not None:
        if not 1 <= learn_from <= len(others):
            raise EvaluationError(
                f"--learn-from {learn_from}: the other folds hold {len(others)} images"
            )
        order = np.random.default_rng((_SPLIT_SEED, fold)).permutation(len(others))
        others = [others[k] for k in sorted(order[:learn_from])]
    return Split(others, scored)


def leaky_split(images: Sequence[TrainingScene], fold: int) -> Split:
    """Random patches of all images, split at random; ``fold`` is the seed of both."""
    rng = np.random.default_rng((_SPLIT_SEED, fold))
    training: list[TrainingScene] = []
    scored: list[TrainingScene] = []
    for image in images:
        height, width = image.shape
        count = round(LEAKY_DENSITY * (height // TILE) * (width // TILE))
        rows = rng.integers(height - TILE + 1, size=count)
        cols = rng.integers(width - TILE + 1, size=count)
        apart = rng.random(count) < LEAKY_SCORED
        for row, col, held in zip(rows, cols, apart, strict=True):
            (scored if held else training).append(_patch(image, int(row), int(col)))
    kept = rng.permutation(len(scored))[:MAX_SCORED_PATCHES]
    return Split(training, [scored[k] for k in sorted(kept)])


def _patch(image: TrainingScene, row: int, col: int) -> TrainingScene:
    """A view into an image; its place stays the image, so that images are drawn alike."""
    window = (slice(None), slice(row, row + TILE), slice(col, col + TILE))
    return TrainingScene(
        f"{image.name}_{row}_{col}",
        image.place,
        image.inputs[window],
        image.colours[window],
        image.valid[window[1:]],
    )
