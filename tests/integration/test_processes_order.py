"""Which of several processes gets which chunk, and what is said of one that died."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
from helpers import write_raster
from pictures import scene_values

import nirgeo
from nirgeo.errors import ClusterError
from nirgeo.modelfile import Model
from nirgeo.processes import Processes, _Member


def leave(block):
    os._exit(7)


def picture(tmp_path: Path, tiny: Model, side=128):
    scene = write_raster(tmp_path / "in" / "scene.tif", scene_values(side, side))
    return nirgeo.colorize(nirgeo.open_scene(scene, scale="1e-4", chunk=1), tiny)


def test_a_death_of_another_kind_is_not_laid_to_memory(tmp_path: Path, tiny: Model) -> None:
    rgb = picture(tmp_path, tiny)
    bad = rgb.copy(data=rgb.data.map_blocks(leave, dtype=np.uint8, meta=rgb.data._meta))
    with Processes(1) as few, pytest.raises(ClusterError) as raised:
        nirgeo.write_geotiff(bad, tmp_path / "rgb.tif", scheduler=few)
    assert "exit code 7" in str(raised.value)
    assert "memory" not in str(raised.value)


def test_nobody_waits_while_others_have_two(
    tmp_path: Path, tiny: Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    rgb, given, send = picture(tmp_path, tiny), [], _Member.send

    def noted(self, chunk, work) -> None:
        if chunk is not None:
            given.append(self.process.pid)
        send(self, chunk, work)

    monkeypatch.setattr(_Member, "send", noted)
    with Processes(4) as four:
        nirgeo.write_geotiff(rgb, tmp_path / "rgb.tif", scheduler=four)
    assert len(set(given)) == len(given) == 4


def test_a_process_has_the_next_chunk_before_it_is_done(
    tmp_path: Path, tiny: Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    rgb, most, send = picture(tmp_path, tiny), [], _Member.send

    def noted(self, chunk, work) -> None:
        send(self, chunk, work)
        most.append(len(self.under_way))

    monkeypatch.setattr(_Member, "send", noted)
    with Processes(1) as one:
        nirgeo.write_geotiff(rgb, tmp_path / "rgb.tif", scheduler=one)
    assert max(most) == 2
