"""Models by name: those shipped in the package, and files given by path.

``weights/registry.json`` and ``weights/baselines/registry.json`` list what the package ships, with
the hash of every file. A name without a version means the newest; a name with a version always
means the same bytes. Of a baseline there is one file per quantity, so its name and the quantity of
the scene together mean a file.
"""

from __future__ import annotations

import json
import os
from collections.abc import Collection
from dataclasses import dataclass, replace
from functools import cache
from importlib.resources import files
from pathlib import Path

from nirgeo.baselines.model import BaselineModel, read_baseline_model
from nirgeo.baselines.storage import BASELINE_PREFIX, ORACLES, is_baseline_file
from nirgeo.colouriser import Spec
from nirgeo.errors import ModelError, UnknownModelError
from nirgeo.given import file_name
from nirgeo.modelfile import Model, read_model
from nirgeo.pixel_size import told_sides
from nirgeo.radiometry import Quantity
from nirgeo.scaling import level_1_mark

AUTO = "auto"

AnyModel = Model | BaselineModel
"""Whatever can be run: a network or a baseline."""


@dataclass(frozen=True)
class ShippedModel:
    """One file of the package. ``quantity`` tells the files of one baseline apart."""

    name: str
    version: int
    file: str
    sha256: str
    quantity: Quantity | None = None
    int8_sha256: str | None = None
    """Hash of the file of ranges beside it; None if it ships without one."""

    @property
    def full_name(self) -> str:
        return f"{self.name}@{self.version}"


def _weights_folder() -> Path:
    return Path(str(files("nirgeo") / "weights"))


def _listed(folder: str) -> tuple[ShippedModel, ...]:
    """The entries of the registry in a folder of the weights, oldest version first."""
    text = (_weights_folder() / folder / "registry.json").read_text(encoding="utf-8")
    found = [
        ShippedModel(
            e["name"],
            e["version"],
            os.path.join(folder, e["file"]),
            e["sha256"],
            Quantity(e["quantity"]) if "quantity" in e else None,
            e.get("int8_sha256"),
        )
        for e in json.loads(text)
    ]
    return tuple(sorted(found, key=lambda m: (m.name, m.version, m.quantity or "")))


@cache
def shipped_models() -> tuple[ShippedModel, ...]:
    """Every network in the package, oldest version first."""
    return _listed("")


@cache
def shipped_baselines() -> tuple[ShippedModel, ...]:
    """Every baseline in the package, oldest version first; one entry per quantity."""
    return _listed("baselines")


def shipped_files(name: str) -> tuple[ShippedModel, ...]:
    """What the package ships under a name, with or without a version: nothing, one file, or a file
    per quantity."""
    wanted, _, version = name.partition("@")
    matches = [m for m in (*shipped_models(), *shipped_baselines()) if m.name == wanted]
    if version:
        matches = [m for m in matches if str(m.version) == version]
    return tuple(m for m in matches if m.version == matches[-1].version)


def shipped_path(sha256: str) -> str | None:
    """Where a shipped network with this hash lies on this machine; None if there is none."""
    files = [m.file for m in shipped_models() if m.sha256 == sha256]
    return str(_weights_folder() / files[0]) if files else None


def on_this_machine(model: Model) -> Model:
    """The model's file on this machine, where the package may lie elsewhere.

    Raises
    ------
    ModelError : it is neither at its path nor a shipped one
    """
    if os.path.exists(model.path):
        return model
    path = shipped_path(model.sha256)
    if path is None:
        raise ModelError(
            f"{model.path}: no such file on this machine; every worker of a cluster needs it there"
        )
    return replace(model, path=path)


def shipped_at(path: str | os.PathLike[str]) -> ShippedModel | None:
    """The shipped network whose file this is; None if it is another file."""
    folder, wanted = _weights_folder(), Path(path).resolve()
    return next((m for m in shipped_models() if (folder / m.file).resolve() == wanted), None)


