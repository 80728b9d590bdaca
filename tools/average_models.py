"""Average the weights of two networks, one of which went on from the other or both from a third.

    python tools/average_models.py MODEL OTHER SHARE FILE INDEX.csv FOLDER [LEVEL]

SHARE (0 to 1) of the weights is OTHER's. Networks that went on from the same weights, if not for
long, lie in one valley, and between them is a network that knows something of what either learnt
(Wortsman et al. 2022, model soups). What a share is worth, validation decides. Table and range of
values are MODEL's. FILE is a model like any other; its figures are measured anew on the validation
scenes in FOLDER, and its expected errors have to be (`nirgeo calibrate`).
"""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

from safetensors.numpy import load_file
from smooth_model import write_measured
from usage import arguments

from nirgeo.modelfile import ModelSpec, read_model
from nirgeo.training.networks import joined_attributions

FITTED = ("table.values", "input_range")
"""Not trained by gradients."""


def average(
    name: Path,
    other: Path,
    share: float,
    target: Path,
    index: Path,
    folder: Path,
    levels: list[str],
) -> None:
    if not 0 <= share <= 1:
        sys.exit(f"SHARE {share:g}: from 0 to 1")
    one, two = read_model(name).spec, read_model(other).spec
    if (one.bands, one.made, one.quantity) != (two.bands, two.made, two.quantity):
        sys.exit(f"{name} and {other} do not make the same of the same")
    if _built(one) != _built(two):
        sys.exit(f"{name} and {other} are built differently: {_built(one)}, {_built(two)}")
    if one.licence != two.licence:
        sys.exit(f"{name} is under {one.licence or 'no licence'}, {other} {two.licence or 'none'}")
    ours, theirs = load_file(name), load_file(other)
    if {k: v.shape for k, v in ours.items()} != {k: v.shape for k, v in theirs.items()}:
        sys.exit(f"{name} and {other} are networks of different shapes")
    mixed = {
        key: value if key in FITTED else (1 - share) * value + share * theirs[key]
        for key, value in ours.items()
    }
    owed = joined_attributions(one.attribution, two.attribution)
    mixture = replace(one, attribution=owed)
    print(write_measured(target, mixture, mixed, index, folder, levels))


def _built(spec: ModelSpec) -> dict[str, object]:
    """How a network is built, as far as its weights mean something else in another one."""
    apart = ("smoothing", "expects_error", "weighs_hint")  # older files lack some of them
    return {k: v for k, v in spec.generator.items() if k not in apart}


if __name__ == "__main__":
    name, other, share, target, index, folder, *levels = arguments(__doc__)
    average(Path(name), Path(other), float(share), Path(target), Path(index), Path(folder), levels)
