"""How far one picture's colours lie from another's, computed by QGIS's raster calculator.

The formulas are those of ``nirgeo.metrics``. They are applied to the numbers in the layers as they
are, so both have to be of one kind.
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from qgis.analysis import QgsRasterCalculator, QgsRasterCalculatorEntry
from qgis.core import (
    QgsCoordinateTransformContext,
    QgsFeedback,
    QgsProcessingException,
    QgsProcessingFeedback,
    QgsProcessingMultiStepFeedback,
    QgsRasterLayer,
    QgsRectangle,
)

from .result_layer import alpha_band

_SAMPLED_PIXELS = 250_000
_HISTOGRAM_BINS = 9000  # of a hundredth of a degree, up to the 90° between two colours


@dataclass(frozen=True)
class Picture:
    """A layer's source and which of its bands are red, green and blue.

    Opened in the thread that reads it, since a layer belongs to the one that made it.
    """

    name: str
    source: str
    provider: str
    bands: tuple[int, int, int]

    def open(self) -> QgsRasterLayer:
        layer = QgsRasterLayer(self.source, self.name, self.provider)
        if not layer.isValid():
            raise QgsProcessingException(f"{self.name} can't be opened a second time.")
        return layer


@dataclass(frozen=True)
class ColourError:
    """The table. Angles in degrees, the rest in the unit of the layers.

    ``undefined`` is the share of the compared pixels where one of the two is black, so that there
    is no angle. ``psnr`` is None where the layers do not say what the largest value is.
    """

    pixels: int
    undefined: float
    mean: float
    standard_deviation: float
    median: float
    p95: float
    rmse: float
    mae: float
    psnr: float | None


class CalculationCancelledError(Exception):
    """The user cancelled."""


def compare(
    prediction: Picture,
    truth: Picture,
    peak: float | None,
    folder: str,
    feedback: QgsProcessingFeedback,
) -> tuple[ColourError, str]:
    """Compare on the prediction's grid; returns the figures, and the map of angles in ``folder``.

    Parameters
    ----------
    peak : the largest possible value, 255 for 8-bit pictures; None if there is none
    folder : takes three rasters of the prediction's size

    Raises
    ------
    CalculationCancelledError : the user cancelled
    QgsProcessingException : the two do not overlap, or QGIS can't compute
    """
    squares, absolute, angles = _write_maps(prediction, truth, folder, feedback)
    # From here on nothing holds the layers: the files can be moved, on Windows too, and an error
    # does not keep them alive.
    squared, spread, angle = map(_statistics, (squares, absolute, angles))
    if squared.count == 0:
        raise QgsProcessingException(
            f"{prediction.name} and {truth.name} have no pixel in common: they lie apart, or one "
            "of them has no data where the other has some."
        )
    rmse = math.sqrt(squared.mean)
    median, p95 = _quantiles(angles, (0.5, 0.95)) if angle.count else (math.nan, math.nan)
    return ColourError(
        pixels=squared.count,
        undefined=1 - angle.count / squared.count,
        mean=angle.mean,
        standard_deviation=angle.standard_deviation,
        median=median,
        p95=p95,
        rmse=rmse,
        mae=spread.mean,
        psnr=None if peak is None else 20 * math.log10(peak / rmse) if rmse else math.inf,
    ), angles


def _write_maps(
    prediction: Picture, truth: Picture, folder: str, feedback: QgsProcessingFeedback
) -> tuple[str, str, str]:
    """Rasters of the squared error, the absolute error (means of the bands) and the angle."""
    layers = prediction.open(), truth.open()
    steps = QgsProcessingMultiStepFeedback(3, feedback)
    entries = [
        entry
        for prefix, layer, picture in zip("pt", layers, (prediction, truth))
        for entry in _entries(prefix, layer, picture.bands)
    ]
    valid = [entry.ref for entry in entries if "alpha" in entry.ref]

    def write(number: int, name: str, formula: str) -> str:
        steps.setCurrentStep(number)
        # Division by zero is how this calculator says "no data".
        masked = formula + "".join(f' / ("{ref}" > 0)' for ref in valid)
        path = os.path.join(folder, f"{name}.tif")
        if not feedback.isCanceled():  # a step does not know what happened before it
            _calculate(masked, path, layers[0], entries, steps)
        if feedback.isCanceled():
            raise CalculationCancelledError
        return path

    return (
        write(0, "squares", f"({_sum(lambda p, t: f'({p} - {t}) ^ 2')}) / 3"),
        write(1, "absolute", f"({_sum(lambda p, t: f'sqrt(({p} - {t}) ^ 2)')}) / 3"),
        write(2, "angles", _angle()),
    )


def _entries(
    prefix: str, layer: QgsRasterLayer, bands: Sequence[int]
) -> list[QgsRasterCalculatorEntry]:
    """A picture's bands under the names p1, p2, p3 (or t1 …), and its mask as palpha."""
    named = {f"{prefix}{i}": band for i, band in enumerate(bands, start=1)}
    alpha = alpha_band(layer.dataProvider())
    if alpha > 0 and alpha not in bands and _is_mask(layer, alpha):
        named[f"{prefix}alpha"] = alpha
    entries = []
    for name, band in named.items():
        entry = QgsRasterCalculatorEntry()
        entry.ref = f"{name}@1"
        entry.raster = layer
        entry.bandNumber = band
        entries.append(entry)
    return entries


