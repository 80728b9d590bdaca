"""The generator: the same bits for every tiling, and what each of its inputs does."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from helpers import random_generator, random_weights
from numpy.typing import NDArray

from nirgeo.architectures import generator_shape
from nirgeo.errors import ModelError
from nirgeo.generator import (
    FULL_TRUST,
    DilatedConv,
    GeneratorConfig,
    LocalAffineGenerator,
    PiecewiseLinear,
)
from nirgeo.hints import CHANNELS as HINT_CHANNELS
from nirgeo.own_torch import intra_op_threads
from nirgeo.tiling import ChunkGrid, Window, input_window

FloatArray = NDArray[np.float32]


@pytest.fixture(params=[1, 2], ids=["1 thread", "2 threads"])
def threads(request: pytest.FixtureRequest) -> Iterator[int]:
    before = torch.get_num_threads()
    torch.set_num_threads(request.param)
    yield request.param
    torch.set_num_threads(before)


def run(network: LocalAffineGenerator, inputs: FloatArray, valid: FloatArray) -> FloatArray:
    """Colours (3, H, W) of inputs (bands, H, W) and valid (1, H, W), as the product runs them.

    torch sends a single image to another convolution kernel where a layer's input has at most
    20480 values, and the last bit differs; a batch of two is always treated alike. The layer that
    falls below first is the one with the fewest channels.
    """
    x, mask = torch.from_numpy(inputs)[None], torch.from_numpy(valid)[None]
    cells = x.shape[2] * x.shape[3] // network.stride**2
    if cells * min(network.stem.in_channels, network.config.width) <= 20480:
        x, mask = x.expand(2, -1, -1, -1), mask.expand(2, -1, -1, -1)
    with torch.inference_mode():
        x = x.contiguous(memory_format=torch.channels_last)
        out: FloatArray = network(x, mask.contiguous())[0].numpy()
    return out


def run_window(
    network: LocalAffineGenerator,
    inputs: FloatArray,
    valid: FloatArray,
    target: Window,
    halo: int,
) -> FloatArray:
    """One target window, read with its halo and padded at the raster's edge only."""
    raster = (inputs.shape[1], inputs.shape[2])
    window = input_window(target, halo=halo, stride=network.stride, raster=raster)
    pad = ((0, 0), (0, window.pad_bottom), (0, window.pad_right))
    cut = (slice(None), *window.read.slices)
    out = run(
        network,
        np.pad(inputs[cut], pad, mode="edge"),
        np.pad(valid[cut], pad, mode="edge"),
    )
    return out[(slice(None), *window.crop)]


