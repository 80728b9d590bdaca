"""When a scene was taken: from its tags, from its product's name, or from what somebody says.

Not needed to colorize; a catalogue wants to know (see :mod:`nirgeo.stac.result`).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

from nirgeo.errors import OptionError
from nirgeo.hrefs import is_remote, without_query


@dataclass(frozen=True)
class Acquisition:
    """An instant, or an interval, in UTC; how that is known; and what else a catalogue copies.

    ``start`` equals ``end`` where the instant is known.
    """

    start: datetime
    end: datetime
    origin: str
    item: str | None = None
    """Where the STAC item of the scene is, if it came from one."""
    instrument: Mapping[str, str | tuple[str, ...]] = field(default_factory=dict)
    """STAC's common fields platform, constellation and instruments."""

    def fields(self) -> dict[str, str | None]:
        """STAC's fields: ``datetime``, which is null for an interval, and then its ends."""
        if self.start == self.end:
            return {"datetime": rfc3339(self.start)}
        return {
            "datetime": None,
            "start_datetime": rfc3339(self.start),
            "end_datetime": rfc3339(self.end),
        }


FILE_TIME = "tag TIFFTAG_DATETIME"
"""The origin that is least to be trusted."""


def rfc3339(moment: datetime) -> str:
    """``2024-05-08T10:15:59Z``; fractions of a second only where there are any."""
    return moment.astimezone(UTC).isoformat().replace("+00:00", "Z")


# Tags with an instant, by how much they can be trusted; GDAL's IMAGERY domain comes before them.
_INSTANTS = (
    *("ACQUISITIONDATETIME", "ACQUISITION_DATETIME", "SENSING_TIME"),
    *("DATATAKE_1_DATATAKE_SENSING_START", "EXIF_DATETIMEORIGINAL"),
)
_DAYS = (("DATE_ACQUIRED", "SCENE_CENTER_TIME"), ("ACQUISITION_DATE", "ACQUISITION_TIME"))

# What products are called: Sentinel-2 products and granules, Earth Search, HLS, Landsat.
_NAMES = (
    re.compile(r"MSIL[12][AC]_(?P<time>\d{8}T\d{6})_", re.IGNORECASE),
    re.compile(r"(?<![A-Z0-9])T\d{2}[C-X][A-Z]{2}_(?P<time>\d{8}T\d{6})_", re.IGNORECASE),
    re.compile(r"HLS\.[LS]30\.T\w{5}\.(?P<time>\d{7}T\d{6})\.", re.IGNORECASE),
    re.compile(r"L[COTEM]0[1-9]_L\w{3}_\d{6}_(?P<time>\d{8})_", re.IGNORECASE),
    re.compile(r"S2[A-D]_\d{2}[C-X][A-Z]{2}_(?P<time>\d{8})_\d+_L[12][AC]", re.IGNORECASE),
)
_NAME_FORMATS = {15: "%Y%m%dT%H%M%S", 14: "%Y%jT%H%M%S", 8: "%Y%m%d"}


def parse_time(text: str) -> tuple[datetime, datetime] | None:
    """First and last moment of a time, or of a day; None if the text is neither.

    Taken as UTC unless the text says otherwise.
    """
    plain = text.strip()
    if re.match(r"\d{4}:\d{2}:\d{2}(\s|$)", plain):  # as TIFF and EXIF write it
        plain = plain.replace(":", "-", 2)
    try:
        moment = datetime.fromisoformat(plain.replace(" UTC", "Z"))
    except ValueError:
        return None
    if not 1900 <= moment.year <= 2200:
        return None
    moment = moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
    if re.fullmatch(r"\d{4}-?\d{2}-?\d{2}", plain):
        return moment, moment + timedelta(days=1, seconds=-1)
    return moment, moment


def parse_interval(text: str) -> Acquisition:
    """``TIME``, ``DAY`` or ``START/END`` of an option.

    Raises
    ------
    OptionError : a part is no time, or the end lies before the start
    """
    ends = [parse_time(part) for part in text.split("/")]
    known = [end for end in ends if end is not None]
    if len(known) != len(ends) or len(ends) > 2 or known[-1][1] < known[0][0]:
        raise OptionError(
            f"--datetime {text}: need a time like 2024-05-08T10:15:59Z, a day, or START/END"
        )
    return Acquisition(known[0][0], known[-1][1], "--datetime")


def find_acquisition(
    tags: Mapping[str, str], imagery: Mapping[str, str], paths: Iterable[str], product: str
) -> Acquisition | None:
    """The first of these that is known; None if none is.

    1. ``ACQUISITIONDATETIME`` of GDAL's ``IMAGERY`` metadata, and other tags of an acquisition;
    2. the name of a product: in ``product``, then in files and the folders above them;
    3. ``TIFFTAG_DATETIME``, which some programs set to the time of processing.
    """
    known = {key.upper(): value for key, value in tags.items()}
    found = _first(
        [("IMAGERY metadata", imagery.get("ACQUISITIONDATETIME", ""))]
        # HLS lists the times of all scenes that a tile is made of.
        + [(f"tag {name}", known.get(name, "").split(";")[0]) for name in _INSTANTS]
        + [
            (f"tag {day}", f"{known[day]}T{known[time].strip()}")
            for day, time in _DAYS
            if day in known and time in known
        ]
        + [(f"tag {day}", known.get(day, "")) for day, _ in _DAYS]
    )
    if found is None:
        found = _from_names(
            [product, *(part for path in paths for part in _parts_from_below(path))]
        )
    return found or _first([(FILE_TIME, known.get("TIFFTAG_DATETIME", ""))])


def _first(candidates: Iterable[tuple[str, str]]) -> Acquisition | None:
    for origin, text in candidates:
        interval = parse_time(text)
        if interval is not None:
            return Acquisition(*interval, origin)
    return None


def _parts_from_below(path: str) -> Iterable[str]:
    whole = Path(without_query(path)) if is_remote(path) else Path(path).absolute()
    return reversed(whole.parts)


def _from_names(names: Iterable[str]) -> Acquisition | None:
    for name in names:
        for pattern in _NAMES:
            match = pattern.search(name)
            if match is None:
                continue
            text = match["time"]
            try:
                moment = datetime.strptime(text, _NAME_FORMATS[len(text)]).replace(tzinfo=UTC)
            except ValueError:
                continue
            last = moment if "T" in text.upper() else moment + timedelta(days=1, seconds=-1)
            return Acquisition(moment, last, "product name")
    return None
