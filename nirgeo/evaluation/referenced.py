"""What a reference is worth: models that are given the truth made coarse, and that alone.

The reference is the true picture averaged over blocks of pixels, as a coarser sensor would have
seen it on the same day. It is written to a file and handed to :func:`nirgeo.colorize` as a user
would. Real references differ by date and sensor (:mod:`nirgeo.evaluation.paired`), so these
figures are what can be reached at best.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import rasterio
from rasterio import Affine

from nirgeo import hints
from nirgeo.bands import COLOURS
from nirgeo.errors import EvaluationError
from nirgeo.evaluation.predict import Kind, ModelPredictor, Prediction, Predictor
from nirgeo.evaluation.scenes import EvaluationScene, FloatArray, Mask, render
from nirgeo.radiometry import Quantity
from nirgeo.reference import COARSEST
from nirgeo.scene import view_of


@dataclass(frozen=True)
class ReferencedPredictor(ModelPredictor):
    """A model that is given the truth averaged over ``block``² pixels."""

    block: int = 16

    def predict(self, scene: EvaluationScene) -> Prediction:
        with _coarse_file(scene, self.block) as path:
            return self.predict_with(scene, path)


@dataclass(frozen=True)
class ReferenceAlone:
    """A reference and nothing else: the baseline that a model with it has to beat."""

    label: str
    quantity: Quantity
    colours: Callable[[EvaluationScene], Prediction]
    kind: Kind = Kind.REFERENCE
    bands: tuple[str, ...] = ("nir",)

    def predict(self, scene: EvaluationScene) -> Prediction:
        return self.colours(scene)


def interpolated_truth(scene: EvaluationScene, block: int) -> Prediction:
    """A scene's colours averaged over blocks of pixels, and interpolated from there (bilinear).

    Far from every known block it is their mean colour: a pixel without one would have no angle, and
    what is scored beside it has one everywhere.
    """
    means, known = coarse_truth(scene, block)
    height, width = scene.shape
    field = np.concatenate((means * known, known[None])).astype(np.float32)
    positions = [(np.arange(side) + 0.5) / block - 0.5 for side in (height, width)]
    spread = hints.interpolate(field, *positions)
    values = spread[:3] / np.maximum(spread[3], np.float32(1e-6))
    if known.any():
        values[:, spread[3] <= 0] = means[:, known].mean(axis=1)[:, None]
    return Prediction(values, render(values, scene.quantity))


def plain_models(predictors: Sequence[Predictor]) -> list[ModelPredictor]:
    """Those that may be given a reference: models that are told nothing else."""
    plain = [p for p in predictors if type(p) is ModelPredictor]
    return [p for p in plain if p.kind is Kind.MODEL]


def with_references(predictors: Sequence[Predictor], blocks: Sequence[int]) -> list[Predictor]:
    """``predictors``, and for every block size the models with a reference and it alone.

    Raises
    ------
    EvaluationError : a block size is out of range
    """
    found = list(predictors)
    for block in dict.fromkeys(blocks):
        if not 1 <= block <= COARSEST:
            raise EvaluationError(f"--reference {block}: need 1 to {COARSEST} pixels")
        found += [
            ReferencedPredictor(
                f"{p.label} + reference {block} px", p.model, p.device, p.prior, block=block
            )
            for p in plain_models(predictors)
        ]
        quantities = {p.quantity for p in predictors}
        alone = partial(interpolated_truth, block=block)
        found += [
            ReferenceAlone(f"reference {block} px", quantity, alone)
            for quantity in sorted(quantities)
        ]
    return found


def coarse_truth(scene: EvaluationScene, block: int) -> tuple[FloatArray, Mask]:
    """Means of the truth over blocks (3, h, w), and where at least half of a block is valid."""
    pad = [(0, -side % block) for side in scene.shape]
    truth = np.pad(scene.truth, ((0, 0), *pad)).astype(np.float64)
    valid = np.pad(scene.valid, pad)
    rows, cols = (side // block for side in valid.shape)
    sums = truth.reshape(3, rows, block, cols, block).sum(axis=(2, 4))
    counts = valid.reshape(rows, block, cols, block).sum(axis=(1, 3))
    means = (sums / np.maximum(counts, 1)).astype(np.float32)
    return means, counts * 2 >= block * block


@contextmanager
def _coarse_file(scene: EvaluationScene, block: int) -> Iterator[str]:
    view = view_of(scene.lazy)
    assert view is not None
    grid = view.source.grid
    means, known = coarse_truth(scene, block)
    counts = scene.quantity is Quantity.COUNTS
    values = np.rint(means * 255).astype(np.uint8) if counts else means
    # Threads keep it open for a while, and Windows removes nothing that is open.
    with TemporaryDirectory(prefix="nirgeo-", ignore_cleanup_errors=True) as folder:
        path = Path(folder) / "reference.tif"
        place = {"transform": grid.affine @ Affine.scale(block), "crs": grid.crs}
        with (
            rasterio.Env(GDAL_TIFF_INTERNAL_MASK=True),
            rasterio.open(
                path,
                "w",
                driver="GTiff",
                count=3,
                height=values.shape[1],
                width=values.shape[2],
                dtype=values.dtype,
                **{key: value for key, value in place.items() if value is not None},
            ) as file,
        ):
            file.write(values)
            file.write_mask(known)
            for number, colour in enumerate(COLOURS, start=1):
                file.set_band_description(number, colour)
            file.update_tags(REFLECTANCE_SCALE="1")
        yield str(path)
