"""Runs whose chunks are computed by processes that the run starts."""

from __future__ import annotations

import errno
import multiprocessing
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import dask.array as da
import numpy as np
import psutil
import pytest
import rasterio
import xarray as xr
from helpers import write_raster
from numpy.typing import NDArray
from pictures import command, events, listing, punch_holes, read, scene_values, start
from rasterio.session import AWSSession

import nirgeo
from nirgeo.errors import ClusterError, OptionError, SourceError, TargetError
from nirgeo.modelfile import Model
from nirgeo.processes import Processes

CHUNKS = 30


@pytest.fixture(scope="module")
def processes() -> Iterator[Processes]:
    with Processes(2) as found:
        yield found


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Path:
    values, valid = scene_values(310, 370), punch_holes(310, 370)
    values[~valid] = 0
    return write_raster(tmp_path_factory.mktemp("scene") / "scene.tif", values, nodata=0)


@pytest.fixture(scope="module")
def finished(scene: Path, tiny: Model, tmp_path_factory: pytest.TempPathFactory) -> bytes:
    target = tmp_path_factory.mktemp("whole") / "rgb.tif"
    nirgeo.write_geotiff(picture(scene, tiny), target, scheduler="threads")
    return target.read_bytes()


def picture(scene: Path, model: Model, **options: Any) -> xr.DataArray:
    return nirgeo.colorize(nirgeo.open_scene(scene, scale="1e-4", chunk=1), model, **options)


def pids(processes: Processes) -> set[int]:
    return {member.process.pid for member in processes._members}


def gone(found: set[int]) -> bool:
    return not any(psutil.pid_exists(pid) for pid in found)


def as_by_threads(folder: Path, rgb: xr.DataArray, processes: Processes) -> bytes:
    """The file that processes make, which is the one that threads make."""
    nirgeo.write_geotiff(rgb, folder / "there.tif", scheduler=processes)
    nirgeo.write_geotiff(rgb, folder / "here.tif", scheduler="threads")
    there = (folder / "there.tif").read_bytes()
    assert there == (folder / "here.tif").read_bytes()
    return there


# --- the same picture -----------------------------------------------------------------------------


def test_processes_make_the_same_bytes(
    tmp_path: Path, scene: Path, tiny: Model, finished: bytes, processes: Processes
) -> None:
    told: list[tuple[int, int]] = []
    nirgeo.write_geotiff(
        picture(scene, tiny),
        tmp_path / "rgb.tif",
        scheduler=processes,
        on_progress=lambda *event: told.append(event),
    )
    assert (tmp_path / "rgb.tif").read_bytes() == finished
    assert told == [(k, CHUNKS) for k in range(1, CHUNKS + 1)]
    assert list(listing(tmp_path)) == ["rgb.tif"]


def test_they_are_kept_for_the_next_scene_and_end_with_the_context(
    tmp_path: Path, scene: Path, tiny: Model, finished: bytes
) -> None:
    seen = []
    with Processes(2) as processes:
        assert not pids(processes)  # none before there is work
        for name in ("first", "second"):
            nirgeo.write_geotiff(
                picture(scene, tiny), tmp_path / name, scheduler=processes, overwrite=True
            )
            seen.append(pids(processes))
    assert len(seen[0]) == 2
    assert seen[0] == seen[1]
    assert gone(seen[0])
    assert (tmp_path / "second").read_bytes() == finished


def test_by_name(tmp_path: Path, scene: Path, tiny: Model, finished: bytes) -> None:
    target = tmp_path / "rgb.tif"
    nirgeo.write_geotiff(picture(scene, tiny), target, scheduler="processes", workers=2)
    assert target.read_bytes() == finished


def test_with_hint_uncertainty_and_reflectance(
    tmp_path: Path, scene: Path, processes: Processes
) -> None:
    """What a recipe may hold travels: a hint for the place, and what the scene looks like."""
    rgb = nirgeo.colorize(
        nirgeo.open_scene(scene, scale="1e-4", chunk=3),
        "satellite-nir",
        uncertainty=True,
        output="reflectance",
    )
    as_by_threads(tmp_path, rgb, processes)


def test_with_a_reference(
    tmp_path: Path, scene: Path, tiny: Model, finished: bytes, processes: Processes
) -> None:
    (tmp_path / "reference.tif").write_bytes(finished)
    rgb = picture(scene, tiny, reference=tmp_path / "reference.tif")
    as_by_threads(tmp_path, rgb, processes)


