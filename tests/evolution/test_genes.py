"""Draws and mutations stay in range and on their grid, mutation changes the value, and nothing of numpy's gets out."""

import math
from collections import Counter

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from optevo.evolution import CategoricalGene, IntegerGene, RealGene, generator

seeds = st.integers(0, 2**32)
finite = st.floats(-1e6, 1e6)


@st.composite
def integer_genes(draw):
    if draw(st.booleans()):
        low = draw(st.integers(1, 1000))
        return IntegerGene(low, low + draw(st.integers(0, 10_000)), log=True)
    low = draw(st.integers(-1000, 1000))
    return IntegerGene(low, low + draw(st.integers(0, 10_000)), step=draw(st.integers(1, 50)))


@st.composite
def real_genes(draw):
    kind = draw(st.sampled_from(["plain", "log", "step"]))
    if kind == "log":
        low, high = sorted(draw(st.tuples(*[st.floats(5e-324, 1.7e308)] * 2)))
        return RealGene(low, high, log=True)
    low, high = sorted(draw(st.tuples(finite, finite)))
    return RealGene(low, high, step=draw(st.floats(0.01, 1e5)) if kind == "step" else None)


@given(size=st.integers(1, 50), seed=seeds)
def test_categorical(size, seed) -> None:
    gene, rng = CategoricalGene(size), generator(seed)
    value = gene.draw(rng)
    other = gene.mutate(value, rng)
    assert type(value) is type(other) is int
    assert 0 <= value < size
    assert 0 <= other < size
    assert (other != value) == (size > 1)


@given(gene=integer_genes(), seed=seeds)
def test_integer(gene, seed) -> None:
    rng = generator(seed)
    value = gene.draw(rng)
    for _ in range(5):
        other = gene.mutate(value, rng)
        assert type(value) is type(other) is int
        for number in (value, other):
            assert gene.low <= number <= gene.high
            assert (number - gene.low) % gene.step == 0
        assert (other != value) == (gene.low + gene.step <= gene.high)
        value = other


@given(gene=real_genes(), seed=seeds)
def test_real(gene, seed) -> None:
    rng = generator(seed)
    value = gene.draw(rng)
    more = gene.low < gene.high if gene.step is None else gene.low + gene.step <= gene.high
    assume(gene.step is None or not math.isclose(gene.low + gene.step, gene.high, rel_tol=1e-7, abs_tol=1e-7))
    for _ in range(5):
        other = gene.mutate(value, rng)
        assert type(value) is type(other) is float
        for number in (value, other):
            assert gene.low <= number <= gene.high
            if gene.step is not None:
                steps = (number - gene.low) / gene.step
                assert abs(steps - round(steps)) < 1e-6
        assert (other != value) == more
        value = other


@given(gene=st.one_of(integer_genes(), real_genes()), one=st.floats(0, 1), two=st.floats(0, 1))
def test_shares_are_values_in_their_order_from_one_end_to_the_other(gene, one, two) -> None:
    low, high = gene.at(min(one, two)), gene.at(max(one, two))
    assert gene.low <= low <= high <= gene.high
    slack = 1e-9 * max(abs(gene.low), abs(gene.high)) + 1e-300
    assert gene.at(0) - gene.low <= slack
    assert gene.high - gene.at(1) <= (gene.step or 0) + slack


def test_equal_shares_are_equally_many_values() -> None:
    thirds = [CategoricalGene(3).at(share) for share in (0, 0.33, 0.34, 0.66, 0.67, 1)]
    assert thirds == [0, 0, 1, 1, 2, 2]
    assert [IntegerGene(-4, 4, step=4).at(share) for share in (0.32, 0.34, 1)] == [-4, 0, 4]
    assert RealGene(1.0, 100.0, log=True).at(0.5) == pytest.approx(10)


