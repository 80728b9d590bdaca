"""Strips that are encoded between chunks change no byte of the file; nothing depends on them."""

from __future__ import annotations

import shutil
import tempfile
import threading
from collections import namedtuple
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from test_cog_strips import Work, picture_of

from nirgeo import cog, cog_strips, strips_ahead
from nirgeo.cog_source import Picture
from nirgeo.creation_options import cog_options
from nirgeo.strips_ahead import StripsAhead

BLOCK = {"BLOCKSIZE": "128"}


class Chunks(Work):
    """A store that is filled chunk by chunk, each of which somebody is told of."""

    def __init__(self, folder: Path, picture: Picture, **options: Any) -> None:
        self.blocks: dict[tuple[int, int], NDArray[Any]] = {}
        super().__init__(folder, picture, BLOCK, **options)
        for i, j, window in self.store.grid.windows():
            block = self.store.read_part(window.row, window.col, window.height, window.width)
            self.blocks[i, j] = block

    def ahead(self, *, everywhere: bool = False) -> StripsAhead:
        """For a store that is empty again."""
        self.store.close()
        self.store.create()
        options = cog_options(self.options)
        return StripsAhead(self.store, self.picture, options, everywhere=everywhere)

    def put(self, ahead: StripsAhead, chunk: tuple[int, int], **options: bool) -> None:
        block = self.blocks[chunk]
        self.store.write(*chunk, block)
        ahead.kept(*chunk, int((block[-1] > 0).sum()), **options)

    def finished(self, ahead: StripsAhead) -> bytes:
        target = self.folder / "ahead.tif"
        arguments = (self.store, self.picture, target, self.options, self.areas, self.levels)
        cog.write_cog(*arguments, ahead=ahead.made)
        ahead.remove()
        assert not self.leftovers()
        return target.read_bytes()


@settings(max_examples=20, deadline=None)
@given(
    height=st.integers(1, 900),
    width=st.integers(1, 600),
    tiles=st.integers(1, 5),
    holes=st.sampled_from((0.0, 0.5, 0.9)),
    reflectance=st.booleans(),
    rows=st.integers(1, 3),
    workers=st.integers(1, 3),
    data=st.data(),
)
def test_the_file_is_the_same_in_whatever_order_chunks_come(
    height: int,
    width: int,
    tiles: int,
    holes: float,
    reflectance: bool,
    rows: int,
    workers: int,
    data: st.DataObject,
) -> None:
    with tempfile.TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        patch.setattr(cog_strips, "_PIXELS", rows * 128 * width)
        picture = picture_of((height, width), dtype="float32" if reflectance else "uint8")
        work = Chunks(Path(folder), picture, tiles=tiles, holes=holes)
        if reflectance:  # where nothing is 0, all is read
            work.areas = None
        usual = work.write("usual.tif")
        ahead = work.ahead(everywhere=reflectance)
        order = data.draw(st.permutations(sorted(work.blocks)))
        with ThreadPoolExecutor(workers) as pool:
            list(pool.map(lambda chunk: work.put(ahead, chunk), order))
        assert work.finished(ahead) == usual
        for file in (work.store, *work.levels):
            file.close()


def test_all_strips_with_pixels_are_made_ahead(tmp_path: Path, small_strips: None) -> None:
    work = Chunks(tmp_path, picture_of((900, 300)), holes=0.8, seed=1)
    ahead = work.ahead()
    for chunk in work.blocks:
        work.put(ahead, chunk)
    filled = {min(7, i) for i, j in work.blocks if work.blocks[i, j].any()}
    assert 1 < len(filled) < 8, "nothing to tell apart"
    assert ahead.made == {f"strip-0-{128 * i}" for i in filled}
    assert {f"{name}.tif" for name in ahead.made} == set(work.leftovers())


