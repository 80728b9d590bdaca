"""docs/performance.md says what the records beside it say; the benchmarks run."""

from __future__ import annotations

import json
import runpy
from pathlib import Path
from typing import Any

import pytest

from benchmarks import deflate, engine, gpu, machine, page
from benchmarks.__main__ import main as measure

ROOT = Path(__file__).parents[2]
RECORDS = ROOT / "docs" / "performance"


def test_every_table_is_what_the_records_say() -> None:
    text = page.DOCS.joinpath("performance.md").read_text(encoding="utf-8")
    assert text.count("<!-- table:") == text.count("<!-- end -->") == len(page.TABLES)
    assert page.filled(text, RECORDS) == text


@pytest.mark.parametrize(
    "name", sorted(p.stem for p in RECORDS.glob("*.json") if p.stem in page.TABLES)
)
def test_a_changed_figure_is_noticed(tmp_path: Path, name: str) -> None:
    text = page.DOCS.joinpath("performance.md").read_text(encoding="utf-8")
    for file in RECORDS.glob("*.json"):
        (tmp_path / file.name).write_text(file.read_text("utf-8"), "utf-8")

    def changed(value: Any) -> Any:
        if isinstance(value, dict):
            return {k: changed(v) for k, v in value.items()}
        if isinstance(value, list):
            return [changed(v) for v in value]
        return value + 3 if isinstance(value, int | float) else value

    record = json.loads((RECORDS / f"{name}.json").read_text("utf-8"))
    (tmp_path / f"{name}.json").write_text(json.dumps(changed(record)), "utf-8")
    assert page.filled(text, tmp_path) != text


def test_the_page_on_scaling_is_what_its_record_says() -> None:
    tool = runpy.run_path(str(ROOT / "tools" / "write_scaling.py"))
    record = json.loads((RECORDS / "cluster.json").read_text("utf-8"))
    gpu = RECORDS / "gpu.json"
    made = tool["page"](record, json.loads(gpu.read_text("utf-8")) if gpu.exists() else None)
    assert (ROOT / "docs" / "scaling.md").read_text("utf-8") == made


def test_reading_deflate_is_measured_with_either_library(tmp_path: Path) -> None:
    record = deflate.measure(tmp_path, side=300, rounds=1, name="baseline/grey")
    assert [r["codec"] for r in record["rows"]] == ["zlib", "libdeflate"]
    assert all(0 < r["read"] < r["wall"] for r in record["rows"])
    assert "| zlib |" in page.deflate(record | {"machine": machine.describe()})


def test_a_run_is_measured_beside_the_bare_network(tmp_path: Path) -> None:
    record = engine.measure(tmp_path, side=300, rounds=1)
    narrow, wide = record["models"]
    assert wide["flops_per_pixel"] > 3 * narrow["flops_per_pixel"] > 1000
    for part in record["models"]:
        assert part["useful"] <= 1
        assert [(r["runtime"], r["precision"]) for r in part["rows"]] == list(engine.WAYS)
        assert all(r["wall"] > 0 and 0 < r["cog_share"] < 1 for r in part["rows"])
    assert "300² px" in page.engine(record | {"machine": machine.describe()})


def test_the_benchmark_of_a_gpu_on_this_processor(tmp_path: Path) -> None:
    """Its every part, and what the pages make of its record."""
    sizes = ("--side", "300", "--small", "200", "--drift-side", "64", "--seconds", "0")
    bare = ("--tiles", "1", "--batches", "1", "2")
    file = tmp_path / "gpu.json"
    gpu.main(["--device", "cpu", *sizes, *bare, "--folder", str(tmp_path), "--json", str(file)])
    record = json.loads(file.read_text("utf-8"))
    assert [run["model"] for run in record["runs"]] == ["satellite-nir@5", "aerial-nir@7"]
    for run in (*record["runs"], *record["variants"], record["ceiling"]):
        assert run["mpix_per_s"] < run["chunks_mpix_per_s"]
        assert run["blocks"] >= run["batches"] > 0
        assert {"reading", "scaling", "quantising", "storing"} < run["cpu_s_per_mpix"].keys()
    assert 0 < record["runs"][0]["device_busy"] <= 1
    assert record["ceiling"]["device_busy"] == 0
    for part in record["drift"]:  # the processor against itself, then in 16 bits
        assert part["fp32"]["max_levels"] == 0 <= part["fp16"]["mean_levels"]
    table = page.gpu(record)
    assert "| `satellite-nir@5` fp32 | 300² |" in table
    assert record["device"] in table
    tool = runpy.run_path(str(ROOT / "tools" / "write_scaling.py"))
    cluster = json.loads((RECORDS / "cluster.json").read_text("utf-8"))
    assert f"`aerial-nir@7` fp32, 300² pixels: {record['runs'][1]['mpix_per_s']:.1f} MPix/s" in (
        tool["page"](cluster, record)
    )
    assert [file.name for file in tmp_path.iterdir()] == ["gpu.json"]


@pytest.mark.parametrize("kept", range(6))
def test_a_record_of_a_gpu_that_was_cut_off_has_a_page(kept: int) -> None:
    record = json.loads((RECORDS / "gpu.json").read_text("utf-8"))
    facts = {key: record[key] for key in ("machine", "device", "copies")}
    parts = ("bare", "runs", "ceiling", "variants", "drift")[:kept]
    cut = facts | {key: record[key] for key in parts}
    table = page.gpu(cut)
    assert record["device"] in table
    assert ("file to file" in table) == (kept > 1)
    tool = runpy.run_path(str(ROOT / "tools" / "write_scaling.py"))
    cluster = json.loads((RECORDS / "cluster.json").read_text("utf-8"))
    text = tool["page"](cluster, cut)
    assert ("answers at once" in text) == (kept > 2)


def test_a_scene_of_one_chunk_has_none_after_the_first() -> None:
    record = json.loads((RECORDS / "processes.json").read_text("utf-8"))
    row = record["rows"][0]
    row["seconds"]["first"] = row["seconds"]["chunks"]
    assert "| – |" in page.processes(record)


@pytest.mark.parametrize(
    ("what", "model", "words"),
    [
        ("engine", "satellite-rgn", "the scenes have near infrared alone"),
        ("peers", "aerial-nir", "compared with reflectance"),
        ("network", "nothing-of-this-name", "no model named"),
    ],
)
def test_models_that_can_not_be_compared(
    what: str, model: str, words: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = [what, "--model", model, "--records", str(tmp_path), "--folder", str(tmp_path)]
    with pytest.raises(SystemExit):
        measure(arguments)
    assert words in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_records_that_can_not_be_kept_are_not_measured(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def never(*_: object) -> dict[str, Any]:
        raise AssertionError("measured before it is known that the record can be kept")

    monkeypatch.setattr(deflate, "measure", never)
    file = tmp_path / "file"
    file.touch()
    with pytest.raises(FileExistsError):
        measure(["deflate", "--records", str(file), "--folder", str(tmp_path / "scenes")])
