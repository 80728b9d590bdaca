"""What an output says about how it was made. Equal work leaves equal words.

No time, host, path, chunk size or number of workers is recorded: a file that is made again from the
same scene, model and options has the same bytes.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from nirgeo._version import __version__
from nirgeo.georeference import RPC_ATTR

NAMESPACE = "NIRGEO"
ATTR_PREFIX = "nirgeo_"
DESCRIPTION = "synthetic natural colour predicted from near infrared; not a measurement"


def attributes(facts: Mapping[str, str]) -> dict[str, str]:
    """What is known of how pixels were made, as DataArray attributes; :func:`tags` turns them into
    GeoTIFF tags."""
    known = {**facts, "software": f"nirgeo {__version__}"}
    return {f"{ATTR_PREFIX}{key}": value for key, value in known.items()}


def tags(attrs: Mapping[Any, Any]) -> dict[str, str]:
    """The tags of the ``NIRGEO`` namespace for an array with these attributes."""
    return {
        str(key).removeprefix(ATTR_PREFIX).upper(): str(value)
        for key, value in attrs.items()
        if isinstance(key, str) and key.startswith(ATTR_PREFIX) and key != RPC_ATTR
    }
