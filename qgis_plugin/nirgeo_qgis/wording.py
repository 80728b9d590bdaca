"""The form's labels, and messages of the command line in their terms.

Someone who never opens a terminal is not helped by "give --scale": there is a field of that kind.
"""

from __future__ import annotations

import re

LABELS = {
    "--nir": "Near-infrared band",
    "--red": "Red band",
    "--green": "Green band",
    "--model": "Model",
    "--bounds": "Only this part",
    "--scale": "Scaling to reflectance",
    "--device": "Device",
    "--chunk": "Chunk size in tiles of 64 pixels",
    "--co": "Creation options",
    "-o": "Natural colour",
}

_OPTION = re.compile(r"(?<![\w-])(?:--[a-z]+|-o)(?![\w-])")


def in_words_of_the_form(message: str) -> str:
    """Replace options of the command line by the names of the fields that stand for them."""

    def label(match: re.Match[str]) -> str:
        option = match.group()
        return f"“{LABELS[option]}”" if option in LABELS else option

    return _OPTION.sub(label, message)
