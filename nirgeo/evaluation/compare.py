"""Two rasters of one place, pixel by pixel: how far is this picture from that one?

Nothing is held whole: both are read, compared and written in blocks.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import rasterio
from numpy.typing import NDArray
from rasterio.control import GroundControlPoint
from rasterio.crs import CRS
from rasterio.io import DatasetWriter
from rasterio.rpc import RPC
from rasterio.windows import Window as RasterioWindow

from nirgeo._version import __version__
from nirgeo.bands import COLOURS
from nirgeo.cog_blocks import check_blocks
from nirgeo.creation_options import cog_options
from nirgeo.errors import EmptySceneError, EvaluationError, NirgeoError, OptionError, TargetError
from nirgeo.evaluation.scenes import FloatArray, Mask, render
from nirgeo.evaluation.score import number
from nirgeo.evaluation.sums import Block, ErrorSums, blocks, measure_block
from nirgeo.gdal_settings import GDAL_ERRORS
from nirgeo.grid import Grid, same_grid
from nirgeo.handles import files_behind
from nirgeo.interruption import copy_raster
from nirgeo.nodata import suspected_nodata
from nirgeo.radiometry import Quantity
from nirgeo.rgb_source import RgbSource, open_rgb
from nirgeo.scene import resolve_scale
from nirgeo.target import Target
from nirgeo.tiling import Window

MAP_BAND = "angular error (degrees)"


@dataclass(frozen=True)
class Comparison:
    """What was found. ``space`` is ``"reflectance"`` or ``"display"`` (counts / 255)."""

    space: str
    sums: ErrorSums
    resampled: bool
    perceptual: bool = True
    notes: list[str] = field(default_factory=list)

    def to_json(self) -> dict[str, Any]:
        figures = {key: number(value) for key, value in self.sums.figures().items()}
        if not self.perceptual:
            figures |= dict.fromkeys(("ssim", "ssim_picture", "ciede2000"))
        return {
            "space": self.space,
            "resampled": self.resampled,
            "pixels": self.sums.pixels,
            **figures,
            "rmse_per_band": [number(v) for v in self.sums.rmse_per_band()],
            "notes": self.notes,
        }


def compare(
    prediction: str | os.PathLike[str],
    truth: str | os.PathLike[str],
    *,
    bands: Sequence[str] | None = None,
    scale: str | None = None,
    nodata: float | None = None,
    error_map: str | os.PathLike[str] | None = None,
    overwrite: bool = False,
    on_progress: Callable[[int, int], None] = lambda done, total: None,
) -> Comparison:
    """Compare two rasters on the grid of the first, and write a map of their angles if asked to.

    A truth in reflectance beside an 8-bit prediction is rendered as the prediction was, by the
    curve its tags record.

    Parameters
    ----------
    prediction, truth : rasters with red, green and blue
    bands : numbers or names of the truth's red, green and blue
    scale : ``"GAIN[,OFFSET]"``, from the truth's numbers to reflectance, or a file made by nirgeo
    nodata : value of the truth's missing pixels, instead of what it says
    error_map : a Cloud Optimized GeoTIFF to write: float32 degrees, NaN where there is none
    overwrite : replace an existing map
    on_progress : called with (blocks done, blocks in all), the first time with 0 done

    Raises
    ------
    SourceError, BandError, GridError, RadiometryError, TargetError, TargetExistsError
    EvaluationError : the prediction is reflectance and the truth is a picture
    OptionError : the error map would replace one of the rasters
    EmptySceneError : no pixel is valid in both
    """
    for path in (prediction, truth):
        if error_map is not None and Path(path).exists() and _same_file(path, error_map):
            raise OptionError(f"--error-map {error_map} is one of the rasters compared")
    target = None if error_map is None else Target(error_map, overwrite=overwrite)
    predicted = open_rgb(os.fspath(prediction))
    named = "name them with --bands R,G,B"
    true = open_rgb(
        os.fspath(truth), bands=bands, scale=resolve_scale(scale), nodata=nodata, advice=named
    )
    if error_map is not None:
        for file in (*files_behind(os.fspath(prediction)), *files_behind(os.fspath(truth))):
            if os.path.exists(file) and _same_file(file, error_map):
                raise OptionError(f"--error-map {error_map} is a file of the rasters compared")
    missing, _ = suspected_nodata(true.source.samples(COLOURS), COLOURS)
    notes = [f"the truth's {true.scaling.describe()}", *missing]
    resampled = not same_grid(predicted.grid, true.grid)
    if resampled:
        true = true.on_grid(predicted.grid)
        notes.append("the truth was resampled to the prediction's grid")
    if predicted.quantity is Quantity.REFLECTANCE and true.quantity is Quantity.COUNTS:
        raise EvaluationError(
            "the prediction is reflectance and the truth a picture; compare with a "
            "prediction made with --as display, or give the truth's --scale GAIN[,OFFSET]"
        )
    perceptual = find_spec("skimage") is not None
    if not perceptual:
        notes.append(
            "no SSIM and CIEDE2000: they need scikit-image (pip install 'nirgeo[evaluate]')"
        )
    work = _Work(predicted, true, perceptual)
    if work.rendered:
        origin = "recorded in the prediction" if predicted.rendering.recorded else "nirgeo's own"
        notes.append(f"the truth's reflectance was rendered with the curve {origin}")
    if target is None:
        sums = work.run(None, on_progress)
    else:
        sums = _run_with_map(work, target, on_progress)
    space = "reflectance" if predicted.quantity is Quantity.REFLECTANCE else "display"
    return Comparison(space, sums, resampled, perceptual, notes)


def _same_file(a: str | os.PathLike[str], b: str | os.PathLike[str]) -> bool:
    return os.path.exists(b) and os.path.samefile(a, b)


@dataclass(frozen=True)
class _Work:
    predicted: RgbSource
    true: RgbSource
    perceptual: bool

    @property
    def rendered(self) -> bool:
        """Whether the truth must become a picture first."""
        return (
            self.predicted.quantity is Quantity.COUNTS
            and self.true.quantity is Quantity.REFLECTANCE
        )

    def run(
        self, written: DatasetWriter | None, on_progress: Callable[[int, int], None]
    ) -> ErrorSums:
        total = ErrorSums()
        listed = list(blocks(self.predicted.grid.shape))
        on_progress(0, len(listed))
        for done, block in enumerate(listed, start=1):
            sums, angles = self._block(block)
            total = total + sums
            if written is not None:
                window = RasterioWindow(
                    block.cols.start + block.core[1].start,
                    block.rows.start + block.core[0].start,
                    angles.shape[1],
                    angles.shape[0],
                )
                written.write(angles.astype(np.float32), 1, window=window)
            on_progress(done, len(listed))
        if not total.pixels:
            raise EmptySceneError("no pixel is valid in both rasters; do they show the same place?")
        return total

    def _block(self, block: Block) -> tuple[ErrorSums, NDArray[np.float64]]:
        rows, cols = block.rows, block.cols
        window = Window(rows.start, cols.start, rows.stop - rows.start, cols.stop - cols.start)
        predicted, known = self.predicted.read(window)
        true, valid = self._truth(window)
        quantity = self.predicted.quantity
        shown = (render(predicted, quantity), render(true, quantity))
        return measure_block(
            predicted, true, known & valid, shown, block.core, perceptual=self.perceptual
        )

    def _truth(self, window: Window) -> tuple[FloatArray, Mask]:
        true, valid = self.true.read(window)
        if self.rendered:
            true = self.predicted.rendering.unit(true)
        return true, valid


def _run_with_map(
    work: _Work, target: Target, on_progress: Callable[[int, int], None]
) -> ErrorSums:
    with target.guarded() as folder:
        try:
            raw, finished = folder / "angles.tif", folder / "result.tif"
            with rasterio.open(raw, "w", **_profile(work.predicted.grid)) as written:
                _describe(written, work.predicted.grid)
                sums = work.run(written, on_progress)
            _copy_as_cog(raw, finished)
            target.publish(finished)
        except NirgeoError:
            raise
        except GDAL_ERRORS as error:
            raise TargetError(f"{target.name} can't be written ({error})") from error
        finally:
            target.clear()
    return sums


def _profile(grid: Grid) -> dict[str, Any]:
    place: dict[str, Any] = {}
    if grid.gcps and grid.gcp_crs is not None:
        points = [GroundControlPoint(row, col, x, y, z) for row, col, x, y, z in grid.gcps]
        place = {"gcps": points, "crs": CRS.from_user_input(grid.gcp_crs)}
    elif not grid.affine.is_identity or grid.crs is not None:
        place = {"transform": grid.affine}
        if grid.crs is not None:
            place["crs"] = CRS.from_user_input(grid.crs)
    return place | {
        "driver": "GTiff",
        "count": 1,
        "dtype": "float32",
        "height": grid.height,
        "width": grid.width,
        "nodata": float("nan"),
        "tiled": True,
        "blockxsize": 512,
        "blockysize": 512,
        "bigtiff": "IF_SAFER",
    }


def _describe(written: DatasetWriter, grid: Grid) -> None:
    written.set_band_description(1, MAP_BAND)
    if grid.rpcs:
        written.rpcs = RPC.from_gdal(dict(grid.rpcs))
    written.update_tags(AREA_OR_POINT=grid.area_or_point, TIFFTAG_SOFTWARE=f"nirgeo {__version__}")


def _copy_as_cog(raw: Path, finished: Path) -> None:
    made: dict[str, Any] = {"driver": "COG", **cog_options({})}
    copy_raster(raw, finished, **made)
    with open(finished, "rb") as file:
        check_blocks(file)
