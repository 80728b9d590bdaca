"""Which band is near infrared, and which are red and green.

Labels are whatever a scene says about its bands: descriptions, STAC common names, colour
interpretation, the file's own name. What can't be found this way is never guessed from the number
of bands, with two exceptions. Decades of aerial imagery have earned one: in an 8-bit file of four
unlabelled bands the fourth is near infrared. Red and green are not guessed even there, since both
RGBN and BGRN files are common. And a file of twelve or thirteen bands that a Sentinel-2 product's
name goes with has them in the mission's order.
"""

from __future__ import annotations

import re
import warnings
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from nirgeo.errors import BandError, BandWarning
from nirgeo.plaintext import plain

COLOURS = ("red", "green", "blue")
ROLES = (*COLOURS, "nir")


@dataclass(frozen=True)
class BandLabel:
    """What a scene says about one band. ``number`` counts from 1."""

    number: int
    description: str = ""
    common_name: str = ""
    colorinterp: str = ""
    file_stem: str = ""

    def describe(self) -> str:
        parts = [self.description or self.common_name or self.file_stem]
        if self.colorinterp not in ("", "undefined", "gray"):
            parts.append(f"[{self.colorinterp}]")
        text = " ".join(part for part in parts if part)
        return f"{self.number}: {plain(text, 80)}" if text else f"{self.number}"


# Band designations by role, as each mission writes them, without leading zeros.
# Sources: ESA Sentinel-2 product specification; USGS Landsat band designations; ASTER user
# handbook; SPOT handbook; MODIS and HLS user guides.
_MISSIONS: tuple[tuple[str, str, dict[str, tuple[str, ...]]], ...] = (
    (
        "Sentinel-2",
        r"sentinel.?2|(?<![a-z0-9])s2[a-d]?(?![a-z0-9])|HLS\.S30|(?<![a-z0-9])T\d{2}[C-X][A-Z]{2}_",
        {"blue": ("B2",), "green": ("B3",), "red": ("B4",), "nir": ("B8",)},
    ),
    (
        "Landsat 8/9",
        r"landsat.?[89](?!\d)|(?<![a-z0-9])L[CO]0?[89](?![a-z0-9])|HLS\.L30",
        {"blue": ("B2",), "green": ("B3",), "red": ("B4",), "nir": ("B5",)},
    ),
    (
        "Landsat MSS 1–3",
        r"landsat.?[123](?!\d)|(?<![a-z0-9])LM0?[123](?![a-z0-9])",
        {"green": ("B4",), "red": ("B5",), "nir": ("B7", "B6")},
    ),
    (
        "Landsat MSS 4–5",
        r"(?<![a-z0-9])LM0?[45](?![a-z0-9])",
        {"green": ("B1",), "red": ("B2",), "nir": ("B4", "B3")},
    ),
    (
        "Landsat 4–7",
        r"landsat.?[4567](?!\d)|(?<![a-z0-9])L[TE]0?[4567](?![a-z0-9])",
        {"blue": ("B1",), "green": ("B2",), "red": ("B3",), "nir": ("B4",)},
    ),
    (
        "ASTER",
        r"(?<![a-z])aster(?![a-z])|(?<![a-z0-9])AST_L1",
        {"green": ("B1",), "red": ("B2",), "nir": ("B3N", "B3")},
    ),
    (
        "SPOT",
        r"(?<![a-z0-9])spot.?[1-5](?![a-z0-9])",
        {"green": ("B1", "XS1"), "red": ("B2", "XS2"), "nir": ("B3", "XS3")},
    ),
    (
        "MODIS",
        r"(?<![a-z0-9])M[OY]D(09|13|43)|(?<![a-z])modis(?![a-z])",
        {"red": ("B1",), "nir": ("B2",), "blue": ("B3",), "green": ("B4",)},
    ),
)
_SENSORS = {name: (re.compile(pattern, re.IGNORECASE), roles) for name, pattern, roles in _MISSIONS}

# Files that hold every band of a mission in its own order, often without any label.
_VNIR = ("B1", "B2", "B3", "B4", "B5", "B6", "B7", "B8", "B8A", "B9")
_FULL_SETS: dict[tuple[str, int], tuple[str, ...]] = {
    ("Sentinel-2", 13): (*_VNIR, "B10", "B11", "B12"),
    ("Sentinel-2", 12): (*_VNIR, "B11", "B12"),
}

