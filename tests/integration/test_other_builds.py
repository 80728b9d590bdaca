"""Other builds of torch, and other processors: their kernels round differently, by one level.

There is one torch here, so kernels that it would not choose stand in for what others have: those
for processors without AVX, and those without oneDNN, as in builds for other architectures.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from nirgeo.registry import shipped_models

TESTS = Path(__file__).parents[1]
NAMES = sorted(model.full_name for model in shipped_models())
BUILDS = {
    "without AVX": {"ATEN_CPU_CAPABILITY": "default", "ONEDNN_MAX_CPU_ISA": "SSE41"},
    "without oneDNN": {"ATEN_CPU_CAPABILITY": "default", "WITHOUT_ONEDNN": "1"},
}

PAINT = """
import os, sys
import numpy as np, torch, xarray as xr
import nirgeo
from pictures import reflectance
from nirgeo.radiometry import Quantity
from nirgeo.scaling import Scaling
from nirgeo.registry import load_model
torch.backends.mkldnn.enabled = "WITHOUT_ONEDNN" not in os.environ
found = {}
for name in sys.argv[2:]:
    model = load_model(name)
    counts = model.spec.quantity is Quantity.COUNTS
    scaling = Scaling(model.spec.quantity, 1.0, 0.0, "test")
    bands = np.stack([reflectance(150, 130, seed) for seed in range(len(model.spec.bands))])
    values = xr.DataArray(
        (bands * (255 if counts else 1)).astype(np.float32),
        dims=("band", "y", "x"), coords={"band": list(model.spec.bands)},
    )
    kinds = ("display",) if counts else ("display", "reflectance")
    for kind in kinds:
        rgb = nirgeo.colorize(values, model, scale=scaling, output=kind)
        found[f"{name} {kind}"] = rgb.values
np.savez(sys.argv[1], **found)
"""


def pictures_of(folder: Path, env: dict[str, str]) -> dict[str, NDArray[np.generic]]:
    paths = os.pathsep.join((str(TESTS), str(TESTS / "integration")))
    subprocess.run(
        [sys.executable, "-c", PAINT, str(folder / "found.npz"), *NAMES],
        env={**os.environ, "PYTHONPATH": paths, **env},
        check=True,
    )
    with np.load(folder / "found.npz") as file:
        return {name: file[name] for name in file.files}


@pytest.fixture(scope="module")
def here(tmp_path_factory: pytest.TempPathFactory) -> dict[str, NDArray[np.generic]]:
    return pictures_of(tmp_path_factory.mktemp("here"), {})


@pytest.mark.parametrize("build", BUILDS)
def test_pictures_differ_by_one_level_at_most(
    tmp_path: Path, here: dict[str, NDArray[np.generic]], build: str
) -> None:
    there = pictures_of(tmp_path, BUILDS[build])
    assert set(there) == set(here) >= {f"{name} display" for name in NAMES}
    for name, picture in there.items():
        if name.endswith("display"):
            change = np.abs(picture.astype(int) - here[name].astype(int))
            assert change.max() <= 1, name
            assert (change > 0).mean() < 1e-3, name
        else:
            np.testing.assert_allclose(picture, here[name], atol=1e-5)
    # Or the same kernels were asked twice.
    assert any((picture != here[name]).any() for name, picture in there.items())
