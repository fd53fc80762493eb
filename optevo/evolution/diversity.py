"""Diversity: those who are trained together must not all bet on the same.

A model that is wrong about a gene is so for all genomes alike, and whoever it thinks most of are near each other: a
whole generation would be lost on one error, and the next would know little more. What differs in many genes tells it
where it is wrong, whatever it believes.
"""

from collections.abc import Sequence

import numpy as np

from optevo.evolution.breeding import Genome


def mean_distance(genomes: Sequence[Genome]) -> float:
    """In how many genes two of the genomes differ (their Hamming distance), averaged over all pairs; 0 of fewer than
    two."""
    pairs = len(genomes) * (len(genomes) - 1)
    if not pairs:
        return 0.0
    counts = (np.unique(column, return_counts=True)[1] for column in np.array(genomes).T)
    return sum(pairs - int((count * (count - 1)).sum()) for count in counts) / pairs


def spread_out(ranked: Sequence[Genome], *, size: int, least: float) -> list[int]:
    """Places of the first `size` genomes of which any two differ in at least `least` genes.

    Each is the first one that is far enough from all before it. Where too few are, the first of the others fill up.

    Args:
        ranked: Different genomes, the most promising first.
        size: How many to choose.
        least: Number of genes; up to 1 it asks for nothing.

    Returns:
        `min(size, len(ranked))` places, ascending.
    """
    genomes = np.array(ranked)
    far = np.ones(len(ranked), dtype=bool)
    chosen: list[int] = []
    while len(chosen) < size and far.any():
        place = int(np.argmax(far))
        chosen.append(place)
        far &= (genomes != genomes[place]).sum(axis=1) >= max(least, 1)
    others = np.setdiff1d(np.arange(len(ranked)), chosen)[: size - len(chosen)].tolist()
    return sorted([*chosen, *others])
