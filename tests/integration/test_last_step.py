"""Everything is computed, and the file can't be made or named: nothing of the work is lost."""

from __future__ import annotations

import errno
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from helpers import write_raster
from pictures import listing, read, scene_values
from xarray import DataArray

import nirgeo
from nirgeo import cog, target
from nirgeo.errors import TargetError
from nirgeo.modelfile import Model
from nirgeo.overviews import Overviews

BESIDE = (".aux.xml", ".ovr", ".msk")


@pytest.fixture
def picture(tmp_path: Path, tiny: Model) -> DataArray:
    path = write_raster(tmp_path / "in" / "scene.tif", scene_values(150, 170))
    return nirgeo.colorize(nirgeo.open_scene(path, scale=1e-4, chunk=1), tiny)


@pytest.fixture
def out(tmp_path: Path) -> Path:
    folder = tmp_path / "out"
    folder.mkdir()
    return folder / "rgb.tif"


def refusing(number: int) -> Any:
    def refuse(*_: Any, **__: Any) -> None:
        raise OSError(number, os.strerror(number))

    return refuse


def chunks_computed(picture: DataArray, path: Path, **options: Any) -> int:
    starts: list[int] = []
    nirgeo.write_geotiff(
        picture, path, on_start=lambda done, total: starts.append(total - done), **options
    )
    return starts[0]


@pytest.mark.parametrize("former", [False, True], ids=["", "overwrite"])
@pytest.mark.parametrize(
    ("what", "name", "number", "said"),
    [
        (os, "link", errno.EACCES, "Permission denied"),
        (Overviews, "finish", errno.ENOSPC, "no space left"),
        (cog, "write_cog", errno.ENOSPC, "no space left"),
        (target.json, "dump", errno.ENOSPC, "no space left"),
    ],
)
def test_what_is_computed_is_kept(
    picture: DataArray,
    out: Path,
    monkeypatch: pytest.MonkeyPatch,
    former: bool,
    what: Any,
    name: str,
    number: int,
    said: str,
) -> None:
    if former:
        for beside in ("", *BESIDE):
            Path(f"{out}{beside}").write_bytes(b"former")
    before = {k: v for k, v in listing(out.parent).items() if not k.startswith(".rgb")}
    with monkeypatch.context() as patched:
        patched.setattr(what, name, refusing(number))
        if (what, name) == (os, "link"):
            real = os.replace
            patched.setattr(os, "rename", refusing(number))
            patched.setattr(
                os,
                "replace",
                lambda old, new: refusing(number)() if str(new) == str(out) else real(old, new),
            )
        with pytest.raises(TargetError, match=said) as caught:
            nirgeo.write_geotiff(picture, out, overwrite=former)
    assert "is kept in" in str(caught.value)
    assert "--resume" in str(caught.value)
    # The former file, and what is said of it, are as they were.
    now = {k: v for k, v in listing(out.parent).items() if not k.startswith(".rgb")}
    assert now == before
    assert chunks_computed(picture, out, overwrite=former, resume=True) == 0
    whole = out.with_name("whole.tif")
    nirgeo.write_geotiff(picture, whole)
    assert out.read_bytes() == whole.read_bytes()
    assert list(listing(out.parent)) == ["rgb.tif", "whole.tif"]


@pytest.mark.skipif(os.name != "posix", reason="folders are not synced there")
def test_a_folder_that_can_not_be_synced_has_its_file(
    picture: DataArray, out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = os.fsync

    def files_only(fd: int) -> None:
        if os.path.isdir(f"/proc/self/fd/{fd}"):
            raise OSError(errno.EINVAL, "Invalid argument")
        real(fd)

    monkeypatch.setattr(os, "fsync", files_only)
    nirgeo.write_geotiff(picture, out)
    assert list(listing(out.parent)) == ["rgb.tif"]


@pytest.mark.skipif(not os.path.isdir("/proc/self/fd"), reason="open files can't be listed here")
def test_no_file_stays_open(picture: DataArray, out: Path) -> None:
    nirgeo.write_geotiff(picture, out)
    held = [os.path.realpath(f"/proc/self/fd/{fd}") for fd in os.listdir("/proc/self/fd")]
    assert [path for path in held if path.startswith(str(out.parents[1]))] == []
    # And the scene can still be read.
    assert np.array_equal(picture.compute(), read(out)[0])


def former_of(out: Path) -> dict[str, bytes]:
    for beside in ("", *BESIDE):
        Path(f"{out}{beside}").write_bytes(b"former" + beside.encode())
    return {name: (out.parent / name).read_bytes() for name in listing(out.parent)}


def test_an_interruption_right_after_the_renaming_keeps_the_result(
    picture: DataArray, out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    former_of(out)
    real = os.replace

    def replaced(old: Any, new: Any) -> None:
        real(old, new)
        if str(new) == str(out):
            raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(os, "replace", replaced)
        with pytest.raises(KeyboardInterrupt):
            nirgeo.write_geotiff(picture, out, overwrite=True, resume=True)
    assert [name for name in listing(out.parent) if not name.startswith(".")] == ["rgb.tif"]
    assert chunks_computed(picture, out, resume=True) == 0  # it finds it made
    assert list(listing(out.parent)) == ["rgb.tif"]


def test_what_a_killed_run_put_aside_comes_back(
    picture: DataArray, out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = former_of(out)

    class Killed(BaseException):
        pass

    with monkeypatch.context() as patched:
        patched.setattr(target, "_patiently", lambda *_: (_ for _ in ()).throw(Killed))
        patched.setattr(target.Target, "_put_back", lambda self: None)
        patched.setattr(target.Target, "clear", lambda self: None)
        with pytest.raises(Killed):
            nirgeo.write_geotiff(picture, out, overwrite=True, resume=True)
    assert not Path(f"{out}.msk").exists()
    # The next run fails, and leaves what was there.
    with monkeypatch.context() as patched:
        patched.setattr(cog, "write_cog", refusing(errno.EIO))
        with pytest.raises(TargetError):
            nirgeo.write_geotiff(picture, out, overwrite=True)
    assert {n: (out.parent / n).read_bytes() for n in before} == before


@pytest.mark.parametrize("when", ["on_progress", "on_writing"])
def test_a_listener_that_goes_away_is_no_failure_of_the_disk(
    picture: DataArray, out: Path, monkeypatch: pytest.MonkeyPatch, when: str
) -> None:
    def gone(*_: Any) -> None:
        raise BrokenPipeError(errno.EPIPE, "Broken pipe")

    def tell(store: Any, *arguments: Any) -> None:
        arguments[5](0.5)

    monkeypatch.setattr("nirgeo.write._each_second", lambda tell: lambda share: tell(share, 100))
    if when == "on_writing":
        monkeypatch.setattr(cog, "write_strips", tell)
    with pytest.raises(BrokenPipeError):
        nirgeo.write_geotiff(picture, out, **{"on_writing": lambda *_: None, when: gone})
    assert list(listing(out.parent)) == []
