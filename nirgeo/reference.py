"""Colours from a reference: a coarser or older natural-colour picture of the scene's place.

The reference says what the ground looks like on the whole; the scene tells what is finer. The
model's own colours are painted first, with the reference as their hint. Their means over the ground
of every pixel of the reference are taken away, and the reference is put in their place. Of what
then still differs, a straight line through every pixel of the reference and its neighbours tells
how it goes with the near infrared that lies under them, averaged to the same pixels:

    colour = reference + own · (model - model averaged) + slope · (nir - nir averaged)

in working space, where ``own`` is how much of the model's detail is taken (:func:`own_detail`) and
the line is fitted to ``reference - own · model averaged``. At the reference's own resolution this
is the reference itself; what is finer is the scene's. With ``own`` 0 it is the regression form of
pan-sharpening with a ridge.

Where green is measured, the reference is first made as bright as that. Another day's light, season
and sensor change how bright the ground is more than how its colours stand to each other.

A field may have been cut since, or snow may have fallen. Where green is measured, a model that can
tell what error it expects says so: what it makes without the reference (:class:`Alone`) is as far
from the reference as its errors go, or farther. Where it is farther, the reference is believed in
proportion:

    believed = min(1, error² / angle²)

with both squares summed over a pixel of the reference and its neighbours, and ``error`` the angle
that nine of ten errors of the model stay within.

Everything is a function of the place in the scene: sums are taken over whole numbers or in a fixed
order, so that chunks can't show.
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import partial, reduce
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nirgeo import hints
from nirgeo.bands import COLOURS
from nirgeo.coarse_fields import Boxes, Doubles, Mask, belief, brightness, interpolate, slopes
from nirgeo.errors import GridError
from nirgeo.georeference import map_positions, turned
from nirgeo.grid import Grid
from nirgeo.hrefs import public
from nirgeo.nodata import told_frame
from nirgeo.radiometry import DisplayCurve, Quantity, from_working, to_working
from nirgeo.rgb_source import RgbSource, open_rgb
from nirgeo.scaling import Scale, Scaling, is_assumed, parse_scale
from nirgeo.source import stamps_of
from nirgeo.tiling import TILE, Window
from nirgeo.two_grids import (
    MARKS,
    any_inside,
    crs_of,
    in_both,
    nearest_turn,
    positions_in,
    reach_in,
    reaches_of,
    same_crs,
    steps_in,
    turn_of,
)

FloatArray = NDArray[np.float32]
Light = Callable[[NDArray[Any]], FloatArray]

COARSEST = 64
"""Widest pixel of a reference, in scene pixels. Beyond, the line is fitted over too much ground."""

FINEST = 1 / 4
"""Narrowest one. Finer references would be read many times over to be averaged away."""

LEAST = 8.0
"""Width in scene pixels that finer pixels are averaged to. What is finer comes from the scene: a
sharp picture of another day would otherwise be copied, changes, shadows and all."""

_ROWS = 64
"""Rows of a chunk that are guided at once: a dozen fields of double numbers lie over each."""

_STRIP = 1 << 20
"""Pixels of a reference that are held at once before they are averaged."""

RIDGE = {Quantity.REFLECTANCE: 3e-4, Quantity.COUNTS: 1e-2}
"""Added to the variance of the near infrared in working space, so that noise has no slope."""

ERROR = 0.03
"""Error of a reference's log ratios that is told to the network that takes them as a hint: of two
sensors, or of two days without a change."""


_LEAST_SEEN = 0.1
"""Share of a block's ground that must be there to tell how bright it is: beside missing pixels a
little of it tells more than nothing."""

_PLANES = (1, 4, 7)
"""Where what is averaged over a reference's pixels begins anew: after the guide, and after the
colours painted with the reference and without. What is left is the expected error."""

_ONE = 1 << 24
"""Pixels are summed in whole numbers of this fraction: sums of them have no rounding."""


_NOWHERE = -1e9
"""Position of what lies nowhere in a reference: as far from it as any."""

_OBLONG = 8.0
"""How much farther than its width a pixel of a reference may reach along the scene."""


SCALE_OPTION = "--reference-scale"

ASSUMED = "its numbers are assumed"

NOTHING_FOUND = "no valid pixel of it was found over the scene"
"""Said of a reference that will hardly be of use."""

FRAMED = "there are edges of it where all is"
"""Said of one that seems to lie in a frame, which has no colour to take."""

_LOOKS: Doubles = MARKS[2::4]
"""Parts of the sides of a grid at which a reference is read, to tell whether it has any pixel."""


@dataclass(frozen=True)
class Alone:
    """What a model makes of a scene without the reference, to tell by what has changed.

    ``colours`` (3, H, W) are in working space; ``error`` (H, W) is the angle in degrees that nine
    of ten of its errors stay within.
    """

    colours: FloatArray
    error: FloatArray


@dataclass(frozen=True)
class _Blocks:
    """Averaged pixels of a reference in working space: (3, h, w), where they are known (h, w),
    and the row and column of the first one."""

    colours: Doubles
    known: Mask
    top: int
    left: int

    def within(self, top: int, left: int, bottom: int, right: int) -> _Blocks | None:
        """Those of some rows and columns; None if not all of them are here."""
        height, width = self.known.shape
        down, across = top - self.top, left - self.left
        if min(down, across) < 0 or bottom > self.top + height or right > self.left + width:
            return None
        part = slice(down, bottom - self.top), slice(across, right - self.left)
        return _Blocks(self.colours[:, *part], self.known[part], top, left)


@dataclass(frozen=True)
class Reference:
    """A reference for one scene.

    ``size`` is the width of its pixels in scene pixels, after ``block``² of them were averaged to
    make them at least ``LEAST`` wide: the side of a square as large. ``longest`` is how far one of
    them reaches along the scene's rows or columns: degrees, say, are oblong on the ground.
    ``found`` tells whether any pixel of it that was looked at is valid and lies over the scene,
    ``frame`` which number seems to lie around it where nothing was measured.
    ``held`` are the blocks that were read last, see :meth:`holding`.
    """

    rgb: RgbSource
    scene: Grid
    block: int
    size: float
    longest: float
    found: bool = True
    frame: str | None = None
    held: list[_Blocks] | None = field(default=None, compare=False, repr=False)

    @property
    def halo(self) -> int:
        """How many scene pixels away a pixel's colour depends on.

        One reference pixel to interpolate, one more for the line, half of one for what lies under
        it; half as much again for a rotated grid. Of oblong pixels the two count as far as they
        reach, with a tenth more since degrees are not as oblong everywhere. The model's own colours
        are needed as far.
        """
        oblong = 1.1 * (2 * self.longest + self.size / 2)
        return math.ceil(max(1.5 * 2.5 * self.size, oblong)) + 2

    def identity(self) -> dict[str, Any]:
        source = self.rgb.source
        bands = [(public(b.path), b.index, repr(b.nodata)) for b in source.bands]
        return {
            "reference": [bands, stamps_of(source), source.roles, self.rgb.scaling.tag()],
            "reference_block": self.block,
        }

    def describe(self) -> str:
        name = Path(public(self.rgb.source.bands[0].path)).name
        said = f"{name}, pixels {self.size:.3g} scene pixels wide"
        scaling = self.rgb.scaling
        if is_assumed(scaling):
            said += f"; its numbers are {scaling.origin}"
        elif scaling.origin == SCALE_OPTION:
            said += f"; {scaling.describe()}"
        if self.frame is not None:
            said += f"; {FRAMED} {self.frame}"
        return said if self.found else f"{said}; {NOTHING_FOUND}"

    def holding(self) -> Reference:
        """The same for one chunk: what its hint is made of is not read again to paint it."""
        return replace(self, held=[])

    def hint(
        self,
        row: int,
        col: int,
        shape: tuple[int, int],
        stride: int,
        quantity: Quantity,
        curve: DisplayCurve,
    ) -> tuple[FloatArray, FloatArray]:
        """The reference as a colour hint (3, h, w), and the share of each cell it knows (h, w).

        ``shape`` counts coarse cells of ``stride`` pixels, from pixel (``row``, ``col``) on.
        """
        rows: Doubles = row + (np.arange(shape[0], dtype=np.float64) + 0.5) * stride
        cols: Doubles = col + (np.arange(shape[1], dtype=np.float64) + 0.5) * stride
        nothing = np.zeros((hints.CHANNELS, *shape), dtype=np.float32)
        found = self._blocks_at(rows, cols, quantity, curve)
        if found is None:
            return nothing, nothing[0]
        colours, known, _, at = found
        linear = from_working(colours.astype(np.float32), quantity)
        encoded = hints.encode(hints.log_ratios(linear), known * hints.trust(ERROR))
        fields = np.concatenate((encoded, known[None])).astype(np.float64)
        spread = interpolate(fields, *at)
        return spread[:-1].astype(np.float32), spread[-1].astype(np.float32)

    def paint(
        self,
        painted: FloatArray,
        guide: FloatArray,
        valid: Mask,
        around: Window,
        target: tuple[slice, slice],
        quantity: Quantity,
        curve: DisplayCurve,
        own: float,
        measured: int | None = None,
        alone: Alone | None = None,
    ) -> FloatArray:
        """The target's colours (3, h, w), the reference's where it has any and nothing changed.

        Parameters
        ----------
        painted : the model's own colours (3, H, W) in working space
        guide : the band whose detail is carried over (H, W), likewise
        valid : (H, W)
        around : where in the scene these three lie: the target and the halo around it
        target : rows and columns of them that are wanted
        own : how much of the model's detail is taken, 0…1
        measured : number of the colour that the guide is a measurement of; then the reference only
            tells how the others stand to it
        alone : what changes are told by; without it all of the reference is believed
        """
        shown, model = guide[target], painted[:, *target]
        rows, cols = (
            np.arange(part.start, part.stop, dtype=np.float64) + (first + 0.5)
            for part, first in zip(target, (around.row, around.col), strict=True)
        )
        found = self._blocks_at(rows, cols, quantity, curve)
        if found is None:
            return model
        colours, known, first, at = found
        planes = [guide, *painted]
        if alone is not None:
            planes += [*alone.colours, alone.error]
        means, seen = self._averaged(planes, valid, around, *first, known.shape)
        guide_mean, painted_mean, alone_mean, error_mean = np.split(means, _PLANES)
        under, known_model = guide_mean[0], own * painted_mean
        if measured is not None:
            # How bright the ground is there is not known, so neither is how blue: the model's.
            known = known & seen
        detail = seen & known
        if measured is not None:
            colours = colours * brightness(under, colours[measured], detail)
        steepness = slopes(colours - known_model, under, detail, RIDGE[quantity])
        fields = np.concatenate(
            (
                colours * known - (steepness * under + known_model) * detail,
                steepness * detail,
                (known - own * detail)[None],
            )
        )
        changes = None
        if alone is not None:
            ours, theirs = (
                from_working(part.astype(np.float32), quantity).astype(np.float64)
                for part in (alone_mean, colours)
            )
            believed_there = belief(ours, theirs, error_mean[0], detail)
            changes = alone.colours[:, *target], believed_there[None]
        guided = np.empty(model.shape, dtype=np.float32)
        for top in range(0, shown.shape[0], _ROWS):
            part = slice(top, top + _ROWS)
            spots = tuple(axis[part] if len(axis) > 1 else axis for axis in at)
            spread = interpolate(fields, *spots)
            made = model[:, part] * (1 - spread[6]) + (spread[:3] + spread[3:6] * shown[part])
            if changes is not None:
                unguided, there = changes
                believed = interpolate(there, *spots)
                made = unguided[:, part] * (1 - believed) + made * believed
            guided[:, part] = made
        return guided

    def _blocks_at(
        self, rows: Doubles, cols: Doubles, quantity: Quantity, curve: DisplayCurve
    ) -> tuple[Doubles, Mask, tuple[int, int], tuple[Doubles, Doubles]] | None:
        """What is known around every crossing of scene positions; None beside the reference.

        Working-space colours of blocks (3, h, w), where they are known (h, w), row and column of
        the first block, and the positions in blocks from its middle, for :func:`interpolate`.
        """
        spots = self._in_reference(rows, cols)
        fetched = None if spots is None else self._fetch(*spots, quantity, curve)
        if spots is None or fetched is None:
            return None
        top, left = fetched.top, fetched.left
        return fetched.colours, fetched.known, (top, left), (spots[0] - top, spots[1] - left)

    def _in_reference(self, rows: Doubles, cols: Doubles) -> tuple[Doubles, Doubles] | None:
        """Rows and columns in the reference, in blocks, of every crossing of scene positions.

        Of shapes (rows, 1) and (1, cols) if both grids are parallel, else (rows, cols) each. 0 is
        the middle of the first block. None where the coordinates can't be transformed.
        """
        there = self.rgb.grid
        if same_crs(self.scene, there):
            between = ~there.affine @ self.scene.affine
            if between.b == 0 and between.d == 0:
                down, across = between.f + rows * between.e, between.c + cols * between.a
                across = nearest_turn(there, across)
                return (down / self.block - 0.5)[:, None], (across / self.block - 0.5)[None]
            grid_rows, grid_cols = np.meshgrid(rows, cols, indexing="ij")
            across, down = between @ (grid_cols, grid_rows)
            return down / self.block - 0.5, nearest_turn(there, across) / self.block - 0.5
        # A coordinate transformation at every pixel would cost more than the network. It is made at
        # the corners of tiles, which do not depend on the window.
        first_row, first_col = int(rows[0]) // TILE, int(cols[0]) // TILE
        nodes_down = np.arange(first_row, int(rows[-1]) // TILE + 2) * float(TILE)
        nodes_across = np.arange(first_col, int(cols[-1]) // TILE + 2) * float(TILE)
        node_rows, node_cols = np.meshgrid(nodes_down, nodes_across, indexing="ij")
        place = map_positions(self.scene, node_rows, node_cols, crs_of(there))
        if place is None:
            return None
        with np.errstate(invalid="ignore"):  # what has no place is infinite
            across, down = ~there.affine @ place
        at = (rows / TILE - first_row)[:, None], (cols / TILE - first_col)[None]
        usable, torn = self._usable(down, across)
        tiles = np.ix_(*(axis.ravel().astype(int) for axis in at))
        with np.errstate(invalid="ignore"):
            down, across = interpolate(np.stack((down, across)), *at)
        part = torn[tiles]
        if part.any():  # between longitudes on both sides of 180° lie those of half the globe
            own_rows, own_cols = np.nonzero(part)
            down[part], across[part] = positions_in(
                self.scene, rows[own_rows], cols[own_cols], there
            )
        across = nearest_turn(there, across)
        known = usable[tiles] & np.isfinite(down) & np.isfinite(across)
        down, across = (np.where(known, axis, _NOWHERE) for axis in (down, across))
        return down / self.block - 0.5, across / self.block - 0.5

    def _usable(self, down: Doubles, across: Doubles) -> tuple[Mask, Mask]:
        """Of tiles between nodes (h, w): whether the reference can be used there, and if they
        hold the end of the globe: (h - 1, w - 1) each.

        Not where a corner has no place in it, nor where its pixels reach farther than the halo,
        as degrees do near a pole.
        """
        turn = turn_of(self.rgb.grid)
        steps, jumps = [], []
        with np.errstate(invalid="ignore"):
            for axis in (0, 1):
                rows, cols = np.diff(down, axis=axis), np.diff(across, axis=axis)
                shorter = cols if turn is None else turned(cols, 0, turn)
                jumps.append(shorter != cols)
                steps.append(np.stack((rows, shorter), axis=-1) / TILE)
            torn = jumps[0][:, :-1] | jumps[0][:, 1:] | jumps[1][:-1] | jumps[1][1:]
            reach = np.maximum(
                reaches_of(np.stack((steps[0][:, :-1], steps[1][:-1]), axis=-2)),
                reaches_of(np.stack((steps[0][:, 1:], steps[1][1:]), axis=-2)),
            )
            return reach * self.block <= 1.1 * self.longest, torn & np.isfinite(reach)

    def _overlaps(self) -> bool:
        """Whether any of some positions all over one of the two lies in the other."""
        there = self.rgb.grid
        back = self.scene.crs is not None or same_crs(self.scene, there)
        return any_inside(self.scene, there) or (back and any_inside(there, self.scene))

    def _fetch(
        self, rows: Doubles, cols: Doubles, quantity: Quantity, curve: DisplayCurve
    ) -> _Blocks | None:
        """Blocks of the reference around these positions, two beyond them on every side.

        None if the positions lie beside the reference.
        """
        height, width = (-(-side // self.block) for side in self.rgb.grid.shape)
        if (rows > _NOWHERE / 2).any():
            rows, cols = rows[rows > _NOWHERE / 2], cols[cols > _NOWHERE / 2]
        top = max(0, math.floor(rows.min()) - 2)
        left = max(0, math.floor(cols.min()) - 2)
        bottom = min(height, math.floor(rows.max()) + 4)
        right = min(width, math.floor(cols.max()) + 4)
        if top >= bottom or left >= right:
            return None
        if self.held is None:
            return self._averages(top, left, bottom, right, quantity, curve)
        for blocks in self.held:
            found = blocks.within(top, left, bottom, right)
            if found is not None:
                return found
        # One more on every side: at a scene's edge the middles of a hint's cells lie farther in
        # than those of pixels.
        beyond = max(0, top - 1), max(0, left - 1), min(height, bottom + 1), min(width, right + 1)
        blocks = self._averages(*beyond, quantity, curve)
        self.held[:] = [blocks]
        return blocks.within(top, left, bottom, right)

    def _averages(
        self,
        top: int,
        left: int,
        bottom: int,
        right: int,
        quantity: Quantity,
        curve: DisplayCurve,
    ) -> _Blocks:
        """Blocks of these rows and columns."""
        block, (height, width) = self.block, self.rgb.grid.shape
        col, stop_col = left * block, min(right * block, width)
        light = self._light(quantity, curve)
        strip = max(1, _STRIP // (block * block * (right - left)))
        parts = []
        for start in range(top, bottom, strip):
            row = start * block
            stop_row = min(min(start + strip, bottom) * block, height)
            window = Window(row, col, stop_row - row, stop_col - col)
            parts.append(_block_means(*self.rgb.read_numbers(window), block, light))
        means = np.concatenate([part for part, _ in parts], axis=1)
        known = np.concatenate([part for _, part in parts])
        if self.frame is not None and float(self.frame) == 0:
            known &= means.any(axis=0)  # black is what lies around it, and no colour to take
        return _Blocks(to_working(means, quantity).astype(np.float64), known, top, left)

    def _light(self, quantity: Quantity, curve: DisplayCurve) -> Light:
        """From the file's numbers, of any shape, to reflectance or counts as the model's quantity.

        Of integers of few values from a table: finer references have hundreds of pixels to a block.
        """
        light = partial(_light, self.rgb, quantity, curve)
        dtype = self.rgb.source.dtype
        if self.block == 1 or dtype.kind not in "ui" or dtype.itemsize > 2:
            return light
        kind = np.dtype(f"u{dtype.itemsize}")
        table = light(np.arange(1 << 8 * dtype.itemsize, dtype=kind).view(dtype))
        return lambda values: table[values.view(kind)]

    def _averaged(
        self,
        planes: Sequence[FloatArray],
        valid: Mask,
        around: Window,
        first_row: int,
        first_col: int,
        shape: tuple[int, int],
    ) -> tuple[Doubles, Mask]:
        """Means of planes (H, W) over the ground of every block of the reference, and where known.

        A block's ground is the square of scene pixels around its middle.
        """
        rows, cols = self._in_scene(
            first_row + np.arange(shape[0]), first_col + np.arange(shape[1])
        )
        half = self.size / 2
        spans = []
        for middle, start, side in (
            (rows, around.row, around.height),
            (cols, around.col, around.width),
        ):
            with np.errstate(invalid="ignore"):
                # Blocks of half pixels end in the middle of one, where the last bit of a
                # georeference must not decide on which side.
                first, last = (np.rint(np.round(middle + d, 6)) for d in (-half, half))
                low = np.nan_to_num(first, nan=-1e9)
                high = np.nan_to_num(np.maximum(last, low + 1), nan=-1e9)
            spans.append(
                (
                    np.clip(low - start, 0, side).astype(np.int64),
                    np.clip(high - start, 0, side).astype(np.int64),
                )
            )
        (top, bottom), (left, right) = spans
        wanted = np.broadcast_to(np.maximum(1.0, self.size) ** 2, shape)

        boxes = Boxes(top, bottom, left, right, shape)
        counts = boxes.sums(lambda rows: valid[rows].astype(np.int64), around)
        seen = counts >= np.maximum(1, _LEAST_SEEN * wanted)
        means = np.zeros((len(planes), *shape))
        for mean, plane in zip(means, planes, strict=True):

            def whole(rows: slice, plane: FloatArray = plane) -> NDArray[np.int64]:
                known = np.where(valid[rows], np.nan_to_num(plane[rows]), 0).astype(np.float64)
                return np.rint(known * _ONE).astype(np.int64)

            sums = boxes.sums(whole, around)
            mean[seen] = (sums / np.maximum(counts, 1) / _ONE)[seen]
        return means, seen

    def _in_scene(self, rows: NDArray[Any], cols: NDArray[Any]) -> tuple[Doubles, Doubles]:
        """Scene positions of the middles of blocks, NaN where they have none; shapes as above."""
        there = self.rgb.grid
        down, across = (rows + 0.5) * self.block, (cols + 0.5) * self.block
        if same_crs(self.scene, there):
            between = ~self.scene.affine @ there.affine
            if between.b == 0 and between.d == 0:
                return (
                    (between.f + down * between.e)[:, None],
                    nearest_turn(self.scene, between.c + across * between.a)[None],
                )
        grid_rows, grid_cols = np.meshgrid(down, across, indexing="ij")
        if same_crs(self.scene, there):
            x, y = ~self.scene.affine @ (there.affine @ (grid_cols, grid_rows))
            return y, nearest_turn(self.scene, x)
        place = map_positions(there, grid_rows, grid_cols, crs_of(self.scene))
        if place is None:
            nothing = np.full(grid_rows.shape, np.nan)
            return nothing, nothing
        with np.errstate(invalid="ignore"):
            x, y = ~self.scene.affine @ place
        x = nearest_turn(self.scene, np.where(np.isfinite(x), x, np.nan))
        return np.where(np.isfinite(y), y, np.nan), x


def own_detail(bands: Sequence[str], quantity: Quantity) -> float:
    """How much of the detail of a model's colours is taken beside a reference.

    All of it, but where one near-infrared value of coarse pixels is all that the model has: there
    half of it was best on the validation places.
    """
    return 0.5 if tuple(bands) == ("nir",) and quantity is Quantity.REFLECTANCE else 1.0


def open_reference(path: str, scene: Grid, scale: Scale | None = None) -> Reference:
    """A natural-colour raster as a reference for a scene on this grid.

    ``scale`` is a gain to reflectance, or ``"GAIN[,OFFSET]"``, instead of what the file says. Its
    bands red, green and blue are found as :func:`nirgeo.rgb_source.open_rgb` finds them.

    Raises
    ------
    SourceError, BandError, RadiometryError : see there
    GridError : one of the two has no place on the map, they do not overlap, or the reference's
        pixels are much wider or narrower than the scene's
    """
    if isinstance(scale, (int, float, np.number)):
        scale = Scaling(Quantity.REFLECTANCE, float(scale), 0.0, SCALE_OPTION)
    elif isinstance(scale, (str, os.PathLike)):
        scale = parse_scale(os.fspath(scale), SCALE_OPTION)
    rgb = open_rgb(path, scale=scale)
    there = rgb.grid
    for what, grid in (("the scene", scene), (f"the reference {public(path)}", there)):
        bare = scene.crs is None and there.crs is None and not grid.gcps
        if grid.crs is None and not bare:
            raise GridError(
                f"{what} has no CRS and transform, so the reference can't be laid over the scene; "
                "give it one with gdalwarp"
            )
    by_pixel = steps_in(scene, there, np.array([scene.height / 2]), np.array([scene.width / 2]))[0]
    if not np.isfinite(by_pixel).all():
        raise GridError(f"the reference {public(path)} can't be laid over the scene")
    area = abs(float(np.linalg.det(by_pixel)))
    size = 1 / math.sqrt(area) if area > 0 else math.inf
    if not FINEST <= size <= COARSEST:
        raise GridError(
            f"the reference {public(path)} has pixels {size:.3g} times as wide as the scene's; "
            f"need {FINEST:g} to {COARSEST}. Resample it with gdalwarp -tr … -r average"
        )
    block = math.ceil(LEAST / size - 1e-6)
    longest = reach_in(scene, there)
    if not same_crs(scene, there):  # what reaches farther is not used, see _usable
        longest = min(longest, _OBLONG * size)
    result = Reference(rgb, scene, block, size * block, longest * block)
    if not result._overlaps():
        raise GridError(f"the reference {public(path)} does not overlap the scene")
    frame = told_frame(rgb.source.samples(COLOURS))
    return replace(result, found=_any_valid(rgb, scene), frame=frame)


def _any_valid(rgb: RgbSource, scene: Grid) -> bool:
    """Whether a reference is valid at any of some places that lie in both grids."""
    there = rgb.grid
    _, _, rows, cols = in_both(scene, there, _LOOKS)
    if scene.crs is not None or same_crs(scene, there):
        own_rows, own_cols, _, _ = in_both(there, scene, _LOOKS)
        rows, cols = np.concatenate((own_rows, rows)), np.concatenate((own_cols, cols))
    # In any order but row by row: the first few then mostly tell.
    return any(
        rgb.read(
            Window(min(int(rows[k]), there.height - 1), min(int(cols[k]), there.width - 1), 1, 1)
        )[1].any()
        for k in np.random.default_rng(0).permutation(len(rows))
    )


def _light(
    rgb: RgbSource, quantity: Quantity, curve: DisplayCurve, values: NDArray[Any]
) -> FloatArray:
    """Numbers of a reference as reflectance or counts, whichever the model has."""
    light = rgb.scaled(values)
    if quantity is Quantity.REFLECTANCE:
        return rgb.rendering.reflectance(light) if rgb.quantity is Quantity.COUNTS else light
    if rgb.quantity is Quantity.REFLECTANCE:
        return curve.apply(light).astype(np.float32)
    return light * np.float32(255)


def _block_means(
    values: NDArray[Any], valid: Mask, block: int, light: Light
) -> tuple[FloatArray, Mask]:
    """Means of the valid pixels of whole blocks, added in a fixed order, and where half is valid.

    A block that the reference's edge cuts counts with what there is of it.
    """
    if block == 1:
        return np.where(valid, light(values), np.float32(0)), valid
    pad = [(0, -side % block) for side in valid.shape]
    values, valid = np.pad(values, ((0, 0), *pad)), np.pad(valid, pad)
    shape = (3, valid.shape[0] // block, valid.shape[1])
    total, count = np.zeros(shape), np.zeros(shape[1:], dtype=np.int64)
    for down in range(block):
        seen = valid[down::block]
        total += np.where(seen, light(values[:, down::block]), np.float32(0))
        count += seen
    total, count = (
        reduce(np.add, [part[..., across::block] for across in range(block)])
        for part in (total, count)
    )
    means = total / np.maximum(count, 1)
    return means.astype(np.float32), count * 2 >= block * block
