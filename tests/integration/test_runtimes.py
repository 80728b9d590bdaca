"""ONNX Runtime in place of torch: the same picture but for a level, and the same law of tiling."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
import torch
import xarray as xr
from helpers import WHY_NO_8_BITS, needs_8_bits, random_model, write_raster
from numpy.typing import NDArray
from pictures import painting_model, punch_holes, read, scene_values, whole_picture
from safetensors.numpy import save_file

import nirgeo
from nirgeo import garbage, heap, idle_threads, registry
from nirgeo.encoder_decoder import EncoderDecoder, EncoderDecoderConfig
from nirgeo.engine import colouriser_of
from nirgeo.errors import ModelError, OptionError, ResumeError
from nirgeo.inference import run_network
from nirgeo.modelfile import Model, read_model
from nirgeo.networks import load_generator, network
from nirgeo.radiometry import Quantity
from nirgeo.registry import load_model, shipped_models
from nirgeo.runtimes import choice, int8
from nirgeo.runtimes.activation_ranges import Watch, best_range
from nirgeo.runtimes.choice import FP32, INT8, ONNX, TORCH, Runtime, choose_runtime
from nirgeo.runtimes.onnx_export import onnx_graph

SCALE = "0.0001"
SHIPPED = sorted({model.full_name for model in shipped_models()})


def with_ranges(model: Model, values: NDArray[Any]) -> Model:
    """Give a model a file of ranges, measured on these values."""
    watch = Watch(network(model))  # type: ignore[arg-type]
    watch.see(values, np.ones(values.shape[1:], dtype=np.bool_), None)
    int8.write_ranges(model, watch.ranges(), {})
    return model


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Model:
    """The shape of the shipped models, with ranges."""
    folder = tmp_path_factory.mktemp("quantised")
    made = painting_model(folder, name="both", seed=21, width=64, depth=8)
    values = np.sqrt(scene_values(256, 256) / np.float32(10_000)).astype(np.float32)
    return with_ranges(made, values[None])


@pytest.fixture
def scene(tmp_path: Path) -> tuple[Path, NDArray[np.uint16], NDArray[np.bool_]]:
    values, valid = scene_values(301, 205), punch_holes(301, 205)
    values[~valid] = 0
    return write_raster(tmp_path / "scene.tif", values, nodata=0), values, valid


def test_fp32_is_torchs_picture_within_a_level(
    scene: tuple[Path, NDArray[np.uint16], NDArray[np.bool_]], model: Model
) -> None:
    path, values, valid = scene
    reference = whole_picture(values[None], valid, model)
    rgb = nirgeo.colorize(nirgeo.open_scene(path, scale=SCALE), model, runtime="onnx").compute()
    levels = np.abs(rgb.values.astype(int) - reference.astype(int))
    assert levels.max() <= 1
    assert (levels > 0).mean() < 1e-3
    np.testing.assert_array_equal(rgb["valid"].values, valid)


@pytest.mark.parametrize(
    ("runtime", "precision"),
    [(ONNX, FP32), (ONNX, INT8), pytest.param(TORCH, INT8, marks=needs_8_bits)],
)
def test_every_chunk_size_and_worker_gives_the_same_bits(
    scene: tuple[Path, NDArray[np.uint16], NDArray[np.bool_]],
    model: Model,
    runtime: str,
    precision: str,
    tmp_path: Path,
) -> None:
    path, _, _ = scene
    pictures = []
    for chunk, workers in ((16, 1), (1, 2), (3, 1), (3, 2)):
        lazy = nirgeo.open_scene(path, chunk=chunk, scale=SCALE)
        rgb = nirgeo.colorize(
            lazy, model, runtime=runtime, precision=precision, output="reflectance"
        )
        target = tmp_path / f"{chunk}-{workers}.tif"
        nirgeo.write_geotiff(rgb, target, workers=workers)
        pictures.append(read(target)[0])
    assert np.nanstd(pictures[0]) > 0.02
    for picture in pictures[1:]:
        np.testing.assert_array_equal(picture, pictures[0])


def test_int8_computes_what_torch_says_it_should(tmp_path: Path) -> None:
    # One block: through many with random weights, one number rounded otherwise changes everything.
    shallow = painting_model(tmp_path, name="shallow", seed=5, width=64, depth=1)
    values = np.sqrt(scene_values(300, 204) / np.float32(10_000)).astype(np.float32)[None]
    mask = punch_holes(300, 204)
    inputs = np.where(mask, values, np.float32(0))
    with_ranges(shallow, inputs)
    fast = run_network(inputs, mask, shallow, "cpu", None, Runtime(ONNX, INT8))
    rounding = int8.in_8_bits(load_generator(shallow), int8.read_ranges(shallow))
    with torch.inference_mode():
        slow = rounding(torch.from_numpy(inputs)[None], torch.from_numpy(mask)[None, None].float())
    off = np.abs(fast - slow[0].numpy())
    cost = np.abs(fast - run_network(inputs, mask, shallow))
    assert off.mean() < 0.2 * cost.mean()
    assert 1e-5 < cost.mean() < 0.02  # it is rounded, and still the same picture


def test_what_a_hint_does_to_the_expected_error_is_the_same_in_every_runtime(
    tmp_path: Path,
) -> None:
    shape = {"expects_error": True, "weighs_hint": True}
    model = painting_model(tmp_path, name="weighs", seed=5, width=16, depth=1, shape=shape)
    values = np.sqrt(scene_values(192, 160) / np.float32(10_000)).astype(np.float32)[None]
    valid = np.ones((192, 160), dtype=np.bool_)
    hint = np.tile(np.array([0.1, -0.1, 0.3], np.float32)[:, None, None], (1, 48, 40))
    hint[:, :, :20] = 0
    target = (slice(64, 128), slice(0, 160))
    for field in (hint, None):
        torchs, onnxs = (
            run_network(
                values, valid, model, "cpu", field, runtime, target=target, expect_error=True
            )
            for runtime in (Runtime(TORCH), Runtime(ONNX))
        )
        np.testing.assert_allclose(onnxs[-1], torchs[-1], rtol=1e-3)
        if field is not None:
            known, unknown = torchs[-1][:, 90:].mean(), torchs[-1][:, :70].mean()
            assert known < 0.8 * unknown


@pytest.mark.parametrize("name", SHIPPED)
def test_shipped_models_run_in_every_runtime(name: str) -> None:
    model = load_model(name)
    assert isinstance(model, Model)
    bands = len(model.spec.bands)
    values = np.stack([scene_values(192, 160, seed=k) for k in range(bands)]) / np.float32(10_000)
    inputs, valid = np.sqrt(values).astype(np.float32), np.ones((192, 160), dtype=np.bool_)
    hint = np.tile(np.array([0.3, -0.4, 0.7], np.float32)[:, None, None], (1, 48, 40))
    if model.spec.tones is None:
        hint[:] = 0
    reference = run_network(inputs, valid, model, "cpu", hint)
    fp32 = run_network(inputs, valid, model, "cpu", hint, Runtime(ONNX))
    assert np.abs(fp32 - reference).max() < 0.1 / 255
    for runtime in (ONNX, TORCH) if not WHY_NO_8_BITS else (ONNX,):
        eight = run_network(inputs, valid, model, "cpu", hint, Runtime(runtime, INT8))
        # Texture unlike any place: only that nothing is badly off. docs/performance has the price.
        assert 0 < np.abs(eight - reference).mean() < 4 / 255


def test_the_networks_of_the_literature_can_be_exported() -> None:
    import onnxruntime

    net = EncoderDecoder(EncoderDecoderConfig(levels=2, width=8, skips=True)).eval()
    session = onnxruntime.InferenceSession(onnx_graph(net), providers=["CPUExecutionProvider"])
    x = torch.rand(1, 1, 64, 96)
    with torch.inference_mode():
        reference = net(x, torch.ones_like(x)).numpy()
    (found,) = session.run(None, {"x": x.numpy()})
    np.testing.assert_allclose(found, reference, atol=1e-5)


def test_several_bands(tmp_path: Path) -> None:
    model = random_model(tmp_path, bands=("red", "green", "nir"), width=16, depth=2)
    inputs = np.random.default_rng(0).random((3, 64, 96), dtype=np.float32)
    valid = inputs[0] > 0.1
    reference = run_network(inputs, valid, model)
    found = run_network(inputs, valid, model, "cpu", None, Runtime(ONNX))
    np.testing.assert_allclose(found, reference, atol=2e-5)


class TestChoice:
    def test_auto_is_the_fastest_that_was_measured(self) -> None:
        assert choose_runtime("auto") == Runtime()
        assert choose_runtime("auto", device="cuda:0") == Runtime()
        assert choose_runtime("auto", "int8") == Runtime(TORCH, INT8)
        assert choose_runtime("onnx", "int8") == Runtime(ONNX, INT8)

    def test_a_program_gets_the_reference_unless_it_asks(self) -> None:
        assert choose_runtime() == Runtime("torch", "fp32")

    @pytest.mark.parametrize(
        ("options", "said"),
        [
            ({"runtime": "tvm"}, "tvm"),
            ({"precision": "int4"}, "int4"),
            ({"runtime": "onnx", "device": "cuda"}, "--device cuda"),
            ({"precision": "int8", "device": "cuda"}, "--precision int8 is for the CPU"),
        ],
    )
    def test_what_there_is_not(self, options: dict[str, str], said: str) -> None:
        with pytest.raises(OptionError, match=said):
            choose_runtime(**options)

    def test_without_the_extra(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(choice, "find_spec", lambda name: None)
        with pytest.raises(OptionError, match=r"pip install 'nirgeo\[onnx\]'"):
            choose_runtime("onnx")


def test_tags_and_resume_know_the_runtime(
    scene: tuple[Path, NDArray[np.uint16], NDArray[np.bool_]], model: Model, tmp_path: Path
) -> None:
    path, _, _ = scene
    lazy = nirgeo.open_scene(path, chunk=1, scale=SCALE)
    target = tmp_path / "out.tif"

    def stop(done: int, total: int) -> None:
        if done == 2:
            raise KeyboardInterrupt

    rgb = nirgeo.colorize(lazy, model, runtime="onnx")
    with pytest.raises(KeyboardInterrupt):
        nirgeo.write_geotiff(rgb, target, resume=True, workers=1, on_progress=stop)
    with pytest.raises(ResumeError, match="runtime"):
        nirgeo.write_geotiff(nirgeo.colorize(lazy, model), target, resume=True)
    nirgeo.write_geotiff(rgb, target, resume=True)
    with rasterio.open(target) as file:
        assert file.tags(ns="NIRGEO")["RUNTIME"] == "ONNX Runtime"
        assert file.tags(ns="NIRGEO")["PRECISION"] == "fp32"


@needs_8_bits
def test_8_bits_need_no_extra_and_say_so(
    scene: tuple[Path, NDArray[np.uint16], NDArray[np.bool_]],
    model: Model,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(choice, "find_spec", lambda name: None)
    path, values, valid = scene
    reference = whole_picture(values[None], valid, model)
    rgb = nirgeo.colorize(nirgeo.open_scene(path, scale=SCALE), model, precision="int8")
    nirgeo.write_geotiff(rgb, tmp_path / "out.tif")
    with rasterio.open(tmp_path / "out.tif") as file:
        assert file.tags(ns="NIRGEO")["PRECISION"] == "int8"
        assert "RUNTIME" not in file.tags(ns="NIRGEO")
        found = file.read()
    levels = np.abs(found.astype(int) - reference.astype(int))[:, valid]
    assert 0 < levels.mean() < 4


class TestRanges:
    def test_a_model_without(self, tiny: Model) -> None:
        values = xr.DataArray(np.ones((64, 64), dtype=np.float32), dims=("y", "x"))
        with pytest.raises(OptionError, match="make_int8"):
            nirgeo.colorize(values, tiny, scale="1", runtime="auto", precision="int8")

    @pytest.mark.parametrize(
        ("tensors", "sha", "said"),
        [
            ({"stem:input": [0.0, 1.0]}, "other", "other weights"),
            ({"stem:input": [1.0, 0.0]}, None, "no range"),
            ({"stem:input": [0.0, np.nan]}, None, "no range"),
            ({"stem:input": [0.0, 1.0, 2.0]}, None, "pair"),
        ],
    )
    def test_a_damaged_file(
        self, tmp_path: Path, tensors: dict[str, Any], sha: str | None, said: str
    ) -> None:
        model = random_model(tmp_path)
        facts = {"format": 1, "model_sha256": sha or model.sha256}
        save_file(
            {name: np.array(v, dtype=np.float32) for name, v in tensors.items()},
            int8.ranges_path(model),
            metadata={int8.METADATA_KEY: json.dumps(facts)},
        )
        with pytest.raises(ModelError, match=said):
            int8.read_ranges(model)

    def test_a_file_that_is_none(self, tmp_path: Path) -> None:
        model = random_model(tmp_path)
        int8.ranges_path(model).write_bytes(b"nonsense")
        with pytest.raises(ModelError, match="not a readable"):
            int8.read_ranges(model)

    def test_those_of_a_shipped_model_are_the_ones_that_the_registry_lists(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        shutil.copytree(registry._weights_folder(), tmp_path / "weights")
        monkeypatch.setattr(registry, "_weights_folder", lambda: tmp_path / "weights")
        model = registry.load_model("aerial-nir")
        assert isinstance(model, Model)
        places = dict(int8.read_ranges(model).places)
        name = next(iter(places))
        places[name] = (2 * places[name][0], 2 * places[name][1])
        int8.write_ranges(model, int8.Ranges(places), {})  # sound, and of these weights
        with pytest.raises(ModelError, match=r"its sha256 is .*reinstall nirgeo"):
            int8.read_ranges(model)
        values = xr.DataArray(np.ones((64, 64), dtype=np.float32), dims=("y", "x"))
        with pytest.raises(ModelError, match="reinstall nirgeo"):
            nirgeo.colorize(values, model, scale="1", precision="int8")
        # Elsewhere it is a file of its owner's.
        own = shutil.copy(model.path, tmp_path)
        shutil.copy(int8.ranges_path(model), tmp_path)
        assert int8.read_ranges(read_model(own)).places == places

    def test_on_a_machine_where_the_package_lies_elsewhere(self) -> None:
        model = registry.load_model("aerial-nir")
        assert isinstance(model, Model)
        elsewhere = replace(model, path="/nowhere/aerial-nir.safetensors")
        assert int8.read_ranges(elsewhere) == int8.read_ranges(model)
        assert int8.ranges_sha256(elsewhere) == int8.ranges_sha256(model)

    @pytest.mark.parametrize("name", SHIPPED)
    def test_shipped_ones_are_of_every_convolution_of_the_trunk(self, name: str) -> None:
        model = load_model(name)
        assert isinstance(model, Model)
        places = int8.read_ranges(model).places
        depth = model.spec.generator["depth"]
        blocks = [f"blocks.{k}.{conv}" for k in range(depth) for conv in ("spatial", "pointwise")]
        assert {f"{conv}:input" for conv in ("stem", *blocks)} <= set(places)

    def test_ranges_of_no_layer(self, tmp_path: Path) -> None:
        net = load_generator(random_model(tmp_path))
        with pytest.raises(ModelError, match="nowhere"):
            int8.in_8_bits(net, int8.Ranges({"nowhere:input": (0.0, 1.0)}))

    def test_the_best_range_clips_what_is_rare(self) -> None:
        values = np.random.default_rng(0).laplace(0, 1, 400_000).astype(np.float32)
        low, high = best_range(values)
        assert 5 < high < 0.95 * values.max()
        assert 0.95 * values.min() < low < -5
        assert best_range(np.zeros(4, np.float32)) == (0.0, 1.0)


def test_only_the_command_changes_the_heap() -> None:
    code = (
        "import nirgeo.cli.main as m, nirgeo.heap as h, nirgeo.engine\n"
        "m.keep_freed_memory = lambda: print('command')\n"
        "m.main(['models', '--json'], standalone_mode=False)\n"
        "print('program')\nimport sys\nsys.argv = ['nirgeo', '--version']\nm.command()"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split("program")[0].count("command") == 0
    assert done.stdout.split("program")[1].strip().startswith("command")


def test_the_command_looks_for_cycles_seldom_and_a_program_as_it_likes() -> None:
    code = (
        "import gc, sys\nprint(*gc.get_threshold())\nimport nirgeo, nirgeo.cli.main as m\n"
        "m.main(['models', '--json'], standalone_mode=False)\n"
        "print()\nprint(*gc.get_threshold())\nsys.argv = ['nirgeo', '--version']\n"
        "try:\n    m.command()\nfinally:\n    print(*gc.get_threshold(), gc.isenabled())"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    usual, *_, program, _, command = done.stdout.splitlines()
    assert program == usual
    assert command.split() == [str(garbage.NEW_OBJECTS), *usual.split()[1:], "True"]


@pytest.mark.parametrize("name", ["OMP_WAIT_POLICY", "GOMP_SPINCOUNT", None])
def test_threads_of_the_command_fall_asleep_soon(name: str | None) -> None:
    own = {key: value for key, value in os.environ.items() if key not in idle_threads.USERS_OWN}
    code = (
        "import os, sys, nirgeo.cli.main as m, nirgeo.engine\n"
        "assert 'torch' not in sys.modules\n"
        "m.main(['models', '--json'], standalone_mode=False)\n"
        "print('program', os.environ.get('GOMP_SPINCOUNT'))\nsys.argv = ['nirgeo', '--version']\n"
        "try:\n    m.command()\nfinally:\n    print('command', os.environ.get('GOMP_SPINCOUNT'))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        env=own if name is None else own | {name: "7"},
        capture_output=True,
        text=True,
        check=True,
    )
    users = "7" if name == "GOMP_SPINCOUNT" else "None"
    assert f"program {users}\n" in done.stdout
    assert f"command {'10000' if name is None else users}\n" in done.stdout


def test_a_users_own_allocator_settings_win(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MALLOC_ARENA_MAX", "2")
    assert heap.keep_freed_memory() is False


def test_reading_ranges_back(tmp_path: Path) -> None:
    model = random_model(tmp_path)
    ranges = int8.Ranges({"stem:input": (-0.5, 1.25)})
    int8.write_ranges(model, ranges, {"how": "test"})
    assert int8.read_ranges(read_model(model.path)) == ranges


@needs_8_bits
def test_one_processor_is_the_processor() -> None:
    model = load_model("satellite-nir")
    one, other = (colouriser_of(model, device=d, precision="int8") for d in ("cpu", "cpu:0"))
    assert one == other


@pytest.mark.parametrize("option", [{"runtime": "onnx"}, {"precision": "int8"}], ids=str)
def test_a_baseline_has_no_other_runtime(option: dict[str, str]) -> None:
    with pytest.raises(OptionError, match="is no network"):
        colouriser_of(load_model("baseline/grey", Quantity.REFLECTANCE), **option)
