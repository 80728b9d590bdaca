"""What a model has seen, and whether a scene looks like that.

A network asked about something it never saw still answers. So its file says what values of each
band the training held, pixel by pixel and on average over a scene, and a scene that lies outside is
told so before its picture is trusted.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nirgeo.colouriser import Tile
from nirgeo.errors import ModelError
from nirgeo.radiometry import Quantity, from_working

TAIL = 0.001
"""Share of the training's pixels below, and above, the range of a band."""

SCENE_TAIL = 0.01
"""Share of the training's scenes whose median lies below, and above, the range of medians."""

DARKEST = 0.02
"""Quantile of a scene's values that stands for its darkest ones."""

DARK_TAIL = 0.025
"""Share of the training's scenes whose darkest values lie above the highest usual ones.

Larger than the others: air brightens what is dark by little, and scenes of one field have nothing
dark in them at all."""

DARK_GROUND = 0.01
"""Reflectance of the darkest ground of a scene, as dark-object subtraction assumes."""

STRANGE = 0.1
"""Share of a scene's pixels outside the range from which on it is mentioned."""


@dataclass(frozen=True)
class BandDomain:
    """Range of one band's values, and of its medians over scenes, in the quantity's unit.

    ``dark_high`` is the highest usual value of a scene's darkest pixels; infinite where a model's
    file does not tell.
    """

    low: float
    high: float
    median_low: float
    median_high: float
    dark_high: float = math.inf


Domain = Mapping[str, BandDomain]
"""By role of the band."""


def domain_from_json(data: Mapping[str, Any]) -> dict[str, BandDomain]:
    """
    Raises
    ------
    ModelError : not four or five finite numbers in order per band
    """
    try:
        domain = {
            str(k): BandDomain(**{n: float(x) for n, x in v.items()}) for k, v in data.items()
        }
    except (AttributeError, TypeError, ValueError) as error:
        raise ModelError(f"damaged training domain in the model's metadata ({error})") from error
    for role, band in domain.items():
        numbers = tuple(data[role].values())
        ordered = band.low < band.high and band.median_low <= band.median_high
        if not all(math.isfinite(float(x)) for x in numbers) or not ordered:
            raise ModelError(f"damaged training domain of {role[:40]!r}: {numbers}")
    return domain


def domain_to_json(domain: Domain) -> dict[str, dict[str, float]]:
    return {
        role: {k: round(v, 5) for k, v in asdict(b).items() if math.isfinite(v)}
        for role, b in domain.items()
    }


def measure_domain(
    scenes: Iterable[Mapping[str, NDArray[np.float32]]], places: Sequence[str]
) -> dict[str, BandDomain]:
    """The domain of a training, every place with the same weight.

    Parameters
    ----------
    scenes : by role, the valid pixels of each scene in the quantity's unit, (N,)
    places : the place of each scene
    """
    pixels: dict[str, list[NDArray[np.float64]]] = {}
    medians: dict[str, list[float]] = {}
    darkest: dict[str, list[float]] = {}
    weights = []
    counts = {place: places.count(place) for place in set(places)}
    shares = np.linspace(0, 1, 2001)
    for scene, place in zip(scenes, places, strict=True):
        weights.append(1 / counts[place])
        for role, values in scene.items():
            # A scene of any size by as many of its quantiles: each stands for equal shares of it.
            pixels.setdefault(role, []).append(np.quantile(values, shares))
            medians.setdefault(role, []).append(float(np.median(values)))
            darkest.setdefault(role, []).append(float(np.quantile(values, DARKEST)))
    weight = np.repeat(weights, shares.size)
    return {
        role: BandDomain(
            *_quantiles(np.concatenate(pixels[role]), weight, TAIL),
            *_quantiles(np.array(medians[role]), np.array(weights), SCENE_TAIL),
            dark_high=_quantiles(np.array(darkest[role]), np.array(weights), DARK_TAIL)[1],
        )
        for role in pixels
    }


