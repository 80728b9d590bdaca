"""Which band is near infrared, and which are red and green.

Labels are whatever a scene says about its bands: descriptions, STAC common names, colour
interpretation, wavelengths, the file's own name. What can't be found this way is never guessed from
the number of bands, with two exceptions. Decades of aerial imagery have earned one: in an 8-bit
file of four unlabelled bands the fourth is near infrared. Red and green are not guessed even there,
since both RGBN and BGRN files are common. And where a product's name says that a file holds every
band of it, as Sentinel-2's twelve or thirteen or PlanetScope's four, they are in the maker's order.
"""

from __future__ import annotations

import re
import warnings
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from nirgeo.errors import BandError, BandWarning
from nirgeo.plaintext import plain

COLOURS = ("red", "green", "blue")
ROLES = (*COLOURS, "nir")

NAMED = ("nir", "red", "green")
"""Roles that options give a band to, and that models eat."""


WAVELENGTHS = {"red": 0.66, "green": 0.56, "blue": 0.49, "nir": 0.84}
"""Where a role's usual band lies, in micrometres."""

# What still is a role's band: between Landsat MSS's last one and red edge, for example.
_RANGES = {"red": (0.62, 0.69), "green": (0.52, 0.6), "blue": (0.44, 0.52), "nir": (0.76, 0.96)}


@dataclass(frozen=True)
class BandLabel:
    """What a scene says about one band. ``number`` counts from 1, ``wavelength`` is in µm."""

    number: int
    description: str = ""
    common_name: str = ""
    colorinterp: str = ""
    file_stem: str = ""
    wavelength: float | None = None

    def describe(self) -> str:
        at = "" if self.wavelength is None else f"{self.wavelength:.4g} µm"
        parts = [self.description or self.common_name or at or self.file_stem]
        if self.colorinterp not in ("", "undefined", "gray"):
            parts.append(f"[{self.colorinterp}]")
        text = " ".join(part for part in parts if part)
        return f"{self.number}: {plain(text, 80)}" if text else f"{self.number}"


# Landsat's names before its collections: path, row, year, day, station, version (USGS).
_BEFORE_COLLECTIONS = r"\d{13}[A-Z]{3}\d{2}"

_IN_ORDER: dict[str, tuple[str, ...]] = {
    "blue": ("B1",),
    "green": ("B2",),
    "red": ("B3",),
    "nir": ("B4",),
}

_VNIR = ("B1", "B2", "B3", "B4", "B5", "B6", "B7", "B8", "B8A", "B9")


@dataclass(frozen=True)
class _Mission:
    """All that is known of one mission's bands; what its numbers mean stands in ``radiometry``.

    ``pattern`` is how products and metadata name it, in any case. ``roles`` are band designations,
    without leading zeros, the first choice first. ``full_sets`` are the bands of files that hold
    every one of them in the mission's own order, often without any label, by their number.
    ``numbered_alike`` are numbers of bands with which a file holds all from the first on, so that
    names that only count its bands ("Band 4", as ENVI writes them) are the mission's own.
    """

    name: str
    pattern: str
    roles: Mapping[str, tuple[str, ...]]
    full_sets: Mapping[int, tuple[str, ...]] = field(default_factory=dict)
    numbered_alike: tuple[int, ...] = ()
    fourth_is_nir: bool = False
    """Of four bands in the usual files."""