# Names that mean one role whatever the sensor. "nir08" and "nir09" are STAC's narrow bands: second
# choice, taken only when no plain "nir" is there.
_WORDS: tuple[tuple[str, re.Pattern[str], int], ...] = tuple(
    (role, re.compile(rf"^(?:{pattern})$", re.IGNORECASE), rank)
    for role, pattern, rank in (
        ("red", r"red|rot|rouge|rojo|r", 0),
        ("green", r"green|grün|vert|verde|g", 0),
        ("blue", r"blue|blau|bleu|azul|b", 0),
        ("nir", r"nir|near[ _-]?infra[ _-]?red|nir[ _-]?1|n|(?:band[ _-]?\d+[ _:-]*)?nir", 0),
        ("nir", r"nir08|nir8|nir[ _-]?narrow|nir[ _-]?2|vnir[ _-]?band3n", 1),
        ("nir", r"nir09|nir9", 2),
    )
)

# What else a band may be called: STAC's common names, and GDAL's interpretations.
_NO_ROLE = re.compile(
    r"^(?:coastal|yellow|pan(?:chromatic)?|red[ _-]?edge.*|(?:s|m|l)wir.*|cirrus|thermal|tir.*)$",
    re.IGNORECASE,
)

# Files of products that hold classes, angles or temperatures; and their pictures.
_NO_MEASUREMENT = re.compile(
    r"(?<![a-z0-9])(?:qa_\w+|scl|st_b\d+|tci|cloud_?mask|pixel_?qa)(?![a-z0-9])", re.IGNORECASE
)

_ALSO_NEAR_INFRARED = ("B8A", "B9")
"""Sentinel-2's narrow bands."""

# Sentinel-2 pads its band numbers, and so does HLS, whose B02 to B04 are the same colours.
_PADDED = {"B02": "blue", "B03": "green", "B04": "red"}
_PADDED_NAME = re.compile(r"(?<![a-z0-9])B0[234](?![a-z0-9])", re.IGNORECASE)

# Sentinel-2's own names, whole; catalogues add the resolution ("B08_10m").
_PADDED_FULL = re.compile(r"B(?:0[1-9]|1[0-2])(?:_\d0m)?", re.IGNORECASE)

_DESIGNATION = re.compile(
    r"(?<![a-z0-9])(?:sr_|toa_|vnir_)?(?:b|band[ _-]?|imagedata)0*(\d{1,2}[an]?)(?![a-z0-9])"
    r"|(?<![a-z0-9])(xs\d)",
    re.IGNORECASE,
)


def sensor_of(product: str) -> str | None:
    """The mission that a product's name or metadata speaks of first, or None."""
    found = {name: pattern.search(product) for name, (pattern, _) in _SENSORS.items()}
    places = {name: match.start() for name, match in found.items() if match is not None}
    return min(places, key=places.__getitem__, default=None)


def designation_of(text: str) -> str | None:
    """``"band 4 reflectance"``, ``"SR_B4"`` and ``"B04"`` all become ``"B4"``."""
    match = _DESIGNATION.search(text)
    if match is None:
        return None
    return match[2].upper() if match[2] else f"B{match[1].upper()}"


def _named_as_sentinel_2(labels: Sequence[BandLabel]) -> bool:
    """Whether bands are called as Sentinel-2 alone calls them: band 8A, or B08 beside a colour.

    Other missions do not pad their numbers, but HLS does for Landsat too, whose near infrared is
    B05, and ASTER, whose bands have a B3N among them. So B05 without a band 8A says nothing.
    """
    texts = {x.description.strip(): designation_of(x.description) for x in labels}
    named = {text: band for text, band in texts.items() if band is not None}
    bands = set(named.values())
    if {"B8", "B8A"} <= bands:
        return True
    if "B8" not in bands or "B5" in bands or not bands & {"B2", "B3", "B4"}:
        return False
    if any(x.common_name and named.get(x.description.strip()) == "B8" for x in labels):
        return False  # had it been near infrared, its common name would say so
    return all(_PADDED_FULL.fullmatch(text) for text in named)


def _by_words(labels: Sequence[BandLabel], role: str) -> BandLabel | None:
    ranked = [
        (rank, -label.number, label)
        for label in labels
        for text in (label.description, label.common_name)
        for word_role, pattern, rank in _WORDS
        if word_role == role and text and pattern.match(text.strip())
    ]
    if ranked:
        return min(ranked, key=lambda item: (item[0], -item[1]))[2]
    return None


def _by_sensor(labels: Sequence[BandLabel], role: str, sensor: str | None) -> BandLabel | None:
    if sensor is None:
        return None
    designations = _SENSORS[sensor][1].get(role, ())
    named = {label.number: designation_of(label.description) for label in labels}
    if not any(named.values()):
        # A file's name speaks of its band only if the file has one: "B8_B4_B3" says nothing.
        stems = Counter(label.file_stem for label in labels)
        named = {
            label.number: designation_of(label.file_stem) if stems[label.file_stem] == 1 else None
            for label in labels
        }
    if not any(named.values()):
        full_set = _FULL_SETS.get((sensor, len(labels)))
        if full_set is not None:
            named = dict(zip((label.number for label in labels), full_set, strict=True))
    for designation in designations:
        for label in labels:
            if named[label.number] == designation:
                return label
    return None


