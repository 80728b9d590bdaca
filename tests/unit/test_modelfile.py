"""Model files: what goes in comes out, and nothing in them can do harm."""

from __future__ import annotations

import hashlib
import json
import os
import pickle
import struct
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from helpers import random_generator, random_model, write_random_model
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from safetensors import safe_open
from safetensors.numpy import load_file, save_file

from nirgeo.errors import ModelError
from nirgeo.modelfile import (
    MAX_BYTES,
    METADATA_KEY,
    Model,
    ModelSpec,
    read_model,
    sha256_of,
    write_model,
)
from nirgeo.networks import load_generator
from nirgeo.radiometry import Quantity

SPEC = ModelSpec(
    name="test-model",
    version=3,
    bands=("nir", "red"),
    quantity=Quantity.COUNTS,
    generator=random_generator(in_bands=2, width=8, depth=1).config.to_json(),
    display_gain=2.0,
    gsd=(0.2, 2.5),
    summary="Naïve “quotes”, ünïcode",
    licence="CC-BY-4.0",
    attribution="Someone",
    training={"steps": 5, "scenes": ["a", "b"], "nested": {"x": 0.1}},
)


def refused(path: Path | str, pattern: str) -> None:
    """Neither reading nor loading gets anything but one line of ModelError out of a file."""
    with pytest.raises(ModelError, match=pattern) as caught:
        load_generator(read_model(path))
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 1000


def with_metadata(folder: Path, change: Callable[[dict[str, Any]], None]) -> Path:
    """A whole model file but for one change of its description."""
    path = write_random_model(folder)
    with safe_open(path, framework="numpy") as file:
        data = json.loads(file.metadata()[METADATA_KEY])
    change(data)
    save_file(load_file(path), path, metadata={METADATA_KEY: json.dumps(data)})
    return path


def with_tensors(folder: Path, change: Callable[[dict[str, NDArray[Any]]], None]) -> Path:
    """A whole model file but for one change of its weights."""
    path = write_random_model(folder)
    with safe_open(path, framework="numpy") as file:
        metadata = file.metadata()
    tensors = load_file(path)
    change(tensors)
    save_file(tensors, path, metadata=metadata)
    return path


def with_text(folder: Path, text: str) -> Path:
    """A file whose description is any text."""
    path = folder / "text.safetensors"
    save_file({"x": np.zeros(1, dtype=np.float32)}, path, metadata={METADATA_KEY: text})
    return path


class TestRoundTrip:
    def test_description(self) -> None:
        text = json.dumps(SPEC.to_json())
        assert ModelSpec.from_json(json.loads(text), "here") == SPEC

    def test_file(self, tmp_path: Path) -> None:
        network = random_generator(5, in_bands=2, width=8, depth=1)
        tensors = {k: v.numpy() for k, v in network.state_dict().items()}
        path = tmp_path / "m.safetensors"
        write_model(path, SPEC, tensors)
        model = read_model(path)
        assert model == Model(SPEC, str(path), hashlib.sha256(path.read_bytes()).hexdigest())
        assert model.spec.full_name == "test-model@3"
        assert model.spec.curve.gain == 2.0
        loaded = load_generator(model)
        assert loaded.config == network.config
        assert not loaded.training
        assert not any(p.requires_grad for p in loaded.parameters())
        for name, value in loaded.state_dict().items():
            assert value.dtype == torch.float32
            np.testing.assert_array_equal(value.numpy(), tensors[name])
        x = torch.rand(2, 2, 32, 32, generator=torch.Generator().manual_seed(0))
        valid = torch.ones(2, 1, 32, 32)
        assert torch.equal(loaded(x, valid), network(x, valid))

    def test_equal_models_are_equal_files(self, tmp_path: Path) -> None:
        one = write_random_model(tmp_path / "one", seed=4)
        two = write_random_model(tmp_path / "two", seed=4)
        assert one.read_bytes() == two.read_bytes()
        assert sha256_of(one) != sha256_of(write_random_model(tmp_path / "three", seed=5))

    def test_only_the_whole_file_appears(self, tmp_path: Path) -> None:
        path = write_random_model(tmp_path)
        assert list(tmp_path.iterdir()) == [path]

    @pytest.mark.parametrize("quantity", list(Quantity))
    @pytest.mark.parametrize("bands", [("nir",), ("nir", "red", "green")])
    def test_every_kind_of_test_model_loads(
        self,
        tmp_path: Path,
        model_file: Callable[..., Path],
        quantity: Quantity,
        bands: tuple[str, ...],
    ) -> None:
        model = read_model(model_file(tmp_path, quantity=quantity, bands=bands))
        assert (model.spec.quantity, model.spec.bands) == (quantity, bands)
        assert load_generator(model).config.in_bands == len(bands)

    def test_a_model_can_be_sent_to_another_process(self, tmp_path: Path) -> None:
        model = random_model(tmp_path)
        assert pickle.loads(pickle.dumps(model)) == model

    def test_loading_leaves_the_file_free(self, tmp_path: Path) -> None:
        # Weights must not stay mapped to the file: it may be replaced while a notebook is open.
        path = write_random_model(tmp_path)
        network = load_generator(read_model(path))
        before = {k: v.clone() for k, v in network.state_dict().items()}
        path.write_bytes(bytes(path.stat().st_size))
        for name, value in network.state_dict().items():
            assert torch.equal(value, before[name])


