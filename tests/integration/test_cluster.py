"""Runs on a real dask cluster: a scheduler and workers in processes of their own."""

from __future__ import annotations

import asyncio
import errno
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import dask
import dask.array as da
import numpy as np
import pytest
import rasterio
import torch
import xarray as xr
from distributed import Client, Future, LocalCluster, get_client
from distributed.core import Status
from helpers import NORTH_UP_10M, random_model, write_raster
from numpy.typing import NDArray
from pictures import COLOURS, command, events, listing, punch_holes, read, scene_values

import nirgeo
from nirgeo import array_blocks, cluster, nearby, pinned, sent
from nirgeo.blockstore import BlockStore
from nirgeo.cli import many_scenes
from nirgeo.errors import ClusterError, OptionError, SourceError, TargetError
from nirgeo.modelfile import Model

CHUNKS = 30  # of one tile each


@contextmanager
def two_workers() -> Iterator[Client]:
    """Of one thread, each a process that is started again when it dies."""
    with (
        LocalCluster(
            n_workers=2, threads_per_worker=1, processes=True, dashboard_address=None
        ) as workers,
        Client(workers, set_as_default=False) as client,
    ):
        yield client


@pytest.fixture(scope="module")
def client() -> Iterator[Client]:
    with two_workers() as client:
        yield client


@dataclass
class Run:
    """One picture, and what a run of this process alone makes of it."""

    scene: Path
    model: Model
    finished: bytes = b""
    progress: list[int] = field(default_factory=list)

    def picture(self) -> xr.DataArray:
        return nirgeo.colorize(nirgeo.open_scene(self.scene, scale="1e-4", chunk=1), self.model)

    def write(self, target: Path, **options: Any) -> None:
        nirgeo.write_geotiff(self.picture(), target, **options)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory, tiny: Model) -> Run:
    folder = tmp_path_factory.mktemp("scene")
    values, valid = scene_values(310, 370), punch_holes(310, 370)
    values[~valid] = 0
    scene = write_raster(folder / "scene.tif", values, nodata=0)
    found = Run(scene, tiny)
    found.write(folder / "local.tif", scheduler="threads")
    found.finished = (folder / "local.tif").read_bytes()
    return found


@pytest.fixture
def writes(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, int]]:
    """Every chunk that is put into a store, in order."""
    seen: list[tuple[int, int]] = []
    original = BlockStore.write

    def write(self: BlockStore, i: int, j: int, block: NDArray[Any], *, sync: bool = True) -> int:
        seen.append((i, j))
        return original(self, i, j, block, sync=sync)

    monkeypatch.setattr(BlockStore, "write", write)
    return seen


@pytest.fixture
def far(monkeypatch: pytest.MonkeyPatch) -> None:
    """The workers are not on this machine, as far as this process can tell."""
    monkeypatch.setattr(nearby, "machine", lambda: "another one")


@pytest.fixture
def away(request: pytest.FixtureRequest) -> bool:
    """Whether the workers are ``far``, as the test's parameter says."""
    if request.param:
        request.getfixturevalue("far")
    return bool(request.param)


# --- one scene ------------------------------------------------------------------------------------


@pytest.mark.parametrize("away", [True, False], indirect=True)
def test_a_cluster_makes_the_same_bytes(
    tmp_path: Path,
    run: Run,
    client: Client,
    writes: list[tuple[int, int]],
    away: bool,
) -> None:
    """Workers of this machine write their chunks themselves; those of others send them."""
    told: list[tuple[int, int]] = []
    run.write(tmp_path / "rgb.tif", scheduler=client, on_progress=lambda *event: told.append(event))
    assert (tmp_path / "rgb.tif").read_bytes() == run.finished
    assert sorted(writes) == ([(i, j) for i in range(5) for j in range(6)] if away else [])
    assert told == [(k, CHUNKS) for k in range(1, CHUNKS + 1)]
    assert list(listing(tmp_path)) == ["rgb.tif"]


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="needs /proc")
def test_workers_hold_no_file_of_a_finished_run(tmp_path: Path, run: Run, client: Client) -> None:
    run.write(tmp_path / "rgb.tif", scheduler=client)
    for files in client.run(open_files).values():
        assert not [file for file in files if ".nirgeo" in file]


def open_files() -> list[str]:
    found = []
    for fd in os.listdir("/proc/self/fd"):
        with suppress(OSError):
            found.append(os.readlink(f"/proc/self/fd/{fd}"))
    return found


