"""Configurations by name, and what the paper's says against the paper's text."""

from __future__ import annotations

from dataclasses import asdict, fields, replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from nirgeo.errors import TrainingError
from nirgeo.modelfile import ModelSpec, read_model
from nirgeo.networks import load_generator
from nirgeo.radiometry import Quantity
from nirgeo.registry import load_model
from nirgeo.training import losses
from nirgeo.training.config import TrainingConfig
from nirgeo.training.data import TrainingScene
from nirgeo.training.loop import LAST, Trainer, learning_rate
from nirgeo.training.networks import (
    build_discriminator,
    build_generator,
    model_spec,
    optimizers,
)
from nirgeo.training.presets import PRESETS, SUMMARIES, VARIANTS, configuration, summary_of

pytestmark = pytest.mark.usefixtures("one_thread")


def changed(one: TrainingConfig, two: TrainingConfig) -> set[str]:
    first, second = asdict(one), asdict(two)
    return {name for name in first if first[name] != second[name]}


class TestNames:
    @pytest.mark.parametrize("name", sorted(PRESETS))
    def test_every_preset_builds_and_is_written_down(self, name: str) -> None:
        config = configuration(name)
        assert TrainingConfig.from_json(config.to_json()) == config
        config = replace(config, width=8)
        network = build_generator(config)
        side = max(64, config.stride)
        out = network.eval()(
            torch.rand(1, len(config.bands), side, side), torch.ones(1, 1, side, side)
        )
        assert out.shape == (1, len(config.predicted), side, side)

    @pytest.mark.parametrize("variant", sorted(VARIANTS))
    def test_a_variant_is_one_change(self, variant: str) -> None:
        assert changed(configuration("paper2017"), configuration(f"paper2017+{variant}")) == set(
            VARIANTS[variant]
        )
        assert len(VARIANTS[variant]) == 1

    def test_variants_add_up(self) -> None:
        both = configuration("paper2017+l1+conditional", ["steps=7"])
        assert (both.l1, both.conditional, both.steps) == (100.0, True, 7)

    @pytest.mark.parametrize(
        ("name", "message"),
        [
            ("paper2018", "no preset 'paper2018'"),
            ("paper2017+", "no variant ''"),
            ("paper2017+l2", "no variant 'l2'"),
        ],
    )
    def test_unknown(self, name: str, message: str) -> None:
        with pytest.raises(TrainingError, match=message):
            configuration(name)

    def test_only_numbers_are_set_from_the_command_line(self) -> None:
        with pytest.raises(TrainingError, match="gan=hinge"):
            configuration("paper2017", ["gan=hinge"])


class TestPaper:
    """Against section 0 and 9 of what is known of Suárez et al. 2017."""

    CONFIG = configuration("paper2017")

    def test_numbers_of_the_text(self) -> None:
        c = self.CONFIG
        assert (c.patch, c.quantity) == (64, Quantity.COUNTS)
        assert (c.learning_rate, c.discriminator_rate) == (1e-4, 2e-4)
        assert (c.beta1, c.discriminator_beta1) == (0.4, 0.5)
        assert (c.l1, c.cosine, c.adversarial) == (0, 0, 1)
        assert (c.gan, c.conditional, c.hint_share) == ("minimax", False, 0)
        assert learning_rate(0, c) == learning_rate(c.steps - 1, c) == 1e-4

    def test_adam_with_decay_added_to_the_gradient(self) -> None:
        pair = optimizers(self.CONFIG, nn.Linear(2, 2), nn.Linear(2, 2))
        for optimizer in pair.values():
            assert type(optimizer) is torch.optim.Adam
            (group,) = optimizer.param_groups
            assert (group["weight_decay"], group["eps"]) == (1e-5, 1e-8)
        assert pair["generator"].param_groups[0]["betas"] == (0.4, 0.999)
        assert pair["discriminator"].param_groups[0]["betas"] == (0.5, 0.999)

    def test_first_weights(self) -> None:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            networks = [build_generator(self.CONFIG), build_discriminator(self.CONFIG)]
        layers = [m for n in networks for m in n.modules() if hasattr(m, "weight")]
        convolutions = [m for m in layers if not isinstance(m, nn.BatchNorm2d)]
        assert len(convolutions) == 3 + 3 + 4 + 1
        for layer in convolutions:
            assert layer.weight.std().item() == pytest.approx(0.0081, rel=0.1)
            assert (layer.bias == 0).all()
        # "Batch normalisation in every layer": all but the dense unit at the end.
        assert len(layers) - len(convolutions) == len(convolutions) - 1

    def test_the_discriminator_sees_colours_alone(self) -> None:
        judge = build_discriminator(self.CONFIG).eval()
        colours = torch.rand(2, 3, 64, 64)
        one, two = (
            judge(torch.rand(2, 1, 64, 64), colours),
            judge(torch.rand(2, 1, 64, 64), colours),
        )
        assert one.shape == (2, 1)
        assert torch.equal(one, two)
        judge = build_discriminator(configuration("paper2017+conditional")).eval()
        one, two = (
            judge(torch.rand(2, 1, 64, 64), colours),
            judge(torch.rand(2, 1, 64, 64), colours),
        )
        assert not torch.equal(one, two)

    def test_pix2pix_judges_patches_of_70_pixels(self) -> None:
        judge = build_discriminator(configuration("pix2pix")).eval()
        assert judge(torch.rand(1, 1, 256, 256), torch.rand(1, 3, 256, 256)).shape == (1, 1, 30, 30)


