"""Turn a finished training run into a shipped model: weights, card, STAC MLM item, registry entry.

    python tools/release_model.py RUN NAME VERSION
    python tools/release_model.py FILE NAME VERSION    # what `nirgeo calibrate` made of a release
    python tools/release_model.py --items    # only write the items of all models anew

RUN is a folder made by ``nirgeo train``. What the card says of the training comes from the run's
configuration and log; what it says in words stands in ``FACTS`` below. A release before VERSION
is taken out of the package.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from textwrap import fill
from typing import Any

from numpy.typing import NDArray
from safetensors.numpy import load_file
from together import written_together
from usage import arguments

from nirgeo.bands import COLOURS
from nirgeo.modelfile import ModelSpec, read_model, write_model
from nirgeo.radiometry import Quantity

WEIGHTS = Path(__file__).parents[1] / "nirgeo" / "weights"
LICENCE = "MIT"
TONE_MAPS = Path(__file__).with_name("tone_maps.json")
"""Made by fit_tone_map.py; a model without an entry has no location prior."""


@dataclass(frozen=True)
class Facts:
    summary: str
    gsd: tuple[float, float]
    data: str
    attribution: str
    limits: str
    stages: tuple[str, ...]
    """The commands that made the weights, RUN-1 being the folder of the first."""
    afterwards: str = ""
    """What was done to the trained weights."""
    calibration_options: tuple[str, ...] = ()
    """What `nirgeo calibrate` was called with besides the scenes."""
    calibration_places: str = ""
    """Places that expected errors were scaled on, besides those of the validation."""

    @property
    def calibration(self) -> str:
        """The options of `nirgeo calibrate`, as they follow the command."""
        return "".join(f" and `{option}`" for option in self.calibration_options)


_NAIP = (
    "USDA NAIP, 8-bit display counts. Training: 313 chips of 256×256 px at 0.6 m from four "
    "Californian cities (Long Beach, Palm Springs, Riverside, Santa Monica; one or two "
    "years each) and seven dates of one North Dakota wetland at 5 m. Validation: 62 chips "
    "of another city, Claremont."
)
_CITIES = (
    " The wetland was left out of most stages, tables and expected errors included: its meadows, "
    "rendered a strong green by hand, made white roofs green."
)
_WITHOUT = "--without north-dakota-m_4709963"
_WIDER = (
    f"--preset aerial-nir-finish+wider {_WITHOUT} --set smoothing=3 --set batch=10 "
    "--set warmup=100 --set nir_jitter=0.05 --set gain_jitter=0.1"
)
_ROBUST = (
    "--preset aerial-nir-finish+wider --set smoothing=3 --set batch=10 --set warmup=200 "
    "--set steps=10000 --set validate_every=1000 --set learning_rate=6e-4 --set dropout=0 "
    "--set weight_decay=0.02 --set ema=0.998 --set nir_jitter=0.2 --set nir_gamma=0.2 "
    "--set gain_jitter=0.15 --set zoom=0.3"
)
_HELD = (
    "--preset aerial-nir-finish+wider --set smoothing=3 --set ema=0.998 --set nir_jitter=0.2 "
    "--set nir_gamma=0.2 --set gain_jitter=0.15 --set zoom=0.3 --set dropout=0.1 "
    "--set weight_decay=0.1"
)
_LAST = (
    f"{_HELD} --set batch=10 --set warmup=100 --set steps=4500 --set validate_every=750 "
    "--set learning_rate=3e-4 --set seed=3"
)
_NAIP_SOURCE = (
    "Imagery: USDA National Agriculture Imagery Program, public domain; chips from "
    "naip-urban-trees (Ventura et al. 2024, CC BY 4.0)"
)
_SURFACE = (
    "Surface reflectance of Sentinel-2 (L2A), HLS and Landsat. Training: 2,500 patches of "
    "64×64 px all over Europe (EuroSAT places, reprocessed to L2A) and about 50 further "
    "places in larger pieces. Validation: 17 other places (11 BigEarthNet patches, six "
    "places in California and on the Colorado river)."
)
_SURFACE_SOURCE = (
    "Contains modified Copernicus Sentinel data; Landsat imagery courtesy of the U.S. "
    "Geological Survey; HLS by NASA"
)

_SMOOTHED = """
SMOOTHED is the best of RUN-3 with gains and offsets averaged over 3×3 cells (12 pixels), by
`tools/smooth_model.py`, against blotches in uniform ground; the stages after it average in the same
way. RUN-5 was stopped after step 3,420; its best was at step 3,000."""

_AVERAGED = """

