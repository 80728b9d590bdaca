"""Runs on a real GPU: the CPU's picture but for a level, whatever the chunks, workers and memory.

Skipped where torch sees no CUDA device. See ``cuda_device.py`` for how to try the tests without.
"""

from __future__ import annotations

import json
import os
import signal
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
import torch
from cuda_device import (
    DEVICE,
    MISSING,
    PRELUDE,
    REAL,
    STAND_IN,
    Gated,
    accelerator,
    assert_a_level_apart,
    block,
    facts,
    install,
    pixels_of,
    room_for,
    write,
)
from distributed import Client, LocalCluster
from evaluation_scenes import ground, shifted_place, write_scene
from helpers import NORTH_UP_10M, write_raster
from pictures import command, process, punch_holes, scene_values, start

from nirgeo import cluster, lane, lanes, networks
from nirgeo.accelerator import Accelerator, exact_convolutions
from nirgeo.errors import DeviceMemoryError
from nirgeo.inference import run_network
from nirgeo.lane import Lane
from nirgeo.modelfile import Model
from nirgeo.radiometry import Quantity
from nirgeo.registry import load_model, shipped_models
from nirgeo.runtimes.choice import FP16
from nirgeo.training.checkpoint import read_facts
from nirgeo.training.loop import CHECKPOINT

pytestmark = pytest.mark.skipif(
    MISSING,
    reason=f"torch sees no {DEVICE} here; NIRGEO_TEST_DEVICE={STAND_IN} tries the tests without",
)

SHIPPED = sorted({model.full_name for model in shipped_models()})
SIDES = (901, 1013) if REAL else (411, 373)  # 16 bits take a processor long


@pytest.fixture(autouse=True)
def gpu(monkeypatch: pytest.MonkeyPatch) -> str:
    """The device, with a lane of its own: none that another test has halved."""
    monkeypatch.setattr(lanes, "_lanes", {})
    install()
    return DEVICE


@pytest.fixture(scope="module")
def scenes(tmp_path_factory: pytest.TempPathFactory) -> dict[Quantity, Path]:
    """Near infrared, red and green with a nodata border and holes, in Lombardy."""
    folder = tmp_path_factory.mktemp("scenes")
    valid = punch_holes(*SIDES)
    made = {}
    for quantity, dtype in ((Quantity.REFLECTANCE, "uint16"), (Quantity.COUNTS, "uint8")):
        values = np.stack([scene_values(*SIDES, dtype, seed=seed) for seed in range(3)])
        values[:, ~valid] = 0
        path = folder / f"{quantity.value}.tif"
        names = ("nir", "red", "green")
        made[quantity] = write_raster(path, values, nodata=0, descriptions=names, tiled=True)
    return made


def scale_of(model: Model) -> str | None:
    return "0.0001" if model.spec.quantity is Quantity.REFLECTANCE else None


# --- one picture ----------------------------------------------------------------------------------


@pytest.mark.parametrize("name", SHIPPED)
def test_every_shipped_model_makes_the_cpus_picture(
    name: str, gpu: str, scenes: dict[Quantity, Path], tmp_path: Path
) -> None:
    model = load_model(name)
    assert isinstance(model, Model)
    scene, scale = scenes[model.spec.quantity], scale_of(model)
    here = write(scene, tmp_path / "here.tif", model, "cpu", scale=scale)
    there = write(scene, tmp_path / "there.tif", model, gpu, scale=scale)
    assert facts(there) == facts(here)
    (expected, valid), (found, mask) = pixels_of(here), pixels_of(there)
    np.testing.assert_array_equal(mask, valid)
    assert 0.5 < valid.mean() < 0.99
    assert (found[:, ~valid] == 0).all()
    assert found[:, valid].std() > 5
    assert_a_level_apart(found, expected)
    for number, colour in enumerate(model.spec.colours):
        if colour not in model.spec.made:
            np.testing.assert_array_equal(found[number], expected[number], err_msg=colour)


