"""Let shipped models run in 8 bits, and say what that costs.

    python tools/make_int8.py DATA             # every shipped network; some minutes
    python tools/make_int8.py DATA NAME...     # some of them
    python tools/make_int8.py --cards          # only write the cards' sections from the record
    python tools/make_int8.py --registry       # only list the files that there are

DATA holds ``satellite`` and ``aerial``, each with ``train`` and ``val``, and ``index.csv``. Ranges
are measured on training places; the price is measured on validation places, with the same
evaluation as everything else. Convolutions outside the network's sequences stay in 32 bits only if
8 bits cost too much otherwise. Writes ``NAME-1.int8.safetensors`` beside the weights, its hash into
the registry, the record ``docs/performance/int8.json`` and a section of each model's card.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
from torch import nn
from usage import arguments

import nirgeo
from nirgeo import inference, networks
from nirgeo.evaluation.predict import ModelPredictor
from nirgeo.evaluation.scenes import find_scenes, read_scene
from nirgeo.evaluation.score import evaluate
from nirgeo.modelfile import Model, sha256_of
from nirgeo.opening import open_source
from nirgeo.registry import load_model, shipped_models
from nirgeo.runtimes.activation_ranges import Watch
from nirgeo.runtimes.choice import FP32, INT8
from nirgeo.runtimes.int8 import SUFFIX, write_ranges
from nirgeo.scene_attributes import VALID
from nirgeo.scene_lists import SceneEntry

ROOT = Path(__file__).parents[1]
RECORD = ROOT / "docs" / "performance" / "int8.json"
WEIGHTS = ROOT / "nirgeo" / "weights"
SCENES = 96
"""Training scenes that ranges are measured on, spread over the places."""

HINTS = (-1.0, 1.0)
"""What a colour hint may hold somewhere on earth: logarithms of colour ratios, and a trust."""

MAX_ANGLE, MAX_MEAN = 0.05, 0.75
"""Degrees and levels that 8 bits may cost before more of a network stays in 32 bits."""

SECTION = re.compile(r"## In 8 bits\n.*?(?=^## )", re.DOTALL | re.MULTILINE)


def entries(data: Path, name: str, side: str, limit: int | None = None) -> list[SceneEntry]:
    if name.startswith("aerial"):
        return find_scenes([data / "aerial" / side], data / "index.csv", (), limit)
    level = "toa" if name.endswith("-toa") else "boa"
    return find_scenes([data / "satellite" / side], data / "index.csv", (level,), limit)


def training_scenes(data: Path, model: Model) -> list[SceneEntry]:
    """Spread over all places; half of them such as have a colour hint, if the model reads it."""
    name = model.spec.name
    if model.spec.tones is None:
        return entries(data, name, "train", SCENES)
    placed = [e for e in entries(data, name, "train") if open_source(e.path).grid.crs is not None]
    some = placed[:: max(1, 2 * len(placed) // SCENES)]
    return entries(data, name, "train", SCENES // 2) + some


def measure_ranges(model: Model, scenes: list[SceneEntry], keep: tuple[str, ...]) -> None:
    network: Any = networks.network(model)
    watch = Watch(network, keep)
    run = inference.run_network

    def seen(inputs: Any, valid: Any, *others: Any, **options: Any) -> Any:
        watch.see(inputs, valid, others[2])  # model, device, hint
        return run(inputs, valid, *others, **options)

    with mock.patch.object(inference, "run_network", seen):
        for entry in scenes:
            lazy = nirgeo.open_scene(entry.path)
            nirgeo.colorize(lazy, model).compute(scheduler="synchronous")
    facts = {
        "scenes": len(scenes),
        "kept_in_32_bits": list(keep),
        "how": "tools/make_int8.py: least mean square over training scenes",
    }
    write_ranges(model, watch.ranges(None if model.spec.tones is None else HINTS), facts)
    list_ranges()


def list_ranges() -> None:
    """Write the hash of every file of ranges into the registry, and forget what it said before."""
    registry = WEIGHTS / "registry.json"
    entries = json.loads(registry.read_text("utf-8"))
    for entry in entries:
        entry.pop("int8_sha256", None)
        ranges = (WEIGHTS / entry["file"]).with_suffix(SUFFIX)
        if ranges.exists():
            entry["int8_sha256"] = sha256_of(ranges)
    registry.write_text(json.dumps(entries, indent=1) + "\n", "utf-8")
    shipped_models.cache_clear()


def price(model: Model, scenes: list[SceneEntry]) -> dict[str, Any]:
    """What 8 bits change on validation scenes: levels of the pictures, and degrees."""
    changes = np.zeros(256, dtype=np.int64)
    for entry in scenes:
        lazy = read_scene(entry).lazy
        reference, rounded = (
            nirgeo.colorize(lazy, model, precision=p).compute() for p in (FP32, INT8)
        )
        valid = reference[VALID].values
        levels = np.abs(reference.values.astype(np.int16) - rounded.values.astype(np.int16))
        changes += np.bincount(levels[:, valid].ravel(), minlength=256)
    share = np.cumsum(changes) / changes.sum()
    angles = {}
    for precision in (FP32, INT8):
        predictor = ModelPredictor(precision, model, precision=precision)
        found = evaluate(scenes, [predictor], advance=lambda: None, warn=lambda _: None)
        (task,) = found.to_json()["tasks"]
        angles[precision] = task["models"][0]["mean_over_places"]["angular"]["value"]
    return {
        "mean_levels": float((changes * np.arange(256)).sum() / changes.sum()),
        "p99_levels": int(np.searchsorted(share, 0.99)),
        "max_levels": int(np.flatnonzero(changes).max()),
        "angle_fp32": angles[FP32],
        "angle_int8": angles[INT8],
    }


def loose_convolutions(model: Model) -> tuple[str, ...]:
    """Those behind the first that are in no sequence: what makes gains of features."""
    names = [n for n, m in networks.network(model).named_modules() if isinstance(m, nn.Conv2d)]  # type: ignore[attr-defined]
    return tuple(name for name in names[1:] if "." not in name)


def make(data: Path, name: str) -> dict[str, Any]:
    model = load_model(name)
    assert isinstance(model, Model)
    train = training_scenes(data, model)
    validation = entries(data, model.spec.name, "val")
    for keep in ((), loose_convolutions(model)):
        measure_ranges(model, train, keep)
        found = price(model, validation)
        change = abs(found["angle_int8"] - found["angle_fp32"])
        if change <= MAX_ANGLE and found["mean_levels"] <= MAX_MEAN:
            break
    record = {"model": model.spec.full_name, "model_sha256": model.sha256}
    return {**record, "kept_in_32_bits": list(keep), "scenes": len(validation), **found}


def section(record: dict[str, Any]) -> str:
    kept = ", ".join(record["kept_in_32_bits"])
    kept = f"; {kept} stay in 32 bits" if kept else ""
    return (
        "## In 8 bits\n\n"
        f"`--precision int8` on the {record['scenes']} validation scenes{kept}: colours move by "
        f"{record['mean_levels']:.2f} of 255 levels on average, 99% of them by at most "
        f"{record['p99_levels']}, the farthest by {record['max_levels']}. The mean angular error "
        f"goes from {record['angle_fp32']:.3f}° to {record['angle_int8']:.3f}°.\n\n"
    )


def write_cards(records: list[dict[str, Any]]) -> None:
    """A section in the card of every network that was measured, and none in others."""
    sections = {record["model"]: section(record) for record in records}
    for model in shipped_models():
        card = Path(load_model(model.full_name).path).with_suffix(".md")
        text = SECTION.sub("", card.read_text(encoding="utf-8"))
        before, found, after = text.partition("## Training\n")
        assert found, f"{card} has no section about training"
        made = sections.get(model.full_name, "")
        card.write_text(before + made + found + after, encoding="utf-8")


def of_shipped_weights(records: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Those of networks that the package has, with the weights that were measured."""
    shipped = {model.full_name: model.sha256 for model in shipped_models()}
    kept = [r for r in records if shipped.get(r["model"]) == r["model_sha256"]]
    return sorted(kept, key=lambda r: r["model"])


def main() -> None:
    given = arguments(__doc__)
    if given == ["--registry"]:
        list_ranges()
        return
    known = json.loads(RECORD.read_text("utf-8")) if RECORD.exists() else []
    if given == ["--cards"]:
        write_cards(of_shipped_weights(known))
        return
    data, names = Path(given[0]), given[1:]
    for name in names or [model.full_name for model in shipped_models()]:
        made = make(data, name)
        print(json.dumps(made), flush=True)
        # After each: whoever stops it has ranges, record and cards of the same models.
        known = of_shipped_weights([r for r in known if r["model"] != made["model"]] + [made])
        RECORD.parent.mkdir(exist_ok=True)
        RECORD.write_text(json.dumps(known, indent=1) + "\n", "utf-8")
        write_cards(known)


if __name__ == "__main__":
    main()
