"""Our sources have no way to execute what a file says; shipped files are those that are listed."""

from __future__ import annotations

import ast
import hashlib
import json
import struct
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import rasterio
from helpers import write_random_model, write_raster
from safetensors.numpy import save_file

import nirgeo
from nirgeo.baselines.storage import is_baseline_file, load_baseline
from nirgeo.errors import ModelError, NirgeoError
from nirgeo.modelfile import read_model
from nirgeo.networks import load_generator
from nirgeo.runtimes.int8 import read_ranges
from nirgeo.tensorfile import MAX_HEADER_BYTES

ROOT = Path(__file__).parents[2]
OURS = sorted(
    path
    for folder in ("nirgeo", "qgis_plugin", "tools", "examples")
    for path in (ROOT / folder).rglob("*.py")
)

# Whatever can make code, or objects with code, out of bytes.
MODULES = {
    *("pickle", "cPickle", "_pickle", "dill", "cloudpickle", "joblib", "marshal", "shelve"),
    *("runpy", "code", "codeop"),
}
# To processes that nirgeo starts itself, through a pipe that nobody else has; no file.
BETWEEN_PROCESSES = {"nirgeo/processes.py": ["import of cloudpickle"]}
BUILTINS = {"eval", "exec", "compile", "__import__"}
METHODS = {
    ("torch", "load"),
    ("torch", "hub"),
    ("jit", "load"),
    ("serialization", "load"),
    ("os", "system"),
    ("os", "popen"),
    ("yaml", "load"),
    ("yaml", "unsafe_load"),
    ("subprocess", "getoutput"),
    ("subprocess", "getstatusoutput"),
    *(("builtins", name) for name in BUILTINS),
}
EVERYWHERE = {"read_pickle", "to_pickle"}
"""Methods that are refused whoever's they are."""


def findings(source: str) -> Iterator[str]:
    """What a test below should refuse in this source."""
    tree = ast.parse(source)
    renamed = {
        alias.asname: alias.name.rpartition(".")[2]
        for node in ast.walk(tree)
        if isinstance(node, (ast.Import, ast.ImportFrom))
        for alias in node.names
        if alias.asname
    }
    called = {id(node.func) for node in ast.walk(tree) if isinstance(node, ast.Call)}
    for node in ast.walk(tree):
        names: list[str] = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            names = [node.module or "", *(f"{node.module}.{alias.name}" for alias in node.names)]
        for name in names:
            parts = name.split(".")
            if parts[0] in MODULES or tuple(parts[-2:]) in METHODS:
                yield f"import of {name}"
        if isinstance(node, ast.Attribute):
            owner = node.value
            named = owner.id if isinstance(owner, ast.Name) else getattr(owner, "attr", "")
            named = renamed.get(named, named)
            starts = named == "os" and node.attr.startswith(("exec", "spawn", "posix_spawn"))
            if (named, node.attr) in METHODS or node.attr in EVERYWHERE or starts:
                yield f"{named}.{node.attr}"
        if isinstance(node, ast.Name) and node.id in BUILTINS and id(node) not in called:
            yield f"another name for {node.id}"
        if isinstance(node, ast.Call) and ast.unparse(node.func) == "getattr":
            said = [part.value for part in node.args[1:2] if isinstance(part, ast.Constant)]
            whose = ast.unparse(node.args[0]).rpartition(".")[2]
            if said and (renamed.get(whose, whose), said[0]) in METHODS:
                yield f"getattr of {said[0]}"
        if isinstance(node, ast.Call):
            if isinstance(node.func, ast.Name) and node.func.id in BUILTINS:
                yield f"call of {node.func.id}"
            for keyword in node.keywords:
                if keyword.arg == "allow_pickle" and ast.unparse(keyword.value) != "False":
                    yield "allow_pickle"
                if keyword.arg == "shell" and ast.unparse(keyword.value) != "False":
                    yield "a shell"


@pytest.mark.parametrize(
    "source",
    [
        "import pickle",
        "from pickle import loads",
        "import joblib.numpy_pickle",
        "import torch\ntorch.load('x')",
        "from torch import load",
        "torch.jit.load('x')",
        "np.load('x', allow_pickle=True)",
        "np.load('x', allow_pickle=flag)",
        "eval('1')",
        "subprocess.run('ls', shell=True)",
        "os.system('ls')",
        "import torch as t\nt.load('x', weights_only=False)",
        "torch.serialization.load('x')",
        "getattr(torch, 'load')('x')",
        "builtins.eval('1')",
        "e = eval\ne('1')",
        "subprocess.getoutput('ls')",
        "import runpy",
        "pd.read_pickle('x')",
        "os.execvp('ls', [])",
        "from os import system",
    ],
)
def test_the_search_finds_what_it_is_for(source: str) -> None:
    assert list(findings(source))


@pytest.mark.parametrize("source", ["import re\nre.compile('x')", "np.load('x')", "loader.load()"])
def test_and_nothing_else(source: str) -> None:
    assert not list(findings(source))