@pytest.mark.parametrize("name", SHIPPED)
def test_a_trunk_in_half_precision(
    name: str, gpu: str, scenes: dict[Quantity, Path], tmp_path: Path
) -> None:
    """On made-up texture; what it costs on real scenes is published in docs/performance.md."""
    model = load_model(name)
    assert isinstance(model, Model)
    scene, scale = scenes[model.spec.quantity], scale_of(model)
    exact = write(scene, tmp_path / "exact.tif", model, gpu, scale=scale)
    half = write(scene, tmp_path / "half.tif", model, gpu, scale=scale, precision=FP16)
    assert facts(half)["tags"] == facts(exact)["tags"] | {"PRECISION": "fp16"}
    (expected, valid), (found, mask) = pixels_of(exact), pixels_of(half)
    np.testing.assert_array_equal(mask, valid)
    off = np.abs(found.astype(int) - expected.astype(int))[:, valid]
    said = f"mean {off.mean():.4f}, farthest {off.max()} levels"
    assert 0 < off.mean() < 0.2, said
    assert off.max() <= 4, said


@pytest.mark.parametrize(
    ("precision", "model_name"), [("fp32", "satellite-nir"), ("fp16", "aerial-nir")]
)
def test_chunks_and_workers(
    precision: str, model_name: str, gpu: str, scenes: dict[Quantity, Path], tmp_path: Path
) -> None:
    """Batches are put together as blocks come, so that other kernels may run: a level, rarely."""
    model = load_model(model_name)
    assert isinstance(model, Model)
    scene = scenes[model.spec.quantity]
    options: dict[str, Any] = {"scale": scale_of(model), "precision": precision}
    pictures = []
    for chunk, workers in ((16, 1), (5, 4), (2, 16), (3, None)):
        target = tmp_path / f"{chunk}.tif"
        write(scene, target, model, gpu, chunk=chunk, workers=workers, **options)
        pictures.append(pixels_of(target))
    for picture, mask in pictures[1:]:
        np.testing.assert_array_equal(mask, pictures[0][1])
        if precision == "fp32":
            assert_a_level_apart(picture, pictures[0][0])
            continue
        # In 16 bits the order of sums decides steps a thousand times as large.
        off = np.abs(picture.astype(int) - pictures[0][0].astype(int))
        said = f"mean {off.mean():.4f}, farthest {off.max()} levels"
        assert off.mean() < 0.1, said
        assert off.max() <= 4, said


def test_one_worker_makes_the_same_bytes_every_time(
    gpu: str, scenes: dict[Quantity, Path], tmp_path: Path
) -> None:
    """Batches are of one then, so there is nothing that could differ."""
    once, again = (
        write(scenes[Quantity.COUNTS], tmp_path / name, "aerial-nir", gpu, workers=1).read_bytes()
        for name in ("once.tif", "again.tif")
    )
    assert once == again


@pytest.mark.parametrize(
    "options",
    [
        {"prior": False},
        {"uncertainty": True},
        {"output": "reflectance"},
        {"brightness": 1.5, "gamma": 1.2},
    ],
    ids=lambda options: next(iter(options)),
)
def test_options(
    options: dict[str, Any], gpu: str, scenes: dict[Quantity, Path], tmp_path: Path
) -> None:
    scene = scenes[Quantity.REFLECTANCE]
    parts = []
    for device in ("cpu", gpu):
        target = tmp_path / f"{device}.tif"
        write(scene, target, "satellite-nir", device, scale="0.0001", **options)
        parts.append((facts(target), *pixels_of(target)))
    (here, expected, valid), (there, found, mask) = parts
    np.testing.assert_array_equal(mask, valid)
    if "output" in options:
        np.testing.assert_array_equal(np.isnan(found), np.isnan(expected))
        assert np.nanmax(np.abs(found - expected)) < 1e-5
        assert str(here.pop("profile")) == str(there.pop("profile"))  # its nodata is NaN
    else:
        assert_a_level_apart(found, expected, SHARE_OF_A_BRIGHTER_PICTURE)
    assert here == there


SHARE_OF_A_BRIGHTER_PICTURE = 150e-6
"""A curve that is steeper by a half has its steps closer together."""


