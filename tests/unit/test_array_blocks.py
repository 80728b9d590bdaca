"""Blocks along an axis: which of them a window touches, and which are computed together."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nirgeo import array_blocks
from nirgeo.array_blocks import Axis

SIZES = st.lists(st.integers(0, 300), min_size=1, max_size=40).filter(any)


@given(SIZES, st.data())
def test_a_window_touches_the_blocks_that_hold_its_pixels(
    sizes: list[int], data: st.DataObject
) -> None:
    owners = [block for block, size in enumerate(sizes) for _ in range(size)]
    start = data.draw(st.integers(0, len(owners) - 1))
    stop = data.draw(st.integers(start + 1, len(owners)))
    touched = list(Axis(sizes).touched(start, stop))
    assert [block for block, _ in touched] == sorted(set(owners[start:stop]))
    for block, first in touched:
        assert first == owners.index(block)


@given(SIZES, st.integers(1, 600))
def test_groups_are_all_blocks_in_order_and_wide_but_the_last(sizes: list[int], wide: int) -> None:
    axis = Axis(sizes)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(array_blocks, "WIDE_ENOUGH", wide)
        groups = list(axis.groups())
    assert [block for blocks, _, _ in groups for block in blocks] == list(range(len(sizes)))
    assert groups[0][1] == 0
    assert [stop for _, _, stop in groups[:-1]] == [start for _, start, _ in groups[1:]]
    assert groups[-1][2] == sum(sizes)
    for blocks, start, stop in groups[:-1]:
        assert stop - start >= wide
        assert stop - start - sizes[blocks[-1]] < wide  # none that could have been left out
    for blocks, start, stop in groups:
        parts = [axis.within(block, start) for block in blocks]
        assert [part.stop - part.start for part in parts] == [sizes[block] for block in blocks]
        assert (parts[0].start, parts[-1].stop) == (0, stop - start)
