"""Places that take nothing more: streams, disks, threads. A line at most, and the work is done."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import click
import pytest
import torch
from click.testing import CliRunner
from helpers import random_model, write_raster
from pictures import scene_values

from nirgeo.cli.errors import reports_errors
from nirgeo.journal import Journal
from nirgeo.training.checkpoint import load_checkpoint, save_checkpoint

FULL = Path("/dev/full")
needs_a_full_device = pytest.mark.skipif(not FULL.exists(), reason="no device that is always full")


@pytest.fixture
def arguments(tmp_path: Path) -> list[str]:
    scene = write_raster(tmp_path / "scene.tif", scene_values(150, 130))
    model = random_model(tmp_path / "model")
    return ["colorize", str(scene), "--model", model.path, "--scale", "1e-4"]


def nirgeo(*arguments: str, **streams: Any) -> subprocess.CompletedProcess[str]:
    given = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE} | streams
    return subprocess.run([sys.executable, "-m", "nirgeo", *arguments], text=True, **given)


@needs_a_full_device
@pytest.mark.parametrize("progress", ["bar", "jsonl"])
def test_words_that_nobody_can_take_end_no_work(
    tmp_path: Path, arguments: list[str], progress: str
) -> None:
    target = tmp_path / "rgb.tif"
    with FULL.open("w") as full:
        done = nirgeo(*arguments, "-o", str(target), "--progress", progress, stderr=full)
    assert done.returncode == 0, done.stdout
    assert target.exists()
    assert '"error"' not in done.stdout


@needs_a_full_device
@pytest.mark.parametrize("asked", [["models"], ["--help"], ["--version"], ["info", "SCENE"]])
def test_what_can_not_be_printed_is_told_in_a_line(arguments: list[str], asked: list[str]) -> None:
    asked = [arguments[1] if word == "SCENE" else word for word in asked]
    with FULL.open("w") as full:
        done = nirgeo(*asked, stdout=full)
    assert done.returncode == 1
    (line,) = done.stderr.splitlines()
    assert line.startswith("Error: ")
    assert "No space left on device" in line
    assert "unexpected" not in line


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (OSError(28, "No space left on device"), "finds no room (No space left on device); free"),
        (RuntimeError("can't start new thread"), "no more threads, or memory; use fewer --workers"),
        (RuntimeError("something else"), "unexpected RuntimeError: something else"),
    ],
)
def test_what_a_machine_has_no_more_of_is_no_defect(error: Exception, said: str) -> None:
    @click.command()
    @reports_errors
    def fails() -> None:
        raise error

    done = CliRunner().invoke(fails)
    assert done.exit_code == 1
    assert said in done.stderr


@needs_a_full_device
def test_a_journal_on_a_full_disk_can_be_closed(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "journal.jsonl")
    journal._file = FULL.open("w", encoding="utf-8")
    with pytest.raises(OSError, match="No space"):
        journal._append([{"chunk": [0, 0]}])
    journal.close()  # what it could not write lies in Python's buffer still
    journal.close()


@pytest.mark.skipif(not Path("/proc/self/maps").exists(), reason="only Linux tells")
def test_a_training_that_goes_on_holds_no_checkpoint_open(tmp_path: Path) -> None:
    layer = torch.nn.Linear(300, 300)
    optimizer = torch.optim.Adam(layer.parameters())
    layer(torch.ones(1, 300)).sum().backward()
    optimizer.step()
    path = tmp_path / "checkpoint.safetensors"
    save_checkpoint(path, {"layer": layer}, {"adam": optimizer}, {"step": 1})
    load_checkpoint(path, {"layer": layer}, {"adam": optimizer})
    assert str(path) not in Path("/proc/self/maps").read_text()


def test_onnx_runtime_leaves_nothing_and_tells_nobody(tmp_path: Path, arguments: list[str]) -> None:
    pytest.importorskip("onnxruntime")
    pytest.importorskip("onnx")
    home, temporary = tmp_path / "home", tmp_path / "temporary"
    for folder in (home, temporary):
        folder.mkdir()
    surroundings = os.environ | {"HOME": str(home), "TMPDIR": str(temporary)}
    surroundings.pop("ORT_DISABLE_TELEMETRY", None)
    target = str(tmp_path / "rgb.tif")
    done = nirgeo(*arguments, "-o", target, "--runtime", "onnx", "-q", env=surroundings)
    assert (done.returncode, done.stderr) == (0, "")
    assert [*home.rglob("*"), *temporary.rglob("*")] == []