RUN-9 learnt from the wetland too and was stopped after step 2,240 (its best was at step 2,000).
MIXED is RUN-10 and a fifth of RUN-9, by `tools/average_models.py`; it was version 6. RUN-11, on a
GPU, was ended after step 6,420 (its best at step 6,000), and the last two after step 3,760. The
model is RUN-12 and 35 % of RUN-13, which learnt from the wetland too, in the same way."""

_PUPIL = """
SMOOTHED is the best of RUN-2 with gains and offsets averaged over 7×7 cells (28 pixels), by
`tools/smooth_model.py`: what was learnt cell by cell painted soft blotches into uniform ground. The
last stage is a network with a seventh of the operations that learnt its colours, and averages its
own in the same way."""

_WHITE = """

Beyond the brightest near infrared of the training the table was turned to white, with
`tools/neutral_end.py`: what is brighter than any plant is snow, ice or cloud. No validation scene
is so bright, so no figure here tells how right that is."""

FACTS = {
    "aerial-nir": Facts(
        summary="natural colour from the NIR band of 8-bit aerial pictures (cities, 0.6 m)",
        gsd=(0.3, 1.5),
        data=_NAIP + _CITIES,
        attribution=_NAIP_SOURCE,
        limits=(
            "Trained on cities of one state: forest and farmland it has hardly seen. The colour "
            "calibration of such pictures differs from flight to flight. Trees come out too bright "
            "and too grey, and a roof may become a lawn where nothing around it tells."
        ),
        stages=(
            "--preset aerial-nir --out RUN-1",
            "--preset aerial-nir-finish --init RUN-1/best.safetensors --out RUN-2",
            "--preset aerial-nir-finish --set steps=700 --set validate_every=175 --new-table "
            f"{_WITHOUT} --init RUN-2/best.safetensors --out RUN-3",
            f"{_WIDER} --set steps=6000 --set validate_every=500 --set learning_rate=8e-4 "
            "--new-table --init SMOOTHED.safetensors --out RUN-4",
            f"{_WIDER} --set steps=9000 --set validate_every=750 --set learning_rate=1e-3 "
            "--set dropout=0 --set weight_decay=0.02 --init RUN-4/best.safetensors --out RUN-5",
            f"{_WIDER} --set steps=3000 --set validate_every=500 --set learning_rate=7e-4 "
            "--set dropout=0 --set weight_decay=0.02 --set warmup=50 "
            "--init RUN-5/best.safetensors --out RUN-6",
            f"{_WIDER} --set steps=2200 --set validate_every=550 --set learning_rate=7e-4 "
            "--set dropout=0 --set weight_decay=0.02 --set warmup=50 "
            "--init RUN-6/best.safetensors --out RUN-7",
            f"{_WIDER} --set steps=20000 --set validate_every=1000 --set learning_rate=8e-4 "
            "--set dropout=0 --set weight_decay=0.02 --set warmup=200 --set ema=0.998 "
            "--init RUN-7/best.safetensors --out RUN-8",
            f"{_ROBUST} --init RUN-8/best.safetensors --out RUN-9",
            f"{_ROBUST} {_WITHOUT} --init RUN-8/best.safetensors --out RUN-10",
            f"{_HELD} {_WITHOUT} --set batch=32 --set warmup=200 --set steps=8000 "
            "--set validate_every=2000 --set learning_rate=8e-4 --set seed=1 --device cuda "
            "--loaders 2 --init MIXED.safetensors --out RUN-11",
            f"{_LAST} {_WITHOUT} --init RUN-11/best.safetensors --out RUN-12",
            f"{_LAST} --init RUN-11/best.safetensors --out RUN-13",
        ),
        afterwards=_SMOOTHED + _AVERAGED,
        calibration_options=("--by-scene", _WITHOUT),
    ),
    "satellite-nir": Facts(
        summary="natural colour of the surface from the NIR band of satellite scenes (10-60 m)",
        gsd=(8.0, 100.0),
        data=_SURFACE,
        attribution=_SURFACE_SOURCE,
        limits=(
            "One near-infrared value can belong to a red desert or a green plain. Without knowing "
            "the place the network can only give the likelier colour: expect muted colours, and "
            "soil that is too brown or too green. The colours are those of the surface; haze is "
            "not reproduced. The map of the world that the location prior knows shows summer: in "
            "winter `--no-prior` may look more like the season."
        ),
        stages=(
            "--preset satellite-nir --out RUN-1",
            "--preset satellite-nir-finish --init RUN-1/best.safetensors --out RUN-2",
            "--preset satellite-nir-pupil --teacher SMOOTHED.safetensors --out RUN-3",
        ),
        afterwards=_PUPIL + _WHITE,
    ),
    "aerial-rgn": Facts(
        summary="blue for 8-bit colour-infrared aerial pictures (red, green, NIR; 0.6 m)",
        gsd=(0.3, 1.5),
        data=_NAIP + " The wetland was left out, of table and expected errors too.",
        attribution=_NAIP_SOURCE,
        limits=(
            "Red and green are the measured ones, unchanged. Blue surfaces that reflect little "
            "else (tarpaulins, blue roofs, some pools) come out greyer than they are. The colour "
            "calibration of such pictures differs from flight to flight, and so does their blue."
        ),
        stages=(f"--preset aerial-rgn {_WITHOUT} --out RUN-1",),
        calibration_options=("--by-scene", _WITHOUT),
    ),
    "satellite-rgn": Facts(
        summary="blue for satellite scenes without it (red, green, NIR; 10-60 m)",
        gsd=(8.0, 100.0),
        data=_SURFACE,
        attribution=_SURFACE_SOURCE,
        limits=(
            "Red and green are the measured ones, unchanged. Blue is that of the surface: scenes "
            "that are not corrected for the atmosphere have a stronger blue of haze in truth. Blue "
            "surfaces that reflect little else come out greyer than they are."
        ),
        stages=("--preset satellite-rgn --level boa --out RUN-1",),
    ),
    "satellite-rgn-toa": Facts(
        summary="blue for satellite scenes without it, with the atmosphere in it (10-60 m)",
        gsd=(8.0, 100.0),
        data=(
            "As satellite-rgn, but every training patch is seen through air of a random amount "
            "(path radiance up to 0.12 in blue, falling with wavelength). Validation: five "
            "scenes of four places as top-of-atmosphere reflectance (Brandenburg in winter, "
            "Spain, north-west India, southern California), which are not so corrected."
        ),
        attribution=_SURFACE_SOURCE,
        limits=(
            "Red and green are the measured ones, unchanged. How much blue the air adds has to be "
            "guessed from red, green and near infrared: expect a cast in very hazy or very dark "
            "scenes."
        ),
        stages=("--preset satellite-rgn-toa --level boa --validation-level toa --out RUN-1",),
        calibration_options=(
            "--level boa --validation-level toa --validation VAL --validation TRAIN --index OTHERS",
        ),
        calibration_places=(
            " and seven more top-of-atmosphere ones, which lie in the folder of the training and "
            "taught nothing, since it took the surface's level only (all that there are but "
            "`eurosat`, whose surface it learnt and which OTHERS, an index, leaves out)"
        ),
    ),
}


def read_log(run: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (run / "log.jsonl").read_text().splitlines()]


def training_facts(run: Path, model: ModelSpec) -> dict[str, Any]:
    log = [e for e in read_log(run) if e["event"] == "validation"]
    table, best = log[0], min(log, key=lambda e: float(e["judged"]))
    return {
        **model.training,
        "config": json.loads((run / "config.json").read_text()),
        "best_step": best["step"],
        "steps": log[-1]["step"],
        "minutes": round(log[-1]["seconds"] / 60),
        "validation_table": {k: table[k] for k in ("angular", "rmse")},
        "validation": {
            k: best[k] for k in ("angular", "rmse", "hinted_angular", "hinted_rmse") if k in best
        },
    }


def card(spec: ModelSpec, facts: Facts, sha256: str) -> str:
    training = spec.training
    table, best = training["validation_table"], training["validation"]
    unit = "reflectance" if spec.quantity is Quantity.REFLECTANCE else "counts / 255"
    rows = [
        ("per-pixel table (the baseline it starts from)", table["angular"], table["rmse"]),
        ("network, no colour hint", best["angular"], best["rmse"]),
    ]
    if "hinted_angular" in best:
        rows.append(
            (
                "network, given the scene's mean colour with an error of 0.15 (log ratios)",
                best["hinted_angular"],
                best["hinted_rmse"],
            )
        )
    lines = "\n".join(f"| {name} | {a:.2f}° | {r:.4f} |" for name, a, r in rows)
    config = json.dumps(training["config"], sort_keys=True)
    commands = "\n".join(f"    nirgeo train TRAIN … {stage}" for stage in facts.stages)
    kept = "; red and green are kept as they were measured" if len(spec.made) < 3 else ""
    over = " RMSE is over all three colours." if kept else ""
    worse = best["angular"] > table["angular"] or best["rmse"] > table["rmse"]
    verdict = "**Without a hint it does not beat the table in both measures.**\n\n" if worse else ""
    return f"""# {spec.full_name}