class TestSpecLimits:
    @pytest.mark.parametrize(
        ("change", "pattern"),
        [
            ({"name": "Bad Name"}, "lower-case words"),
            ({"name": ""}, "lower-case words"),
            ({"name": "../../etc"}, "lower-case words"),
            ({"name": "a\n"}, "lower-case words"),
            ({"architecture": "unet"}, "architecture 'unet'.*update nirgeo"),
            ({"bands": ()}, "bands"),
            ({"bands": ("nir",)}, "do not fit its generator"),
            ({"colours": ("red", "green")}, "do not fit its generator"),
            ({"version": 0}, "version 0"),
            ({"display_gain": 0.0}, "display gain"),
            ({"display_gain": float("nan")}, "display gain"),
            ({"display_gain": float("inf")}, "display gain"),
            ({"gsd": (0.0, 1.0)}, "no range of pixel sizes"),
            ({"gsd": (2.0, 1.0)}, "no range of pixel sizes"),
            ({"gsd": (1.0, float("nan"))}, "no range of pixel sizes"),
        ],
        ids=str,
    )
    def test_refused(self, change: dict[str, Any], pattern: str) -> None:
        fields = {name: getattr(SPEC, name) for name in SPEC.__dataclass_fields__}
        with pytest.raises(ModelError, match=pattern):
            ModelSpec(**(fields | change))


def _set(**values: Any) -> Callable[[dict[str, Any]], None]:
    return lambda data: data.update(values)


