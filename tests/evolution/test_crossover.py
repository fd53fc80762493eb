"""Two children hold exactly their parents' genes, and exactly one piece is swapped."""

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from optevo.evolution import generator, swap_segment
from optevo.evolution.crossover import segment

lengths = st.integers(1, 30)
seeds = st.integers(0, 2**32)


@given(length=lengths, seed=seeds)
def test_children_together_hold_the_parents_genes_and_swap_one_piece(length, seed) -> None:
    # Every gene of the parents is different, so it tells whence it comes.
    mother, father = [("m", i) for i in range(length)], [("f", i) for i in range(length)]
    one, two = swap_segment(mother, father, generator(seed))
    assert [gene[1] for gene in one] == [gene[1] for gene in two] == list(range(length))
    assert all({a[0], b[0]} == {"m", "f"} for a, b in zip(one, two, strict=True))
    pattern = "".join(gene[0] for gene in one)
    start, stop = pattern.find("f"), pattern.rfind("f") + 1
    assert stop > start, "nothing was swapped"
    assert pattern == "m" * start + "f" * (stop - start) + "m" * (length - stop)
    assert mother == [("m", i) for i in range(length)], "a parent was changed in place"


def test_every_piece_is_equally_likely_first_and_last_position_included() -> None:
    length, n = 5, 15_000
    rng = generator("segments")
    counts = Counter(segment(length, rng) for _ in range(n))
    assert set(counts) == {(a, b) for a in range(length) for b in range(a + 1, length + 1)}
    expected = n / 15
    assert all(abs(count - expected) < 5 * expected**0.5 for count in counts.values())


@given(length=lengths, seed=seeds)
def test_a_segment_is_not_empty_and_lies_inside(length, seed) -> None:
    start, stop = segment(length, generator(seed))
    assert 0 <= start < stop <= length
    assert type(start) is int
    assert type(stop) is int


@pytest.mark.parametrize(("mother", "father"), [([], []), ([1], []), ([1, 2], [1])])
def test_chromosomes_that_do_not_match_are_refused(mother, father) -> None:
    with pytest.raises(ValueError, match="chromosomes"):
        swap_segment(mother, father, generator(0))
