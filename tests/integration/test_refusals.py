"""Bad input: one line naming the value and the remedy, an exit code, and nothing left behind."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import numpy as np
import pytest
from helpers import write_random_model, write_raster
from pictures import command, scene_values
from safetensors.numpy import load_file, save_file

from nirgeo.blockstore import BlockStore
from nirgeo.modelfile import Model


def refused(folder: Path, *args: object) -> str:
    """The single error line of a run that must fail and must leave the folder as it was."""
    before = sorted(str(p) for p in folder.rglob("*"))
    result = command("colorize", *args, "--progress", "none", expect=None)
    assert result.exit_code == 1, result.output
    assert sorted(str(p) for p in folder.rglob("*")) == before
    lines = result.stderr.strip().splitlines()
    assert len(lines) == 1, lines
    assert lines[0].startswith("Error: ")
    return lines[0]


@pytest.fixture
def scene(tmp_path: Path) -> Path:
    return write_raster(tmp_path / "scene.tif", scene_values(90, 110))


def test_no_such_file(tmp_path: Path) -> None:
    assert "gone.tif: no such file" in refused(tmp_path, tmp_path / "gone.tif")


def test_not_a_raster(tmp_path: Path) -> None:
    path = tmp_path / "notes.tif"
    path.write_text("not a raster")
    assert "not a raster that GDAL can read" in refused(tmp_path, path)


def test_truncated(tmp_path: Path, tiny: Model) -> None:
    path = write_raster(tmp_path / "cut.tif", scene_values(900, 900), tiled=True)
    os.truncate(path, path.stat().st_size // 2)
    line = refused(tmp_path, path, "--model", tiny.path, "--scale", "0.0001")
    assert "cut.tif" in line
    assert "truncated or damaged" in line


def test_no_band_that_could_be_near_infrared(tmp_path: Path) -> None:
    path = write_raster(tmp_path / "six.tif", np.ones((6, 40, 40), dtype=np.uint16))
    line = refused(tmp_path, path)
    assert "--nir" in line
    assert "6" in line


def test_wrong_band_number(tmp_path: Path, scene: Path) -> None:
    line = refused(tmp_path, scene, "--nir", "7")
    assert "--nir 7" in line
    assert "bands 1 to 1" in line


def test_complex_values(tmp_path: Path) -> None:
    path = write_raster(tmp_path / "radar.tif", np.ones((40, 40), dtype=np.complex64))
    assert "complex64" in refused(tmp_path, path)


def test_all_nodata(tmp_path: Path, tiny: Model) -> None:
    path = write_raster(tmp_path / "empty.tif", np.zeros((200, 90), dtype=np.uint16), nodata=0)
    line = refused(tmp_path, path, "--model", tiny.path, "--scale", "0.0001")
    assert "every pixel" in line
    assert "--nodata" in line


def test_target_folder_missing(tmp_path: Path, scene: Path) -> None:
    line = refused(tmp_path, scene, "-o", tmp_path / "nowhere" / "out.tif")
    assert "nowhere is not a folder" in line


def test_target_is_a_folder(tmp_path: Path, scene: Path) -> None:
    (tmp_path / "out.tif").mkdir()
    assert "folder" in refused(tmp_path, scene, "-o", tmp_path / "out.tif", "--overwrite")


def test_target_not_writable(tmp_path: Path, scene: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "locked").mkdir()
    real = os.access

    # Tests may run as root, whom no permission stops.
    def access(path: object, mode: int, **more: object) -> bool:
        return "locked" not in str(path) and real(path, mode, **more)  # type: ignore[arg-type]

    monkeypatch.setattr(os, "access", access)
    line = refused(tmp_path, scene, "-o", tmp_path / "locked" / "out.tif")
    assert "can't be written to" in line


def test_target_exists(tmp_path: Path, scene: Path) -> None:
    (tmp_path / "out.tif").write_bytes(b"precious")
    assert "--overwrite" in refused(tmp_path, scene, "-o", tmp_path / "out.tif")
    assert (tmp_path / "out.tif").read_bytes() == b"precious"


def test_full_disk(
    tmp_path: Path, scene: Path, tiny: Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(self: BlockStore, data: bytes, position: int) -> None:
        if position > 0:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(BlockStore, "_write_at", full)
    line = refused(tmp_path, scene, "--model", tiny.path, "--scale", "0.0001")
    assert "no space left" in line


def test_unknown_model(tmp_path: Path, scene: Path) -> None:
    line = refused(tmp_path, scene, "--model", "aerial-nit")
    assert "'aerial-nit'" in line
    assert "aerial-nir@7" in line


def test_unknown_creation_option(tmp_path: Path, scene: Path) -> None:
    line = refused(tmp_path, scene, "--co", "COMPRES=ZSTD")
    assert "COMPRES" in line
    assert "COMPRESS" in line


def test_weights_of_a_wrong_shape(tmp_path: Path, scene: Path) -> None:
    good = write_random_model(tmp_path)
    from safetensors import safe_open

    with safe_open(good, framework="numpy") as file:
        metadata = file.metadata()
    tensors = load_file(good)
    tensors["stem.weight"] = tensors["stem.weight"][:-1]
    bad = tmp_path / "bad.safetensors"
    save_file(tensors, bad, metadata=metadata)
    line = refused(tmp_path, scene, "--model", bad, "--scale", "0.0001")
    assert "stem.weight" in line


def test_shipped_weights_with_a_wrong_hash(
    tmp_path: Path, scene: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import json
    import shutil

    from nirgeo import registry

    shutil.copytree(registry._weights_folder(), tmp_path / "weights")
    entries = json.loads((tmp_path / "weights" / "registry.json").read_text())
    for entry in entries:
        entry["sha256"] = "0" * 64
    (tmp_path / "weights" / "registry.json").write_text(json.dumps(entries))
    monkeypatch.setattr(registry, "_weights_folder", lambda: tmp_path / "weights")
    registry.shipped_models.cache_clear()
    try:
        line = refused(tmp_path, scene, "--model", "satellite-nir")
    finally:
        monkeypatch.undo()
        registry.shipped_models.cache_clear()
    assert "sha256" in line
    assert "reinstall" in line


@pytest.mark.parametrize("scale", ["ten", "0", "-1", "1,2,3", "nan", "1,inf"])
def test_scales_that_are_none(tmp_path: Path, scene: Path, scale: str) -> None:
    assert "scal" in refused(tmp_path, scene, "--scale", scale)


def test_bounds_outside(tmp_path: Path, scene: Path) -> None:
    line = refused(tmp_path, scene, "--bounds", 0, 0, 1, 1)
    assert "outside the scene" in line
    assert "500000" in line


def test_counts_for_a_reflectance_model(tmp_path: Path, tiny: Model) -> None:
    path = write_raster(tmp_path / "eight.tif", scene_values(40, 40, "uint8"))
    line = refused(tmp_path, path, "--model", tiny.path)
    assert "--scale" in line
