"""Those who have no parents: the first generation, and the random genomes that stand beside bred ones."""

from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import NDArray

from optevo.evolution.breeding import TRIES, Accept, Genome, Offspring, Recipe
from optevo.evolution.features import features, owners
from optevo.evolution.genes import Gene

# A founder has no parents to start from: where one genome in 1,000 is acceptable, 10,000 draws miss it once in 22,000.
DRAWS = 10_000

DESIGNS = 100  # of which the least entangled is taken; they cost 0.04 s for 15 genes
DIGITS = 6  # what rounding errors of another CPU may change must not change which


def found(
    recipe: Recipe, *, size: int, rng: np.random.Generator, accept: Accept | None = None, balanced: bool = False
) -> list[Offspring]:
    """The first generation: every gene drawn uniformly, genomes that `accept` refuses drawn again.

    Where acceptable genomes are so rare that the draws do not find one, an earlier founder is repeated; a refused
    genome passes only where not one acceptable genome was found at all.

    Args:
        recipe: The genes.
        size: Number of founders.
        rng: The source of every draw.
        accept: Refuses genomes that must never be trained.
        balanced: Whether the founders are drawn together, see :func:`design`, and not each by itself. Then those who
            are drawn in the place of refused ones are still drawn by themselves.
    """
    singly = (_draw(recipe, rng) for _ in range(size))
    drawn: Iterable[Genome] = design(recipe.genes, size=size, rng=rng) if balanced else singly
    genomes: list[Genome] = []
    accepted: list[Genome] = []
    for genome in drawn:
        for _ in range(DRAWS):
            if accept is None or accept(genome):
                accepted.append(genome)
                break
            genome = _draw(recipe, rng)
        else:
            if accepted:
                genome = accepted[int(rng.integers(len(accepted)))]
        genomes.append(genome)
    return [_parentless(genome) for genome in genomes]


def immigrants(recipe: Recipe, *, size: int, rng: np.random.Generator, accept: Accept | None = None) -> list[Offspring]:
    """At most `size` random genomes that `accept` takes, to stand beside bred ones.

    Where acceptable genomes are so rare that :data:`optevo.evolution.breeding.TRIES` draws do not find one, no more are
    looked for: bred ones are near the acceptable, and can have their places.
    """
    arrived: list[Offspring] = []
    while len(arrived) < size:
        draws = (_draw(recipe, rng) for _ in range(TRIES))
        genome = next((genome for genome in draws if accept is None or accept(genome)), None)
        if genome is None:
            break
        arrived.append(_parentless(genome))
    return arrived


def design(genes: Sequence[Gene], *, size: int, rng: np.random.Generator) -> list[Genome]:
    """Genomes that show a model the most: each value of a gene equally often, and hardly two genes varying together.

    Of many Latin hypercubes (McKay, Beckman and Conover, Technometrics 21, 1979) the one in which the strongest
    correlation between features of two genes is the weakest. Each genome by itself is still a uniform draw, but for
    that choice.
    """
    if not genes:
        return [()] * size
    designs = (hypercube(genes, size=size, rng=rng) for _ in range(DESIGNS))
    return min(designs, key=lambda genomes: entanglement(genomes, genes))


def hypercube(genes: Sequence[Gene], *, size: int, rng: np.random.Generator) -> list[Genome]:
    """`size` genomes whose values of any gene lie evenly over its distribution: a systematic sample, shuffled.

    Of a gene with K equally likely values each comes `size / K` times, rounded up or down: all values of a gene lie
    equally far into their strata. Where each lies where it likes, as in scipy's, counts differ by more.
    """
    columns = [[gene.at(share) for share in (rng.permutation(size) + rng.random()) / size] for gene in genes]
    return list(zip(*columns, strict=True))


def entanglement(genomes: Sequence[Genome], genes: Sequence[Gene]) -> float:
    """The largest correlation, by its amount, between features of two different genes; 0 where none varies."""
    seen = features(genomes, genes)
    varies = np.ptp(seen, axis=0) > 0  # Of thousands of categories few genomes have few.
    if not varies.any():
        return 0.0
    centred = seen[:, varies] - seen[:, varies].mean(axis=0)
    norms: NDArray[np.float64] = np.sqrt((centred**2).sum(axis=0))
    unit = centred / norms
    owner = owners(genomes[0], genes)[varies]
    others = owner[:, None] != owner
    return round(float(np.abs(unit.T @ unit, where=others, out=np.zeros(others.shape)).max()), DIGITS)


def _draw(recipe: Recipe, rng: np.random.Generator) -> Genome:
    return tuple(gene.draw(rng) for gene in recipe.genes)


def _parentless(genome: Genome) -> Offspring:
    return Offspring(genome=genome, operator="random", parents=())
