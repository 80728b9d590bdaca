"""How far a network sees: from the operations on its path to a halo in pixels.

A generator lists the operations between its input and its output; the span of input pixels behind
each output pixel follows by walking that list backwards. Nothing is measured or guessed, so a
network of another depth gets its own halo. A test perturbs single pixels to check the result.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import floor


@dataclass(frozen=True, slots=True)
class Conv:
    """A convolution of odd kernel size, stride 1, "same" padding."""

    kernel: int
    dilation: int = 1

    def behind(self, first: int, last: int) -> tuple[int, int]:
        reach = self.dilation * (self.kernel // 2)
        return first - reach, last + reach


@dataclass(frozen=True, slots=True)
class Unshuffle:
    """Folding ``factor`` × ``factor`` pixels into channels."""

    factor: int

    def behind(self, first: int, last: int) -> tuple[int, int]:
        return first * self.factor, last * self.factor + self.factor - 1


@dataclass(frozen=True, slots=True)
class Upsample:
    """Bilinear upsampling by a whole factor, pixel centres aligned (``align_corners=False``)."""

    factor: int

    def behind(self, first: int, last: int) -> tuple[int, int]:
        def cell(pixel: int) -> int:
            return floor((pixel + 0.5) / self.factor - 0.5)

        return cell(first), cell(last) + 1


@dataclass(frozen=True, slots=True)
class StridedConv:
    """A convolution that moves by ``stride`` pixels and starts ``padding`` before the first one."""

    kernel: int
    stride: int
    padding: int

    def behind(self, first: int, last: int) -> tuple[int, int]:
        start = first * self.stride - self.padding
        return start, last * self.stride - self.padding + self.kernel - 1


@dataclass(frozen=True, slots=True)
class Deconv:
    """A transposed convolution: each input is spread over ``kernel`` outputs, ``stride`` apart."""

    kernel: int
    stride: int
    padding: int

    def behind(self, first: int, last: int) -> tuple[int, int]:
        earliest = first + self.padding - self.kernel + 1
        return -(-earliest // self.stride), (last + self.padding) // self.stride


Operation = Conv | Unshuffle | Upsample | StridedConv | Deconv


def halo(path: Sequence[Operation], stride: int) -> int:
    """Pixels seen beyond an output pixel, at most, over every position in the coarse grid.

    ``path`` runs from the network's input to its output; ``stride`` is the side of a coarse cell.
    """
    reach = 0
    for pixel in range(stride):
        first = last = pixel
        for operation in reversed(path):
            first, last = operation.behind(first, last)
        reach = max(reach, pixel - first, last - pixel)
    return reach
