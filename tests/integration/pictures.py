"""What the end-to-end tests share: scenes that look like scenes, a second way to make the picture,
and ways to run the command."""

from __future__ import annotations

import json
import os
import struct
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import rasterio
import torch
from click.testing import CliRunner, Result
from helpers import random_generator
from numpy.typing import NDArray

from nirgeo.cli.main import main
from nirgeo.location_prior import HintField, ToneMap, hint_field
from nirgeo.modelfile import Model, ModelSpec, read_model, write_model
from nirgeo.networks import network
from nirgeo.opening import open_source
from nirgeo.radiometry import Quantity, from_working, quantize, to_working
from nirgeo.scaling import Scaling

COLOURS = ("red", "green", "blue")
TO_REFLECTANCE = Scaling(Quantity.REFLECTANCE, 1e-4, 0.0, "test")

# What a reflectance between 0 and 1 is stored as, and the --scale that brings it back.
STORED: dict[str, tuple[float, str]] = {
    "uint8": (200.0, "0.005"),
    "uint16": (10_000.0, "0.0001"),
    "int16": (10_000.0, "0.0001"),
    "float32": (1.0, "1"),
    "float64": (1.0, "1"),
}


def reflectance(height: int, width: int, seed: int = 0) -> NDArray[np.float64]:
    """Fields with edges, and texture on them: coarse differences and fine detail, 0.02 to 0.9."""
    random = np.random.default_rng([seed, height, width])
    fields = random.beta(1.5, 3.0, (height // 11 + 1, width // 11 + 1)) * 0.8 + 0.02
    coarse = np.kron(fields, np.ones((11, 11)))[:height, :width]
    return np.clip(coarse + random.normal(0.0, 0.02, (height, width)), 0.02, 0.9)


def scene_values(height: int, width: int, dtype: str = "uint16", *, seed: int = 0) -> NDArray[Any]:
    """:func:`reflectance` as digital numbers; none of them is 0."""
    gain, _ = STORED[dtype]
    values = reflectance(height, width, seed) * gain
    return values.astype(dtype) if dtype.startswith("float") else np.rint(values).astype(dtype)


def punch_holes(height: int, width: int, seed: int = 0) -> NDArray[np.bool_]:
    """A mask (True is valid) with a slanted border, as of a swath, and holes, as of clouds."""
    random = np.random.default_rng([seed, height, width, 1])
    rows, cols = np.indices((height, width))
    valid = cols > rows * 0.15 - height * 0.05
    for _ in range(4):
        row, col = random.uniform(0, height), random.uniform(0, width)
        radius = random.uniform(2, 0.15 * max(height, width) + 3)
        valid &= (rows - row) ** 2 + (cols - col) ** 2 > radius**2
    if not valid.any():
        valid[height // 2, width // 2] = True
    return valid


def painting_model(
    folder: Path,
    *,
    name: str = "painting",
    quantity: str = "reflectance",
    bands: Sequence[str] = ("nir",),
    seed: int = 0,
    width: int = 8,
    depth: int = 1,
    shape: Mapping[str, Any] | None = None,
    **spec: Any,
) -> Model:
    """A model with random weights whose colours stay between black and white.

    ``shape`` is more of the generator's shape. A network that expects errors expects between one
    and some thirty degrees.

    Weights as they come drive nearly every pixel to 0 or 255, where no difference shows; so the
    head is brought to a size at which the correction is about as strong as the table.
    """
    table_max = 1.225 if quantity == "reflectance" else 1.0
    net = random_generator(
        seed,
        in_bands=len(bands),
        width=width,
        depth=depth,
        knots=9,
        table_max=table_max,
        **(shape or {}),
    )
    if net.config.expects_error:
        spec = {"uncertainty": {"quantile": 2.0}} | spec
    random = torch.Generator().manual_seed(seed)
    sample = 0.2 + 0.6 * torch.rand((1, len(bands), 256, 256), generator=random)
    with torch.no_grad():
        size = net.head(net.features(sample, torch.ones(1, 1, 256, 256), None)).std()
        net.head.weight *= 0.08 / size
        net.head.bias *= 0.08 / size  # type: ignore[operator]
        net.table.values.mul_(0.25 / len(bands)).add_(0.25 / len(bands))
        if net.error_head is not None:
            net.error_head.weight *= 0.5 / size
            net.error_head.bias *= 0.1  # type: ignore[operator]
            if net.config.weighs_hint:
                net.error_trust.fill_(-0.6)
            net.error_table.values.uniform_(1.0, 3.0, generator=random).div_(len(bands))
    description = ModelSpec(
        name=name,
        version=1,
        bands=tuple(bands),
        quantity=Quantity(quantity),
        generator=net.config.to_json(),
        **spec,
    )
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{name}-{seed}.safetensors"
    write_model(path, description, {k: v.numpy() for k, v in net.state_dict().items()})
    return read_model(path)


def whole_picture(
    values: NDArray[Any],
    valid: NDArray[np.bool_],
    model: Model,
    scaling: Scaling = TO_REFLECTANCE,
    output: str = "display",
    hint: HintField | None = None,
) -> NDArray[Any]:
    """The picture made without any of the machinery under test: the network runs once, over all.

    ``values`` is (bands, H, W); ``hint`` is for a model with a location prior. The array is
    repeated at its right and bottom edge up to a whole number of the network's cells. The network
    is handed two copies: for a single small image torch picks another kernel than for all other
    inputs, and the last bit would differ.
    """
    net = network(model)
    height, width = valid.shape
    pad = ((0, -height % net.stride), (0, -width % net.stride))
    mask = np.pad(valid, pad, mode="edge")
    with np.errstate(invalid="ignore"):
        inputs = to_working(scaling.apply(values), model.spec.quantity)
    inputs = np.pad(inputs, ((0, 0), *pad), mode="edge")
    inputs[:, ~mask] = 0
    x = torch.from_numpy(np.stack([inputs, inputs])).contiguous(memory_format=torch.channels_last)
    m = torch.from_numpy(np.stack([mask[None], mask[None]]).astype(np.float32))
    field = None
    if hint is not None:
        cells = hint.cells(0, 0, x.shape[2] // net.stride, x.shape[3] // net.stride, net.stride)
        field = torch.from_numpy(np.stack([cells, cells]))
    with torch.inference_mode():
        working = np.ascontiguousarray(net(x, m, field)[0].numpy()[:, :height, :width])
    if model.spec.quantity is Quantity.COUNTS:
        picture = quantize(working)
    else:
        colours = np.clip(from_working(working, Quantity.REFLECTANCE), 0.0, 1.0)
        picture = model.spec.curve.apply(colours) if output == "display" else colours
    picture[:, ~valid] = np.nan if output == "reflectance" else 0
    return picture


def hint_of(path: Path, model: Model) -> HintField:
    """The colour hint for a whole file."""
    assert model.spec.tones is not None
    hint = hint_field(open_source(path).grid, ToneMap.from_json(model.spec.tones))
    assert hint is not None, "the scene has no place on land"
    return hint


def read(path: str | os.PathLike[str]) -> tuple[NDArray[Any], NDArray[np.bool_]]:
    """Pixels of every band, and the dataset's mask."""
    with rasterio.open(path) as file:
        return file.read(), file.dataset_mask() != 0


def command(*arguments: object, expect: int | None = 0) -> Result:
    """Run ``nirgeo …`` in this process; fails unless the exit code is ``expect``."""
    result = CliRunner().invoke(main, [str(a) for a in arguments])
    if expect is not None:
        assert result.exit_code == expect, f"{result.stderr}\n{result.stdout}\n{result.exception!r}"
    return result


def events(text: str) -> list[dict[str, Any]]:
    """JSON lines; fails on a line that is anything else."""
    parsed = [json.loads(line) for line in text.splitlines()]
    assert all(isinstance(entry, dict) for entry in parsed)
    return parsed


def start(
    *arguments: object,
    cwd: Path | None = None,
    env: Mapping[str, str] | None = None,
    prelude: str | None = None,
) -> subprocess.Popen[str]:
    """Start ``python -m nirgeo …`` as a process of its own.

    ``prelude`` is Python that runs in it first.
    """
    run: Sequence[str] = ("-m", "nirgeo")
    if prelude is not None:
        run = ("-c", f"{prelude}\nfrom nirgeo.cli.main import main\nmain(prog_name='nirgeo')")
    return subprocess.Popen(
        [sys.executable, *run, *(str(a) for a in arguments)],
        cwd=cwd,
        env={**os.environ, **(env or {})},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def process(
    *arguments: object,
    cwd: Path | None = None,
    env: Mapping[str, str] | None = None,
    prelude: str | None = None,
) -> tuple[int, str, str]:
    """:func:`start`, to its end: exit code, stdout, stderr."""
    child = start(*arguments, cwd=cwd, env=env, prelude=prelude)
    out, err = child.communicate(timeout=240)
    return child.returncode, out, err


def tiff_tag(path: Path, tag: int) -> int | None:
    """The first number of a tag in a little-endian TIFF's first directory."""
    raw = path.read_bytes()
    big = raw[2] == 43
    (start,) = struct.unpack_from("<Q" if big else "<I", raw, 8 if big else 4)
    (count,) = struct.unpack_from("<Q" if big else "<H", raw, start)
    entries, size = (start + 8, 20) if big else (start + 2, 12)
    for position in range(entries, entries + count * size, size):
        name, kind = struct.unpack_from("<HH", raw, position)
        if name == tag:
            form = {3: "<H", 4: "<I", 16: "<Q"}[kind]
            return int(struct.unpack_from(form, raw, position + size - (8 if big else 4))[0])
    return None


def listing(folder: Path) -> dict[str, tuple[int, int]]:
    """Every file and folder below, with size and time of change of the files."""
    found: dict[str, tuple[int, int]] = {}
    for path in sorted(folder.rglob("*")):
        status = path.stat()
        found[str(path.relative_to(folder))] = (
            (status.st_size, status.st_mtime_ns) if path.is_file() else (0, 0)
        )
    return found
