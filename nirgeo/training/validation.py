"""How good a network is on places it does not learn from."""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from nirgeo import hints
from nirgeo.bands import COLOURS
from nirgeo.generator import LocalAffineGenerator
from nirgeo.metrics import scene_error
from nirgeo.radiometry import Quantity, from_working
from nirgeo.training.data import FloatArray, TrainingScene


@dataclass(frozen=True)
class ValidationScore:
    """Means over places; ``relative`` is the mean of both errors over the table's (1 = table)."""

    angular: float
    rmse: float
    relative: float


FARTHEST = 90.0
"""Degrees between the two colours that differ most; counted where the prediction has no colour."""


def validation_hint(scene: TrainingScene, quantity: Quantity) -> FloatArray:
    """One wrong hint for a whole scene, (3,): its true mean colour with an error.

    The error depends on the scene's name alone, so that every validation asks the same question.
    """
    seed = zlib.crc32(scene.name.encode())
    error = np.random.default_rng(seed).normal(0, hints.USUAL_ERROR, size=2)
    ratios = hints.log_ratios(from_working(scene.mean_colour, quantity)) + error
    return hints.encode(ratios, hints.trust(hints.USUAL_ERROR))


def place_means(
    network: nn.Module,
    scenes: Sequence[TrainingScene],
    quantity: Quantity,
    device: torch.device,
    *,
    hinted: bool = False,
) -> dict[str, tuple[float, float]]:
    """Angular error and RMSE of every place, its scenes averaged first.

    A scene whose true colours are all black has no angle, and is left out. One that the network
    paints all black, or not at all, is as far off as a colour can be.
    """
    network.eval()
    by_place: dict[str, list[tuple[float, float]]] = {}
    for scene in scenes:
        hint = validation_hint(scene, quantity) if hinted else None
        predicted = predict_scene(network, scene, device, hint)
        unit = np.float32(1 if quantity is Quantity.REFLECTANCE else 255)
        error = scene_error(
            from_working(np.clip(predicted, 0, None), quantity) / unit,
            from_working(scene.colours, quantity) / unit,
            scene.valid,
        )
        if scene.colours[:, scene.valid].any():
            angular = error.angular if np.isfinite(error.angular) else FARTHEST
            by_place.setdefault(scene.place, []).append((angular, error.rmse))
    return {
        place: (float(np.mean([e[0] for e in errors])), float(np.mean([e[1] for e in errors])))
        for place, errors in by_place.items()
    }


def predict_scene(
    network: nn.Module,
    scene: TrainingScene,
    device: torch.device,
    hint: FloatArray | None = None,
) -> FloatArray:
    """The network over a whole scene, its right and bottom edge repeated to the stride: (3, H, W).

    ``hint`` (3,) holds for the whole scene. Colours that are measured are those of the scene: the
    network only makes the others.
    """
    with torch.inference_mode():
        return _cut(network(*_whole(network, scene, device, hint)), scene)


def predict_with_error(
    network: LocalAffineGenerator, scene: TrainingScene, hint: FloatArray | None = None
) -> tuple[FloatArray, FloatArray]:
    """:func:`predict_scene` on the CPU, and the expected errors in degrees (1, H, W)."""
    with torch.inference_mode():
        made, error = network.with_error(*_whole(network, scene, torch.device("cpu"), hint))
    return _cut(made, scene), error[0, :, : scene.shape[0], : scene.shape[1]].numpy()


def _whole(
    network: nn.Module, scene: TrainingScene, device: torch.device, hint: FloatArray | None
) -> tuple[Tensor, Tensor, Tensor | None]:
    """A scene, its mask and its hint as a network takes them."""
    stride = int(network.stride)  # type: ignore[arg-type]
    height, width = scene.shape
    pad = ((0, 0), (0, -height % stride), (0, -width % stride))
    inputs = torch.from_numpy(np.pad(scene.inputs, pad, mode="edge"))[None].to(device)
    valid = np.pad(scene.valid[None].astype(np.float32), pad, mode="edge")
    field = None
    if hint is not None:
        rows, cols = inputs.shape[2] // stride, inputs.shape[3] // stride
        field = torch.from_numpy(hint).to(device).view(1, -1, 1, 1).expand(-1, -1, rows, cols)
    inputs = inputs.contiguous(memory_format=torch.channels_last)
    return inputs, torch.from_numpy(valid)[None].to(device), field


def _cut(out: Tensor, scene: TrainingScene) -> FloatArray:
    """All three colours of a scene, from what a network made of it."""
    made: FloatArray = out[0, :, : scene.shape[0], : scene.shape[1]].cpu().numpy()
    if len(made) == len(COLOURS):
        return made
    result = scene.colours.copy()
    result[len(COLOURS) - len(made) :] = made
    return result
