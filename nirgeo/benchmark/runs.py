"""One run: one contestant, one split, one seed. Its record is a line of ``results.jsonl``."""

from __future__ import annotations

import json
import platform
import shutil
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from nirgeo._version import __version__
from nirgeo.baselines.storage import BASELINE_PREFIX
from nirgeo.benchmark import contestants
from nirgeo.benchmark.contestants import Predict, Trained
from nirgeo.benchmark.pictures import sheet
from nirgeo.benchmark.protocol import Protocol, Split, image_split, leaky_split
from nirgeo.benchmark.scores import score
from nirgeo.cores import cores
from nirgeo.digest import digest
from nirgeo.errors import EvaluationError
from nirgeo.evaluation.pictures import png
from nirgeo.place_statistics import place_means
from nirgeo.training.data import TrainingScene

RESULTS = "results.jsonl"


@dataclass(frozen=True)
class Run:
    """What is run. ``minutes`` or ``steps`` bound a training; baselines need neither."""

    contestant: str
    protocol: Protocol
    fold: int
    seed: int
    categories: tuple[str, ...]
    minutes: float | None = None
    steps: int | None = None
    learn_from: int | None = None
    """Images to learn from, if not all of the other folds."""
    images: str = ""
    """Tells one set of images from another, see :func:`set_of`."""

    @property
    def trains(self) -> bool:
        return not self.contestant.startswith(BASELINE_PREFIX)

    @property
    def key(self) -> dict[str, Any]:
        """What two records of one run have in common, the budget left aside."""
        facts = asdict(self) | {"protocol": self.protocol.value, "categories": [*self.categories]}
        return {k: v for k, v in facts.items() if k not in ("minutes", "steps")}

    @property
    def folder_name(self) -> str:
        kind = "-".join(self.categories) or "all"
        name = self.contestant.replace("/", "-")
        part = "" if self.learn_from is None else f"-from{self.learn_from}"
        same = f"-of-{self.images[:8]}" if self.images else ""
        return f"{kind}-{self.protocol}-fold{self.fold}-{name}{part}-seed{self.seed}{same}"


def set_of(images: Sequence[TrainingScene]) -> str:
    """The same for the same images only; folds of another set are others."""
    return digest({"images": [(image.name, *image.shape, image.checksum) for image in images]})


def split_of(run: Run, images: Sequence[TrainingScene]) -> Split:
    """What is learnt from, and what is scored.

    Raises
    ------
    EvaluationError : there is nothing of one of the two
    """
    split = (
        image_split(images, run.fold, run.learn_from)
        if run.protocol is Protocol.IMAGE
        else leaky_split(images, run.fold)
    )
    for part, what in ((split.training, "to learn from"), (split.scored, "to score")):
        if not any(scene.valid.any() for scene in part):
            kinds = ", ".join(run.categories) or "all categories"
            raise EvaluationError(
                f"--fold {run.fold}: of {len(images)} images ({kinds}) none with a valid pixel is "
                f"there {what}; choose other folds or more categories"
            )
    return split


def perform(
    run: Run,
    images: Sequence[TrainingScene],
    out: Path,
    *,
    device: str = "cpu",
    loaders: int = 0,
    progress: Callable[[int, int], None] = lambda step, steps: None,
) -> dict[str, Any]:
    """Train or fit, score, write a picture, and add a line to the results.

    Raises
    ------
    EvaluationError, TrainingError : see the parts
    """
    split = split_of(run, images)
    if run.trains:
        trained = _train(run, split, out, device, loaders, progress)
    else:
        trained = contestants.fit_baseline(run.contestant, split.training)
    scores = score(split.scored, trained.predict)
    if run.protocol is Protocol.IMAGE:
        picture = sheet(split.scored, trained.predict)
        (out / f"{run.folder_name}.png").write_bytes(png(picture))
    facts = run.key
    record = (
        {k: v for k, v in facts.items() if k != "images"}
        | {"image_set": facts["images"]}
        | ({"patches_seen": trained.patches} if run.trains else {})
        | {
            "budget_minutes": run.minutes,
            "steps": trained.steps,
            "spent_minutes": round(trained.seconds / 60, 2),
            "cores": cores(),
            "device": device,
            "machine": platform.machine(),
            "torch": torch.__version__,
            "nirgeo": __version__,
            **asdict(scores),
            "curve": trained.curve,
        }
    )
    with open(out / RESULTS, "a", encoding="utf-8") as results:
        results.write(json.dumps(record) + "\n")
    return record