{facts.summary[0].upper() + facts.summary[1:]}.

- Eats: {", ".join(spec.bands)} as {spec.quantity.value}; {facts.gsd[0]:g}–{facts.gsd[1]:g} m per
  pixel
- Makes: {", ".join(spec.made)}{kept}
- Weights: `{spec.name}-{spec.version}.safetensors`, sha256 `{sha256}`
- Licence of the weights: {spec.licence}

## Data

{facts.data}

{facts.attribution}.

Split by place: no place is on both sides.

## Figures

Mean over the validation places. **These places chose the weights** (the best of all validations
was kept), so this is validation, not a test.{over}

| | angular error | RMSE ({unit}) |
|---|---|---|
{lines}

{verdict}{_expectation(spec, facts)}## Training

To train again (`--validation`, `--index` and `--level` left out here):

{commands}

The stage whose weights the file began with, or is: {training["steps"]} steps, best at step
{training["best_step"]}, {training["minutes"]} minutes on two processor cores that were also doing
other work. Its configuration:

    {config}
{facts.afterwards and facts.afterwards + chr(10)}
## Limits

{facts.limits}

The colours are synthetic. Do not compute indices from them.
"""


def _expectation(spec: ModelSpec, facts: Facts) -> str:
    """The card's word on expected errors and on what the training held."""
    lines = []
    if spec.uncertainty is not None:
        said = spec.uncertainty
        low, high = said["coverage_range"]
        hint, hinted = "without a hint of their colours", ""
        if "coverage_hint" not in said:  # of before that was told apart
            hint = "half of it with a hint of their true colours"
        if said.get("coverage_hinted") is not None:
            hinted = f", and with one as wrong as a map of the world {said['coverage_hinted']:.1%}"
        unit = "scenes of one place" if "--by-scene" in facts.calibration_options else "places"
        text = (
            "`nirgeo colorize --uncertainty` adds the angle by which a colour is expected to be "
            f"off. Scaled on the validation {unit}{facts.calibration_places}, nine pixels of ten "
            f"are expected within {said['quantile']:.2f} times as much; on {said['places']} {unit} "
            f"left out of that one by one, {hint}, it was {said['coverage_left_out']:.1%} "
            f"({low:.1%} to {high:.1%}){hinted}. Made with `nirgeo calibrate`{facts.calibration}."
        )
        lines.append(f"## Expected errors\n\n{fill(text, 100, break_on_hyphens=False)}\n")
    if spec.domain:
        digits = 3 if spec.quantity is Quantity.REFLECTANCE else 0
        rows = "\n".join(
            f"| {role} | {b.low:.{digits}f}–{b.high:.{digits}f} | "
            f"{b.median_low:.{digits}f}–{b.median_high:.{digits}f} |"
            for role, b in spec.domain.items()
        )
        lines.append(f"""## What the training held

In {spec.quantity.value}; all but a thousandth of the pixels at each end, and the medians of all but
a hundredth of the scenes. `nirgeo colorize` and `nirgeo info` warn where a scene lies outside.

| | pixels | medians of scenes |
|---|---|---|
{rows}
""")
    return "".join(part + "\n" for part in lines)