def _is_mask(layer: QgsRasterLayer, band: int) -> bool:
    """Whether a band called alpha is one: nearly all 0 or 255.

    GDAL gives that name to the fourth band of any 8-bit file that does not say better. In aerial
    pictures that is near infrared, and water would be left out as missing.
    """
    histogram = layer.dataProvider().histogram(
        band, 256, -0.5, 255.5, QgsRectangle(), _SAMPLED_PIXELS
    )
    counts = list(histogram.histogramVector)
    if len(counts) != 256 or not sum(counts):
        return True
    between: float = sum(counts[1:-1]) / sum(counts)
    return between < 0.01


def _sum(term: Callable[[str, str], str]) -> str:
    return " + ".join(term(f'"p{i}@1"', f'"t{i}@1"') for i in (1, 2, 3))


def _angle() -> str:
    """The angle between two colours in degrees: 2 · atan(|p × t| / (|p| |t| + p · t)).

    Unlike the arccosine of the normalised product, it keeps its digits near zero. Where a colour is
    black, the divisor is zero and the result "no data".
    """

    def component(i: int, j: int) -> str:
        return f'("p{i}@1" * "t{j}@1" - "p{j}@1" * "t{i}@1") ^ 2'

    cross = f"sqrt({component(2, 3)} + {component(3, 1)} + {component(1, 2)})"
    dot = _sum(lambda p, t: f"{p} * {t}")
    lengths = f"sqrt({_sum(lambda p, _: f'{p} ^ 2')}) * sqrt({_sum(lambda _, t: f'{t} ^ 2')})"
    return f"{math.degrees(2)!r} * atan({cross} / ({lengths} + {dot}))"


def _calculate(
    formula: str,
    path: str,
    grid: QgsRasterLayer,
    entries: Sequence[QgsRasterCalculatorEntry],
    feedback: QgsFeedback,
) -> None:
    calculator = QgsRasterCalculator(
        formula,
        path,
        "GTiff",
        grid.extent(),
        grid.crs(),
        grid.width(),
        grid.height(),
        list(entries),
        QgsCoordinateTransformContext(),
    )
    result = calculator.processCalculation(feedback)
    if feedback.isCanceled():
        return
    # An integer in QGIS 3, an enumeration in QGIS 4.
    if getattr(result, "value", result) != 0:
        raise QgsProcessingException(
            f"QGIS's raster calculator failed: {calculator.lastError() or result}"
        )


@dataclass(frozen=True)
class _Statistics:
    count: int
    mean: float
    standard_deviation: float


def _statistics(path: str) -> _Statistics:
    layer = QgsRasterLayer(path, "statistics")  # named, or its provider goes with it
    found = layer.dataProvider().bandStatistics(1)
    if found.elementCount == 0:
        return _Statistics(0, math.nan, math.nan)
    return _Statistics(int(found.elementCount), found.mean, found.stdDev)


def _quantiles(path: str, shares: Sequence[float]) -> list[float]:
    """From a histogram fine enough for any table."""
    layer = QgsRasterLayer(path, "histogram")
    histogram = layer.dataProvider().histogram(1, _HISTOGRAM_BINS, 0.0, 90.0)
    counts = list(histogram.histogramVector)
    width = 90.0 / _HISTOGRAM_BINS
    found = []
    for share in shares:
        missing = share * sum(counts)
        for number, count in enumerate(counts):
            if missing <= count and count:
                found.append((number + missing / count) * width)
                break
            missing -= count
    return found
