"""Damaged files of every kind that a run reads: a clear error, or the right picture."""

from __future__ import annotations

import json
import os
import random
import re
import shutil
import struct
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx  # noqa: F401  (a run in 8 bits imports it; here before the forks)
import onnxruntime  # noqa: F401
import rasterio
import torch
from click.testing import CliRunner
from helpers import write_raster
from pictures import painting_model, punch_holes, read, scene_values, whole_picture
from rasterio.enums import ColorInterp, MaskFlags
from rasterio.shutil import copy

import nirgeo.cli.colorize
import nirgeo.write  # noqa: F401  (a command imports it when it runs; here before the forks)
from nirgeo import registry
from nirgeo.baselines.storage import is_baseline_file
from nirgeo.blockstore import BlockStore
from nirgeo.cli.main import main
from nirgeo.errors import ModelError
from nirgeo.modelfile import Model, read_model
from nirgeo.networks import load_generator
from nirgeo.provenance import NAMESPACE
from nirgeo.radiometry import Quantity
from nirgeo.runtimes.activation_ranges import Watch
from nirgeo.runtimes.int8 import SUFFIX, ranges_path, read_ranges, write_ranges
from nirgeo.scaling import Scaling
from torture.damage import damaged
from torture.judge import Case, apart, judged
from torture.record import Record
from torture.runs import left_behind, sha256_of

HEIGHT, WIDTH = 150, 210
# Codes of errors that say what is wrong with a file; "internal" would be a defect of nirgeo.
CLEAR = {
    "source-unreadable",
    "grid-mismatch",
    "band-not-found",
    "radiometry",
    "scene-empty",
    "model-unusable",
    "option",
    "target-unwritable",
    "resume-mismatch",
}


def judge(record: Record, cases: Iterator[tuple[str, Case]]) -> Record:
    """Run the cases, and put what became of them into the record."""
    for verdict in judged(cases):
        record.add(verdict.outcome, verdict.problems, verdict.name)
        record.largest("longest case in seconds", verdict.seconds)
        record.largest("largest growth of a case in MiB", verdict.growth_bytes / 2**20)
    return record


@dataclass
class Attempt:
    """What became of ``nirgeo colorize``."""

    outcome: str
    problems: list[str]
    target: Path
    band: int
    """The number of the band that it took for near infrared."""
    resumed: int = 0
    """Chunks that it took from an earlier run."""

    @property
    def ended(self) -> tuple[str, list[str]]:
        return self.outcome, self.problems


def colorize(folder: Path, scene: Path, *more: object) -> Attempt:
    """``nirgeo colorize`` in this process, one tile or two at a time."""
    out = folder / "out"
    out.mkdir(exist_ok=True)
    target = out / "rgb.tif"
    options = ("--chunk", 2, "--workers", 2, "--progress", "jsonl", "-o", target)
    result = CliRunner().invoke(main, [str(a) for a in ("colorize", scene, *options, *more)])
    problems = []
    named = re.search(r"^near infrared: band (\d+)", result.stderr, re.MULTILINE)
    band = int(named[1]) if named else 1
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        problems.append(f"exception {result.exception!r}")
    if result.exit_code == 0:
        events = map(json.loads, result.stdout.splitlines())
        resumed = next(event["resumed"] for event in events if event["event"] == "start")
        problems += left_behind(out, target.name)
        return Attempt("right picture", problems, target, band, resumed)
    errors = [line for line in result.stderr.splitlines() if line.startswith("Error: ")]
    if len(errors) != 1 or "Traceback" in result.stderr or len(errors[0]) > 1500:
        problems.append(f"not one line: {result.stderr[-800:]}")
    codes = [code for code in CLEAR if f'"code": "{code}"' in result.stdout]
    if result.exit_code != 1 or len(codes) != 1:
        problems.append(f"exit code {result.exit_code}, {errors or result.stderr[-300:]}")
    state = (f".{target.name}.nirgeo",) if "--resume" in more else ()
    outcome = f"refused: {codes[0] if codes else 'unclear'}"
    return Attempt(outcome, problems + left_behind(out, *state), target, band)


# --- scenes ---------------------------------------------------------------------------------------