def scene(bands: int, height: int, width: int) -> tuple[FloatArray, FloatArray]:
    """Values inside and outside the trained range, with holes."""
    random = np.random.default_rng((bands, height, width))
    inputs = random.uniform(-0.05, 1.3, (bands, height, width)).astype(np.float32)
    valid = (random.random((1, height, width)) > 0.02).astype(np.float32)
    valid[:, height // 3 : height // 2, : width // 4] = 0
    return inputs * valid, valid


class TestTiling:
    @pytest.mark.parametrize("tiles", [1, 3])
    @pytest.mark.parametrize("size", [(203, 274), (128, 192), (65, 131), (1, 300), (67, 1)])
    def test_tiled_equals_whole_to_the_last_bit(
        self, threads: int, tiles: int, size: tuple[int, int]
    ) -> None:
        network = random_generator(7, width=16, depth=2)
        inputs, valid = scene(1, *size)
        whole = run_window(network, inputs, valid, Window(0, 0, *size), network.halo)
        for _, _, target in ChunkGrid(*size, tiles).windows():
            tile = run_window(network, inputs, valid, target, network.halo)
            np.testing.assert_array_equal(tile, whole[(slice(None), *target.slices)])

    @pytest.mark.parametrize(
        "config",
        [
            {"in_bands": 3, "width": 16, "depth": 1},
            {"width": 8, "depth": 1},  # fewer channels inside than at the stem
            {"width": 24, "depth": 1, "shuffle": 2},
            {"width": 12, "depth": 1, "shuffle": 8},
            {"width": 16, "depth": 0, "shuffle": 1},
        ],
        ids=str,
    )
    def test_so_does_every_other_shape(self, threads: int, config: dict[str, int]) -> None:
        network = random_generator(8, **config)
        inputs, valid = scene(network.config.in_bands, 141, 150)
        whole = run_window(network, inputs, valid, Window(0, 0, 141, 150), network.halo)
        for _, _, target in ChunkGrid(141, 150, 1).windows():
            tile = run_window(network, inputs, valid, target, network.halo)
            np.testing.assert_array_equal(tile, whole[(slice(None), *target.slices)])

    def test_threads_do_not_change_a_bit(self) -> None:
        network = random_generator(9, width=16, depth=2)
        inputs, valid = scene(1, 160, 200)
        results = []
        before = torch.get_num_threads()
        try:
            for count in (1, 2):
                torch.set_num_threads(count)
                results.append(run(network, inputs, valid))
        finally:
            torch.set_num_threads(before)
        np.testing.assert_array_equal(results[0], results[1])

    def test_a_halo_too_small_is_noticed(self) -> None:
        # Guards the tests above: the random network must make its whole halo count. A chunk starts
        # at the upper left pixel of a cell, which sees less far than the halo of 17, namely 16.
        network = random_generator(7, width=16, depth=2)
        inputs, valid = scene(1, 160, 160)
        whole = run_window(network, inputs, valid, Window(0, 0, 160, 160), network.halo)
        target = Window(64, 64, 64, 64)
        tile = run_window(network, inputs, valid, target, network.halo - network.stride - 1)
        assert not np.array_equal(tile, whole[(slice(None), *target.slices)])


class TestInputs:
    def test_a_new_network_is_its_table(self) -> None:
        network = LocalAffineGenerator(GeneratorConfig(width=8, depth=2, knots=5)).eval()
        network.table.values.copy_(torch.rand(1, 5, 3, generator=torch.Generator().manual_seed(1)))
        inputs, valid = scene(1, 64, 64)
        expected = network.table(torch.from_numpy(inputs)[None])[0].numpy()
        np.testing.assert_array_equal(run(network, inputs, valid), expected)

    def test_the_valid_mask_matters_around_a_hole(self) -> None:
        network = random_generator(2, width=8, depth=1)
        inputs, valid = scene(1, 64, 64)
        valid[:] = 1
        holed = valid.copy()
        holed[0, 32, 32] = 0
        differs = (run(network, inputs, valid) != run(network, inputs, holed)).any(axis=0)
        assert differs[20:45, 20:45].any()
        assert not differs[:8].any()

    def test_no_hint_is_a_hint_of_zeros(self) -> None:
        network = random_generator(3, width=8, depth=1)
        inputs, valid = scene(1, 64, 96)
        x, mask = torch.from_numpy(inputs)[None], torch.from_numpy(valid)[None]
        unknown = network(x, mask)
        zeros = torch.zeros(1, HINT_CHANNELS, 64 // network.stride, 96 // network.stride)
        assert torch.equal(network(x, mask, zeros), unknown)
        assert not torch.equal(network(x, mask, zeros + 0.5), unknown)

    def test_a_hint_acts_where_it_is_given(self) -> None:
        network = random_generator(3, width=8, depth=1)
        inputs, valid = scene(1, 64, 192)
        x, mask = torch.from_numpy(inputs)[None], torch.from_numpy(valid)[None]
        hint = torch.zeros(1, HINT_CHANNELS, 16, 48)
        before = network(x, mask, hint)
        hint[..., :8] = 1
        after = network(x, mask, hint)
        changed = (before != after).any(dim=1)[0].any(dim=0).numpy()
        assert changed[:32].any()
        assert not changed[32 + network.halo :].any()

    @pytest.mark.parametrize("bands", [1, 2])
    def test_outside_the_trained_range_the_table_speaks_alone(self, bands: int) -> None:
        network = random_generator(4, in_bands=bands, width=8, depth=1, table_max=2.0)
        inputs = np.full((bands, 64, 64), 0.4, dtype=np.float32)
        low, high = (float(network.input_range[0, k]) for k in (0, 3))
        inputs[0, :16] = low  # the first band alone is enough
        inputs[0, -16:] = high + 0.3
        valid = np.ones((1, 64, 64), dtype=np.float32)
        out = run(network, inputs, valid)
        table = network.table(torch.from_numpy(inputs)[None])[0].numpy()
        np.testing.assert_array_equal(out[:, :16], table[:, :16])
        np.testing.assert_array_equal(out[:, -16:], table[:, -16:])
        assert (out[:, 16:-16] != table[:, 16:-16]).all()

    def test_fade_is_a_trapezium(self) -> None:
        network = random_generator(0, width=8, depth=0)
        a, b, c, d = (float(v) for v in network.input_range[0])
        x = np.array([a - 1, a, (a + b) / 2, b, 0.3, c, (c + d) / 2, d, d + 9], dtype=np.float32)
        fade = network.fade(torch.from_numpy(x).view(1, 1, 1, -1)).flatten().numpy()
        np.testing.assert_allclose(fade, [0, 0, 0.5, 1, 1, 1, 0.5, 0, 0], atol=1e-6)

    @pytest.mark.parametrize("extreme", [-1e30, -1.0, 0.0, 1e4, 1e30])
    def test_no_finite_input_makes_nan(self, extreme: float) -> None:
        network = random_generator(5, width=8, depth=1)
        inputs, valid = scene(1, 32, 32)
        inputs[0, 10:12, 10:12] = extreme
        assert np.isfinite(run(network, inputs, valid)).all()

    def test_dropout_is_for_training_only(self) -> None:
        network = random_generator(6, width=16, depth=1)
        network.dropout = 0.5
        inputs, valid = (torch.from_numpy(a)[None] for a in scene(1, 32, 32))
        assert torch.equal(network(inputs, valid), network(inputs, valid))
        network.train()
        assert not torch.equal(network(inputs, valid), network(inputs, valid))

    def test_images_of_a_batch_do_not_see_each_other(self) -> None:
        network = random_generator(6, width=16, depth=1)
        (a, valid), (b, _) = scene(1, 64, 64), scene(1, 64, 64)
        b = b[:, ::-1].copy()
        x = torch.from_numpy(np.stack([a, b]))
        mask = torch.from_numpy(np.stack([valid, valid]))
        np.testing.assert_array_equal(
            network(x.contiguous(memory_format=torch.channels_last), mask)[0].numpy(),
            run(network, a, valid),
        )


class TestPiecewiseLinear:
    @pytest.mark.parametrize("knots", [2, 3, 33])
    @pytest.mark.parametrize("maximum", [0.5, 1.0, 1.225])
    def test_against_numpy(self, knots: int, maximum: float) -> None:
        random = np.random.default_rng(knots)
        table = PiecewiseLinear(2, knots, 3, maximum)
        values = random.uniform(-1, 1, (2, knots, 3)).astype(np.float32)
        table.values.copy_(torch.from_numpy(values))
        positions = np.linspace(0, maximum, knots)
        x = random.uniform(-0.5, maximum + 0.5, (1, 2, 40, 50)).astype(np.float32)
        x[0, :, 0, :knots] = positions[:50]  # the knots themselves
        out = table(torch.from_numpy(x))[0].numpy()
        for colour in range(3):
            expected = sum(np.interp(x[0, b], positions, values[b, :, colour]) for b in range(2))
            np.testing.assert_allclose(out[colour], expected, atol=3e-6 * knots)

    def test_beyond_both_ends_it_is_constant(self) -> None:
        table = PiecewiseLinear(1, 4, 1, 1.0)
        table.values.copy_(torch.tensor([[[0.25], [9.0], [9.0], [0.75]]]))
        x = torch.tensor([-float("inf"), -3.0, 0.0, 1.0, 5.0, float("inf")]).view(1, 1, 1, -1)
        assert table(x).flatten().tolist() == [0.25, 0.25, 0.25, 0.75, 0.75, 0.75]


class TestConfig:
    @pytest.mark.parametrize(
        "bad",
        [
            {"width": 0},
            {"width": 10**9},
            {"width": 8.0},
            {"width": "64"},
            {"depth": -1},
            {"depth": 65},
            {"in_bands": 0},
            {"in_bands": 9},
            {"out_bands": 0},
            {"knots": 1},
            {"knots": 10**6},
            {"shuffle": 0},
            {"shuffle": 3},
            {"shuffle": 16},
            {"table_max": 0},
            {"table_max": -1.0},
            {"table_max": float("nan")},
            {"table_max": float("inf")},
            {"table_max": "1"},
            {"smoothing": 0},
            {"smoothing": 4},
            {"smoothing": 35},
            {"dilations": (1, 2, 3)},
            {"dilations": (9,) * 8},
            {"expects_error": 1},
            {"weighs_hint": "yes"},
        ],
        ids=str,
    )
    def test_out_of_limits(self, bad: dict[str, Any]) -> None:
        name = next(iter(bad))
        with pytest.raises(ModelError, match=f"generator {name}="):
            GeneratorConfig(**bad)

    def test_json_round_trip(self) -> None:
        config = GeneratorConfig(
            in_bands=2,
            width=12,
            depth=3,
            shuffle=2,
            knots=5,
            table_max=1.225,
            dilations=(1, 2, 1),
            smoothing=3,
            expects_error=True,
            weighs_hint=True,
        )
        assert GeneratorConfig(**json.loads(json.dumps(config.to_json()))) == config

    def test_tensors_of_a_model_file(self) -> None:
        # Their names and shapes are a file format: weights published today must load for ever.
        network = LocalAffineGenerator(GeneratorConfig(in_bands=2, width=12, depth=1, knots=5))
        assert {k: tuple(v.shape) for k, v in network.state_dict().items()} == {
            "input_range": (2, 4),
            "table.values": (2, 5, 3),
            "stem.weight": (12, 2 * 16 + 1 + 3, 3, 3),
            "stem.bias": (12,),
            "blocks.0.spatial.weight": (12, 12, 3, 3),
            "blocks.0.spatial.bias": (12,),
            "blocks.0.pointwise.weight": (12, 12, 1, 1),
            "blocks.0.pointwise.bias": (12,),
            "head.weight": (9, 12, 1, 1),
            "head.bias": (9,),
        }

    @pytest.mark.parametrize(
        "shape",
        [
            {},
            {"depth": 0},
            {"expects_error": True, "in_bands": 3, "smoothing": 3},
            {"expects_error": True, "weighs_hint": True},
            {"weighs_hint": True},
            {"in_bands": 3, "out_bands": 1, "width": 7, "depth": 3, "shuffle": 8},
        ],
        ids=str,
    )
    def test_shapes_known_without_building_the_network(self, shape: dict[str, int]) -> None:
        config = GeneratorConfig(**shape)
        built = LocalAffineGenerator(config).state_dict()
        assert config.tensor_shapes() == {k: tuple(v.shape) for k, v in built.items()}

    def test_reach_without_weights(self) -> None:
        network = random_generator(width=8, depth=3, shuffle=2)
        shape = generator_shape("local-affine", network.config.to_json())
        assert (shape.halo, shape.stride) == (network.halo, network.stride)
        with pytest.raises(ModelError, match="damaged generator shape"):
            generator_shape("local-affine", {"widht": 8})
        with pytest.raises(ModelError, match="'oracle' is not known"):
            generator_shape("oracle", {})

    def test_random_weights_are_reproducible(self) -> None:
        # Every exactness test rests on it.
        one, two = (random_generator(11, width=8, depth=1) for _ in range(2))
        for a, b in zip(one.state_dict().values(), two.state_dict().values(), strict=True):
            assert torch.equal(a, b)
        random_weights(two, seed=12)
        assert not torch.equal(one.stem.weight, two.stem.weight)


def test_smoothing_averages_the_cells_that_are_there() -> None:
    plain = random_generator(4, width=8, depth=1)
    smoothed = LocalAffineGenerator(replace(plain.config, smoothing=3)).eval()
    smoothed.load_state_dict(plain.state_dict())
    x = torch.rand(1, 1, 40, 48, generator=torch.Generator().manual_seed(1)) * 0.6 + 0.1
    valid = torch.ones_like(x)
    with torch.inference_mode():
        cells = plain.head(plain.features(x, valid, None))[0].numpy().astype(np.float64)
        ones = np.pad(np.ones(cells.shape[1:]), 1)
        padded = np.pad(cells, ((0, 0), (1, 1), (1, 1)))
        rows, cols = cells.shape[1:]
        near = [(i, j) for i in range(3) for j in range(3)]
        total = sum(padded[:, i : i + rows, j : j + cols] for i, j in near)
        count = sum(ones[i : i + rows, j : j + cols] for i, j in near)
        mean = torch.from_numpy((total / count).astype(np.float32))[None]
        wanted = plain.coloured(x, plain.upsampled(mean))
        np.testing.assert_allclose(smoothed(x, valid), wanted, atol=2e-5)
        assert (smoothed(x, valid) - plain(x, valid)).abs().max() > 0.05


@pytest.mark.parametrize("dilation", [1, 2, 3, 4, 6])
def test_a_dilated_convolution_is_the_same_for_every_size_and_number_of_threads(
    dilation: int,
) -> None:
    random = torch.Generator().manual_seed(dilation)
    conv = DilatedConv(64, dilation).to(memory_format=torch.channels_last)
    x = torch.randn(1, 64, 131, 190, generator=random)
    x = x.contiguous(memory_format=torch.channels_last)
    with torch.inference_mode():
        with intra_op_threads(1):
            whole = conv(x)
            plain = torch.nn.Conv2d.forward(conv, x)
        torch.testing.assert_close(whole, plain, rtol=1e-4, atol=1e-5)
        inside = slice(dilation, -dilation)
        for threads in (1, 2):
            # Odd heights are where torch's own kernels for two threads part ways.
            for top, left, height, width in ((3, 5, 87, 133), (20, 1, 64, 180), (40, 40, 55, 56)):
                window = (..., slice(top, top + height), slice(left, left + width))
                part = x[window].contiguous(memory_format=torch.channels_last)
                with intra_op_threads(threads):
                    made = conv(part)
                assert torch.equal(made[..., inside, inside], whole[window][..., inside, inside])


def test_a_dilated_convolution_can_stay_whole() -> None:
    conv = DilatedConv(8, 4)
    x = torch.randn(1, 8, 21, 30, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        apart = conv(x)
        conv.whole = True
        torch.testing.assert_close(conv(x), apart, rtol=1e-4, atol=1e-5)
        assert torch.equal(conv(x), torch.nn.Conv2d.forward(conv, x))


def test_no_error_is_expected_to_be_larger_than_half_a_turn() -> None:
    net = random_generator(0, width=8, depth=1, expects_error=True)
    with torch.inference_mode():
        net.error_head.bias += 20
        _, degrees = net.with_error(torch.rand(1, 1, 16, 16), torch.ones(1, 1, 16, 16))
    assert 0 < float(degrees.max()) <= 180.001


def test_trust_in_a_hint_scales_the_expected_error_up_to_what_was_calibrated() -> None:
    net = random_generator(0, width=8, depth=1, expects_error=True, weighs_hint=True)
    x, valid = torch.rand(1, 1, 32, 32), torch.ones(1, 1, 32, 32)

    def said(trust: float | None, change: float) -> torch.Tensor:
        field = None if trust is None else torch.tensor([0.0, 0.0, trust]).view(1, 3, 1, 1)
        hint = None if field is None else field.expand(1, 3, 8, 8)
        net.error_trust.fill_(change)
        with torch.inference_mode():
            return net.with_error(x, valid, hint)[1].log()

    assert torch.equal(said(None, -0.5), said(None, 0.0))
    assert torch.equal(said(0.0, -0.5), said(0.0, 0.0))
    for trust, share in ((FULL_TRUST / 4, 0.25), (FULL_TRUST, 1.0), (0.9, 1.0)):
        change = said(trust, -0.5) - said(trust, 0.0)
        torch.testing.assert_close(change, torch.full_like(change, -0.5 * share))
