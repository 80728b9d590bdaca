"""What an output says about how it was made. Equal work leaves equal words.

No time, host, path, chunk size or number of workers is recorded: a file that is made again from the
same scene, model and options has the same bytes.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from nirgeo._version import __version__
from nirgeo.georeference import RPC_ATTR
from nirgeo.inference import Recipe

NAMESPACE = "NIRGEO"
ATTR_PREFIX = "nirgeo_"
DESCRIPTION = "synthetic natural colour predicted from near infrared; not a measurement"


def attributes(recipe: Recipe) -> dict[str, str]:
    """Provenance as DataArray attributes; :func:`tags` turns them into GeoTIFF tags."""
    spec = recipe.spec
    facts = {
        "synthetic": "yes",
        "model": spec.full_name,
        "model_sha256": recipe.colouriser.sha256,
        "scaling": recipe.scaling.tag(),
        "scaling_origin": recipe.scaling.origin,
        "output": recipe.output,
        **recipe.colouriser.provenance(),
        **({} if recipe.reference is None else {"reference": recipe.reference.describe()}),
        **_expected_errors(recipe),
        "software": f"nirgeo {__version__}",
    }
    if recipe.output == "display" and spec.quantity.value == "reflectance":
        facts["display_curve"] = f"{spec.curve.name}, gain {spec.curve.gain:g}"
    if recipe.brightness != 1 or recipe.gamma != 1:
        facts["picture"] = f"brightness {recipe.brightness:g}, gamma {recipe.gamma:g}"
    return {f"{ATTR_PREFIX}{key}": value for key, value in facts.items()}


def _expected_errors(recipe: Recipe) -> dict[str, str]:
    """What the fourth band means, and what was masked because of it."""
    found = {}
    if recipe.uncertainty:
        multiple = recipe.colouriser.error_quantile
        found["uncertainty"] = (
            f"band {len(recipe.bands)}: expected angle between true and predicted colour in "
            f"degrees; 90% of pixels are expected within {multiple:.2f} times as much"
        )
    if recipe.max_error is not None:
        found["max_error"] = f"{recipe.max_error:g} degrees"
    if recipe.veil > 0:
        found["veil"] = f"expected errors allow for air, {recipe.veil:.3f} reflectance in green"
    return found


def tags(attrs: Mapping[Any, Any]) -> dict[str, str]:
    """The tags of the ``NIRGEO`` namespace for an array with these attributes."""
    return {
        str(key).removeprefix(ATTR_PREFIX).upper(): str(value)
        for key, value in attrs.items()
        if isinstance(key, str) and key.startswith(ATTR_PREFIX) and key != RPC_ATTR
    }