def base_scenes(folder: Path) -> list[Path]:
    """Sound GeoTIFFs of many makes, about 200 px wide."""
    folder.mkdir(parents=True, exist_ok=True)
    sixteen, holes = scene_values(HEIGHT, WIDTH), punch_holes(HEIGHT, WIDTH)
    made = [
        write_raster(folder / "strips.tif", sixteen),
        write_raster(folder / "tiles.tif", sixteen, **_tiled()),
        write_raster(folder / "big.tif", sixteen, BIGTIFF="YES", **_tiled("deflate")),
        write_raster(folder / "lzw.tif", sixteen, predictor=2, **_tiled("lzw")),
        write_raster(folder / "zstd.tif", sixteen, nodata=0, **_tiled("zstd")),
        write_raster(folder / "packbits.tif", sixteen.astype(np.int16), **_tiled("packbits")),
        write_raster(folder / "lerc.tif", sixteen, **_tiled("lerc")),
        write_raster(folder / "mask.tif", sixteen, mask=holes, **_tiled("deflate")),
        write_raster(folder / "strip-deflate.tif", sixteen, compress="deflate", predictor=2),
        write_raster(
            folder / "scaled.tif", sixteen, scales=(1e-4,), offsets=(-0.01,), descriptions=("nir",)
        ),
        write_raster(
            folder / "floats.tif",
            np.where(holes, scene_values(HEIGHT, WIDTH, "float32"), np.nan),
            predictor=3,
            nodata=float("nan"),
            **_tiled("deflate"),
        ),
        write_raster(folder / "jpeg.tif", scene_values(HEIGHT, WIDTH, "uint8"), **_tiled("jpeg")),
        write_raster(
            folder / "four.tif",
            np.stack([scene_values(HEIGHT, WIDTH, seed=k) for k in range(4)]),
            descriptions=("blue", "green", "red", "nir"),
            interleave="pixel",
            **_tiled("deflate"),
        ),
        write_raster(
            folder / "points.tif",
            sixteen,
            gcps=[(0, 0, 7, 50, 0), (0, WIDTH, 8, 50, 0), (HEIGHT, 0, 7, 49, 0)],
        ),
    ]
    copy(made[0], folder / "cog.tif", driver="COG", COMPRESS="DEFLATE", BLOCKSIZE=128)
    return [*made, folder / "cog.tif"]


def _tiled(compress: str | None = None) -> dict[str, object]:
    kind = {} if compress is None else {"compress": compress}
    return {"tiled": True, "blockxsize": 64, "blockysize": 64, **kind}


def structure_of(path: Path) -> range:
    """Where a TIFF's header and first directory lie: nearly every damage there matters."""
    raw = path.read_bytes()
    (start,) = struct.unpack_from("<Q" if raw[2] == 43 else "<I", raw, 8 if raw[2] == 43 else 4)
    return range(start + 600) if start < 4096 else range(start, start + 600)


def scenes(seed: int, cases: int, folder: Path) -> Record:
    """Damaged GeoTIFFs."""
    torch.set_num_threads(1)
    model = painting_model(folder, name="tiny", seed=11)
    counts = painting_model(folder, name="tiny", quantity="counts", seed=12)
    load_generator(model), load_generator(counts)
    bases = [(p.stem, p.read_bytes(), structure_of(p)) for p in base_scenes(folder / "bases")]

    def make() -> Iterator[tuple[str, Case]]:
        for number in range(cases):
            chance = random.Random(f"{seed} {number}")
            name, data, structure = chance.choice(bases)
            spoilt = damaged(data, chance, structure)
            explicit = chance.random() < 0.5
            place = folder / f"case-{number}"
            yield f"{number} ({name})", _scene_case(place, spoilt, explicit, (model, counts))

    return judge(Record("scenes", seed), make())


def _scene_case(place: Path, data: bytes, explicit: bool, models: tuple[Model, Model]) -> Case:
    def case() -> tuple[str, list[str]]:
        place.mkdir()
        try:
            scene = place / "scene.tif"
            scene.write_bytes(data)
            return judged_scene(place, scene, explicit, models)
        finally:
            shutil.rmtree(place)

    return case