class TestAdversarialLosses:
    REAL = torch.tensor([0.3, 2.0], dtype=torch.float64)
    FAKE = torch.tensor([-1.0, 0.5], dtype=torch.float64)

    def test_equation_1(self) -> None:
        chance = torch.sigmoid
        want = -(torch.log(chance(self.REAL)).mean() + torch.log(1 - chance(self.FAKE)).mean())
        for kind in ("minimax", "nonsaturating"):
            got = losses.adversarial(kind, self.REAL, self.FAKE)
            assert got.item() == pytest.approx(want.item())

    def test_equation_2(self) -> None:
        want = torch.log(1 - torch.sigmoid(self.FAKE)).mean()
        assert losses.adversarial("minimax", None, self.FAKE).item() == pytest.approx(want.item())

    def test_nonsaturating(self) -> None:
        want = -torch.log(torch.sigmoid(self.FAKE)).mean()
        got = losses.adversarial("nonsaturating", None, self.FAKE)
        assert got.item() == pytest.approx(want.item())

    def test_only_the_minimax_generator_saturates(self) -> None:
        """Where the discriminator is sure of a fake, Eq. 2 hardly has a slope left."""
        slopes = {}
        for kind in ("minimax", "nonsaturating", "hinge"):
            logit = torch.tensor([-12.0], requires_grad=True)
            losses.adversarial(kind, None, logit).backward()
            assert logit.grad is not None
            slopes[kind] = abs(logit.grad.item())
        assert slopes["minimax"] < 1e-5
        assert slopes["nonsaturating"] > 0.99
        assert slopes["hinge"] == 1


def striped(name: str, seed: int) -> TrainingScene:
    random = np.random.default_rng(seed)
    nir = random.random((1, 96, 96)).astype(np.float32)
    colours = np.concatenate((nir * 0.9, nir * 0.6, nir * 0.3))
    return TrainingScene(name, name, nir, colours, np.ones((96, 96), dtype=np.bool_))


def test_models_of_the_literature_say_what_they_are() -> None:
    assert summary_of("paper2017").startswith("A reconstruction of the conditional GAN of Suárez")
    assert summary_of("paper2017+l1+wide").endswith("presets.py. Changed by: l1, wide.")
    assert summary_of("satellite-nir") == summary_of("satellite-nir+wide") == ""
    assert set(SUMMARIES) < set(PRESETS)


class TestTraining:
    @pytest.mark.parametrize("preset", ["paper2017", "paper2017+l1", "autoencoder", "pix2pix"])
    def test_networks_of_the_literature_train_and_are_saved(
        self, preset: str, tmp_path: Path
    ) -> None:
        config = configuration(preset, ["steps=3", "batch=4", "width=8", "levels=3"])
        spec = model_spec(config, preset, 2, summary=summary_of(preset))
        assert spec.name == preset.replace("+", "-")
        trainer = Trainer(config, [striped("a", 1), striped("b", 2)], None, tmp_path, spec=spec)
        trainer.start()
        first = {k: v.clone() for k, v in trainer.network.state_dict().items()}
        trainer.run()
        saved = load_generator(read_model(tmp_path / LAST)).state_dict()
        for name, value in trainer.network.state_dict().items():
            if value.is_floating_point():
                # Without a moving average the weights themselves count, running statistics too.
                assert torch.equal(saved[name], value), name
        kernels = [n for n, v in first.items() if v.ndim == 4]
        assert all(not torch.equal(first[n], saved[n]) for n in kernels)

    def test_l1_alone_learns_a_simple_colour(self, tmp_path: Path) -> None:
        config = configuration(
            "autoencoder", ["steps=40", "batch=4", "width=8", "levels=1", "learning_rate=0.01"]
        )
        scene = striped("a", 1)
        losses_seen = []
        trainer = Trainer(
            config, [scene], None, tmp_path, report=lambda e: losses_seen.append(e["l1"])
        )
        trainer.start()
        trainer.run()
        assert losses_seen[-1] < 0.15

    def test_a_hint_needs_a_network_that_takes_it(self) -> None:
        with pytest.raises(TrainingError, match="take no colour hint"):
            configuration("paper2017", ["hint_share=0.5"])

    @pytest.mark.parametrize("bands", [("red",), ("nir", "red"), ("red", "green", "blue", "nir")])
    def test_bands_that_nothing_is_made_of(self, bands: tuple[str, ...]) -> None:
        with pytest.raises(TrainingError, match="train on nir, or on red, green, nir"):
            TrainingConfig(Quantity.COUNTS, bands=bands)


@pytest.mark.parametrize(
    "change",
    [
        *("learning_rate=nan", "learning_rate=0", "dropout=1", "beta1=1.5", "ema=-0.1"),
        *("weight_decay=-1", "hint_share=2", "zoom=inf", "clip=-1", "rebalance=1.1"),
    ],
)
def test_numbers_that_can_not_be(change: str) -> None:
    with pytest.raises(TrainingError, match=change.partition("=")[0]):
        configuration("satellite-nir", [change])


def test_every_number_says_what_it_may_be() -> None:
    free = {f.name for f in fields(TrainingConfig) if f.type == "float" and not f.metadata}
    assert not free


def test_a_model_that_goes_on_from_another_keeps_what_is_known_of_places() -> None:
    config = configuration("satellite-nir-pupil", ())
    origin = load_model("satellite-nir").spec
    assert isinstance(origin, ModelSpec)
    assert origin.tones is not None
    spec = model_spec(config, "mine", 3, origin)
    assert (spec.tones, spec.gsd) == (origin.tones, origin.gsd)
    assert spec.attribution == origin.attribution != ""
    assert (spec.name, spec.version) == ("mine", 1)
    assert model_spec(config, "mine", 3).tones is None
    other = configuration("satellite-rgn", ())
    assert model_spec(other, "mine", 3, origin).tones is None
