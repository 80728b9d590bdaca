"""Training scenes in memory, and batches drawn from them.

Scenes are read with the product's own reader and brought to working space with its own
radiometry, so a network meets in training exactly what it meets later. A batch is a pure function
of (scenes, configuration, step): a training that is resumed draws what it would have drawn.
"""

from __future__ import annotations

import copy
import os
import random
import zlib
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional as F  # noqa: N812

from nirgeo import hints
from nirgeo.bands import COLOURS
from nirgeo.errors import NirgeoError, TrainingError
from nirgeo.hrefs import SCENE_SUFFIXES
from nirgeo.radiometry import Quantity, Scaling, find_scaling, from_working, to_working
from nirgeo.source import DECLARE_NODATA, nodata_remarks, open_source
from nirgeo.tables import first_few, name_here, read_rows
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


@dataclass(frozen=True)
class SceneEntry:
    """A file, the place it belongs to, and its longitude and latitude if an index tells them."""

    path: Path
    place: str
    position: tuple[float, float] | None = None
    alone: bool = False
    """Whether it counts as a place of its own because no index says where it belongs."""

    @property
    def origin(self) -> str:
        """The same for two scenes of one place only; what places are called may depend on what
        other scenes there are."""
        return str(self.path.resolve()) if self.alone else f"place {self.place}"


def list_scenes(
    folders: Sequence[Path],
    index: Path | None = None,
    levels: Iterable[str] = (),
) -> list[SceneEntry]:
    """Every GeoTIFF under ``folders`` with the place it belongs to.

    ``index`` is a CSV with columns ``file`` (relative to it), ``group`` (the place) and ``level``,
    and perhaps ``lon`` and ``lat`` in degrees; with ``levels`` given only scenes of these
    processing levels are kept. Without an index every file counts as a place of its own, and so
    does one that the index does not list; see :func:`index_notes`.

    Raises
    ------
    TrainingError : no such folder, no scene found, or the index can't be read, lacks a column or
        lists none of the scenes
    """
    listed = {} if index is None else _read_index(index)
    wanted = set(levels)
    paths = _scene_files(folders)
    if index is not None and paths and not any(path.resolve() in listed for path in paths):
        raise TrainingError(
            f"{index} lists none of {len(paths)} scenes, so nothing says which of them share a "
            f"place; it lists {first_few(_names(listed, index)) or 'no file'}, and from the folder "
            f"it lies in, what its column 'file' counts from, the scenes are "
            f"{first_few(_names(paths, index))}"
        )
    entries = []
    stems = Counter(path.stem for path in paths)
    for path in paths:
        # A folder per scene: files of one name are not of one place.
        alone = path.stem if stems[path.stem] == 1 else str(path.resolve().with_suffix(""))
        known = listed.get(path.resolve())
        place, level, position = known or (alone, "", None)
        if not wanted or level in wanted:
            entries.append(SceneEntry(path, place, position, alone=known is None))
    if not entries:
        said = ""
        if wanted:
            said = f" with level {', '.join(sorted(wanted))}"
            if paths and index is None:
                said += ": levels are a column of --index, and there is none"
            elif paths and not any(level for _, level, _ in listed.values()):
                said += f": {index} tells no level of any"
        raise TrainingError(f"no training scene in {', '.join(map(str, folders))}{said}")
    return entries


def index_notes(folders: Sequence[Path], index: Path | None) -> list[str]:
    """What a user should hear of an index: how many scenes it does not list, and the first.

    Raises
    ------
    TrainingError : as :func:`list_scenes`
    """
    if index is None:
        return []
    listed = _read_index(index)
    paths = {path.resolve(): path for path in _scene_files(folders)}
    missing = [path for key, path in paths.items() if key not in listed]
    if not missing:
        return []
    return [
        f"{len(missing)} of {len(paths)} scenes have no line in {index}, so each counts as a place "
        f"of its own and has no level: {first_few(_names(missing, index))}"
    ]


def _scene_files(folders: Sequence[Path]) -> list[Path]:
    """
    Raises
    ------
    TrainingError : no such folder
    """
    paths: list[Path] = []
    for folder in folders:
        if not Path(folder).is_dir():
            raise TrainingError(f"{folder}: there is no such folder")
        paths += sorted(p for p in Path(folder).rglob("*") if p.suffix.lower() in SCENE_SUFFIXES)
    # A file that two of the folders hold is one scene.
    return list({path.resolve(): path for path in reversed(paths)}.values())[::-1]


def _names(paths: Iterable[Path], index: Path) -> Iterator[str]:
    """What an index would call files."""
    folder = index.parent.resolve()
    for path in paths:
        try:
            yield Path(os.path.relpath(path.resolve(), folder)).as_posix()
        except ValueError:  # on another drive
            yield path.as_posix()


def _read_index(index: Path) -> dict[Path, tuple[str, str, tuple[float, float] | None]]:
    """Place, level and position of every file that the index lists."""
    listed: dict[Path, tuple[str, str, tuple[float, float] | None]] = {}
    rows = read_rows(index, ("file", "group"), called=str(index), error=TrainingError)
    try:
        for row in rows:
            key = (index.parent / name_here(row["file"], index.parent)).resolve()
            listed[key] = (row["group"] or key.stem, row.get("level", ""), _position(row))
    except (OSError, ValueError) as error:
        raise TrainingError(f"{index}: can't be read ({error})") from error
    return listed


def _position(row: Mapping[str, str]) -> tuple[float, float] | None:
    """Longitude and latitude of a row that has both."""
    if not (row.get("lon") and row.get("lat")):
        return None
    return float(row["lon"]), float(row["lat"])


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
    )


def scene_notes(
    values: NDArray[Any], valid: NDArray[np.bool_], roles: Sequence[str], scaling: Scaling
) -> tuple[str, ...]:
    """Why the values of a scene may not be what they are taken for: what `colorize` asks too."""
    notes = []
    if scaling.origin.startswith("assumed"):
        notes.append(
            "nothing in it says how its numbers become reflectance; "
            f"{scaling.describe()}. If that is wrong, write it into the file, as scale and offset "
            "of its bands"
        )
    notes += nodata_remarks([(values, valid)], roles, DECLARE_NODATA)
    return tuple(notes)


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


WAVELENGTHS = {"red": 0.66, "green": 0.56, "blue": 0.49, "nir": 0.84}
"""Middle of each band in micrometres, as most sensors have them."""


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
