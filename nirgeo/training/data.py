"""Training scenes in memory, and batches drawn from them.

Scenes are read with the product's own reader and brought to working space with its own
radiometry, so a network meets in training exactly what it meets later. A batch is a pure function
of (scenes, configuration, step): a training that is resumed draws what it would have drawn.
"""

from __future__ import annotations

import copy
import random
import zlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, NamedTuple, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional as F  # noqa: N812

from nirgeo import hints
from nirgeo.bands import COLOURS, WAVELENGTHS
from nirgeo.errors import NirgeoError, TrainingError
from nirgeo.opening import open_source
from nirgeo.radiometry import Quantity, from_working, to_working
from nirgeo.scaling import find_scaling
from nirgeo.scene_lists import SceneEntry, scene_notes
from nirgeo.tiling import TILE, Window
from nirgeo.training.config import TrainingConfig

FloatArray = NDArray[np.float32]


@dataclass(frozen=True)
class TrainingScene:
    """One scene in working space: inputs (bands, H, W), colours (3, H, W), valid (H, W)."""

    name: str
    place: str
    inputs: FloatArray
    colours: FloatArray
    valid: NDArray[np.bool_]
    origin: str = ""
    """See :attr:`SceneEntry.origin`; the place, if nothing is said."""
    notes: tuple[str, ...] = ()
    """Why its values may not be what they are taken for."""
    gsd: float | None = None
    """Side of a pixel in metres, where that is known."""

    @property
    def shape(self) -> tuple[int, int]:
        return self.valid.shape[0], self.valid.shape[1]

    @cached_property
    def checksum(self) -> int:
        """Of the pixels, whatever they are called."""
        found = 0
        for part in (self.inputs, self.colours, self.valid):
            found = zlib.crc32(np.ascontiguousarray(part).view(np.uint8).data, found)
        return found

    @cached_property
    def mean_colour(self) -> FloatArray:
        """Mean of the valid colours in working space, (3,)."""
        mean: NDArray[np.float64] = self.colours[:, self.valid].mean(axis=1, dtype=np.float64)
        return mean.astype(np.float32)


class Batch(NamedTuple):
    """What one step is trained on; N patches of P×P pixels."""

    inputs: FloatArray
    """(N, bands, P, P) working space, 0 where not valid."""
    colours: FloatArray
    """(N, 3, P, P) working space."""
    valid: FloatArray
    """(N, 1, P, P), 1 where measured."""
    hint: FloatArray
    """(N, 3, P/stride, P/stride), see :mod:`nirgeo.hints`; zeros where none is given."""


def load_scene(entry: SceneEntry, bands: Sequence[str], quantity: Quantity) -> TrainingScene:
    """Read one scene whole.

    Raises
    ------
    TrainingError : a band or colour is missing, or the scene holds another quantity
    """
    try:
        source = open_source(entry.path)
        scaling = find_scaling(source.clues)
        if scaling.quantity is not quantity:
            raise TrainingError(f"holds {scaling.quantity.value}, wanted {quantity.value}")
        numbers = [source.number_of(role) for role in (*bands, *COLOURS)]
        values, valid = source.read(Window(0, 0, *source.grid.shape), numbers)
    except NirgeoError as error:
        raise TrainingError(f"{entry.path}: {error}") from error
    notes = scene_notes(values, valid, (*bands, *COLOURS), scaling)
    working = to_working(scaling.apply(values), quantity)
    working[:, ~valid] = 0
    return TrainingScene(
        entry.path.stem,
        entry.place,
        working[: len(bands)],
        working[len(bands) :],
        valid,
        entry.origin,
        notes,
        source.grid.ground_sampling_distance(),
    )


def refuse_shared_places(
    training: Iterable[TrainingScene], validation: Iterable[TrainingScene]
) -> None:
    """
    Raises
    ------
    TrainingError : a place has scenes on both sides, or the same pixels stand under two names
    """
    training, validation = list(training), list(validation)
    learnt = {scene.origin or scene.place for scene in training}
    shared = {s.place for s in validation if (s.origin or s.place) in learnt}
    if shared:
        raise TrainingError(
            "training and validation share places, so validation would measure memory: "
            + ", ".join(sorted(shared)[:5])
        )
    known = {(scene.shape, scene.checksum): scene.name for scene in training}
    for scene in validation:
        if scene.valid.any() and (scene.shape, scene.checksum) in known:
            raise TrainingError(
                f"{scene.name} of validation holds the same pixels as "
                f"{known[scene.shape, scene.checksum]} of training, so validation would measure "
                "memory"
            )


