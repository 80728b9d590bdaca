"""How large chunks may be, and how many at once, so that a run stays within so much memory.

Large chunks waste less of the network on halo; more workers use more cores. Of all pairs that fit
into the budget the one that promises the most pixels per second is taken.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from nirgeo.errors import OptionError
from nirgeo.estimate import Estimate, estimate
from nirgeo.handles import CACHE_BYTES
from nirgeo.radiometry import Scaling
from nirgeo.runtimes.choice import FP32, TORCH
from nirgeo.tiling import DEFAULT_CHUNK_TILES, Window

if TYPE_CHECKING:
    import xarray as xr

    from nirgeo.registry import AnyModel

SIDES = (16, 12, 8, 6, 4, 3, 2, 1)
"""Sides of a chunk in tiles that are tried."""

_LEAST_CACHE = 2**25
"""Holds a row of blocks of a scene that a small budget may be for."""

_UNITS = {"K": 2**10, "M": 2**20, "G": 2**30, "T": 2**40}
_SIZE = re.compile(r"(\d+(?:\.\d+)?)\s*([KMGT])(?:i?B)?", re.IGNORECASE)


def parse_size(text: str) -> int:
    """``600M``, ``1.5G``, ``2 GiB`` as bytes; units are powers of 1024.

    Raises
    ------
    OptionError : not a size
    """
    found = _SIZE.fullmatch(text.strip())
    if found is None or float(found[1]) == 0:
        raise OptionError(f"--memory {text}: need a size such as 600M or 2G")
    return int(float(found[1]) * _UNITS[found[2].upper()])


def cache_within(memory: int) -> int:
    """Bytes of GDAL's block cache in a budget: a sixteenth of it, what it is anyway at most."""
    return min(CACHE_BYTES, max(memory // 16, _LEAST_CACHE))


@dataclass(frozen=True)
class Plan:
    """Side of a chunk in tiles, number of workers, and what they cost."""

    chunk: int
    workers: int
    cost: Estimate


def fit(
    memory: int,
    cost_of: Callable[[int, int], Estimate],
    *,
    chunk: int | None = None,
    workers: int | None = None,
) -> Plan:
    """Chunk and workers for a budget of ``memory`` bytes.

    Parameters
    ----------
    cost_of : estimate for (side of a chunk in tiles, workers)
    chunk, workers : what was asked for, and stays

    Raises
    ------
    OptionError : the budget is too small for that
    """
    cores = os.cpu_count() or 1
    best: Plan | None = None
    least: int | None = None
    for side in SIDES if chunk is None else (chunk,):
        for count in range(cores, 0, -1) if workers is None else (workers,):
            plan = Plan(side, count, cost_of(side, count))
            needed = plan.cost.memory_bytes
            least = needed if least is None else min(least, needed)
            if needed > memory:
                continue
            if best is None or _rate(plan, cores) > _rate(best, cores):
                best = plan
            break  # fewer workers would be slower
    if best is None:
        assert least is not None
        given = "" if chunk is None and workers is None else " with this --chunk and --workers"
        raise OptionError(
            f"--memory {_megabytes(memory)} is too little: this scene and model need at least "
            f"{_megabytes(least)}{given}"
        )
    return best


def _rate(plan: Plan, cores: int) -> float:
    return min(plan.workers, cores) * plan.cost.useful


def _megabytes(size: int) -> str:
    return f"{-(-size // 2**20)}M"


def plan_for(
    memory: str,
    scene: xr.DataArray,
    model: str | AnyModel,
    *,
    device: str = "cpu",
    runtime: str = TORCH,
    precision: str = FP32,
    chunk: int | None = None,
    workers: int | None = None,
) -> Plan:
    """:func:`fit` for a scene of :func:`nirgeo.open_scene`. Nothing is read for that.

    Raises
    ------
    OptionError : ``memory`` is no size, or too small a one
    ModelError, UnknownModelError : see :func:`nirgeo.registry.pick_model`
    """
    from nirgeo.engine import band_numbers, colouriser_of
    from nirgeo.georeference import grid_of
    from nirgeo.registry import pick_model
    from nirgeo.scene import SCALING_ATTR, view_of

    size = parse_size(memory)
    view = view_of(scene)
    if view is None:  # its chunks are those of the file behind it
        quantity = Scaling.from_tag(str(scene.attrs[SCALING_ATTR]), "").quantity
        picked = pick_model(model, quantity, band_numbers(scene))
        shape = grid_of(scene).shape
        region, chunk = Window(0, 0, *shape), chunk or DEFAULT_CHUNK_TILES
    else:
        source = view.source
        product = source.clues.product or ""
        picked = pick_model(model, view.scaling.quantity, dict(source.roles), product)
        shape, region = source.grid.shape, view.region
    colouriser = colouriser_of(picked, device=device, runtime=runtime, precision=precision)

    def cost_of(side: int, count: int) -> Estimate:
        return estimate(
            region, shape, side, colouriser, count, rate=1.0, cache_bytes=cache_within(size)
        )

    return fit(size, cost_of, chunk=chunk, workers=workers)
