"""Configurations by name. The shipped weights were trained with exactly these."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import fields, replace

from nirgeo.errors import TrainingError
from nirgeo.radiometry import Quantity
from nirgeo.training.config import TrainingConfig

_SATELLITE = TrainingConfig(
    quantity=Quantity.REFLECTANCE,
    steps=3200,
    validate_every=100,
    learning_rate=6e-4,
    weight_decay=0.1,
    dropout=0.2,
    gain_jitter=0.25,
    nir_jitter=0.1,
    coarsen=0.35,
    ema=0.999,
)

PRESETS: dict[str, TrainingConfig] = {
    "satellite-nir": _SATELLITE,
    # Second stage, from the weights of the first (--init): a judge with a say in how pictures look,
    # and haze over the near infrared, since not every scene is corrected for the atmosphere.
    "satellite-nir-finish": replace(
        _SATELLITE,
        steps=800,
        batch=40,
        warmup=50,
        learning_rate=3e-4,
        haze=0.06,
        ema=0.99,
        adversarial=0.08,
        adversarial_from=0.0,
        discriminator_rate=4e-4,
    ),
    "aerial-nir": TrainingConfig(
        quantity=Quantity.COUNTS,
        steps=4000,
        validate_every=200,
        batch=16,
        patch=128,
        learning_rate=1e-3,
        dropout=0.05,
        coarsen=0.2,
        area_exponent=0.5,
        ema=0.999,
    ),
}


def configuration(preset: str, changes: Iterable[str] = ()) -> TrainingConfig:
    """A preset with single numbers changed, each given as ``NAME=VALUE``.

    Raises
    ------
    TrainingError : no such preset or number, or a value of another type
    """
    if preset not in PRESETS:
        raise TrainingError(f"no preset {preset!r}; there are {', '.join(sorted(PRESETS))}")
    data = PRESETS[preset].to_json()
    kinds = {f.name: f.type for f in fields(TrainingConfig)}
    for change in changes:
        name, equals, text = change.partition("=")
        if not equals or kinds.get(name) not in ("int", "float"):
            numbers = sorted(n for n, kind in kinds.items() if kind in ("int", "float"))
            raise TrainingError(f"--set {change}: need NAME=VALUE with one of {', '.join(numbers)}")
        try:
            data[name] = int(text) if kinds[name] == "int" else float(text)
        except ValueError:
            raise TrainingError(f"--set {change}: {text!r} is not of type {kinds[name]}") from None
    return TrainingConfig.from_json(data)
