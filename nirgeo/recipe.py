"""What becomes of a scene, in one value: everything besides its pixels that decides the result."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from nirgeo import expected_error
from nirgeo.colouriser import Colouriser, Spec
from nirgeo.errors import OptionError, RadiometryError
from nirgeo.radiometry import Quantity
from nirgeo.scaling import Scaling

if TYPE_CHECKING:
    from nirgeo.reference import Reference


Output = Literal["display", "reflectance"]


@dataclass(frozen=True)
class Recipe:
    """Everything besides the pixels that decides what a block becomes."""

    colouriser: Colouriser
    scaling: Scaling
    output: Output = "display"
    brightness: float = 1.0
    gamma: float = 1.0
    reference: Reference | None = None
    uncertainty: bool = False
    max_error: float | None = None
    veil: float = 0.0
    """Reflectance of uncorrected air, if the expected error has to allow for it."""

    def __post_init__(self) -> None:
        spec = self.spec
        if self.output not in ("display", "reflectance"):
            raise OptionError(f"output {self.output!r} is neither 'display' nor 'reflectance'")
        if spec.quantity is Quantity.REFLECTANCE and self.scaling.quantity is Quantity.COUNTS:
            raise RadiometryError(
                f"{spec.full_name} eats reflectance, and the scene holds display counts "
                f"({self.scaling.origin}); give --scale GAIN[,OFFSET] if they are reflectance, or "
                "choose a model for display counts"
            )
        if self.output == "reflectance" and spec.quantity is Quantity.COUNTS:
            raise RadiometryError(
                f"{spec.full_name} makes display counts, which have no reflectance; use the "
                "default output"
            )
        for name, value in (("brightness", self.brightness), ("gamma", self.gamma)):
            if not 0 < value <= 100:
                raise OptionError(f"--{name} {value}: need more than 0, and 100 at most")
        if self.output == "reflectance" and (self.brightness != 1 or self.gamma != 1):
            raise OptionError("--brightness and --gamma change a picture, not reflectance")
        if self.max_error is not None and not self.max_error > 0:
            raise OptionError(f"--max-error {self.max_error}: need a positive number of degrees")
        if self.wants_error:
            option = "--uncertainty" if self.uncertainty else "--max-error"
            if not self.colouriser.expects_error:
                raise OptionError(f"{option}: {spec.full_name} can't tell what error to expect")
            if self.reference is not None:
                raise OptionError(
                    f"{option} can't be combined with --reference: the expected error is that of "
                    "the model's own colours, which the reference replaces"
                )

    @property
    def wants_error(self) -> bool:
        """Whether the expected error has to be computed."""
        return self.uncertainty or self.max_error is not None

    @property
    def tells_changes(self) -> bool:
        """Whether the model decides how far its reference is believed.

        Only where green is measured. With near infrared alone it can't tell haze, or another light
        over all of the scene, from a change.
        """
        sees_colour = "green" in self.spec.bands and self.colouriser.error_quantile is not None
        return self.reference is not None and sees_colour

    @property
    def needs_error(self) -> bool:
        """Whether pixels depend on the expected error."""
        return self.wants_error or self.tells_changes

    @property
    def bands(self) -> tuple[str, ...]:
        """Names of the bands that are made."""
        return (*self.spec.colours, expected_error.BAND) if self.uncertainty else self.spec.colours

    @property
    def spec(self) -> Spec:
        return self.colouriser.spec

    @property
    def halo(self) -> int:
        """How many pixels beyond a pixel its colour depends on."""
        beyond = 0 if self.reference is None else self.reference.halo
        return self.colouriser.halo + beyond

    @property
    def dtype(self) -> np.dtype[Any]:
        return np.dtype(np.float32 if self.output == "reflectance" else np.uint8)

    def identity(self) -> dict[str, Any]:
        """What must be equal for two runs to make equal pixels."""
        reference = {} if self.reference is None else self.reference.identity()
        error = {"uncertainty": self.uncertainty, "max_error": self.max_error, "veil": self.veil}
        return (
            reference
            | (error if self.needs_error else {})
            | {
                "model": self.spec.full_name,
                "model_sha256": self.colouriser.sha256,
                "scaling": self.scaling.tag(),
                "output": self.output,
                "brightness": self.brightness,
                "gamma": self.gamma,
            }
            | self.colouriser.identity()
        )

    def provenance(self) -> dict[str, str]:
        """What an output says of how it was made, by the names of its tags in lower case."""
        spec = self.spec
        facts = {
            "synthetic": "yes",
            "model": spec.full_name,
            "model_sha256": self.colouriser.sha256,
            "scaling": self.scaling.tag(),
            "scaling_origin": self.scaling.origin,
            "output": self.output,
            **self.colouriser.provenance(),
            **({} if self.reference is None else {"reference": self.reference.describe()}),
            **self._expected_errors(),
        }
        if self.output == "display" and spec.quantity is Quantity.REFLECTANCE:
            facts["display_curve"] = f"{spec.curve.name}, gain {spec.curve.gain:g}"
        if self.brightness != 1 or self.gamma != 1:
            facts["picture"] = f"brightness {self.brightness:g}, gamma {self.gamma:g}"
        return facts

    def _expected_errors(self) -> dict[str, str]:
        """What the fourth band means, and what was masked because of it."""
        found = {}
        if self.uncertainty:
            multiple = self.colouriser.error_quantile
            found["uncertainty"] = (
                f"band {len(self.bands)}: expected angle between true and predicted colour in "
                f"degrees; 90% of pixels are expected within {multiple:.2f} times as much"
            )
        if self.max_error is not None:
            found["max_error"] = f"{self.max_error:g} degrees"
        if self.veil > 0:
            found["veil"] = f"expected errors allow for air, {self.veil:.3f} reflectance in green"
        return found
