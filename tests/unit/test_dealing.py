"""Which worker takes which chunks."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from nirgeo.dealing import Dealer

CHUNKS = [(i, j) for i in range(6) for j in range(4)]


def test_one_worker_takes_all_in_order() -> None:
    dealer = Dealer(CHUNKS)
    taken = []
    while dealer.left:
        taken += dealer.take("a", 5)
    assert taken == CHUNKS
    assert dealer.take("a", 5) == []


def test_a_second_one_takes_the_further_half() -> None:
    dealer = Dealer(CHUNKS)
    assert dealer.take("a", 2) == CHUNKS[:2]
    assert dealer.take("b", 2) == CHUNKS[13:15]
    assert dealer.take("a", 2) == CHUNKS[2:4]
    assert dealer.take("c", 2) == CHUNKS[8:10]  # of a's nine, since b has but nine too
    assert dealer.left == len(CHUNKS) - 8


def test_what_is_given_back_is_dealt_again() -> None:
    dealer = Dealer(CHUNKS)
    dealer.take("a", 6)
    dealer.give_back(CHUNKS[:6])
    assert dealer.left == len(CHUNKS)
    assert dealer.take("b", 20) == CHUNKS[:6]
    assert dealer.take("a", 20) == CHUNKS[6:]
    assert dealer.left == 0


def test_what_a_lost_worker_leaves_is_taken() -> None:
    dealer = Dealer(CHUNKS)
    lost = dealer.take("lost", 1)
    left = []
    while chunks := dealer.take("other", 3):
        left += chunks
    assert sorted(lost + left) == CHUNKS
    assert dealer.left == 0


@given(
    st.lists(st.tuples(st.sampled_from(["a", "b", "c", None]), st.integers(1, 6))),
    st.integers(0, 40),
)
def test_every_chunk_is_dealt_once(takes: list[tuple[str | None, int]], count: int) -> None:
    chunks = [(0, k) for k in range(count)]
    dealer = Dealer(chunks)
    taken = [chunk for worker, most in takes for chunk in dealer.take(worker, most)]
    assert dealer.left == count - len(taken)
    while more := dealer.take("last", 7):
        taken += more
    assert sorted(taken) == chunks
