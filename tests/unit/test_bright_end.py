"""Beyond the brightest value of the training: white, and doubtful."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from nirgeo.errors import TrainingError
from nirgeo.generator import GeneratorConfig, LocalAffineGenerator, channels_last
from nirgeo.radiometry import Quantity
from nirgeo.training.bright_end import doubt, first_knot_beyond, make_neutral

pytestmark = pytest.mark.usefixtures("one_thread")

SHAPE = GeneratorConfig(width=8, depth=1, knots=33, table_max=1.225, expects_error=True)
GREEN = (0.1, 0.3, 0.1)


def meadow_network(shape: GeneratorConfig = SHAPE) -> LocalAffineGenerator:
    """Green at every value, with a correction; its training held values up to 0.87 (0.76)."""
    torch.manual_seed(1)
    network = channels_last(LocalAffineGenerator(shape)).eval().requires_grad_(False)
    network.table.values.copy_(torch.tensor(GREEN).sqrt().expand_as(network.table.values))
    network.head.weight.normal_(0, 0.1)
    network.input_range.copy_(torch.tensor([[-0.1, 0.02, 0.87, 1.02]]))
    return network


def colour(network: LocalAffineGenerator, reflectance: float) -> np.ndarray:
    working = torch.full((1, 1, 64, 64), reflectance**0.5)
    return network(working, torch.ones_like(working))[0, :, 32, 32].numpy() ** 2


def test_what_is_brighter_than_the_training_is_as_white_as_it_is_bright() -> None:
    network = meadow_network()
    before = [colour(network, r) for r in (0.1, 0.4, 0.7)]
    make_neutral(network)
    for reflectance in (0.85, 0.9, 1.0, 1.4):
        np.testing.assert_allclose(colour(network, reflectance), reflectance, rtol=1e-5)
    for one, r in zip(before, (0.1, 0.4, 0.7), strict=True):
        np.testing.assert_allclose(colour(network, r), one, rtol=1e-6)


def test_a_higher_value_is_never_darker_beyond_the_training() -> None:
    network = meadow_network()
    make_neutral(network)
    made = np.array([colour(network, r) for r in np.linspace(0.78, 1.5, 40)])
    assert (np.diff(made, axis=0) > -1e-6).all()


def test_doubt_is_half_of_what_a_white_meadow_is_off() -> None:
    network = meadow_network()
    before = network.error_table.values.clone()
    doubt(network, Quantity.REFLECTANCE)
    first = first_knot_beyond(network)
    assert torch.equal(network.error_table.values[:, :first], before[:, :first])
    cosine = sum(GREEN) / np.sqrt(3 * np.square(GREEN).sum())
    half = np.degrees(np.arccos(cosine)) / 2
    raised = network.error_table.values[0, first:].exp().numpy()
    np.testing.assert_allclose(raised, half, rtol=1e-4)
    network.error_table.values[0, first:] = 4.5  # whoever doubts more than that goes on doing so
    doubt(network, Quantity.REFLECTANCE)
    assert (network.error_table.values[0, first:] == 4.5).all()


def test_networks_without_a_bright_end() -> None:
    several = LocalAffineGenerator(GeneratorConfig(in_bands=3, out_bands=1, width=8, depth=1))
    with pytest.raises(TrainingError, match="near infrared alone"):
        make_neutral(several)
    everything = LocalAffineGenerator(SHAPE).requires_grad_(False)  # its range is wide open
    with pytest.raises(TrainingError, match="up to the end"):
        make_neutral(everything)
    before = everything.error_table.values.clone()
    doubt(everything, Quantity.REFLECTANCE)
    assert torch.equal(everything.error_table.values, before)


def test_up_to_the_brightest_value_of_the_training_colours_stay() -> None:
    network = meadow_network()
    brightest = 0.8699**2
    before = colour(network, brightest)
    make_neutral(network)
    np.testing.assert_allclose(colour(network, brightest), before, rtol=1e-6)


def test_doubt_is_about_the_last_colour_that_was_seen() -> None:
    plain, odd = meadow_network(), meadow_network()
    odd.table.values[0, first_knot_beyond(odd) :] = torch.tensor((0.9, 0.1, 0.9))
    for network in (plain, odd):
        doubt(network, Quantity.REFLECTANCE)
    assert torch.equal(plain.error_table.values, odd.error_table.values)