def _count(tensors: Mapping[str, NDArray[Any]]) -> int:
    return sum(values.size for values in tensors.values())


def mlm_item(spec: ModelSpec, sha256: str, parameters: int) -> dict[str, Any]:
    """A STAC item with the Machine Learning Model extension (v1.5).

    ``parameters`` counts what is not trained by gradients too, as the extension wants it.
    """
    bands = len(spec.bands)
    file = f"{spec.name}-{spec.version}.safetensors"
    scaling = (
        {"type": "processing", "format": "nirgeo", "expression": "sqrt(clip(reflectance, 0, 1.5))"}
        if spec.quantity is Quantity.REFLECTANCE
        else {"type": "processing", "format": "nirgeo", "expression": "clip(counts, 0, 255) / 255"}
    )
    return {
        "type": "Feature",
        "stac_version": "1.1.0",
        "stac_extensions": [
            "https://stac-extensions.github.io/mlm/v1.5.0/schema.json",
            "https://stac-extensions.github.io/eo/v2.0.0/schema.json",
            "https://stac-extensions.github.io/file/v2.1.0/schema.json",
            "https://stac-extensions.github.io/version/v1.2.0/schema.json",
        ],
        "id": f"nirgeo-{spec.name}-{spec.version}",
        "geometry": None,
        "properties": {
            "datetime": None,
            "start_datetime": "2000-01-01T00:00:00Z",
            "end_datetime": "2026-12-31T23:59:59Z",
            "description": spec.summary,
            "mlm:name": spec.name,
            "version": str(spec.version),
            "mlm:architecture": "nirgeo local affine generator",
            "mlm:tasks": ["generative"],
            "mlm:framework": "pytorch",
            "mlm:total_parameters": parameters,
            "mlm:pretrained": True,
            "mlm:input": [
                {
                    "name": spec.quantity.value,
                    "bands": list(spec.bands),
                    "input": {
                        "shape": [-1, bands, 64, 64],
                        "dim_order": ["batch", "bands", "height", "width"],
                        "data_type": "float32",
                    },
                    "value_scaling": [scaling],
                }
            ],
            "mlm:output": [
                {
                    "name": "natural colour",
                    "tasks": ["generative"],
                    "result": {
                        "shape": [-1, len(spec.made), 64, 64],
                        "dim_order": ["batch", "bands", "height", "width"],
                        "data_type": "float32",
                    },
                }
            ],
        },
        "links": [],
        "assets": {
            "weights": {
                "href": f"./{file}",
                "type": "application/octet-stream",
                "roles": ["mlm:model", "mlm:weights"],
                "mlm:artifact_type": "safetensors.torch.save_file",
                # The extension wants every band that an input names to be declared.
                "bands": [{"name": band, "eo:common_name": band} for band in spec.bands],
                "file:checksum": f"1220{sha256}",
            }
        },
    }