def test_a_mask_from_the_expected_error(
    gpu: str, scenes: dict[Quantity, Path], tmp_path: Path
) -> None:
    masks = []
    for device in ("cpu", gpu):
        target = tmp_path / f"{device}.tif"
        write(scenes[Quantity.REFLECTANCE], target, "satellite-nir", device, scale="0.0001",
              max_error=12.0)  # fmt: skip
        masks.append(pixels_of(target)[1])
    assert 0.01 < masks[0].mean() < 0.99
    differ = (masks[0] != masks[1]).mean()
    assert differ <= 100e-6, f"{differ * 1e6:.1f} of a million pixels are masked on one side only"


@pytest.mark.parametrize("name", ["satellite-nir", "satellite-rgn"])
def test_colours_of_a_reference(
    name: str, gpu: str, scenes: dict[Quantity, Path], tmp_path: Path
) -> None:
    """Its hint goes through the network, and with green measured so does what has changed."""
    colours = np.random.default_rng(7).integers(30, 200, (3, 100, 110)).astype(np.uint8)
    reference = write_raster(
        tmp_path / "reference.tif",
        colours,
        descriptions=("red", "green", "blue"),
        transform=NORTH_UP_10M @ rasterio.Affine.scale(10),
    )
    pictures = []
    for device in ("cpu", gpu):
        target = tmp_path / f"{device}.tif"
        write(scenes[Quantity.REFLECTANCE], target, name, device, scale="0.0001",
              reference=str(reference))  # fmt: skip
        pictures.append(pixels_of(target)[0])
    assert_a_level_apart(*pictures)


# --- precision ------------------------------------------------------------------------------------


@pytest.fixture
def restored() -> Iterator[None]:
    """What a test sets for the whole process."""
    matmul, old = torch.get_float32_matmul_precision(), torch.backends.cudnn.allow_tf32
    yield
    # In this order: the old switch sets the new ones, and can't be read while those disagree.
    if hasattr(torch.backends.cudnn, "conv"):
        torch.backends.fp32_precision = "none"
        torch.backends.cudnn.fp32_precision = "none"
    torch.backends.cudnn.allow_tf32 = old
    torch.set_float32_matmul_precision(matmul)


def _everything_in_tf32() -> None:
    torch.backends.fp32_precision = "tf32"


def _old_switches() -> None:
    torch.backends.cudnn.allow_tf32 = True
    torch.set_float32_matmul_precision("medium")


def _only_convolutions() -> None:
    torch.backends.cudnn.conv.fp32_precision = "ieee"


@pytest.mark.parametrize("wanted", [_everything_in_tf32, _old_switches, _only_convolutions])
@pytest.mark.usefixtures("restored")
def test_32_bits_are_32_bits_whatever_the_program_has_set(wanted: Any) -> None:
    if not hasattr(torch.backends.cudnn, "conv") and wanted is not _old_switches:
        pytest.skip("this torch has only the old switches")
    wanted()
    conv = getattr(torch.backends.cudnn, "conv", None)
    before = None if conv is None else conv.fp32_precision
    model = load_model("aerial-nir")
    assert isinstance(model, Model)
    one = block(model, 3, 320)
    expected = run_network(one.inputs, one.valid, model)
    off = np.abs(Lane(accelerator()).run(one) - expected).max()
    assert off < 3e-5, f"{off:.2g} in working space; 10 bits of TF32 would make about a thousandth"
    assert before == (None if conv is None else conv.fp32_precision)


def test_two_lanes_at_once_keep_their_precision() -> None:
    """The settings are the process's: who leaves first must not take them from the other."""
    model = load_model("aerial-nir")
    assert isinstance(model, Model)
    blocks = [block(model, seed, 192) for seed in range(12)]
    ways = [Lane(accelerator()), Lane(accelerator())]
    before = torch.backends.cudnn.deterministic
    with ThreadPoolExecutor(12) as pool:
        answers = [pool.submit(ways[k % 2].run, one) for k, one in enumerate(blocks)]
        found = [answer.result() for answer in answers]
    for one, result in zip(blocks, found, strict=True):
        off = np.abs(result - run_network(one.inputs, one.valid, model)).max()
        assert off < 3e-5, f"{off:.2g}"
    assert torch.backends.cudnn.deterministic == before


def test_settings_are_put_back_when_work_fails() -> None:
    before = torch.backends.cudnn.deterministic

    def fail() -> None:
        with exact_convolutions():
            assert torch.backends.cudnn.deterministic
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    assert torch.backends.cudnn.deterministic == before


