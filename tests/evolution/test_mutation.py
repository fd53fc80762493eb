"""Mutation changes every gene of one piece to one of its remaining values."""

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from optevo.evolution import CategoricalGene, generator, mutate_segment, mutate_single
from optevo.evolution.mutation import MUTATIONS

seeds = st.integers(0, 2**32)
sizes = st.lists(st.integers(1, 5), min_size=1, max_size=20)


@given(sizes=sizes, seed=seeds)
def test_a_segment_changes_whole_and_nothing_else(sizes, seed) -> None:
    genes = [CategoricalGene(size) for size in sizes]
    rng = generator(seed)
    parent = [gene.draw(rng) for gene in genes]
    before = list(parent)
    child = mutate_segment(parent, genes, rng)
    assert parent == before, "the parent was changed in place"
    assert all(0 <= value < size for value, size in zip(child, sizes, strict=True))
    changed = [i for i in range(len(sizes)) if child[i] != parent[i]]
    if changed:
        inside = range(changed[0], changed[-1] + 1)
        assert all(child[i] != parent[i] or sizes[i] == 1 for i in inside)
    else:
        assert 1 in sizes


@given(sizes=sizes, seed=seeds)
def test_a_single_mutation_changes_one_gene_at_most(sizes, seed) -> None:
    genes = [CategoricalGene(size) for size in sizes]
    rng = generator(seed)
    parent = [gene.draw(rng) for gene in genes]
    child = mutate_single(parent, genes, rng)
    changed = [i for i in range(len(sizes)) if child[i] != parent[i]]
    assert len(changed) <= 1
    assert changed or 1 in sizes


def test_every_remaining_value_is_equally_likely_and_the_old_one_never_returns() -> None:
    rng = generator("remaining")
    counts = Counter(mutate_segment([2], [CategoricalGene(4)], rng)[0] for _ in range(6_000))
    assert set(counts) == {0, 1, 3}
    assert all(abs(count - 2_000) < 5 * 2_000**0.5 for count in counts.values())


@pytest.mark.parametrize("kind", MUTATIONS)
def test_every_position_is_reached_as_often_as_it_should(kind) -> None:
    length, n = 6, 12_000
    genes = [CategoricalGene(2)] * length
    rng = generator("positions", kind)
    counts: Counter[int] = Counter()
    for _ in range(n):
        counts.update(i for i, bit in enumerate(MUTATIONS[kind]([0] * length, genes, rng)) if bit)
    pieces = length * (length + 1) / 2
    for i in range(length):
        # (i + 1) starts and (length - i) ends make the pieces that hold position i.
        share = (i + 1) * (length - i) / pieces if kind == "segment" else 1 / length
        assert abs(counts[i] - n * share) < 5 * (n * share * (1 - share)) ** 0.5


def test_pieces_are_uniform() -> None:
    length, n = 4, 10_000
    rng = generator("pieces")
    counts = Counter(tuple(mutate_segment([0] * length, [CategoricalGene(2)] * length, rng)) for _ in range(n))
    assert len(counts) == 10
    assert all(abs(count - 1_000) < 5 * 1_000**0.5 for count in counts.values())


def test_genes_with_one_value_stay() -> None:
    assert mutate_segment([0, 0], [CategoricalGene(1)] * 2, generator(1)) == [0, 0]
    assert mutate_single([0], [CategoricalGene(1)], generator(1)) == [0]


def test_values_and_genes_must_match() -> None:
    with pytest.raises(ValueError, match=r"shorter|longer"):
        mutate_segment([0, 1, 0], [CategoricalGene(2)] * 2, generator(1))
