"""Histogram matching: each colour gets the distribution it has in training, in the NIR's order."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import NDArray

from nirgeo.baselines.interface import (
    NIR,
    Arrays,
    Context,
    FloatArray,
    Mask,
    PerPixel,
    Sample,
    Survey,
    own_tiles,
)
from nirgeo.baselines.pixels import paint, scene_pixels, take, valid_pixels, working_limit
from nirgeo.colouriser import Tile
from nirgeo.radiometry import Quantity

LEVELS = 1025
_BINS = 4096


@dataclass(frozen=True)
class HistogramMatch(PerPixel):
    """``quantiles`` (3, 1025): values of each colour in working space at even shares of pixels.

    The rank of a pixel is its rank among the valid pixels of its own scene, so the picture always
    shows the whole range of colours; equal values share their middle rank. Ranks are taken from
    sample tiles and interpolated between them.
    """

    quantity: Quantity
    quantiles: FloatArray
    name: ClassVar[str] = "histogram"
    summary: ClassVar[str] = (
        "the distribution that each colour has in training, in the order of the near infrared"
    )
    bands: ClassVar[tuple[str, ...]] = NIR

    @classmethod
    def fit(cls, samples: Iterable[Sample], quantity: Quantity) -> Self:
        limit = working_limit(quantity)
        edges = np.linspace(0, limit, _BINS + 1)
        counts = np.zeros((3, _BINS))
        for _, colours in valid_pixels(samples):
            for c in range(3):
                counts[c] += np.histogram(np.clip(colours[c], 0, limit), edges)[0]
        rows = []
        for histogram in counts:
            cumulative = np.concatenate(([0.0], np.cumsum(histogram))) / histogram.sum()
            # Where no pixel lies the curve is flat and has no inverse; keep its ends only.
            filled = np.flatnonzero(histogram)
            knots = np.unique(np.concatenate((filled, filled + 1)))
            levels = np.linspace(0, 1, LEVELS)
            rows.append(np.interp(levels, cumulative[knots], edges[knots]))
        return cls(quantity, np.array(rows, dtype=np.float32))

    def survey(self, tiles: Iterable[Tile]) -> Survey:
        """Rising values of the near-infrared, and their ranks in 0–1: (2, up to 1025)."""
        known = np.concatenate([nir[0][valid] for nir, valid in tiles])
        values, counts = np.unique(known, return_counts=True)
        ranks = (np.cumsum(counts) - counts / 2) / max(1, known.size)
        if values.size > LEVELS:
            wanted = np.linspace(ranks[0], ranks[-1], LEVELS)
            kept = np.unique(np.searchsorted(ranks, wanted))
            values, ranks = values[kept], ranks[kept]
        return np.stack((values.astype(np.float64), ranks))

    def predict(self, inputs: FloatArray, valid: Mask, context: Context) -> FloatArray:
        nir = scene_pixels(self, inputs, valid, context)[0].astype(np.float64)
        survey = context.survey
        values, ranks = self.survey(own_tiles(inputs, valid)) if survey is None else survey
        # Without a sample every pixel is taken for the middle one.
        rank = np.interp(nir, values, ranks) if values.size else np.full(nir.size, 0.5)
        levels = np.linspace(0, 1, LEVELS)
        colours = [np.interp(rank, levels, row) for row in self.quantiles]
        return paint(np.stack(colours), valid, self.quantity)

    def arrays(self) -> dict[str, NDArray[Any]]:
        return {"quantiles": self.quantiles}

    @classmethod
    def from_arrays(cls, arrays: Arrays, quantity: Quantity) -> Self:
        return cls(quantity, take(arrays, "quantiles", (3, LEVELS)))
