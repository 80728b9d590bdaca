"""How fast a device colorizes a scene from file to file, against the bare network on it.

    python benchmarks/gpu.py --device cuda --side 20000 --json gpu.json

Measures, in one process and in this order: the bare network on the device (blocks of the default
chunk, halo included, already in its memory, best batch), then the whole run from GeoTIFF to COG,
and meanwhile the device's utilisation, once a second. It is meant to take less than ten minutes for
20000² pixels on a current GPU, which was not measured. `--device cpu` runs the
same code with a tiny scene, to test this script.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

import torch
from scenes import make_scene

import nirgeo
from nirgeo import lane
from nirgeo.accelerator import Accelerator
from nirgeo.engine import reach
from nirgeo.lane import Lane
from nirgeo.registry import load_model
from nirgeo.tiling import TILE


def bare_rate(device: str, model: Any, side: int, seconds: float) -> dict[str, Any]:
    """Pixels per second of the network alone, by batch size; ``side`` without halo."""
    from nirgeo.inference import network

    net = network(model, device)
    halo, stride = reach(model)
    whole = -(-(side + 2 * halo) // stride) * stride
    rates: dict[int, float] = {}
    for batch in (1, 2, 4, 8, 16):
        try:
            x = torch.rand((batch, 1, whole, whole), device=device)
            x = x.contiguous(memory_format=torch.channels_last)
            valid = torch.ones((batch, 1, whole, whole), device=device)
            with torch.inference_mode():
                net(x, valid, None)
                synchronize(device)
                runs, started = 0, time.perf_counter()
                while time.perf_counter() - started < seconds:
                    net(x, valid, None)
                    synchronize(device)
                    runs += 1
            rates[batch] = runs * batch * side * side / (time.perf_counter() - started)
        except torch.OutOfMemoryError:
            break
    best = max(rates, key=lambda batch: rates[batch])
    return {"batch": best, "useful_pixels_per_second": rates[best], "by_batch": rates}


def synchronize(device: str) -> None:
    if device.startswith("cuda"):
        torch.cuda.synchronize(device)


class Utilisation:
    """Samples the share of time in which a CUDA device was busy, once a second."""

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
        self._end.set()

    def _sample(self) -> None:
        while not self._end.wait(1.0):
            self.samples.append(torch.cuda.utilization(self._device))


class TimedDevice(Accelerator):
    """The device of a run, which notes how long it had something to do."""

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.busy = 0.0

    def start(self, blocks: Any) -> Any:
        started = time.perf_counter()
        ticket = super().start(blocks)
        self.busy += time.perf_counter() - started
        results = ticket.results

        def timed() -> Any:
            begun = time.perf_counter()
            found = results()
            self.busy += time.perf_counter() - begun
            return found

        ticket.results = timed
        return ticket


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--side", type=int, default=20_000, help="side of the scene in pixels")
    parser.add_argument("--chunk", type=int, default=16, help="side of a chunk in tiles")
    parser.add_argument("--model", default="satellite-nir")
    parser.add_argument("--seconds", type=float, default=3.0, help="per batch size, bare network")
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    if arguments.device.startswith("cuda") and not torch.cuda.is_available():
        parser.error("there is no CUDA device here; --device cpu --side 2048 tests the script")
    model = load_model(arguments.model)
    bare = bare_rate(arguments.device, model, arguments.chunk * TILE, arguments.seconds)
    device = TimedDevice(arguments.device)
    way = Lane(device)
    # The CPU has no lane of its own, so it gets one under another name.
    name = arguments.device if arguments.device != "cpu" else "cpu-lane"
    lane._lanes[name] = way
    with tempfile.TemporaryDirectory() as folder:
        scene = make_scene(Path(folder) / "scene.tif", arguments.side, border=False)
        phases: list[float] = []
        with Utilisation(arguments.device) as busy:
            started = time.perf_counter()
            rgb = nirgeo.colorize(
                nirgeo.open_scene(scene, scale="1e-4", chunk=arguments.chunk),
                model,
                device=name,
                prior=False,
            )
            nirgeo.write_geotiff(
                rgb,
                Path(folder) / "rgb.tif",
                scheduler="threads",
                on_progress=lambda *_: phases.append(time.perf_counter() - started),
            )
            whole = time.perf_counter() - started
    pixels = arguments.side**2
    chunks = phases[-1]
    record = {
        "device": torch.cuda.get_device_name(arguments.device) if busy.samples else "CPU",
        "side": arguments.side,
        "chunk_tiles": arguments.chunk,
        "model": model.spec.full_name,
        "bare_network": bare,
        "chunks_pixels_per_second": pixels / chunks,
        "end_to_end_pixels_per_second": pixels / whole,
        "end_to_end_over_bare": pixels / whole / bare["useful_pixels_per_second"],
        "seconds": {"chunks": chunks, "file": whole - chunks},
        "lane": {"batches": way.counts.batches, "blocks": way.counts.blocks},
        "halvings": way.counts.halvings,
        "lane_busy": device.busy / chunks,
        "utilisation": statistics.fmean(busy.samples) / 100 if busy.samples else None,
    }
    print(json.dumps(record, indent=2))
    if arguments.json:
        arguments.json.write_text(json.dumps(record, indent=2) + "\n")


if __name__ == "__main__":
    main()