def judged_scene(
    place: Path, scene: Path, explicit: bool, models: tuple[Model, Model]
) -> tuple[str, list[str]]:
    """Colorize a scene, told which band and scaling it has or not, and compare with the picture
    that is made of what rasterio reads without nirgeo."""
    torch.set_num_threads(1)
    model, counts = models
    more: tuple[object, ...] = ("--model", model.path)
    if explicit:
        more = (*more, "--nir", 1, "--scale", "1e-4")
    attempt = colorize(place, scene, *more)
    if attempt.outcome == "refused: radiometry" and not explicit:  # nothing but counts in it
        model = counts
        attempt = colorize(place, scene, "--model", model.path)
    if attempt.target.exists():
        found = differences(scene, attempt, model, explicit=explicit)
        if found:
            attempt.outcome = "wrong picture"
            attempt.problems += found
    return attempt.ended


def differences(
    scene: Path, attempt: Attempt, model: Model, *, explicit: bool = False
) -> list[str]:
    """What a result differs in from the picture made with rasterio and one pass of the network.

    ``explicit``: band 1 and a gain of 0.0001 were asked for.
    """
    with rasterio.open(attempt.target) as file:
        tags = file.tags(ns=NAMESPACE)
        shape, crs, transform = file.shape, file.crs, file.transform
    # With libdeflate a damaged block would hold what was in memory, every time something else.
    with rasterio.Env(GDAL_TIFF_DEFLATE_SUBCODEC="ZLIB"), rasterio.open(scene) as file:
        band = attempt.band
        values = file.read(band)
        flags = file.mask_flag_enums[band - 1]
        valid = np.ones(values.shape, np.bool_)
        if MaskFlags.all_valid not in flags and not _holds_measurements(file, flags):
            valid = file.read_masks(band) != 0
        wanted = (file.shape, file.crs, file.transform)
        placed = bool(file.gcps[0]) or file.crs is None
    if values.dtype.kind == "f":
        valid &= np.isfinite(values)
    scaling = Scaling.from_tag(tags["SCALING"], "recorded")
    picture, mask = read(attempt.target)
    problems = []
    if shape != wanted[0]:
        return [f"a picture of {shape} of a scene of {wanted[0]}"]
    if not placed and crs != wanted[1]:
        problems.append(f"CRS {wanted[1]!r} became {crs!r}")
    if transform != wanted[2]:
        problems.append(f"transform {wanted[2]!r} became {transform!r}")
    if explicit and (band, tags["SCALING"]) != (1, "reflectance:0.0001,0.0"):
        problems.append(f"told otherwise: band {band}, scaling {tags['SCALING']}")
    if not np.array_equal(mask, valid):
        problems.append(f"{(mask != valid).sum()} pixels differ in the mask")
        return problems
    quantity = scaling.quantity
    if model.spec.quantity is Quantity.COUNTS and quantity is Quantity.REFLECTANCE:
        return problems  # shown first, and then coloured: another path, tested elsewhere
    expected = whole_picture(values[None], valid, model, scaling)
    if not np.array_equal(picture, expected):
        wrong = (picture != expected).any(axis=0)
        problems.append(
            f"{wrong.sum()} pixels of other colours, in rows {np.nonzero(wrong)[0][:3]}"
        )
    return problems


def _holds_measurements(file: rasterio.DatasetReader, flags: Sequence[MaskFlags]) -> bool:
    """Whether what masks a band is the fourth band of aerial pictures, which GDAL takes for alpha.

    Opaque and clear are the ends of a type, or 255.
    """
    if MaskFlags.alpha not in flags:
        return False
    alpha = file.read(file.colorinterp.index(ColorInterp.alpha) + 1)
    top = 1 if alpha.dtype.kind == "f" else np.iinfo(alpha.dtype).max
    return bool((~np.isin(alpha, (0, 255, top))).mean() > 0.02)


# --- model files ----------------------------------------------------------------------------------