def test_every_grid_value_is_drawn_and_reached_by_mutation_both_ends_included() -> None:
    rng = generator("grid")
    gene = RealGene(0.0, 0.3, step=0.1)
    drawn = Counter(round(gene.draw(rng), 9) for _ in range(4_000))
    assert set(drawn) == {0.0, 0.1, 0.2, 0.3}
    assert all(abs(count - 1_000) < 5 * 1_000**0.5 for count in drawn.values())
    steps = IntegerGene(-3, 6, step=3)
    assert {steps.draw(rng) for _ in range(500)} == {-3, 0, 3, 6}
    for small in (gene, steps, IntegerGene(0, 1), IntegerGene(1, 5, log=True)):
        assert len(walk(small, rng, 2_000)) == len({round(small.draw(rng), 9) for _ in range(500)})
    wide = IntegerGene(0, 20)
    assert {wide.mutate(7, rng) for _ in range(5_000)} == set(range(21)) - {7}


def walk(gene, rng, steps) -> set[float]:
    value, seen = gene.draw(rng), set()
    for _ in range(steps):
        value = gene.mutate(value, rng)
        seen.add(round(value, 9))
    return seen


def test_a_range_that_its_step_does_not_divide_ends_at_the_last_step() -> None:
    rng = generator("step")
    assert {IntegerGene(0, 7, step=3).draw(rng) for _ in range(200)} == {0, 3, 6}
    assert {RealGene(0, 1, step=0.4).draw(rng) for _ in range(200)} == {0.0, 0.4, 0.8}


def test_logarithmic_draws_are_uniform_in_the_logarithm() -> None:
    rng = generator("log")
    n = 10_000
    for gene in (RealGene(1e-4, 1e4, log=True), RealGene(1e-300, 1e300, log=True)):
        middle = math.sqrt(gene.low) * math.sqrt(gene.high)
        below = sum(gene.draw(rng) < middle for _ in range(n))
        assert abs(below - n / 2) < 5 * (n / 4) ** 0.5
    octaves = Counter(int(math.log2(IntegerGene(1, 1023, log=True).draw(rng))) for _ in range(n))
    assert set(octaves) == set(range(10))
    # An integer stands for its rounding interval: 2 to 3 are [1.5, 3.5) of [0.5, 1023.5).
    assert abs(octaves[1] / n - math.log(3.5 / 1.5) / math.log(1023.5 / 0.5)) < 0.02


@pytest.mark.parametrize("gene", [IntegerGene(0, 99), RealGene(0, 99), RealGene(0, 99, step=1.0)])
def test_the_length_of_a_mutation_is_about_its_scale(gene) -> None:
    rng = generator("scale")
    lengths = [abs(gene.mutate(50, rng) - 50) for _ in range(4_000)]
    # |N(0, 15)| has mean 12; a geometric of mean 15, folded at walls 50 away, a little less than 15.
    assert 10 < sum(lengths) / len(lengths) < 16


def test_a_logarithmic_mutation_is_relative_to_the_value() -> None:
    rng = generator("relative")
    gene = IntegerGene(1_000, 10**6, log=True)
    for value in (1_000, 100_000):
        lengths = [abs(gene.mutate(value, rng) - value) for _ in range(2_000)]
        assert 0.1 < sum(lengths) / len(lengths) / value < 0.2


def test_two_neighbouring_floats_mutate_into_each_other() -> None:
    low, high = 1.0, math.nextafter(1.0, 2.0)
    gene, rng = RealGene(low, high), generator(3)
    assert all(gene.mutate(low, rng) == high and gene.mutate(high, rng) == low for _ in range(50))


@pytest.mark.parametrize(
    ("make", "match"),
    [
        (lambda: CategoricalGene(0), "size"),
        (lambda: IntegerGene(2, 1), "low <= high"),
        (lambda: IntegerGene(0, 5, step=0), "step >= 1"),
        (lambda: IntegerGene(0, 5, log=True), "low >= 1"),
        (lambda: IntegerGene(1, 5, step=2, log=True), "step 1"),
        (lambda: RealGene(1, 0), "low <= high"),
        (lambda: RealGene(0, math.inf), "finite"),
        (lambda: RealGene(math.nan, 1), "finite"),
        (lambda: RealGene(0, 1, log=True), "low > 0"),
        (lambda: RealGene(1, 2, step=0.5, log=True), "no step"),
        (lambda: RealGene(0, 1, step=0), "step above 0"),
        (lambda: RealGene(0, 1, step=-1), "step above 0"),
    ],
)
def test_impossible_genes_are_refused(make, match) -> None:
    with pytest.raises(ValueError, match=match):
        make()
