"""In programs of many threads nothing of one run reaches another, and nothing is left behind."""

from __future__ import annotations

import subprocess
import sys
import threading
import warnings
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import dask.callbacks
import numpy as np
import pytest
import xarray as xr
from helpers import write_raster

import nirgeo
from nirgeo import handles
from nirgeo.modelfile import Model
from nirgeo.unheard import unheard


def test_progress_of_one_run_is_no_other_computations(tmp_path: Path, tiny: Model) -> None:
    """dask keeps callbacks that were entered in one set for all threads."""
    values = np.full((1, 200, 200), 2500, dtype=np.uint16)
    path = write_raster(tmp_path / "s.tif", values, descriptions=("nir",))
    rgb = nirgeo.colorize(nirgeo.open_scene(path, scale="0.0001", chunk=1), tiny)
    active: list[int] = []
    finished: list[object] = []

    class Own(dask.callbacks.Callback):  # type: ignore[misc]
        def _posttask(self, key: object, *_: object) -> None:
            finished.append(key)

    def told(done: int, total: int) -> None:
        active.append(len(dask.callbacks.Callback.active))

    nirgeo.write_geotiff(rgb, tmp_path / "a.tif", on_progress=told)
    assert set(active) == {0}
    with Own():  # a bar of the caller's own
        nirgeo.write_geotiff(rgb, tmp_path / "b.tif")
    assert len(finished) >= 16


def test_open_files_of_many_threads_are_bounded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(handles, "MAX_OPEN", 24)
    handles.close_all()
    before = sum(map(len, handles._all))
    paths = [
        str(write_raster(tmp_path / f"{k}.tif", np.full((1, 8, 8), k, dtype=np.uint8)))
        for k in range(20)
    ]
    together = threading.Barrier(8)

    def look(_: int) -> int:
        for path in paths:
            handles.dataset(path)
        together.wait(30)  # so that every thread has its own
        return len(handles._own())

    with ThreadPoolExecutor(8) as pool:
        kept = list(pool.map(look, range(8)))
    assert max(kept) <= handles.MAX_OPEN_PER_THREAD
    assert min(kept) >= 1
    assert sum(kept) <= before + 24 + 8 * 2


def test_a_warning_of_the_programs_own_is_heard_again() -> None:
    before = list(warnings.filters)
    inside, go = threading.Event(), threading.Event()

    def first() -> None:
        with unheard():
            inside.set()
            assert go.wait(10)

    def second() -> None:
        assert inside.wait(10)
        with unheard(UserWarning):
            pass

    threads = [threading.Thread(target=work) for work in (first, second)]
    for thread in threads:
        thread.start()
    assert inside.wait(10)
    go.set()
    for thread in threads:
        thread.join(10)
    assert list(warnings.filters) == before


PROGRAM = """
import sys
from concurrent.futures import ThreadPoolExecutor
import nirgeo
path = sys.argv[1]
def work(_):
    scene = nirgeo.open_scene(path, scale="0.0001")
    return int(scene.sum().compute(scheduler="sync"))
with ThreadPoolExecutor(8) as pool:
    print(len(set(pool.map(work, range(120)))))
"""


def test_netcdf_scenes_in_several_threads(tmp_path: Path) -> None:
    """HDF5 bears no two threads: the interpreter died of it, or sound files could not be read."""
    values = np.arange(96 * 96, dtype=np.uint16).reshape(96, 96)
    path = tmp_path / "w.nc"
    xr.Dataset({"nir": (("y", "x"), values)}).to_netcdf(path)
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, str(path)], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout.strip()) == (0, "1"), done.stderr