def models(seed: int, cases: int, folder: Path) -> Record:
    """Damaged model files, of networks and of fitted baselines."""
    torch.set_num_threads(1)
    scene = write_raster(folder / "scene.tif", scene_values(HEIGHT, WIDTH))
    weights = Path(registry.__file__).parent / "weights"
    sound = [
        Path(painting_model(folder, name="tiny", seed=11).path),
        Path(painting_model(folder, name="two", bands=("nir", "red"), seed=3).path),
        weights / "satellite-rgn-3.safetensors",
        *sorted((weights / "baselines").glob("*-reflectance-2.safetensors")),
    ]
    bases = [(p.stem, p.read_bytes()) for p in sound]

    def make() -> Iterator[tuple[str, Case]]:
        for number in range(cases):
            chance = random.Random(f"{seed} {number}")
            name, data = chance.choice(bases)
            header = 8 + struct.unpack_from("<Q", data)[0]
            spoilt = damaged(data, chance, range(header))
            place = folder / f"case-{number}"
            yield f"{number} ({name})", _model_case(place, spoilt, scene)

    return judge(Record("models", seed), make())


def _model_case(place: Path, data: bytes, scene: Path) -> Case:
    def case() -> tuple[str, list[str]]:
        torch.set_num_threads(1)
        place.mkdir()
        try:
            path = place / "model.safetensors"
            path.write_bytes(data)
            more = ("--nir", 1, "--scale", "1e-4", "--model", path)
            attempt = colorize(place, scene, *more)
            if attempt.target.exists():
                # Its numbers are others, but these are the colours that they make.
                if is_baseline_file(path):
                    attempt.outcome = "a picture of its numbers"
                else:
                    attempt.problems += differences(scene, attempt, read_model(path))
            return attempt.ended
        finally:
            shutil.rmtree(place)

    return case


def ranges(seed: int, cases: int, folder: Path) -> Record:
    """Damaged ranges for 8 bits beside a sound model that is nobody's but the user's."""
    torch.set_num_threads(1)
    scene = write_raster(folder / "scene.tif", scene_values(HEIGHT, WIDTH))
    model = painting_model(folder, name="tiny", seed=11)
    assert apart(lambda: _measure_ranges(model)) == 0
    data = ranges_path(model).read_bytes()
    numbers = range(8 + struct.unpack_from("<Q", data)[0], len(data))

    def make() -> Iterator[tuple[str, Case]]:
        for number in range(cases):
            spoilt = damaged(data, random.Random(f"{seed} {number}"), numbers)
            yield str(number), _ranges_case(folder / f"case-{number}", model, spoilt, scene)

    return judge(Record("ranges", seed), make())


def _measure_ranges(model: Model) -> None:
    watch = Watch(load_generator(model))
    picture = np.random.default_rng(0).random((1, 128, 128), dtype=np.float32)
    watch.see(picture, np.ones(picture.shape[1:], dtype=np.bool_), None)
    write_ranges(model, watch.ranges(), {})


def _ranges_case(place: Path, model: Model, data: bytes, scene: Path) -> Case:
    def case() -> tuple[str, list[str]]:
        torch.set_num_threads(1)
        place.mkdir()
        try:
            own = Path(shutil.copy(model.path, place))
            own.with_suffix(SUFFIX).write_bytes(data)
            more = ("--nir", 1, "--scale", "1e-4", "--model", own, "--precision", "int8")
            attempt = colorize(place, scene, *more)
            if attempt.target.exists():
                attempt.outcome = "a picture of its numbers"
            return attempt.ended
        finally:
            shutil.rmtree(place)

    return case


def shipped_models(seed: int, cases: int, folder: Path) -> Record:
    """Files of the package that were damaged: every one of them is refused by its hash."""
    weights = Path(registry.__file__).parent / "weights"
    networks = registry.shipped_models()
    files = [(one, one.file) for one in (*networks, *registry.shipped_baselines())]
    files += [(one, str(Path(one.file).with_suffix(SUFFIX))) for one in networks if one.int8_sha256]

    def make() -> Iterator[tuple[str, Case]]:
        for number in range(cases):
            chance = random.Random(f"{seed} {number}")
            one, file = chance.choice(files)
            data = (weights / file).read_bytes()
            spoilt = damaged(data, chance)
            if spoilt != data:
                place = folder / f"{number}"
                yield f"{number} ({file})", _shipped_case(place, weights, one, file, spoilt)

    return judge(Record("shipped-models", seed), make())


