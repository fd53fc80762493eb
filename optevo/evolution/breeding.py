"""One whole generation at a time, as Algorithm 1 of 2002.11581 writes it.

A genome is a tuple of values; a chromosome is a tuple of positions in it. The paper runs the genetic algorithm on the
channel code c1 and on the skip code c2 separately, so each chromosome is bred by a loop of its own, and child k is the
k-th result of every loop.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from optevo.evolution.crossover import swap_segment
from optevo.evolution.genes import Gene, Value
from optevo.evolution.mutation import MUTATIONS
from optevo.evolution.roulette import probabilities, spin
from optevo.evolution.scaling import SCALINGS

Genome = tuple[Value, ...]
Accept = Callable[[Genome], bool]

# How often a refused child is changed before it is given up. At one acceptable neighbour in ten, 100 tries miss it
# once in 38,000 children.
TRIES = 100


@dataclass(frozen=True)
class Parent:
    """An evaluated individual: its genome, and its cost (the smaller the better; None where training failed)."""

    genome: Genome
    cost: float | None


@dataclass(frozen=True)
class Offspring:
    """A child: its genome, what made it, and the positions of its parents in the generation it came from."""

    genome: Genome
    operator: str
    parents: tuple[int, ...]


@dataclass(frozen=True)
class Recipe:
    """How a generation is bred.

    Args:
        genes: One for each position of the genome.
        chromosomes: Positions that are bred together, in the order in which segments are cut; together all positions.
        selection, crossover, mutation: The operators' probabilities s1, s2, s3, which add up to 1.
        scaling: A name in :data:`optevo.evolution.scaling.SCALINGS`.
        mutation_kind: `"segment"` (the paper's) or `"single"`.
        elites: How many of the best pass unchanged.

    Raises:
        ValueError: An argument is out of its range.
    """

    genes: tuple[Gene, ...]
    chromosomes: tuple[tuple[int, ...], ...]
    selection: float = 0.2
    crossover: float = 0.7
    mutation: float = 0.1
    scaling: str = "proportional"
    mutation_kind: str = "segment"
    elites: int = 1

    def __post_init__(self) -> None:
        chances = (self.selection, self.crossover, self.mutation)
        if not (min(chances) >= 0 and abs(sum(chances) - 1) <= 1e-9):
            raise ValueError(f"selection, crossover and mutation must add up to 1, but are {chances}.")
        if self.scaling not in SCALINGS:
            raise ValueError(f"scaling must be one of {', '.join(SCALINGS)}, but is {self.scaling!r}.")
        if self.mutation_kind not in MUTATIONS:
            raise ValueError(f"mutation_kind must be one of {', '.join(MUTATIONS)}, but is {self.mutation_kind!r}.")
        if self.elites < 0:
            raise ValueError(f"elites must not be negative, but is {self.elites}.")
        places = sorted(place for chromosome in self.chromosomes for place in chromosome)
        if places != list(range(len(self.genes))) or not all(self.chromosomes):
            raise ValueError("chromosomes must be non-empty and hold every position of the genome once.")


def breed(
    recipe: Recipe,
    parents: Sequence[Parent],
    *,
    size: int,
    rng: np.random.Generator,
    accept: Accept | None = None,
    taken: Callable[[Genome], bool] | None = None,
) -> list[Offspring]:
    """The next generation: the elites first, then children of the roulette, chromosome by chromosome.

    Args:
        recipe: The operators, their probabilities and the genes.
        parents: The whole evaluated generation.
        size: Number K of individuals to return.
        rng: The source of every draw; equal generators and parents give equal generations.
        accept: Refuses genomes that must never be trained (over a budget). A refused child is mutated until it is
            accepted; failing that, the best acceptable parent takes its place. A refused parent (somebody enqueued it)
            is no elite. A refused genome passes only where no parent is acceptable either.
        taken: Genomes whose value is known already. Where given, children that are taken, or equal to an earlier one
            of this generation, are mutated until they are new; where every try fails, the known one stays.

    Returns:
        `size` offspring; the first `min(recipe.elites, size)` are the best parents, unchanged.
    """
    order = _best_first(parents)
    if accept is not None:
        order = [place for place in order if accept(parents[place].genome)] or order
    elites = [Offspring(parents[i].genome, "elite", (i,)) for i in order[: min(recipe.elites, size)]]
    chances = probabilities(SCALINGS[recipe.scaling]([parent.cost for parent in parents]))
    strands = [_strand(recipe, places, parents, chances, size - len(elites), rng) for places in recipe.chromosomes]
    children = [_join(recipe, pieces) for pieces in zip(*strands, strict=True)]
    seen = {elite.genome for elite in elites}
    brood = list(elites)
    for child in children:
        settled = _settle(recipe, child, parents[order[0]], order[0], rng, accept, taken, seen)
        seen.add(settled.genome)
        brood.append(settled)
    return brood


@dataclass(frozen=True)
class _Piece:
    values: tuple[Value, ...]
    operator: str
    parents: tuple[int, ...]


def _strand(
    recipe: Recipe,
    places: tuple[int, ...],
    parents: Sequence[Parent],
    chances: NDArray[np.float64],
    count: int,
    rng: np.random.Generator,
) -> list[_Piece]:
    """`count` new chromosomes: lines 7 to 11 of Algorithm 1, for one of the two codes."""
    pool = [tuple(parent.genome[place] for place in places) for parent in parents]
    genes = [recipe.genes[place] for place in places]
    pieces: list[_Piece] = []
    while len(pieces) < count:
        pieces.extend(_operate(recipe, genes, pool, chances, rng))
    return pieces[:count]


def _operate(
    recipe: Recipe,
    genes: Sequence[Gene],
    pool: Sequence[tuple[Value, ...]],
    chances: NDArray[np.float64],
    rng: np.random.Generator,
) -> Iterator[_Piece]:
    s = rng.random()
    first = spin(chances, rng)
    if s < recipe.selection:
        yield _Piece(pool[first], "selection", (first,))
    elif s < recipe.selection + recipe.crossover:
        second = spin(chances, rng)
        for child in swap_segment(pool[first], pool[second], rng):
            yield _Piece(tuple(child), "crossover", (first, second))
    else:
        yield _Piece(tuple(MUTATIONS[recipe.mutation_kind](pool[first], genes, rng)), "mutation", (first,))


def _join(recipe: Recipe, pieces: Sequence[_Piece]) -> Offspring:
    values: dict[int, Value] = {}
    for places, piece in zip(recipe.chromosomes, pieces, strict=True):
        values.update(zip(places, piece.values, strict=True))
    operators = dict.fromkeys(piece.operator for piece in pieces)
    operator = pieces[0].operator if len(operators) == 1 else "+".join(piece.operator for piece in pieces)
    ancestors = dict.fromkeys(parent for piece in pieces for parent in piece.parents)
    return Offspring(tuple(values[place] for place in range(len(values))), operator, tuple(ancestors))


def _settle(
    recipe: Recipe,
    child: Offspring,
    best: Parent,
    best_at: int,
    rng: np.random.Generator,
    accept: Accept | None,
    taken: Callable[[Genome], bool] | None,
    seen: set[Genome],
) -> Offspring:
    def allowed(genome: Genome) -> bool:
        return accept is None or accept(genome)

    def new(genome: Genome) -> bool:
        return taken is None or not (taken(genome) or genome in seen)

    mutant, fallback = child, child if allowed(child.genome) else None
    for _ in range(TRIES):
        if allowed(mutant.genome):
            fallback = fallback or mutant
            if new(mutant.genome):
                return mutant
        places = recipe.chromosomes[int(rng.integers(len(recipe.chromosomes)))]
        changed = MUTATIONS["single"]([mutant.genome[i] for i in places], [recipe.genes[i] for i in places], rng)
        values = dict(zip(places, changed, strict=True))
        genome = tuple(values.get(place, value) for place, value in enumerate(mutant.genome))
        mutant = Offspring(genome, f"{child.operator}+repair", child.parents)
    return fallback or Offspring(best.genome, "elite", (best_at,))


def _best_first(parents: Sequence[Parent]) -> list[int]:
    """Positions by cost; failed parents last, equal ones in the order of their slots."""

    def key(place: int) -> tuple[bool, float, int]:
        cost = parents[place].cost
        failed = cost is None or cost != cost
        return failed, 0.0 if cost is None or failed else cost, place

    return sorted(range(len(parents)), key=key)