def _quantiles(
    values: NDArray[np.float64], weights: NDArray[np.float64], tail: float
) -> tuple[float, float]:
    order = np.argsort(values)
    cumulative = np.cumsum(weights[order]) / weights.sum()
    ranked = values[order]
    low, high = np.searchsorted(cumulative, (tail, 1 - tail)).clip(max=values.size - 1)
    return float(ranked[low]), float(ranked[high])


def remarks(
    domain: Domain, bands: Sequence[str], quantity: Quantity, tiles: Iterable[Tile]
) -> list[str]:
    """What is unusual about a scene, for people; nothing for one like those of the training.

    ``tiles`` are samples of the scene in working space, bands in the order of ``bands``.
    """
    seen = _samples(bands, tiles)
    if seen.shape[1] == 0:
        return []
    digits = 3 if quantity is Quantity.REFLECTANCE else 0
    said = []
    for role, working in zip(bands, seen, strict=True):
        if role not in domain:
            continue
        band, values = domain[role], from_working(working, quantity)
        outside, median = _outside(values, band), float(np.median(values))
        name = "near infrared" if role == "nir" else role
        if outside > STRANGE:
            said.append(
                f"{outside:.0%} of the {name} lies outside the {quantity.value} "
                f"{_lowest(band.low, digits)}–{band.high:.{digits}f} that the model has seen"
            )
        elif not band.median_low <= median <= band.median_high:
            how = "darker" if median < band.median_low else "brighter"
            said.append(
                f"the scene's {name} is {how} (median {quantity.value} {median:.{digits}f}) than "
                f"99% of the scenes that the model has seen ({band.median_low:.{digits}f}–"
                f"{band.median_high:.{digits}f})"
            )
        elif role == "green" and quantity is Quantity.REFLECTANCE and _veiled(values, band):
            said.append(
                f"even the darkest green of the scene is bright ({quantity.value} "
                f"{_darkest(values):.{digits}f}; up to {band.dark_high:.{digits}f} in "
                f"{1 - DARK_TAIL:.1%} of the scenes that the model has seen), as through air that "
                "was not corrected for"
            )
    return said


def veil(domain: Domain, bands: Sequence[str], quantity: Quantity, tiles: Iterable[Tile]) -> float:
    """Reflectance that uncorrected air adds to a scene's green; 0 where nothing tells of any.

    That of the darkest pixels, less what dark ground has (dark-object subtraction, Chavez 1988).
    Where the scene is bright as a whole, its darkest pixels tell of the ground. Parameters are
    those of :func:`remarks`.
    """
    if "green" not in domain or "green" not in bands or quantity is not Quantity.REFLECTANCE:
        return 0.0
    seen = _samples(bands, tiles)
    if seen.shape[1] == 0:
        return 0.0
    band = domain["green"]
    values = from_working(seen[list(bands).index("green")], quantity)
    usual = band.median_low <= float(np.median(values)) <= band.median_high
    if not usual or _outside(values, band) > STRANGE or not _veiled(values, band):
        return 0.0
    return _darkest(values) - DARK_GROUND


def _samples(bands: Sequence[str], tiles: Iterable[Tile]) -> NDArray[np.float32]:
    """Valid pixels of all tiles, (bands, N)."""
    samples = [values[:, valid] for values, valid in tiles]
    if not samples:
        return np.zeros((len(bands), 0), dtype=np.float32)
    return np.concatenate(samples, axis=1)


def _lowest(value: float, digits: int) -> str:
    """Not 0 for what is not, or those that are 0 would seem to lie inside."""
    rounded = f"{value:.{digits}f}"
    return rounded if float(rounded) or not value else f"{value:.1g}"


def _outside(values: NDArray[np.float32], band: BandDomain) -> float:
    return float(((values < band.low) | (values > band.high)).mean())


def _darkest(values: NDArray[np.float32]) -> float:
    return float(np.quantile(values, DARKEST))


def _veiled(values: NDArray[np.float32], band: BandDomain) -> bool:
    return _darkest(values) > band.dark_high
