"""Write docs/scaling.md from what benchmarks/cluster.py (and, on a GPU, benchmarks.gpu) recorded.

python benchmarks/cluster.py --json docs/performance/cluster.json
python tools/write_scaling.py
"""

# ruff: noqa: E501 - prose, whose lines are those of a page

from __future__ import annotations

import json
from pathlib import Path
from statistics import median
from typing import Any

ROOT = Path(__file__).parents[1]
RECORDS = ROOT / "docs" / "performance"
PAGE = ROOT / "docs" / "scaling.md"

# Sizes that stand in products' own descriptions; the archive is an assumption, and says so.
SENTINEL2_TILE = 10980**2
FRANCE_KM2 = 551_500  # European France; at 10 m a square kilometre is 10,000 pixels
MSS_SCENES = 1_300_000  # assumption: the order of magnitude of Landsat 1–5 MSS scenes held by USGS
MSS_SCENE = 3400 * 3300  # assumption: about 185 km × 185 km at 60 m, less what is nodata


def hours(seconds: float) -> str:
    if seconds < 120:
        return f"{seconds:.0f} s" if seconds >= 1 else f"{seconds:.1f} s"
    if seconds < 2 * 3600:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.1f} h" if seconds < 100 * 3600 else f"{seconds / 86400:.0f} days"


def _utilisation(run: dict[str, Any]) -> str:
    share = run.get("utilisation")
    if share is None:
        return "its utilisation is not known"
    return f"of the time in which chunks were computed, the device was in use for {share:.0%}"


def page(record: dict[str, Any], gpu: dict[str, Any] | None) -> str:
    rates, efficiency = record["pixels_per_second"], record["efficiency"]
    rate = rates["1"]
    writer = record["file_pixels_per_second"]
    cores = int(record["machine"].split()[0])
    whole = 1 / (1 / rate + cores / writer)  # of one core, which makes the file too
    works = (
        ("One Sentinel-2 tile, 10980² px", SENTINEL2_TILE),
        ("A country of the size of France at 10 m", FRANCE_KM2 * 10_000),
        ("The Landsat MSS archive", MSS_SCENES * MSS_SCENE),
    )
    on_gpu, gpu_head = None, ""
    if gpu is not None:
        runs = [r["mpix_per_s"] for r in gpu.get("runs", ()) if r["model"] == record["model"]]
        on_gpu = max(runs, default=None)
    if gpu is not None and on_gpu is not None:
        gpu_head = f" one {gpu['device']}, {gpu['machine']['cores']} cores |"
    rows = [
        f"| {name} | {pixels / 1e9:,.3g} | {hours(pixels / whole)} | "
        + ("–" if pixels == SENTINEL2_TILE else hours(pixels / whole / 100))
        + " |"
        + (f" {hours(pixels / on_gpu / 1e6)} |" if on_gpu else "")
        for name, pixels in works
    ]
    verdict = "met" if efficiency["2"] >= 0.85 else "not met"
    more = [
        f"| {workers} workers | {rates[workers] / 1e6:.2f} MPix/s, {efficiency[workers]:.2f} of "
        f"{workers} × one |"
        for workers in rates
        if int(workers) > 2
    ]
    shared = cores <= 2
    lines = [
        "# How far it scales",
        "",
        "<!-- Written by tools/write_scaling.py; do not edit. -->",
        "",
        f"Measured by `python benchmarks/cluster.py` with {record['model']} on {record['machine']}, a "
        f"scene of {record['side']}² pixels in chunks of {record['chunk_tiles']} × "
        f"{record['chunk_tiles']} tiles; medians of {len(record['seconds']['1'])} runs, numbers "
        "of workers in turn. The machine's load over a quarter of an hour stood at "
        f"{record['load_after']:.1f} at the end.",
        "",
        "| | |",
        "|---|---|",
        f"| one worker of one core, file to chunks on disk | {rate / 1e6:.2f} MPix/s |",
        f"| two workers | {rates['2'] / 1e6:.2f} MPix/s |",
        f"| efficiency from one to two (target 0.85: {verdict}) | {efficiency['2']:.2f} |",
        *more,
        "| processor time of the process that schedules and makes the file, for the chunks | "
        f"{median(record['writers_processor_seconds']):.1f} s |",
        f"| the COG afterwards, one process | {writer / 1e6:.1f} MPix/s |",
        "",
        "Two workers and the process that schedules share two cores here, so two workers can't quite be "
        "twice as fast. "
        * shared
        + "They are on the machine of the process that makes the file, and so put their chunks into its "
        "store themselves. Workers keep freed memory, as [the page on clusters](cluster.md) tells.",
        "",
        "## What it takes",
        "",
        "From file to file. Core hours follow from the rate of one worker and what making the file "
        "takes of the processor; the next column assumes that a hundred of them, each with scenes of its own, "
        "are a hundred times as fast, which has not been measured.",
        "",
        f"| | Gpixels | one core | 100 cores |{gpu_head}",
        "|---|---|---|---|" + "---|" * bool(on_gpu),
        *rows,
        "",
        f"The archive is taken for {MSS_SCENES:,} scenes of {MSS_SCENE / 1e6:.1f} million pixels: an "
        "assumption about the order of magnitude, not a count.",
        "",
        "## Where the next bottleneck is",
        "",
        "- **One scene on many workers:** all its chunks come to one process, which makes the COG, and writes "
        f"them before if they come from other machines. The COG alone runs at {writer / 1e6:.1f} MPix/s on {cores} cores, as much as about "
        f"{max(1, round(writer / rate))} workers compute: beyond that, more of them shorten a scene little.",
        "- **Many scenes:** each worker writes its own file, so nothing is shared but the storage. A core "
        f"reads {2 * rate / 1e6:.1f} MB/s of 16-bit pixels per band and writes up to "
        f"{3 * rate / 1e6:.1f} MB/s before compression; multiply by the number of cores and compare with "
        "what the storage gives.",
        "",
        "## On a GPU",
        "",
    ]
    if gpu is None:
        lines += [
            "Not measured: no GPU was at hand. `python -m benchmarks.gpu --json "
            "docs/performance/gpu.json` measures the whole run against the bare network and the device's "
            "utilisation; then this page has its figures.",
        ]
    else:
        lines += [f"{gpu['device']}, [measured](performance.md#on-a-gpu) from file to file:", ""]
        lines += [
            f"- `{run['model']}` {run['precision']}, {run['side']}² pixels: {run['mpix_per_s']:.1f} "
            f"MPix/s; {_utilisation(run)}"
            for run in gpu.get("runs", ())
        ]
    if gpu is not None and "ceiling" in gpu:
        lines += [
            "- with a device that answers at once, so reading, rendering and writing alone: "
            f"{gpu['ceiling']['mpix_per_s']:.1f} MPix/s",
        ]
    return "\n".join(lines) + "\n"


def main() -> None:
    record = json.loads((RECORDS / "cluster.json").read_text())
    found = RECORDS / "gpu.json"
    gpu = json.loads(found.read_text()) if found.exists() else None
    PAGE.write_text(page(record, gpu))


if __name__ == "__main__":
    main()
