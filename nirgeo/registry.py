"""Models by name: those shipped in the package, and files given by path.

``weights/registry.json`` lists what the package ships, with the hash of every file. A name without
a version means the newest; a name with a version always means the same bytes.
"""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from pathlib import Path

from nirgeo.errors import ModelError, UnknownModelError
from nirgeo.modelfile import Model, read_model
from nirgeo.radiometry import Quantity

AUTO = "auto"


@dataclass(frozen=True)
class ShippedModel:
    name: str
    version: int
    file: str
    sha256: str

    @property
    def full_name(self) -> str:
        return f"{self.name}@{self.version}"


def _weights_folder() -> Path:
    return Path(str(files("nirgeo") / "weights"))


@cache
def shipped_models() -> tuple[ShippedModel, ...]:
    """Every model in the package, oldest version first."""
    entries = json.loads((_weights_folder() / "registry.json").read_text(encoding="utf-8"))
    return tuple(
        sorted(
            (ShippedModel(e["name"], e["version"], e["file"], e["sha256"]) for e in entries),
            key=lambda m: (m.name, m.version),
        )
    )


def load_model(name: str | os.PathLike[str]) -> Model:
    """A model by name (``aerial-nir``, ``aerial-nir@1``) or by path to its file.

    Raises
    ------
    UnknownModelError : neither a shipped model nor an existing file
    ModelError : the file is damaged, or a shipped file's hash differs from the registry's
    """
    text = os.fspath(name)
    wanted, _, version = text.partition("@")
    matches = [m for m in shipped_models() if m.name == wanted]
    if version:
        matches = [m for m in matches if str(m.version) == version]
    if matches:
        shipped = matches[-1]
        model = read_model(_weights_folder() / shipped.file)
        if model.sha256 != shipped.sha256:
            raise ModelError(
                f"{model.path}: its sha256 is {model.sha256[:12]}…, the registry says "
                f"{shipped.sha256[:12]}…; reinstall nirgeo"
            )
        return model
    if os.path.isfile(text):
        return read_model(text)
    known = ", ".join(dict.fromkeys(m.full_name for m in shipped_models()))
    raise UnknownModelError(f"no model named {text!r} and no such file; shipped models: {known}")


def choose_model(quantity: Quantity) -> tuple[Model, str]:
    """The shipped model for a quantity, and a sentence that says why it was picked."""
    name = "aerial-nir" if quantity is Quantity.COUNTS else "satellite-nir"
    values = "display counts" if quantity is Quantity.COUNTS else "reflectance"
    model = load_model(name)
    return model, f"{model.spec.full_name}, because the values are {values}"
