"""Values that mark missing pixels: as pixels hold them, and those that a scene does not declare.

Nothing is masked for what is not declared: what looks like nothing may be dark water. People are
told, and what to say if it is so.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

Tiles = Sequence[tuple[NDArray[Any], NDArray[np.bool_]]]
"""Some bands (bands, height, width) of parts of a scene, and where they are valid."""


def as_stored(dtype: np.dtype[Any], value: float) -> float | None:
    """``value`` as a pixel of this type holds it; None if none can: it marks no pixel then."""
    if dtype.kind == "f":
        with np.errstate(over="ignore"):
            stored = float(dtype.type(value))
        return None if math.isinf(stored) and math.isfinite(value) else stored
    within = np.iinfo(dtype).min <= value <= np.iinfo(dtype).max
    return value if within and float(value).is_integer() else None


_USUAL_NODATA = (
    *(-9999.0, -99999.0, -10000.0, -28672.0, -32768.0, -32767.0),
    float(np.finfo(np.float32).min),
)
"""Values that producers put where nothing was measured, and that nothing measured ever has."""

_OF_A_FRAME = 0.01
"""Share of a scene that a frame around it has at least."""


def suspected_nodata(
    tiles: Tiles, roles: Sequence[str], remedy: str = "give --nodata"
) -> tuple[list[str], float | None]:
    """What looks like missing pixels that a scene does not declare, for people; and the value of
    those around it, see :func:`framing_value`.

    ``tiles`` are some of the scene's, with a band for each of ``roles``; ``remedy`` is what to do
    with a value, if it marks missing pixels here.
    """
    frame = framing_value(tiles)
    return _remarks(tiles, roles, frame, remedy), frame


def told_frame(tiles: Tiles) -> str | None:
    """The value around a raster, see :func:`framing_value`, as people write it."""
    frame = framing_value(tiles)
    return None if frame is None else _as_text(frame, tiles[0][0].dtype)


def framing_value(tiles: Tiles) -> float | None:
    """The value that seems to lie around a scene, where nothing was measured: 0, the highest
    number of its type, or the lowest below 0, all along a side of some tile in all of its bands.
    """
    dtype = tiles[0][0].dtype
    highest = () if dtype.kind == "f" else (float(np.iinfo(dtype).max),)
    lowest = [values[:, valid].min() for values, valid in tiles if valid.any()]
    below = (float(min(lowest)),) if lowest and min(lowest) < 0 else ()
    for value in (0.0, *highest, *below):
        framing = [(values == value).all(axis=0) & valid for values, valid in tiles]
        sides = (side for f in framing for side in (f[0], f[-1], f[:, 0], f[:, -1]))
        share = sum(int(f.sum()) for f in framing) / max(1, sum(v.sum() for _, v in tiles))
        if (
            _OF_A_FRAME <= share < 1
            and any(side.all() for side in sides)
            and _share_of_neighbours(framing) >= _SOLID
        ):
            return value
    return None


_SOLID = 0.9
"""Share of a frame's pixels whose neighbours are of it too; dark water with some noise has less."""


def _share_of_neighbours(framing: Sequence[NDArray[np.bool_]]) -> float:
    """Of pixels that are True, how many have True below and to the right of them."""
    inner = sum(int((f[:-1, :-1] & f[1:, :-1] & f[:-1, 1:]).sum()) for f in framing)
    return inner / max(1, sum(int(f[:-1, :-1].sum()) for f in framing))


DECLARE_NODATA = "say so in the file: gdal_edit.py -a_nodata"
"""What to do where no option says which values are missing."""


def _remarks(tiles: Tiles, roles: Sequence[str], frame: float | None, remedy: str) -> list[str]:
    said = []
    if frame is not None and frame not in _USUAL_NODATA:
        told = _as_text(frame, tiles[0][0].dtype)
        said.append(
            f"there are edges where all is {told}, which often marks missing pixels; if it does "
            f"here, {remedy} {told}"
        )
    for k, role in enumerate(roles):
        pooled = np.concatenate([values[k][valid] for values, valid in tiles])
        for value in _USUAL_NODATA:
            share = float((pooled == value).mean()) if pooled.size else 0.0
            if share > 0:
                part = f"{share:.1%}" if share >= 0.0005 else "a little"
                told = _as_text(value, pooled.dtype)
                said.append(
                    f"{part} of {role} is {told}, which often marks missing pixels; if it does "
                    f"here, {remedy} {told}"
                )
    return said


def _as_text(value: float, dtype: np.dtype[Any]) -> str:
    """A value in as few digits as lead back to it."""
    short = f"{value:g}"
    same = as_stored(dtype, float(short)) == as_stored(dtype, value)
    return short if same else repr(value)
