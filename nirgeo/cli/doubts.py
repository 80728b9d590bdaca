"""Why a model may be wrong about a scene: said before its picture is trusted."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from nirgeo.radiometry import Quantity
from nirgeo.scaling import Scaling

if TYPE_CHECKING:
    from xarray import DataArray

    from nirgeo.registry import AnyModel


def doubts(
    scene: DataArray,
    model: AnyModel,
    scaling: Scaling,
    sides: tuple[float, float] | None,
    **options: Any,
) -> list[str]:
    """What sets a scene apart from what a model was made for; nothing if all is as it should be.

    ``sides`` are those of a pixel in metres, ``options`` those of
    :func:`nirgeo.engine.unlike_training`. A few tiles of the scene are read.
    """
    from nirgeo.engine import unlike_training
    from nirgeo.pixel_size import told_sides
    from nirgeo.registry import is_made_for

    spec = model.spec
    found = []
    if sides is not None and spec.gsd is not None and not is_made_for(spec, sides):
        found.append(
            f"pixels of {told_sides(sides)} lie outside the {spec.gsd[0]:g}–{spec.gsd[1]:g} m "
            f"that {spec.full_name} was made for; colours may be off"
        )
    if spec.quantity is Quantity.COUNTS and scaling.quantity is Quantity.REFLECTANCE:
        found.append(
            f"{spec.full_name} was made for 8-bit pictures and the scene holds reflectance, which "
            "is rendered first; colours may be off"
        )
    missing, strange = unlike_training(scene, model, scale=scaling, **options)
    found += missing
    return found + [f"{spec.full_name}: {remark}; colours may be off" for remark in strange]
