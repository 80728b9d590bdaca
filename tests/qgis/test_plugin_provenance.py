"""Reading nirgeo's tags from a TIFF with nothing but the standard library."""

from __future__ import annotations

import struct
from pathlib import Path

import pytest
from nirgeo_qgis.provenance import read_provenance

XML = (
    '<GDALMetadata>\n  <Item name="AREA_OR_POINT">Area</Item>\n'
    '  <Item name="MODEL" domain="NIRGEO">some-nir@1 &lt;b&gt;</Item>\n'
    '  <Item name="SCALING_ORIGIN" domain="NIRGEO">assumed: × 10000</Item>\n'
    "</GDALMetadata>\n"
)
FACTS = {"MODEL": "some-nir@1 <b>", "SCALING_ORIGIN": "assumed: × 10000"}


def tiff(order: str, big: bool, text: bytes) -> bytes:
    mark = b"II" if order == "<" else b"MM"
    if big:
        head = struct.pack(order + "2sHHHQ", mark, 43, 8, 0, 16)
        table = struct.pack(order + "QHHQQQ", 1, 42112, 2, len(text), 52, 0)
    else:
        head = struct.pack(order + "2sHI", mark, 42, 8)
        table = struct.pack(order + "HHHIII", 1, 42112, 2, len(text), 26, 0)
    return head + table + text


@pytest.mark.parametrize("big", [False, True])
@pytest.mark.parametrize("order", ["<", ">"])
def test_every_kind_of_tiff(tmp_path: Path, order: str, big: bool) -> None:
    path = tmp_path / "a.tif"
    path.write_bytes(tiff(order, big, XML.encode() + b"\0"))
    assert read_provenance(str(path)) == FACTS


@pytest.mark.parametrize("big", [False, True])
def test_damage_gives_nothing(tmp_path: Path, big: bool) -> None:
    path = tmp_path / "a.tif"
    whole = tiff("<", big, XML.encode() + b"\0")
    for length in range(len(whole)):
        path.write_bytes(whole[:length])
        assert set(read_provenance(str(path)).items()) <= set(FACTS.items())
    for place in range(52):
        for value in (0, 1, 127, 255):
            path.write_bytes(whole[:place] + bytes([value]) + whole[place + 1 :])
            assert set(read_provenance(str(path)).items()) <= set(FACTS.items())


def test_other_files_give_nothing(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    path.write_bytes(b"\x89PNG")
    assert read_provenance(str(path)) == {}
    assert read_provenance(str(tmp_path / "missing")) == {}
    assert read_provenance("/vsis3/bucket/a.tif") == {}
