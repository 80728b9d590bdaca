"""Every number of a training, in one value that is saved beside the weights."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from nirgeo.errors import TrainingError
from nirgeo.radiometry import Quantity


@dataclass(frozen=True)
class TrainingConfig:
    """How a generator is trained. The defaults are those of the shipped models.

    Sampling: a place is drawn with a weight of its area to the power ``area_exponent``; places no
    larger than one patch of 64×64 together get ``small_place_share`` of all draws.

    Loss: L1 in working space, plus ``cosine`` times one minus the cosine of the colour angle, plus
    ``adversarial`` times a hinge loss against a discriminator that also sees the NIR, from the
    fraction ``adversarial_from`` of the steps on.

    ``haze`` is the largest reflectance that a veil of haze adds to the measured bands of some
    patches, while the colours stay those of the surface.

    Colour hint: ``hint_share`` of the patches get one, made from the truth with an error of its log
    ratios of up to ``hint_error``; the others learn to do without.
    """

    quantity: Quantity
    bands: tuple[str, ...] = ("nir",)
    width: int = 64
    depth: int = 8
    knots: int = 33
    patch: int = 64
    batch: int = 48
    steps: int = 6000
    learning_rate: float = 1e-3
    weight_decay: float = 0.02
    dropout: float = 0.1
    warmup: int = 200
    ema: float = 0.998
    cosine: float = 2.0
    adversarial: float = 0.002
    adversarial_from: float = 0.5
    discriminator_rate: float = 2e-4
    area_exponent: float = 0.25
    small_place_share: float = 0.5
    gain_jitter: float = 0.15
    nir_jitter: float = 0.06
    coarsen: float = 0.25
    haze: float = 0.0
    hole_share: float = 0.15
    hint_share: float = 0.6
    hint_error: float = 0.3
    validate_every: int = 200
    seed: int = 0

    def __post_init__(self) -> None:
        if self.patch < 64 or self.patch % 64:
            raise TrainingError(f"patch {self.patch} must be a whole number of 64-px tiles")
        if self.steps < 1 or self.batch < 1 or self.validate_every < 1:
            raise TrainingError("steps, batch and validate_every must be at least 1")
        if self.seed < 0:
            raise TrainingError(f"seed {self.seed} must not be negative")

    @property
    def stride(self) -> int:
        """Pixels per cell of the generator's coarse grid."""
        return 4

    @property
    def table_max(self) -> float:
        """Upper end of the table in working space: √1.5 for reflectance, 1 for counts."""
        return 1.225 if self.quantity is Quantity.REFLECTANCE else 1.0

    def to_json(self) -> dict[str, Any]:
        return asdict(self) | {"quantity": self.quantity.value, "bands": list(self.bands)}

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> TrainingConfig:
        known = dict(data)
        known["quantity"] = Quantity(known["quantity"])
        known["bands"] = tuple(known["bands"])
        return cls(**known)