def _explicit(labels: Sequence[BandLabel], role: str, wanted: str) -> BandLabel:
    text = wanted.strip()
    if text.isdecimal():
        number = int(text)
        for label in labels:
            if label.number == number:
                return label
        raise BandError(
            f"--{role} {number}: the scene has bands 1 to {len(labels)}. " + listing(labels)
        )
    for label in labels if text else ():
        if text.casefold() in (label.description.casefold(), label.common_name.casefold()):
            return label
    raise BandError(f"--{role} {text!r}: no band has this name. " + listing(labels))


_LISTED = 24


def listing(labels: Sequence[BandLabel]) -> str:
    """The bands for a message; of very many only the first."""
    more = len(labels) - _LISTED
    shown = "; ".join(label.describe() for label in labels[:_LISTED])
    return "Bands: " + shown + (f"; and {more} more" if more > 0 else "")


def _unlabelled(labels: Sequence[BandLabel]) -> bool:
    return not any(
        label.description or label.common_name or label.colorinterp == "nir" for label in labels
    )


def _something_else(label: BandLabel, claimed: Sequence[str], sensor: str | None) -> str | None:
    """What a band is said to be that is not near infrared; None where nothing says so."""
    if claimed:
        return claimed[0]
    if label.colorinterp == "palette":
        return "numbers of a palette"
    for text in (label.description, label.common_name, label.colorinterp):
        if text in COLOURS or _NO_ROLE.match(text.strip()):
            return text.strip()
    if (quality := _NO_MEASUREMENT.search(label.file_stem)) is not None:
        return quality[0].strip("_")
    if sensor is not None and label.file_stem:
        band = designation_of(label.file_stem)
        near = (*_SENSORS[sensor][1]["nir"], *_ALSO_NEAR_INFRARED)
        if band is not None and band not in near:
            return f"{band} of {sensor}"
    padded = _PADDED_NAME.search(label.file_stem) if sensor is None else None
    return f"{_PADDED[padded[0].upper()]}, as Sentinel-2 names its bands" if padded else None


def find_roles(
    labels: Sequence[BandLabel],
    *,
    product: str = "",
    dtype: str = "",
    explicit: Mapping[str, str] | None = None,
    in_array: bool = False,
) -> dict[str, int]:
    """The number (from 1) of each band that has a role; ``nir`` is always among them.

    With ``in_array`` messages say what to do with an array, where there is no command line.

    Tried in this order for each role: ``explicit`` (a number or a name), descriptions and STAC
    common names, colour interpretation (NIR only), the mission named by ``product`` together with
    band designations, the only band of a single-band scene, the fourth band of an unlabelled
    8-bit scene of four.

    Raises
    ------
    BandError : a band asked for is not there, or nothing says which band is near infrared

    Warns
    -----
    BandWarning : the only band is taken, and its label says that it is something else
    """
    explicit = explicit or {}
    sensor = sensor_of(product)
    if sensor is None and _named_as_sentinel_2(labels):
        sensor = "Sentinel-2"
    # What was asked for comes first, so that no label can claim the same band for another role.
    found = {
        role: _explicit(labels, role, explicit[role]).number for role in ROLES if role in explicit
    }
    asked = set(found.values())
    for role in ROLES:
        if role in found:
            continue
        label = _by_words(labels, role)
        if label is None and role == "nir":
            label = next((x for x in labels if x.colorinterp == "nir"), None)
        if label is None:
            label = _by_sensor(labels, role, sensor)
        if label is not None and label.number not in found.values():
            found[role] = label.number
    if "nir" not in found:
        left = [label for label in labels if label.number not in asked]
        left = [label for label in left if label.colorinterp != "alpha"] or left
        if len(left) == 1:
            (only,) = left
            claimed = [role for role, number in found.items() if number == only.number]
            said = _something_else(only, claimed, sensor)
            if said is not None:
                remedy = (
                    "rename it to nir, else take another"
                    if in_array
                    else f"say --nir {only.number}, else name another file"
                )
                warnings.warn(
                    f"the only band ({only.describe()}) is taken for near infrared, though its "
                    f"label says {plain(said, 80)}; if it is near infrared, {remedy}",
                    BandWarning,
                    stacklevel=3,
                )
            found = {role: n for role, n in found.items() if n != only.number}
            found["nir"] = only.number
        elif (
            len(labels) == 4
            and dtype == "uint8"
            and _unlabelled(labels)
            and labels[3].number not in found.values()
        ):
            found["nir"] = labels[3].number
        else:
            remedy = (
                "rename the band or variable to nir"
                if in_array
                else "name it with --nir NUMBER or NAME"
            )
            raise BandError(
                f"nothing says which band is near infrared; {remedy}. " + listing(labels)
            )
    return found
