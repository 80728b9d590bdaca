"""Make the pictures of the documentation with the project's own commands.

    python tools/make_pictures.py [FOLDER]     # docs/images

The scene is the one of examples/sample_scene.py; what runs is printed.
"""

from __future__ import annotations

import shlex
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import rasterio
from numpy.typing import NDArray
from PIL import Image
from usage import arguments

from nirgeo.radiometry import DisplayCurve

ROOT = Path(__file__).resolve().parents[1]
PART = (slice(240, 640), slice(80, 480))
"""Rows and columns shown: forest, fields and villages."""
GAP = 8

COMMANDS = """\
python {root}/examples/sample_scene.py
nirgeo colorize brandenburg_nir.tif --no-prior
nirgeo colorize brandenburg_cir.tif --model satellite-rgn-toa
nirgeo colorize brandenburg_nir.tif --no-prior -o guided.tif --reference coarse.tif
"""


def run(command: str, folder: Path) -> None:
    words = shlex.split(command.format(root=ROOT))
    print("$", command.replace("{root}/", ""))
    program = [sys.executable] if words[0] == "python" else [sys.executable, "-m", "nirgeo"]
    subprocess.run([*program, *words[1:]], cwd=folder, check=True, stderr=subprocess.DEVNULL)


def read(path: Path, *, size: int = 1) -> NDArray[np.uint8]:
    """The shown part as (height, width, 3); a scene's numbers go through nirgeo's curve."""
    with rasterio.open(path) as file:
        rows, cols = (slice(s.start // size, s.stop // size) for s in PART)
        values = file.read()[:, rows, cols]
    if values.dtype != np.uint8:
        values = DisplayCurve().apply(values.astype(np.float32) * np.float32(1e-4))
    picture = np.moveaxis(values if len(values) == 3 else np.repeat(values, 3, axis=0), 0, -1)
    return picture.repeat(size, axis=0).repeat(size, axis=1)


def coarsen(source: Path, target: Path, size: int = 16) -> None:
    """Mean over blocks of ``size`` pixels: what a coarser satellite would have seen."""
    with rasterio.open(source) as file:
        values = file.read().astype(np.float32)
        bands, height, width = values.shape
        blocks = values.reshape(bands, height // size, size, width // size, size)
        profile = file.profile | {"height": height // size, "width": width // size}
        profile["transform"] = file.transform @ rasterio.Affine.scale(size)
        with rasterio.open(target, "w", **profile) as out:
            out.write(np.rint(blocks.mean(axis=(2, 4))).astype(file.dtypes[0]))
            for number, text in enumerate(file.descriptions, start=1):
                out.set_band_description(number, text)


def beside(path: Path, *pictures: NDArray[np.uint8]) -> None:
    """Pictures from left to right, with a white gap, as a JPEG."""
    height, width = pictures[0].shape[:2]
    sheet = Image.new("RGB", ((width + GAP) * len(pictures) - GAP, height), "white")
    for number, picture in enumerate(pictures):
        sheet.paste(Image.fromarray(picture), (number * (width + GAP), 0))
    sheet.save(path, quality=88, optimize=True, subsampling=0)
    print(path.name)


def main() -> None:
    given = arguments(__doc__)
    out = Path(given[0]) if given else ROOT / "docs" / "images"
    out.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory() as name:
        folder = Path(name)
        first, *others = COMMANDS.splitlines()
        run(first, folder)
        coarsen(folder / "brandenburg_true.tif", folder / "coarse.tif")
        for command in others:
            run(command, folder)
        truth = read(folder / "brandenburg_true.tif")
        beside(
            out / "first-colour.jpg",
            read(folder / "brandenburg_nir.tif"),
            read(folder / "brandenburg_nir_rgb.tif"),
            truth,
        )
        beside(
            out / "missing-blue.jpg",
            read(folder / "brandenburg_cir.tif"),
            read(folder / "brandenburg_cir_rgb.tif"),
            truth,
        )
        beside(
            out / "reference.jpg",
            read(folder / "coarse.tif", size=16),
            read(folder / "guided.tif"),
            truth,
        )


if __name__ == "__main__":
    main()
