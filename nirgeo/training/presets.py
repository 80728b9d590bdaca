"""Configurations by name: those of the shipped weights, and those of the literature.

A name may be followed by variants, each of them one change: ``paper2017+l1+conditional``.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import fields, replace
from typing import Any

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

_AERIAL = TrainingConfig(
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
)

_RGN: dict[str, Any] = {
    "bands": ("red", "green", "nir"),
    "width": 32,
    "depth": 2,
    "learning_rate": 1e-3,
    "l1": 3.0,
    "cosine": 5.0,
    "adversarial": 0.0,
    "hint_share": 0.5,
}

# Instead of L1: the commoner blue is not the likely one.
_SQUARES: dict[str, Any] = {
    "l1": 0.0,
    "squared": 20.0,
    "cosine": 20.0,
    "even_cast": 0.7,
    "learning_rate": 7e-4,
    "warmup": 100,
}

_PAPER = TrainingConfig(
    quantity=Quantity.COUNTS,
    architecture="encoder-decoder",
    width=64,
    levels=3,
    skips=False,
    edge_norm=True,
    init_sd=0.0081,
    patch=64,
    batch=16,
    steps=20_000,
    optimizer="adam",
    schedule="constant",
    learning_rate=1e-4,
    beta1=0.4,
    beta2=0.999,
    weight_decay=1e-5,
    clip=0.0,
    dropout=0.0,
    warmup=0,
    ema=0.0,
    l1=0.0,
    cosine=0.0,
    adversarial=1.0,
    adversarial_from=0.0,
    gan="minimax",
    conditional=False,
    discriminator="dcgan",
    discriminator_rate=2e-4,
    discriminator_beta1=0.5,
    area_exponent=1.0,
    orientations="upright",
    gain_jitter=0.0,
    nir_jitter=0.0,
    coarsen=0.0,
    hole_share=0.0,
    hint_share=0.0,
)
"""A reconstruction of Suárez, Sappa and Vintimilla, "Learning to Colorize Infrared Images" (2017).

From the paper: patches of 64 px; a generator of convolutions and transposed convolutions that ends
in tanh, a discriminator that ends in a sigmoid; (leaky) rectifiers of slope 0.2; batch
normalisation in every layer; Eq. 1 and Eq. 2, the minimax game whose generator saturates, and no
other term; Adam with rates 1e-4 and 2e-4, β₁ 0.4 and 0.5, ε 1e-8, weight decay 1e-5 (added to the
gradient, as Adam did then), and weights drawn from N(0, 0.0081²).

The paper leaves open, and this chooses:

- number of layers, kernels, strides, filters: three levels of 4×4 kernels and stride 2 with 64, 128
  and 256 filters down to 8×8, mirrored on the way up; four such layers and one dense unit in the
  discriminator (Radford et al. 2016);
- where the dense layer is: in the discriminator alone, so that any picture size can be colorized;
- "every layer": taken literally, so also before tanh and on the discriminator's first layer
  (``+plain-edges`` leaves these out);
- skip connections, noise and dropout: none;
- whether the discriminator sees the NIR: no, its inputs are named as z and G(z)
  (``+conditional``);
- β₂ 0.999; batch 16, which leaves a CPU enough steps, and their number; scaling to −1 … 1 by the
  8-bit range; no augmentation;
