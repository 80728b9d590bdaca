"""Colour transfer of Welsh, Ashikhmin and Mueller (2002): colours of a reference, found by light.

The reference is known by a few hundred swatches: luminance, its spread around, and two chromatic
coordinates in the lαβ space of Ruderman et al. (1998). Each pixel keeps its own luminance and
takes the chromaticity of the swatch that is most like it. As in the paper, the reference's
luminances are first scaled to the mean and spread of the picture to be coloured.
"""

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
from nirgeo.baselines.neighbourhood import mean_and_spread
from nirgeo.baselines.pixels import (
    Doubles,
    from_linear,
    no_pixels,
    paint,
    scene_pixels,
    take,
    to_linear,
)
from nirgeo.colouriser import Tile
from nirgeo.errors import ModelError
from nirgeo.radiometry import Quantity

SWATCHES = 256

_MOST_SWATCHES = 4096
"""Every pixel is compared with all of them."""
RADIUS = 2
"""The paper's neighbourhood of 5×5 px."""

_GRID = 16
_FLOOR = 1e-3
"""Linear values are raised to this before the logarithm; darker ones have no measurable hue."""

# Reinhard et al. (2001), "Color transfer between images", eqs. 4 and 6.
_TO_CONES = np.array([[0.3811, 0.5783, 0.0402], [0.1967, 0.7244, 0.0782], [0.0241, 0.1288, 0.8444]])
_TO_LAB = np.diag([3**-0.5, 6**-0.5, 2**-0.5]) @ np.array([[1, 1, 1], [1, 1, -2], [1, -1, 0]])

_BLOCK = 1 << 14
"""Pixels that are compared with all swatches at a time: what a processor's own cache holds."""


@dataclass(frozen=True)
class WelshTransfer(PerPixel):
    """``swatches`` (n, 4): l, spread of l, α, β; ``light`` (2,): the reference's mean and spread.

    The reference is every picture it is fitted to: a single chosen scene, or many patches.
    """

    quantity: Quantity
    swatches: Doubles
    light: Doubles
    name: ClassVar[str] = "welsh"
    summary: ClassVar[str] = (
        "colours of a reference palette, found by light and texture (Welsh et al. 2002)"
    )
    bands: ClassVar[tuple[str, ...]] = NIR
    halo: ClassVar[int] = RADIUS

    @classmethod
    def fit(cls, samples: Iterable[Sample], quantity: Quantity, *, seed: int = 0) -> Self:
        """Draw swatches on a jittered grid over every sample and keep 256 of them.

        Raises
        ------
        TrainingError : the samples hold no valid pixel
        """
        rng = np.random.default_rng(seed)
        found: list[Doubles] = []
        count, total, squares = 0, 0.0, 0.0
        for sample in samples:
            valid = sample.valid
            if not valid.any():
                continue
            lab = _to_lab(np.where(valid, sample.colours, 0), quantity)
            light = lab[0][valid]
            count += light.size
            total += float(light.sum())
            squares += float((light**2).sum())
            _, spread = mean_and_spread(lab[0], valid, RADIUS)
            rows, cols = _jittered_grid(valid, rng)
            found.append(np.stack((lab[0], spread, lab[1], lab[2]), axis=-1)[rows, cols])
        if not count:
            raise no_pixels()
        candidates = np.concatenate(found)
        kept = np.sort(rng.permutation(len(candidates))[:SWATCHES])
        mean = total / count
        deviation = max(0.0, squares / count - mean**2) ** 0.5
        return cls(quantity, candidates[kept], np.array([mean, deviation]))

    def survey(self, tiles: Iterable[Tile]) -> Survey:
        """Mean and deviation of the scene's luminance; the reference's own if there is none."""
        known = [_luminance(nir[0][valid], self.quantity) for nir, valid in tiles]
        light = np.concatenate(known)
        return np.array([light.mean(), light.std()]) if light.size else self.light

    def predict(self, inputs: FloatArray, valid: Mask, context: Context) -> FloatArray:
        scene_pixels(self, inputs, valid, context)
        survey = context.survey
        mean, deviation = self.survey(own_tiles(inputs, valid)) if survey is None else survey
        target = _luminance(np.where(valid, inputs[0], 0), self.quantity)
        _, target_spread = mean_and_spread(target, valid, RADIUS)
        light, spread = target[valid], target_spread[valid]
        scale = deviation / self.light[1] if self.light[1] > 0 else 1.0
        swatch_light = (self.swatches[:, 0] - self.light[0]) * scale + mean
        swatch_spread = self.swatches[:, 1] * scale
        choice = np.empty(light.size, dtype=np.intp)
        for first in range(0, light.size, _BLOCK):
            block = slice(first, first + _BLOCK)
            choice[block] = _nearest(light[block], spread[block], swatch_light, swatch_spread)
        lab = np.stack((light, *self.swatches[choice, 2:].T))
        return paint(_from_lab(lab, self.quantity), valid, self.quantity)

    def arrays(self) -> dict[str, NDArray[Any]]:
        return {"swatches": self.swatches, "light": self.light}

    @classmethod
    def from_arrays(cls, arrays: Arrays, quantity: Quantity) -> Self:
        swatches = take(arrays, "swatches", (None, 4), np.float64)
        if not len(swatches):
            raise ModelError("a saved baseline of Welsh's kind has no swatch to take colours from")
        if len(swatches) > _MOST_SWATCHES:
            raise ModelError(
                f"a saved baseline has {len(swatches)} swatches, more than {_MOST_SWATCHES}"
            )
        return cls(quantity, swatches, take(arrays, "light", (2,), np.float64))