def test_from_another_folder(
    tmp_path: Path,
    scene: Path,
    tiny: Model,
    finished: bytes,
    processes: Processes,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # They stand where they were started: a relative path would mean another file there.
    monkeypatch.chdir(scene.parent)
    rgb = picture(Path(scene.name), tiny)
    monkeypatch.chdir(tmp_path)
    nirgeo.write_geotiff(rgb, "rgb.tif", scheduler=processes)
    assert (tmp_path / "rgb.tif").read_bytes() == finished


def test_chunks_that_need_each_other_are_computed_here(
    tmp_path: Path, tiny: Model, processes: Processes
) -> None:
    values = scene_values(300, 260).astype(np.float32) * 1e-4
    array = xr.DataArray(da.from_array(values, chunks=64), dims=("y", "x"))
    rgb = nirgeo.colorize(array, tiny, scale="1")
    as_by_threads(tmp_path, rgb, processes)


def test_functions_of_ones_own_travel(
    tmp_path: Path, scene: Path, tiny: Model, finished: bytes, processes: Processes
) -> None:
    rgb = picture(scene, tiny)
    darker = rgb.copy(data=rgb.data.map_blocks(lambda block: block // 2, dtype=np.uint8))
    assert as_by_threads(tmp_path, darker, processes) != finished


ENVIRONMENT = "NIRGEO_TEST_OF_PROCESSES"


def test_what_the_environment_says_now_holds(
    tmp_path: Path, scene: Path, tiny: Model, processes: Processes, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Access to storage is often told there, after other processes were started."""
    nirgeo.write_geotiff(picture(scene, tiny), tmp_path / "first.tif", scheduler=processes)
    monkeypatch.setenv(ENVIRONMENT, "7")
    rgb = picture(scene, tiny)
    marked = rgb.copy(data=rgb.data.map_blocks(mark, dtype=np.uint8))
    nirgeo.write_geotiff(marked, tmp_path / "rgb.tif", scheduler="processes", workers=2)
    values, valid = read(tmp_path / "rgb.tif")[:2]
    assert set(np.unique(values[:, valid])) == {7}


def mark(block: NDArray[Any]) -> NDArray[Any]:
    return np.full_like(block, int(os.environ[ENVIRONMENT]))


def test_several_scenes_on_the_command_line(
    tmp_path: Path, scene: Path, tiny: Model, finished: bytes
) -> None:
    other = tmp_path / "other.tif"
    other.write_bytes(scene.read_bytes())
    options = ["--model", tiny.path, "--chunk", 1, "--scale", "1e-4", "--workers", 2]
    found = command(
        "colorize",
        scene,
        other,
        "--out-dir",
        tmp_path / "out",
        "--scheduler",
        "processes",
        *options,
    )
    assert "processes: 2" in found.stderr
    for name in ("scene", "other"):
        assert (tmp_path / "out" / f"{name}_rgb.tif").read_bytes() == finished


def test_several_threads_take_turns(
    tmp_path: Path, scene: Path, tiny: Model, finished: bytes, processes: Processes
) -> None:
    def write(number: int) -> bytes:
        target = tmp_path / f"{number}.tif"
        nirgeo.write_geotiff(picture(scene, tiny), target, scheduler=processes)
        return target.read_bytes()

    with ThreadPoolExecutor(4) as pool:
        assert set(pool.map(write, range(4))) == {finished}


def key_there(block: NDArray[Any]) -> NDArray[Any]:
    """Paint a block as the process that computes it is signed in: 7, or 1 if it is not."""
    from rasterio.env import getenv

    signed_in = getenv().get("AWS_ACCESS_KEY_ID") == "key"
    return np.full_like(block, 7 if signed_in else 1)


def test_what_rasterio_has_signed_in_with_travels(
    tmp_path: Path, scene: Path, tiny: Model, processes: Processes
) -> None:
    session = AWSSession(aws_access_key_id="key", aws_secret_access_key="secret")
    rgb = picture(scene, tiny)
    told = rgb.data.map_blocks(key_there, dtype=np.uint8, meta=rgb.data._meta)
    with rasterio.Env(session=session) as env:
        env.credentialize()
        nirgeo.write_geotiff(rgb.copy(data=told), tmp_path / "rgb.tif", scheduler=processes)
    with rasterio.open(tmp_path / "rgb.tif") as file:
        assert set(file.read()[:, file.dataset_mask() > 0].tolist()[0]) == {7}


def test_nothing_is_loaded_from_the_current_folder(
    tmp_path: Path, scene: Path, tiny: Model, finished: bytes
) -> None:
    for name in ("rasterio", "xarray", "torch", "numpy", "nirgeo"):
        (tmp_path / f"{name}.py").write_text(f"print('{name} is loaded')\nraise SystemExit(1)\n")
    options = ["--model", tiny.path, "--chunk", 1, "--scale", "1e-4", "--workers", 2, "-q"]
    options += ["--scheduler", "processes", "-o", tmp_path / "rgb.tif"]
    # As the installed command: without the current folder in its own path.
    done = subprocess.run(
        [sys.executable, "-P", "-m", "nirgeo", "colorize", *map(str, [scene, *options])],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert (tmp_path / "rgb.tif").read_bytes() == finished


@pytest.mark.slow
def test_warnings_are_those_of_the_process_that_asked(tmp_path: Path, tiny: Model) -> None:
    nowhere = write_raster(tmp_path / "scene.tif", scene_values(150, 150), crs=None, transform=None)
    options = ["--model", tiny.path, "--chunk", 1, "--scale", "1e-4", "--workers", 2, "-q"]
    child = start("colorize", nowhere, *options, "--scheduler", "processes")
    assert child.communicate(timeout=100) == ("", "")
    assert child.returncode == 0


def test_a_count_that_is_none_is_refused(tmp_path: Path, scene: Path) -> None:
    options = ["-o", tmp_path / "rgb.tif", "--scheduler", "processes", "--workers", 0]
    found = command("colorize", scene, *options, expect=1)
    assert "--workers 0" in found.stderr
    assert list(tmp_path.iterdir()) == []


# --- what goes wrong ------------------------------------------------------------------------------


@pytest.mark.parametrize("count", [0, -1])
def test_there_is_at_least_one(count: int) -> None:
    with pytest.raises(OptionError, match=f"--workers {count}"):
        Processes(count)


SCRIPT = """
import nirgeo
scene = nirgeo.open_scene({scene!r}, scale="1e-4", chunk=1)
nirgeo.write_geotiff(nirgeo.colorize(scene, {model!r}), "rgb.tif", scheduler="processes", workers=2)
"""


@pytest.mark.slow
def test_a_script_that_its_processes_would_run_again(
    tmp_path: Path, scene: Path, tiny: Model
) -> None:
    (tmp_path / "script.py").write_text(SCRIPT.format(scene=str(scene), model=str(tiny.path)))
    done = subprocess.run(
        [sys.executable, "script.py"], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == 1
    last = done.stderr.splitlines()[-1]
    assert "could not begin" in last
    assert "below if __name__ == '__main__':" in last


def test_one_that_died_meanwhile_is_replaced(
    tmp_path: Path, scene: Path, tiny: Model, finished: bytes
) -> None:
    with Processes(2) as processes:
        for name in ("first", "second"):
            nirgeo.write_geotiff(picture(scene, tiny), tmp_path / name, scheduler=processes)
            victim = processes._members[0].process
            victim.kill()
            victim.join()
    assert (tmp_path / "second").read_bytes() == finished


def test_those_that_ignore_to_be_ended_are_ended(
    tmp_path: Path, scene: Path, tiny: Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("nirgeo.processes._END_SECONDS", 0.3)
    with Processes(2) as processes:
        nirgeo.write_geotiff(picture(scene, tiny), tmp_path / "rgb.tif", scheduler=processes)
        found = pids(processes)
        os.kill(min(found), signal.SIGSTOP)
    assert gone(found)


def test_an_error_that_only_its_maker_knows(
    tmp_path: Path, scene: Path, tiny: Model, processes: Processes
) -> None:
    class OwnError(Exception):
        pass

    def fail_so(block: NDArray[Any]) -> NDArray[Any]:
        raise OwnError("in my words")

    rgb = picture(scene, tiny)
    broken = rgb.copy(data=rgb.data.map_blocks(fail_so, dtype=np.uint8))
    with pytest.raises(Exception, match="in my words"):
        nirgeo.write_geotiff(broken, tmp_path / "rgb.tif", scheduler=processes)


class Strange:
    """Can be sent, and not be read."""

    def __reduce__(self) -> tuple[Any, ...]:
        return unreadable, ()


def unreadable() -> None:
    if multiprocessing.current_process().daemon:
        raise ModuleNotFoundError("no such thing here")


def test_what_can_not_be_read_there_is_told(
    tmp_path: Path, scene: Path, tiny: Model, processes: Processes
) -> None:
    rgb = picture(scene, tiny)
    strange = rgb.copy(data=rgb.data.map_blocks(same, Strange(), dtype=np.uint8))
    with pytest.raises(ModuleNotFoundError, match="no such thing here"):
        nirgeo.write_geotiff(strange, tmp_path / "rgb.tif", scheduler=processes)


def same(block: NDArray[Any], _: Any) -> NDArray[Any]:
    return block


def test_what_a_chunk_raises_is_raised_here(tmp_path: Path, tiny: Model) -> None:
    scene = write_raster(tmp_path / "in" / "scene.tif", scene_values(200, 200))
    rgb = picture(scene, tiny)
    scene.unlink()
    with (
        Processes(2) as processes,
        pytest.raises(SourceError, match=r"scene\.tif"),
    ):
        nirgeo.write_geotiff(rgb, tmp_path / "rgb.tif", scheduler=processes)
    assert list(listing(tmp_path)) == ["in"]


def test_they_go_on_after_a_failure(
    tmp_path: Path, scene: Path, tiny: Model, finished: bytes, processes: Processes
) -> None:
    rgb = picture(scene, tiny)
    broken = rgb.copy(data=rgb.data.map_blocks(fail, dtype=np.uint8))
    with pytest.raises(ZeroDivisionError):
        nirgeo.write_geotiff(broken, tmp_path / "rgb.tif", scheduler=processes)
    nirgeo.write_geotiff(rgb, tmp_path / "rgb.tif", scheduler=processes)
    assert (tmp_path / "rgb.tif").read_bytes() == finished


def fail(block: NDArray[Any]) -> NDArray[Any]:
    return block // (1 // 0)


def test_a_full_disk_is_told(tmp_path: Path, scene: Path, tiny: Model) -> None:
    rgb = picture(scene, tiny)
    full = rgb.copy(data=rgb.data.map_blocks(no_space, dtype=np.uint8))
    with (
        Processes(2) as processes,
        pytest.raises(TargetError, match=r"no space left for .*rgb\.tif; free some"),
    ):
        nirgeo.write_geotiff(full, tmp_path / "rgb.tif", scheduler=processes)
    assert list(listing(tmp_path)) == []


def no_space(block: NDArray[Any]) -> NDArray[Any]:
    raise OSError(errno.ENOSPC, "No space left on device")


def test_a_process_that_dies_is_told_and_what_is_done_is_kept(
    tmp_path: Path, scene: Path, tiny: Model, finished: bytes
) -> None:
    target = tmp_path / "rgb.tif"

    def kill_one(done: int, total: int) -> None:
        if done == 6:
            os.kill(processes._members[0].process.pid, signal.SIGKILL)

    with Processes(2) as processes:
        with pytest.raises(
            ClusterError, match=r"little memory.*exit code -9.*run again with --resume"
        ):
            nirgeo.write_geotiff(
                picture(scene, tiny), target, scheduler=processes, on_progress=kill_one
            )
        assert not target.exists()
        resumed: list[int] = []
        nirgeo.write_geotiff(
            picture(scene, tiny),
            target,
            scheduler=processes,  # others are started
            resume=True,
            on_start=lambda done, _: resumed.append(done),
        )
    assert 6 <= resumed[0] < CHUNKS
    assert target.read_bytes() == finished
    assert list(listing(tmp_path)) == ["rgb.tif"]


SLOW = """
from nirgeo import nearby, processes
original = processes._Member.hears_of_a_chunk

def slowly(self):
    import time
    time.sleep(0.1)
    return original(self)

processes._Member.hears_of_a_chunk = slowly
"""


@pytest.mark.parametrize(
    "number",
    [
        signal.SIGINT,
        pytest.param(signal.SIGTERM, marks=pytest.mark.slow),
        pytest.param(signal.SIGKILL, marks=pytest.mark.slow),
    ],
)
def test_nobody_is_left_behind(
    tmp_path: Path, scene: Path, tiny: Model, finished: bytes, number: signal.Signals
) -> None:
    target = tmp_path / "rgb.tif"
    options = ["--model", tiny.path, "--chunk", 1, "--scale", "1e-4", "--progress", "jsonl"]
    options += ["--resume", "-o", target]
    by_processes = ["--scheduler", "processes", "--workers", 2]
    child = start("colorize", scene, *options, *by_processes, prelude=SLOW)
    assert child.stdout is not None
    for line in child.stdout:
        if events(line)[0].get("done", 0) >= 4:
            break
    others = psutil.Process(child.pid).children(recursive=True)
    assert len(others) >= 2
    if number == signal.SIGINT:  # a terminal sends it to all
        for other in others:
            other.send_signal(number)
    child.send_signal(number)
    _, said = child.communicate(timeout=60)
    assert "Traceback" not in said
    deadline = time.monotonic() + 30
    while any(other.is_running() and other.status() != "zombie" for other in others):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    done = events(command("colorize", scene, *options).stdout)
    assert done[0]["resumed"] >= 4
    assert target.read_bytes() == finished