class TestDamagedDescriptions:
    @pytest.mark.parametrize(
        "missing",
        [
            "format",
            "name",
            "version",
            "architecture",
            "generator",
            "bands",
            "colours",
            "quantity",
            "display_curve",
            "gsd",
        ],
    )
    def test_missing_field(self, tmp_path: Path, missing: str) -> None:
        path = with_metadata(tmp_path, lambda data: data.pop(missing))
        refused(path, f"damaged model metadata.*{missing}")

    def test_optional_fields_may_be_missing(self, tmp_path: Path) -> None:
        def strip(data: dict[str, Any]) -> None:
            for name in ("summary", "licence", "attribution", "training"):
                del data[name]

        assert read_model(with_metadata(tmp_path, strip)).spec.training == {}

    @pytest.mark.parametrize(
        ("values", "pattern"),
        [
            ({"format": 2}, "model format 2 is not 1; update nirgeo"),
            ({"format": "1"}, "model format '1' is not 1"),
            ({"format": None}, "model format None"),
            ({"architecture": "transformer"}, "architecture 'transformer'.*update nirgeo"),
            ({"version": "new"}, "damaged model metadata"),
            ({"version": float("inf")}, "damaged model metadata"),
            ({"version": float("nan")}, "damaged model metadata"),
            ({"version": None}, "damaged model metadata"),
            ({"version": -1}, "version -1"),
            ({"quantity": "radiance"}, "damaged model metadata"),
            ({"bands": 5}, "damaged model metadata"),
            ({"bands": "nir"}, "do not fit"),
            ({"gsd": [1]}, "damaged model metadata"),
            ({"gsd": "ab"}, "damaged model metadata"),
            ({"display_curve": "srgb"}, "damaged model metadata"),
            ({"display_curve": {"name": "srgb", "gain": "much"}}, "damaged model metadata"),
            ({"display_curve": {"name": "filmic", "gain": 2.5}}, "display curve 'filmic'"),
            ({"generator": []}, "do not fit|damaged"),
            ({"generator": {}}, "do not fit"),
            ({"training": 7}, "damaged model metadata"),
        ],
        ids=str,
    )
    def test_wrong_field(self, tmp_path: Path, values: dict[str, Any], pattern: str) -> None:
        refused(with_metadata(tmp_path, _set(**values)), pattern)

    @pytest.mark.parametrize(
        "shape",
        [
            {"width": 10**9},
            {"width": "64"},
            {"depth": 10**30},
            {"knots": 0},
            {"table_max": "1.0"},
            {"table_max": float("nan")},
            {"__class__": "os.system"},
            {"unknown": 1},
        ],
        ids=str,
    )
    def test_impossible_network(self, tmp_path: Path, shape: dict[str, Any]) -> None:
        path = with_metadata(tmp_path, lambda data: data["generator"].update(shape))
        refused(path, "generator")

    def test_a_huge_network_is_refused_before_memory_is_taken_for_it(self, tmp_path: Path) -> None:
        # The largest shape allowed has 40 million weights; the file holds a thousand.
        path = with_metadata(tmp_path, lambda data: data["generator"].update(width=256, depth=64))
        refused(path, "tensors do not fit")

    @pytest.mark.parametrize(
        "text",
        [
            "",
            "{",
            "null",
            "[]",
            "3",
            '"text"',
            "{}",
            "\x00",
            '{"format": 1}',
            "[" * 100_000,
            '{"a":' * 50_000,
            '{"format": ' + "9" * 5000 + "}",  # more digits than Python converts
            '{"format": 1, "name": "' + "x" * 5000 + '"}',
        ],
        ids=lambda text: text[:12],
    )
    def test_text_that_is_no_description(self, tmp_path: Path, text: str) -> None:
        refused(with_text(tmp_path, text), "damaged model metadata|not a readable model file")

    @given(
        st.recursive(
            st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
            lambda children: (
                st.lists(children, max_size=3)
                | st.dictionaries(st.sampled_from([*SPEC.to_json(), "x"]), children, max_size=4)
            ),
            max_leaves=8,
        ),
        st.sampled_from(list(SPEC.to_json())),
    )
    def test_any_json_in_any_field_is_read_or_refused(self, value: Any, name: str) -> None:
        try:
            spec = ModelSpec.from_json({**SPEC.to_json(), name: value}, "here")
        except ModelError:
            return
        assert ModelSpec.from_json(json.loads(json.dumps(spec.to_json())), "here") == spec


class TestDamagedWeights:
    @pytest.mark.parametrize(
        ("change", "pattern"),
        [
            (lambda t: t.pop("head.bias"), "tensors do not fit: 'head.bias'"),
            (lambda t: t.update(extra=t["head.bias"]), "tensors do not fit: 'extra'"),
            (
                lambda t: t.update({"stem.bias": np.zeros(9, dtype=np.float32)}),
                r"tensor stem\.bias is F32 \(9,\), expected F32 \(8,\)",
            ),
            (
                lambda t: t.update({"stem.bias": np.zeros((8, 1), dtype=np.float32)}),
                r"tensor stem\.bias is F32 \(8, 1\)",
            ),
            (
                lambda t: t.update({"stem.bias": np.zeros(8, dtype=np.float64)}),
                r"tensor stem\.bias is F64 \(8,\)",
            ),
            (
                lambda t: t.update({"stem.bias": np.zeros(8, dtype=np.int32)}),
                r"tensor stem\.bias is I32",
            ),
            (
                lambda t: t["stem.weight"].__setitem__(0, np.nan),
                "stem.weight holds NaN or infinity",
            ),
            (lambda t: t["head.bias"].__setitem__(2, np.inf), "head.bias holds NaN or infinity"),
            (
                # Its fade would divide by zero, and a pixel of just that value become NaN.
                lambda t: t["input_range"].__setitem__((0, 1), t["input_range"][0, 0]),
                "input_range must rise",
            ),
        ],
    )
    def test_refused(
        self,
        tmp_path: Path,
        change: Callable[[dict[str, NDArray[Any]]], None],
        pattern: str,
    ) -> None:
        refused(with_tensors(tmp_path, change), pattern)

    def test_a_tensor_with_a_monstrous_name(self, tmp_path: Path) -> None:
        name = "\n\x1b[31m" + "a" * 100_000
        path = with_tensors(tmp_path, lambda t: t.update({name: np.zeros(1, dtype=np.float32)}))
        refused(path, "tensors do not fit")

    def test_a_file_that_changes_between_reading_and_loading(self, tmp_path: Path) -> None:
        path = write_random_model(tmp_path, seed=1)
        model = read_model(path)
        os.replace(write_random_model(tmp_path / "other", seed=2), path)
        with pytest.raises(ModelError, match="changed since it was opened"):
            load_generator(model)