def test_half_precision_really_computes_in_16_bits() -> None:
    model = load_model("aerial-nir")
    assert isinstance(model, Model)
    one, half = block(model, 3, 320), block(model, 3, 320, half=True)
    way = Lane(accelerator())
    assert 1e-5 < np.abs(way.run(one) - way.run(half)).max() < 0.05


# --- memory ---------------------------------------------------------------------------------------


def test_too_little_memory_halves_batches_and_makes_the_same() -> None:
    model = load_model("satellite-nir")
    assert isinstance(model, Model)
    side = 512
    blocks = [block(model, seed, side) for seed in range(12)]
    usual = Lane(accelerator())
    expected = [usual.run(one) for one in blocks]
    gate = threading.Event()
    device = Gated(gate)
    way = Lane(device, batch=8)
    with room_for(5 * side * side, model), ThreadPoolExecutor(len(blocks)) as pool:
        answers = [pool.submit(way.run, one) for one in blocks]
        time.sleep(0.3)
        gate.set()
        found = [answer.result(60) for answer in answers]
    assert way.counts.halvings >= 1
    assert way.batch < 8
    assert sum(device.batches) == len(blocks)
    for one, result in zip(expected, found, strict=True):
        np.testing.assert_allclose(result, one, atol=3e-6)
    assert way.run(blocks[0]).shape == expected[0].shape  # and goes on


@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Eight by eight chunks of four tiles: enough of one shape for a batch."""
    path = tmp_path_factory.mktemp("large") / "scene.tif"
    return write_raster(path, scene_values(2048, 2048), tiled=True)


def test_a_run_in_little_memory(gpu: str, large: Path, tmp_path: Path) -> None:
    model = load_model("satellite-nir")
    assert isinstance(model, Model)
    write(large, tmp_path / "usual.tif", model, gpu, scale="0.0001", chunk=4)
    gate = threading.Event()
    lanes._lanes[gpu] = Lane(Gated(gate))
    opener = threading.Timer(1.0, gate.set)
    with room_for(4 * 336 * 336, model):
        opener.start()
        write(large, tmp_path / "little.tif", model, gpu, scale="0.0001", chunk=4, workers=24)
    assert lanes._lanes[gpu].counts.halvings >= 1
    assert facts(tmp_path / "little.tif") == facts(tmp_path / "usual.tif")
    found, expected = (pixels_of(tmp_path / f"{name}.tif") for name in ("little", "usual"))
    np.testing.assert_array_equal(found[1], expected[1])
    assert_a_level_apart(found[0], expected[0])


def test_a_block_that_does_not_fit_is_one_line(gpu: str, large: Path, tmp_path: Path) -> None:
    model = load_model("satellite-nir")
    assert isinstance(model, Model)
    options = ("--scale", "0.0001", "--device", gpu, "--chunk", 32, "--workers", 1)
    with room_for(2 * 700 * 700, model):
        target = tmp_path / "rgb.tif"
        done = command("colorize", large, *options, "-o", target, expect=1)
        errors = [line for line in done.stderr.splitlines() if line.startswith("Error")]
        assert len(errors) == 1, done.stderr
        assert "Traceback" not in done.stderr
        assert "px does not fit into the device's memory" in errors[0]
        assert "--chunk" in errors[0]
        assert list(tmp_path.iterdir()) == []
        told = command("colorize", large, *options, "-o", target, "--progress", "jsonl", expect=1)
        event = json.loads(told.stdout.splitlines()[-1])
        assert (event["code"], event["option"]) == (DeviceMemoryError.code, "--chunk")
        smaller = (*options[:4], "--chunk", 4, "--workers", 1, "-o", target)
        command("colorize", large, *smaller)  # and what the error says helps
    assert pixels_of(target)[0].std() > 5


# --- the command ----------------------------------------------------------------------------------


def test_auto_takes_the_gpu_and_says_so(
    scenes: dict[Quantity, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not REAL:
        monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
        monkeypatch.setattr(torch.cuda, "get_device_name", lambda name: "a stand-in")
        monkeypatch.setitem(lanes._lanes, "cuda", Lane(Accelerator("cpu")))
    scene = scenes[Quantity.COUNTS]
    done = command("colorize", scene, "--model", "aerial-nir", "-o", tmp_path / "auto.tif")
    assert f"device: cuda ({torch.cuda.get_device_name('cuda')})" in done.stderr
    assert lanes._lanes["cuda"].counts.blocks > 0
    here = write(scene, tmp_path / "cpu.tif", "aerial-nir", "cpu")
    assert_a_level_apart(pixels_of(tmp_path / "auto.tif")[0], pixels_of(here)[0])


def test_a_process_of_its_own_starts_runs_and_ends(
    gpu: str, scenes: dict[Quantity, Path], tmp_path: Path
) -> None:
    """The lane's thread, CUDA's and Python's ends in whatever order: no noise, no hanging."""
    scene = scenes[Quantity.COUNTS]
    options = ("--model", "aerial-nir", "--device", gpu, "--progress", "jsonl")
    code, out, err = process("colorize", scene, *options, "-o", tmp_path / "rgb.tif",
                             prelude=PRELUDE or None)  # fmt: skip
    assert code == 0, err
    assert json.loads(out.splitlines()[-1])["event"] == "result"
    for noise in ("Traceback", "Warning:", "terminate called", "deprecated"):
        assert noise not in err
    here = write(scene, tmp_path / "cpu.tif", "aerial-nir", "cpu")
    assert_a_level_apart(pixels_of(tmp_path / "rgb.tif")[0], pixels_of(here)[0])


