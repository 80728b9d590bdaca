"""Gradient-boosted trees on multi-scale features: what a careful analyst gets without a network.

scikit-learn grows the trees; predicting needs no scikit-learn (see :mod:`nirgeo.baselines.forest`).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from importlib import import_module
from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import NDArray

from nirgeo.baselines.forest import Forest
from nirgeo.baselines.interface import NIR, Arrays, Context, FloatArray, Mask, PerPixel, Sample
from nirgeo.baselines.neighbourhood import RADII, multi_scale_features
from nirgeo.baselines.pixels import no_pixels, paint, scene_pixels, take
from nirgeo.radiometry import Quantity

_MAX_DEPTH = 6


@dataclass(frozen=True)
class BoostedTrees(PerPixel):
    """One forest per colour, predicting working space."""

    quantity: Quantity
    forests: tuple[Forest, Forest, Forest]
    name: ClassVar[str] = "trees"
    summary: ClassVar[str] = (
        "boosted regression trees on near infrared and its surroundings of 3 to 33 px"
    )
    bands: ClassVar[tuple[str, ...]] = NIR
    halo: ClassVar[int] = RADII[-1]

    @classmethod
    def fit(
        cls,
        samples: Iterable[Sample],
        quantity: Quantity,
        *,
        trees: int = 100,
        pixels_per_sample: int = 200,
        seed: int = 0,
    ) -> Self:
        """Grow ``trees`` per colour, each up to 6 deep with 31 leaves.

        Neighbouring pixels tell the same story, so only ``pixels_per_sample`` of every sample are
        drawn: right for thousands of patches, to be raised for a few whole scenes.

        Raises
        ------
        TrainingError : the samples hold no valid pixel
        ModuleNotFoundError : scikit-learn is not installed
        """
        regressor = _sklearn_regressor()
        rng = np.random.default_rng(seed)
        rows, targets = [], []
        for sample in samples:
            pixels = int(np.count_nonzero(sample.valid))
            kept = rng.permutation(pixels)[:pixels_per_sample]
            rows.append(multi_scale_features(sample.inputs[0], sample.valid)[:, kept])
            targets.append(sample.colours[:, sample.valid][:, kept])
        if not any(part.shape[1] for part in rows):
            raise no_pixels()
        features, colours = np.concatenate(rows, axis=1), np.concatenate(targets, axis=1)
        red, green, blue = (
            Forest.from_sklearn(
                regressor(
                    max_iter=trees,
                    max_depth=_MAX_DEPTH,
                    early_stopping=False,
                    random_state=seed,
                ).fit(features.T, colour)
            )
            for colour in colours
        )
        return cls(quantity, (red, green, blue))

    def predict(self, inputs: FloatArray, valid: Mask, context: Context) -> FloatArray:
        scene_pixels(self, inputs, valid, context)
        features = multi_scale_features(inputs[0], valid)
        colours = np.stack([forest.predict(features) for forest in self.forests])
        return paint(colours, valid, self.quantity)

    def arrays(self) -> dict[str, NDArray[Any]]:
        return {
            f"{colour}.{name}": values
            for colour, forest in zip(_COLOURS, self.forests, strict=True)
            for name, values in forest.arrays().items()
        }

    @classmethod
    def from_arrays(cls, arrays: Arrays, quantity: Quantity) -> Self:
        red, green, blue = (_stored_forest(arrays, colour) for colour in _COLOURS)
        return cls(quantity, (red, green, blue))


_COLOURS = ("red", "green", "blue")


def _stored_forest(arrays: Arrays, colour: str) -> Forest:
    feature = take(arrays, f"{colour}.feature", (None,), np.int32)
    nodes = feature.size
    return Forest(
        start=take(arrays, f"{colour}.start", (1,), np.float64),
        roots=take(arrays, f"{colour}.roots", (None,), np.int32),
        feature=feature,
        threshold=take(arrays, f"{colour}.threshold", (nodes,)),
        children=take(arrays, f"{colour}.children", (nodes, 2), np.int32),
        value=take(arrays, f"{colour}.value", (nodes,), np.float64),
    )


def _sklearn_regressor() -> Any:
    try:
        return import_module("sklearn.ensemble").HistGradientBoostingRegressor
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(
            "fitting boosted trees needs scikit-learn, which is not installed; "
            "install the extra: pip install 'nirgeo[evaluate]'",
            name=error.name,
        ) from error
