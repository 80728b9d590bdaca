"""Every number of a training, in one value that is saved beside the weights."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any, Literal

from nirgeo.bands import COLOURS
from nirgeo.errors import TrainingError
from nirgeo.radiometry import Quantity

_POSITIVE = ("learning_rate", "discriminator_rate")
_SHARES = (
    *("rebalance", "even_cast", "adversarial_from", "small_place_share", "coarsen"),
    *("path_share", "hole_share", "hint_share"),
)
_BELOW_ONE = ("beta1", "beta2", "discriminator_beta1", "dropout", "ema")
_AMOUNTS = (
    *("init_sd", "weight_decay", "clip", "warmup", "l1", "squared", "cosine", "structure"),
    *("adversarial", "area_exponent", "gain_jitter", "nir_jitter", "nir_gamma", "zoom", "haze"),
    *("path_radiance", "hint_error"),
)
_LARGEST = {
    "seed": 2**63 - 1,
    "whiten": 1,
    "zoom": 2,
    "haze": 1,
    "path_radiance": 1,
    "area_exponent": 10,
    "gain_jitter": 5,
    "nir_jitter": 5,
    "nir_gamma": 5,
    "hint_error": 10,
}
"""What numbers may be; those of layers are the generator's to check."""


@dataclass(frozen=True)
class TrainingConfig:
    """How a generator is trained; what the presets leave alone is as here.

    Network: ``architecture`` is one of :mod:`nirgeo.architectures`. ``width``, ``depth``,
    ``shuffle``, ``knots``, ``dilations`` and ``smoothing`` shape a local affine generator;
    ``width``, ``levels``, ``skips`` and ``edge_norm`` an encoder-decoder. ``init_sd`` is the
    standard deviation of all initial convolution weights; 0 keeps the architecture's own. With
    ``whiten`` (0 or 1) the first layer of a local affine generator starts from whitened patches
    (see :mod:`nirgeo.training.start`).

    Sampling: a place is drawn with a weight of its area to the power ``area_exponent``; places no
    larger than one patch of 64×64 together get ``small_place_share`` of all draws. A
    patch is shown in ``all`` eight orientations; or also ``mirrored`` left to right, for pictures
    that have an above and a below; or only ``upright``, as it is.

    Loss: ``l1`` times L1 in working space, plus ``squared`` times the mean square, plus ``cosine``
    times one minus the cosine of the colour angle, plus ``structure`` times one minus the
    structural similarity, plus ``adversarial`` times what a ``discriminator`` says, from the
    fraction ``adversarial_from`` of the steps on. ``gan`` is the form of the adversarial loss (see
    :mod:`nirgeo.training.losses`); with ``conditional`` the discriminator also sees the NIR.
    L1 and cosine weigh a pixel by how rare its true chroma is in what is drawn, its frequency to
    the power of minus ``rebalance`` (see :mod:`nirgeo.training.rebalance`); 0 weighs all alike.
    ``even_cast`` is the part of L1, square and cosine that is measured after one gain per patch and
    colour has made the mean right: how a flight was rendered is nothing that a network can know.

    Optimisation: ``optimizer`` is ``adamw``, or ``adam`` with weight decay added to the gradient.
    The learning rate of the generator follows ``schedule``: half a ``cosine`` after ``warmup``
    steps, or ``constant``. ``clip`` limits the norm of the gradient; 0 does not. ``ema`` is the
    decay of the moving average of weights that is evaluated; 0 means the weights themselves.

    ``nir_jitter`` and ``nir_gamma`` are the largest logarithms of a gain and of an exponent that
    act on the measured bands alone, since every flight and sensor renders them differently.
    ``coarsen`` of the patches that are large enough show twice the ground at half the resolution;
    the others are resampled by a factor whose logarithm is at most ``zoom``.
    ``haze`` is the largest reflectance that a veil of haze adds to the measured bands of some
    patches, while the colours stay those of the surface. ``path_radiance`` is the largest
    reflectance that the air above adds to blue, and less of it to longer wavelengths, in
    ``path_share`` of the patches; colours included: where red and green were measured through air,
    blue should have the same air in it.

    Colour hint: ``hint_share`` of the patches get one, made from the truth with an error of its log
    ratios of up to ``hint_error``; the others learn to do without.

    ``teacher`` names the model, and the hash of its file, whose colours are learnt instead of the
    true ones (see :mod:`nirgeo.training.teacher`).
    """

    quantity: Quantity
    bands: tuple[str, ...] = ("nir",)
    architecture: Literal["local-affine", "encoder-decoder"] = "local-affine"
    width: int = 64
    depth: int = 8
    shuffle: int = 4
    knots: int = 33
    dilations: tuple[int, ...] = ()
    smoothing: int = 1
    levels: int = 3
    skips: bool = False
    edge_norm: bool = True
    init_sd: float = 0.0
    whiten: int = 0
    patch: int = 64
    batch: int = 48
    steps: int = 6000
    optimizer: Literal["adamw", "adam"] = "adamw"
    schedule: Literal["cosine", "constant"] = "cosine"
    learning_rate: float = 1e-3
    beta1: float = 0.9
    beta2: float = 0.99
    weight_decay: float = 0.02
    clip: float = 1.0
    dropout: float = 0.1
    warmup: int = 200
    ema: float = 0.998
    l1: float = 1.0
    squared: float = 0.0
    cosine: float = 2.0
    structure: float = 0.0
    rebalance: float = 0.0
    even_cast: float = 0.0
    adversarial: float = 0.002
    adversarial_from: float = 0.5
    gan: Literal["hinge", "minimax", "nonsaturating"] = "hinge"
    conditional: bool = True
    discriminator: Literal["spectral", "dcgan", "patchgan"] = "spectral"
    discriminator_rate: float = 2e-4
    discriminator_beta1: float = 0.5
    area_exponent: float = 0.25
    small_place_share: float = 0.5
    orientations: Literal["all", "mirrored", "upright"] = "all"
    gain_jitter: float = 0.15
    nir_jitter: float = 0.06
    nir_gamma: float = 0.0
    coarsen: float = 0.25
    zoom: float = 0.0
    haze: float = 0.0
    path_radiance: float = 0.0
    path_share: float = 1.0
    hole_share: float = 0.15
    hint_share: float = 0.6
    hint_error: float = 0.3
    validate_every: int = 200
    seed: int = 0
    teacher: str = ""

    def __post_init__(self) -> None:
        if self.patch < 64 or self.patch % 64:
            raise TrainingError(f"patch {self.patch} must be a whole number of 64-px tiles")
        if self.steps < 1 or self.batch < 1 or self.validate_every < 1:
            raise TrainingError("steps, batch and validate_every must be at least 1")
        for name in _POSITIVE:
            if not 0 < getattr(self, name) < math.inf:
                raise TrainingError(f"{name} {getattr(self, name)} must be above 0")
        for name in _SHARES:
            if not 0 <= getattr(self, name) <= 1:
                raise TrainingError(f"{name} {getattr(self, name)} must lie in 0…1")
        for name in _BELOW_ONE:
            if not 0 <= getattr(self, name) < 1:
                raise TrainingError(f"{name} {getattr(self, name)} must lie in 0…1, 1 excluded")
        for name in _AMOUNTS:
            if not 0 <= getattr(self, name) < math.inf:
                raise TrainingError(f"{name} {getattr(self, name)} must be a number from 0 on")
        for name, most in _LARGEST.items():
            if not 0 <= getattr(self, name) <= most:
                raise TrainingError(f"{name} {getattr(self, name)} must lie in 0…{most:g}")
        if self.levels < 1:
            raise TrainingError(f"levels {self.levels}: an encoder-decoder has at least one")
        if self.architecture != "local-affine" and self.hint_share > 0:
            raise TrainingError(f"{self.architecture} networks take no colour hint: hint_share=0")
        if self.bands not in (("nir",), ("red", "green", "nir")):
            raise TrainingError(
                f"bands {', '.join(self.bands)}: train on nir, or on red, green, nir"
            )
        if self.path_radiance > 0 and self.quantity is not Quantity.REFLECTANCE:
            raise TrainingError("path_radiance adds reflectance, and display counts have none")
        if self.discriminator == "dcgan" and self.patch != 64:
            raise TrainingError("the dcgan discriminator judges patches of 64 px")

    @property
    def stride(self) -> int:
        """Pixels per cell of the generator's coarse grid."""
        return int(2**self.levels) if self.architecture == "encoder-decoder" else self.shuffle

    @property
    def predicted(self) -> tuple[str, ...]:
        """The colours that are not measured, which the network makes: the last ones of RGB."""
        return tuple(colour for colour in COLOURS if colour not in self.bands)

    @property
    def table_max(self) -> float:
        """Upper end of the table in working space: √1.5 for reflectance, 1 for counts."""
        return 1.225 if self.quantity is Quantity.REFLECTANCE else 1.0

    def to_json(self) -> dict[str, Any]:
        return asdict(self) | {
            "quantity": self.quantity.value,
            "bands": list(self.bands),
            "dilations": list(self.dilations),
        }

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> TrainingConfig:
        known = dict(data)
        known["quantity"] = Quantity(known["quantity"])
        known["bands"] = tuple(known["bands"])
        known["dilations"] = tuple(known.get("dilations", ()))
        return cls(**known)
