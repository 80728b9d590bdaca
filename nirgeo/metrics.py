"""How far a predicted picture of one scene lies from the true one.

Every function is pure and computes in float64. ``prediction`` and ``truth`` are (3, …) arrays of
one quantity in one unit: reflectance, counts, or counts / 255. ``valid`` (…) marks the pixels that
count (all of them when it is left out); what the others hold has no influence. A scene without a
valid pixel has the error NaN, and so has a prediction with NaN in a valid pixel: an error that
quietly skips what a model failed to predict would reward it.

The angular error is computed as ``atan2(|a × b|, a · b)``: the usual arccosine of a normalised
product loses half of its digits where it matters, near zero, and the small constant that many add
to its denominator turns dark pixels into errors of up to 90°.

Means over scenes and places are in :mod:`nirgeo.place_statistics`.
"""

from __future__ import annotations

from dataclasses import dataclass
from importlib import import_module
from typing import Any

import numpy as np
from numpy.typing import NDArray

Mask = NDArray[np.bool_]
Doubles = NDArray[np.float64]

SSIM_WINDOW = 11
"""Side of the Gaussian window in pixels, with a standard deviation of 1.5 (Wang et al. 2004)."""


def angular_error(prediction: NDArray[Any], truth: NDArray[Any]) -> Doubles:
    """Angle between two colours in degrees, per pixel (Eq. 3 of Suárez et al. 2017).

    Parameters
    ----------
    prediction, truth : (3, …) linear values in one unit

    Returns
    -------
    (…) float64; NaN where either colour is zero or not finite, since a zero vector has no direction

    Raises
    ------
    ValueError : the shapes differ or do not start with 3
    """
    a = np.asarray(prediction, dtype=np.float64)
    b = np.asarray(truth, dtype=np.float64)
    if a.shape != b.shape or a.shape[:1] != (3,):
        raise ValueError(f"need two arrays of shape (3, …), got {a.shape} and {b.shape}")
    cross = np.sqrt(
        (a[1] * b[2] - a[2] * b[1]) ** 2
        + (a[2] * b[0] - a[0] * b[2]) ** 2
        + (a[0] * b[1] - a[1] * b[0]) ** 2
    )
    dot = (a * b).sum(axis=0)
    angle = np.degrees(np.arctan2(cross, dot))
    defined = (np.abs(a).max(axis=0) > 0) & (np.abs(b).max(axis=0) > 0)
    return np.where(defined & np.isfinite(angle), angle, np.nan)


@dataclass(frozen=True)
class AngularSummary:
    """Angular errors of one scene in degrees, and how many pixels they do not speak for.

    ``masked`` is the share of all pixels that are not valid. ``undefined`` is the share of the
    valid ones where either colour has no direction (black, or not finite); ``undefined_prediction``
    is the part of it where the truth has one, so that a model can't improve by painting black.
    """

    mean: float
    standard_deviation: float
    median: float
    p95: float
    pixels: int
    masked: float
    undefined: float
    undefined_prediction: float


def angular_summary(
    prediction: NDArray[Any], truth: NDArray[Any], valid: Mask | None = None
) -> AngularSummary:
    """Mean, standard deviation, median and 95th percentile of the angular error of one scene.

    NaN where a valid pixel was not predicted.

    Raises
    ------
    ValueError : the shapes differ or do not start with 3, or ``valid`` does not fit them
    """
    a, b = _select(prediction, truth, valid)
    angles = angular_error(a, b)
    total = int(np.prod(np.shape(truth)[1:]))
    kept = angles[np.isfinite(angles)]
    black = (b == 0).all(axis=0) | ~np.isfinite(b).all(axis=0)
    share = 1 / angles.size if angles.size else float("nan")
    told = kept.size > 0 and bool(np.isfinite(a).all())
    median, p95 = np.quantile(kept, (0.5, 0.95)) if told else (float("nan"), float("nan"))
    return AngularSummary(
        mean=float(kept.mean()) if told else float("nan"),
        standard_deviation=float(kept.std()) if told else float("nan"),
        median=float(median),
        p95=float(p95),
        pixels=kept.size,
        masked=1 - angles.size / total if total else float("nan"),
        undefined=(angles.size - kept.size) * share,
        undefined_prediction=int((np.isnan(angles) & ~black).sum()) * share,
    )


