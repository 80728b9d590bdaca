"""What every baseline is: something fitted on samples that turns bands into colours.

A baseline is a small immutable value. It sees a scene, or a window of one, in working space, and
knows nothing of files, chunks or devices: it exists to be compared with, so it is kept simple
enough to be obviously right. Its arrays are everything it learned, so saving needs no pickle.

What it makes of a pixel depends on the pixels within ``halo`` of it and on a *survey* of the whole
scene, and on these bit for bit: a window makes the pixels that the whole scene makes.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Protocol, Self

import numpy as np
from numpy.typing import NDArray

from nirgeo.colouriser import Tile, sample_tiles
from nirgeo.radiometry import Quantity

if TYPE_CHECKING:
    from nirgeo.training.data import Sampler

FloatArray = NDArray[np.float32]
Mask = NDArray[np.bool_]
Arrays = Mapping[str, NDArray[Any]]
Survey = NDArray[np.float64]
"""Statistics of a whole scene: a few numbers, whose meaning is the baseline's own."""

NIR = ("nir",)
RED_GREEN_NIR = ("red", "green", "nir")


class Sample(Protocol):
    """A picture to learn from, in working space; a ``TrainingScene`` is one."""

    @property
    def inputs(self) -> FloatArray:
        """(bands, H, W)"""

    @property
    def colours(self) -> FloatArray:
        """(3, H, W) red, green, blue"""

    @property
    def valid(self) -> Mask:
        """(H, W)"""


@dataclass(frozen=True)
class Patch:
    """A plain :class:`Sample`."""

    inputs: FloatArray
    colours: FloatArray
    valid: Mask


@dataclass(frozen=True)
class Context:
    """What is known of a scene beside its bands.

    ``truth`` (3, H, W), its colours in working space, is there for the oracles alone. ``survey`` is
    what :meth:`Baseline.survey` says of the scene; without it the inputs are taken for the whole
    scene.
    """

    quantity: Quantity
    truth: FloatArray | None = None
    survey: Survey | None = None


class Baseline(Protocol):
    """See the module. ``summary`` is for people; ``bands`` are the roles of the inputs, in order.

    ``halo`` is how many pixels beyond a pixel its colour depends on. ``copies`` names colours that
    are a band unchanged: colour to role. ``learns`` tells whether :meth:`fit` looks at samples, and
    ``sees_truth`` whether the scene's own colours are needed, which only a score has.
    """

    name: ClassVar[str]
    summary: ClassVar[str]
    bands: ClassVar[tuple[str, ...]]
    halo: ClassVar[int]
    copies: ClassVar[Mapping[str, str]]
    learns: ClassVar[bool]
    sees_truth: ClassVar[bool]

    @property
    def quantity(self) -> Quantity:
        """The quantity that was fitted, and that inputs and colours must have."""

    @classmethod
    def fit(cls, samples: Iterable[Sample], quantity: Quantity) -> Self:
        """Learn from samples; every valid pixel weighs the same, invalid ones nothing.

        Baselines that learn nothing do not look at them.

        Raises
        ------
        TrainingError : there is something to learn and no valid pixel to learn it from
        """

    def survey(self, tiles: Iterable[Tile]) -> Survey | None:
        """What must be known of a whole scene, from sample tiles of it; None if nothing must.

        The tiles may hold no valid pixel at all.
        """

    def predict(self, inputs: FloatArray, valid: Mask, context: Context) -> FloatArray:
        """Colours (3, H, W) in working space, 0 where not valid.

        Parameters
        ----------
        inputs : (bands, H, W) float32 in working space
        valid : (H, W)

        Raises
        ------
        ModelError : the bands, shapes or quantity do not fit
        """

    def arrays(self) -> dict[str, NDArray[Any]]:
        """Everything that was learned."""

    @classmethod
    def from_arrays(cls, arrays: Arrays, quantity: Quantity) -> Self:
        """Inverse of :meth:`arrays`.

        Raises
        ------
        ModelError : an array is missing, or has another shape, type or range
        """


class PerPixel:
    """The part of a :class:`Baseline` that is about its surroundings, for those that look at none.

    Others derive from it too, and say what differs.
    """

    halo: ClassVar[int] = 0
    copies: ClassVar[Mapping[str, str]] = {}
    learns: ClassVar[bool] = True
    sees_truth: ClassVar[bool] = False

    def survey(self, tiles: Iterable[Tile]) -> Survey | None:
        return None


def own_tiles(inputs: FloatArray, valid: Mask) -> Iterator[Tile]:
    """Sample tiles of inputs that are a whole scene, as :meth:`Baseline.survey` takes them."""
    return sample_tiles(
        (valid.shape[0], valid.shape[1]),
        lambda windows: [(inputs[(slice(None), *w.slices)], valid[w.slices]) for w in windows],
    )


def samples_from(sampler: Sampler, batches: int = 60, first: int = 1_000_000) -> Iterator[Patch]:
    """Patches as the sampler draws them: of the same places with the same weights.

    Steps begin where the table under every generator begins to draw. The bands are those of the
    sampler.
    """
    for step in range(first, first + batches):
        for inputs, colours, valid in zip(*sampler.batch(step)[:3], strict=True):
            yield Patch(inputs, colours, valid[0] > 0)
