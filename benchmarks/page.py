"""docs/performance.md from the records beside it: tables between markers, and plots.

python -m benchmarks page            # write
python -m benchmarks page --check    # exit 1 if a table is not what the records say
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tools import page_tables
from tools.page_tables import markdown

DOCS = Path(__file__).parents[1] / "docs"
RECORDS = DOCS / "performance"


def _machine(record: dict[str, Any]) -> str:
    m = record["machine"]
    versions = ", ".join(f"{name} {number}" for name, number in m["versions"].items())
    return (
        f"*{m['cores']} cores ({m['processor']}), Python {m['python']}, {versions}; load before "
        f"the run {m['load_before']}.*"
    )


def _way(row: dict[str, Any]) -> str:
    return f"{row['runtime']} {row['precision']}"


def engine(record: dict[str, Any]) -> str:
    tables = []
    for part in record["models"]:
        rows = [
            [_way(r), f"{r['bare_wall']:.1f} s", f"{r['wall']:.1f} s", f"{r['efficiency']:.2f}",
             f"{r['cog_share']:.0%}", f"{r['mpix_per_s']:.2f}"]
            for r in part["rows"]
        ]  # fmt: skip
        kflop = part["flops_per_pixel"] / 1e3
        head = [f"{part['side']}² px, {part['model']} ({kflop:.0f} kFLOP per pixel)",
                "bare network", "end to end", "bare ÷ end to end", "COG's share",
                "MPix/s end to end"]  # fmt: skip
        tables.append(markdown(head, rows))
    return "\n\n".join((*tables, _machine(record)))


def network(record: dict[str, Any]) -> str:
    facts = [
        ["matrix product (the roof)", f"{record['roof_gflops']:.0f} GFLOP/s"],
        ["convolutions", f"{record['flops_per_pixel'] / 1e3:.1f} kFLOP per pixel"],
        ["trunk in torch, of the roof", f"{record['trunk_of_roof']:.2f}"],
        ["whole network in torch, of the roof", f"{record['network_of_roof']:.2f}"],
        [f"useful share of the operations (chunk {record['chunk']}, halo {record['halo']})",
         f"{record['useful']:.3f}"],
    ]  # fmt: skip
    rows = [[r["way"], f"{r['mpix_per_s']:.2f}", f"{r['times_torch']:.2f}"] for r in record["rows"]]
    trunks = [
        [f"`{r['model']}`", r["way"], f"{r['mpix_per_s']:.2f}", f"{r['times_torch']:.2f}"]
        for r in record["trunks"]
    ]
    runtime = f"runtime (OpenVINO {record['openvino']})" if record["openvino"] else "runtime"
    return "\n\n".join(
        (
            markdown([f"{record['model']}, one thread", "measured"], facts),
            markdown(["runtime", "MPix/s of one thread", "÷ torch"], rows),
            markdown(["trunk alone", runtime, "MPix/s of one thread", "÷ torch"], trunks),
            _machine(record),
        )
    )


def int8(records: list[dict[str, Any]]) -> str:
    rows = [
        [f"`{r['model']}`", f"{r['mean_levels']:.2f}", str(r["p99_levels"]), str(r["max_levels"]),
         f"{r['angle_fp32']:.3f}°", f"{r['angle_int8']:.3f}°",
         f"{r['angle_int8'] - r['angle_fp32']:+.3f}°"]
        for r in records
    ]  # fmt: skip
    head = ["validation places", "mean change in levels", "99%", "farthest", "angle fp32",
            "angle int8", "change"]  # fmt: skip
    return markdown(head, rows)


def peers(record: dict[str, Any]) -> str:
    rows = [
        [r["name"], f"{r['wall']:.1f} s", f"{r['cpu']:.1f} s", f"{r['cpu_of_whole']:.2f}",
         f"{r['peak_mb']:.0f} MB", str(r["max_difference"]), f"{r['differing']:.2%}"]
        for r in record["rows"]
    ]  # fmt: skip
    head = [f"{record['side']}² px, {record['model']}", "wall", "processor", "÷ whole array's",
            "peak memory", "max difference", "pixels that differ"]  # fmt: skip
    return markdown(head, rows) + "\n\n" + _machine(record)


def scaling(record: dict[str, Any]) -> str:
    rows = [
        [r["way"], r["what"], f"{r['side']}²", str(r["value"]) if r["what"] != "size" else "–",
         f"{r['wall']:.1f} s", f"{r['mpix_per_s']:.2f}", f"{r['peak_mb']:.0f} MB"]
        for r in record["rows"]
    ]  # fmt: skip
    head = ["runtime", "varied", "scene", "value", "wall", "MPix/s", "peak memory"]
    rounds = record["rounds"]
    how = (
        f"the median of {rounds} runs, in turn with the others'"
        if record.get("in_turn")
        else f"the fastest of {rounds} runs, one row's after the other's"
    )
    return (
        "![Throughput and peak memory](images/performance.png)\n\n"
        + markdown(head, rows)
        + f"\n\nEvery row is {how}.\n\n"
        + _machine(record)
    )


def deflate(record: dict[str, Any]) -> str:
    rows = [
        [r["codec"], f"{r['read']:.2f} s", f"{r['read_mb_per_s']:.0f} MB/s", f"{r['wall']:.1f} s",
         f"{r['cpu']:.1f} s"]
        for r in record["rows"]
    ]  # fmt: skip
    head = [f"{record['side']}² px, {record['model']}", "reading alone", "of pixels",
            "a whole run", "its processor time"]  # fmt: skip
    return markdown(head, rows) + "\n\n" + _machine(record)


def gpu(record: dict[str, Any]) -> str:
    """What was measured of it: a run that was cut off has kept its first parts."""
    found = []
    if record.get("bare"):
        found.append(_gpu_bare(record))
    if record.get("runs") or record.get("processor") or "ceiling" in record:
        found.append(_gpu_runs(record))
    if record.get("variants"):
        found.append(_gpu_variants(record))
    if record.get("drift"):
        found.append(_gpu_drift(record))
    if record.get("compiled"):
        found.append(_gpu_compiled(record))
    if copies := record.get("copies"):
        found.append(
            f"Copies, GB/s: {copies['to_device']:.1f} to the device, {copies['from_device']:.1f} "
            f"back; by one thread {copies['into_pinned']:.1f} into pinned memory and "
            f"{copies['out_of_pinned']:.1f} out of it."
        )
    found.append(f"*{record['device']};* {_machine(record)}")
    return "\n\n".join(found)


def _usual(rows: list[dict[str, Any]], model: str, precision: str) -> list[dict[str, Any]]:
    """Rows of the bare network at the chunk that a model has by itself."""
    return [r for r in rows if (r["model"], r["precision"], r["usual"]) == (model, precision, True)]


def _gpu_bare(record: dict[str, Any]) -> str:
    bare = record["bare"]
    batches = sorted({r["batch"] for r in bare})
    ways = dict.fromkeys((r["model"], r["precision"], r["chunk"]) for r in bare)
    rows = []
    for model, precision, chunk in ways:
        rates = {
            r["batch"]: r["mpix_per_s"]
            for r in bare
            if (r["model"], r["precision"], r["chunk"]) == (model, precision, chunk)
        }
        cells = [f"{rates[b]:.4g}" if b in rates else "–" for b in batches]
        rows.append([f"`{model}` {precision}", str(chunk), *cells])
    head = ["bare network, MPix/s", "chunk", *(f"batch {b}" for b in batches)]
    return markdown(head, rows)


def _gpu_runs(record: dict[str, Any]) -> str:
    rows = [_gpu_run(f"`{r['model']}` {r['precision']}", r, record) for r in record.get("runs", ())]
    if "ceiling" in record:
        rows.append(_gpu_run("a device that answers at once", record["ceiling"], record))
    rows += [
        _gpu_run(f"`{r['model']}` {r['precision']}, the processor alone", r, record)
        for r in record.get("processor", ())
    ]
    head = ["file to file", "scene", "MPix/s", "chunks alone", "of the bare network", "device used",
            "blocks a batch", *(f"{step}" for step in STEPS)]  # fmt: skip
    return markdown(head, rows) + (
        "\n\nThe last columns are seconds of the processor per million pixels: of steps of the "
        "chunks, over all threads, and of the file that is made of them."
    )


STEPS = ("reading", "scaling", "quantising", "storing", "chunks", "file")
"""What the processor does in a run: some steps of its chunks, all of the chunks, the file."""


def _gpu_run(name: str, row: dict[str, Any], record: dict[str, Any]) -> list[str]:
    with_device = "device_busy" in row
    best = [r["mpix_per_s"] for r in _usual(record.get("bare", []), row["model"], row["precision"])]
    compares = with_device and row["device_busy"] > 0 and best
    spent = row["cpu_s_per_mpix"]
    return [
        name,
        f"{row['side']}²",
        f"{row['mpix_per_s']:.1f}",
        f"{row['chunks_mpix_per_s']:.1f}",
        f"{row['mpix_per_s'] / max(best):.2f}" if compares else "–",
        _used(row),
        f"{row['blocks'] / row['batches']:.1f}" if with_device else "–",
        *(f"{spent[step]:.3f}" if step in spent else "–" for step in STEPS),
    ]


def _used(row: dict[str, Any]) -> str:
    """Share of the time in which a kernel ran, as the driver samples it."""
    share = row.get("utilisation")
    return "–" if share is None else f"{share:.0%}"


def _gpu_variants(record: dict[str, Any]) -> str:
    rows = [
        [r["varied"], str(r["chunk"]), str(r["workers"]), str(r["batch"]), f"{r['mpix_per_s']:.1f}",
         f"{r['chunks_mpix_per_s']:.1f}", _used(r),
         f"{r['blocks'] / r['batches']:.1f}"]
        for r in record["variants"]
    ]  # fmt: skip
    first = record["variants"][0]
    what = f"varied, {first['side']}² px, `{first['model']}`"
    head = [what, "chunk", "workers", "batch", "MPix/s", "chunks alone", "device used",
            "blocks a batch"]  # fmt: skip
    return markdown(head, rows)


def _gpu_drift(record: dict[str, Any]) -> str:
    rows = [
        [f"`{part['model']}` {precision}", f"{r['differing_per_million']:.1f}",
         f"{r['mean_levels']:.4f}", f"{r['p99_levels']:.0f}", f"{r['max_levels']:.0f}",
         f"{r['mean_angle_degrees']:.4f}°"]
        for part in record["drift"]
        for precision, r in part.items() if precision in ("fp32", "fp16")
    ]  # fmt: skip
    head = ["against 32 bits on the processor", "of a million pixels differ", "mean levels", "99%",
            "farthest", "angle"]  # fmt: skip
    return markdown(head, rows)


def _gpu_compiled(record: dict[str, Any]) -> str:
    rows = [
        [f"`{r['model']}` {r['precision']}, {r['way']}", str(r["batch"]),
         f"{r['seconds_before']:.1f} s" if "seconds_before" in r else "–",
         f"{r['mpix_per_s']:.4g}" if "mpix_per_s" in r else f"failed: {r['failed']}"]
        for r in record["compiled"]
    ]  # fmt: skip
    table = markdown(["bare network", "batch", "until ready", "MPix/s"], rows)
    if not record.get("compiled_earlier"):
        return table
    return table + "\n\nThe table above is of an earlier run, on a machine of the same kind."


def _after_the_first(row: dict[str, Any]) -> str:
    seconds = row["seconds"]["chunks"] - row["seconds"]["first"]
    return f"{row['side'] ** 2 / 1e6 / seconds:.1f}" if seconds > 0 else "–"


def processes(record: dict[str, Any]) -> str:
    rows = [
        [f"`{r['model']}`, {r['device']}", r["scheduler"], str(r["workers"]),
         *(f"{r['seconds'][step]:.1f} s" for step in ("first", "chunks", "file")),
         _after_the_first(r),
         f"{r['mpix_per_s']:.1f}"]
        for r in record["rows"]
    ]  # fmt: skip
    head = [f"{record['rows'][0]['side']}² px", "scheduler", "workers", "until the first chunk",
            "all chunks", "the file", "MPix/s of chunks after the first", "MPix/s"]  # fmt: skip
    return markdown(head, rows) + "\n\n" + _machine(record)


MEASURED = ("engine", "network", "deflate", "peers", "scaling")
"""What ``python -m benchmarks`` measures."""

TABLES: dict[str, Callable[[Any], str]] = {
    "engine": engine,
    "network": network,
    "int8": int8,
    "peers": peers,
    "scaling": scaling,
    "deflate": deflate,
    "gpu": gpu,
    "processes": processes,
}


def filled(text: str, records: Path) -> str:
    """``text`` with every table made anew; one without a record says so."""

    def made(what: str) -> str:
        file = records / f"{what}.json"
        if not file.exists():
            return "*Not measured yet.*"
        return TABLES[what](json.loads(file.read_text("utf-8")))

    return page_tables.filled(text, made)


def draw(records: Path, target: Path) -> None:
    """Throughput and memory against scene size, chunk size and workers."""
    from matplotlib.figure import Figure

    rows = json.loads((records / "scaling.json").read_text("utf-8"))["rows"]
    figure = Figure(figsize=(10, 5.6), layout="constrained")
    axes = figure.subplots(2, 3, sharey="row", sharex="col")
    titles = {"size": "side of the scene in px", "chunk": "side of a chunk in tiles of 64 px",
              "workers": "workers"}  # fmt: skip
    for column, (what, title) in enumerate(titles.items()):
        for way in dict.fromkeys(r["way"] for r in rows):
            points = sorted(
                (r["value"], r["mpix_per_s"], r["peak_mb"])
                for r in rows
                if (r["what"], r["way"]) == (what, way)
            )
            for row, unit in enumerate((1, 2)):
                axes[row, column].plot(
                    [p[0] for p in points], [p[unit] for p in points], "o-", label=way
                )
        axes[1, column].set_xlabel(title)
        for axis in axes[:, column]:
            axis.grid(alpha=0.3)
            if what != "workers":
                axis.set_xscale("log", base=2)
                values = sorted({r["value"] for r in rows if r["what"] == what})
                axis.set_xticks(values, [str(v) for v in values], rotation=30, minor=False)
            else:
                axis.set_xticks(sorted({r["value"] for r in rows if r["what"] == what}))
    for axis in axes[:, 0]:  # shared by the row, and only now does it have all points
        axis.set_ylim(bottom=0)
    axes[0, 0].set_ylabel("MPix/s, whole command")
    axes[1, 0].set_ylabel("peak memory in MB")
    axes[0, 0].legend()
    figure.savefig(target, dpi=110, metadata={"Software": None})


def main(records: Path = RECORDS, *, check: bool) -> int:
    page = DOCS / "performance.md"
    text = page.read_text("utf-8")
    made = filled(text, records)
    if check:
        return 0 if made == text else 1
    page.write_text(made, "utf-8")
    if (records / "scaling.json").exists():
        draw(records, DOCS / "images" / "performance.png")
    return 0
