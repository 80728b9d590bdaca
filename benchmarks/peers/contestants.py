"""Each contestant: a scene file in, a GeoTIFF out. Written as its documentation suggests.

Every one gets the scene's reflectance as a number in working space where it is valid and 0 where
not, the same network in channels-last memory, all cores, and writes 8-bit RGB with deflate.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import rasterio
import torch
from rasterio.windows import Window

import nirgeo
from nirgeo.heap import keep_freed_memory
from nirgeo.modelfile import Model
from nirgeo.networks import network
from nirgeo.radiometry import Quantity, from_working, to_working

TILE = 64
ROI = 256
"""Side of MONAI's and tiler's windows: a usual one, larger than what a pixel depends on."""

SCALE = np.float32(1e-4)


def prepare(numbers: np.ndarray) -> tuple[torch.Tensor, torch.Tensor]:
    """Digital numbers (N, 1, H, W) as what the network eats."""
    valid = numbers != 0
    values = to_working(numbers.astype(np.float32) * SCALE, Quantity.REFLECTANCE)
    x = torch.from_numpy(np.where(valid, values, np.float32(0)))
    return x.contiguous(memory_format=torch.channels_last), torch.from_numpy(
        valid.astype(np.float32)
    )


def picture(working: np.ndarray, numbers: np.ndarray, model: Model) -> np.ndarray:
    """Working-space colours (…, 3, H, W) as 8 bits, 0 where ``numbers`` (…, 1, H, W) are."""
    colours = np.clip(from_working(np.ascontiguousarray(working), Quantity.REFLECTANCE), 0, 1)
    return np.where(numbers == 0, np.uint8(0), model.spec.curve.apply(colours))


def paint(net: Any, numbers: np.ndarray, model: Model) -> np.ndarray:
    """(N, 1, H, W) numbers to (N, 3, H, W) bytes; sides must be multiples of 4."""
    with torch.inference_mode():
        out = net(*prepare(numbers)).numpy()
    return picture(out, numbers, model)


def _profile(file: Any) -> dict[str, Any]:
    profile = dict(file.profile)
    profile.update(
        count=3, dtype="uint8", photometric="RGB", compress="deflate", zlevel=1, predictor=2
    )
    return profile


def _padded(array: np.ndarray, multiple: int) -> np.ndarray:
    pad = [(0, 0)] * (array.ndim - 2) + [(0, -s % multiple) for s in array.shape[-2:]]
    return np.pad(array, pad, mode="edge")


def loop(scene: Path, target: Path, model: Model) -> None:
    """rasterio, tile by tile."""
    net = network(model)
    with rasterio.open(scene) as source, rasterio.open(target, "w", **_profile(source)) as made:
        for row in range(0, source.height, TILE):
            for col in range(0, source.width, TILE):
                h, w = min(TILE, source.height - row), min(TILE, source.width - col)
                window = Window(col, row, w, h)
                numbers = _padded(source.read(window=window)[None], TILE)
                made.write(paint(net, numbers, model)[0, :, :h, :w], window=window)


def xbatcher(scene: Path, target: Path, model: Model) -> None:
    """xbatcher's generator over 64 × 64 patches, 64 of them a batch."""
    import rioxarray
    import xbatcher as package

    net = network(model)
    opened = rioxarray.open_rasterio(scene, chunks={"x": 1024, "y": 1024})
    lazy: Any = opened.isel(band=0)  # type: ignore[union-attr]
    height, width = lazy.shape
    lazy = lazy.pad(y=(0, -height % TILE), x=(0, -width % TILE), mode="edge")
    batches = package.BatchGenerator(lazy, {"y": TILE, "x": TILE}, preload_batch=True)
    out = np.empty((3, *lazy.shape), dtype=np.uint8)
    per_row = lazy.shape[1] // TILE
    held: list[np.ndarray] = []
    first = 0
    for number in range(len(batches)):
        held.append(np.asarray(batches[number].values)[None])
        if len(held) == 64 or number == len(batches) - 1:
            for k, tile in enumerate(paint(net, np.stack(held), model)):
                row, col = divmod(first + k, per_row)
                out[:, row * TILE : (row + 1) * TILE, col * TILE : (col + 1) * TILE] = tile
            first, held = number + 1, []
    _write(scene, target, out[:, :height, :width])


def whole(scene: Path, target: Path, model: Model) -> None:
    """The whole array at once: the picture that the others are compared with."""
    with rasterio.open(scene) as source:
        numbers = source.read()[None]
    height, width = numbers.shape[-2:]
    out = paint(network(model), _padded(numbers, 4), model)[0]
    _write(scene, target, out[:, :height, :width])


def monai(scene: Path, target: Path, model: Model) -> None:
    """MONAI's sliding_window_inference: windows that overlap by a quarter, blended."""
    from monai.inferers import sliding_window_inference

    net = network(model)
    with rasterio.open(scene) as source:
        numbers = source.read()[None]
    x, valid = prepare(numbers)
    with torch.inference_mode():
        out = sliding_window_inference(
            torch.cat((x, valid), dim=1), (ROI, ROI), 4, lambda part: net(part[:, :1], part[:, 1:]),
            overlap=0.25, mode="gaussian",
        )  # fmt: skip
    _write(scene, target, picture(out.numpy(), numbers, model)[0])


def tiler(scene: Path, target: Path, model: Model) -> None:
    """tiler's Tiler and Merger: windows that overlap by a quarter, merged under a window."""
    from tiler import Merger, Tiler

    net = network(model)
    with rasterio.open(scene) as source:
        numbers = source.read()
    both = np.concatenate([part[0].numpy() for part in prepare(numbers[None])])
    tiles = Tiler(both.shape, (2, ROI, ROI), overlap=0.25, channel_dimension=0)
    made = Tiler((3, *numbers.shape[1:]), (3, ROI, ROI), overlap=0.25, channel_dimension=0)
    merger = Merger(made, window="triang")
    with torch.inference_mode():
        for number, batch in tiles(both, batch_size=4):
            part = torch.from_numpy(np.ascontiguousarray(batch)).float()
            part = part.contiguous(memory_format=torch.channels_last)
            merger.add_batch(number, 4, net(part[:, :1], part[:, 1:].contiguous()).numpy())
    out = merger.merge(unpad=True, dtype=np.float32)
    _write(scene, target, picture(out, numbers, model))


def _nirgeo(runtime: str, precision: str) -> Callable[[Path, Path, Model], None]:
    def run(scene: Path, target: Path, model: Model) -> None:
        keep_freed_memory()  # as the command does
        rgb = nirgeo.colorize(
            nirgeo.open_scene(scene), model, prior=False, runtime=runtime, precision=precision
        )
        nirgeo.write_geotiff(rgb, target)

    return run


def _write(scene: Path, target: Path, out: np.ndarray) -> None:
    with rasterio.open(scene) as source, rasterio.open(target, "w", **_profile(source)) as made:
        made.write(out)


CONTESTANTS: dict[str, Callable[[Path, Path, Model], None]] = {
    "whole array": whole,
    "rasterio loop, 64 × 64": loop,
    "xbatcher, 64 × 64": xbatcher,
    "MONAI, 256 × 256": monai,
    "tiler, 256 × 256": tiler,
    "nirgeo, torch": _nirgeo("torch", "fp32"),
    "nirgeo, torch int8": _nirgeo("torch", "int8"),
    "nirgeo, onnx": _nirgeo("onnx", "fp32"),
}
