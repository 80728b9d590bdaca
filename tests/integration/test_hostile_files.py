"""Files that a stranger made to do harm: refused in a line, at once, and nothing is lost."""

from __future__ import annotations

import json
import os
import pickle
import sys
import zlib
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
import rasterio
from helpers import write_raster
from pictures import command

import nirgeo
from nirgeo import multidim
from nirgeo.baselines.forest import Forest
from nirgeo.baselines.welsh import WelshTransfer
from nirgeo.errors import GridError, ModelError, OptionError, SourceError, TargetError
from nirgeo.radiometry import Quantity
from nirgeo.target import Target
from nirgeo.whole_file import written_whole

posix = pytest.mark.skipif(os.name != "posix", reason="links and pipes of POSIX")


@pytest.fixture
def scene(tmp_path: Path) -> Path:
    values = np.full((1, 70, 80), 90, dtype=np.uint8)
    return write_raster(tmp_path / "gift" / "scene.tif", values, descriptions=("nir",))


@posix
class TestPlantedLinks:
    @pytest.mark.parametrize("option", [(), ("--resume",), ("--overwrite",)])
    def test_a_working_folder_that_leads_elsewhere(
        self, scene: Path, tmp_path: Path, option: tuple[str, ...]
    ) -> None:
        docs = tmp_path / "docs"
        docs.mkdir()
        (docs / "thesis.odt").write_text("years")
        (scene.parent / ".scene_rgb.tif.nirgeo").symlink_to(docs)
        result = command("colorize", scene, "-q", *option, expect=1)
        assert "is a link, and in the way; remove it" in result.stderr
        assert [f.name for f in docs.iterdir()] == ["thesis.odt"]
        assert not (scene.parent / "scene_rgb.tif").exists()

    def test_one_that_comes_while_the_target_is_being_guarded(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        target = Target(tmp_path / "o.tif")
        (tmp_path / "docs").mkdir()
        target.folder.symlink_to(tmp_path / "docs")
        with pytest.raises(TargetError, match="is a link"), target.guarded():
            pass
        assert not list((tmp_path / "docs").iterdir())

    def test_another_users_folder_for_a_remote_result(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
        target = Target("/vsimem/of-somebody.tif")
        target.folder.mkdir()
        monkeypatch.setattr(os, "geteuid", lambda: 987654)
        with pytest.raises(TargetError, match="is another user's, and in the way"):
            Target("/vsimem/of-somebody.tif")

    def test_a_mark_that_never_ends(self, scene: Path) -> None:
        folder = scene.parent / ".scene_rgb.tif.nirgeo"
        folder.mkdir()
        (scene.parent / "scene_rgb.tif").touch()
        for plant in (
            lambda mark: os.mkfifo(mark),
            lambda mark: mark.symlink_to("/dev/zero"),
            lambda mark: mark.write_text("[" * 200_000),
        ):
            mark = folder / "published.json"
            plant(mark)
            result = command("colorize", scene, "-q", "--resume", expect=1)
            assert "won't be overwritten" in result.stderr
            mark.unlink(missing_ok=True)
            folder.mkdir(exist_ok=True)

    def test_the_name_of_a_file_in_the_making(self, tmp_path: Path) -> None:
        (tmp_path / "precious").write_text("old")
        (tmp_path / "m.safetensors.part").symlink_to(tmp_path / "precious")
        with written_whole(tmp_path / "m.safetensors") as partial:
            partial.write_bytes(b"model")
        assert (tmp_path / "precious").read_text() == "old"
        assert (tmp_path / "m.safetensors").read_bytes() == b"model"
        assert not (tmp_path / "m.safetensors").is_symlink()

    def test_the_place_of_chunks(self, scene: Path, tmp_path: Path) -> None:
        """Somebody else's link that appears in the working folder is not written through."""
        from nirgeo.blockstore import BlockStore
        from nirgeo.tiling import ChunkGrid

        (tmp_path / "precious").write_text("old")
        (tmp_path / "blocks.tif").symlink_to(tmp_path / "precious")
        store = BlockStore(tmp_path / "blocks.tif", ChunkGrid(64, 64, 1), 4, np.uint8)
        with pytest.raises(OSError, match="blocks"):
            store.create()
        assert (tmp_path / "precious").read_text() == "old"


def test_a_vrt_that_names_itself_in_two_ways(tmp_path: Path) -> None:
    """Every level of it would have twice as many names as the one before."""
    folder = tmp_path / "d"
    (folder / "s").mkdir(parents=True)
    sources = "".join(
        f'<SimpleSource><SourceFilename relativeToVRT="1">{name}</SourceFilename><SourceBand>1'
        '</SourceBand><SourceProperties RasterXSize="70" RasterYSize="70" DataType="Byte" '
        'BlockXSize="64" BlockYSize="64"/></SimpleSource>'
        for name in ("s/../x.vrt", "../d/x.vrt")
    )
    (folder / "x.vrt").write_text(
        '<VRTDataset rasterXSize="70" rasterYSize="70"><VRTRasterBand dataType="Byte" band="1">'
        f"<Description>nir</Description>{sources}</VRTRasterBand></VRTDataset>"
    )
    result = command("info", folder / "x.vrt", expect=1)
    assert result.stderr.startswith("Error: ")
    assert len(result.stderr.splitlines()) == 1


@pytest.mark.timeout(120)
def test_tens_of_thousands_of_bands(tmp_path: Path) -> None:
    (tmp_path / "many.img").write_bytes(b"\x20" * 30_000)
    (tmp_path / "many.hdr").write_text(
        "ENVI\nsamples = 1\nlines = 1\nbands = 30000\ndata type = 1\ninterleave = bsq\n"
        "byte order = 0\nheader offset = 0\n"
    )
    found = nirgeo.open_scene(tmp_path / "many.img", nir="5")
    assert found.sizes == {"band": 30_000, "y": 1, "x": 1}
    assert len(set(found["band"].values)) == 30_000


@pytest.mark.parametrize(
    "points",
    [
        [(0, 0, float("nan"), 0), (0, 80, 1, 0), (70, 0, 0, 1), (70, 80, 1, 1)],
        [(0, 0, float("inf"), 0), (0, 80, 1, 0), (70, 0, 0, 1), (70, 80, 1, 1)],
        [(5, 5, 7, 7)] * 4,
        [(0, 0, 7, 7), (0, 80, 7, 7), (70, 0, 7, 7), (70, 80, 7, 7)],
        [(5, 5, 7, 7)],
        [(0, 0, 7, 7), (10, 10, 8, 8), (20, 20, 9, 9)],
        [(0, 0, 1e308, 0), (0, 80, -1e308, 0), (70, 0, 0, 1)],
    ],
    ids=["nan", "infinite", "one point", "one place", "a single one", "a line", "too far"],
)
def test_ground_control_points_that_tell_nothing(
    tmp_path: Path, points: list[tuple[float, ...]]
) -> None:
    listed = "".join(
        f'<GCP Id="{k}" Pixel="{col}" Line="{row}" X="{x}" Y="{y}"/>'
        for k, (row, col, x, y) in enumerate(points)
    )
    write_raster(tmp_path / "s.tif", np.full((1, 70, 80), 90, dtype=np.uint8))
    (tmp_path / "s.vrt").write_text(
        '<VRTDataset rasterXSize="80" rasterYSize="70">'
        f'<GCPList Projection="EPSG:4326">{listed}</GCPList>'
        '<VRTRasterBand dataType="Byte" band="1"><SimpleSource><SourceFilename relativeToVRT="1">'
        "s.tif</SourceFilename><SourceBand>1</SourceBand></SimpleSource></VRTRasterBand>"
        "</VRTDataset>"
    )
    with pytest.raises(GridError, match="ground control points tell no pixel from its neighbour"):
        nirgeo.open_scene(tmp_path / "s.vrt")


@pytest.mark.parametrize("points", [1, 4])
def test_points_beside_a_transform_are_not_needed(tmp_path: Path, points: int) -> None:
    """GDAL hands on both, of a VRT or of what ArcGIS notes beside a file."""
    listed = "".join(
        f'<GCP Id="{k}" Pixel="{k}" Line="{k * k}" X="{k % 2}" Y="{k // 2}"/>'
        for k in range(points)
    )
    write_raster(tmp_path / "s.tif", np.full((1, 70, 80), 90, dtype=np.uint8))
    (tmp_path / "s.vrt").write_text(
        '<VRTDataset rasterXSize="80" rasterYSize="70"><SRS>EPSG:32633</SRS>'
        "<GeoTransform>500000, 10, 0, 5400000, 0, -10</GeoTransform>"
        f'<GCPList Projection="EPSG:4326">{listed}</GCPList>'
        '<VRTRasterBand dataType="Byte" band="1"><SimpleSource><SourceFilename relativeToVRT="1">'
        "s.tif</SourceFilename><SourceBand>1</SourceBand></SimpleSource></VRTRasterBand>"
        "</VRTDataset>"
    )
    made = tmp_path / "rgb.tif"
    nirgeo.write_geotiff(nirgeo.colorize(nirgeo.open_scene(tmp_path / "s.vrt")), made)
    with rasterio.open(made) as file:
        assert file.crs.to_epsg() == 32633
        assert file.transform.a == 10
        assert not file.gcps[0]


class TestZarr:
    """Stores in the second format, of which a few bytes say everything."""

    SMALL: ClassVar[dict[str, Any]] = {
        "zarr_format": 2,
        "shape": [128, 128],
        "chunks": [128, 128],
        "dtype": "<u2",
        "compressor": None,
        "fill_value": 0,
        "order": "C",
        "filters": None,
    }

    @staticmethod
    def variable(store: Path, name: str, dims: list[str], **facts: Any) -> Path:
        folder = store / name
        folder.mkdir(parents=True)
        (store / ".zgroup").write_text('{"zarr_format": 2}')
        (folder / ".zarray").write_text(json.dumps(TestZarr.SMALL | facts))
        (folder / ".zattrs").write_text(json.dumps({"_ARRAY_DIMENSIONS": dims}))
        return folder

    def store_with_a_pickle(self, tmp_path: Path) -> tuple[Path, Path]:
        """A coordinate of text whose codecs are one that is expected and one that runs code."""
        store, mark = tmp_path / "evil.zarr", tmp_path / "ran"
        nir = self.variable(store, "nir", ["y", "x"])
        np.full((128, 128), 2000, "<u2").tofile(nir / "0.0")
        y = self.variable(
            store,
            "y",
            ["y"],
            shape=[128],
            chunks=[128],
            dtype="|O",
            fill_value="",
            filters=[{"id": "vlen-utf8"}, {"id": "pickle"}],
        )
        code = f"open({str(mark)!r}, 'w').close()"
        (y / "0").write_bytes(pickle.dumps(_Runs(code)))
        return store, mark

    def test_nothing_in_a_store_is_run(self, tmp_path: Path) -> None:
        store, mark = self.store_with_a_pickle(tmp_path)
        result = command("info", store, expect=1)
        assert result.stderr.startswith("Error: ")
        assert not mark.exists()

    @pytest.mark.parametrize(
        ("number", "safe"),
        [
            ("0.14.1", False),
            ("0.15.1", False),
            ("0.15.2", False),  # safe, and not worth a longer list
            ("0.16.5", False),
            ("0.16.6", True),
            ("0.17.0", False),
            ("0.17.1", True),
            ("0.18", True),
            ("1.0.0", True),
        ],
    )
    def test_versions_that_would(
        self, number: str, safe: bool, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(multidim, "version", lambda _: number)
        if safe:
            multidim._refuse_codecs_that_run_code()
            return
        with pytest.raises(SourceError, match=f"numcodecs {number}, which reads Zarr stores, runs"):
            multidim._refuse_codecs_that_run_code()

    @pytest.mark.parametrize(
        ("side", "chunk", "words"),
        [
            (10_000_000, 1000, "consists of 100000000 chunks, more than 1048576"),
            (10_000_000, 100_000, "chunks of 768² px, more than 262144"),
        ],
    )
    @pytest.mark.timeout(60)
    def test_without_end(self, tmp_path: Path, side: int, chunk: int, words: str) -> None:
        store = tmp_path / "huge.zarr"
        self.variable(store, "nir", ["y", "x"], shape=[side, side], chunks=[chunk, chunk])
        with pytest.raises((SourceError, OptionError), match=words):
            nirgeo.open_scene(store, scale="0.0001")

    @pytest.mark.timeout(60)
    def test_a_cube_without_end(self, tmp_path: Path) -> None:
        store = tmp_path / "huge.zarr"
        wide = {"shape": [2, 768_001, 768_000], "chunks": [1, 1000, 1000]}
        self.variable(store, "reflectance", ["band", "y", "x"], **wide)
        with pytest.raises(SourceError, match=r"of 2×768001×768000 consists of 1181184 chunks"):
            nirgeo.open_scene(store, scale="0.0001")

    @pytest.mark.timeout(60)
    def test_a_coordinate_without_end(self, tmp_path: Path) -> None:
        store = tmp_path / "huge.zarr"
        wide = {"shape": [128, 10**11], "chunks": [128, 10**6]}
        self.variable(store, "nir", ["y", "x"], **wide)
        self.variable(store, "x", ["x"], shape=[10**11], chunks=[10**11], dtype="<f8")
        with pytest.raises(SourceError, match=r"zarr: coordinate x has 100000000000 values"):
            nirgeo.open_scene(store, scale="0.0001")

    def test_of_several_scenes_the_others_are_made(self, tmp_path: Path) -> None:
        for name in "abc":
            nir = self.variable(
                tmp_path / f"{name}.zarr", "nir", ["y", "x"], compressor={"id": "zlib", "level": 1}
            )
            values = np.full((128, 128), 2000, "<u2").tobytes()
            (nir / "0.0").write_bytes(b"damaged" if name == "c" else zlib.compress(values))
        scenes = [tmp_path / f"{name}.zarr" for name in "abc"]
        out = tmp_path / "out"
        result = command("colorize", *scenes, "--out-dir", out, "--scale", "0.0001", expect=1)
        assert "c.zarr: a chunk of the scene can't be decoded" in result.stderr
        assert {"a_rgb.tif", "b_rgb.tif"} <= {entry.name for entry in out.iterdir()}

    def test_of_text(self, tmp_path: Path) -> None:
        store = tmp_path / "text.zarr"
        self.variable(store, "nir", ["y", "x"], dtype="<U4", fill_value="")
        with pytest.raises(SourceError, match="no numbers"):
            nirgeo.open_scene(store)

    def test_damaged_chunks(self, tmp_path: Path) -> None:
        """What its codec says of them is its own business; where it lies is the user's."""
        store = tmp_path / "damaged.zarr"
        nir = self.variable(store, "nir", ["y", "x"], compressor={"id": "zlib", "level": 1})
        (nir / "0.0").write_bytes(b"no stream of zlib")
        for what in ("info", "colorize"):
            result = command(what, store, "--scale", "0.0001", expect=1)
            assert "a chunk of the scene can't be decoded" in result.stderr
            assert result.stderr.splitlines()[-1].startswith("Error: ")
            assert "consolidated" not in result.stderr
        assert [entry.name for entry in tmp_path.iterdir()] == ["damaged.zarr"]


class _Runs:
    def __init__(self, code: str) -> None:
        self._code = code

    def __reduce__(self) -> tuple[Any, ...]:
        return exec, (self._code,)


class TestBaselines:
    def test_more_trees_than_anybody_waits_for(self) -> None:
        leaf = np.zeros(1, dtype=np.int32)
        with pytest.raises(ModelError, match="has 200000 trees, more than 1000"):
            Forest(
                start=np.zeros(1),
                roots=np.zeros(200_000, dtype=np.int32),
                feature=leaf,
                threshold=np.zeros(1, dtype=np.float32),
                children=np.zeros((1, 2), dtype=np.int32),
                value=np.zeros(1),
            )

    def test_more_swatches_than_anybody_waits_for(self) -> None:
        arrays = {"swatches": np.zeros((250_000, 4)), "light": np.ones(2)}
        with pytest.raises(ModelError, match="has 250000 swatches, more than 4096"):
            WelshTransfer.from_arrays(arrays, Quantity.COUNTS)


@posix
def test_a_name_that_would_move_the_cursor(scene: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from nirgeo.cli.reporting import Terminal

    written: list[str] = []
    name = "a\033]0;title\007b.tif"
    for terminal in (True, False):
        monkeypatch.setattr(sys.stdout, "isatty", lambda terminal=terminal: terminal)
        monkeypatch.setattr("click.echo", lambda text, **_: written.append(text))
        Terminal().result(name)
    assert "\033" not in written[0]
    assert written[1] == name
