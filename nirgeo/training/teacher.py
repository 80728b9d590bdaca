"""Finished models as the truth that another network learns from: distillation.

Hinton, Vinyals and Dean, "Distilling the Knowledge in a Neural Network" (2015). What a large
network makes of a scene is smoother than the scene's own colours, and exists for every augmented
patch; a network a fraction as large can follow it where it could not have found it by itself. What
several make on average is better than what most of them make.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor

from nirgeo.architectures import generator_shape
from nirgeo.errors import TrainingError
from nirgeo.generator import LocalAffineGenerator
from nirgeo.modelfile import Model, read_model
from nirgeo.networks import load_generator
from nirgeo.training.config import TrainingConfig
from nirgeo.training.networks import generator_config


class Teacher:
    """The networks of model files, which answer with their mean and never learn.

    Raises
    ------
    TrainingError : one eats or makes something else than the network to be trained
    ModelError : a file can't be used
    """

    def __init__(self, paths: Sequence[Path], config: TrainingConfig, device: torch.device) -> None:
        models = [_of_same_cells(path, config) for path in paths]
        self.identity = ", ".join(f"{model.spec.full_name} {model.sha256}" for model in models)
        self.networks = [load_generator(model).to(device).requires_grad_(False) for model in models]

    def __call__(self, inputs: Tensor, valid: Tensor, hint: Tensor) -> Tensor:
        """The colours that they make, in working space: (N, made, H, W)."""
        with torch.no_grad():
            made = [network(inputs, valid, hint) for network in self.networks]
            return torch.stack(made).mean(dim=0)

    def lend_tables(self, pupil: LocalAffineGenerator) -> None:
        """Give the pupil table and range of the first teacher, if their shapes agree.

        Then all that is left to learn is the teacher's correction.
        """
        own = self.networks[0]
        if not isinstance(own, LocalAffineGenerator):
            return
        same = (own.config.knots, own.config.table_max) == (
            pupil.config.knots,
            pupil.config.table_max,
        )
        if same:
            pupil.table.values.copy_(own.table.values)
            pupil.input_range.copy_(own.input_range)


def suited(path: Path, config: TrainingConfig) -> Model:
    """A network that eats and makes what the one to be trained does.

    Raises
    ------
    TrainingError : it does not
    ModelError : the file can't be used
    """
    model = read_model(path)
    spec = model.spec
    wanted = (config.bands, config.quantity, config.predicted)
    if (spec.bands, spec.quantity, spec.made) != wanted:
        raise TrainingError(
            f"{path}: {spec.full_name} makes {', '.join(spec.made)} from "
            f"{', '.join(spec.bands)} ({spec.quantity.value}), and the network to be trained "
            f"{', '.join(config.predicted)} from {', '.join(config.bands)} "
            f"({config.quantity.value}); choose another model or preset"
        )
    return model


def fitting(path: Path, config: TrainingConfig) -> Model:
    """A model whose weights a training can start from.

    Raises
    ------
    TrainingError : it eats or makes something else, or its layers have other sizes
    ModelError : the file can't be used
    """
    model = suited(path, config)
    own = generator_shape(model.spec.architecture, model.spec.generator)
    wanted = generator_config(config)
    shapes = own.tensor_shapes()
    if all(shapes.get(name) == shape for name, shape in wanted.tensor_shapes().items()):
        return model
    told, here = own.to_json(), wanted.to_json()
    numbers = [name for name in _SIZES if name in told and told[name] != here.get(name, None)]
    remedy = "choose another --preset"
    if model.spec.architecture == config.architecture and numbers:
        remedy += ", or " + " ".join(f"--set {name}={told[name]}" for name in numbers)
    raise TrainingError(f"{path}: its network has another shape than this configuration; {remedy}")


_SIZES = ("width", "depth", "shuffle", "knots", "levels")
"""Numbers of a configuration that layers have their sizes from."""


def _of_same_cells(path: Path, config: TrainingConfig) -> Model:
    model = suited(path, config)
    own = generator_shape(model.spec.architecture, model.spec.generator).stride
    pupils = generator_shape(config.architecture, generator_config(config).to_json()).stride
    if own != pupils:  # both are given one hint, a value per cell
        raise TrainingError(
            f"{path}: {model.spec.full_name} computes in cells of {own} px and the network to be "
            f"trained in cells of {pupils}; choose another one or preset, or --set shuffle={own}"
        )
    return model