def sam(prediction: NDArray[Any], truth: NDArray[Any], valid: Mask | None = None) -> float:
    """Spectral angle mapper: for three bands it *is* the mean angular error, in degrees.

    It has a name of its own because remote sensing knows it by this one (Kruse et al. 1993), often
    in radians.
    """
    return angular_summary(prediction, truth, valid).mean


def rmse_per_band(
    prediction: NDArray[Any], truth: NDArray[Any], valid: Mask | None = None
) -> Doubles:
    """Root mean square error of each band over the valid pixels: (bands,), unit of the input."""
    a, b = _select(prediction, truth, valid)
    if a.shape[1] == 0:
        return np.full(a.shape[0], np.nan)
    root: Doubles = np.sqrt(((a - b) ** 2).mean(axis=1))
    return root


def rmse(prediction: NDArray[Any], truth: NDArray[Any], valid: Mask | None = None) -> float:
    """Root mean square error pooled over bands and valid pixels, in the unit of the input."""
    return float(np.sqrt((rmse_per_band(prediction, truth, valid) ** 2).mean()))


def mae(prediction: NDArray[Any], truth: NDArray[Any], valid: Mask | None = None) -> float:
    """Mean absolute error pooled over bands and valid pixels, in the unit of the input."""
    a, b = _select(prediction, truth, valid)
    return float(np.abs(a - b).mean()) if a.size else float("nan")


def ergas(prediction: NDArray[Any], truth: NDArray[Any], valid: Mask | None = None) -> float:
    """Relative error over bands in percent (*erreur relative globale*, Wald 2000), ratio 1.

    ``100 · √(mean over bands of (RMSE / mean of the truth)²)``. Wald's factor is the ratio of two
    pixel sizes; here both pictures have the same, while libraries made for pan-sharpening take 1:4
    and report a quarter of this. NaN when a band of the truth has the mean zero.
    """
    errors = rmse_per_band(prediction, truth, valid)
    _, b = _select(prediction, truth, valid)
    if b.shape[1] == 0:
        return float("nan")
    means = b.mean(axis=1)
    if (means == 0).any():
        return float("nan")
    return float(100 * np.sqrt(((errors / means) ** 2).mean()))


def psnr(
    prediction: NDArray[Any],
    truth: NDArray[Any],
    valid: Mask | None = None,
    *,
    data_range: float,
) -> float:
    """Peak signal-to-noise ratio in dB, pooled over bands; infinite for equal pictures.

    ``data_range`` is a constant of the quantity (1 for reflectance, 255 for counts), never taken
    from the data: one taken from the prediction changes with what is measured.

    Raises
    ------
    ValueError : ``data_range`` is not positive, or the shapes do not fit
    """
    _check_range(data_range)
    error = rmse(prediction, truth, valid)
    return float("inf") if error == 0 else float(20 * np.log10(data_range / error))


def ssim(
    prediction: NDArray[Any],
    truth: NDArray[Any],
    valid: Mask | None = None,
    *,
    data_range: float,
) -> float:
    """Structural similarity (Wang et al. 2004), −1 to 1, mean over bands and windows.

    The published form: Gaussian window of 11×11 px, K₁ = 0.01, K₂ = 0.03, population covariance,
    whole windows only. A window that touches an invalid pixel is left out, because every value one
    could fill in would be compared as if it had been seen. NaN when no window is left.

    Parameters
    ----------
    prediction, truth : (bands, H, W)
    data_range : constant of the quantity, see :func:`psnr`

    Raises
    ------
    ValueError : ``data_range`` is not positive, or the shapes do not fit
    ModuleNotFoundError : scikit-image is not installed
    """
    _check_range(data_range)
    mask = _mask(prediction, truth, valid)
    if mask.ndim != 2:
        raise ValueError(f"need arrays of shape (bands, H, W), got {np.shape(truth)}")
    if min(mask.shape) < SSIM_WINDOW:
        return float("nan")
    inner = SSIM_WINDOW // 2
    rows = np.lib.stride_tricks.sliding_window_view(mask, SSIM_WINDOW, axis=0).all(axis=-1)
    whole = np.lib.stride_tricks.sliding_window_view(rows, SSIM_WINDOW, axis=1).all(axis=-1)
    if not whole.any():
        return float("nan")
    similarity = _skimage("skimage.metrics", "SSIM").structural_similarity
    means = []
    for a, b in zip(np.asarray(prediction), np.asarray(truth), strict=True):
        _, per_pixel = similarity(
            np.where(mask, a, 0).astype(np.float64),
            np.where(mask, b, 0).astype(np.float64),
            data_range=data_range,
            gaussian_weights=True,
            sigma=1.5,
            use_sample_covariance=False,
            full=True,
        )
        means.append(per_pixel[inner:-inner, inner:-inner][whole].mean())
    return float(np.mean(means))


