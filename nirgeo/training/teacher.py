"""A finished model as the truth that another network learns from: distillation.

Hinton, Vinyals and Dean, "Distilling the Knowledge in a Neural Network" (2015). What a large
network makes of a scene is smoother than the scene's own colours, and exists for every augmented
patch; a network a fraction as large can follow it where it could not have found it by itself.
"""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor

from nirgeo.errors import TrainingError
from nirgeo.generator import LocalAffineGenerator
from nirgeo.modelfile import load_generator, read_model
from nirgeo.training.config import TrainingConfig


class Teacher:
    """The network of a model file, which answers and never learns.

    Raises
    ------
    TrainingError : it eats or makes something else than the network to be trained
    ModelError : the file can't be used
    """

    def __init__(self, path: Path, config: TrainingConfig, device: torch.device) -> None:
        model = read_model(path)
        spec = model.spec
        wanted = (config.bands, config.quantity, config.predicted)
        if (spec.bands, spec.quantity, spec.made) != wanted:
            raise TrainingError(
                f"{path}: {spec.full_name} makes {', '.join(spec.made)} from "
                f"{', '.join(spec.bands)} ({spec.quantity.value}), and the network to be trained "
                f"{', '.join(config.predicted)} from {', '.join(config.bands)} "
                f"({config.quantity.value}); choose another teacher or preset"
            )
        self.identity = f"{spec.full_name} {model.sha256}"
        self.network = load_generator(model).to(device).requires_grad_(False)

    def __call__(self, inputs: Tensor, valid: Tensor, hint: Tensor) -> Tensor:
        """The colours that it makes, in working space: (N, made, H, W)."""
        with torch.no_grad():
            made: Tensor = self.network(inputs, valid, hint)
        return made

    def lend_tables(self, pupil: LocalAffineGenerator) -> None:
        """Give the pupil table and range of the teacher, if their shapes agree.

        Then all that is left to learn is the teacher's correction.
        """
        own = self.network
        if not isinstance(own, LocalAffineGenerator):
            return
        same = (own.config.knots, own.config.table_max) == (
            pupil.config.knots,
            pupil.config.table_max,
        )
        if same:
            pupil.table.values.copy_(own.table.values)
            pupil.input_range.copy_(own.input_range)
