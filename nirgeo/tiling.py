"""Where pixels are read and written: tiles, chunks, halos. Integers only; no I/O, no torch.

Three rectangles matter, all in pixels of the raster, counted from its upper left corner:

* a *tile* is 64×64: the generator's patch and the unit of every chunk size;
* a *chunk* is a whole number of tiles: what one task reads, computes and writes;
* an *input window* is a chunk grown by the halo: what the network must see so that the chunk
  comes out exactly as if the network had run once over the whole raster.

Exactness needs three things of an input window. Its start is a multiple of the network's stride
from the raster's origin, so that the coarse grid inside the network is the same for every chunk.
It is clipped at the raster's edge, so that the network meets the edge where the raster has it and
nowhere else. And only at the right and bottom edge, where the raster's size need not be a multiple
of the stride, the last row and column are repeated up to the next multiple.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TypeVar

TILE = 64
"""Side of a tile in pixels."""

DEFAULT_CHUNK_TILES = 12
"""Side of a chunk in tiles: 768 px, where a halo of 37 px costs a fifth more pixels.

Of 1024 px, chunks cost a twentieth less time, and two workers a tenth more memory.
"""


@dataclass(frozen=True, slots=True)
class Window:
    """A rectangle of pixels: first row, first column, height, width."""

    row: int
    col: int
    height: int
    width: int

    @property
    def row_stop(self) -> int:
        return self.row + self.height

    @property
    def col_stop(self) -> int:
        return self.col + self.width

    @property
    def slices(self) -> tuple[slice, slice]:
        """Row and column slices into an array that starts at the raster's origin."""
        return slice(self.row, self.row_stop), slice(self.col, self.col_stop)

    def shifted(self, rows: int, cols: int) -> Window:
        return Window(self.row + rows, self.col + cols, self.height, self.width)

    def within(self, shape: tuple[int, int]) -> bool:
        """Whether the window lies inside a raster of this (height, width)."""
        return (
            self.row >= 0
            and self.col >= 0
            and self.height > 0
            and self.width > 0
            and self.row_stop <= shape[0]
            and self.col_stop <= shape[1]
        )


@dataclass(frozen=True, slots=True)
class InputWindow:
    """What to read for one target window, and how to cut the target out of what comes back.

    ``read`` lies inside the raster. ``pad_bottom`` and ``pad_right`` rows and columns are then
    repeated from its last ones. ``crop`` cuts the target out of the padded array.
    """

    read: Window
    pad_bottom: int
    pad_right: int
    crop: tuple[slice, slice]

    @property
    def shape(self) -> tuple[int, int]:
        """(height, width) of the padded array that enters the network."""
        return self.read.height + self.pad_bottom, self.read.width + self.pad_right

    def grown(self, by: int) -> InputWindow:
        """The same window for a target that is larger on every side, as far as the raster goes."""
        down, across = (
            slice(max(0, part.start - by), min(side, part.stop + by))
            for part, side in zip(self.crop, (self.read.height, self.read.width), strict=True)
        )
        return replace(self, crop=(down, across))

    @property
    def target(self) -> Window:
        """The target in the raster."""
        down, across = self.crop
        return Window(
            self.read.row + down.start,
            self.read.col + across.start,
            down.stop - down.start,
            across.stop - across.start,
        )