def some_places(scenes: Sequence[TrainingScene], share: float) -> list[TrainingScene]:
    """The scenes of a share of the places, at least of one; the same ones every time.

    Raises
    ------
    TrainingError : not a share
    """
    if not 0 < share <= 1:
        raise TrainingError(f"--places {share}: need a share above 0 and up to 1")
    places = sorted({scene.place for scene in scenes})
    random.Random(1).shuffle(places)
    kept = set(places[: max(1, round(share * len(places)))])
    return [scene for scene in scenes if scene.place in kept]


class Sampler:
    """Draws batches; see :class:`TrainingConfig` for the weights."""

    def __init__(self, scenes: Sequence[TrainingScene], config: TrainingConfig) -> None:
        usable = [s for s in scenes if min(s.shape) >= TILE and s.valid.any()]
        if not usable:
            raise TrainingError(f"no training scene is at least {TILE}×{TILE} px with valid pixels")
        self.config = config
        self.places: list[list[TrainingScene]] = []
        by_place: dict[str, list[TrainingScene]] = {}
        for scene in usable:
            by_place.setdefault(scene.place, []).append(scene)
        self.places = [by_place[name] for name in sorted(by_place)]
        areas = np.array([sum(s.valid.sum() for s in p) for p in self.places], dtype=np.float64)
        weights = areas**config.area_exponent
        small = areas <= TILE * TILE
        if small.any() and not small.all():
            weights[small] *= config.small_place_share / weights[small].sum()
            weights[~small] *= (1 - config.small_place_share) / weights[~small].sum()
        self.weights = weights / weights.sum()

    def unjittered(self) -> Sampler:
        """Draws from the same places with the same weights, as they were measured.

        Air that a configuration puts over its scenes stays: it belongs to what is learnt.
        """
        plain = copy.copy(self)
        plain.config = replace(
            self.config,
            gain_jitter=0.0,
            nir_jitter=0.0,
            nir_gamma=0.0,
            coarsen=0.0,
            haze=0.0,
            zoom=0.0,
        )
        return plain

    def batch(self, step: int) -> Batch:
        """The patches of one step."""
        rng = np.random.default_rng((self.config.seed, step))
        picks = rng.choice(len(self.places), size=self.config.batch, p=self.weights)
        samples = [self._sample(self.places[k], rng) for k in picks]
        return Batch(*(np.stack(part) for part in zip(*samples, strict=True)))

    def _sample(
        self, scenes: Sequence[TrainingScene], rng: np.random.Generator
    ) -> tuple[FloatArray, FloatArray, FloatArray, FloatArray]:
        config = self.config
        scene = scenes[int(rng.integers(len(scenes)))]
        factor = 1
        if min(scene.shape) >= 2 * config.patch and rng.random() < config.coarsen:
            factor = 2
        size = config.patch * factor
        if config.zoom > 0 and factor == 1:
            size = round(size * np.exp(rng.uniform(-1, 1) * config.zoom))
        inputs, colours, valid = _crop(scene, size, rng)
        if factor > 1:
            inputs, colours, valid = _coarsen(inputs, colours, valid, config.quantity)
        elif size != config.patch:
            inputs, colours, valid = _resized(inputs, colours, valid, config)
        inputs, colours = _jitter(inputs, colours, config, rng)
        turns, mirror = int(rng.integers(4)), bool(rng.integers(2))
        if config.orientations != "all":
            turns, mirror = 0, mirror and config.orientations == "mirrored"
        inputs, colours = (_turn(part, turns, mirror) for part in (inputs, colours))
        valid = _turn(valid, turns, mirror)
        hint = _hint(scene, colours, valid, config, rng)
        if rng.random() < config.hole_share:
            valid = valid & ~_hole(config.patch, rng)
        inputs = np.where(valid, inputs, np.float32(0))
        return (
            np.ascontiguousarray(inputs),
            np.ascontiguousarray(colours),
            np.ascontiguousarray(valid[None], dtype=np.float32),
            hint,
        )


