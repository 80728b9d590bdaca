"""One block through one colouriser: arrays in, colours out, the same bits wherever it runs."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal, Self

import numpy as np
from numpy.typing import NDArray

from nirgeo import expected_error, own_torch
from nirgeo.colouriser import Colouriser, Overview
from nirgeo.lane import Block
from nirgeo.lanes import lane_of
from nirgeo.location_prior import HintField, ToneMap, hint_field
from nirgeo.memory_words import memory_errors
from nirgeo.modelfile import Model, ModelSpec
from nirgeo.networks import network
from nirgeo.radiometry import (
    MAX_REFLECTANCE,
    Quantity,
    from_working,
    quantize,
    to_working,
)
from nirgeo.recipe import Recipe
from nirgeo.reference import Alone, Reference, own_detail
from nirgeo.runtimes.choice import FP16, INT8, REFERENCE, TORCH, Runtime
from nirgeo.tiling import InputWindow

# torch sends a single small image to another convolution kernel than a large one (the limit is
# 20480 values entering the layer), and the last bit differs. It does not do so for a batch of two.
_SMALL_INPUT = 20480

_STRIP = 128
"""Rows that are brought into working space, or out of it, at once."""


def model_quantity(values: NDArray[Any], recipe: Recipe) -> NDArray[np.float32]:
    """Digital numbers to the quantity that the colouriser eats; float32 of the same shape."""
    scaled = recipe.scaling.apply(values)
    if recipe.spec.quantity is Quantity.COUNTS and recipe.scaling.quantity is Quantity.REFLECTANCE:
        scaled = recipe.spec.curve.apply(scaled).astype(np.float32)
    return scaled


def model_input(
    values: NDArray[np.float32], valid: NDArray[np.bool_], recipe: Recipe
) -> NDArray[np.float32]:
    """A quantity (bands, H, W) in working space, 0 where ``valid`` (H, W) is False."""
    inputs = to_working(values, recipe.spec.quantity)
    inputs[:, ~valid] = 0
    return inputs


def network_input(
    values: NDArray[Any], valid: NDArray[np.bool_], recipe: Recipe
) -> NDArray[np.float32]:
    """Digital numbers (bands, H, W) in working space, 0 where ``valid`` is False."""
    inputs = np.empty(values.shape, dtype=np.float32)
    with np.errstate(invalid="ignore", over="ignore"):
        for top in range(0, values.shape[1], _STRIP):
            rows = slice(top, top + _STRIP)
            measured = model_quantity(values[:, rows], recipe)
            inputs[:, rows] = model_input(measured, valid[rows], recipe)
    return inputs


def model_output(working: NDArray[np.float32], recipe: Recipe) -> NDArray[Any]:
    """Working-space colours (3, H, W) to what is written: uint8, or float32 reflectance in 0–1."""
    result = np.empty(working.shape, dtype=recipe.dtype)
    # In strips, since the intermediate arrays then stay in the processor's cache.
    for top in range(0, working.shape[1], _STRIP):
        strip = working[:, top : top + _STRIP]
        if recipe.spec.quantity is Quantity.COUNTS:
            shown = quantize(strip, brightness=recipe.brightness, gamma=recipe.gamma)
        else:
            shown = _shown(from_working(strip, recipe.spec.quantity), recipe)
        result[:, top : top + _STRIP] = shown
    return result


def _shown(reflectance: NDArray[np.float32], recipe: Recipe) -> NDArray[Any]:
    """Reflectance of any shape, whose memory is used again, as it is written; NaN becomes 0."""
    if recipe.output == "reflectance":
        np.fmax(reflectance, np.float32(0.0), out=reflectance)
        return np.minimum(reflectance, np.float32(1.0), out=reflectance)
    return recipe.spec.curve.apply(reflectance, brightness=recipe.brightness, gamma=recipe.gamma)


def run_network(
    inputs: NDArray[np.float32],
    valid: NDArray[np.bool_],
    model: Model,
    device_name: str = "cpu",
    hint: NDArray[np.float32] | None = None,
    runtime: Runtime = REFERENCE,
    *,
    target: tuple[slice, slice] | None = None,
    expect_error: bool = False,
) -> NDArray[np.float32]:
    """What the network makes, in working space, for inputs whose size is a multiple of the stride.

    (len(spec.made), h, w), and with ``expect_error`` one plane more: degrees. ``inputs`` is
    (bands, H, W) in working space with 0 where ``valid`` is False; ``hint`` is
    (3, H/stride, W/stride), or None where nothing is known of the colours; ``target`` are the rows
    and columns that are wanted, all of them if it is None.
    """
    target = target or (slice(0, inputs.shape[1]), slice(0, inputs.shape[2]))
    if runtime.name != TORCH:
        from nirgeo.runtimes import onnx_session

        return onnx_session.run(
            inputs, valid, model, runtime.precision, hint, target, expect_error=expect_error
        )
    if device_name == "cpu":
        eight_bits = runtime.precision == INT8
        with memory_errors():
            return _run_torch(
                inputs, valid, model, hint, target, expect_error=expect_error, eight_bits=eight_bits
            )
    from nirgeo.accelerator import NetworkKey

    key = NetworkKey(model, half=runtime.precision == FP16, expect_error=expect_error)
    made = lane_of(device_name).run(Block(key, inputs, valid, hint))
    return np.ascontiguousarray(made[:, *target])


def _run_torch(
    inputs: NDArray[np.float32],
    valid: NDArray[np.bool_],
    model: Model,
    hint: NDArray[np.float32] | None,
    target: tuple[slice, slice],
    *,
    expect_error: bool,
    eight_bits: bool,
) -> NDArray[np.float32]:
    import torch

    from nirgeo.generator import LocalAffineGenerator
    from nirgeo.runtimes.int8_trunk import trunk_of
    from nirgeo.windowed import paint, smallest_input

    net: Any = network(model)
    x = torch.from_numpy(inputs)[None]
    mask = torch.from_numpy(valid)[None, None]
    # The layer with the fewest values decides: in a narrow network that is not the first one.
    if isinstance(net, LocalAffineGenerator):
        least: float = smallest_input(net.config, valid.shape, target)
    else:
        least = valid.size * net.config.narrowest
    if least <= _SMALL_INPUT:
        x, mask = x.expand(2, -1, -1, -1), mask.expand(2, -1, -1, -1)
    field = None
    if hint is not None:
        field = torch.from_numpy(hint)[None].expand(x.shape[0], -1, -1, -1)
    with own_torch.computing():
        x = x.contiguous(memory_format=torch.channels_last)
        if isinstance(net, LocalAffineGenerator):
            trunk = trunk_of(model, net) if eight_bits else None
            made = paint(net, x, mask, field, target, expect_error=expect_error, trunk=trunk)[0]
        else:
            made = net(x, mask.to(x.dtype).contiguous(), field)[0][:, *target].contiguous()
        result: NDArray[np.float32] = made.numpy()
    return result


_BRIGHTEST = np.float32(math.sqrt(MAX_REFLECTANCE))
"""In working space; what is brighter was cut off there."""


@dataclass(frozen=True)
class NetworkColouriser:
    """The network of a model file on a device; see :class:`nirgeo.colouriser.Colouriser`.

    ``prior`` allows the location prior, for a model that knows how to read it. A ``reference`` is
    its hint where there is one.
    """

    model: Model
    halo: int
    stride: int
    device: str = "cpu"
    prior: bool = True
    hint: HintField | None = None
    runtime: Runtime = REFERENCE
    reference: Reference | None = None

    @property
    def bytes_per_pixel(self) -> int:
        """Growth of a run's peak per pixel of every worker's window.

        The trunk's activations at a quarter of the resolution, the target's colours, and what the
        heap can't use again between two blocks. ONNX Runtime computes the halo to the end.
        """
        return 190 if self.runtime.name == TORCH else 215

    @property
    def spec(self) -> ModelSpec:
        return self.model.spec

    @property
    def copies(self) -> Mapping[str, str]:
        return {colour: colour for colour in self.spec.colours if colour not in self.spec.made}

    @property
    def sha256(self) -> str:
        return self.model.sha256

    def seen(self, scene: Overview) -> Self:
        tones = self.spec.tones
        if not self.prior or tones is None:
            return self
        return replace(self, hint=hint_field(scene.grid(), ToneMap.from_json(tones)))

    def guided(self, reference: Reference | None) -> Self:
        return replace(self, reference=reference)

    def identity(self) -> dict[str, Any]:
        known = {
            "device": self.device.partition(":")[0],  # a GPU's last bits are its own
            "colour_hint": None if self.hint is None else self.hint.identity(),
        } | self.runtime.identity()
        if self.runtime.precision == INT8:
            from nirgeo.runtimes.int8 import ranges_sha256

            known["int8_sha256"] = ranges_sha256(self.model)
        return known

    def provenance(self) -> dict[str, str]:
        hint = "none" if self.hint is None else self.hint.describe()
        if self.reference is not None:
            hint = f"the reference; beyond it {hint}"
        return {"colour_hint": hint} | self.runtime.provenance()

    @property
    def expects_error(self) -> bool:
        return self.spec.uncertainty is not None

    @property
    def error_quantile(self) -> float | None:
        return self.spec.error_quantile

    def paint(
        self, inputs: NDArray[np.float32], valid: NDArray[np.bool_], window: InputWindow
    ) -> NDArray[np.float32]:
        return self._colours(inputs, self._run(inputs, valid, window), window)

    def paint_with_error(
        self, inputs: NDArray[np.float32], valid: NDArray[np.bool_], window: InputWindow
    ) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        out = self._run(inputs, valid, window, expect_error=True)
        error = np.where(self._saturated(inputs, window), expected_error.UNKNOWN, out[-1])
        return self._colours(inputs, out[:-1], window), error

    def _run(
        self,
        inputs: NDArray[np.float32],
        valid: NDArray[np.bool_],
        window: InputWindow,
        *,
        expect_error: bool = False,
    ) -> NDArray[np.float32]:
        return run_network(
            inputs,
            valid,
            self.model,
            self.device,
            self._hint(window),
            self.runtime,
            target=window.crop,
            expect_error=expect_error,
        )

    def _hint(self, window: InputWindow) -> NDArray[np.float32] | None:
        """What is expected of the colours of the coarse cells of a window, (3, h, w)."""
        row, col = window.read.row, window.read.col
        rows, cols = (side // self.stride for side in window.shape)
        hint = None
        if self.hint is not None:
            hint = self.hint.cells(row, col, rows, cols, self.stride)
        if self.reference is None:
            return hint
        shape = (rows, cols)
        spec = self.spec
        told, share = self.reference.hint(row, col, shape, self.stride, spec.quantity, spec.curve)
        return told if hint is None else told + hint * (1 - share)

    def _colours(
        self, inputs: NDArray[np.float32], out: NDArray[np.float32], window: InputWindow
    ) -> NDArray[np.float32]:
        """What the network made, and the measured bands that stay."""
        if not self.copies:
            return out
        known = dict(zip(self.spec.bands, inputs[:, *window.crop], strict=True))
        known |= dict(zip(self.spec.made, out, strict=True))
        colours = np.stack([known[colour] for colour in self.spec.colours])
        _whiten(colours, _measured_light(self))
        return colours

    def _saturated(
        self, inputs: NDArray[np.float32], window: InputWindow
    ) -> NDArray[np.bool_] | Literal[False]:
        """Where a measured colour is more than any ground has, so that it is no measurement."""
        if not self.copies or self.spec.quantity is not Quantity.REFLECTANCE:
            return False
        numbers = [self.spec.bands.index(band) for band in self.copies.values()]
        brightest: NDArray[np.float32] = inputs[numbers][:, *window.crop].max(axis=0)
        return brightest >= _BRIGHTEST


def _measured_light(colouriser: Colouriser) -> list[int]:
    """Numbers of the colours that are measured light, whose brightest is white; none of counts."""
    spec = colouriser.spec
    light = spec.quantity is Quantity.REFLECTANCE
    return [spec.colours.index(colour) for colour in colouriser.copies] if light else []


def _whiten(colours: NDArray[np.float32], measured: Sequence[int]) -> None:
    """Make white, in place, what sends back all light in one of the measured colours.

    It is snow, cloud, or beyond what the sensor tells apart; and white, whatever a network makes of
    a red that it never saw, or lay there on another day.
    """
    if not measured:
        return
    known = colours[measured]
    white = known.max(axis=0) >= 1
    if white.any():
        least = known.min(axis=0)
        for number in set(range(len(colours))) - set(measured):
            np.maximum(colours[number], least, out=colours[number], where=white)


def _with_error(
    inputs: NDArray[np.float32], valid: NDArray[np.bool_], window: InputWindow, recipe: Recipe
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Colours of the target, and the errors to expect of them, air allowed for."""
    painted, error = recipe.colouriser.paint_with_error(inputs, valid, window)
    if recipe.veil > 0:
        made = from_working(np.nan_to_num(painted), recipe.spec.quantity)
        error = expected_error.through_veil(error, made, recipe.veil)
    return painted, error