def _shipped_case(
    place: Path, weights: Path, one: registry.ShippedModel, file: str, data: bytes
) -> Case:
    def case() -> tuple[str, list[str]]:
        (place / file).parent.mkdir(parents=True)
        shutil.copy(weights / one.file, place / one.file)
        (place / file).write_bytes(data)
        registry._weights_folder = lambda: place
        try:
            model = registry.load_model(one.full_name, one.quantity)
            if isinstance(model, Model):
                read_ranges(model)
        except ModelError:
            return "refused", []
        finally:
            shutil.rmtree(place)
        return "taken", ["a damaged file of the package was taken"]

    return case


# --- journals -------------------------------------------------------------------------------------


def journals(seed: int, cases: int, folder: Path) -> Record:
    """Damaged journals and chunks of a killed run: ``--resume`` refuses, or ends with the right
    bytes."""
    torch.set_num_threads(1)
    scene = write_raster(folder / "scene.tif", scene_values(HEIGHT, WIDTH))
    more = ("--nir", 1, "--scale", "1e-4", "--model", "baseline/grey", "--chunk", 1)
    (folder / "whole").mkdir()
    assert apart(lambda: _finished_run(folder / "whole", scene, more)) == 0
    whole = sha256_of(folder / "whole" / "out" / "rgb.tif")
    state = _state_of_a_killed_run(folder / "killed", scene, more)
    journal, store = ((state / n).read_bytes() for n in ("journal.jsonl", "blocks.tif"))
    (first,) = struct.unpack_from("<Q", store, 16 + 8 + 9 * 20 + 12)
    # What is hit most. Damage to a first line, or to a layout, leaves nothing to resume from.
    parts = (
        ("journal.jsonl", journal, range(journal.index(b"\n") + 1, len(journal))),
        ("journal.jsonl", journal, range(len(journal))),
        ("blocks.tif", store, range(first, len(store))),
        ("blocks.tif", store, range(first)),
    )
    run = (scene, *more)

    def make() -> Iterator[tuple[str, Case]]:
        for number in range(cases):
            chance = random.Random(f"{seed} {number}")
            name, data, part = chance.choice(parts)
            spoilt = damaged(data, chance, part)
            place = folder / f"case-{number}"
            yield f"{number} ({name})", _journal_case(place, state, (name, spoilt), run, whole)

    return judge(Record("journals", seed), make())


def _finished_run(folder: Path, scene: Path, more: tuple[object, ...]) -> None:
    assert colorize(folder, scene, *more).ended == ("right picture", [])


def _state_of_a_killed_run(folder: Path, scene: Path, more: tuple[object, ...]) -> Path:
    """The working folder of a run that ended in the middle of its chunks."""
    folder.mkdir()

    def write(self: BlockStore, *arguments: Any, **options: Any) -> int:
        nonlocal left
        left -= 1
        time.sleep(0.2)
        if left < 0:
            os._exit(9)
        return original(self, *arguments, **options)

    left = 7
    original, BlockStore.write = BlockStore.write, write  # type: ignore[method-assign]
    try:
        assert apart(lambda: _finished_run(folder, scene, more)) == 9
    finally:
        BlockStore.write = original  # type: ignore[method-assign]
    return folder / "out" / ".rgb.tif.nirgeo"


def _journal_case(
    place: Path, state: Path, spoilt: tuple[str, bytes], run: tuple[object, ...], whole: str
) -> Case:
    def case() -> tuple[str, list[str]]:
        torch.set_num_threads(1)
        try:
            copied = place / "out" / state.name
            shutil.copytree(state, copied)
            (copied / spoilt[0]).write_bytes(spoilt[1])
            attempt = colorize(place, *run, "--resume")
            if attempt.target.exists():
                attempt.outcome += f", {'from' if attempt.resumed else 'without'} kept chunks"
            if attempt.target.exists() and sha256_of(attempt.target) != whole:
                attempt.outcome = "wrong picture"
                attempt.problems.append("other bytes than those of an uninterrupted run")
            return attempt.ended
        finally:
            shutil.rmtree(place)

    return case
