"""What can happen to the bytes of a file."""

from __future__ import annotations

import random
from collections.abc import Callable

Damage = Callable[[bytearray, random.Random, range], None]

_EXTREMES = (0, 1, 2, 0x7F, 0x80, 0xFF, 0x7FFF, 0x8000, 0xFFFF, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF)


def _flip_bits(data: bytearray, chance: random.Random, span: range) -> None:
    for _ in range(chance.choice((1, 1, 1, 2, 4, 16))):
        data[chance.choice(span)] ^= 1 << chance.randrange(8)


def _noise(data: bytearray, chance: random.Random, span: range) -> None:
    start = chance.choice(span)
    length = chance.choice((1, 2, 4, 8, 64))
    data[start : start + length] = chance.randbytes(min(length, len(data) - start))


def _extreme_number(data: bytearray, chance: random.Random, span: range) -> None:
    size = chance.choice((1, 2, 4, 8))
    start = chance.choice(span) // size * size
    number = chance.choice(_EXTREMES) & (256**size - 1)
    data[start : start + size] = number.to_bytes(size, "little")[: len(data) - start]


def _cut(data: bytearray, chance: random.Random, span: range) -> None:
    del data[chance.choice(span) :]


def _zeros(data: bytearray, chance: random.Random, span: range) -> None:
    start = chance.choice(span)
    length = min(chance.choice((4, 16, 256)), len(data) - start)
    data[start : start + length] = bytes(length)


def _lose(data: bytearray, chance: random.Random, span: range) -> None:
    start = chance.choice(span)
    del data[start : start + chance.choice((1, 2, 8))]


def _repeat(data: bytearray, chance: random.Random, span: range) -> None:
    start = chance.choice(span)
    data[start:start] = data[start : start + chance.choice((1, 2, 8, 32))]


KINDS: tuple[Damage, ...] = (
    _flip_bits,
    _flip_bits,
    _noise,
    _extreme_number,
    _extreme_number,
    _cut,
    _zeros,
    _lose,
    _repeat,
)


def damaged(data: bytes, chance: random.Random, structure: range | None = None) -> bytes:
    """``data`` after one accident, or a few; three in four hit ``structure``, if it is given."""
    spoilt = bytearray(data)
    for _ in range(chance.choice((1, 1, 1, 2, 3))):
        whole = range(len(spoilt))
        if not whole:
            break
        span = whole
        if structure is not None and chance.random() < 0.75:
            span = range(min(structure.start, len(spoilt) - 1), min(structure.stop, len(spoilt)))
        chance.choice(KINDS)(spoilt, chance, span)
    return bytes(spoilt)
