"""Every number of a training, in one value that is saved beside the weights."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import asdict, dataclass, field, fields
from typing import Any, Literal

from nirgeo.bands import COLOURS
from nirgeo.errors import TrainingError
from nirgeo.radiometry import Quantity


def _must(be: str, holds: Callable[[float], bool]) -> dict[str, Any]:
    """What a field says of the numbers that it may hold; checked for every field that says so."""
    return {"must": be, "holds": holds}


def _up_to(most: float) -> dict[str, Any]:
    return _must(f"lie in 0…{most:g}", lambda value: 0 <= value <= most)


# What numbers may be, said beside each of them; those of layers are the generator's to check.
_POSITIVE = _must("be above 0", lambda value: 0 < value < math.inf)
_SHARE = _up_to(1)
_BELOW_ONE = _must("lie in 0…1, 1 excluded", lambda value: 0 <= value < 1)
_AMOUNT = _must("be a number from 0 on", lambda value: 0 <= value < math.inf)


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
    init_sd: float = field(default=0.0, metadata=_AMOUNT)
    whiten: int = field(default=0, metadata=_SHARE)
    patch: int = 64
    batch: int = 48
    steps: int = 6000
    optimizer: Literal["adamw", "adam"] = "adamw"
    schedule: Literal["cosine", "constant"] = "cosine"
    learning_rate: float = field(default=1e-3, metadata=_POSITIVE)
    beta1: float = field(default=0.9, metadata=_BELOW_ONE)
    beta2: float = field(default=0.99, metadata=_BELOW_ONE)
    weight_decay: float = field(default=0.02, metadata=_AMOUNT)
    clip: float = field(default=1.0, metadata=_AMOUNT)
    dropout: float = field(default=0.1, metadata=_BELOW_ONE)
    warmup: int = field(default=200, metadata=_AMOUNT)
    ema: float = field(default=0.998, metadata=_BELOW_ONE)
    l1: float = field(default=1.0, metadata=_AMOUNT)
    squared: float = field(default=0.0, metadata=_AMOUNT)
    cosine: float = field(default=2.0, metadata=_AMOUNT)
    structure: float = field(default=0.0, metadata=_AMOUNT)
    rebalance: float = field(default=0.0, metadata=_SHARE)
    even_cast: float = field(default=0.0, metadata=_SHARE)
    adversarial: float = field(default=0.002, metadata=_AMOUNT)
    adversarial_from: float = field(default=0.5, metadata=_SHARE)
    gan: Literal["hinge", "minimax", "nonsaturating"] = "hinge"
    conditional: bool = True
    discriminator: Literal["spectral", "dcgan", "patchgan"] = "spectral"
    discriminator_rate: float = field(default=2e-4, metadata=_POSITIVE)
    discriminator_beta1: float = field(default=0.5, metadata=_BELOW_ONE)
    area_exponent: float = field(default=0.25, metadata=_up_to(10))
    small_place_share: float = field(default=0.5, metadata=_SHARE)
    orientations: Literal["all", "mirrored", "upright"] = "all"
    gain_jitter: float = field(default=0.15, metadata=_up_to(5))
    nir_jitter: float = field(default=0.06, metadata=_up_to(5))
    nir_gamma: float = field(default=0.0, metadata=_up_to(5))
    coarsen: float = field(default=0.25, metadata=_SHARE)
    zoom: float = field(default=0.0, metadata=_up_to(2))
    haze: float = field(default=0.0, metadata=_SHARE)
    path_radiance: float = field(default=0.0, metadata=_SHARE)
    path_share: float = field(default=1.0, metadata=_SHARE)
    hole_share: float = field(default=0.15, metadata=_SHARE)
    hint_share: float = field(default=0.6, metadata=_SHARE)
    hint_error: float = field(default=0.3, metadata=_up_to(10))
    validate_every: int = 200
    seed: int = field(default=0, metadata=_up_to(2**63 - 1))
    teacher: str = ""

    def __post_init__(self) -> None:
        if self.patch < 64 or self.patch % 64:
            raise TrainingError(f"patch {self.patch} must be a whole number of 64-px tiles")
        if self.steps < 1 or self.batch < 1 or self.validate_every < 1:
            raise TrainingError("steps, batch and validate_every must be at least 1")
        for number in fields(self):
            value = getattr(self, number.name)
            if number.metadata and not number.metadata["holds"](value):
                raise TrainingError(f"{number.name} {value} must {number.metadata['must']}")
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