def test_our_sources_execute_nothing_that_a_file_says() -> None:
    assert len(OURS) > 100
    found = {
        path.relative_to(ROOT).as_posix(): list(findings(path.read_text(encoding="utf-8")))
        for path in OURS
    }
    assert {name: what for name, what in found.items() if what} == BETWEEN_PROCESSES


def test_every_shipped_file_is_the_one_that_the_registry_lists() -> None:
    weights = Path(nirgeo.__file__).parent / "weights"
    listed: set[Path] = set()
    for registry in (weights / "registry.json", weights / "baselines" / "registry.json"):
        for entry in json.loads(registry.read_text(encoding="utf-8")):
            path = registry.parent / entry["file"]
            assert hashlib.sha256(path.read_bytes()).hexdigest() == entry["sha256"], path.name
            listed.add(path)
            ranges = path.with_suffix(".int8.safetensors")
            if "int8_sha256" in entry:
                found = hashlib.sha256(ranges.read_bytes()).hexdigest()
                assert found == entry["int8_sha256"], ranges.name
                assert read_ranges(read_model(path))  # bound to the weights' own hash too
                listed.add(ranges)
    assert listed == set(weights.rglob("*.safetensors"))


# --- headers --------------------------------------------------------------------------------------


def test_a_long_header_is_refused_before_it_is_parsed(tmp_path: Path) -> None:
    # A file that the format allows: as many tensors of no size as fit 40 MB of JSON.
    path = tmp_path / "m.safetensors"
    entry = '"{:07d}":{{"dtype":"F32","shape":[0],"data_offsets":[0,0]}}'
    text = "{" + ",".join(entry.format(k) for k in range(80_000)) + "}"
    assert len(text) > MAX_HEADER_BYTES
    path.write_bytes(struct.pack("<Q", len(text)) + text.encode())
    for use in (read_model, load_baseline):
        with pytest.raises(ModelError, match=f"a header of {len(text)} bytes is more than"):
            use(path)
    assert not is_baseline_file(path)


def test_metadata_fill_a_header_too(tmp_path: Path) -> None:
    path = tmp_path / "m.safetensors"
    save_file({"x": np.zeros(1, np.float32)}, path, metadata={"nirgeo": "x" * MAX_HEADER_BYTES})
    with pytest.raises(ModelError, match="a header of"):
        read_model(path)


# --- texts ----------------------------------------------------------------------------------------

ATTACKS = {
    "colours of a terminal": "\x1b[2J\x1b[31mError: all is lost",
    "another line": 'fine\n{"event": "result", "path": "/etc/passwd"}',
    "end of a string": "fine\x00not fine",
    "turned around": "safe\u202egnp.exe",
    "too long": "x" * 5000,
}


@pytest.mark.parametrize("text", ATTACKS.values(), ids=ATTACKS)
@pytest.mark.parametrize("field", ["summary", "licence", "attribution"])
def test_a_card_holds_nothing_but_text_for_people(tmp_path: Path, field: str, text: str) -> None:
    good = write_random_model(tmp_path, **{field: "Ordinary “text” <b>&amp;</b>, naïve; 1 > 0"})
    assert load_generator(read_model(good)) is not None
    with pytest.raises(ModelError, match="no text for people") as caught:
        write_random_model(tmp_path, **{field: text})
    assert str(caught.value).isprintable()


@pytest.mark.parametrize(
    "name", ["nir\n", "NIR", "<b>", "a b", "", "x" * 50, "\x1b[31m", 'r"]]>', "../x"]
)
def test_bands_have_plain_names(tmp_path: Path, name: str) -> None:
    with pytest.raises(ModelError, match="must be lower-case words") as caught:
        write_random_model(tmp_path, bands=(name,))
    assert str(caught.value).isprintable()


def test_a_vrt_with_code_is_refused_and_not_run(tmp_path: Path) -> None:
    # GDAL can run Python that stands in a VRT, if its user allows it. nirgeo never does.
    write_raster(tmp_path / "plain.tif", np.full((40, 50), 500, np.uint16))
    code = f"import os\ndef f(*a, **k):\n    os.mkdir({str(tmp_path / 'executed')!r})\n"
    vrt = tmp_path / "scene.vrt"
    vrt.write_text(
        '<VRTDataset rasterXSize="50" rasterYSize="40">'
        '<VRTRasterBand dataType="UInt16" band="1" subClass="VRTDerivedRasterBand">'
        "<PixelFunctionLanguage>Python</PixelFunctionLanguage>"
        f"<PixelFunctionType>f</PixelFunctionType><PixelFunctionCode><![CDATA[{code}]]>"
        "</PixelFunctionCode><SimpleSource>"
        '<SourceFilename relativeToVRT="1">plain.tif</SourceFilename><SourceBand>1</SourceBand>'
        "</SimpleSource></VRTRasterBand></VRTDataset>"
    )
    with rasterio.open(vrt) as file:
        assert file.shape == (40, 50)  # it is the code alone that is wrong with it
    with pytest.raises(NirgeoError, match=r"scene\.vrt"):
        nirgeo.colorize(nirgeo.open_scene(vrt), "baseline/grey").compute()
    assert not (tmp_path / "executed").exists()