- the weights used: the last ones, with running means in the normalisation.
"""

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
    # Third stage: a network with a seventh of the operations that learns what the second makes
    # (--teacher). It has nothing to overfit, so nothing is dropped and little decays.
    "satellite-nir-pupil": replace(
        _SATELLITE,
        width=32,
        depth=4,
        smoothing=7,
        steps=3000,
        validate_every=250,
        learning_rate=2e-3,
        weight_decay=0.01,
        dropout=0.0,
        ema=0.995,
        adversarial=0.0,
    ),
    "aerial-nir": _AERIAL,
    # Second stage, from the weights of the first (--init): mean squares, so that brightness follows
    # the odds of roof and tree, and colours compared after the flight's own cast was evened out.
    "aerial-nir-finish": replace(
        _AERIAL,
        steps=2400,
        batch=8,
        validate_every=300,
        warmup=50,
        learning_rate=5e-4,
        weight_decay=0.05,
        ema=0.995,
        l1=0.0,
        squared=4.0,
        cosine=10.0,
        even_cast=0.7,
        adversarial=0.0,
        nir_jitter=0.1,
        hole_share=0.05,
        hint_share=0.3,
    ),
    # Sensors without blue: most of it follows from the pixel itself, so a smaller network will do.
    "satellite-rgn": replace(_SATELLITE, steps=700, weight_decay=0.3, **_RGN),
    # Scenes that are not corrected for the atmosphere: every patch is seen through some air.
    "satellite-rgn-toa": replace(
        _SATELLITE, steps=1200, weight_decay=0.3, path_radiance=0.12, **_RGN
    ),
    "aerial-rgn": replace(
        _AERIAL,
        **_RGN | _SQUARES,
        steps=1500,
        validate_every=250,
        nir_jitter=0.03,
        gain_jitter=0.1,
    ),
    # Photographs from the ground: an above and a below, and no place on a map. So few steps
    # because a few dozen pictures teach little: chosen on streets and old buildings.
    "ground-nir": TrainingConfig(
        quantity=Quantity.COUNTS,
        steps=200,
        validate_every=50,
        batch=12,
        patch=128,
        shuffle=8,
        learning_rate=6e-4,
        weight_decay=0.1,
        dropout=0.2,
        warmup=40,
        ema=0.98,
        adversarial=0.0,
        area_exponent=0.0,
        orientations="mirrored",
        gain_jitter=0.25,
        nir_jitter=0.1,
        coarsen=0.5,
        hole_share=0.0,
        hint_share=0.0,
    ),
    "paper2017": _PAPER,
    # The same generator without an opponent: what the paper names as future work.
    "autoencoder": replace(_PAPER, l1=1.0, adversarial=0.0),
    "pix2pix": replace(
        _PAPER,
        levels=6,
        skips=True,
        edge_norm=False,
        init_sd=0.02,
        learning_rate=2e-4,
        beta1=0.5,
        weight_decay=0.0,
        dropout=0.5,
        l1=100.0,
        gan="nonsaturating",
        conditional=True,
        discriminator="patchgan",
        orientations="mirrored",
    ),
}

VARIANTS: Mapping[str, Mapping[str, Any]] = {
    "l1": {"l1": 100.0},
    "nonsaturating": {"gan": "nonsaturating"},
    "conditional": {"conditional": True},
    "plain-edges": {"edge_norm": False},
    "wide": {"dilations": (1, 1, 2, 2, 2, 1, 1, 1)},
    "wider": {"dilations": (1, 1, 2, 2, 4, 4, 2, 1)},
}
"""One change each to a preset: the first four made for ``paper2017``; ``wide`` and ``wider``, which
see a third further and twice as far, for those of eight blocks."""


SUMMARIES: Mapping[str, str] = {
    "paper2017": "A reconstruction of the conditional GAN of Suárez, Sappa and Vintimilla, "
    "Learning to Colorize Infrared Images (2017), whose code and data are not public. What the "
    "paper leaves open, and what was chosen, stands in nirgeo/training/presets.py.",
    "autoencoder": "The generator of the reconstruction paper2017, trained with L1 alone.",
    "pix2pix": "After Isola et al., Image-to-Image Translation with Conditional Adversarial "
    "Networks (2017), cut to patches of 64 px.",
}
"""What a model of the literature's presets says of itself."""


def summary_of(preset: str) -> str:
    """For a model file; nothing for nirgeo's own presets, whose makers have more to say."""
    name, *variants = preset.split("+")
    told = SUMMARIES.get(name, "")
    return f"{told} Changed by: {', '.join(variants)}." if told and variants else told


def configuration(preset: str, changes: Iterable[str] = ()) -> TrainingConfig:
    """A preset with its variants, and with single values changed, each given as ``NAME=VALUE``.

    Raises
    ------
    TrainingError : no such preset, variant or value
    """
    name, *variants = preset.split("+")
    if name not in PRESETS:
        raise TrainingError(f"no preset {name!r}; there are {', '.join(sorted(PRESETS))}")
    data = PRESETS[name].to_json()
    for variant in variants:
        if variant not in VARIANTS:
            raise TrainingError(
                f"no variant {variant!r} of a preset; there are {', '.join(sorted(VARIANTS))}"
            )
        data |= VARIANTS[variant]
    kinds = {f.name: f.type for f in fields(TrainingConfig)}
    for change in changes:
        field, equals, text = change.partition("=")
        if not equals or kinds.get(field) not in ("int", "float"):
            numbers = sorted(n for n, kind in kinds.items() if kind in ("int", "float"))
            raise TrainingError(f"--set {change}: need NAME=VALUE with one of {', '.join(numbers)}")
        try:
            data[field] = int(text) if kinds[field] == "int" else float(text)
        except ValueError:
            raise TrainingError(f"--set {change}: {text!r} is not of type {kinds[field]}") from None
    return TrainingConfig.from_json(data)