def _nearest(
    light: Doubles, spread: Doubles, swatch_light: Doubles, swatch_spread: Doubles
) -> NDArray[np.intp]:
    """Index of the swatch that is most like each pixel; the first of equals."""
    # One swatch at a time over all pixels: less memory than the whole table of distances.
    best = np.full(light.size, np.inf)
    choice = np.zeros(light.size, dtype=np.intp)
    for index, (level, around) in enumerate(zip(swatch_light, swatch_spread, strict=True)):
        distance = np.abs(light - level) + np.abs(spread - around)
        closer = distance < best
        best[closer] = distance[closer]
        choice[closer] = index
    return choice


def _luminance(grey: NDArray[Any], quantity: Quantity) -> Doubles:
    """l of a picture (…) whose red, green and blue are all ``grey``, in working space."""
    luminance: Doubles = _to_lab(np.stack((grey, grey, grey)), quantity)[0]
    return luminance


def _to_lab(working: NDArray[Any], quantity: Quantity) -> Doubles:
    """(3, …) working space to lαβ."""
    linear = np.maximum(to_linear(working, quantity), _FLOOR)
    return _mix(_TO_LAB, np.log10(_mix(_TO_CONES, linear)))


def _from_lab(lab: Doubles, quantity: Quantity) -> Doubles:
    cones = 10 ** _mix(np.linalg.inv(_TO_LAB), lab)
    return from_linear(_mix(np.linalg.inv(_TO_CONES), cones), quantity)


def _mix(matrix: Doubles, planes: Doubles) -> Doubles:
    """A 3×3 matrix times (3, …).

    Written out: einsum and matrix products may round some pixels of an array differently from the
    others (einsum does with a single one), and a colour would depend on its window.
    """
    x, y, z = planes
    return np.stack([a * x + b * y + c * z for a, b, c in matrix])


def _jittered_grid(
    valid: Mask, rng: np.random.Generator
) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """One valid pixel drawn from each cell of a 16×16 grid over the picture that has any."""
    height, width = valid.shape
    rows, cols = np.nonzero(valid)
    cell = (rows * _GRID // height) * _GRID + cols * _GRID // width
    order = rng.permutation(rows.size)
    _, first = np.unique(cell[order], return_index=True)
    drawn = order[first]
    return rows[drawn], cols[drawn]
