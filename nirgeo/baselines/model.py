"""A baseline as a model: what ``nirgeo colorize --model baseline/NAME`` runs.

The pipeline around it is that of the networks. What it lacks is a device and a colour hint; what
it may have instead is a survey of the scene.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import TYPE_CHECKING, Any, ClassVar, Self

import numpy as np

from nirgeo.bands import COLOURS
from nirgeo.baselines.interface import Baseline, Context, FloatArray, Mask, Survey
from nirgeo.baselines.storage import (
    BASELINE_PREFIX,
    ORACLES,
    Card,
    load_with_card,
    serialise,
)
from nirgeo.colouriser import Overview
from nirgeo.errors import ModelError, OptionError
from nirgeo.modelfile import sha256_of
from nirgeo.radiometry import DisplayCurve, Quantity
from nirgeo.tiling import InputWindow

if TYPE_CHECKING:
    from nirgeo.reference import Reference


@dataclass(frozen=True)
class BaselineSpec:
    """What a baseline eats and makes; see :class:`nirgeo.colouriser.Spec`."""

    name: str
    version: int | None
    bands: tuple[str, ...]
    quantity: Quantity
    gsd: tuple[float, float] | None
    summary: str
    data: str
    licence: str
    attribution: str
    colours: ClassVar[tuple[str, ...]] = COLOURS
    curve: ClassVar[DisplayCurve] = DisplayCurve()

    @property
    def full_name(self) -> str:
        return self.name if self.version is None else f"{self.name}@{self.version}"


@dataclass(frozen=True, eq=False)
class BaselineModel:
    """A fitted baseline, its card, and the hash of both as a file would hold them.

    With a ``path`` it travels to other processes as a reference to that file.
    """

    baseline: Baseline
    card: Card
    sha256: str
    path: str | None = None

    def __post_init__(self) -> None:
        if self.baseline.name in ORACLES:
            raise ModelError(
                f"{BASELINE_PREFIX}{self.baseline.name} is fitted to the true colours of the scene "
                "itself, so it can't colorize; `nirgeo evaluate` scores it"
            )

    @classmethod
    def of(cls, baseline: Baseline, card: Card | None = None) -> Self:
        """A baseline that has just been fitted, as a model."""
        content = hashlib.sha256(serialise(baseline, card))
        return cls(baseline, card or Card(), content.hexdigest())

    @property
    def spec(self) -> BaselineSpec:
        kind, card = type(self.baseline), self.card
        return BaselineSpec(
            name=f"{BASELINE_PREFIX}{kind.name}",
            version=card.version,
            bands=kind.bands,
            quantity=self.baseline.quantity,
            gsd=card.gsd,
            summary=kind.summary,
            data=card.data,
            licence=card.licence,
            attribution=card.attribution,
        )

    def __reduce__(self) -> tuple[Any, ...]:
        # dask sends it with every chunk, and trees are half a megabyte.
        if self.path is not None:
            return _unchanged, (self.path, self.sha256)
        return BaselineModel, (self.baseline, self.card, self.sha256)


def read_baseline_model(path: str | os.PathLike[str]) -> BaselineModel:
    """A saved baseline as a model.

    Raises
    ------
    ModelError : see :func:`nirgeo.baselines.storage.load_baseline`; or an oracle
    """
    baseline, card = load_with_card(path)
    return BaselineModel(baseline, card, sha256_of(path), os.fspath(path))


@lru_cache(maxsize=8)
def _unchanged(path: str, sha256: str) -> BaselineModel:
    """A saved baseline in another process.

    Raises
    ------
    ModelError : the file is gone or changed
    """
    model = read_baseline_model(path)
    if model.sha256 != sha256:
        raise ModelError(f"{path}: changed since it was opened (its sha256 differs)")
    return model


@dataclass(frozen=True, eq=False)
class BaselineColouriser:
    """A baseline that runs on windows; see :class:`nirgeo.colouriser.Colouriser`."""

    model: BaselineModel
    survey: Survey | None = None
    stride: ClassVar[int] = 1
    expects_error: ClassVar[bool] = False
    error_quantile: ClassVar[float | None] = None
    # The two that look around need up to 180 for sums and features in 64 bits, others half of it.
    bytes_per_pixel: ClassVar[int] = 200

    @property
    def spec(self) -> BaselineSpec:
        return self.model.spec

    @property
    def sha256(self) -> str:
        return self.model.sha256

    @property
    def halo(self) -> int:
        return self.model.baseline.halo

    @property
    def copies(self) -> Mapping[str, str]:
        return self.model.baseline.copies

    def seen(self, scene: Overview) -> Self:
        return replace(self, survey=self.model.baseline.survey(scene.tiles()))

    def guided(self, reference: Reference | None) -> Self:
        return self

    def identity(self) -> dict[str, Any]:
        return {"scene_statistics": None if self.survey is None else _digest(self.survey)}

    def provenance(self) -> dict[str, str]:
        found = {"colour_hint": "none"}
        if self.survey is not None:
            found["scene_statistics"] = _describe(self.survey)
        return found

    def paint(self, inputs: FloatArray, valid: Mask, window: InputWindow) -> FloatArray:
        context = Context(self.spec.quantity, survey=self.survey)
        made = self.model.baseline.predict(inputs, valid, context)
        return np.ascontiguousarray(made[:, *window.crop])

    def paint_with_error(
        self, inputs: FloatArray, valid: Mask, window: InputWindow
    ) -> tuple[FloatArray, FloatArray]:
        raise OptionError(f"{self.spec.full_name} can't tell what error to expect")


def _digest(survey: Survey) -> str:
    return hashlib.sha256(np.ascontiguousarray(survey).tobytes()).hexdigest()[:16]


def _describe(survey: Survey) -> str:
    """A few numbers as they are; of many, how many there are and their hash."""
    if survey.size <= 8:
        return ", ".join(repr(float(number)) for number in survey.ravel())
    return f"{survey.size} numbers, sha256 {_digest(survey)}…"