# Sources: ESA Sentinel-2 product specification; USGS Landsat band designations; ASTER user
# handbook; SPOT handbook; MODIS and HLS user guides; INPE's CBERS band tables; ISRO's Resourcesat
# handbook; Planet's imagery product specification; CRESDA's Gaofen band tables.
_MISSIONS = (
    _Mission(
        "Sentinel-2",
        r"sentinel.?2|(?<![a-z0-9])s2[a-d]?(?![a-z0-9])|HLS\.S30|(?<![a-z0-9])T\d{2}[C-X][A-Z]{2}_",
        {"blue": ("B2",), "green": ("B3",), "red": ("B4",), "nir": ("B8", "B8A")},
        full_sets={13: (*_VNIR, "B10", "B11", "B12"), 12: (*_VNIR, "B11", "B12")},
        fourth_is_nir=True,
    ),
    _Mission(
        "Landsat 8/9",
        r"landsat.?[89](?!\d)|(?<![a-z0-9])L[CO]0?[89](?![a-z0-9])|HLS\.L30"
        rf"|(?<![a-z0-9])L[CO]8{_BEFORE_COLLECTIONS}",
        {"blue": ("B2",), "green": ("B3",), "red": ("B4",), "nir": ("B5",)},
        numbered_alike=(7, 9, 11),
    ),
    _Mission(
        "Landsat MSS 1–3",
        r"landsat.?[123](?!\d)|(?<![a-z0-9])LM0?[123](?![a-z0-9])"
        rf"|(?<![a-z0-9])LM[123]{_BEFORE_COLLECTIONS}",
        {"green": ("B4",), "red": ("B5",), "nir": ("B7", "B6")},
        fourth_is_nir=True,
    ),
    _Mission(
        "Landsat MSS 4–5",
        rf"(?<![a-z0-9])LM0?[45](?![a-z0-9])|(?<![a-z0-9])LM[45]{_BEFORE_COLLECTIONS}",
        {"green": ("B1",), "red": ("B2",), "nir": ("B4", "B3")},
        numbered_alike=(4,),
        fourth_is_nir=True,
    ),
    _Mission(
        "Landsat 4–7",
        r"landsat.?[4567](?!\d)|(?<![a-z0-9])L[TE]0?[4567](?![a-z0-9])"
        rf"|(?<![a-z0-9])L[TE][4567]{_BEFORE_COLLECTIONS}",
        {"blue": ("B1",), "green": ("B2",), "red": ("B3",), "nir": ("B4",)},
        numbered_alike=(6, 7, 8),
    ),
    _Mission(
        "ASTER",
        r"(?<![a-z])aster(?![a-z])|(?<![a-z0-9])AST_L1",
        {"green": ("B1",), "red": ("B2",), "nir": ("B3N", "B3")},
    ),
    _Mission(
        "SPOT",
        r"(?<![a-z0-9])spot.?[1-5](?![a-z0-9])",
        {"green": ("B1", "XS1"), "red": ("B2", "XS2"), "nir": ("B3", "XS3")},
    ),
    _Mission(
        "MODIS",
        r"(?<![a-z0-9])M[OY]D(09|13|43)|(?<![a-z])modis(?![a-z])",
        {"red": ("B1",), "nir": ("B2",), "blue": ("B3",), "green": ("B4",)},
        numbered_alike=(7,),
    ),
    _Mission(
        "CBERS MUX",
        r"CBERS.?4A?.?MUX",
        {"blue": ("B5",), "green": ("B6",), "red": ("B7",), "nir": ("B8",)},
    ),
    _Mission("CBERS WPM", r"CBERS.?4A?.?WPM", _IN_ORDER),
    _Mission(
        "Resourcesat",
        r"(?<![a-z])(?:liss.?(?:3|4|iii|iv)|awifs)(?![a-z])",
        {"green": ("B2",), "red": ("B3",), "nir": ("B4",)},
    ),
    _Mission("PlanetScope", r"_3B_AnalyticMS(?!_8b)", _IN_ORDER, full_sets={4: _VNIR[:4]}),
    _Mission(
        "RapidEye", r"_RE\d_3A_Analytic", {**_IN_ORDER, "nir": ("B5",)}, full_sets={5: _VNIR[:5]}
    ),
    _Mission("Gaofen", r"(?<![a-z0-9])GF[12]_(?:PMS|WFV)", _IN_ORDER, full_sets={4: _VNIR[:4]}),
)
_SENSORS = {mission.name: mission for mission in _MISSIONS}
_PATTERNS = {name: re.compile(each.pattern, re.IGNORECASE) for name, each in _SENSORS.items()}

_RUNNING_NUMBER = re.compile(r"band[ _-]?0*(\d+)", re.IGNORECASE)

