"""What those meet who run nirgeo on other people's machines: servers, clusters, odd places."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
import rasterio
from helpers import write_raster
from pictures import command

import nirgeo
from nirgeo import cluster, gdal_settings, inference, sent
from nirgeo.blockstore import BlockStore
from nirgeo.errors import ClusterError, TargetError, TargetExistsError
from nirgeo.keeping import keep_chunk
from nirgeo.modelfile import Model
from nirgeo.target import Target
from nirgeo.tiling import ChunkGrid


@pytest.fixture
def scene(tmp_path: Path) -> Path:
    values = np.full((1, 70, 80), 90, dtype=np.uint8)
    return write_raster(tmp_path / "in" / "scene.tif", values, descriptions=("nir",))


class _Bucket(BaseHTTPRequestHandler):
    """As much of S3 as GDAL asks for, and answers that are none."""

    objects: ClassVar[dict[str, tuple[int, bytes]]] = {}

    def _answer(self, *, body: bool) -> None:
        status, data = self.objects.get(self.path.partition("?")[0], (404, b""))
        whole = len(data)
        wanted = self.headers.get("Range") if status == 200 else None
        if wanted:
            first, last = (int(n) for n in wanted.removeprefix("bytes=").split("-"))
            data, status = data[first : last + 1], 206
        self.send_response(status)
        if wanted:
            self.send_header("Content-Range", f"bytes {first}-{first + len(data) - 1}/{whole}")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        if body:
            self.wfile.write(data)

    def do_GET(self) -> None:
        self._answer(body=True)

    def do_HEAD(self) -> None:
        self._answer(body=False)

    def do_PUT(self) -> None:
        data = self.rfile.read(int(self.headers["Content-Length"]))
        type(self).objects[self.path.partition("?")[0]] = (200, data)
        self.send_response(200)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, format: str, *args: Any) -> None:
        pass


@contextmanager
def served() -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Bucket)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()


class TestRemoteTargets:
    @pytest.fixture
    def bucket(self) -> Iterator[dict[str, tuple[int, bytes]]]:
        _Bucket.objects = {}
        with (
            served() as place,
            rasterio.Env(
                AWS_S3_ENDPOINT=place,
                AWS_HTTPS="NO",
                AWS_VIRTUAL_HOSTING="FALSE",
                AWS_NO_SIGN_REQUEST="YES",
                GDAL_HTTP_MAX_RETRY="0",
            ),
        ):
            yield _Bucket.objects

    def test_what_is_not_there_may_be_written(self, bucket: dict[str, Any]) -> None:
        Target("/vsis3/bk/new.tif")

    @pytest.mark.parametrize(
        ("status", "error"), [(200, TargetExistsError), (403, TargetError), (500, TargetError)]
    )
    def test_what_may_be_there_is_not(
        self, bucket: dict[str, Any], status: int, error: type[TargetError]
    ) -> None:
        bucket["/bk/note.tif"] = (status, b"precious" * 100)
        with pytest.raises(error, match="--overwrite"):
            Target("/vsis3/bk/note.tif")
        Target("/vsis3/bk/note.tif", overwrite=True)

    def test_a_folder_of_gdals_is_made_nowhere(self, scene: Path) -> None:
        other = write_raster(scene.parent / "other.tif", np.full((1, 70, 80), 90, dtype=np.uint8))
        command("colorize", scene, other, "--out-dir", "/vsimem/results", "--nir", "1")
        assert not os.path.exists("/vsimem")
        with rasterio.open("/vsimem/results/other_rgb.tif") as file:
            assert file.count == 3

    def test_without_any_local_folder(self, monkeypatch: pytest.MonkeyPatch) -> None:
        def nowhere() -> str:
            raise FileNotFoundError("No usable temporary directory found")

        monkeypatch.setattr("tempfile.gettempdir", nowhere)
        with pytest.raises(TargetError, match="set TMPDIR to one"):
            Target("/vsimem/x.tif")


def test_a_server_that_stops_answering_is_not_waited_for_for_ever() -> None:
    with gdal_settings.gdal_env("https://example.org/x.tif") as _:
        options = rasterio.env.getenv()
    assert float(options["GDAL_HTTP_CONNECTTIMEOUT"]) <= 60
    assert float(options["GDAL_HTTP_LOW_SPEED_TIME"]) <= 60
    assert float(options["GDAL_HTTP_LOW_SPEED_LIMIT"]) >= 1


class TestWorkers:
    def test_of_another_version_make_no_scenes(
        self, scene: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        from nirgeo.cli.many_scenes import colorize_there

        job = (str(scene), (str(tmp_path / "o.tif"), None))
        with pytest.raises(
            ClusterError, match=r"a worker runs nirgeo .*this process nirgeo 0\.0\.9"
        ):
            colorize_there(job, {}, {}, sent.versions_here() | {"nirgeo": "0.0.9"})
        assert not (tmp_path / "o.tif").exists()

    def test_that_say_more_than_they_do_leave_no_holes(
        self, tmp_path: Path, tiny: Model, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        values = np.full((1, 200, 200), 2500, dtype=np.uint16)
        path = write_raster(tmp_path / "s.tif", values, descriptions=("nir",))
        rgb = nirgeo.colorize(nirgeo.open_scene(path, scale="0.0001", chunk=1), tiny)
        original = nirgeo.write._compute

        def forgetful(data: Any, valid: Any, todo: Any, *others: Any, **options: Any) -> None:
            original(data, valid, todo[1:], *others, **options)

        monkeypatch.setattr(nirgeo.write, "_compute", forgetful)
        with pytest.raises(ClusterError, match="1 of 16 chunks are missing"):
            nirgeo.write_geotiff(rgb, tmp_path / "o.tif")
        assert not (tmp_path / "o.tif").exists()
        monkeypatch.setattr(nirgeo.write, "_compute", original)
        nirgeo.write_geotiff(rgb, tmp_path / "o.tif", resume=True)
        nirgeo.write_geotiff(rgb, tmp_path / "whole.tif")
        assert (tmp_path / "o.tif").read_bytes() == (tmp_path / "whole.tif").read_bytes()

    def test_that_hand_back_other_numbers_are_not_believed(self, tmp_path: Path) -> None:
        store = BlockStore(tmp_path / "blocks.tif", ChunkGrid(64, 64, 1), 4, np.uint8)
        store.create()
        colours = np.full((3, 64, 64), 300.7)
        with pytest.raises(ValueError, match=r"chunk \(0, 0\) is of uint8, got float64"):
            keep_chunk(store, None, 0, 0, colours)
        store.close()

    def test_that_did_another_chunk(self, monkeypatch: pytest.MonkeyPatch) -> None:
        from nirgeo.journal import Finished

        class Answers:
            def __init__(self, *_: Any) -> None: ...

            def results(self) -> Iterator[Any]:
                yield (0, 1), sent.Done(Finished(0, 0, 1, 1))

        monkeypatch.setattr(cluster, "Pinned", Answers)
        monkeypatch.setattr(cluster.pieces, "cut", lambda *_: {})
        monkeypatch.setattr(cluster.pieces, "has_futures", lambda *_: False)
        monkeypatch.setattr(cluster, "_explained", lambda error, _: error)
        monkeypatch.setattr(cluster, "_give_up", lambda *_: None)
        with pytest.raises(ClusterError, match="did another"):
            cluster.compute(None, {}, {}, print, print, done=print)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "said",
    [
        "could not create a primitive",
        "[enforce fail at alloc_cpu.cpp:114] DefaultCPUAllocator: can't allocate memory: you tried",
    ],
)
def test_too_little_memory_is_no_defect(
    scene: Path, tmp_path: Path, said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(*_: Any, **__: Any) -> None:
        raise RuntimeError(said)

    monkeypatch.setattr(inference, "_run_torch", fails)
    result = command("colorize", scene, "-o", tmp_path / "o.tif", expect=1)
    assert "Error: out of memory; use smaller chunks" in result.stderr


def test_a_lock_that_the_file_system_does_not_give_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def none(self: Any, *_: Any, **__: Any) -> None:
        Path(self.lock_file).touch()
        raise OSError(37, "No locks available")

    monkeypatch.setattr("filelock.FileLock.acquire", none)
    with (
        pytest.raises(TargetError, match="No locks available"),
        Target(tmp_path / "o.tif").guarded(),
    ):
        pass
    assert not list(tmp_path.iterdir())
