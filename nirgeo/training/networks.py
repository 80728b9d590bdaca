"""Networks and optimizers as a configuration describes them."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Iterable
from typing import Any, TypeVar

import torch
from torch import nn

from nirgeo.architectures import GeneratorShape, build
from nirgeo.encoder_decoder import EncoderDecoderConfig
from nirgeo.generator import GeneratorConfig, channels_last
from nirgeo.modelfile import ModelSpec
from nirgeo.scene_lists import place_marks
from nirgeo.training.config import TrainingConfig
from nirgeo.training.discriminators import Discriminator

_M = TypeVar("_M", bound=nn.Module)


def generator_config(config: TrainingConfig) -> GeneratorShape:
    """The shape of the network that a configuration trains."""
    if config.architecture == "encoder-decoder":
        return EncoderDecoderConfig(
            in_bands=len(config.bands),
            out_bands=len(config.predicted),
            width=config.width,
            levels=config.levels,
            skips=config.skips,
            edge_norm=config.edge_norm,
            maximum=config.table_max,
        )
    return GeneratorConfig(
        in_bands=len(config.bands),
        out_bands=len(config.predicted),
        width=config.width,
        depth=config.depth,
        shuffle=config.shuffle,
        knots=config.knots,
        table_max=config.table_max,
        dilations=config.dilations,
        smoothing=config.smoothing,
    )


_PIXELS_ALIKE = 1.25
"""Times that pixels may be larger, or smaller, than those of a training and be like them."""


def model_spec(
    config: TrainingConfig,
    name: str,
    scenes: int,
    origin: ModelSpec | None = None,
    *,
    pixels: Collection[float] = (),
    places: Collection[str] = (),
    summary: str = "",
    licence: str = "",
    attribution: str = "",
) -> ModelSpec:
    """What the model file of a training on this many scenes says, as far as that is known.

    From the model it goes on from, or learns from, if that eats and makes the same, come how a
    place's colours are expected, for what pixels it is meant, and whom its data are owed to, beside
    those of ``attribution``. Under which ``licence`` its weights are is for their maker to say.
    It is meant for ``pixels`` (sides in metres) as its scenes have them, too, and as ``zoom`` has
    made of them, or some more or less. ``places`` are those it learns from, as
    :attr:`nirgeo.scene_lists.SceneEntry.origin` names them: those that an index names are kept,
    as :func:`nirgeo.scene_lists.place_marks` has them, beside those that ``origin`` has learnt
    from, so that nobody scores the model on them unawares.
    ``name`` may be that of a preset with variants, which a model's name joins with ``-``.
    """
    kept: dict[str, Any] = {}
    if pixels:
        times = max(_PIXELS_ALIKE, math.exp(config.zoom))
        kept["gsd"] = (min(pixels) / times, max(pixels) * times)
    if origin is not None and (origin.bands, origin.quantity) == (config.bands, config.quantity):
        low, high = kept.get("gsd", origin.gsd)
        kept = {
            "tones": origin.tones,
            "gsd": (min(low, origin.gsd[0]), max(high, origin.gsd[1])),
        }
        attribution = joined_attributions(origin.attribution, attribution)
    training: dict[str, Any] = {"config": config.to_json(), "scenes": scenes}
    marks = place_marks(places)
    if origin is not None:
        marks |= set(origin.training.get("places", ()))  # weights remember
    if marks:
        training["places"] = sorted(marks)
    return ModelSpec(
        name=name.replace("+", "-"),
        version=1,
        bands=config.bands,
        quantity=config.quantity,
        architecture=config.architecture,
        generator=generator_config(config).to_json(),
        summary=summary,
        licence=licence,
        attribution=attribution,
        training=training,
        **kept,
    )


def joined_attributions(*attributions: str) -> str:
    """All whom something is owed to, each once."""
    parts = [part for text in attributions for part in text.split("; ") if part]
    return "; ".join(dict.fromkeys(parts))


def build_generator(config: TrainingConfig) -> nn.Module:
    network = channels_last(build(config.architecture, generator_config(config)))
    _initialise(network, config.init_sd)
    return network


def build_discriminator(config: TrainingConfig) -> nn.Module:
    network = Discriminator(config)
    _initialise(network, config.init_sd)
    return network


def _initialise(network: nn.Module, deviation: float) -> None:
    """Draw the weights of all convolutions and dense layers from one normal distribution."""
    if deviation == 0:
        return
    for layer in network.modules():
        if isinstance(layer, (nn.Conv2d, nn.ConvTranspose2d, nn.Linear)):
            nn.init.normal_(layer.weight, 0.0, deviation)
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)


def optimizers(
    config: TrainingConfig, generator: nn.Module, discriminator: nn.Module
) -> dict[str, torch.optim.Optimizer]:
    """One optimizer for each network."""
    kind = torch.optim.Adam if config.optimizer == "adam" else torch.optim.AdamW

    def make(
        parameters: Iterable[nn.Parameter], rate: float, beta1: float, decay: float
    ) -> torch.optim.Optimizer:
        held = list(parameters)
        one_kernel = all(value.is_cuda for value in held)  # the CPU keeps the sums that it had
        return kind(
            held, lr=rate, betas=(beta1, config.beta2), weight_decay=decay, fused=one_kernel
        )

    # AdamW's own default keeps the project's judge in check, whatever the generator's decay is.
    decay = config.weight_decay if config.optimizer == "adam" else 0.01
    return {
        "generator": make(
            generator.parameters(), config.learning_rate, config.beta1, config.weight_decay
        ),
        "discriminator": make(
            discriminator.parameters(),
            config.discriminator_rate,
            config.discriminator_beta1,
            decay,
        ),
    }


def seeded(
    build: Callable[[TrainingConfig], _M], config: TrainingConfig, generator: torch.Generator
) -> _M:
    """Build under a seed of its own, leaving torch's global generator as it was."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(int(torch.randint(2**31, (1,), generator=generator)))
        return build(config)
