"""Pictures for a report: small PNGs, made with nothing but the standard library and numpy."""

from __future__ import annotations

import base64
import struct
import zlib
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nirgeo.evaluation.scenes import EvaluationScene, FloatArray, Picture, render
from nirgeo.radiometry import Quantity

SIDE = 400
"""Longest side of a picture in a report; larger scenes are averaged down to it."""

SCALE_DEGREES = 20.0
"""Angular error at the upper end of the error map's colours; larger errors look the same."""

NIR_BRIGHTNESS = 0.6
"""Vegetation reflects so much near infrared that the curve of the colours would show it white."""

# A ramp from nearly black over purple and orange to pale yellow, light rising evenly, so that it
# reads the same in grey and for the colour-blind.
_RAMP = np.array(
    [(8, 6, 24), (74, 14, 96), (150, 36, 92), (216, 76, 52), (247, 148, 32), (252, 244, 168)],
    dtype=np.float64,
)
_NOTHING = (120, 120, 120)


def png(picture: Picture) -> bytes:
    """A PNG file of an 8-bit RGB picture (3, H, W)."""
    _, height, width = picture.shape
    rows = np.zeros((height, 1 + 3 * width), dtype=np.uint8)  # each row starts with filter 0
    rows[:, 1:] = np.moveaxis(picture, 0, -1).reshape(height, -1)

    def chunk(kind: bytes, data: bytes) -> bytes:
        return (
            struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        )

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    parts = [(b"IHDR", header), (b"IDAT", zlib.compress(rows.tobytes(), 9)), (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunk(kind, data) for kind, data in parts)


def data_uri(picture: Picture) -> str:
    """A picture as a ``data:`` address that HTML can hold."""
    return "data:image/png;base64," + base64.b64encode(png(picture)).decode("ascii")


def error_colours(angles: NDArray[Any]) -> Picture:
    """Angular errors in degrees (H, W) as colours (3, H, W); grey where there is none."""
    known = np.isfinite(angles)
    position = np.clip(np.where(known, angles, 0) / SCALE_DEGREES, 0, 1) * (len(_RAMP) - 1)
    knots = np.arange(len(_RAMP))
    colours = np.stack([np.interp(position, knots, channel) for channel in _RAMP.T])
    nothing = np.array(_NOTHING, dtype=np.float64)[:, None, None]
    return np.rint(np.where(known, colours, nothing)).astype(np.uint8)


def shrink(values: NDArray[Any], side: int = SIDE) -> NDArray[Any]:
    """(…, H, W) averaged over blocks until no side is longer than ``side``; NaN does not count.

    What is left over at the right and bottom edge is cut off.
    """
    factor = -(-max(values.shape[-2:]) // side)
    if factor <= 1:
        return values
    height, width = (max(1, size // factor) for size in values.shape[-2:])
    rows, cols = min(factor, values.shape[-2]), min(factor, values.shape[-1])
    cut = values[..., : height * rows, : width * cols].astype(np.float64)
    cells = cut.reshape(*values.shape[:-2], height, rows, width, cols)
    known = ~np.isnan(cells)
    count = known.sum(axis=(-3, -1))
    total = np.where(known, cells, 0).sum(axis=(-3, -1))
    mean = np.divide(total, count, out=np.full(total.shape, np.nan), where=count > 0)
    return np.rint(mean).astype(values.dtype) if values.dtype.kind in "ui" else mean


def panels(
    scene: EvaluationScene,
    prediction: FloatArray,
    angles: NDArray[np.float32],
    expected: NDArray[np.float32] | None = None,
    side: int = SIDE,
) -> Mapping[str, Picture]:
    """Near infrared, prediction, truth and error map of one scene, small enough for a page.

    The map of the errors that a model expects follows if there is one.

    Reflectance is averaged before it is rendered, because light adds up there.
    """
    reflectance = scene.quantity is Quantity.REFLECTANCE
    unit = np.float32(1 if reflectance else 255)
    nir = np.where(scene.valid, scene.bands["nir"] / unit, np.float32(np.nan))
    grey = np.repeat(shrink(nir, side)[None], 3, axis=0).astype(np.float32)
    truth = np.where(scene.valid, scene.truth, np.float32(np.nan))
    shown = {
        "near infrared": grey * np.float32(NIR_BRIGHTNESS if reflectance else 1),
        "prediction": shrink(np.where(scene.valid, prediction, np.float32(np.nan)), side),
        "truth": shrink(truth, side),
    }
    pictures = {
        name: render(values.astype(np.float32), scene.quantity) for name, values in shown.items()
    }
    pictures["angular error"] = error_colours(shrink(angles, side))
    if expected is not None:
        pictures["expected error"] = error_colours(shrink(expected, side))
    return pictures


def legend() -> Picture:
    """The colours of the error map from 0° to ``SCALE_DEGREES``, (3, 1, 256)."""
    return error_colours(np.linspace(0, SCALE_DEGREES, 256)[None])