def load_model(name: str | os.PathLike[str], quantity: Quantity | None = None) -> AnyModel:
    """A model by name (``aerial-nir``, ``satellite-nir@5``, ``baseline/trees``) or by path.

    ``quantity`` is what the scene holds. Only names of baselines need it.

    Raises
    ------
    UnknownModelError : neither a shipped model nor an existing file
    OptionError : no name and no path
    ModelError : the file is damaged, or a shipped file's hash differs from the registry's; an
        oracle, which can't do without the truth; a baseline by name, and no quantity
    """
    text = file_name("--model", name)
    matches = shipped_files(text)
    if len(matches) > 1:
        if quantity is None:
            raise ModelError(
                f"{text} is shipped for {' and for '.join(str(m.quantity) for m in matches)}; "
                "say which quantity the scene holds"
            )
        matches = tuple(m for m in matches if m.quantity is quantity)
    if matches:
        return _load_shipped(matches[0])
    if os.path.isfile(text):
        return read_baseline_model(text) if is_baseline_file(text) else read_model(text)
    if text.partition("@")[0].removeprefix(BASELINE_PREFIX) in ORACLES:
        raise ModelError(
            f"{text} is fitted to the true colours of the scene itself, so it can't colorize; "
            "`nirgeo evaluate` scores it"
        )
    if text.startswith(BASELINE_PREFIX):
        known = ", ".join(dict.fromkeys(m.full_name for m in shipped_baselines()))
        raise UnknownModelError(f"no baseline named {text!r} and no such file; there are {known}")
    known = ", ".join(dict.fromkeys(m.full_name for m in shipped_models()))
    raise UnknownModelError(f"no model named {text!r} and no such file; shipped models: {known}")


def _load_shipped(shipped: ShippedModel) -> AnyModel:
    path = _weights_folder() / shipped.file
    model = read_model(path) if shipped.quantity is None else read_baseline_model(path)
    if model.sha256 != shipped.sha256:
        raise ModelError(
            f"{model.path}: its sha256 is {model.sha256[:12]}…, the registry says "
            f"{shipped.sha256[:12]}…; reinstall nirgeo"
        )
    return model


def check_model(name: str) -> None:
    """Refuse a model that no scene could be colorized with, before there is a scene.

    Raises
    ------
    UnknownModelError, ModelError : see :func:`load_model`
    """
    matches = shipped_files(name)
    for shipped in matches:
        _load_shipped(shipped)
    if not matches and name != AUTO:
        load_model(name)


def pick_model(
    model: str | os.PathLike[str] | AnyModel,
    quantity: Quantity,
    roles: Collection[str],
    product: str = "",
) -> AnyModel:
    """The model that is meant: by itself, by name or path, or by ``"auto"`` for a scene of a
    ``product`` that holds ``quantity`` in bands of these ``roles``.

    Raises
    ------
    UnknownModelError, ModelError : see :func:`load_model`
    """
    if isinstance(model, AnyModel):
        return model
    if model == AUTO:
        return choose_model(quantity, roles, product)
    return load_model(model, quantity)


def choose_model(quantity: Quantity, roles: Collection[str], product: str = "") -> AnyModel:
    """The shipped model for a scene; :func:`reason_for` tells people why.

    Where red and green were measured and blue was not, only blue is made; it has the air's own blue
    in it where the product's name says that the air was not removed. A scene that has all three
    needs no colours, so it can only be meant as near infrared.
    """
    counts = quantity is Quantity.COUNTS
    name = "aerial-nir" if counts else "satellite-nir"
    if "red" in roles and "green" in roles and "blue" not in roles:
        name = "aerial-rgn" if counts else "satellite-rgn"
        if not counts and level_1_mark(product):
            name = "satellite-rgn-toa"
    return load_model(name)


def reason_for(spec: Spec, quantity: Quantity, sides: tuple[float, float] | None) -> str:
    """Why :func:`choose_model` takes this model for such values and pixels (sides in metres)."""
    reason = f"values are {quantity.value}"
    if "red" in spec.bands:
        reason += "; red and green are measured, and kept"
    if spec.name.endswith("-toa"):
        reason += "; the product's name says that they were measured through the atmosphere"
    if sides is None or spec.gsd is None:
        return reason
    low, high = spec.gsd
    inside = "within" if is_made_for(spec, sides) else "outside"
    return f"{reason}; pixels of {told_sides(sides)} are {inside} its {low:g}–{high:g} m"


def is_made_for(spec: Spec, sides: tuple[float, float] | None) -> bool:
    """Whether pixels are as large as those that a model was made for, as far as both are known.

    One of the two sides decides: pixels of 10 m are 6 m wide in degrees, and no finer for it.
    """
    if sides is None or spec.gsd is None:
        return True
    return max(sides) >= spec.gsd[0] and min(sides) <= spec.gsd[1]
