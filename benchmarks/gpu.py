"""How fast a GPU colorizes a scene from file to file, and where the limit is.

    python -m benchmarks.gpu --json docs/performance/gpu.json

Measured in one process: the bare network, its input already in the device's memory, by precision,
chunk and batch; copies to the device and back; whole runs from GeoTIFF to COG of one model of each
kind, in 32 bits and with a trunk in 16; the same with a device that has its answer at once, so that
only reading and writing are left; the processor alone; and runs in which one of chunk, workers and
batch is another than usual. Every run tells how long the device was busy, and what the processor
did meanwhile, by thread time. `--device cpu --side 1536 --small 1024` tries the script where there
is no GPU. The record is written after every part, so what was measured is kept if time runs out.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import torch

import nirgeo
from benchmarks import drift, machine
from benchmarks.scenes import make_scene
from nirgeo import inference, keeping, lane, lanes, networks, own_torch, source, write
from nirgeo.accelerator import Accelerator, NetworkKey, exact_convolutions, half_trunk
from nirgeo.budget import usual_chunk
from nirgeo.engine import reach
from nirgeo.heap import keep_freed_memory
from nirgeo.lane import Block, Lane
from nirgeo.modelfile import Model
from nirgeo.radiometry import Quantity
from nirgeo.registry import load_model
from nirgeo.runtimes.choice import FP16, FP32, REFERENCE
from nirgeo.tiling import TILE

MODELS = ("satellite-nir", "aerial-nir")
PATTERN = 1024
"""Rows of a scene before they come again."""

TILES = (8, 16, 32)
"""Sides of chunks that the bare network is tried with, beside a model's usual one."""

LARGEST = 40_000_000
"""Pixels of a batch of the bare network, at most."""