def test_a_strip_waits_for_every_chunk_in_it(
    tmp_path: Path, small_strips: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Chunks of 192 rows, strips of 128: the second strip needs chunks of both rows.
    work = Chunks(tmp_path, picture_of((384, 384)), tiles=3)
    ahead = work.ahead()
    there: list[tuple[int, int]] = []
    made: dict[int, int] = {}

    def seen(path: Path, file: Any, picture: Any, strip: Any, options: Any) -> None:
        made[strip.window.row] = len(there)

    monkeypatch.setattr(strips_ahead, "encode_strip", seen)
    for chunk in ((1, 1), (0, 0), (1, 0), (0, 1)):
        there.append(chunk)
        work.put(ahead, chunk)
    assert made == {256: 3, 0: 4, 128: 4}


def test_what_is_only_noted_is_left_to_the_end(tmp_path: Path, small_strips: None) -> None:
    work = Chunks(tmp_path, picture_of((300, 300)))
    usual = work.write("usual.tif")
    ahead = work.ahead()
    for chunk in work.blocks:
        work.put(ahead, chunk, encode=chunk[0] > 0)
    assert ahead.made == {"strip-0-128", "strip-0-256"}
    assert work.finished(ahead) == usual


Usage = namedtuple("Usage", "total used free")


@pytest.mark.parametrize("missing", [0, 1])
def test_chunks_to_come_have_room_first(
    tmp_path: Path, small_strips: None, monkeypatch: pytest.MonkeyPatch, missing: int
) -> None:
    work = Chunks(tmp_path, picture_of((384, 128)))
    chunk, strip = 128 * 128 * 4, 128 * 128 * 4
    # After the first of three chunks there are two to come, and a strip.
    free = 2 * chunk + strip + 1 - missing
    monkeypatch.setattr(shutil, "disk_usage", lambda _: Usage(10**9, 0, free))
    ahead = work.ahead()
    work.put(ahead, (0, 0))
    assert ahead.made == (set() if missing else {"strip-0-0"})
    ahead.remove()


def test_a_disk_that_says_nothing_has_no_room(
    tmp_path: Path, small_strips: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    def gone(_: Path) -> None:
        raise FileNotFoundError

    monkeypatch.setattr(shutil, "disk_usage", gone)
    work = Chunks(tmp_path, picture_of((384, 128)))
    ahead = work.ahead()
    work.put(ahead, (0, 0))
    assert not ahead.made


def test_colours_under_a_mask_are_kept(tmp_path: Path, small_strips: None) -> None:
    work = Chunks(tmp_path, picture_of((384, 256)))
    for chunk, block in work.blocks.items():
        if chunk[0] == 1:
            block[-1] = 0
    for everywhere in (True, False):
        ahead = work.ahead(everywhere=everywhere)
        for chunk in work.blocks:
            work.put(ahead, chunk)
        assert ("strip-0-128" in ahead.made) is everywhere
        made = work.finished(ahead)
        work.write("usual.tif")
        assert made == (tmp_path / "usual.tif").read_bytes()


def test_a_strip_that_fails_is_made_at_the_end(
    tmp_path: Path, small_strips: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    work = Chunks(tmp_path, picture_of((384, 300)))
    usual = work.write("usual.tif")
    ahead = work.ahead()
    real = strips_ahead.encode_strip
    calls = 0

    def fails(path: Path, *rest: Any) -> None:
        nonlocal calls
        calls += 1
        if calls == 2:
            path.write_bytes(b"half of it")
            path.with_suffix(".vrt").touch()
            raise OSError("no space left")
        real(path, *rest)

    monkeypatch.setattr(strips_ahead, "encode_strip", fails)
    for chunk in work.blocks:
        work.put(ahead, chunk)
    assert ahead.made == {"strip-0-0"}
    assert calls == 2, "on a disk that is full it should not go on"
    assert work.finished(ahead) == usual


def test_what_is_left_is_removed_once_nobody_is_at_it(
    tmp_path: Path, small_strips: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    work = Chunks(tmp_path, picture_of((384, 128)))
    ahead = work.ahead()
    begun, go_on = threading.Event(), threading.Event()
    real = strips_ahead.encode_strip

    def slow(path: Path, *rest: Any) -> None:
        begun.set()
        assert go_on.wait(20)
        real(path, *rest)

    monkeypatch.setattr(strips_ahead, "encode_strip", slow)
    encoder = threading.Thread(target=work.put, args=(ahead, (0, 0)))
    encoder.start()
    assert begun.wait(20)
    remover = threading.Thread(target=ahead.remove)
    remover.start()
    go_on.set()
    remover.join(20)
    encoder.join(20)
    assert not work.leftovers()
    work.put(ahead, (1, 0))  # too late
    assert not work.leftovers()


@pytest.fixture
def small_strips(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cog_strips, "_PIXELS", 1)