def test_a_worker_that_may_not_write_sends_its_chunks(
    tmp_path: Path, run: Run, client: Client, writes: list[tuple[int, int]]
) -> None:
    """Its token is another run's, as where the same path is another folder."""
    first = min(client.run(os.getpid))
    client.run(forget_folder, workers=[first])
    try:
        run.write(tmp_path / "rgb.tif", scheduler=client)
    finally:
        client.run(remember_folder, workers=[first])
    assert (tmp_path / "rgb.tif").read_bytes() == run.finished
    assert 0 < len(writes) < CHUNKS


def forget_folder() -> None:
    nearby._NAME = "nothing"


def remember_folder() -> None:
    nearby._NAME = "writer"


def test_a_full_disk_where_a_worker_writes_is_told(
    tmp_path: Path, run: Run, client: Client
) -> None:
    client.run(fill_disk)
    try:
        with pytest.raises(TargetError, match=r"no space left for .*rgb\.tif; free some"):
            run.write(tmp_path / "rgb.tif", scheduler=client)
    finally:
        client.run(empty_disk)
    assert list(listing(tmp_path)) == []


def fill_disk() -> None:
    def full(*_: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    nearby.keep_chunk, nearby.kept = full, nearby.keep_chunk  # type: ignore


def empty_disk() -> None:
    nearby.keep_chunk = nearby.kept  # type: ignore[attr-defined]


@pytest.mark.parametrize("output", ["display", "reflectance"])
def test_all_that_a_chunk_leaves_is_left_by_a_worker(
    tmp_path: Path, tiny: Model, client: Client, output: Any
) -> None:
    """Overviews, and a mask; of a chunk that is empty and of one at the edge too."""
    values = scene_values(1500, 700)
    values[:640, :400] = 0
    scene = write_raster(tmp_path / "in" / "scene.tif", values, nodata=0)
    picture = nirgeo.colorize(nirgeo.open_scene(scene, scale="1e-4", chunk=4), tiny, output=output)
    nirgeo.write_geotiff(picture, tmp_path / "there.tif", scheduler=client)
    nirgeo.write_geotiff(picture, tmp_path / "here.tif", scheduler="threads")
    assert (tmp_path / "there.tif").read_bytes() == (tmp_path / "here.tif").read_bytes()
    with rasterio.open(tmp_path / "there.tif") as file:
        assert file.overviews(1) == [2, 4]


def test_the_active_client_computes(tmp_path: Path, run: Run, client: Client) -> None:
    def pids(path: Path, **options: Any) -> set[int]:
        picture = run.picture()
        noted = da.map_blocks(note, picture.data, path, dtype=np.uint8, meta=picture.data._meta)
        nirgeo.write_geotiff(picture.copy(data=noted), tmp_path / "rgb.tif", **options)
        (tmp_path / "rgb.tif").unlink()
        return {int(file.name) for file in path.iterdir()}

    workers = set(client.run(os.getpid).values())
    for name in ("active", "threads", "config"):
        (tmp_path / name).mkdir()
    with client.as_current():
        assert pids(tmp_path / "active") <= workers
        assert pids(tmp_path / "threads", scheduler="threads") == {os.getpid()}
        with dask.config.set(scheduler="threads"):
            assert pids(tmp_path / "config") == {os.getpid()}


def note(block: NDArray[Any], folder: Path) -> NDArray[Any]:
    (folder / str(os.getpid())).touch()
    return block


@pytest.mark.parametrize("named_by", ["address", "file"])
def test_from_the_command_line(
    tmp_path: Path, run: Run, client: Client, writes: list[tuple[int, int]], named_by: str
) -> None:
    assert client.scheduler is not None
    scheduler = client.scheduler.address
    if named_by == "file":
        told = tmp_path / "scheduler.json"  # what `dask scheduler --scheduler-file` writes, in part
        told.write_text(json.dumps({"type": "Scheduler", "address": scheduler, "workers": {}}))
        scheduler = str(told)
    target = tmp_path / "rgb.tif"
    arguments = ["colorize", run.scene, "-o", target, "--model", run.model.path, "--chunk", 1]
    arguments += ["--scale", "1e-4", "--scheduler", scheduler]
    done = command(*arguments)
    assert writes == []  # here
    assert target.read_bytes() == run.finished
    assert "cluster: 2 workers, 2 threads" in done.stderr


def test_from_another_folder(
    tmp_path: Path, run: Run, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Workers stand where they were started: a relative path would mean another file there.
    monkeypatch.chdir(run.scene.parent)
    opened = nirgeo.open_scene(run.scene.name, scale="1e-4", chunk=1)
    picture = nirgeo.colorize(opened, os.path.relpath(run.model.path))
    monkeypatch.chdir(tmp_path)
    nirgeo.write_geotiff(picture, "rgb.tif", scheduler=client)
    assert (tmp_path / "rgb.tif").read_bytes() == run.finished


def test_arrays_whose_chunks_need_each_other(tmp_path: Path, run: Run, client: Client) -> None:
    values = scene_values(300, 260).astype(np.float32) * 1e-4
    scene = xr.DataArray(da.from_array(values, chunks=64), dims=("y", "x"))
    picture = nirgeo.colorize(scene, run.model, scale="1")
    nirgeo.write_geotiff(picture, tmp_path / "there.tif", scheduler=client)
    nirgeo.write_geotiff(picture, tmp_path / "here.tif", scheduler="threads")
    assert (tmp_path / "there.tif").read_bytes() == (tmp_path / "here.tif").read_bytes()


READS: list[int] = []


def counted_read(block: NDArray[Any]) -> NDArray[Any]:
    """Counts where it runs: a worker in this process finds this module, not a copy of a closure."""
    sys.modules[__name__].READS.append(1)  # type: ignore[attr-defined]
    return block


@pytest.mark.parametrize("side", [64, 96, 128])
def test_what_chunks_share_is_computed_once(
    tmp_path: Path, run: Run, monkeypatch: pytest.MonkeyPatch, side: int
) -> None:
    calls: list[int] = []
    READS.clear()
    colorize_block = array_blocks.colorize_block

    def counted(*arguments: Any) -> Any:
        calls.append(1)
        return colorize_block(*arguments)

    monkeypatch.setattr(array_blocks, "colorize_block", counted)
    values = scene_values(300, 260).astype(np.float32) * 1e-4
    blocks = da.from_array(values, chunks=side)
    blocks = blocks.map_blocks(counted_read, dtype=blocks.dtype, meta=np.empty((0, 0), "f4"))
    picture = nirgeo.colorize(xr.DataArray(blocks, dims=("y", "x")), run.model, scale="1")
    nirgeo.write_geotiff(picture, tmp_path / "here.tif", scheduler="threads", workers=2)
    expected = len(calls), len(READS)
    assert expected[0] > 3
    calls.clear()
    READS.clear()
    with (
        LocalCluster(
            n_workers=1, threads_per_worker=1, processes=False, dashboard_address=None
        ) as own,
        Client(own) as client,
    ):
        nirgeo.write_geotiff(picture, tmp_path / "there.tif", scheduler=client)
    assert (len(calls), len(READS)) == expected
    assert (tmp_path / "there.tif").read_bytes() == (tmp_path / "here.tif").read_bytes()


@pytest.mark.parametrize("scheduler", [None, "threads", "processes"])
@pytest.mark.parametrize("what", ["picture", "part", "rechunked", "scene"])
def test_what_was_persisted_on_a_cluster_can_be_written(
    tmp_path: Path, run: Run, client: Client, scheduler: str | None, what: str
) -> None:
    with client.as_current():
        scene = nirgeo.open_scene(run.scene, scale="1e-4", chunk=1)
        if what == "scene":
            array = scene.copy().persist()
            picture = nirgeo.colorize(array.isel(y=slice(0, 200)), run.model)
        else:
            picture = nirgeo.colorize(scene, run.model).persist()
            if what == "part":
                picture = picture.isel(x=slice(10, 150))
            elif what == "rechunked":
                picture = picture.chunk(x=70)
        expected = picture.compute()
        target = tmp_path / "rgb.tif"
        nirgeo.write_geotiff(picture, target, scheduler=scheduler)
    np.testing.assert_array_equal(read(target)[0], expected.values)
    np.testing.assert_array_equal(read(target)[1] > 0, expected.valid.values)


@pytest.mark.usefixtures("far")
def test_chunks_under_way_are_bounded(
    tmp_path: Path, run: Run, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    under_way, most = 0, 0
    submit, write = Client.submit, BlockStore.write

    def submitting(self: Client, *arguments: Any, **options: Any) -> Any:
        nonlocal under_way, most
        under_way += 1
        most = max(most, under_way)
        return submit(self, *arguments, **options)

    def writing(self: BlockStore, *arguments: Any, **options: Any) -> int:
        nonlocal under_way
        under_way -= 1
        return write(self, *arguments, **options)

    monkeypatch.setattr(Client, "submit", submitting)
    monkeypatch.setattr(BlockStore, "write", writing)
    run.write(tmp_path / "rgb.tif", scheduler=client)
    assert under_way == 0
    assert 2 <= most <= 4  # of thirty: two for each of two workers


def count_loads() -> None:
    """On a worker: note how often a network is built."""
    from nirgeo import networks

    original, networks.loads = networks.load_generator, []  # type: ignore[attr-defined]

    def load(model: Model) -> Any:
        networks.loads.append(model.sha256)  # type: ignore[attr-defined]
        return original(model)

    networks.load_generator = load  # type: ignore[assignment]


def loads() -> list[str]:
    from nirgeo import networks

    return list(networks.loads)  # type: ignore[attr-defined]


def test_a_worker_loads_the_model_once(tmp_path: Path, run: Run, client: Client) -> None:
    client.run(count_loads)
    model = random_model(tmp_path / "model", seed=77)
    Run(run.scene, model).write(tmp_path / "rgb.tif", scheduler=client)
    counts = [len(found) for found in client.run(loads).values()]
    assert sum(counts) >= 1
    assert max(counts) == 1


def test_what_a_worker_can_not_read_is_told(tmp_path: Path, run: Run, client: Client) -> None:
    scene = write_raster(tmp_path / "in" / "scene.tif", scene_values(200, 200))
    picture = nirgeo.colorize(nirgeo.open_scene(scene, scale="1e-4", chunk=1), run.model)
    scene.unlink()
    with pytest.raises(SourceError, match=r"scene\.tif: no such file"):
        nirgeo.write_geotiff(picture, tmp_path / "rgb.tif", scheduler=client)
    assert list(listing(tmp_path)) == ["in"]


def test_other_versions_are_refused(
    tmp_path: Path, run: Run, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pinned, "versions_here", lambda: {"nirgeo": "0.0", "torch": "1.0"})
    with pytest.raises(ClusterError, match=r"this process nirgeo 0\.0, torch 1\.0"):
        run.write(tmp_path / "rgb.tif", scheduler=client)


# --- what is lost ---------------------------------------------------------------------------------


@pytest.mark.parametrize("away", [pytest.param(True, marks=pytest.mark.slow), False], indirect=True)
def test_a_worker_that_dies_is_survived(
    tmp_path: Path,
    run: Run,
    client: Client,
    writes: list[tuple[int, int]],
    away: bool,
) -> None:
    killed: list[int] = []

    def kill_one(done: int, total: int) -> None:
        if done in (4, 12):
            pids = client.run(os.getpid, on_error="ignore")  # the first one may still be dying
            killed.append(min(set(pids.values()) - set(killed)))
            os.kill(killed[-1], signal.SIGKILL)

    run.write(tmp_path / "rgb.tif", scheduler=client, on_progress=kill_one)
    assert len(killed) == 2
    every = [(i, j) for i in range(5) for j in range(6)]
    assert sorted(writes) == (every if away else [])  # none twice, none missed
    assert (tmp_path / "rgb.tif").read_bytes() == run.finished


def pause(dask_worker: Any) -> None:
    # Or its own look at the memory, five times a second, would have it go on.
    dask_worker.memory_manager.memory_pause_fraction = False
    dask_worker.status = Status.paused


def go_on(dask_worker: Any) -> None:
    dask_worker.status = Status.running


def test_what_a_paused_worker_has_is_given_to_others(
    tmp_path: Path, run: Run, client: Client
) -> None:
    """As dask pauses one that is short of memory."""
    first = min(client.scheduler_info()["workers"])

    def pause_one(done: int, total: int) -> None:
        if done == 4:
            client.run(pause, workers=[first])

    try:
        run.write(tmp_path / "rgb.tif", scheduler=client, on_progress=pause_one)
    finally:
        client.run(go_on, workers=[first])
    assert (tmp_path / "rgb.tif").read_bytes() == run.finished


def timed_out(block: NDArray[Any]) -> NDArray[Any]:
    raise OSError(errno.ETIMEDOUT, "Connection timed out")


def test_a_chunk_that_times_out_is_told(tmp_path: Path, run: Run, client: Client) -> None:
    picture = run.picture()
    late = picture.copy(data=picture.data.map_blocks(timed_out, dtype=np.uint8))
    with pytest.raises(TargetError, match="timed out"):
        nirgeo.write_geotiff(late, tmp_path / "rgb.tif", scheduler=client)


def die(block: NDArray[Any]) -> NDArray[Any]:
    os._exit(7)


def test_a_chunk_that_kills_its_workers_ends_the_run(tmp_path: Path, run: Run) -> None:
    """On a cluster of its own: dask leaves a worker dead that dies while it is started again."""
    picture = run.picture()
    # With meta: dask would try it here otherwise.
    dying = picture.data.map_blocks(die, dtype=np.uint8, meta=picture.data._meta)
    deadly = picture.copy(data=dying)
    with (
        dask.config.set({"distributed.scheduler.allowed-failures": 1}),
        two_workers() as mortals,
        pytest.raises(ClusterError, match=r"2 workers died of the same chunk.*--resume"),
    ):
        nirgeo.write_geotiff(deadly, tmp_path / "rgb.tif", scheduler=mortals)


@dataclass
class OwnCluster:
    """A scheduler and a worker that can be killed without anybody else's noticing."""

    address: str
    processes: list[subprocess.Popen[bytes]]

    def lose_scheduler(self) -> None:
        self.processes[0].kill()
        self.processes[0].wait()


@pytest.fixture
def own_cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[OwnCluster]:
    with closing(socket.socket()) as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    address = f"tcp://127.0.0.1:{port}"
    folder = tmp_path_factory.mktemp("own")
    dask = [sys.executable, "-m", "distributed.cli"]

    def begin(command: str, *options: str) -> subprocess.Popen[bytes]:
        return subprocess.Popen(
            [*dask[:2], f"distributed.cli.dask_{command}", *options],
            cwd=folder,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )

    processes = [begin("scheduler", "--host", address, "--no-dashboard", "--no-show")]
    processes.append(begin("worker", address, "--nthreads", "1", "--no-nanny", "--no-dashboard"))
    try:
        yield OwnCluster(address, processes)
    finally:
        for process in processes:
            process.kill()
            process.wait()


@pytest.mark.parametrize("away", [pytest.param(True, marks=pytest.mark.slow), False], indirect=True)
def test_a_lost_scheduler_leaves_a_state_to_resume(
    tmp_path: Path,
    run: Run,
    own_cluster: OwnCluster,
    writes: list[tuple[int, int]],
    away: bool,
) -> None:
    target = tmp_path / "rgb.tif"

    def lose(done: int, total: int) -> None:
        if done == 7:
            own_cluster.lose_scheduler()

    started = time.monotonic()
    with pytest.raises(ClusterError, match=r"is gone\..* run again with --resume"):
        run.write(target, scheduler=own_cluster.address, on_progress=lose)
    assert time.monotonic() - started < 60
    assert not target.exists()
    before = len(writes)
    assert (7 <= before < CHUNKS) if away else before == 0
    # Here, or on another cluster: it is the same work.
    resumed: list[int] = []
    run.write(target, resume=True, scheduler="threads", on_start=lambda n, _: resumed.append(n))
    if away:
        assert resumed == [before]
    else:
        # What a worker wrote and nobody heard of is written again.
        assert 7 <= resumed[0] < CHUNKS
        before = resumed[0]
    every = [(i, j) for i in range(5) for j in range(6)]
    assert sorted(writes) == (every if away else sorted(set(writes)))
    assert len(writes) == CHUNKS - (0 if away else before)
    assert target.read_bytes() == run.finished
    assert list(listing(tmp_path)) == ["rgb.tif"]


@pytest.mark.slow
def test_from_the_command_line_a_lost_scheduler_is_one_line(
    tmp_path: Path, run: Run, own_cluster: OwnCluster
) -> None:
    target = tmp_path / "rgb.tif"
    arguments = ["colorize", run.scene, "-o", target, "--model", run.model.path, "--chunk", 1]
    arguments += ["--scale", "1e-4", "--progress", "jsonl"]
    child = subprocess.Popen(
        [sys.executable, "-m", "nirgeo", *map(str, arguments), "--scheduler", own_cluster.address],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert child.stdout is not None
    while json.loads(child.stdout.readline()).get("done", 0) < 5:
        pass
    own_cluster.lose_scheduler()
    out, err = child.communicate(timeout=90)
    assert child.returncode == 1
    assert "Traceback" not in err
    (error,) = [event for event in events(out) if event["event"] == "error"]
    assert (error["code"], error["option"]) == ("cluster", "--resume")
    log = events(command(*arguments, "--resume").stdout)
    assert log[0]["resumed"] >= 5
    assert target.read_bytes() == run.finished


def in_a_task(picture: xr.DataArray, path: Path) -> str:
    get_client()  # from now on the worker's own is the one that dask would compute with
    return str(nirgeo.write_geotiff(picture, path))


def test_a_task_does_not_wait_for_its_own_thread(tmp_path: Path, run: Run, client: Client) -> None:
    for name in ("a.tif", "b.tif", "c.tif"):  # more than there are workers
        target = tmp_path / name
        made = client.submit(in_a_task, run.picture(), target, pure=False)
        assert made.result(timeout=60) == str(target)
        assert target.read_bytes() == run.finished


def test_no_scheduler(tmp_path: Path, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cluster, "CONNECT_SECONDS", 0.5)
    with pytest.raises(ClusterError, match="no dask scheduler answers"):
        run.write(tmp_path / "rgb.tif", scheduler="tcp://127.0.0.1:9")
    with pytest.raises(OptionError, match="neither an address"):
        run.write(tmp_path / "rgb.tif", scheduler="somewhere")
    assert listing(tmp_path) == {}


@pytest.mark.parametrize(
    ("address", "said"),
    [
        ("tcp://127.0.0.1:abc", "not an address such as tcp://HOST:8786"),
        ("tcp://127.0.0.1", "not an address such as tcp://HOST:8786 (missing port"),
        ("carrier://pigeon:1", "unknown address scheme"),
        ("tls://127.0.0.1:9", "dask knows no certificates"),
    ],
)
def test_an_address_that_can_not_be_used_is_one_line(
    tmp_path: Path, run: Run, address: str, said: str
) -> None:
    # dask's client finds out half made, and then tries to close for twenty seconds.
    target = tmp_path / "rgb.tif"
    started = time.monotonic()
    arguments = ["colorize", run.scene, "-o", target, "--scheduler", address]
    done = subprocess.run(
        [sys.executable, "-m", "nirgeo", *map(str, arguments)], capture_output=True, text=True
    )
    assert done.returncode == 1
    (line,) = done.stderr.splitlines()
    assert line.startswith(f"Error: --scheduler {address}: ")
    assert said in line
    assert time.monotonic() - started < 60
    assert listing(tmp_path) == {}


def test_what_is_no_client_is_refused(tmp_path: Path, run: Run, client: Client) -> None:
    with pytest.raises(OptionError, match=r"a Scheduler is no client; give Client\(it\)"):
        run.write(tmp_path / "rgb.tif", scheduler=client.cluster.scheduler)
    address = client.scheduler.address

    async def asynchronously() -> None:
        async with Client(address, asynchronous=True, set_as_default=False) as later:
            with pytest.raises(OptionError, match="an asynchronous client can't be waited for"):
                run.write(tmp_path / "rgb.tif", scheduler=later)

    asyncio.run(asynchronously())
    assert listing(tmp_path) == {}
    file = tmp_path / "scheduler.json"
    file.write_text(json.dumps({"address": address}))
    run.write(tmp_path / "rgb.tif", scheduler=file)
    assert (tmp_path / "rgb.tif").read_bytes() == run.finished


def test_a_cancelled_run_is_no_lost_scheduler(
    tmp_path: Path, run: Run, own_cluster: OwnCluster
) -> None:
    target = tmp_path / "rgb.tif"
    with Client(own_cluster.address, set_as_default=False) as other:

        def cancel(done: int, total: int) -> None:
            if done == 3:
                tasks = other.run_on_scheduler(lambda dask_scheduler: list(dask_scheduler.tasks))
                other.cancel([Future(key, client=other) for key in tasks], force=True)

        with pytest.raises(ClusterError, match=r"was cancelled on the cluster.* --resume"):
            run.write(target, scheduler=own_cluster.address, on_progress=cancel)
    resumed: list[int] = []
    run.write(target, resume=True, scheduler="threads", on_start=lambda n, _: resumed.append(n))
    assert resumed[0] >= 3
    assert target.read_bytes() == run.finished


# --- many scenes, stores --------------------------------------------------------------------------


def test_each_worker_writes_its_own_scene(
    tmp_path: Path, run: Run, client: Client, writes: list[tuple[int, int]]
) -> None:
    assert client.scheduler is not None
    scenes = tmp_path / "scenes"
    for k in range(3):
        write_raster(scenes / f"{k}.tif", scene_values(150, 130 + k, seed=k))
    (scenes / "broken.tif").write_bytes(b"II*\0 no TIFF")
    options = ("--model", run.model.path, "--scale", "1e-4", "--chunk", 1, "--progress", "jsonl")
    there = ("--scheduler", client.scheduler.address, "--out-dir", tmp_path / "there")
    done = command("colorize", scenes, *options, *there, expect=1)
    assert writes == []  # here
    said = [e["message"] for e in events(done.stdout) if e["event"] == "warning"]
    assert any("broken.tif" in message for message in said)
    results = [e["path"] for e in events(done.stdout) if e["event"] == "result"]
    assert sorted(results) == [str(tmp_path / "there" / f"{k}_rgb.tif") for k in range(3)]
    assert events(done.stdout)[-1]["code"] == "source-unreadable"
    assert "broken.tif" in done.stderr.splitlines()[-1]
    for k in range(3):
        command("colorize", scenes / f"{k}.tif", *options, "--out-dir", tmp_path / "here")
        name = f"{k}_rgb.tif"
        assert (tmp_path / "there" / name).read_bytes() == (tmp_path / "here" / name).read_bytes()
    assert [p for p in scenes.iterdir() if p.suffix != ".tif"] == []
    made = {k: (tmp_path / "there" / f"{k}_rgb.tif").stat().st_mtime_ns for k in range(3)}
    (scenes / "broken.tif").unlink()
    write_raster(scenes / "broken.tif", scene_values(90, 90))
    again = events(command("colorize", scenes, *options, *there, "--resume").stdout)
    starts = [e for e in again if e["event"] == "start"]
    assert sorted(e["total"] - e["resumed"] for e in starts) == [0, 0, 0, 4]
    assert {k: (tmp_path / "there" / f"{k}_rgb.tif").stat().st_mtime_ns for k in range(3)} == made
    assert len(listing(tmp_path / "there")) == 4


def test_what_only_the_sender_sees_is_told(tmp_path: Path) -> None:
    versions = sent.versions_here()
    for missing in ("scene.tif", "results"):
        job = ("scene.tif", ("results/rgb.tif", None), [str(tmp_path), str(tmp_path / missing)])
        with pytest.raises(SourceError, match=rf"{missing} is not there on the worker .* the same"):
            many_scenes.colorize_there(job, {}, {}, versions)


def threads_at_work(scene: str, model: str, target: str) -> tuple[int, set[int], int]:
    """torch's threads per operation before, while and after a worker makes a scene of its own."""
    from nirgeo import pieces, write

    seen, run, cores = set(), pieces.run, write.cores

    def noted(*given: Any) -> Any:
        seen.add(torch.get_num_threads())
        return run(*given)

    given: dict[str, Any] = dict.fromkeys(
        ("nir", "red", "green", "nodata", "bounds", "reference", "reference_scale", "memory")
    )
    given |= dict.fromkeys(("overwrite", "resume", "stac", "no_prior", "uncertainty"), False)
    given |= {"taken": None, "max_error": None, "creation_options": [], "as_": "display"}
    given |= {"device": "cpu", "runtime": "torch", "precision": "fp32", "model": model}
    given |= {"scale": "1e-4", "chunk": 1, "brightness": 1.0, "gamma": 1.0}
    pieces.run, write.cores = noted, lambda: 8  # type: ignore[assignment]
    try:
        before = torch.get_num_threads()
        job = (scene, (target, None), [])
        many_scenes.colorize_there(job, given, {}, sent.versions_here())
    finally:
        pieces.run, write.cores = run, cores
    return before, seen, torch.get_num_threads()


def test_scenes_of_several_workers_do_not_share_all_cores(
    tmp_path: Path, run: Run, client: Client
) -> None:
    target = tmp_path / "rgb.tif"
    told = client.submit(
        threads_at_work, str(run.scene), run.model.path, str(target), pure=False
    ).result()
    assert told == (1, {1}, 1)  # dask gives a worker of one thread one of OpenMP's
    assert target.read_bytes() == run.finished


def test_workers_leave_scenes_that_nobody_waits_for(
    tmp_path: Path, run: Run, own_cluster: OwnCluster
) -> None:
    for k in range(2):
        write_raster(tmp_path / "scenes" / f"{k}.tif", scene_values(1500, 1500, seed=k))
    results = tmp_path / "results"
    arguments = ["colorize", tmp_path / "scenes", "--out-dir", results, "--chunk", "1"]
    arguments += ["--model", run.model.path, "--scale", "1e-4", "--scheduler", own_cluster.address]
    child = subprocess.Popen(
        [sys.executable, "-m", "nirgeo", *map(str, arguments)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    while not any(journal.stat().st_size for journal in results.glob(".*/journal.jsonl")):
        assert child.poll() is None
        time.sleep(0.1)
    child.send_signal(signal.SIGINT)
    _, said = child.communicate(timeout=60)
    assert child.returncode == 130
    assert said.splitlines()[-1] == "Error: interrupted"
    ended = time.monotonic() + 30
    while results.exists() and listing(results):
        assert time.monotonic() < ended, listing(results)
        time.sleep(0.1)


def test_files_of_options_are_found_from_any_folder(
    tmp_path: Path, run: Run, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert client.scheduler is not None
    values = np.random.default_rng(0).integers(1, 255, (3, 20, 20), dtype=np.uint8)
    coarse = NORTH_UP_10M @ rasterio.Affine.scale(8)
    write_raster(tmp_path / "older.tif", values, transform=coarse, descriptions=COLOURS)
    shutil.copy(run.model.path, tmp_path / "mine.safetensors")
    for k in range(2):
        write_raster(tmp_path / f"{k}.tif", scene_values(150, 130, seed=k))
    monkeypatch.chdir(tmp_path)
    options = ("--model", "mine.safetensors", "--reference", "older.tif", "--chunk", 1)
    command("colorize", "0.tif", "-o", "scaled.tif", "--scale", "1e-4", *options)
    there = ("--scheduler", client.scheduler.address, "--out-dir", tmp_path)
    command("colorize", "0.tif", "1.tif", *options, "--scale", "scaled.tif", *there)
    for one, other in zip(read(tmp_path / "0_rgb.tif"), read(tmp_path / "scaled.tif"), strict=True):
        np.testing.assert_array_equal(one, other)


def test_an_item_is_no_more_overwritten_than_a_result(
    tmp_path: Path, run: Run, client: Client
) -> None:
    assert client.scheduler is not None
    for k in range(2):
        write_raster(tmp_path / f"{k}.tif", scene_values(70, 70, seed=k))
    (tmp_path / "1_rgb.json").write_text("mine")
    options = ("--model", run.model.path, "--scale", "1e-4", "--stac", "--datetime", "2024-05-05")
    there = ("--scheduler", client.scheduler.address, "--out-dir", tmp_path)
    scenes = (tmp_path / "0.tif", tmp_path / "1.tif")
    done = command("colorize", *scenes, *options, *there, expect=1)
    assert "1_rgb.json exists" in done.stderr
    assert (tmp_path / "1_rgb.json").read_text() == "mine"
    assert not list(tmp_path.glob("*_rgb.tif"))


def test_a_zarr_store_is_written_in_parallel(tmp_path: Path, run: Run, client: Client) -> None:
    picture = run.picture()
    with client.as_current():
        picture.to_zarr(tmp_path / "rgb.zarr")
    stored = xr.open_zarr(tmp_path / "rgb.zarr")["rgb"]
    (run.scene.parent / "whole.tif").write_bytes(run.finished)
    colours, valid = read(run.scene.parent / "whole.tif")
    assert np.array_equal(stored.values, colours)
    assert np.array_equal(stored["valid"].values, valid)
    assert stored.chunks is not None
    assert stored.chunks[1:] == ((64,) * 4 + (54,), (64,) * 5 + (50,))
    assert stored.rio.crs.to_epsg() == 32632
    assert stored.attrs["nirgeo_synthetic"] == picture.attrs["nirgeo_synthetic"]


# --- devices --------------------------------------------------------------------------------------


def busy(folder: Path, number: int) -> NDArray[np.float64]:
    started = time.time()
    time.sleep(0.1)
    return np.array([os.getpid(), started, time.time()])


def at_once(client: Client, folder: Path, compute: Callable[..., None], **options: Any) -> int:
    """The most tasks that one worker ran at the same time."""
    spans: list[NDArray[np.float64]] = []
    graph = {("busy", k): (busy, folder, k) for k in range(12)}
    blocks = {(0, k): [("busy", k)] for k in range(12)}
    compute(client, graph, blocks, lambda i, j, span: spans.append(span), lambda: None, **options)
    most = 0
    for pid, start, _ in spans:
        most = max(most, sum(p == pid and s <= start < e for p, s, e in spans))
    return most


def test_a_gpu_runs_one_chunk_at_a_time(tmp_path: Path) -> None:
    with (
        LocalCluster(
            n_workers=1,
            threads_per_worker=3,
            processes=True,
            dashboard_address=None,
            resources={"GPU": 1},
        ) as workers,
        Client(workers, set_as_default=False) as client,
    ):
        assert cluster.has_gpus(client)
        assert at_once(client, tmp_path, cluster.compute) > 1
        assert at_once(client, tmp_path, cluster.compute, on_gpu=True) == 1
