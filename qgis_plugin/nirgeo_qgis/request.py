"""What the user asked for, as arguments of ``nirgeo``."""

from __future__ import annotations

import re
from dataclasses import dataclass

AUTO = "auto"

# QGIS has asked before it lets the user choose an existing file.
_REPLACING = ("--overwrite",)

# After "--", no scene is taken for an option, however it is named.
_REPORTING = ("--progress", "jsonl", "--")


@dataclass(frozen=True)
class ColorizeRequest:
    """``nirgeo colorize``.

    Bands are numbers from 1; bounds are west, south, east, north in the scene's CRS.
    """

    scene: str
    output: str
    nir: int | None = None
    red: int | None = None
    green: int | None = None
    model: str = AUTO
    reference: str = ""
    reference_scale: str = ""
    bounds: tuple[float, float, float, float] | None = None
    scale: str = ""
    nodata: float | None = None
    prior: bool = True
    uncertainty: bool = False
    max_error: float | None = None
    device: str = AUTO
    chunk: int | None = None
    creation_options: tuple[str, ...] = ()

    def arguments(self) -> list[str]:
        """Only what differs from nirgeo's defaults, so that the log shows what was chosen."""
        words = ["colorize", "-o", self.output]
        for option, band in (("--nir", self.nir), ("--red", self.red), ("--green", self.green)):
            if band is not None:
                words += [option, str(band)]
        if self.model and self.model != AUTO:
            words += ["--model", self.model]
        if self.reference:
            words += ["--reference", self.reference]
        if self.reference_scale:
            words += ["--reference-scale", self.reference_scale]
        if self.bounds is not None:
            words += ["--bounds", *(repr(float(side)) for side in self.bounds)]
        if self.scale:
            words += ["--scale", self.scale]
        if self.nodata is not None:
            words += ["--nodata", repr(float(self.nodata))]
        if not self.prior:
            words.append("--no-prior")
        if self.uncertainty:
            words.append("--uncertainty")
        if self.max_error is not None:
            words += ["--max-error", repr(float(self.max_error))]
        if self.device and self.device != AUTO:
            words += ["--device", self.device]
        if self.chunk is not None:
            words += ["--chunk", str(self.chunk)]
        for option in self.creation_options:
            words += ["--co", option]
        return [*words, *_REPLACING, *_REPORTING, self.scene]


@dataclass(frozen=True)
class CompareRequest:
    """``nirgeo compare``. ``bands`` are numbers of the truth's red, green and blue."""

    prediction: str
    truth: str
    bands: tuple[int, int, int] | None = None
    scale: str = ""
    error_map: str = ""

    def arguments(self) -> list[str]:
        """Only what differs from nirgeo's defaults, so that the log shows what was chosen."""
        words = ["compare"]
        if self.bands is not None:
            words += ["--bands", ",".join(map(str, self.bands))]
        if self.scale:
            words += ["--scale", self.scale]
        if self.error_map:
            words += ["--error-map", self.error_map, *_REPLACING]
        return [*words, *_REPORTING, self.prediction, self.truth]


def split_creation_options(text: str) -> tuple[str, ...]:
    """``KEY=VALUE`` pairs as QGIS writes them: separated by ``|``, or by white space."""
    return tuple(part for part in re.split(r"[|\s]+", text or "") if part)