def _train(
    run: Run,
    split: Split,
    out: Path,
    device: str,
    loaders: int,
    progress: Callable[[int, int], None],
) -> Trained:
    folder = out / run.folder_name
    config = contestants.fitting_configuration(
        run.contestant,
        split.training,
        seed=run.seed,
        minutes=run.minutes,
        steps=run.steps,
        device=device,
        loaders=loaders,
    )
    begun = folder.with_name(f"{folder.name}.part")
    if begun.exists():  # of a run that did not end; its number of steps was another one
        shutil.rmtree(begun)
    # A part of what is scored is enough for a curve.
    some = split.scored[:: max(1, len(split.scored) // 200)]

    def error(predict: Predict) -> float:
        return score(some, predict).angular

    trained = contestants.train(
        config,
        run.contestant,
        split.training,
        begun,
        device=device,
        loaders=loaders,
        error=error,
        progress=lambda step: progress(step, config.steps),
    )
    if folder.exists():  # of an earlier run, whose weights nobody needs from now on
        shutil.rmtree(folder)
    begun.rename(folder)
    return trained


def read_results(path: Path) -> list[dict[str, Any]]:
    """The records in a file of results; of two of the same run the later one.

    Raises
    ------
    EvaluationError : the file can't be read
    """
    records: dict[str, dict[str, Any]] = {}
    try:
        for line in path.read_text(encoding="utf-8").splitlines():
            record = json.loads(line)
            records[json.dumps(_key(record), sort_keys=True)] = record
    except (OSError, ValueError, KeyError) as error:
        raise EvaluationError(f"{path}: can't be read as results ({error})") from error
    return list(records.values())


def _key(record: dict[str, Any]) -> dict[str, Any]:
    names = ("contestant", "protocol", "fold", "seed", "categories")
    return {name: record[name] for name in names} | {
        "learn_from": record.get("learn_from"),
        "images": record.get("image_set", ""),
    }


def known(run: Run, records: Iterable[dict[str, Any]]) -> dict[str, Any] | None:
    """The record of an earlier run of the same, whatever its budget was."""
    return next((record for record in records if _key(record) == run.key), None)


def summary(records: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    """One row per contestant, protocol and categories: pooled over folds and seeds.

    ``angular``, ``sd`` and their ``linear_`` counterparts are over every pixel of all folds;
    ``images`` and ``linear_images`` hold each image's mean over seeds; ``spread`` is the standard
    deviation over seeds of the mean over folds, None for a single seed.
    """
    groups: dict[tuple[str, str, str], list[dict[str, Any]]] = {}
    for record in records:
        part = record.get("learn_from")
        contestant = record["contestant"] + ("" if part is None else f" from {part} images")
        key = (",".join(record["categories"]), record["protocol"], contestant)
        groups.setdefault(key, []).append(record)
    rows = [
        {"categories": categories or "all", "protocol": protocol, "contestant": contestant}
        | _pooled(runs)
        for (categories, protocol, contestant), runs in groups.items()
    ]
    return sorted(rows, key=lambda row: (row["categories"], row["protocol"], row["angular"]))


def _seed_spread(runs: Sequence[dict[str, Any]]) -> float | None:
    """Standard deviation over seeds of the mean angle on the folds that all of them ran."""
    angles: dict[int, dict[int, float]] = {}
    for run in runs:
        angles.setdefault(run["seed"], {})[run["fold"]] = run["angular"]
    shared = set.intersection(*(set(folds) for folds in angles.values()))
    if len(angles) < 2 or not shared:
        return None
    means = [np.mean([folds[fold] for fold in shared]) for folds in angles.values()]
    return float(np.std(means, ddof=1))


def _pooled(runs: Sequence[dict[str, Any]]) -> dict[str, Any]:
    pixels = np.array([r["pixels"] for r in runs], dtype=np.float64)
    defined = pixels * (1 - np.array([r["undefined"] for r in runs]))

    def moments(prefix: str, sd: str) -> tuple[float, float]:
        means = np.array([r[f"{prefix}angular"] for r in runs])
        squares = np.array([r[sd] ** 2 for r in runs]) + means**2
        mean = float((means * defined).sum() / defined.sum())
        return mean, float(np.sqrt((squares * defined).sum() / defined.sum() - mean**2))

    def per_image(field: str) -> dict[str, float]:
        return place_means(item for run in runs for item in run[field].items())

    angular, sd = moments("", "sd")
    linear, linear_sd = moments("linear_", "linear_sd")
    images, linear_images = per_image("images"), per_image("linear_images")
    seeds = sorted({r["seed"] for r in runs})
    squared = np.array([r["rmse"] ** 2 for r in runs])
    return {
        "angular": angular,
        "sd": sd,
        "linear_angular": linear,
        "linear_sd": linear_sd,
        "image_mean": float(np.mean(list(images.values()))),
        "linear_image_mean": float(np.mean(list(linear_images.values()))),
        "images": images,
        "linear_images": linear_images,
        "spread": _seed_spread(runs),
        "rmse": float(np.sqrt((squared * pixels).sum() / pixels.sum())),
        "undefined": float(1 - defined.sum() / pixels.sum()),
        "folds": sorted({r["fold"] for r in runs}),
        "seeds": seeds,
        "minutes": float(np.mean([r["spent_minutes"] for r in runs])),
        "steps": float(np.mean([r["steps"] for r in runs])),
    }
