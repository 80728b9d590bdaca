"""Errors as sums that add up: over the blocks of a scene, and over scenes for pooled figures.

The measures are those of :mod:`nirgeo.metrics`, taken block by block, so that a scene of any size
needs the memory of a block. Quantiles of the angle come from a histogram with bins of 0.01°.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, fields
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nirgeo import metrics

BIN_DEGREES = 0.01
_BINS = 18_001
BLOCK = 1024
HALO = metrics.SSIM_WINDOW // 2
"""What SSIM sees beyond a block: with it, blocks hold each of its windows once."""

Doubles = NDArray[np.float64]
Slices = tuple[slice, slice]


def _zeros() -> Doubles:
    return np.zeros(3)


@dataclass
class ErrorSums:
    """See the module. Values are reflectance or counts / 255; ``pixels`` are the valid ones."""

    total: int = 0
    pixels: int = 0
    angles: int = 0
    angle: float = 0.0
    angle_squared: float = 0.0
    undefined_prediction: int = 0
    squared: Doubles = field(default_factory=_zeros)
    absolute: Doubles = field(default_factory=_zeros)
    truth: Doubles = field(default_factory=_zeros)
    similarity: float = 0.0
    similarity_shown: float = 0.0
    windows: int = 0
    difference: float = 0.0
    histogram: NDArray[np.int64] = field(default_factory=lambda: np.zeros(_BINS, dtype=np.int64))

    def __add__(self, other: ErrorSums) -> ErrorSums:
        return ErrorSums(**{f.name: getattr(self, f.name) + getattr(other, f.name) for f in _ALL})

    def figures(self) -> dict[str, float]:
        """Every figure by its name; NaN where nothing is to tell, or a pixel was not predicted.

        ``masked`` is the share of all pixels not scored, ``undefined`` the share of the scored ones
        where either colour has no direction, ``undefined_prediction`` the part of it that the
        prediction is to blame for.
        """
        nan = float("nan")
        mean = self.angle / self.angles if self.angles else nan
        variance = self.angle_squared / self.angles - mean**2 if self.angles else nan
        with np.errstate(invalid="ignore", divide="ignore"):
            band_mse = self.squared / self.pixels
            mse = float(band_mse.mean())
            means = self.truth / self.pixels
            ergas = 100 * np.sqrt((band_mse / means**2).mean()) if (means != 0).all() else nan
        undefined = self.pixels - self.angles
        return {
            "angular": mean,
            "angular_sd": float(np.sqrt(np.maximum(0.0, variance))) if self.angles else nan,
            "angular_median": self.quantile(0.5),
            "angular_p95": self.quantile(0.95),
            "rmse": float(np.sqrt(mse)),
            "mae": float(self.absolute.mean() / self.pixels) if self.pixels else nan,
            "ergas": float(ergas),
            "psnr": float(-10 * np.log10(mse)) if mse > 0 else (float("inf") if mse == 0 else nan),
            "ssim": self.similarity / self.windows if self.windows else nan,
            "ssim_picture": self.similarity_shown / self.windows if self.windows else nan,
            "ciede2000": self.difference / self.pixels if self.pixels else nan,
            "masked": 1 - self.pixels / self.total if self.total else nan,
            "undefined": undefined / self.pixels if self.pixels else nan,
            "undefined_prediction": self.undefined_prediction / self.pixels if self.pixels else nan,
        }

    def rmse_per_band(self) -> Doubles:
        """(3,) red, green, blue."""
        with np.errstate(invalid="ignore", divide="ignore"):
            return np.asarray(np.sqrt(self.squared / self.pixels))

    def quantile(self, share: float) -> float:
        """Angle in degrees that ``share`` of the pixels do not exceed, to 0.01°."""
        if not self.angles or np.isnan(self.angle):
            return float("nan")
        if self.angle == 0:
            return 0.0
        position = np.searchsorted(np.cumsum(self.histogram), share * self.angles)
        return float((position + 0.5) * BIN_DEGREES)


_ALL = fields(ErrorSums)


def measure_block(
    prediction: NDArray[Any],
    truth: NDArray[Any],
    valid: NDArray[np.bool_],
    shown: tuple[NDArray[np.uint8], NDArray[np.uint8]],
    core: Slices,
    *,
    perceptual: bool = True,
) -> tuple[ErrorSums, Doubles]:
    """Sums of one block, and its angles in degrees (h, w): NaN where not valid or undefined.

    Parameters
    ----------
    prediction, truth : (3, H, W) reflectance or counts / 255, with a halo of ``HALO`` px where
        the raster goes on
    valid : (H, W) pixels that count
    shown : (3, H, W) uint8 renderings of both
    core : the block inside its halo, as slices of rows and columns
    perceptual : SSIM and CIEDE2000 too, which need scikit-image
    """
    inner = valid[core]
    a, b = prediction[:, *core][:, inner], truth[:, *core][:, inner]
    a, b = a.astype(np.float64), b.astype(np.float64)
    angles = metrics.angular_error(a, b)
    kept = angles[~np.isnan(angles)]
    black = (b == 0).all(axis=0) | ~np.isfinite(b).all(axis=0)
    missed = 0.0 if np.isfinite(a).all() else float("nan")
    sums = ErrorSums(
        total=inner.size,
        pixels=a.shape[1],
        angles=kept.size,
        angle=float(kept.sum()) + missed,
        angle_squared=float((kept**2).sum()) + missed,
        undefined_prediction=int((np.isnan(angles) & ~black).sum()),
        squared=((a - b) ** 2).sum(axis=1),
        absolute=np.abs(a - b).sum(axis=1),
        truth=b.sum(axis=1),
        histogram=np.bincount(
            np.minimum((kept / BIN_DEGREES).astype(np.int64), _BINS - 1), minlength=_BINS
        ),
    )
    if perceptual:
        windows = _whole_windows(valid)
        if windows:
            sums.windows = windows
            sums.similarity = windows * metrics.ssim(prediction, truth, valid, data_range=1)
            sums.similarity_shown = windows * metrics.ssim(*shown, valid, data_range=255)
        if sums.pixels:
            pictures = (picture[:, *core][:, inner] for picture in shown)
            sums.difference = float(metrics.ciede2000(*pictures).sum())
    field_of_angles = np.full(inner.shape, np.nan)
    field_of_angles[inner] = angles
    return sums, field_of_angles


def _whole_windows(valid: NDArray[np.bool_]) -> int:
    """Number of SSIM windows without an invalid pixel."""
    side = metrics.SSIM_WINDOW
    if min(valid.shape) < side:
        return 0
    rows = np.lib.stride_tricks.sliding_window_view(valid, side, axis=0).all(axis=-1)
    whole = np.lib.stride_tricks.sliding_window_view(rows, side, axis=1).all(axis=-1)
    return int(np.count_nonzero(whole))


@dataclass(frozen=True)
class Block:
    """Rows and columns of a block with halo, and the block itself inside them."""

    rows: slice
    cols: slice
    core: Slices


def blocks(shape: tuple[int, int], size: int = BLOCK) -> Iterator[Block]:
    """Blocks that cover a raster of ``shape`` once, row by row."""
    height, width = shape
    for row in range(0, height, size):
        for col in range(0, width, size):
            top, left = max(0, row - HALO), max(0, col - HALO)
            bottom, right = min(height, row + size + HALO), min(width, col + size + HALO)
            core = (
                slice(row - top, min(height, row + size) - top),
                slice(col - left, min(width, col + size) - left),
            )
            yield Block(slice(top, bottom), slice(left, right), core)


def measure(
    prediction: NDArray[Any],
    truth: NDArray[Any],
    valid: NDArray[np.bool_],
    shown: tuple[NDArray[np.uint8], NDArray[np.uint8]],
) -> tuple[ErrorSums, NDArray[np.float32]]:
    """:func:`measure_block` over a whole scene; angles as float32 (H, W)."""
    total = ErrorSums()
    angles = np.empty(valid.shape, dtype=np.float32)
    for block in blocks((valid.shape[0], valid.shape[1])):
        window = (block.rows, block.cols)
        part, field_of_angles = measure_block(
            prediction[:, *window],
            truth[:, *window],
            valid[window],
            (shown[0][:, *window], shown[1][:, *window]),
            block.core,
        )
        total = total + part
        angles[
            block.rows.start + block.core[0].start : block.rows.start + block.core[0].stop,
            block.cols.start + block.core[1].start : block.cols.start + block.core[1].stop,
        ] = field_of_angles
    return total, angles
