"""Whether plants look green and open water looks like water, scene by scene.

An angle of five degrees may be a slightly duller lawn or a brown one, and only one of the two is a
defect that anybody sees. So the mean colour of a scene's vegetation and of its water, as they are
shown (8 bits), is asked a question each:

==========  =====================================================================================
vegetation  green is its strongest colour
water       it is dark (mean of the colours below 80), or red is its weakest colour
==========  =====================================================================================

A scene is asked where it shows enough of the ground (:mod:`nirgeo.evaluation.landcover`) and where
the true picture itself passes: dry grass need not become green, nor a silted lake blue.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nirgeo.evaluation.landcover import COVERS, MIN_PIXELS, Classes
from nirgeo.evaluation.scenes import Picture

DARK = 80.0
"""Mean level of three colours below which water may have any colour."""

Colour = NDArray[np.float64]


def _green(colour: Colour) -> bool:
    red, green, blue = colour
    return bool(green > red and green > blue)


def _watery(colour: Colour) -> bool:
    red, green, blue = colour
    return bool(colour.mean() < DARK or (red < green and red < blue))


QUESTIONS: Mapping[str, Callable[[Colour], bool]] = {"vegetation": _green, "water": _watery}


@dataclass(frozen=True)
class Answer:
    """What was found of one kind of ground in one scene."""

    scene: str
    cover: str
    passed: bool
    colour: tuple[float, float, float]
    """As shown, mean over the ground's pixels."""


def answers(scene: str, picture: Picture, truth: Picture, covers: Classes) -> Iterator[Answer]:
    """Answers of a scene for the kinds of ground that it is asked about.

    Parameters
    ----------
    picture, truth : (3, H, W) uint8
    covers : (H, W), see :func:`nirgeo.evaluation.landcover.covers`
    """
    for cover, question in QUESTIONS.items():
        ground = covers == COVERS.index(cover)
        if np.count_nonzero(ground) < MIN_PIXELS or not question(_mean(truth, ground)):
            continue
        colour = _mean(picture, ground)
        red, green, blue = colour.tolist()
        yield Answer(scene, cover, question(colour), (red, green, blue))


def _mean(picture: Picture, ground: NDArray[np.bool_]) -> Colour:
    mean: Colour = picture[:, ground].mean(axis=1, dtype=np.float64)
    return mean


def looks_json(given: Sequence[Answer]) -> list[dict[str, Any]]:
    """By kind of ground: how many scenes were asked, how many passed, and which did not."""
    found = []
    for cover in QUESTIONS:
        asked = [answer for answer in given if answer.cover == cover]
        failed = sorted((a for a in asked if not a.passed), key=lambda a: a.scene)
        found.append(
            {
                "name": cover,
                "scenes": len(asked),
                "passed": len(asked) - len(failed),
                "failed": [
                    {"scene": a.scene, "colour": [round(level, 1) for level in a.colour]}
                    for a in failed
                ],
            }
        )
    return found
