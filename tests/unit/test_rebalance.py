"""What makes a training look past brightness and casts: weights, whitening, evened casts."""

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
from nirgeo.training import losses
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


class TestCasts:
    def test_a_cast_is_forgiven_and_nothing_else(self) -> None:
        random = torch.Generator().manual_seed(3)
        truth = torch.rand((2, 3, 64, 64), generator=random) * 0.5 + 0.1
        valid = (torch.rand((2, 1, 64, 64), generator=random) > 0.3).float()
        cast = torch.tensor([[0.8, 1.0, 1.4], [1.1, 0.9, 0.7]])[:, :, None, None]
        evened = losses.without_cast(truth * cast, truth, valid)
        torch.testing.assert_close(evened, truth)
        noise = torch.rand(truth.shape, generator=random) * 0.1
        evened = losses.without_cast(truth * cast + noise, truth, valid)
        assert losses.reconstruction(evened, truth, valid) > 0.01
        means = ((evened - truth) * valid).sum(dim=(2, 3))
        torch.testing.assert_close(means, torch.zeros_like(means), atol=2e-2, rtol=0)

    def test_black_and_far_too_bright_stay_finite(self) -> None:
        truth, valid = torch.full((1, 3, 64, 64), 0.4), torch.ones((1, 1, 64, 64))
        for value in (-0.1, 0.0, 1e-6, 1.0):
            evened = losses.without_cast(torch.full_like(truth, value), truth, valid)
            assert evened.abs().max() <= 2 * abs(value)

    def test_a_training_logs_both(self, tmp_path: Path) -> None:
        trainer = Trainer(replace(CONFIG, even_cast=0.5), [meadow(0.1)], None, tmp_path)
        trainer.start()
        darker = torch.tensor([0.6, 0.8, 0.7])
        trainer.network.table.values.mul_(darker)
        record = trainer._train_step(next(trainer._batches()))
        assert 0 < record["evened_l1"] < 0.4 * record["l1"]
        assert 0 < record["evened_cosine"] < record["cosine"]
        with pytest.raises(TrainingError, match=r"even_cast 2"):
            replace(CONFIG, even_cast=2.0)

    def test_squares_go_for_the_mean_and_l1_for_the_commoner(self) -> None:
        truth = torch.zeros((1, 3, 64, 64))
        truth[..., :20] = 1.0  # 31%
        valid = torch.ones((1, 1, 64, 64))
        levels = torch.linspace(0, 1, 65)
        best = []
        for loss in (losses.squares, losses.reconstruction):
            found = [float(loss(level.expand_as(truth), truth, valid)) for level in levels]
            best.append(float(levels[int(np.argmin(found))]))
        assert best == [pytest.approx(20 / 64, abs=0.01), 0]


def test_an_exponent_acts_on_the_measured_bands_alone() -> None:
    scene = meadow(0.0)
    plain = Sampler([scene], CONFIG).batch(0)
    bent = Sampler([scene], replace(CONFIG, nir_gamma=0.4)).batch(0)
    assert (bent.colours == 0.5).all()
    for patch in bent.inputs:
        lowest, highest = patch.min(), patch.max()
        assert 0 < lowest < highest < 1
    # The draw moves what is drawn after it, so ranges are compared, not pixels.
    assert np.ptp([p.mean() for p in bent.inputs]) > 1.5 * np.ptp([p.mean() for p in plain.inputs])
