"""A model is one safetensors file: weights, and everything needed to use them, as JSON.

The file is data. Nothing in it is executed or imported: it names one of the architectures listed
here and its shape, and every tensor is checked against that shape before memory is taken for it.
Reading the header needs no torch, so listing models is instant.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
import re
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import save

from nirgeo.domain import BandDomain, domain_from_json, domain_to_json
from nirgeo.errors import ModelError, TargetError
from nirgeo.plaintext import is_plain
from nirgeo.radiometry import DisplayCurve, Quantity
from nirgeo.tensorfile import open_tensors
from nirgeo.whole_file import written_whole

if TYPE_CHECKING:
    pass

FORMAT = 1
"""Version of the metadata; a file with a higher one is refused."""

LOCAL_AFFINE = "local-affine"
ENCODER_DECODER = "encoder-decoder"
KNOWN_ARCHITECTURES = (LOCAL_AFFINE, ENCODER_DECODER)
"""Names alone, so that a description is checked without torch; see ``nirgeo.architectures``."""

METADATA_KEY = "nirgeo"
MAX_BYTES = 512 * 2**20
MAX_TEXT = 4000
"""Characters of each text for people: summary, licence, attribution."""
_NAME = re.compile(r"[a-z0-9]+(?:[-/][a-z0-9]+)*")
_BAND = re.compile(r"[a-z0-9]+(?:[-_][a-z0-9]+)*")


def _is_multiple(value: Any) -> bool:
    # JSON holds whole numbers that are larger than any float.
    return isinstance(value, int | float) and 0 < value <= sys.float_info.max


@dataclass(frozen=True)
class ModelSpec:
    """What a model eats, what it makes, and how it was made.

    ``bands`` are eaten in this order, in the working space of ``quantity``; ``colours`` come out in
    the same space; where the network makes fewer, those among ``bands`` come out as they went in.
    ``gsd`` is the range of ground sampling distances in metres it was trained at. ``architecture``
    names the kind of network and ``generator`` is its shape, see :mod:`nirgeo.architectures`.
    """

    name: str
    version: int
    bands: tuple[str, ...]
    quantity: Quantity
    generator: Mapping[str, Any]
    architecture: str = LOCAL_AFFINE
    colours: tuple[str, ...] = ("red", "green", "blue")
    display_gain: float = 2.5
    gsd: tuple[float, float] = (0.1, 100.0)
    summary: str = ""
    licence: str = ""
    attribution: str = ""
    training: Mapping[str, Any] = field(default_factory=dict)
    tones: Mapping[str, Any] | None = None
    """How the colours of a place, as a map of the world shows them, become expected colours of this
    model (see :class:`nirgeo.location_prior.ToneMap`); None for a model without location prior."""
    domain: Mapping[str, BandDomain] = field(default_factory=dict)
    """What the training held, by band (see :mod:`nirgeo.domain`); empty where nobody wrote it."""
    uncertainty: Mapping[str, Any] | None = None
    """How the expected errors were calibrated (see :mod:`nirgeo.training.error_head`); None for a
    model that expects none."""

    def __post_init__(self) -> None:
        if len(self.name) > 80 or not _NAME.fullmatch(self.name):
            raise ModelError(
                f"model name {self.name[:80]!r} must be at most 80 characters of lower-case words "
                "joined by '-' or '/'"
            )
        for text in (self.summary, self.licence, self.attribution):
            if len(text) > MAX_TEXT or not is_plain(text):
                raise ModelError(
                    f"model {self.name}: {text[:40]!r} is no text for people: it is longer than "
                    f"{MAX_TEXT} characters, or some of them can't be printed"
                )
        for band in (*self.bands, *self.colours):
            if len(band) > 40 or not _BAND.fullmatch(band):
                raise ModelError(
                    f"model {self.name}: band {band[:40]!r} must be lower-case words joined by "
                    "'-' or '_'"
                )
        if self.architecture not in KNOWN_ARCHITECTURES:
            raise ModelError(
                f"model {self.name} has architecture {self.architecture!r}, which this version of "
                "nirgeo does not know; update nirgeo"
            )
        if not self.bands or self.generator.get("in_bands") != len(self.bands):
            raise ModelError(f"model {self.name}: bands {self.bands} do not fit its generator")
        if self.generator.get("out_bands") != len(self.made):
            raise ModelError(f"model {self.name}: colours {self.colours} do not fit its generator")
        if (self.uncertainty is not None) != bool(self.generator.get("expects_error", False)):
            raise ModelError(
                f"model {self.name}: a network that expects errors needs their calibration, and no "
                "other may have one"
            )
        if self.uncertainty is not None and not _is_multiple(self.uncertainty.get("quantile")):
            raise ModelError(f"model {self.name}: damaged calibration of its expected errors")
        if self.version < 1:
            raise ModelError(f"model {self.name}: version {self.version} must be at least 1")
        if not 0 < self.display_gain <= 1000:
            raise ModelError(
                f"model {self.name}: display gain {self.display_gain} must be positive"
            )
        if not 0 < self.gsd[0] <= self.gsd[1] < math.inf:
            raise ModelError(f"model {self.name}: {self.gsd} is no range of pixel sizes in metres")

    @property
    def full_name(self) -> str:
        return f"{self.name}@{self.version}"

    @property
    def made(self) -> tuple[str, ...]:
        """The colours that the network makes: all of them, or those that are not measured."""
        if self.generator.get("out_bands") == len(self.colours):
            return self.colours
        return tuple(colour for colour in self.colours if colour not in self.bands)

    @property
    def error_quantile(self) -> float | None:
        """Multiple of the expected error that nine pixels of ten do not exceed."""
        return None if self.uncertainty is None else float(self.uncertainty["quantile"])

    @property
    def curve(self) -> DisplayCurve:
        """How reflectance is shown; only meaningful for reflectance models."""
        return DisplayCurve(self.display_gain)

    def to_json(self) -> dict[str, Any]:
        return {
            "format": FORMAT,
            "name": self.name,
            "version": self.version,
            "architecture": self.architecture,
            "generator": dict(self.generator),
            "bands": list(self.bands),
            "colours": list(self.colours),
            "quantity": self.quantity.value,
            "display_curve": {"name": "srgb", "gain": self.display_gain},
            "gsd": list(self.gsd),
            "summary": self.summary,
            "licence": self.licence,
            "attribution": self.attribution,
            "training": dict(self.training),
            "tones": None if self.tones is None else dict(self.tones),
            "domain": domain_to_json(self.domain),
            "uncertainty": None if self.uncertainty is None else dict(self.uncertainty),
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any], origin: str) -> ModelSpec:
        """Inverse of :meth:`to_json`.

        Raises
        ------
        ModelError : a field is missing, of another type, or from a newer format
        """
        try:
            if data["format"] != FORMAT:
                raise ModelError(
                    f"{origin}: model format {data['format']!r} is not {FORMAT}; update nirgeo"
                )
            curve = data["display_curve"]
            if curve["name"] != DisplayCurve().name:
                raise ModelError(
                    f"{origin}: display curve {curve['name']!r} is not known to this version of "
                    "nirgeo; update nirgeo"
                )
            return cls(
                name=str(data["name"]),
                version=int(data["version"]),
                architecture=str(data["architecture"]),
                generator=dict(data["generator"]),
                bands=tuple(str(b) for b in data["bands"]),
                colours=tuple(str(c) for c in data["colours"]),
                quantity=Quantity(data["quantity"]),
                display_gain=float(curve["gain"]),
                gsd=(float(data["gsd"][0]), float(data["gsd"][1])),
                summary=str(data.get("summary", "")),
                licence=str(data.get("licence", "")),
                attribution=str(data.get("attribution", "")),
                training=dict(data.get("training", {})),
                tones=None if data.get("tones") is None else dict(data["tones"]),
                domain=domain_from_json(data.get("domain") or {}),
                uncertainty=None if data.get("uncertainty") is None else dict(data["uncertainty"]),
            )
        except ModelError:
            raise
        except (
            KeyError,
            TypeError,
            ValueError,
            IndexError,
            AttributeError,
            OverflowError,
        ) as error:
            raise ModelError(f"{origin}: damaged model metadata ({error!r})") from error


@dataclass(frozen=True)
class Model:
    """A model on disk: its description, its path, and the hash of its bytes."""

    spec: ModelSpec
    path: str
    sha256: str


def sha256_of(path: str | os.PathLike[str]) -> str:
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def read_model(path: str | os.PathLike[str]) -> Model:
    """Read and check a model file's description.

    Raises
    ------
    ModelError : not a nirgeo model, damaged, or larger than 512 MiB
    """
    name = os.fspath(path)
    try:
        with open_tensors(name, max_bytes=MAX_BYTES) as file:
            metadata = file.metadata() or {}
        if METADATA_KEY not in metadata:
            raise ModelError(
                f"{name}: a safetensors file, but not a nirgeo model (no {METADATA_KEY!r} metadata)"
            )
        spec = ModelSpec.from_json(json.loads(metadata[METADATA_KEY]), name)
        return Model(spec, name, sha256_of(name))
    except ModelError:
        raise
    # ValueError: not JSON, or a number of more digits than Python converts.
    except (SafetensorError, OSError, ValueError, RecursionError) as error:
        raise ModelError(f"{name}: not a readable model file ({error})") from error


def write_model(
    path: str | os.PathLike[str], spec: ModelSpec, tensors: Mapping[str, NDArray[np.float32]]
) -> None:
    """Write a model file; the file appears under its name only when it is whole.

    Raises
    ------
    TargetError : it can't be written
    """
    target = Path(path)
    text = json.dumps(spec.to_json(), sort_keys=True, ensure_ascii=True)
    values = {key: np.ascontiguousarray(value) for key, value in sorted(tensors.items())}
    try:
        with written_whole(target) as partial:
            # Not by save_file, whose files nobody but their owner may read.
            partial.write_bytes(save(values, metadata={METADATA_KEY: text}))
    except (SafetensorError, OSError) as error:
        raise TargetError(f"{target} can't be written ({error})") from error