# Names that mean one role whatever the sensor. "nir08" and "nir09" are STAC's narrow bands: second
# choice, taken only when no plain "nir" is there.
_WORDS: tuple[tuple[str, re.Pattern[str], int], ...] = tuple(
    (role, re.compile(rf"^(?:{pattern})$", re.IGNORECASE), rank)
    for role, pattern, rank in (
        ("red", r"red|rot|rouge|rojo|r|xs2|(?:.* )?red[ _]reflectance", 0),
        ("green", r"green|grün|vert|verde|g|xs1|(?:.* )?green[ _]reflectance", 0),
        ("blue", r"blue|blau|bleu|azul|b|(?:.* )?blue[ _]reflectance", 0),
        ("nir", r"nir|near[ _-]?infra[ _-]?red|nir[ _-]?1|n|(?:band[ _-]?\d+[ _:-]*)?nir", 0),
        ("nir", r"xs3|near[ _-]?infra[ _-]?red[ _-]?1|(?:.* )?nir[ _]reflectance", 0),
        ("nir", r"nir[ _-]?\(?(?:7[5-9]|8\d|9[0-4])\d(?: ?nm)?\)?", 0),
        ("nir", r"nir08|nir8|nir[ _-]?narrow|nir[ _-]?2|vnir[ _-]?band3n", 1),
        ("nir", r"near[ _-]?infra[ _-]?red[ _-]?2", 1),
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
    r"(?<![a-z0-9])(?:qa_\w+|scl|tci|cloud_?mask|pixel_?qa|aot|wvp|fmask|[sv][az]a|qai|udm2?"
    r"|st_(?:b\d+|qa|emis|emsd|[adu]?trad|[du]rad|atran|cdist)|(?:cld|snw)prb|(?:atb|clm|mg2)_r\d"
    r"|ndvi|ndre|ndwi|savi|evi)(?![a-z0-9])",
    re.IGNORECASE,
)

# What drones' cameras and their software call single bands that are not near infrared: DJI's
# multispectral cameras, Parrot's Sequoia, Pix4D.
_DRONE_BAND = re.compile(
    r"_MS_(?:R|G|RE)$|_(?:RED|GRE|REG)$|reflectance_(?:red|green|blue|red[ _]edge)$", re.IGNORECASE
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


_NUMBER_AND_UNIT = (
    r"(\d{1,4}(?:\.\d{1,20})?) ?"
    r"(nm|nanomet(?:er|re)s?|[uµμ]m|micromet(?:er|re)s?|microns?)"
)
# By itself, behind a name as GDAL puts those of ENVI's headers, or as its Sentinel-2 driver has it.
_WAVELENGTH = re.compile(
    rf"(?:^|.*\(|.*central wavelength ){_NUMBER_AND_UNIT}\)?$", re.IGNORECASE | re.DOTALL
)


def wavelength_of(text: str, unit: str = "") -> float | None:
    """The wavelength in micrometres that a description ends with, or that a number in this unit is.

    None where there is none, or where it is none of the light that the sun gives.
    """
    match = _WAVELENGTH.fullmatch(f"{text.strip()} {unit.strip()}".strip())
    if match is None:
        return None
    value = float(match[1]) / (1000 if match[2][0] in "nN" else 1)
    return value if 0.1 <= value <= 20 else None


def wavelength_in(number: float, unit: str | None) -> float | None:
    """The same of a number; without a unit it is of nanometres if it can't be of micrometres."""
    return wavelength_of(f"{number:.9g}", unit or ("nm" if number > 20 else "µm"))


def sensor_of(product: str) -> str | None:
    """The mission that a product's name or metadata speaks of first, or None."""
    found = {name: pattern.search(product) for name, pattern in _PATTERNS.items()}
    places = {name: match.start() for name, match in found.items() if match is not None}
    return min(places, key=places.__getitem__, default=None)


def designation_of(text: str) -> str | None:
    """``"band 4 reflectance"``, ``"SR_B4"`` and ``"B04"`` all become ``"B4"``."""
    match = _DESIGNATION.search(text)
    if match is None:
        return None
    return match[2].upper() if match[2] else f"B{match[1].upper()}"


def _named_as_sentinel_2(labels: Sequence[BandLabel]) -> bool:
    """Whether bands are called as Sentinel-2 alone calls them: band 8A, bands 8 and 12, or B08
    beside a colour.

    Other missions do not pad their numbers, but HLS does for Landsat too, whose near infrared is
    B05, and ASTER, whose bands have a B3N among them. So B05 without a band 8A says nothing.
    Landsat's bands end at 11, ASTER and MODIS go on from 12.
    """
    texts = {x.description.strip(): designation_of(x.description) for x in labels}
    named = {text: band for text, band in texts.items() if band is not None}
    bands = set(named.values())
    if "B8A" in bands or ({"B8", "B11", "B12"} <= bands and not bands & {"B3N", "B13", "B14"}):
        return True
    if "B8" not in bands or "B5" in bands or not bands & {"B2", "B3", "B4"}:
        return False
    if any(x.common_name and named.get(x.description.strip()) == "B8" for x in labels):
        return False  # had it been near infrared, its common name would say so
    return all(_PADDED_FULL.fullmatch(text) for text in named)


def _sensor_of_labels(labels: Sequence[BandLabel]) -> str | None:
    """The mission whose bands alone are called like some of these.

    Collection 2's names (USGS LSDS-1619, and Earth Engine's catalogue) go before what a file is
    called: ``landsat7_8_sr.tif`` may be anything.
    """
    told = {x.description.strip().upper() for x in labels}
    if told & {"SR_B6", "ST_B10", "SR_QA_AEROSOL"}:
        return "Landsat 8/9"
    if told & {"ST_B6", "SR_ATMOS_OPACITY", "SR_CLOUD_QA"}:
        return "Landsat 4–7"
    return None


def _without_running_numbers(
    labels: Sequence[BandLabel], sensor: str | None
) -> Sequence[BandLabel]:
    """The same bands without descriptions that only count them."""
    counted = [_RUNNING_NUMBER.fullmatch(label.description.strip()) for label in labels]
    running = all(
        found is not None and int(found[1]) == number
        for number, found in enumerate(counted, start=1)
    )
    own = sensor is not None and len(labels) in _SENSORS[sensor].numbered_alike
    if not running or own:
        return labels
    return [replace(label, description="") for label in labels]


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


def _by_wavelength(labels: Sequence[BandLabel], role: str) -> BandLabel | None:
    """The band nearest to where the role's usual one lies, of those not called something else."""
    low, high = _RANGES[role]
    found = [
        (abs(label.wavelength - WAVELENGTHS[role]), label.number, label)
        for label in labels
        if label.wavelength is not None and low <= label.wavelength <= high
        if not any(_NO_ROLE.match(x.strip()) for x in (label.description, label.common_name))
    ]
    return min(found, key=lambda item: item[:2])[2] if found else None


def _by_sensor(labels: Sequence[BandLabel], role: str, sensor: str | None) -> BandLabel | None:
    if sensor is None:
        return None
    designations = _SENSORS[sensor].roles.get(role, ())
    named = {label.number: designation_of(label.description) for label in labels}
    if not any(named.values()):
        # A file's name speaks of its band only if the file has one: "B8_B4_B3" says nothing.
        stems = Counter(label.file_stem for label in labels)
        named = {
            label.number: designation_of(label.file_stem) if stems[label.file_stem] == 1 else None
            for label in labels
        }
    if not any(named.values()):
        full_set = _SENSORS[sensor].full_sets.get(len(labels))
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
        label.description
        or label.common_name
        or label.colorinterp == "nir"
        or label.wavelength is not None
        for label in labels
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
    if label.wavelength is not None:
        return f"{label.wavelength:.4g} µm"
    for text in (label.file_stem, label.description):
        if (quality := _NO_MEASUREMENT.search(text)) is not None:
            return quality[0].strip("_")
    if (named := _DRONE_BAND.search(label.file_stem)) is not None:
        return named[0].strip("_")
    if sensor is not None and label.file_stem:
        band = designation_of(label.file_stem)
        near = (*_SENSORS[sensor].roles["nir"], *_ALSO_NEAR_INFRARED)
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
    common names, wavelengths, colour interpretation (NIR only), the mission named by ``product``
    together with band designations, the only band of a single-band scene, the fourth band of an
    unlabelled 8-bit scene of four.

    Raises
    ------
    BandError : a band asked for is not there, or nothing says which band is near infrared

    Warns
    -----
    BandWarning : the only band is taken, and its label says that it is something else
    """
    explicit = explicit or {}
    sensor = _sensor_of_labels(labels) or sensor_of(product)
    if sensor is None and _named_as_sentinel_2(labels):
        sensor = "Sentinel-2"
    if sensor is None and "B3N" in {designation_of(x.description) for x in labels}:
        sensor = "ASTER"
    told, labels = labels, _without_running_numbers(labels, sensor)
    # What was asked for comes first, so that no label can claim the same band for another role.
    found = {
        role: _explicit(told, role, explicit[role]).number for role in ROLES if role in explicit
    }
    asked = set(found.values())
    for role in ROLES:
        if role in found:
            continue
        label = _by_words(labels, role) or _by_wavelength(labels, role)
        if label is None and role == "nir":
            label = next((x for x in labels if x.colorinterp == "nir"), None)
        if label is None:
            label = _by_sensor(labels, role, sensor)
        if label is not None and label.number not in found.values():
            found[role] = label.number
    if "nir" not in found:
        left = [label for label in labels if label.number not in asked]
        measuring = [label for label in labels if label.colorinterp != "alpha"]
        left = measuring if len(measuring) == 1 and not asked else left
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
            and (sensor is None or _SENSORS[sensor].fourth_is_nir)
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
            raise BandError(f"nothing says which band is near infrared; {remedy}. " + listing(told))
    return found
