"""What a failed run leaves is removed, and nothing else."""

from __future__ import annotations

from pathlib import Path

from nirgeo_qgis.leftovers import Beside


def names(folder: Path) -> set[str]:
    return {entry.name for entry in folder.iterdir()}


def test_working_files_go_and_neighbours_stay(tmp_path: Path) -> None:
    target = tmp_path / "a.tif"
    for name in ("data.tif", ".data.tif.nirgeo", "a.tiff", "b"):
        (tmp_path / name).write_text("")
    beside = Beside(str(target))
    (tmp_path / ".a.tif.nirgeo").mkdir()
    (tmp_path / ".a.tif.nirgeo" / "blocks").write_text("x")
    for name in ("a.tif", "a.tif.part", "a.tif.aux.xml", "later.tif", "data.tif.part"):
        (tmp_path / name).write_text("")
    beside.clear()
    assert names(tmp_path) == {
        *("data.tif", ".data.tif.nirgeo", "a.tiff", "b", "later.tif", "data.tif.part")
    }


def test_an_earlier_result_stays(tmp_path: Path) -> None:
    target = tmp_path / "a.tif"
    target.write_text("earlier")
    beside = Beside(str(target))
    (tmp_path / ".a.tif.nirgeo").mkdir()
    beside.clear()
    assert target.read_text() == "earlier"
    assert names(tmp_path) == {"a.tif"}


def test_links_are_removed_and_not_followed(tmp_path: Path) -> None:
    precious = tmp_path / "precious"
    precious.mkdir()
    (precious / "file").write_text("")
    beside = Beside(str(tmp_path / "a.tif"))
    (tmp_path / "a.tif.link").symlink_to(precious)
    beside.clear()
    assert (precious / "file").exists()
    assert names(tmp_path) == {"precious"}


def test_a_missing_folder_is_no_error(tmp_path: Path) -> None:
    Beside(str(tmp_path / "nowhere" / "a.tif")).clear()
