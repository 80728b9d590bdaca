"""What a real reference is worth: models that are given one of their own for every scene.

A table names a scene for each: another date of the place, say, on the same grid. Its file is handed
to :func:`nirgeo.colorize` as a user would; so these figures hold the season, the light, clouds,
fires and the plough.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from nirgeo.errors import EvaluationError, NirgeoError
from nirgeo.evaluation.predict import ModelPredictor, Prediction, Predictor
from nirgeo.evaluation.referenced import ReferenceAlone, interpolated_truth, plain_models
from nirgeo.evaluation.scenes import EvaluationScene, read_scene
from nirgeo.grid import same_grid
from nirgeo.opening import open_source
from nirgeo.reference import LEAST
from nirgeo.scene import view_of
from nirgeo.scene_lists import SceneEntry
from nirgeo.tables import read_rows

COLUMNS = ("file", "reference")

Pairs = Mapping[Path, SceneEntry]
"""The scene that is the reference of a scene, by its file."""


@dataclass(frozen=True)
class PairedPredictor(ModelPredictor):
    """A model that is given the colours of the scene that a table names."""

    pairs: Pairs | None = None

    def predict(self, scene: EvaluationScene) -> Prediction:
        assert self.pairs is not None
        return self.predict_with(scene, str(self.pairs[_file(scene)].path))


def paired_colours(scene: EvaluationScene, pairs: Pairs) -> Prediction:
    """The colours of a scene's reference, averaged as a reference is, and interpolated."""
    return interpolated_truth(read_scene(pairs[_file(scene)]), int(LEAST))


def _file(scene: EvaluationScene) -> Path:
    view = view_of(scene.lazy)
    assert view is not None
    return Path(view.source.bands[0].path).resolve()


def pairs_of(entries: Sequence[SceneEntry], table: Path) -> dict[Path, SceneEntry]:
    """The reference of every scene that a table has one for.

    ``table`` has columns ``file`` and ``reference``: names of files among ``entries``. Rows whose
    scene is not there are left out.

    Raises
    ------
    EvaluationError : the table can't be read; it lacks a column; it names a reference that is not
        there, or on another grid than its scene, or a name that two files share; or none of its
        scenes is there
    """
    rows = read_rows(table, COLUMNS, called=f"--reference {table}", error=EvaluationError)
    named: dict[str, list[SceneEntry]] = {}
    for entry in entries:
        named.setdefault(entry.path.name, []).append(entry)

    def only(name: str) -> SceneEntry:
        found = named.get(name, [])
        if len(found) != 1:
            amount = "two files are" if found else "no scene is"
            raise EvaluationError(f"--reference {table}: {amount} called {name!r} in the data")
        return found[0]

    pairs = {}
    for row in rows:
        if row["file"] in named:
            scene, reference = only(row["file"]), only(row["reference"])
            _refuse_other_grid(scene, reference, table)
            pairs[scene.path.resolve()] = reference
    if not pairs:
        raise EvaluationError(f"--reference {table}: none of its scenes is in the data")
    return pairs


def _refuse_other_grid(scene: SceneEntry, reference: SceneEntry, table: Path) -> None:
    try:
        ours, theirs = (open_source(entry.path).grid for entry in (scene, reference))
    except NirgeoError as error:
        raise EvaluationError(f"--reference {table}: {error}") from error
    if not same_grid(ours, theirs):
        raise EvaluationError(
            f"--reference {table}: {reference.path.name} does not lie on the grid of "
            f"{scene.path.name}; warp it there first, with gdalwarp"
        )


def with_pairs(predictors: Sequence[Predictor], pairs: Pairs, name: str) -> list[Predictor]:
    """``predictors``, the models with references, called ``name``, and these alone."""
    paired: list[Predictor] = [
        PairedPredictor(f"{p.label} + {name}", p.model, p.device, p.prior, pairs=pairs)
        for p in plain_models(predictors)
    ]
    quantities = sorted({p.quantity for p in predictors})
    colours = partial(paired_colours, pairs=pairs)
    alone = [ReferenceAlone(name, quantity, colours) for quantity in quantities]
    return [*predictors, *paired, *alone]
