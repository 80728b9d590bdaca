"""Files that have their name only when they are whole."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import torch
from helpers import write_random_model

from nirgeo.training.checkpoint import save_checkpoint
from nirgeo.whole_file import written_whole


def test_the_name_comes_at_the_end(tmp_path: Path) -> None:
    target = tmp_path / "model.safetensors"
    with written_whole(target) as partial:
        partial.write_text("new")
        assert not target.exists()
    assert target.read_text() == "new"
    assert list(tmp_path.iterdir()) == [target]


@pytest.mark.parametrize("stop", [OSError, ValueError, KeyboardInterrupt])
def test_what_is_stopped_leaves_what_was_there(tmp_path: Path, stop: type[BaseException]) -> None:
    target = tmp_path / "model.safetensors"
    target.write_text("old")

    def stopped() -> None:
        with written_whole(target) as partial:
            partial.write_text("ne")
            raise stop

    with pytest.raises(stop):
        stopped()
    assert target.read_text() == "old"
    assert list(tmp_path.iterdir()) == [target]


def test_a_name_that_is_a_folder_leaves_nothing(tmp_path: Path) -> None:
    target = tmp_path / "folder"
    target.mkdir()
    with pytest.raises(OSError, match="folder"), written_whole(target) as partial:
        partial.write_text("new")
    assert list(tmp_path.iterdir()) == [target]


@pytest.mark.skipif(os.name != "posix", reason="modes are those of POSIX")
def test_models_are_for_everybody_who_may_read_new_files(tmp_path: Path) -> None:
    (tmp_path / "any").touch()
    model = write_random_model(tmp_path, width=8, depth=1)
    save_checkpoint(tmp_path / "checkpoint", {"a": torch.nn.Linear(2, 2)}, {}, {})
    usual = (tmp_path / "any").stat().st_mode
    assert model.stat().st_mode == usual
    assert (tmp_path / "checkpoint").stat().st_mode == usual