_A = TypeVar("_A", bound=NDArray[Any])


def _turn(part: _A, turns: int, mirror: bool) -> _A:
    """One of the eight orientations of a patch."""
    turned: Any = np.rot90(part, turns, axes=(-2, -1))
    return turned[..., ::-1] if mirror else turned


HAZE_SHARE = 0.4
"""Share of the patches that get a veil of haze, if there is any."""

HINT_CELLS = (8, 16, 32, 64)
"""Sides in pixels of the cells that a training hint is averaged over, besides the whole scene."""


def _hint(
    scene: TrainingScene,
    colours: FloatArray,
    valid: NDArray[np.bool_],
    config: TrainingConfig,
    rng: np.random.Generator,
) -> FloatArray:
    """The truth, blurred and made wrong: what a map of the place or an older picture would say.

    The error of one sample is drawn up to ``config.hint_error`` and is the same all over the patch,
    with a third as much again from cell to cell; the trust tells its size, not its value.
    """
    coarse = config.patch // config.stride
    if rng.random() >= config.hint_share:
        return np.zeros((hints.CHANNELS, coarse, coarse), dtype=np.float32)
    choice = int(rng.integers(len(HINT_CELLS) + 1))
    cell = HINT_CELLS[choice] if choice < len(HINT_CELLS) else config.patch
    if choice == len(HINT_CELLS):
        mean = from_working(scene.mean_colour[:, None, None], config.quantity)
    else:
        mean = _cell_means(from_working(colours, config.quantity), valid, min(cell, config.patch))
    ratios = hints.log_ratios(mean)
    error = float(rng.uniform(0, config.hint_error))
    ratios = ratios + rng.normal(0, error, size=(2, 1, 1))
    ratios = ratios + rng.normal(0, error / 3, size=ratios.shape)
    trusted = np.full(ratios.shape[1:], hints.trust(error))
    return hints.upsample(hints.encode(ratios, trusted), coarse, coarse)


def _cell_means(linear: FloatArray, valid: NDArray[np.bool_], cell: int) -> FloatArray:
    """Means of the valid pixels of each cell: (3, P/cell, P/cell); of all where none is valid."""
    size = valid.shape[0] // cell

    def total(values: NDArray[np.float32]) -> NDArray[np.float32]:
        return values.reshape(*values.shape[:-2], size, cell, size, cell).sum(axis=(-3, -1))

    weight = valid.astype(np.float32)
    sums, counts = total(linear * weight), total(weight)
    overall = (linear * weight).sum(axis=(1, 2)) / max(1.0, float(weight.sum()))
    means = np.where(counts > 0, sums / np.maximum(counts, 1), overall[:, None, None])
    return np.asarray(means, dtype=np.float32)


def _crop(
    scene: TrainingScene, size: int, rng: np.random.Generator
) -> tuple[FloatArray, FloatArray, NDArray[np.bool_]]:
    """A patch that is at least half valid, if a few tries find one; short sides are padded."""
    height, width = scene.shape
    best: tuple[float, int, int] | None = None
    for _ in range(4):
        row = int(rng.integers(max(1, height - size + 1)))
        col = int(rng.integers(max(1, width - size + 1)))
        seen = scene.valid[row : row + size, col : col + size]
        share = np.count_nonzero(seen) / seen.size
        if best is None or share > best[0]:
            best = (share, row, col)
        if share >= 0.5:
            break
    assert best is not None
    _, row, col = best
    window = (slice(row, row + size), slice(col, col + size))
    inputs, colours = scene.inputs[(slice(None), *window)], scene.colours[(slice(None), *window)]
    valid = scene.valid[window]
    short = (size - valid.shape[0], size - valid.shape[1])
    if any(short):
        pad = ((0, short[0]), (0, short[1]))
        inputs = np.pad(inputs, ((0, 0), *pad))
        colours = np.pad(colours, ((0, 0), *pad))
        valid = np.pad(valid, pad)
    return inputs, colours, valid