def _alone(
    inputs: NDArray[np.float32], valid: NDArray[np.bool_], window: InputWindow, recipe: Recipe
) -> Alone | None:
    """What the model makes without the reference, if that tells what has changed."""
    quantile = recipe.colouriser.error_quantile
    if quantile is None or not recipe.tells_changes:
        return None
    unguided = replace(recipe, colouriser=recipe.colouriser.guided(None))
    colours, error = _with_error(inputs, valid, window, unguided)
    return Alone(colours, error * np.float32(quantile))


def _referenced(
    inputs: NDArray[np.float32],
    valid: NDArray[np.bool_],
    window: InputWindow,
    reference: Reference,
    recipe: Recipe,
) -> NDArray[np.float32]:
    """Colours of the target: those that are not measured from the reference, where it has any."""
    spec = recipe.spec
    wide = window.grown(reference.halo)
    reference = reference.holding()
    painted = recipe.colouriser.guided(reference).paint(inputs, valid, wide)
    # Green goes with blue better than near infrared does.
    green = "green" in spec.bands
    guide = inputs[spec.bands.index("green" if green else "nir")]
    around, target = wide.target, window.target
    within = target.shifted(-around.row, -around.col).slices
    usable = valid[wide.crop]
    light = _measured_light(recipe.colouriser)
    if light:  # what is white tells nothing of its surroundings
        usable = usable & (painted[light].max(axis=0) < 1)
    guided = reference.paint(
        painted,
        guide[wide.crop],
        usable,
        around,
        within,
        spec.quantity,
        spec.curve,
        own_detail(spec.bands, spec.quantity),
        spec.colours.index("green") if green else None,
        _alone(inputs, valid, wide, recipe),
    )
    for colour in recipe.colouriser.copies:
        number = spec.colours.index(colour)
        guided[number] = painted[number][within]
    _whiten(guided, light)
    return guided


