"""What several test modules need: small rasters of every kind, and models with random weights."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
import torch
from numpy.typing import NDArray
from rasterio.control import GroundControlPoint
from rasterio.enums import ColorInterp
from rasterio.rpc import RPC

from nirgeo.errors import OptionError
from nirgeo.generator import GeneratorConfig, LocalAffineGenerator
from nirgeo.modelfile import Model, ModelSpec, read_model, write_model
from nirgeo.radiometry import Quantity
from nirgeo.runtimes.int8_trunk import check_kernels

UTM = "EPSG:32632"
NORTH_UP_10M = rasterio.Affine(10.0, 0.0, 500_000.0, 0.0, -10.0, 5_000_000.0)


def _why_no_8_bits() -> str:
    try:
        check_kernels()
    except OptionError as error:
        return str(error)
    return ""


WHY_NO_8_BITS = _why_no_8_bits()
"""Why torch can't compute in 8 bits on this machine; nothing where it can."""

needs_8_bits = pytest.mark.skipif(bool(WHY_NO_8_BITS), reason=WHY_NO_8_BITS)


def write_raster(
    path: Path,
    array: NDArray[Any],
    *,
    nodata: float | None = None,
    mask: NDArray[np.bool_] | None = None,
    crs: str | None = UTM,
    transform: rasterio.Affine | None = NORTH_UP_10M,
    gcps: Sequence[tuple[float, float, float, float, float]] = (),
    gcp_crs: str = "EPSG:4326",
    rpcs: RPC | None = None,
    descriptions: Sequence[str | None] = (),
    colorinterp: Sequence[str] = (),
    tags: Mapping[str, str] | None = None,
    band_tags: Mapping[int, Mapping[str, str]] | None = None,
    scales: Sequence[float] = (),
    offsets: Sequence[float] = (),
    **profile: Any,
) -> Path:
    """Write a GeoTIFF and return its path.

    ``array`` is (H, W) or (bands, H, W) and gives the data type. ``mask`` becomes an internal mask
    band, True where a pixel is valid. ``gcps`` are (row, col, x, y, z) and replace the transform;
    ``crs=None`` and ``transform=None`` leave the file without georeference. Anything else goes to
    the driver (``photometric="RGB"``, ``tiled=True``, …).
    """
    bands = array if array.ndim == 3 else array[None]
    path.parent.mkdir(parents=True, exist_ok=True)
    place: dict[str, Any] = {}
    if gcps:
        place = {
            "gcps": [GroundControlPoint(r, c, x, y, z) for r, c, x, y, z in gcps],
            "crs": gcp_crs,
        }
    else:
        place = {k: v for k, v in (("crs", crs), ("transform", transform)) if v is not None}
    with (
        rasterio.Env(GDAL_TIFF_INTERNAL_MASK=True),
        rasterio.open(
            path,
            "w",
            driver=profile.pop("driver", "GTiff"),
            count=bands.shape[0],
            height=bands.shape[1],
            width=bands.shape[2],
            dtype=bands.dtype,
            nodata=nodata,
            **place,
            **profile,
        ) as file,
    ):
        # Labels first: some of them can't be changed once pixels are on disk.
        for number, text in enumerate(descriptions, start=1):
            if text is not None:
                file.set_band_description(number, text)
        if colorinterp:
            file.colorinterp = [ColorInterp[name] for name in colorinterp]
        if scales:
            file.scales = tuple(scales)
        if offsets:
            file.offsets = tuple(offsets)
        if rpcs is not None:
            file.rpcs = rpcs
        file.update_tags(**(tags or {}))
        for number, items in (band_tags or {}).items():
            file.update_tags(number, **items)
        file.write(bands)
        if mask is not None:
            file.write_mask(mask)
    return path


def random_weights(network: LocalAffineGenerator, seed: int = 0, scale: float = 0.2) -> None:
    """Give every layer of a network, head and table included, weights that matter.

    A new network is its table alone, since the head starts at zero: nothing would depend on the
    neighbourhood, and a test of the halo or of tiling could not fail.
    """
    random = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in network.parameters():
            noise = torch.randn(parameter.shape, generator=random, dtype=parameter.dtype)
            parameter.copy_(noise * scale if parameter.ndim == 1 else noise * _gain(parameter))
        table = network.table.values
        table.copy_(torch.rand(table.shape, generator=random, dtype=table.dtype))
        edges = torch.tensor([-0.1, 0.05, 0.8, 1.1], dtype=table.dtype)
        network.input_range.copy_(edges.repeat(network.config.in_bands, 1))


def _gain(weight: torch.Tensor) -> float:
    """Keeps activations near one through any number of layers."""
    return float((2.0 / weight[0].numel()) ** 0.5)


def random_generator(seed: int = 0, **config: Any) -> LocalAffineGenerator:
    """A network of some :class:`GeneratorConfig` with random weights, ready to run."""
    network = LocalAffineGenerator(GeneratorConfig(**config))
    random_weights(network, seed)
    network.eval().requires_grad_(False)
    network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    return network


def write_random_model(
    folder: Path,
    *,
    quantity: Quantity | str = Quantity.REFLECTANCE,
    bands: Sequence[str] = ("nir",),
    name: str = "test-model",
    version: int = 1,
    seed: int = 0,
    width: int = 8,
    depth: int = 1,
    **spec: Any,
) -> Path:
    """A model file with random weights, small enough for any test; returns its path."""
    quantity = Quantity(quantity)
    table_max = 1.225 if quantity is Quantity.REFLECTANCE else 1.0
    network = random_generator(
        seed, in_bands=len(bands), width=width, depth=depth, knots=9, table_max=table_max
    )
    description = ModelSpec(
        name=name,
        version=version,
        bands=tuple(bands),
        quantity=quantity,
        generator=network.config.to_json(),
        **spec,
    )
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{name}@{version}-{quantity.value}-{seed}.safetensors"
    write_model(path, description, {k: v.numpy() for k, v in network.state_dict().items()})
    return path


def random_model(folder: Path, **options: Any) -> Model:
    """:func:`write_random_model`, read back."""
    return read_model(write_random_model(folder, **options))


def said_in_a_thread(call: Callable[[], Any]) -> list[str]:
    """What a call raises in a thread of its own; nothing if it waits for longer than it should."""
    said: list[str] = []

    def run() -> None:
        try:
            call()
        except BaseException as error:
            said.append(str(error))

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    thread.join(10)
    return said
