"""Networks of the literature: shape, reach, and that tiles of any size give their picture."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from helpers import write_raster

import nirgeo
from nirgeo.architectures import ARCHITECTURES, build, generator_shape
from nirgeo.encoder_decoder import EncoderDecoder, EncoderDecoderConfig
from nirgeo.engine import colouriser_of
from nirgeo.errors import ModelError, OptionError
from nirgeo.modelfile import (
    ENCODER_DECODER,
    KNOWN_ARCHITECTURES,
    ModelSpec,
    read_model,
    write_model,
)
from nirgeo.networks import load_generator
from nirgeo.radiometry import Quantity

SHAPES = [
    pytest.param({"levels": 1, "width": 8}, id="one level"),
    pytest.param({"levels": 3, "width": 8}, id="as the paper"),
    pytest.param({"levels": 3, "width": 8, "skips": True, "edge_norm": False}, id="U-Net"),
    pytest.param({"levels": 2, "width": 4, "in_bands": 3, "out_bands": 1}, id="bands"),
]


def lively(config: EncoderDecoderConfig, seed: int = 0) -> EncoderDecoder:
    """A network whose weights and running statistics all matter."""
    network = EncoderDecoder(config)
    random = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, value in network.state_dict().items():
            noise = torch.randn(value.shape, generator=random) if value.ndim else value
            if name.endswith("running_var"):
                value.copy_(noise.abs() + 0.5)
            elif value.ndim == 1:
                value.copy_(noise * 0.2 + (1 if name.endswith("norm.weight") else 0))
            elif value.ndim == 4:
                value.copy_(noise * (2 / value[0].numel()) ** 0.5)
    return network.eval().requires_grad_(False)


def run(network: EncoderDecoder, inputs: torch.Tensor) -> torch.Tensor:
    return network(inputs, torch.ones_like(inputs[:, :1]))


class TestShape:
    @pytest.mark.parametrize("shape", SHAPES)
    def test_tensors_of_a_model_file(self, shape: dict[str, Any]) -> None:
        config = EncoderDecoderConfig(**shape)
        floats = {
            name: tuple(value.shape)
            for name, value in EncoderDecoder(config).state_dict().items()
            if value.is_floating_point()
        }
        assert config.tensor_shapes() == floats

    @pytest.mark.parametrize("shape", SHAPES)
    def test_the_picture_has_the_size_of_the_input(self, shape: dict[str, Any]) -> None:
        network = lively(EncoderDecoderConfig(**shape))
        inputs = torch.rand(2, network.config.in_bands, 3 * network.stride, 5 * network.stride)
        out = run(network, inputs)
        assert out.shape == (2, network.config.out_bands, *inputs.shape[2:])

    def test_channels_double_up_to_eight_times(self) -> None:
        config = EncoderDecoderConfig(width=4, levels=6, skips=True)
        assert config.encoder_channels == (1, 4, 8, 16, 32, 32, 32)
        assert config.decoder_channels[0] == (32, 32)  # nothing to be handed across yet
        assert config.decoder_channels[-1] == (8, 3)

    def test_normalisation_in_every_layer_or_not_at_the_edges(self) -> None:
        everywhere = EncoderDecoderConfig(levels=2, edge_norm=True).tensor_shapes()
        inside = EncoderDecoderConfig(levels=2, edge_norm=False).tensor_shapes()
        assert {n.rpartition(".")[0] for n in set(everywhere) - set(inside)} == {
            "encoder.0.norm",
            "decoder.1.norm",
        }

    @pytest.mark.parametrize(
        "bad",
        [
            {"levels": 0},
            {"levels": 7},
            {"width": 3},
            {"width": 8.0},
            {"skips": 1},
            {"edge_norm": "yes"},
            {"maximum": 0},
            {"maximum": None},
            {"in_bands": 9},
        ],
        ids=str,
    )
    def test_out_of_limits(self, bad: dict[str, Any]) -> None:
        with pytest.raises(ModelError, match=next(iter(bad))):
            EncoderDecoderConfig(**bad)


class TestReach:
    @pytest.mark.parametrize("shape", SHAPES)
    def test_halo_is_exactly_as_far_as_a_pixel_acts(self, shape: dict[str, Any]) -> None:
        network = lively(EncoderDecoderConfig(**shape)).double()
        stride = network.stride
        size = (2 * (network.halo // stride + 2) + 1) * stride
        inputs = torch.rand(1, network.config.in_bands, size, size, dtype=torch.float64)
        before = run(network, inputs)
        reach = 0
        for offset in range(stride):
            pixel = size // 2 // stride * stride + offset
            changed = inputs.clone()
            changed[..., pixel, pixel] += 0.3
            touched = np.argwhere((run(network, changed) != before).any(1)[0].numpy())
            reach = max(reach, int(np.abs(touched - pixel).max()))
        # Rectifiers let some influence die on its way, so a random network may fall short of it.
        assert network.halo - stride < reach <= network.halo

    def test_outputs_stay_inside_the_working_space(self) -> None:
        network = lively(EncoderDecoderConfig(width=4, levels=2, maximum=1.225))
        out = run(network, torch.rand(1, 1, 32, 32) * 50 - 25)
        assert 0 <= out.min() < 0.2
        assert 1.0 < out.max() <= 1.225

    def test_dropout_is_for_training_only(self) -> None:
        network = lively(EncoderDecoderConfig(width=4, levels=3))
        network.dropout = 0.5
        inputs = torch.rand(1, 1, 32, 32)
        assert torch.equal(run(network, inputs), run(network, inputs))
        assert not torch.equal(run(network.train(), inputs), run(network, inputs))


class TestModelFile:
    def write(self, path: Path, **changes: Any) -> Path:
        config = EncoderDecoderConfig(width=8, levels=3)
        state = {k: v.numpy() for k, v in lively(config).state_dict().items() if v.ndim}
        spec = ModelSpec(
            name="paper",
            version=1,
            bands=("nir",),
            quantity=Quantity.COUNTS,
            architecture=ENCODER_DECODER,
            generator=config.to_json(),
        )
        write_model(path, spec, state | changes)
        return path

    def test_round_trip(self, tmp_path: Path) -> None:
        loaded = load_generator(read_model(self.write(tmp_path / "m.safetensors")))
        inputs = torch.rand(1, 1, 32, 40)
        want = run(lively(EncoderDecoderConfig(width=8, levels=3)), inputs)
        torch.testing.assert_close(loaded(inputs, torch.ones_like(inputs)), want)

    def test_it_has_no_trunk_to_run_in_8_bits(self, tmp_path: Path) -> None:
        path = self.write(tmp_path / "m.safetensors")
        with pytest.raises(OptionError, match="--precision int8: paper@1 has no trunk"):
            colouriser_of(read_model(path), precision="int8")

    def test_a_negative_variance_is_refused(self, tmp_path: Path) -> None:
        bad = {"encoder.0.norm.running_var": -np.ones(8, dtype=np.float32)}
        with pytest.raises(ModelError, match="a variance is negative"):
            load_generator(read_model(self.write(tmp_path / "m.safetensors", **bad)))

    @pytest.mark.parametrize("chunk", [64, 128])
    def test_tiles_give_the_same_picture(self, tmp_path: Path, chunk: int) -> None:
        """To the level of rounding: bits are only promised for the project's own network."""
        model = nirgeo.load_model(self.write(tmp_path / "m.safetensors"))
        nir = np.random.default_rng(1).integers(1, 255, (210, 275), dtype=np.uint8)
        path = write_raster(tmp_path / "nir.tif", nir, descriptions=["nir"])
        whole = nirgeo.colorize(nirgeo.open_scene(path, chunk=512), model).values
        tiled = nirgeo.colorize(nirgeo.open_scene(path, chunk=chunk), model).values
        difference = np.abs(whole.astype(int) - tiled)
        assert difference.max() <= 1
        assert (difference > 0).mean() < 1e-3
        assert len(np.unique(whole)) > 20


class TestNames:
    def test_every_name_that_a_file_may_use_can_be_built(self) -> None:
        assert tuple(ARCHITECTURES) == KNOWN_ARCHITECTURES
        for name in KNOWN_ARCHITECTURES:
            shape = generator_shape(name, {"in_bands": 1, "out_bands": 3, "width": 8})
            network = build(name, shape)
            assert network.stride == shape.stride  # type: ignore[comparison-overlap]
            assert network.halo == shape.halo

    @pytest.mark.parametrize("levels", [1, 3])
    def test_narrowest_is_a_lower_bound_of_what_enters_a_convolution(self, levels: int) -> None:
        shape = EncoderDecoderConfig(width=8, levels=levels)
        network = EncoderDecoder(shape).eval()
        entered = []
        for layer in network.modules():
            if isinstance(layer, (torch.nn.Conv2d, torch.nn.ConvTranspose2d)):
                layer.register_forward_pre_hook(lambda _, given: entered.append(given[0].numel()))
        with torch.inference_mode():
            network(torch.rand(1, 1, 64, 64), torch.ones(1, 1, 64, 64))
        assert min(entered) == shape.narrowest * 64 * 64
