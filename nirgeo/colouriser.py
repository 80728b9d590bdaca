"""What turns bands into colours: the one interface of networks and baselines.

A colouriser is a small immutable value that dask sends along with every chunk. It sees one window
at a time, in working space, and knows nothing of files or pictures: reading, radiometry, cropping
and writing are the same for all of them. What it must know of a scene as a whole (where it lies,
how bright it is) it asks once, of an :class:`Overview`, before the first chunk; so the answer can't
depend on how the scene is cut.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol, Self

import numpy as np
from numpy.typing import NDArray

from nirgeo.radiometry import DisplayCurve, Quantity
from nirgeo.tiling import InputWindow, Window, look_around

if TYPE_CHECKING:
    from nirgeo.grid import Grid
    from nirgeo.reference import Reference

FloatArray = NDArray[np.float32]
Mask = NDArray[np.bool_]
Tile = tuple[FloatArray, Mask]
"""Bands (bands, h, w) in working space, 0 where not valid, and the mask (h, w)."""


class Spec(Protocol):
    """What a colouriser eats and makes."""

    @property
    def name(self) -> str: ...
    @property
    def full_name(self) -> str:
        """The name with its version, if it has one."""

    @property
    def bands(self) -> tuple[str, ...]:
        """Roles of the bands, in the order in which they are eaten."""

    @property
    def colours(self) -> tuple[str, ...]: ...
    @property
    def quantity(self) -> Quantity: ...
    @property
    def curve(self) -> DisplayCurve:
        """How reflectance is shown."""

    @property
    def gsd(self) -> tuple[float, float] | None:
        """Ground sampling distances in metres it was made for; None if it has no preference."""

    @property
    def summary(self) -> str: ...
    @property
    def licence(self) -> str: ...
    @property
    def attribution(self) -> str: ...


@dataclass(frozen=True)
class Overview:
    """A scene as a whole: what is asked of it once, before any chunk. Nothing is read until then.

    ``shape`` is (height, width) of the whole scene, whatever part of it is colorized; ``grid``
    gives its georeference and ``read`` some windows of it in working space.
    """

    shape: tuple[int, int]
    grid: Callable[[], Grid]
    read: Callable[[Sequence[Window]], Sequence[Tile]]

    def tiles(self) -> Iterator[Tile]:
        """See :func:`sample_tiles`."""
        return sample_tiles(self.shape, self.read)


def sample_tiles(
    shape: tuple[int, int], read: Callable[[Sequence[Window]], Sequence[Tile]]
) -> Iterator[Tile]:
    """The tiles of a scene's fixed lattice; of a denser one if no pixel of the first is valid.

    No pixel is in two of them; up to 256×256 px they are the whole scene. Nothing is read before
    the first tile is asked for.
    """
    yield from look_around(
        shape,
        lambda windows: read(_apart(windows)),
        lambda tiles: any(valid.any() for _, valid in tiles),
    )


def _apart(windows: Sequence[Window]) -> list[Window]:
    """The tiles of a lattice without what overlaps; in small scenes they do."""
    rows = _cut((w.row, w.row_stop) for w in windows)
    cols = _cut((w.col, w.col_stop) for w in windows)
    return [Window(rows[w.row][0], cols[w.col][0], rows[w.row][1], cols[w.col][1]) for w in windows]


def _cut(spans: Iterable[tuple[int, int]]) -> dict[int, tuple[int, int]]:
    """First pixel and length of each span, less what the one before covers, by its old start."""
    kept, reached = {}, 0
    for start, stop in sorted(set(spans)):
        first = max(start, reached)
        kept[start] = first, stop - first
        reached = stop
    return kept


class Colouriser(Protocol):
    """See the module."""

    @property
    def spec(self) -> Spec: ...
    @property
    def sha256(self) -> str:
        """Of the file with its parameters."""

    @property
    def halo(self) -> int:
        """How many pixels beyond a pixel its colour depends on."""

    @property
    def stride(self) -> int:
        """Windows start at multiples of this and are padded to whole multiples."""

    @property
    def copies(self) -> Mapping[str, str]:
        """Colours that are a band unchanged: colour to role. These skip the working space."""

    @property
    def bytes_per_pixel(self) -> int:
        """Peak memory per pixel of a window."""

    @property
    def expects_error(self) -> bool:
        """Whether :meth:`paint_with_error` can be asked."""

    @property
    def error_quantile(self) -> float | None:
        """Multiple of the expected error that 90% of the pixels do not exceed, if it has any."""

    def seen(self, scene: Overview) -> Self:
        """This colouriser with what it must know of the whole scene."""

    def guided(self, reference: Reference | None) -> Self:
        """This colouriser, knowing of a reference, if it can read hints from one."""

    def identity(self) -> dict[str, Any]:
        """JSON-able: what must be equal, beside the spec and the hash, to make equal pixels."""

    def provenance(self) -> dict[str, str]:
        """What an output says of what was found out about the scene."""

    def paint(self, inputs: FloatArray, valid: Mask, window: InputWindow) -> FloatArray:
        """Colours of the window's target (colours, h, w) in working space.

        The colours of a pixel depend on nothing but the pixels within ``halo`` of it, the place of
        the window's origin modulo ``stride``, and what :meth:`seen` was told.

        Parameters
        ----------
        inputs : (bands, H, W) float32 in working space, 0 where not valid
        valid : (H, W)
        window : where in the scene they lie
        """

    def paint_with_error(
        self, inputs: FloatArray, valid: Mask, window: InputWindow
    ) -> tuple[FloatArray, FloatArray]:
        """:meth:`paint`, and the expected angular error in degrees (h, w).

        Only of a colouriser that :attr:`expects_error`.
        """