_FIGURES = ("validation_table", "validation", "config", "steps", "minutes", "best_step")
"""What a card says of a training."""


def release(source: Path, name: str, version: int) -> None:
    if name not in FACTS:
        sys.exit(f"{name}: FACTS says nothing of it, only of {', '.join(FACTS)}")
    facts = FACTS[name]
    registry = WEIGHTS / "registry.json"
    entries = json.loads(registry.read_text()) if registry.exists() else []
    shipped = [e for e in entries if e["name"] == name]
    if any(e["version"] > version for e in shipped):
        sys.exit(f"{name}: the package has version {shipped[0]['version']}, newer than {version}")
    earlier = [e["file"] for e in shipped if e["version"] < version]
    best = source / "best.safetensors" if source.is_dir() else source
    tensors = load_file(best)
    spec = read_model(best).spec
    for entry in shipped:
        _refuse_another_kind(best, spec, read_model(WEIGHTS / entry["file"]).spec)
    training = training_facts(source, spec) if source.is_dir() else dict(spec.training)
    if missing := [figure for figure in _FIGURES if figure not in training]:
        sys.exit(f"{best}: says nothing of {', '.join(missing)}; name the folder of the run")
    trained = ("stem", "blocks", "head")
    training["parameters"] = sum(v.size for k, v in tensors.items() if k.startswith(trained))
    spec = replace(
        spec,
        colours=COLOURS,
        name=name,
        version=version,
        gsd=facts.gsd,
        summary=facts.summary,
        licence=LICENCE,
        attribution=facts.attribution,
        training=training,
        tones=json.loads(TONE_MAPS.read_text()).get(name),
    )
    stem = f"{name}-{version}"
    target = WEIGHTS / f"{stem}.safetensors"
    with written_together(WEIGHTS) as scratch:
        write_model(scratch / target.name, spec, tensors)
        sha256 = read_model(scratch / target.name).sha256
        (scratch / f"{stem}.md").write_text(card(spec, facts, sha256), encoding="utf-8")
        item = json.dumps(mlm_item(spec, sha256, _count(tensors)), indent=2) + "\n"
        (scratch / f"{stem}.json").write_text(item, encoding="utf-8")
        before = next((e for e in entries if (e["name"], e["version"]) == (name, version)), {})
        entry = {"name": name, "version": version, "file": target.name, "sha256": sha256}
        same = before.get("sha256") == sha256
        entries = [e for e in entries if e["name"] != name] + [before | entry if same else entry]
        entries.sort(key=lambda e: (e["name"], e["version"]))
        text = json.dumps(entries, indent=1) + "\n"
        (scratch / registry.name).write_text(text, encoding="utf-8")
    if not same:  # ranges of other weights; tools/make_int8.py makes them anew
        target.with_suffix(".int8.safetensors").unlink(missing_ok=True)
    for file in earlier:
        for suffix in (".safetensors", ".int8.safetensors", ".md", ".json"):
            (WEIGHTS / file).with_suffix(suffix).unlink(missing_ok=True)
    print(f"{target}: {target.stat().st_size / 2**20:.2f} MiB, best step {training['best_step']}")


def _refuse_another_kind(best: Path, spec: ModelSpec, old: ModelSpec) -> None:
    made, before = ((s.quantity.value, s.bands, s.made) for s in (spec, old))
    if made != before:
        told = [f"{', '.join(m[2])} from {', '.join(m[1])} as {m[0]}" for m in (made, before)]
        sys.exit(f"{best} makes {told[0]}; {old.full_name} makes {told[1]}")


def rewrite_items() -> None:
    """Write the STAC items of all shipped models anew, from the model files alone."""
    for entry in json.loads((WEIGHTS / "registry.json").read_text()):
        path = WEIGHTS / entry["file"]
        model = read_model(path)
        count = _count(load_file(path))
        item = json.dumps(mlm_item(model.spec, model.sha256, count), indent=2) + "\n"
        path.with_suffix(".json").write_text(item, encoding="utf-8")


if __name__ == "__main__":
    given = arguments(__doc__)
    if given == ["--items"]:
        rewrite_items()
        sys.exit()
    release(Path(given[0]), given[1], int(given[2]))
