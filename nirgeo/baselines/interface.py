"""What every baseline is: something fitted on samples that turns bands into colours.

A baseline is a small immutable value. It sees one scene whole, in working space, and knows nothing
of files, tiles or devices: it exists to be compared with, so it is kept simple enough to be
obviously right. Its arrays are everything it learned, so saving needs no pickle.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Protocol, Self

import numpy as np
from numpy.typing import NDArray

from nirgeo.radiometry import Quantity

if TYPE_CHECKING:
    from nirgeo.training.data import Sampler

FloatArray = NDArray[np.float32]
Mask = NDArray[np.bool_]
Arrays = Mapping[str, NDArray[Any]]

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

    ``truth`` (3, H, W), its colours in working space, is there for the oracles alone.
    """

    quantity: Quantity
    truth: FloatArray | None = None


class Baseline(Protocol):
    """See the module. ``bands`` are the roles of the inputs, in their order."""

    name: ClassVar[str]
    bands: ClassVar[tuple[str, ...]]

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


def samples_from(sampler: Sampler, batches: int = 60, first: int = 1_000_000) -> Iterator[Patch]:
    """Patches as a training draws them: the same weights of places, the same jitter.

    The default steps are those that the table under every generator is fitted to, so a baseline
    and a network learn from the same distribution. The bands are those of the sampler.
    """
    for step in range(first, first + batches):
        for inputs, colours, valid in zip(*sampler.batch(step)[:3], strict=True):
            yield Patch(inputs, colours, valid[0] > 0)
