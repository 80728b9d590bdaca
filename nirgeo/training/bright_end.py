"""What lies beyond the brightest near infrared of a training: snow and cloud, not meadows.

Nothing that grows reflects more than some three quarters of the near infrared; snow, ice and cloud
do, and they are white. A table of vegetation that is carried straight on makes them green. So
beyond the highest value seen the table turns to a neutral as bright as the near infrared, the
correction ends there, and the expected error stays high: nothing there was measured.
"""

from __future__ import annotations

import numpy as np
import torch

from nirgeo.errors import TrainingError
from nirgeo.generator import LocalAffineGenerator
from nirgeo.metrics import angular_error
from nirgeo.radiometry import Quantity, from_working


def first_knot_beyond(network: LocalAffineGenerator) -> int:
    """The first knot of the table above all values that the training held; their number if none.

    Raises
    ------
    TrainingError : a network of several bands
    """
    if network.config.in_bands != 1:
        raise TrainingError("only a network of the near infrared alone has a bright end")
    return int((_positions(network) <= network.input_range[0, 2]).sum())


def _positions(network: LocalAffineGenerator) -> torch.Tensor:
    return torch.linspace(0, network.config.table_max, network.config.knots)


def make_neutral(network: LocalAffineGenerator) -> None:
    """Turn the table to grey one knot beyond the training, and end the correction there.

    Raises
    ------
    TrainingError : a network of several bands, or one whose training held every value
    """
    grey, positions = first_knot_beyond(network) + 1, _positions(network)
    if grey >= len(positions):
        raise TrainingError("the training held values up to the end of the table")
    network.table.values[0, grey:] = positions[grey:, None]
    network.input_range[0, 3] = positions[grey]


def doubt(network: LocalAffineGenerator, quantity: Quantity) -> None:
    """Expect at least half the angle between the last colour seen and grey beyond the training.

    Snow or something as bright that is not: at even odds, and told neither, that is the error.

    Raises
    ------
    TrainingError : a network of several bands
    """
    first = first_knot_beyond(network)
    last = network.table.values[0, first - 1].numpy()[:, None]
    grey = np.ones((3, 1))
    angle = angular_error(from_working(last.clip(0), quantity).astype(np.float64), grey)
    floor = float(np.log(np.nan_to_num(angle).max() / 2 + 1e-6))
    network.error_table.values[0, first:].clamp_(min=floor)