def _input_span(start: int, stop: int, halo: int, stride: int, size: int) -> tuple[int, int, int]:
    """Read span and padding along one axis: (first, stop, pad)."""
    first = max(0, start - halo) // stride * stride
    wanted = -(-(stop + halo) // stride) * stride
    last = min(size, wanted)
    pad = -last % stride
    return first, last, pad


def input_window(target: Window, *, halo: int, stride: int, raster: tuple[int, int]) -> InputWindow:
    """Grow ``target`` by ``halo`` pixels, aligned to ``stride`` and clipped to ``raster``.

    Parameters
    ----------
    target : window to be produced, inside the raster
    halo : pixels that the network sees beyond an output pixel on each side
    stride : side of the network's coarse grid cell in pixels
    raster : (height, width) of the whole raster

    Raises
    ------
    ValueError : the target is empty or reaches beyond the raster, or halo or stride is negative
    """
    if halo < 0 or stride < 1:
        raise ValueError(f"halo must be >= 0 and stride >= 1, got {halo} and {stride}")
    if not target.within(raster):
        raise ValueError(f"{target} does not lie inside a raster of {raster[0]}×{raster[1]} px")
    r0, r1, pad_bottom = _input_span(target.row, target.row_stop, halo, stride, raster[0])
    c0, c1, pad_right = _input_span(target.col, target.col_stop, halo, stride, raster[1])
    crop_row, crop_col = target.row - r0, target.col - c0
    return InputWindow(
        read=Window(r0, c0, r1 - r0, c1 - c0),
        pad_bottom=pad_bottom,
        pad_right=pad_right,
        crop=(
            slice(crop_row, crop_row + target.height),
            slice(crop_col, crop_col + target.width),
        ),
    )


def cells(
    window: Window, rows: int, cols: int
) -> Iterator[tuple[tuple[int, int], tuple[slice, slice], tuple[slice, slice]]]:
    """Cells of a grid of ``rows`` × ``cols`` pixels that a window meets.

    Of each, row and column of its origin, and what both share, in pixels of the window and of the
    cell.
    """
    for top in range(window.row - window.row % rows, window.row_stop, rows):
        first, after = max(top, window.row), min(top + rows, window.row_stop)
        for left in range(window.col - window.col % cols, window.col_stop, cols):
            start, stop = max(left, window.col), min(left + cols, window.col_stop)
            row, col = window.row, window.col
            in_window = (slice(first - row, after - row), slice(start - col, stop - col))
            in_cell = (slice(first - top, after - top), slice(start - left, stop - left))
            yield (top, left), in_window, in_cell


def joined(windows: Iterable[Window]) -> list[Window]:
    """The same area in fewer windows: neighbours in a row, then equal rows below each other.

    ``windows`` come row by row and don't overlap.
    """
    strips: list[Window] = []
    for window in windows:
        last = strips[-1] if strips else None
        if last and last.row == window.row and last.col_stop == window.col:
            strips[-1] = Window(last.row, last.col, last.height, last.width + window.width)
        else:
            strips.append(window)
    growing: dict[tuple[int, int], Window] = {}
    done: list[Window] = []
    for strip in strips:
        span = (strip.col, strip.width)
        above = growing.get(span)
        if above is not None and above.row_stop == strip.row:
            growing[span] = Window(above.row, above.col, above.height + strip.height, above.width)
        else:
            if above is not None:
                done.append(above)
            growing[span] = strip
    return sorted([*done, *growing.values()], key=lambda w: (w.row, w.col))


def _split(size: int, step: int) -> tuple[int, ...]:
    full, rest = divmod(size, step)
    return (step,) * full + ((rest,) if rest else ())


@dataclass(frozen=True, slots=True)
class ChunkGrid:
    """A raster of (height, width) cut into chunks of ``tiles`` × ``tiles`` tiles.

    The last row and column of chunks are as small as the raster leaves them.
    """

    height: int
    width: int
    tiles: int = DEFAULT_CHUNK_TILES

    def __post_init__(self) -> None:
        if self.height < 1 or self.width < 1:
            raise ValueError(f"a raster needs at least one pixel, got {self.height}×{self.width}")
        if self.tiles < 1:
            raise ValueError(f"a chunk needs at least one tile, got {self.tiles}")

    @property
    def step(self) -> int:
        """Side of a full chunk in pixels."""
        return self.tiles * TILE

    @property
    def row_sizes(self) -> tuple[int, ...]:
        return _split(self.height, self.step)

    @property
    def col_sizes(self) -> tuple[int, ...]:
        return _split(self.width, self.step)

    @property
    def shape(self) -> tuple[int, int]:
        """Number of chunks down and across."""
        return -(-self.height // self.step), -(-self.width // self.step)

    def __len__(self) -> int:
        rows, cols = self.shape
        return rows * cols

    def window(self, i: int, j: int) -> Window:
        """The chunk in row ``i`` and column ``j`` of the grid."""
        rows, cols = self.shape
        if not (0 <= i < rows and 0 <= j < cols):
            raise IndexError(f"chunk ({i}, {j}) is not in a grid of {rows}×{cols}")
        row, col = i * self.step, j * self.step
        return Window(row, col, min(self.step, self.height - row), min(self.step, self.width - col))

    def windows(self, across: int | None = None) -> Iterator[tuple[int, int, Window]]:
        """Every chunk as (i, j, window), row by row.

        With ``across`` the grid is cut into columns of so many chunks, and they come column by
        column: what lies above and below each other is then near in time too.
        """
        rows, cols = self.shape
        across = across or cols
        for first in range(0, cols, across):
            for i in range(rows):
                for j in range(first, min(first + across, cols)):
                    yield i, j, self.window(i, j)


_TILES_PER_SIDE = (4, 16)
"""Of the lattice that is looked at, and of a denser one for scenes that are empty there."""


def lattice(height: int, width: int, per_side: int = _TILES_PER_SIDE[0]) -> tuple[Window, ...]:
    """A fixed lattice of at most ``per_side``² tiles, the same for every chunk size.

    Everything that is global to a scene (the range of its values, its statistics) is read from
    these full-resolution tiles, so that it can't depend on how the scene is cut.
    """

    def starts(size: int) -> list[int]:
        last = max(0, size - TILE)
        if last == 0:
            return [0]
        count = min(per_side, -(-size // TILE))
        return sorted({round(k * last / max(1, count - 1)) for k in range(count)})

    return tuple(
        Window(r, c, min(TILE, height - r), min(TILE, width - c))
        for r in starts(height)
        for c in starts(width)
    )


Looked = TypeVar("Looked")


def look_around(
    shape: tuple[int, int],
    look: Callable[[Sequence[Window]], Looked],
    tells: Callable[[Looked], bool],
) -> Looked:
    """What ``look`` finds in the tiles of the lattice; in those of a denser one if it ``tells``
    nothing: a small field in a large frame of missing pixels lies beside the first.
    """
    usual, denser = (lattice(*shape, per_side) for per_side in _TILES_PER_SIDE)
    found = look(usual)
    return found if tells(found) else look(denser)
