"""Regression trees as plain arrays, walked with numpy: a saved forest is data, not a pickle."""

from __future__ import annotations

from dataclasses import dataclass, fields
from functools import cached_property
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from nirgeo.baselines.interface import FloatArray
from nirgeo.baselines.neighbourhood import FEATURES
from nirgeo.baselines.pixels import Doubles
from nirgeo.errors import ModelError

_BLOCK = 1 << 14
"""Pixels that walk at a time: what they need fits a processor's own cache."""

_MAX_DEPTH = 64
_MAX_TREES = 1000
"""Ten times as many as are fitted. Every pixel walks through all of them."""


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
        if self.roots.size > _MAX_TREES:
            raise ModelError(
                f"a saved baseline has {self.roots.size} trees, more than {_MAX_TREES}"
            )
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
        if self.depth > _MAX_DEPTH:
            raise ModelError(f"the trees of a saved baseline are deeper than {_MAX_DEPTH} nodes")

    @cached_property
    def depth(self) -> int:
        """Steps from a root to the leaf that is farthest from it; counted up to a limit."""
        nodes, depth = np.unique(self.roots), 0
        while depth <= _MAX_DEPTH:
            below = self.children[nodes]
            nodes = np.unique(below[below != nodes[:, None]])
            if not nodes.size:
                break
            depth += 1
        return depth

    @classmethod
    def from_sklearn(cls, fitted: Any) -> Self:
        """The trees of a fitted ``HistGradientBoostingRegressor``.

        scikit-learn has no public access to them (1.9); the tests compare with its own
        ``predict``, so a change of its layout does not go unnoticed.
        """
        nodes = [predictors[0].nodes for predictors in fitted._predictors]
        roots = np.concatenate(([0], np.cumsum([len(tree) for tree in nodes])[:-1]))
        offset = np.repeat(roots, [len(tree) for tree in nodes])
        stacked = np.concatenate(nodes)
        own = np.arange(len(stacked))
        leaf = stacked["is_leaf"].astype(bool)
        children = np.stack((stacked["left"], stacked["right"]), axis=1).astype(np.int64)
        children = np.where(leaf[:, None], own[:, None], children + offset[:, None])
        return cls(
            start=np.array(fitted._baseline_prediction, dtype=np.float64).reshape(1),
            roots=roots.astype(np.int32),
            feature=stacked["feature_idx"].astype(np.int32),
            threshold=_round_down(stacked["num_threshold"]),
            children=children.astype(np.int32),
            value=np.where(leaf, stacked["value"], 0.0),
        )

    def arrays(self) -> dict[str, NDArray[Any]]:
        """The parameters above."""
        return {field.name: getattr(self, field.name) for field in fields(self)}

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
        flat, children = block.ravel(), self.children.ravel().astype(np.intp)
        row = self.feature.astype(np.intp) * pixels
        total = np.full(pixels, self.start[0])
        for root in self.roots:
            node = np.full(pixels, root, dtype=np.intp)
            # A leaf is its own child, so those that arrive early stay.
            for _ in range(self.depth):
                beyond = flat.take(row.take(node) + column) > self.threshold.take(node)
                node = children.take(2 * node + beyond)
            total += self.value.take(node)
        return total


def _round_down(thresholds: Doubles) -> FloatArray:
    """The greatest float32 up to each threshold: float32 features fall on the same side of it."""
    nearest = thresholds.astype(np.float32)
    lower = np.nextafter(nearest, np.float32(-np.inf))
    return np.where(nearest > thresholds, lower, nearest)
