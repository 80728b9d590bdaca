"""Between pictures and lists of valid pixels, and between working space and linear values.

Averages and mixtures are made of linear values, because light adds there and because errors are
reported there: reflectance, or counts / 255.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nirgeo.baselines.interface import Arrays, Baseline, Context, FloatArray, Mask, Sample
from nirgeo.errors import ModelError, TrainingError
from nirgeo.radiometry import MAX_REFLECTANCE, Quantity

Doubles = NDArray[np.float64]


def working_limit(quantity: Quantity) -> float:
    """Upper end of the working space."""
    return float(np.sqrt(MAX_REFLECTANCE)) if quantity is Quantity.REFLECTANCE else 1.0


def to_linear(working: NDArray[Any], quantity: Quantity) -> Doubles:
    """Working space to reflectance, or to counts / 255; negative values become 0."""
    values = np.maximum(np.asarray(working, dtype=np.float64), 0)
    return values**2 if quantity is Quantity.REFLECTANCE else values


def from_linear(linear: NDArray[Any], quantity: Quantity) -> Doubles:
    """Inverse of :func:`to_linear`."""
    values = np.maximum(np.asarray(linear, dtype=np.float64), 0)
    return np.sqrt(values) if quantity is Quantity.REFLECTANCE else values


def valid_pixels(samples: Iterable[Sample]) -> Iterator[tuple[FloatArray, FloatArray]]:
    """Inputs (bands, n) and colours (3, n) of the valid pixels of each sample that has any.

    Raises
    ------
    TrainingError : after the last sample, if none had a valid pixel
    """
    empty = True
    for sample in samples:
        if sample.valid.any():
            empty = False
            yield sample.inputs[:, sample.valid], sample.colours[:, sample.valid]
    if empty:
        raise no_pixels()


def no_pixels() -> TrainingError:
    return TrainingError("the samples hold no valid pixel to fit a baseline to")


def scene_pixels(
    baseline: Baseline, inputs: FloatArray, valid: Mask, context: Context
) -> FloatArray:
    """The valid pixels of a scene (bands, n), once it is sure that the scene fits the baseline.

    Raises
    ------
    ModelError : the bands, shapes or quantity do not fit
    """
    bands = baseline.bands
    if inputs.ndim != 3 or inputs.shape[0] != len(bands) or inputs.shape[1:] != valid.shape:
        raise ModelError(
            f"baseline {baseline.name} eats {', '.join(bands)} as ({len(bands)}, H, W) with a mask "
            f"(H, W), got {inputs.shape} and {valid.shape}"
        )
    if context.quantity is not baseline.quantity:
        raise ModelError(
            f"baseline {baseline.name} was fitted to {baseline.quantity.value}, "
            f"the scene holds {context.quantity.value}"
        )
    return inputs[:, valid]


def paint(colours: NDArray[Any], valid: Mask, quantity: Quantity) -> FloatArray:
    """Colours (3, n) of the valid pixels as a picture (3, H, W), inside the working space."""
    picture = np.zeros((3, *valid.shape), dtype=np.float32)
    picture[:, valid] = np.clip(colours, 0, working_limit(quantity))
    return picture


def take(
    arrays: Arrays, name: str, shape: tuple[int | None, ...], dtype: type[np.generic] = np.float32
) -> NDArray[Any]:
    """One checked array of a saved baseline; ``None`` in ``shape`` allows any length.

    Raises
    ------
    ModelError : it is missing, of another shape or type, or not finite
    """
    values = arrays.get(name)
    if (
        values is None
        or values.dtype != dtype
        or len(values.shape) != len(shape)
        or any(want not in (None, got) for want, got in zip(shape, values.shape, strict=True))
        or not np.isfinite(values).all()
    ):
        found = "missing" if values is None else f"{values.dtype} {values.shape}"
        raise ModelError(
            f"array {name!r} of a saved baseline is {found}, "
            f"expected finite {np.dtype(dtype)} {shape}"
        )
    return values