def _header(length: int, text: bytes = b"{}") -> bytes:
    return struct.pack("<Q", length) + text


class TestNotAModel:
    @pytest.mark.parametrize(
        "content",
        [
            b"",
            b"\x08",
            b"not a model at all, but long enough",
            _header(2**63),
            _header(2**40),
            _header(99_000_000),
            _header(0, b""),
            _header(2, b"[]"),
            _header(2, b"\xff\xfe"),
            _header(2),
            pickle.dumps({"weights": [1, 2, 3]}),
            b"PK\x03\x04" + bytes(200),  # torch.save writes a zip archive
        ],
        ids=range(12),
    )
    def test_garbage(self, tmp_path: Path, content: bytes) -> None:
        path = tmp_path / "m.safetensors"
        path.write_bytes(content)
        refused(path, r"m\.safetensors: ")

    def test_offsets_beyond_the_file(self, tmp_path: Path) -> None:
        text = json.dumps({"x": {"dtype": "F32", "shape": [9999], "data_offsets": [0, 39996]}})
        path = tmp_path / "m.safetensors"
        path.write_bytes(_header(len(text), text.encode()) + bytes(16))
        refused(path, "not a readable model file")

    def test_truncated(self, tmp_path: Path) -> None:
        path = write_random_model(tmp_path)
        content = path.read_bytes()
        for length in (len(content) - 1, len(content) // 2, 100, 8, 3):
            path.write_bytes(content[:length])
            refused(path, "not a readable model file")

    def test_another_safetensors_file(self, tmp_path: Path) -> None:
        path = tmp_path / "other.safetensors"
        save_file({"x": np.zeros(3, dtype=np.float32)}, path)
        refused(path, "not a nirgeo model")
        save_file({"x": np.zeros(3, dtype=np.float32)}, path, metadata={"format": "pt"})
        refused(path, "not a nirgeo model")

    def test_no_file_or_a_folder(self, tmp_path: Path) -> None:
        refused(tmp_path / "none.safetensors", "not a readable model file")
        refused(tmp_path, "not a readable model file")

    def test_too_large(self, tmp_path: Path) -> None:
        path = tmp_path / "large.safetensors"
        with open(path, "wb") as file:
            file.truncate(MAX_BYTES + 1)  # sparse: takes no space
        refused(path, "more than such a file may have")

    def test_nothing_in_a_file_is_executed(self, tmp_path: Path) -> None:
        class Bomb:
            def __reduce__(self) -> tuple[Any, tuple[str, ...]]:
                return os.mkdir, (str(tmp_path / "executed"),)

        pickled = tmp_path / "bomb.safetensors"
        pickled.write_bytes(pickle.dumps(Bomb()))
        refused(pickled, "not a readable model file")
        torch.save(Bomb(), tmp_path / "bomb.pt")
        refused(tmp_path / "bomb.pt", "not a readable model file")
        refused(with_metadata(tmp_path, _set(architecture="os.mkdir")), "architecture 'os.mkdir'")
        assert not (tmp_path / "executed").exists()
        pickle.loads(pickled.read_bytes())  # the bomb is live, or this test proves nothing
        assert (tmp_path / "executed").exists()


def test_reading_a_description_needs_no_torch(tmp_path: Path) -> None:
    path = write_random_model(tmp_path)
    code = (
        "import sys\n"
        "from nirgeo.modelfile import read_model\n"
        "model = read_model(sys.argv[1])\n"
        "print(model.spec.full_name, model.sha256, 'torch' in sys.modules)\n"
    )
    folder = Path(__file__).parents[2]
    done = subprocess.run(
        [sys.executable, "-c", code, str(path)],
        capture_output=True,
        text=True,
        check=True,
        cwd=folder,
        timeout=60,
    )
    assert done.stdout.split() == ["test-model@1", sha256_of(path), "False"]
