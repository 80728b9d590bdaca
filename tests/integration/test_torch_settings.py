"""What a program has set in torch is its own: the picture is the same, and so is all it has set."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from importlib.util import find_spec
from pathlib import Path
from textwrap import dedent
from typing import Any

import dask
import numpy as np
import pytest
import torch
import xarray as xr
from helpers import write_raster
from pictures import scene_values

import nirgeo
from nirgeo import networks
from nirgeo.runtimes import int8_trunk, onnx_session

WAYS = [("torch", "fp32"), ("torch", "int8")]
if find_spec("onnxruntime") is not None:
    WAYS += [("onnx", "fp32"), ("onnx", "int8")]


@contextmanager
def dtype(chosen: torch.dtype) -> Iterator[None]:
    torch.set_default_dtype(chosen)
    try:
        yield
    finally:
        torch.set_default_dtype(torch.float32)


@contextmanager
def device(name: str) -> Iterator[None]:
    torch.set_default_device(name)
    try:
        yield
    finally:
        torch.set_default_device(None)


SETTINGS: dict[str, Callable[[], AbstractContextManager[Any]]] = {
    "dtype float64": lambda: dtype(torch.float64),
    "dtype float16": lambda: dtype(torch.float16),
    "default device": lambda: device("meta"),
    "device": lambda: torch.device("meta"),
    "autocast": lambda: torch.autocast("cpu", torch.bfloat16),
    "inference mode": lambda: torch.inference_mode(),
}


@pytest.fixture
def scene(tmp_path: Path) -> xr.DataArray:
    return nirgeo.open_scene(write_raster(tmp_path / "scene.tif", scene_values(150, 130)))


@pytest.fixture(autouse=True)
def nothing_is_built(monkeypatch: pytest.MonkeyPatch) -> None:
    """Networks are built anew, under what is set just then, and none of them is kept."""
    for module, name in (
        (networks, "_networks"),
        (int8_trunk, "_trunks"),
        (onnx_session, "_sessions"),
    ):
        monkeypatch.setattr(module, name, type(getattr(module, name))(4))


def picture(scene: xr.DataArray, way: tuple[str, str]) -> Any:
    """Computed in this thread, where what is set holds."""
    runtime, precision = way
    with dask.config.set(scheduler="synchronous"):
        return nirgeo.colorize(
            scene, "satellite-nir", uncertainty=True, runtime=runtime, precision=precision
        ).values


@pytest.mark.parametrize("way", WAYS, ids="-".join)
@pytest.mark.parametrize("setting", SETTINGS)
def test_the_picture_is_the_same(scene: xr.DataArray, setting: str, way: tuple[str, str]) -> None:
    with SETTINGS[setting]():
        made = picture(scene, way)
    # What was built meanwhile serves afterwards.
    np.testing.assert_array_equal(made, picture(scene, way))
    assert made[:3].std() > 1


@pytest.mark.parametrize("way", WAYS, ids="-".join)
def test_random_numbers_are_the_caller_s(scene: xr.DataArray, way: tuple[str, str]) -> None:
    torch.manual_seed(1)
    expected = torch.rand(4)
    torch.manual_seed(1)
    picture(scene, way)
    assert torch.equal(torch.rand(4), expected)


def test_torch_s_compiler_stays_unloaded(tmp_path: Path) -> None:
    """It takes as long to load as all the rest, and every run would."""
    path = str(write_raster(tmp_path / "s.tif", scene_values(70, 66)))
    code = f"""
        import sys, nirgeo
        nirgeo.colorize(nirgeo.open_scene({path!r}), uncertainty=True).values
        assert "torch" in sys.modules
        assert {{"torch._dynamo", "sympy"}}.isdisjoint(sys.modules)
    """
    done = subprocess.run(
        [sys.executable, "-c", dedent(code)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
