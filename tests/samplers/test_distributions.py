"""Every distribution of Optuna as a gene, there and back."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution

from optevo.evolution import generator
from optevo.samplers.distributions import decode, encode, gene

DISTRIBUTIONS: list[BaseDistribution] = [
    FloatDistribution(-5, 10),
    FloatDistribution(1e-8, 1e3, log=True),
    FloatDistribution(0, 1, step=0.1),
    FloatDistribution(-0.35, 0.73, step=0.12),
    FloatDistribution(3, 3),
    IntDistribution(-7, 12),
    IntDistribution(-7, 13, step=5),
    IntDistribution(1, 1000, log=True),
    IntDistribution(1, 2**50),
    IntDistribution(4, 4),
    CategoricalDistribution([None, True, 1.5, "x", 64, float("inf")]),
    CategoricalDistribution(["only"]),
]
SPACE = {f"p{i}": distribution for i, distribution in enumerate(DISTRIBUTIONS)}


@given(seed=st.integers(0, 2**32))
def test_draws_and_mutations_are_values_of_the_distribution_there_and_back(seed) -> None:
    rng = generator(seed)
    genes = [gene(distribution) for distribution in DISTRIBUTIONS]
    genome = tuple(one.draw(rng) for one in genes)
    for _ in range(3):
        params = decode(genome, SPACE)
        assert list(params) == list(SPACE)
        assert encode(params, SPACE) == genome
        for name, distribution in SPACE.items():
            assert distribution._contains(distribution.to_internal_repr(params[name]))
            if isinstance(distribution, IntDistribution):
                assert type(params[name]) is int
            if isinstance(distribution, FloatDistribution):
                assert type(params[name]) is float
        changed = tuple(one.mutate(value, rng) for one, value in zip(genes, genome, strict=True))
        for distribution, before, after in zip(DISTRIBUTIONS, genome, changed, strict=True):
            assert (before != after) == (not distribution.single())
        genome = changed


def test_the_order_of_the_space_is_the_order_of_the_genome() -> None:
    space = {name: IntDistribution(0, 20) for name in ("g10", "g2", "g1")}
    assert encode({"g1": 1, "g2": 2, "g10": 10}, space) == (10, 2, 1)


@pytest.mark.parametrize(
    ("params", "why"),
    [
        ({"a": 3}, "one is missing"),
        ({"a": 11, "b": "x"}, "above the range"),
        ({"a": 4, "b": "x"}, "beside the step"),
        ({"a": 3, "b": "z"}, "no choice"),
        ({"a": "three", "b": "x"}, "not a number"),
        ({"a": None, "b": "x"}, "nothing"),
        ({"a": math.nan, "b": "x"}, "not a number either"),
    ],
)
def test_what_lies_outside_has_no_genome(params, why) -> None:
    space = {"a": IntDistribution(1, 9, step=2), "b": CategoricalDistribution(["x", "y"])}
    assert encode(params, space) is None, why


def test_values_beyond_the_space_are_ignored() -> None:
    assert encode({"a": 3, "other": "what"}, {"a": IntDistribution(1, 9)}) == (3,)


def test_foreign_distributions_are_refused() -> None:
    with pytest.raises(TypeError, match="str"):
        gene("uniform")  # type: ignore[arg-type]