SLOW = """
import time
import nirgeo.inference as inference
run_network = inference.run_network
def slow(*arguments, **options):
    time.sleep(0.05)
    return run_network(*arguments, **options)
inference.run_network = slow
"""


def test_a_killed_run_goes_on(gpu: str, scenes: dict[Quantity, Path], tmp_path: Path) -> None:
    scene, target = scenes[Quantity.REFLECTANCE], tmp_path / "rgb.tif"
    options = ("--model", "satellite-nir", "--scale", "0.0001", "--device", gpu, "--chunk", 1)
    arguments = ("colorize", scene, *options, "-o", target, "--progress", "jsonl")
    child = start(*arguments, prelude=PRELUDE + SLOW)
    journal = tmp_path / ".rgb.tif.nirgeo" / "journal.jsonl"
    deadline = time.monotonic() + 60
    while not (journal.exists() and journal.read_bytes().count(b"\n") > 20):
        assert child.poll() is None, child.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.02)
    child.send_signal(signal.SIGKILL)
    child.communicate(timeout=60)
    done = command(*arguments, "--resume")
    first = json.loads(done.stdout.splitlines()[0])
    assert 0 < first["resumed"] < first["total"]
    assert lanes._lanes[gpu].counts.blocks <= first["total"] - first["resumed"]
    here = write(scene, tmp_path / "cpu.tif", "satellite-nir", "cpu", scale="0.0001")
    assert facts(target)["tags"] == facts(here)["tags"]
    (found, mask), (expected, valid) = pixels_of(target), pixels_of(here)
    np.testing.assert_array_equal(mask, valid)
    assert_a_level_apart(found, expected)


# --- clusters -------------------------------------------------------------------------------------


def networks_here() -> tuple[int, list[str]]:
    """In a worker: its process, and the networks that it has built, by device."""
    return os.getpid(), [device for _, device in networks._networks._kept]


def test_workers_of_a_cluster_with_a_gpu(
    gpu: str, scenes: dict[Quantity, Path], tmp_path: Path
) -> None:
    scene = scenes[Quantity.REFLECTANCE]
    with (
        LocalCluster(
            n_workers=2,
            threads_per_worker=2,
            processes=True,
            dashboard_address=None,
            resources={"GPU": 1},
        ) as workers,
        Client(workers, set_as_default=False) as client,
    ):
        client.run(install)
        assert cluster.has_gpus(client)
        there = write(scene, tmp_path / "there.tif", "satellite-nir", gpu, scale="0.0001",
                      chunk=2, scheduler=client)  # fmt: skip
        built = client.run(networks_here).values()
    assert len(built) == 2
    assert all(len(devices) == 1 for _, devices in built), built
    here = write(scene, tmp_path / "here.tif", "satellite-nir", "cpu", scale="0.0001", chunk=2)
    assert facts(there) == facts(here)
    assert_a_level_apart(pixels_of(there)[0], pixels_of(here)[0])