def _coarsen(
    inputs: FloatArray, colours: FloatArray, valid: NDArray[np.bool_], quantity: Quantity
) -> tuple[FloatArray, FloatArray, NDArray[np.bool_]]:
    """Twice the ground sampling distance: light is averaged, so reflectance is, not its root."""

    def average(values: FloatArray) -> FloatArray:
        linear = values**2 if quantity is Quantity.REFLECTANCE else values
        rows = linear[:, ::2] + linear[:, 1::2]
        mean = (rows[..., ::2] + rows[..., 1::2]) * np.float32(0.25)
        return np.sqrt(mean) if quantity is Quantity.REFLECTANCE else mean

    blocks = valid.reshape(valid.shape[0] // 2, 2, valid.shape[1] // 2, 2)
    return average(inputs), average(colours), np.asarray(blocks.all(axis=(1, 3)))


def _resized(
    inputs: FloatArray, colours: FloatArray, valid: NDArray[np.bool_], config: TrainingConfig
) -> tuple[FloatArray, FloatArray, NDArray[np.bool_]]:
    """A square crop of another size as a patch: ground sampled more finely or more coarsely.

    A pixel is valid where everything that it was interpolated from is.
    """
    light = from_working(np.concatenate((inputs, colours)), config.quantity)
    planes = np.concatenate((light, valid[None].astype(np.float32)))
    resized = F.interpolate(
        torch.from_numpy(planes)[None],
        size=(config.patch, config.patch),
        mode="bilinear",
        align_corners=False,
        antialias=True,
    )[0].numpy()
    working = to_working(resized[:-1], config.quantity)
    return working[: len(inputs)], working[len(inputs) :], resized[-1] > 0.999


def _jitter(
    inputs: FloatArray, colours: FloatArray, config: TrainingConfig, rng: np.random.Generator
) -> tuple[FloatArray, FloatArray]:
    """One illumination gain for every band; a gain and an exponent for the measured bands alone."""
    power = 0.5 if config.quantity is Quantity.REFLECTANCE else 1.0
    common = np.exp(rng.uniform(-1, 1) * config.gain_jitter) ** power
    own = np.exp(rng.uniform(-1, 1) * config.nir_jitter) ** power
    limit = np.float32(config.table_max)
    inputs = inputs * np.float32(common * own)
    if config.nir_gamma > 0:
        inputs = inputs ** np.float32(np.exp(rng.uniform(-1, 1) * config.nir_gamma))
    colours = colours * np.float32(common)
    if config.path_radiance > 0 and rng.random() < config.path_share:
        # From molecules alone (λ⁻⁴) to large droplets, which scatter nearly alike.
        air = rng.uniform(0, config.path_radiance)
        exponent = rng.uniform(1, 4)
        inputs = through_air(inputs, config.bands, air, exponent)
        colours = through_air(colours, COLOURS, air, exponent)
    if config.haze > 0 and rng.random() < HAZE_SHARE:
        veil = np.float32(rng.uniform(0, config.haze))
        linear = from_working(inputs, config.quantity) * (1 - veil)
        full = 1 if config.quantity is Quantity.REFLECTANCE else 255
        inputs = to_working(linear + veil * np.float32(full), config.quantity)
    inputs = np.minimum(inputs, limit)
    colours = np.minimum(colours, limit)
    for index, band in enumerate(config.bands):
        if band in COLOURS:  # measured, so it is the true colour itself
            inputs[index] = colours[COLOURS.index(band)]
    return inputs, colours


def through_air(
    working: FloatArray, bands: Sequence[str], air: float, exponent: float
) -> FloatArray:
    """Reflectance seen through air that adds ``air`` to blue and takes as much of its light."""
    path = [air * (WAVELENGTHS[band] / WAVELENGTHS["blue"]) ** -exponent for band in bands]
    added = np.array(path, dtype=np.float32)[:, None, None]
    linear = from_working(working, Quantity.REFLECTANCE)
    return to_working(linear * (1 - added) + added, Quantity.REFLECTANCE)


def _hole(size: int, rng: np.random.Generator) -> NDArray[np.bool_]:
    """A rectangle of missing pixels, often touching the patch's border, as swath edges do."""
    hole = np.zeros((size, size), dtype=np.bool_)
    height, width = (int(v) for v in rng.integers(1, size // 2, size=2))
    row, col = (int(v) for v in rng.integers(-size // 4, size, size=2))
    hole[max(0, row) : max(0, row + height), max(0, col) : max(0, col + width)] = True
    return hole
