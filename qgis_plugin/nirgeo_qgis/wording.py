"""The forms' labels, and messages of the command line in their terms.

Someone who never opens a terminal is not helped by "give --scale": there is a field of that kind.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

Labels = Mapping[str, str]
"""Options of the command line, in their long form, and the fields that stand for them."""

COLORIZE: Labels = {
    "--nir": "Near-infrared band",
    "--red": "Red band",
    "--green": "Green band",
    "--model": "Model",
    "--reference": "Colours of this raster",
    "--reference-scale": "Scaling of the raster of colours to reflectance",
    "--bounds": "Only this part",
    "--scale": "Scaling to reflectance",
    "--nodata": "Value of missing pixels",
    "--no-prior": "Use the land's usual colour at this place",
    "--uncertainty": "Add a band with the expected error",
    "--max-error": "Leave out what is expected to be further off (degrees)",
    "--device": "Device",
    "--chunk": "Chunk size in tiles of 64 pixels",
    "--co": "Creation options",
    "--output": "Natural colour",
}

EVALUATE: Labels = {
    "--bands": "True red, green and blue band",
    "--scale": "Scaling of the true colours to reflectance",
    "--error-map": "Angular error",
}

INFO: Labels = {option: COLORIZE[option] for option in ("--nir",)}

_SHORT = {"-o": "--output"}
# With what stands for the field's value, which the field itself asks for; a form of numbers tells
# more than it does. And with the folder of several results, of which a form has one.
_OPTION = re.compile(
    r"(?<![\w-])(--?[a-z][a-z-]*)(?![\w-])"
    r"( (?:NUMBER or NAME|NUMBER|NAME|VALUE|ASSET)(?!\w)| or --out-dir(?![\w-]))?"
)


def in_words_of_the_form(message: str, labels: Labels, option: str | None = None) -> str:
    """Replace options by the names of their fields.

    ``option`` is what the message is about. If the message does not name it, the field's name is
    put before it.
    """
    named = set()

    def label(match: re.Match[str]) -> str:
        found = _SHORT.get(match[1], match[1])
        if found not in labels:
            return match.group()
        named.add(found)
        return f"“{labels[found]}”"

    text = _OPTION.sub(label, message)
    if option is None or option not in labels or option in named:
        return text
    return f"{labels[option]}: {text}"
