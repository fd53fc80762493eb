"""Genomes as numbers: what a model sees of them."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from optevo.evolution.breeding import Genome
from optevo.evolution.genes import Gene

Array = NDArray[np.float64]


def features(genomes: Sequence[Genome], genes: Sequence[Gene]) -> Array:
    """Genomes as numbers of about unit range, shape `(N, F)`: ordered genes are one feature, others one a value."""
    columns = [gene.features(np.array([genome[place] for genome in genomes])) for place, gene in enumerate(genes)]
    return np.concatenate(columns, axis=1)


def owners(genome: Genome, genes: Sequence[Gene]) -> NDArray[np.int64]:
    """The gene that each feature of a genome tells of, shape `(F,)`."""
    widths = [gene.features(np.array([value])).shape[1] for value, gene in zip(genome, genes, strict=True)]
    return np.repeat(np.arange(len(genes)), widths)