def window_side(model: Model, tiles: int) -> int:
    """Pixels along a side of what the network is given for a chunk inside a scene."""
    halo, stride = reach(model)
    return tiles * TILE + 2 * (-(-halo // stride) * stride)


# --- the device alone -----------------------------------------------------------------------------


def wait(device: str) -> None:
    if device.startswith("cuda"):
        torch.cuda.synchronize(device)


def rate(work: Callable[[], Any], device: str, pixels: int, seconds: float) -> float:
    """Pixels per second of work that is handed over again and again, and waited for at the end."""
    for _ in range(2):
        work()
    wait(device)
    runs, started = 0, time.perf_counter()
    while runs < 3 or time.perf_counter() - started < seconds:
        work()
        runs += 1
        if runs % 4 == 0:
            wait(device)
    wait(device)
    return runs * pixels / (time.perf_counter() - started)


def network_input(model: Model, device: str, side: int, batch: int) -> tuple[torch.Tensor, ...]:
    x = torch.rand((batch, len(model.spec.bands), side, side), device=device)
    x = x.contiguous(memory_format=torch.channels_last)
    return x, torch.ones((batch, 1, side, side), device=device)


def bare(
    model: Model, device: str, seconds: float, tiles: Sequence[int] | None, batches: Sequence[int]
) -> list[dict[str, Any]]:
    """The network alone; pixels are those of the chunk, so the halo counts as work."""
    net: Any = networks.network(model, device)
    ways = {FP32: net}
    if device != "cpu":
        ways[FP16] = half_trunk(net)
    usual = usual_chunk(model, REFERENCE, device)
    rows = []
    for precision, network in ways.items():
        for chunk in tiles or sorted({usual, *TILES}):
            side = window_side(model, chunk)
            for batch in batches:
                if batch > 1 and batch * side * side > LARGEST:
                    continue
                with suppress(torch.OutOfMemoryError), torch.inference_mode(), exact_convolutions():
                    x = network_input(model, device, side, batch)
                    pixels = batch * (chunk * TILE) ** 2
                    found = rate(lambda: network(*x, None), device, pixels, seconds)  # noqa: B023
                    rows.append(
                        {"model": model.spec.full_name, "precision": precision, "chunk": chunk,
                         "usual": chunk == usual, "batch": batch, "mpix_per_s": found / 1e6}
                    )  # fmt: skip
    return rows


def compiled(
    models: Sequence[tuple[Model, int]], device: str, seconds: float
) -> Iterator[dict[str, Any]]:
    """Whether one CUDA graph of the whole network, or torch.compile, would pay.

    For models and batches; what takes longest to prepare comes last.
    """
    for way in ("eager", "graph", "compile"):
        for model, batch in models:
            net: Any = networks.network(model, device)
            chunk = usual_chunk(model, REFERENCE, device)
            pixels = batch * (chunk * TILE) ** 2
            ways = {FP32: net} if device == "cpu" else {FP32: net, FP16: half_trunk(net)}
            for precision, network in ways.items():
                row: dict[str, Any] = {"model": model.spec.full_name, "precision": precision}
                row |= {"way": way, "batch": batch}
                try:
                    with torch.inference_mode(), exact_convolutions():
                        x = network_input(model, device, window_side(model, chunk), batch)
                        started = time.perf_counter()
                        work = prepared(way, network, x, device)
                        work()
                        wait(device)
                        row["seconds_before"] = time.perf_counter() - started
                        row["mpix_per_s"] = rate(work, device, pixels, seconds) / 1e6
                except Exception as error:  # a missing compiler, an operation that has no graph
                    row["failed"] = f"{type(error).__name__}: {error}".partition("\n")[0][:160]
                yield row


def prepared(way: str, network: Any, x: Sequence[torch.Tensor], device: str) -> Callable[[], Any]:
    """The network on ``x``, as it is, compiled, or recorded once and then replayed."""
    if way == "compile":
        network = torch.compile(network)
    elif way == "graph":
        graph = torch.cuda.CUDAGraph()
        aside = torch.cuda.Stream(device)
        with torch.cuda.stream(aside):  # what is done once only is not for the graph
            network(*x, None)
        wait(device)
        with torch.cuda.graph(graph):
            network(*x, None)
        return graph.replay
    return lambda: network(*x, None)


def copies(device: str, seconds: float) -> dict[str, float]:
    """GB/s between host and device, and into the pinned memory that batches travel in."""
    size = 2**26
    pinned = torch.empty(size // 4, pin_memory=device != "cpu")
    plain, there = torch.ones(size // 4), torch.empty(size // 4, device=device)

    def in_gb(work: Callable[[], Any]) -> float:
        return rate(work, device, size, seconds) / 1e9

    with own_torch.intra_op_threads(1):  # as the lane's thread has
        return {
            "to_device": in_gb(lambda: there.copy_(pinned, non_blocking=True)),
            "to_device_not_pinned": in_gb(lambda: there.copy_(plain)),
            "from_device": in_gb(lambda: pinned.copy_(there, non_blocking=True)),
            "into_pinned": in_gb(lambda: pinned.copy_(plain)),
            "out_of_pinned": in_gb(lambda: pinned.numpy().copy()),
        }


# --- whole runs -----------------------------------------------------------------------------------


class TimedDevice(Accelerator):
    """The device of a run, which notes what it and its lane's thread did.

    ``handing``: seconds in which the thread stacked blocks and launched work; ``waiting``: in which
    it waited for results and copied them; ``busy``: of every batch on the device itself, from when
    its last input is there until its results are on the host.
    """

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.handing = self.waiting = self.busy = 0.0
        self._there: Any = None
        self._marks: list[tuple[Any, Any]] = []

    def start(self, blocks: Sequence[Block]) -> Any:
        began = time.perf_counter()
        ticket = super().start(blocks)
        self.handing += time.perf_counter() - began
        results = ticket.results

        def timed() -> Any:
            begun = time.perf_counter()
            found = results()
            self.waiting += time.perf_counter() - begun
            return found

        ticket.results = timed  # type: ignore[method-assign]
        return ticket

    def _start(self, blocks: Sequence[Block], key: NetworkKey) -> Any:
        if not self._cuda:
            began = time.perf_counter()
            ticket = super()._start(blocks, key)
            self.busy += time.perf_counter() - began
            return ticket
        ticket = super()._start(blocks, key)
        self._marks.append((self._there, self._mark()))
        return ticket

    def _to_device(self, name: str, arrays: Sequence[Any]) -> torch.Tensor:
        copied = super()._to_device(name, arrays)
        if self._cuda:
            self._there = self._mark()
        return copied

    def _mark(self) -> Any:
        mark = torch.cuda.Event(enable_timing=True)
        mark.record(self._stream)
        return mark

    def finish(self) -> None:
        """After the run. Batches on one stream follow each other, so their times add up."""
        wait(str(self.device))
        self.busy += sum(first.elapsed_time(last) for first, last in self._marks) / 1000
        self._marks.clear()


class ReadyDevice:
    """A device that has its answer at once: what is left of a run is reading and writing."""

    def __init__(self) -> None:
        self.handing = self.waiting = self.busy = 0.0
        self._made: dict[Any, np.ndarray] = {}

    def start(self, blocks: Sequence[Block]) -> Any:
        return _Ready([self._answer(block) for block in blocks])

    def _answer(self, block: Block) -> np.ndarray:
        key = block.network
        assert isinstance(key, NetworkKey)
        shape = (len(key.model.spec.made), *block.valid.shape)
        if shape not in self._made:
            # Fields and texture, as a picture has: noise alone would take longer to compress.
            random = np.random.default_rng(0)
            fields = np.kron(random.random((3, 64, 64)), np.ones((32, 32)))
            rows, cols = (np.arange(side) % 2048 for side in shape[1:])
            made = 0.2 + 0.4 * fields[: shape[0]][:, rows[:, None], cols]
            self._made[shape] = (made + random.normal(0, 0.01, made.shape)).astype(np.float32)
        return self._made[shape]

    def release(self) -> None:
        pass

    def finish(self) -> None:
        pass


class _Ready:
    def __init__(self, made: list[np.ndarray]) -> None:
        self._made = made

    def results(self) -> list[np.ndarray]:
        return self._made


class Utilisation:
    """Samples the share of time in which a CUDA device was busy, as its driver sees it."""

    def __init__(self, device: str) -> None:
        self.samples: list[int] = []
        self._device = device
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._sample, daemon=True)

    def __enter__(self) -> Utilisation:
        if self._device.startswith("cuda"):
            self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.end()

    def end(self) -> None:
        self._end.set()

    def _sample(self) -> None:
        with suppress(Exception):  # the driver's library may be missing; then nothing is said
            while not self._end.wait(0.2):
                self.samples.append(torch.cuda.utilization(self._device))


class Steps:
    """Processor seconds of the steps of a run, over all threads."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self._lock = threading.Lock()

    @contextmanager
    def watching(self) -> Iterator[None]:
        with ExitStack() as stack:
            for owner, name, step in (
                (source.RasterSource, "read", "reading"),
                (inference, "network_input", "scaling"),
                (inference, "model_output", "quantising"),
                (keeping.Keeper, "put", "storing"),
            ):
                patch = mock.patch.object(owner, name, self._timed(getattr(owner, name), step))
                stack.enter_context(patch)
            yield

    def _timed(self, function: Callable[..., Any], step: str) -> Callable[..., Any]:
        def timed(*arguments: Any, **options: Any) -> Any:
            began = time.thread_time()
            try:
                return function(*arguments, **options)
            finally:
                spent = time.thread_time() - began
                with self._lock:
                    self.seconds[step] = self.seconds.get(step, 0.0) + spent

        return timed


def whole_run(
    scene: Path,
    model: Model,
    device: str,
    way: Any,
    *,
    precision: str = FP32,
    chunk: int | None = None,
    workers: int | None = None,
    batch: int = lane.BATCH,
) -> dict[str, Any]:
    """From file to file; ``way`` is the device behind the lane, None for the processor itself."""
    if isinstance(way, TimedDevice) and device != "cpu":
        # What a first run pays for: the network there, and what libraries choose for its shapes.
        side = window_side(model, chunk or usual_chunk(model, REFERENCE, device))
        shape = (len(model.spec.bands), side, side)
        block = Block(
            NetworkKey(model, half=precision == FP16),
            np.full(shape, 0.4, np.float32),
            np.ones(shape[1:], np.bool_),
        )
        for count in (1, batch):
            way.start([block] * count).results()
        way.finish()
        way.handing = way.waiting = way.busy = 0.0
    name = device if way is None else f"{device}-lane"
    chunk = chunk or usual_chunk(model, REFERENCE, device)
    steps, told = Steps(), []
    with tempfile.TemporaryDirectory(dir=scene.parent) as folder, ExitStack() as stack:
        road = None
        if way is not None:
            road = Lane(way, batch)
            stack.enter_context(mock.patch.dict(lanes._lanes, {name: road}))
        seen = stack.enter_context(Utilisation(device))
        stack.enter_context(steps.watching())
        started, cpu = time.perf_counter(), time.process_time()
        scale = "1e-4" if model.spec.quantity is Quantity.REFLECTANCE else None
        opened = nirgeo.open_scene(scene, scale=scale, chunk=chunk)
        rgb = nirgeo.colorize(opened, model, device=name, prior=False, precision=precision)

        def progress(done: int, total: int) -> None:
            told.append((time.perf_counter() - started, time.process_time() - cpu))
            if done == total:
                seen.end()

        nirgeo.write_geotiff(
            rgb,
            Path(folder) / "rgb.tif",
            scheduler="threads",
            workers=workers,
            on_progress=progress,
        )
        whole, processor = time.perf_counter() - started, time.process_time() - cpu
        pixels = rgb.sizes["y"] * rgb.sizes["x"]
    (chunks, chunks_cpu), mpix = told[-1], pixels / 1e6
    row: dict[str, Any] = {
        "model": model.spec.full_name,
        "precision": precision,
        "side": rgb.sizes["y"],
        "chunk": chunk,
        "workers": workers or ("cores" if way is None else write.GPU_WORKERS),
        "batch": batch,
        "seconds": {"chunks": chunks, "file": whole - chunks},
        "chunks_mpix_per_s": mpix / chunks,
        "mpix_per_s": mpix / whole,
        "cpu_s_per_mpix": {step: s / mpix for step, s in steps.seconds.items()}
        | {"chunks": chunks_cpu / mpix, "file": (processor - chunks_cpu) / mpix},
    }
    if way is not None:
        assert road is not None
        way.finish()
        row |= {
            "device_busy": way.busy / chunks,
            "lane": {"handing": way.handing / chunks, "waiting": way.waiting / chunks},
            "batches": road.counts.batches,
            "blocks": road.counts.blocks,
            "halvings": road.counts.halvings,
            "utilisation": statistics.fmean(seen.samples) / 100 if seen.samples else None,
        }
    return row


_ready = ReadyDevice()


def variants(scene: Path, model: Model, device: str, way: Any) -> Iterator[dict[str, Any]]:
    """Runs in which one thing is not as usual; each against the usual one beside it."""
    usual: dict[str, Any] = {}
    for varied, options in (
        ("usual", {}),
        ("workers", {"workers": 4}),
        ("workers", {"workers": 16}),
        ("workers", {"workers": 32}),
        ("chunk", {"chunk": 8}),
        ("chunk", {"chunk": 12}),
        ("chunk", {"chunk": 24}),
        ("batch", {"batch": 2}),
        ("batch", {"batch": 4}),
        ("batch", {"batch": 16, "workers": 32}),
        ("usual", {}),
    ):
        yield {"varied": varied, **whole_run(scene, model, device, way, **(usual | options))}


# --- the script -----------------------------------------------------------------------------------


def device_name(device: str) -> str:
    if not device.startswith("cuda"):
        return "the processor, in place of a GPU"
    return torch.cuda.get_device_name(device)


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--side", type=int, default=20_000, help="of the scenes in pixels")
    parser.add_argument("--small", type=int, default=8192, help="of those for variants")
    parser.add_argument("--seconds", type=float, default=0.12, help="per row of the bare network")
    parser.add_argument("--tiles", type=int, nargs="*", help="bare chunks, instead of the usual")
    parser.add_argument("--batches", type=int, nargs="*", default=[1, 4, 8, 16])
    parser.add_argument("--try-compile", action="store_true", help="compile, and CUDA graphs")
    parser.add_argument("--drift-side", type=int, default=1024, help="of what drift is seen on")
    parser.add_argument("--folder", type=Path, help="where scenes go, in memory if that may be")
    parser.add_argument("--json", type=Path)
    chosen = parser.parse_args(arguments)
    device = chosen.device
    if device.startswith("cuda") and not torch.cuda.is_available():
        parser.error("there is no CUDA device here; --device cpu --side 1536 tries the script")
    record: dict[str, Any] = {
        "machine": machine.describe(),
        "device": device_name(device),
        "side": chosen.side,
    }
    began = time.perf_counter()

    def keep(part: str, value: Any) -> None:
        record[part] = value
        record["seconds"] = time.perf_counter() - began
        print(f"{record['seconds']:6.1f} s  {part}", flush=True)
        if chosen.json:
            text = json.dumps(machine.rounded(record), indent=1)
            chosen.json.write_text(text + "\n")

    models = [load_model(name) for name in MODELS]
    with tempfile.TemporaryDirectory(dir=chosen.folder) as folder:
        scenes = {}
        for model in models:
            assert isinstance(model, Model)
            dtype = "uint16" if model.spec.quantity is Quantity.REFLECTANCE else "uint8"
            for side in {chosen.side, chosen.small}:
                path = Path(folder) / f"{dtype}-{side}.tif"
                make_scene(path, side, border=False, dtype=dtype, pattern=PATTERN)
                scenes[model.spec.full_name, side] = path
        keep("scenes", len(scenes))
        keep("copies", copies(device, chosen.seconds))
        rows = []
        for model in models:
            rows += bare(model, device, chosen.seconds, chosen.tiles, chosen.batches)
        keep("bare", rows)
        way = TimedDevice(device)
        runs = []
        for model in models:
            scene = scenes[model.spec.full_name, chosen.side]
            for precision in (FP32, FP16) if way._cuda else (FP32,):
                runs.append(whole_run(scene, model, device, way, precision=precision))
                keep("runs", runs)
        scene = scenes[models[0].spec.full_name, chosen.side]
        keep("ceiling", whole_run(scene, models[0], device, _ready))
        tried = []
        small = scenes[models[0].spec.full_name, chosen.small]
        for row in variants(small, models[0], device, way):
            tried.append(row)
            keep("variants", tried)
        keep("processor", [
            whole_run(scenes[model.spec.full_name, chosen.small], model, "cpu", None)
            for model in models
        ])  # fmt: skip
        keep("drift", [drift.measure(model, device, side=chosen.drift_side) for model in models])
    if chosen.try_compile:
        best = []
        for model in models:
            fits = [row for row in record["bare"] if row["model"] == model.spec.full_name]
            fits = [row for row in fits if row["precision"] == FP32]
            fits = [row for row in fits if row["usual"]] or fits
            best.append((model, max(fits, key=lambda row: row["mpix_per_s"])["batch"]))
        found: list[dict[str, Any]] = []
        for row in compiled(best, device, chosen.seconds):
            found.append(row)
            keep("compiled", found)


if __name__ == "__main__":
    keep_freed_memory()  # as the command does
    main()
