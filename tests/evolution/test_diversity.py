"""How far those must be apart who are trained together, and who is chosen then."""

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from optevo.evolution.diversity import mean_distance, spread_out

GENOMES = st.lists(st.tuples(*[st.integers(0, 2)] * 4), unique=True, max_size=20)


def differing(one, other) -> int:
    return sum(a != b for a, b in zip(one, other, strict=True))


@given(GENOMES)
def test_the_mean_distance_is_that_of_all_pairs(genomes) -> None:
    pairs = [differing(*pair) for pair in itertools.combinations(genomes, 2)]
    assert mean_distance(genomes) == pytest.approx(sum(pairs) / len(pairs) if pairs else 0)


def test_a_real_number_differs_from_every_other() -> None:
    assert mean_distance([(0, 0.1), (0, 0.2), (1, 0.3)]) == pytest.approx((1 + 2 + 2) / 3)


@given(GENOMES, st.integers(0, 12), st.floats(0, 5))
def test_each_is_the_first_that_is_far_enough_from_all_before_it(genomes, size, least) -> None:
    apart: list[int] = []
    for place, genome in enumerate(genomes):
        if len(apart) < size and all(differing(genome, genomes[other]) >= least for other in apart):
            apart.append(place)
    others = [place for place in range(len(genomes)) if place not in apart]
    assert spread_out(genomes, size=size, least=least) == sorted(apart + others[: size - len(apart)])


def test_no_distance_takes_the_first() -> None:
    genomes = [(1, 1), (1, 2), (2, 2), (2, 1)]
    for least in (0.0, 1.0):
        assert spread_out(genomes, size=3, least=least) == [0, 1, 2]
    assert spread_out(genomes, size=2, least=1.5) == [0, 2]


def test_hundreds_of_bits_are_compared_quickly_enough_to_breed() -> None:
    rng = np.random.default_rng(0)
    masks = [tuple(map(int, bits)) for bits in rng.random((256, 640)) < 0.5]
    assert mean_distance(masks) == pytest.approx(320, rel=0.01)
    chosen = spread_out(masks, size=32, least=310)
    assert len(chosen) == 32
