"""Those who have no parents: random ones, balanced ones, and what is done where few genomes are acceptable."""

import itertools
from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from optevo.evolution import CategoricalGene, IntegerGene, RealGene, found, generator, immigrants
from optevo.evolution.breeding import TRIES, Recipe
from optevo.evolution.founders import design, entanglement, hypercube

GENES = (CategoricalGene(4),) * 8 + (CategoricalGene(2),) * 7
PAPER = Recipe(GENES, (tuple(range(8)), tuple(range(8, 15))))
MIXED = (
    CategoricalGene(5),
    CategoricalGene(3, ordered=True),
    IntegerGene(0, 20, step=5),
    IntegerGene(1, 1_000, log=True),
    RealGene(-1.0, 3.0),
    RealGene(0.0, 0.3, step=0.1),
    RealGene(1e-4, 1.0, log=True),
)

sizes = st.integers(1, 40)
seeds = st.integers(0, 2**32)


def test_founders_are_uniform_in_every_gene() -> None:
    founders = found(PAPER, size=8_000, rng=generator("founders"))
    assert {(child.operator, child.parents) for child in founders} == {("random", ())}
    for place, gene in enumerate(GENES):
        counts = Counter(child.genome[place] for child in founders)
        assert set(counts) == set(range(gene.size))
        expected = 8_000 / gene.size
        assert all(abs(count - expected) < 5 * expected**0.5 for count in counts.values())


@given(size=sizes, seed=seeds)
def test_each_value_of_a_gene_comes_equally_often_in_a_hypercube(size, seed) -> None:
    genomes = hypercube(MIXED, size=size, rng=generator(seed))
    assert len(genomes) == size
    for place, count in {0: 5, 1: 3, 2: 5, 5: 4}.items():
        counts = Counter(genome[place] for genome in genomes)
        assert len(counts) == min(size, count)
        assert set(counts.values()) <= {size // count, -(-size // count)}


@given(size=sizes, seed=seeds)
def test_numbers_of_a_hypercube_are_evenly_spaced(size, seed) -> None:
    genomes = hypercube(MIXED, size=size, rng=generator(seed))
    real = sorted(genome[4] for genome in genomes)
    np.testing.assert_allclose(np.diff(real), 4 / size)
    assert -1 <= real[0] < -1 + 4 / size
    np.testing.assert_allclose(np.diff(np.log10(sorted(genome[6] for genome in genomes))), 4 / size)


def test_any_place_of_a_design_is_uniform() -> None:
    rng = generator("places")
    firsts = [hypercube(GENES, size=6, rng=rng)[0] for _ in range(4_000)]
    for place, gene in enumerate(GENES):
        counts = Counter(genome[place] for genome in firsts)
        expected = len(firsts) / gene.size
        assert all(abs(counts[value] - expected) < 5 * expected**0.5 for value in range(gene.size))


def test_entanglement_is_the_largest_correlation_of_two_genes_as_numpy_counts_it() -> None:
    genes = (CategoricalGene(4, ordered=True), CategoricalGene(2), IntegerGene(0, 9), RealGene(0.0, 1.0))
    genomes = hypercube(genes, size=12, rng=generator(3))
    correlations = np.abs(np.corrcoef(np.array(genomes, dtype=float).T))
    largest = max(correlations[one, two] for one, two in itertools.combinations(range(4), 2))
    assert entanglement(genomes, genes) == pytest.approx(largest, abs=1e-6)


def test_entanglement_is_between_genes_and_not_between_the_values_of_one() -> None:
    genes = (CategoricalGene(3), CategoricalGene(2))
    grid = list(itertools.product(range(3), range(2)))
    assert entanglement(grid, genes) == 0
    assert entanglement([(0, 0), (1, 0), (2, 1)], genes) == 1  # The third value tells the bit.


def test_genes_of_one_value_are_entangled_with_nobody() -> None:
    assert entanglement([(0, 0), (0, 1)], (CategoricalGene(1), CategoricalGene(2))) == 0
    assert entanglement([(3, 1)], (CategoricalGene(4), CategoricalGene(2))) == 0
    assert design((CategoricalGene(1),) * 2, size=3, rng=generator(1)) == [(0, 0)] * 3
    assert design((), size=3, rng=generator(1)) == [()] * 3


def test_a_feature_that_never_varies_is_entangled_with_nobody() -> None:
    # The mean of ten times 1 / sqrt(2) is another number.
    assert entanglement([(0, 0)] * 10, (CategoricalGene(3), CategoricalGene(3))) == 0


def test_a_design_is_less_entangled_than_most_hypercubes() -> None:
    rng = generator("entanglement")
    designed = [entanglement(design(GENES, size=16, rng=rng), GENES) for _ in range(5)]
    drawn = [entanglement(hypercube(GENES, size=16, rng=rng), GENES) for _ in range(100)]
    assert max(designed) <= np.quantile(drawn, 0.1)


def test_balanced_founders_are_the_design_and_equal_keys_give_equal_ones() -> None:
    founders = found(PAPER, size=8, rng=generator(7), balanced=True)
    assert [child.genome for child in founders] == design(GENES, size=8, rng=generator(7))
    assert founders == found(PAPER, size=8, rng=generator(7), balanced=True)
    assert {(child.operator, child.parents) for child in founders} == {("random", ())}


# What may be trained: `accept`.


@settings(max_examples=25, deadline=None)
@given(seed=seeds, forbidden=st.integers(0, 3))
def test_only_the_refused_of_a_design_are_drawn_again(seed, forbidden) -> None:
    def accept(genome):
        return forbidden not in genome[:3]

    designed = design(GENES, size=12, rng=generator(seed))
    founders = [child.genome for child in found(PAPER, size=12, rng=generator(seed), accept=accept, balanced=True)]
    assert all(map(accept, founders))
    for genome, founder in zip(designed, founders, strict=True):
        assert founder == genome or not accept(genome)


def test_rare_acceptable_genomes_are_found_for_the_first_generation() -> None:
    def accept(genome):
        return genome[:4] == (3, 1, 2, 0)  # 1 of 256

    assert all(accept(child.genome) for child in found(PAPER, size=30, rng=generator(1), accept=accept))


def test_immigrants_are_acceptable_or_left_out() -> None:
    some = immigrants(PAPER, size=40, rng=generator(1), accept=lambda genome: genome[0] == 2)
    assert len(some) == 40
    assert {(child.operator, child.parents, child.genome[0]) for child in some} == {("random", (), 2)}
    asked = []
    assert immigrants(PAPER, size=40, rng=generator(1), accept=lambda genome: bool(asked.append(genome))) == []
    assert len(asked) == TRIES
