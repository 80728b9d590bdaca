"""Gradient-boosted trees on multi-scale features: what a careful analyst gets without a network.

scikit-learn grows the trees; they are kept as plain arrays and walked with numpy, so a saved
baseline is data, and predicting needs no scikit-learn.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from importlib import import_module
from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import NDArray

from nirgeo.baselines.interface import NIR, Arrays, Context, FloatArray, Mask, Sample
from nirgeo.baselines.neighbourhood import FEATURES, multi_scale_features
from nirgeo.baselines.pixels import Doubles, no_pixels, paint, scene_pixels, take
from nirgeo.errors import ModelError
from nirgeo.radiometry import Quantity

_BLOCK = 1 << 16
_MAX_DEPTH = 6


@dataclass(frozen=True)
class Forest:
    """Trees of one regression: the prediction is ``start`` plus one leaf's value per tree.

    Parameters
    ----------
    start : (1,) float64
    roots : (trees,) int32, index of each tree's first node
    feature : (nodes,) int32
    threshold : (nodes,) float32; values up to it go to the first child
    children : (nodes, 2) int32; both are the node itself where it is a leaf
    value : (nodes,) float64, read at leaves
    """

    start: Doubles
    roots: NDArray[np.int32]
    feature: NDArray[np.int32]
    threshold: FloatArray
    children: NDArray[np.int32]
    value: Doubles

    def __post_init__(self) -> None:
        nodes = self.feature.size
        own = np.arange(nodes)[:, None]
        leaf = (self.children == own).all(axis=1)
        # Children lie behind their parent, so a walk always ends.
        inside = (self.children > own) & (self.children < nodes)
        if (
            not (leaf | inside.all(axis=1)).all()
            or not ((self.feature >= 0) & (self.feature < FEATURES)).all()
            or not ((self.roots >= 0) & (self.roots < nodes)).all()
        ):
            raise ModelError("the trees of a saved baseline are damaged: a node leads nowhere")

    def predict(self, features: FloatArray) -> Doubles:
        """Features (16, n) to values (n,)."""
        total = np.full(features.shape[1], self.start[0])
        for first in range(0, features.shape[1], _BLOCK):
            block = np.ascontiguousarray(features[:, first : first + _BLOCK])
            total[first : first + _BLOCK] = self._predict_block(block)
        return total

    def _predict_block(self, block: FloatArray) -> Doubles:
        pixels = block.shape[1]
        column = np.arange(pixels)
        flat, children = block.ravel(), self.children.ravel()
        total = np.full(pixels, self.start[0])
        for root in self.roots:
            node = np.full(pixels, root)
            while True:
                beyond = flat[self.feature[node] * pixels + column] > self.threshold[node]
                below = children[2 * node + beyond]
                if np.array_equal(below, node):
                    break
                node = below
            total += self.value[node]
        return total


@dataclass(frozen=True)
class BoostedTrees:
    """One forest per colour, predicting working space."""

    quantity: Quantity
    forests: tuple[Forest, Forest, Forest]
    name: ClassVar[str] = "trees"
    bands: ClassVar[tuple[str, ...]] = NIR

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
            _forest(
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
            for name, values in vars(forest).items()
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


def _forest(fitted: Any) -> Forest:
    """The trees of a fitted regressor.

    scikit-learn has no public access to them (1.9); the tests compare with its own ``predict``, so
    a change of its layout does not go unnoticed.
    """
    nodes = [predictors[0].nodes for predictors in fitted._predictors]
    roots = np.concatenate(([0], np.cumsum([len(tree) for tree in nodes])[:-1]))
    offset = np.repeat(roots, [len(tree) for tree in nodes])
    stacked = np.concatenate(nodes)
    own = np.arange(len(stacked))
    leaf = stacked["is_leaf"].astype(bool)
    children = np.stack((stacked["left"], stacked["right"]), axis=1).astype(np.int64)
    children = np.where(leaf[:, None], own[:, None], children + offset[:, None])
    return Forest(
        start=np.array(fitted._baseline_prediction, dtype=np.float64).reshape(1),
        roots=roots.astype(np.int32),
        feature=stacked["feature_idx"].astype(np.int32),
        threshold=_round_down(stacked["num_threshold"]),
        children=children.astype(np.int32),
        value=np.where(leaf, stacked["value"], 0.0),
    )


def _round_down(thresholds: Doubles) -> FloatArray:
    """The greatest float32 up to each threshold: float32 features fall on the same side of it."""
    nearest = thresholds.astype(np.float32)
    lower = np.nextafter(nearest, np.float32(-np.inf))
    return np.where(nearest > thresholds, lower, nearest)