def colorize_block(
    values: NDArray[Any], valid: NDArray[np.bool_], window: InputWindow, recipe: Recipe
) -> tuple[NDArray[Any], NDArray[np.bool_]]:
    """What is written of one target window, and its mask: (bands, h, w) and (h, w).

    ``values`` (bands, H, W) and ``valid`` (H, W) cover ``window.read``. Where nothing in the target
    is valid the colouriser does not run. Masked pixels are 0, or NaN in reflectance; those whose
    expected error exceeds ``recipe.max_error`` are among them.
    """
    if window.pad_bottom or window.pad_right:
        pad = ((0, window.pad_bottom), (0, window.pad_right))
        values = np.pad(values, ((0, 0), *pad), mode="edge")
        valid = np.pad(valid, pad, mode="edge")
    target_valid = valid[window.crop]
    shape = (len(recipe.bands), *target_valid.shape)
    empty = np.nan if recipe.output == "reflectance" else 0
    if not target_valid.any():
        return np.full(shape, empty, dtype=recipe.dtype), target_valid.copy()
    inputs = network_input(values, valid, recipe)
    error = None
    if recipe.wants_error:
        painted, error = _with_error(inputs, valid, window, recipe)
        if recipe.max_error is not None:
            target_valid = target_valid & (error <= np.float32(recipe.max_error))
    elif recipe.reference is not None:
        painted = _referenced(inputs, valid, window, recipe.reference, recipe)
    else:
        painted = recipe.colouriser.paint(inputs, valid, window)
    rgb = model_output(painted, recipe)
    if recipe.spec.quantity is Quantity.REFLECTANCE:
        # The root of a reflectance, squared, is not always the same number.
        for colour, band in recipe.colouriser.copies.items():
            numbers = values[recipe.spec.bands.index(band)][window.crop]
            with np.errstate(invalid="ignore", over="ignore"):
                same = np.nan_to_num(model_quantity(numbers, recipe))
            rgb[recipe.spec.colours.index(colour)] = _shown(same, recipe)
    if error is not None and recipe.uncertainty:
        rgb = np.concatenate((rgb, expected_error.encode(error, recipe.dtype)[None]))
    rgb[:, ~target_valid] = empty
    return rgb, target_valid.copy()
