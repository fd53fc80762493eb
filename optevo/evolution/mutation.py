"""Mutation: genes take one of their REMAINING values (2002.11581, section 3.4); a bit flips."""

from collections.abc import Sequence

import numpy as np

from optevo.evolution.crossover import segment
from optevo.evolution.genes import Gene, Value


def mutate_segment(values: Sequence[Value], genes: Sequence[Gene], rng: np.random.Generator) -> list[Value]:
    """Change every gene of one random piece, as the paper does."""
    start, stop = segment(len(values), rng)
    return [
        gene.mutate(value, rng) if start <= place < stop else value
        for place, (value, gene) in enumerate(zip(values, genes, strict=True))
    ]


def mutate_single(values: Sequence[Value], genes: Sequence[Gene], rng: np.random.Generator) -> list[Value]:
    """Change one gene, each equally likely."""
    place = int(rng.integers(len(values)))
    child = list(values)
    child[place] = genes[place].mutate(child[place], rng)
    return child


MUTATIONS = {"segment": mutate_segment, "single": mutate_single}