# --- training -------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def places(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("places")
    for number, side in enumerate(("train", "train", "val")):
        path = folder / side / f"{number}.tif"
        write_scene(path, ground(128, 128, seed=number), transform=shifted_place(50 * number))
    return folder


def train(places: Path, out: Path, *more: object) -> dict[str, np.ndarray]:
    """The averaged weights at the end."""
    changes = ("steps=12", "warmup=2", "validate_every=6", "batch=4", "width=16", "depth=2")
    command(
        "train", places / "train", "--validation", places / "val", "--out", out, "-q",
        *(word for change in changes for word in ("--set", change)),
        "--device", DEVICE if REAL else "cpu", *more,
    )  # fmt: skip
    with torch.no_grad():
        return tensors(out / CHECKPOINT, "average/")


def tensors(path: Path, prefix: str) -> dict[str, np.ndarray]:
    from safetensors.numpy import load_file

    return {name: value for name, value in load_file(path).items() if name.startswith(prefix)}


def test_training(gpu: str, places: Path, scenes: dict[Quantity, Path], tmp_path: Path) -> None:
    """A training that is interrupted goes the way of one that is not.

    On a GPU not to the last bit, since torch's gradients of padding are sums in any order; but far
    closer than to one with other batches and other dropout.
    """
    whole = train(places, tmp_path / "whole")
    for _ in range(3):
        train(places, tmp_path / "parts", "--minutes", 0)  # a step each
    assert read_facts(tmp_path / "parts" / CHECKPOINT)["step"] == 3
    parts = train(places, tmp_path / "parts")
    other = train(places, tmp_path / "other", "--set", "seed=1")
    for name in ("average/stem.weight", "average/head.weight"):
        off = np.abs(parts[name] - whole[name]).mean()
        scale = np.abs(other[name] - whole[name]).mean()
        assert off <= 0.05 * scale, f"{name}: {off:.3g} apart, and with another seed {scale:.3g}"
    for name in ("average/table.values", "average/input_range"):
        np.testing.assert_array_equal(parts[name], whole[name])
    best = tmp_path / "whole" / "best.safetensors"
    there, here = (
        write(scenes[Quantity.REFLECTANCE], tmp_path / f"{k}.tif", str(best), device, scale="1e-4")
        for k, device in enumerate((gpu, "cpu"))
    )
    assert_a_level_apart(pixels_of(there)[0], pixels_of(here)[0])


# --- what it is for -------------------------------------------------------------------------------


def test_batches_are_made() -> None:
    """With as many threads as a run has by itself, blocks wait while the device computes."""
    model = load_model("aerial-nir")
    assert isinstance(model, Model)
    gate = threading.Event()
    device = Gated(gate)
    way = Lane(device)
    blocks = [block(model, seed, 128) for seed in range(2 * lane.BATCH)]
    with ThreadPoolExecutor(len(blocks)) as pool:
        answers = [pool.submit(way.run, one) for one in blocks]
        time.sleep(0.3)
        gate.set()
        for one, answer in zip(blocks, answers, strict=True):
            off = np.abs(answer.result(60) - run_network(one.inputs, one.valid, model)).max()
            assert off < 3e-5, f"{off:.2g}"
    assert max(device.batches) == lane.BATCH


def test_buffers_are_not_used_before_they_are_read() -> None:
    """Many batches through few pinned buffers, each another picture, some of another shape."""
    model = load_model("satellite-nir")
    assert isinstance(model, Model)
    way = Lane(accelerator(), batch=2)
    blocks = [block(model, seed, 64 + 32 * (seed % 3)) for seed in range(60)]
    with ThreadPoolExecutor(16) as pool:
        found = list(pool.map(way.run, blocks))
    for one, result in zip(blocks, found, strict=True):
        off = np.abs(result - run_network(one.inputs, one.valid, model)).max()
        assert off < 3e-5, f"{off:.2g}"
