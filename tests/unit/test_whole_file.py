"""Files that have their name only when they are whole."""

from __future__ import annotations

from pathlib import Path

import pytest

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
