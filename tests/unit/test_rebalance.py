"""Weights by rarity of colour, and the whitened first layer."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch.nn import functional as F  # noqa: N812

from nirgeo.errors import TrainingError
from nirgeo.generator import LocalAffineGenerator
from nirgeo.radiometry import Quantity
from nirgeo.training.config import TrainingConfig
from nirgeo.training.data import Sampler, TrainingScene
from nirgeo.training.loop import Trainer
from nirgeo.training.networks import build_generator
from nirgeo.training.rebalance import ChromaRarity
from nirgeo.training.start import SIZE, whiten_stem

pytestmark = pytest.mark.usefixtures("one_thread")

CONFIG = TrainingConfig(
    quantity=Quantity.COUNTS,
    width=32,
    depth=1,
    batch=8,
    gain_jitter=0.0,
    nir_jitter=0.0,
    coarsen=0.0,
    hole_share=0.0,
    hint_share=0.0,
    adversarial=0.0,
)
GREY, GREEN = (0.5, 0.5, 0.5), (0.3, 0.6, 0.3)


def meadow(share: float, name: str = "a") -> TrainingScene:
    """A grey scene with green pixels strewn in, that many of a hundred; smooth near infrared."""
    random = np.random.default_rng(4)
    green = random.random((128, 128)) < share
    colours = np.where(green, *(np.array(c)[:, None, None] for c in (GREEN, GREY)))
    rows = np.linspace(0.3, 0.7, 128)[:, None] + random.normal(0, 0.01, (128, 128))
    inputs = rows[None].astype(np.float32)
    return TrainingScene(
        name, name, inputs, colours.astype(np.float32), np.ones((128, 128), dtype=np.bool_)
    )


def weights_of(rarity: ChromaRarity, *colours: tuple[float, float, float]) -> NDArray[np.float32]:
    pixels = torch.tensor(colours).T.reshape(1, 3, 1, -1)
    return rarity.weights(pixels).numpy().ravel()


class TestRarity:
    @pytest.mark.parametrize("exponent", [0.5, 1.0])
    def test_a_rare_colour_counts_for_more(self, exponent: float) -> None:
        rarity = ChromaRarity.measure(Sampler([meadow(0.04)], CONFIG), exponent)
        grey, green = weights_of(rarity, GREY, GREEN)
        # 96 grey pixels for 4 green ones.
        assert green / grey == pytest.approx(24**exponent, rel=0.05)

    def test_the_mean_weight_is_one(self) -> None:
        sampler = Sampler([meadow(0.1)], CONFIG)
        rarity = ChromaRarity.measure(sampler, 0.5)
        weights = rarity.weights(torch.from_numpy(sampler.batch(0).colours))
        assert weights.shape == (8, 1, 64, 64)
        assert weights.mean().item() == pytest.approx(1, abs=0.02)

    def test_chroma_not_brightness_decides(self) -> None:
        rarity = ChromaRarity.measure(Sampler([meadow(0.04)], CONFIG), 0.5)
        bright, dark = weights_of(rarity, (0.9, 0.9, 0.9), (0.1, 0.1, 0.1))
        assert bright == dark

    def test_a_colour_never_seen_has_a_limit(self) -> None:
        rarity = ChromaRarity.measure(Sampler([meadow(0.04)], CONFIG), 1.0)
        grey, *strange = weights_of(rarity, GREY, (1.0, 0.0, 0.0), (0.0, 0.0, 1.0))
        assert grey < strange[0] == strange[1] < 1e4
        assert np.isfinite(strange).all()

    def test_no_pixel(self) -> None:
        scene = meadow(0.1)
        sampler = Sampler([scene], CONFIG)
        scene.valid[:] = False  # after the sampler has looked
        with pytest.raises(TrainingError, match="no valid pixel"):
            ChromaRarity.measure(sampler, 0.5)

    def test_exponent_out_of_range(self) -> None:
        with pytest.raises(TrainingError, match=r"rebalance 1.5"):
            replace(CONFIG, rebalance=1.5)

    def test_a_training_leans_towards_the_rare_colour(self, tmp_path: Path) -> None:
        """Nothing tells green pixels apart here, so every pixel gets the mean of the weights."""
        greenness = {}
        for rebalance in (0.0, 1.0):
            config = replace(
                CONFIG, l1=0.0, squared=4.0, cosine=0.0, rebalance=rebalance, steps=60,
                warmup=5, learning_rate=5e-3, ema=0.0, dropout=0.0,
            )  # fmt: skip
            trainer = Trainer(config, [meadow(0.1)], None, tmp_path / f"{rebalance}")
            trainer.start()
            trainer.run()
            batch = trainer.sampler.batch(77)
            made = trainer.average(*map(torch.from_numpy, (batch.inputs, batch.valid)))
            greenness[rebalance] = float((made[:, 1] - made[:, 0]).mean())
        # 0.3 for a green pixel and 0 for a grey one: a tenth of them, and half of the weight.
        assert greenness[0.0] == pytest.approx(0.03, abs=0.02)
        assert greenness[1.0] == pytest.approx(0.15, abs=0.04)


class TestWhitening:
    def test_texture_is_as_strong_as_brightness(self) -> None:
        sampler = Sampler([meadow(0.1)], CONFIG)
        network = build_generator(CONFIG)
        assert isinstance(network, LocalAffineGenerator)
        shares = {}
        for name in ("plain", "whitened"):
            if name == "whitened":
                before = network.stem.weight.detach().clone()
                whiten_stem(network, sampler, seed=1)
            folded = F.pixel_unshuffle(torch.from_numpy(sampler.batch(3).inputs), 4)
            with torch.no_grad():
                features = F.conv2d(folded, network.stem.weight[:, :16])
            power = (features**2).mean(dim=(0, 2, 3))
            shares[name] = float((features.var(dim=(0, 2, 3)) / power).mean())
        # How much of a feature changes from place to place, rather than being there everywhere.
        assert shares["plain"] < 0.2
        assert shares["whitened"] > 0.7
        assert power.mean().item() == pytest.approx(SIZE**2, rel=0.3)
        # Mask and hint are read as before.
        assert torch.equal(network.stem.weight[:, 16:], before[:, 16:])

    def test_a_function_of_the_seed(self) -> None:
        sampler = Sampler([meadow(0.1)], CONFIG)
        made = []
        for seed in (1, 1, 2):
            network = build_generator(CONFIG)
            assert isinstance(network, LocalAffineGenerator)
            whiten_stem(network, sampler, seed)
            made.append(network.stem.weight[:, :16].detach())
        assert torch.equal(made[0], made[1])
        assert not torch.equal(made[0], made[2])
