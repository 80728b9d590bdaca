"""The network architectures that a model file may name.

A file names one of these and its shape; nothing in it is ever executed.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from torch import Tensor, nn

from nirgeo.encoder_decoder import EncoderDecoder, EncoderDecoderConfig
from nirgeo.errors import ModelError
from nirgeo.generator import GeneratorConfig, LocalAffineGenerator
from nirgeo.modelfile import ENCODER_DECODER, LOCAL_AFFINE


class GeneratorShape(Protocol):
    """What is known of a network before it is built."""

    @property
    def in_bands(self) -> int: ...
    @property
    def out_bands(self) -> int: ...
    @property
    def halo(self) -> int:
        """Receptive-field radius in pixels."""

    @property
    def stride(self) -> int:
        """Sizes of inputs must be multiples of this, and windows start at multiples of it."""

    def to_json(self) -> dict[str, Any]: ...
    def tensor_shapes(self) -> dict[str, tuple[int, ...]]:
        """Names and shapes of the tensors in a model file, all float32."""


class Generator(Protocol):
    """A built network: ``network(x, valid, hint)`` gives colours in working space.

    See :meth:`nirgeo.generator.LocalAffineGenerator.forward` for shapes.
    """

    config: GeneratorShape
    stride: int
    dropout: float

    @property
    def halo(self) -> int: ...
    def __call__(self, x: Tensor, valid: Tensor, hint: Tensor | None = None) -> Tensor: ...
    def with_error(
        self, x: Tensor, valid: Tensor, hint: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """Colours and expected errors; only of a network whose model has a calibration of these."""


@dataclass(frozen=True)
class Architecture:
    """How to describe a network and how to build it."""

    shape: Callable[..., Any]
    build: Callable[[Any], nn.Module]


ARCHITECTURES: Mapping[str, Architecture] = {
    LOCAL_AFFINE: Architecture(GeneratorConfig, LocalAffineGenerator),
    ENCODER_DECODER: Architecture(EncoderDecoderConfig, EncoderDecoder),
}


def generator_shape(architecture: str, config: Mapping[str, Any]) -> GeneratorShape:
    """The shape that a model file describes.

    Raises
    ------
    ModelError : no such architecture, or the description does not fit it
    """
    if architecture not in ARCHITECTURES:
        raise ModelError(f"architecture {architecture!r} is not known to this version of nirgeo")
    try:
        shape: GeneratorShape = ARCHITECTURES[architecture].shape(**config)
    except TypeError as error:
        raise ModelError(f"damaged generator shape ({error})") from error
    return shape


def build(architecture: str, shape: GeneratorShape) -> nn.Module:
    """A network with fresh weights."""
    return ARCHITECTURES[architecture].build(shape)
