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
    return (
        "![Throughput and peak memory](images/performance.png)\n\n"
        + markdown(head, rows)
        + "\n\n"
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


MEASURED = ("engine", "network", "deflate", "peers", "scaling")
"""What ``python -m benchmarks`` measures."""

TABLES: dict[str, Callable[[Any], str]] = {
    "engine": engine,
    "network": network,
    "int8": int8,
    "peers": peers,
    "scaling": scaling,
    "deflate": deflate,
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


def main(*, check: bool) -> int:
    page = DOCS / "performance.md"
    text = page.read_text("utf-8")
    made = filled(text, RECORDS)
    if check:
        return 0 if made == text else 1
    page.write_text(made, "utf-8")
    if (RECORDS / "scaling.json").exists():
        draw(RECORDS, DOCS / "images" / "performance.png")
    return 0