def ciede2000(prediction: NDArray[np.uint8], truth: NDArray[np.uint8]) -> Doubles:
    """Perceived colour difference per pixel (CIEDE2000, Sharma et al. 2005), kL = kC = kH = 1.

    It speaks about what a person sees, so it is only defined for rendered pictures.

    Parameters
    ----------
    prediction, truth : (3, …) uint8 sRGB, both rendered with the same curve; D65, 2° observer

    Returns
    -------
    (…) float64; 1 is about the smallest difference that is noticed side by side

    Raises
    ------
    ValueError : the shapes differ or do not start with 3, or an array is not uint8
    ModuleNotFoundError : scikit-image is not installed
    """
    a, b = np.asarray(prediction), np.asarray(truth)
    if a.shape != b.shape or a.shape[:1] != (3,):
        raise ValueError(f"need two arrays of shape (3, …), got {a.shape} and {b.shape}")
    if a.dtype != np.uint8 or b.dtype != np.uint8:
        raise ValueError(f"need rendered 8-bit pictures, got {a.dtype} and {b.dtype}")
    color = _skimage("skimage.color", "CIEDE2000")
    labs = [color.rgb2lab(picture.reshape(3, -1) / 255.0, channel_axis=0) for picture in (a, b)]
    difference: Doubles = color.deltaE_ciede2000(*labs, channel_axis=0)
    return difference.reshape(a.shape[1:])


def mean_ciede2000(
    prediction: NDArray[np.uint8], truth: NDArray[np.uint8], valid: Mask | None = None
) -> float:
    """Mean of :func:`ciede2000` over the valid pixels of one scene."""
    mask = _mask(prediction, truth, valid)
    if not mask.any():
        return float("nan")
    return float(ciede2000(prediction[:, mask], truth[:, mask]).mean())


@dataclass(frozen=True)
class SceneError:
    """Errors of one scene. ``undefined`` is the share of valid pixels without a direction."""

    angular: float
    rmse: float
    pixels: int
    undefined: float


def scene_error(prediction: NDArray[Any], truth: NDArray[Any], valid: Mask) -> SceneError:
    """Mean angular error (degrees) and RMSE over the valid pixels of one scene.

    Parameters
    ----------
    prediction, truth : (3, H, W) in reflectance, or in counts / 255
    valid : (H, W); pixels that count
    """
    summary = angular_summary(prediction, truth, valid)
    return SceneError(
        angular=summary.mean,
        rmse=rmse(prediction, truth, valid),
        pixels=int(np.count_nonzero(valid)),
        undefined=summary.undefined,
    )


def _mask(prediction: NDArray[Any], truth: NDArray[Any], valid: Mask | None) -> Mask:
    shape = np.shape(truth)
    if np.shape(prediction) != shape or len(shape) < 2:
        raise ValueError(f"need two arrays (bands, …), got {np.shape(prediction)} and {shape}")
    if valid is None:
        return np.ones(shape[1:], dtype=np.bool_)
    mask = np.asarray(valid)
    if mask.shape != shape[1:] or mask.dtype != np.bool_:
        raise ValueError(f"need a boolean mask of shape {shape[1:]}, got {mask.dtype} {mask.shape}")
    return mask


def _select(
    prediction: NDArray[Any], truth: NDArray[Any], valid: Mask | None
) -> tuple[Doubles, Doubles]:
    """The valid pixels of both pictures as (bands, n) float64."""
    mask = _mask(prediction, truth, valid)
    a, b = np.asarray(prediction)[:, mask], np.asarray(truth)[:, mask]
    return a.astype(np.float64), b.astype(np.float64)


def _check_range(data_range: float) -> None:
    if not (np.isfinite(data_range) and data_range > 0):
        raise ValueError(f"data_range {data_range} must be a positive constant of the quantity")


def _skimage(module: str, metric: str) -> Any:
    """A module of scikit-image, imported at its first use: nothing else here needs it."""
    try:
        return import_module(module)
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(
            f"{metric} needs scikit-image, which is not installed; "
            "install the extra: pip install 'nirgeo[evaluate]'",
            name=error.name,
        ) from error
