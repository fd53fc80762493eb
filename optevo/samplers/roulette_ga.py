"""The genetic algorithm of 2002.11581 (Algorithm 1) as an Optuna sampler."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from optuna import Study
from optuna.distributions import BaseDistribution, distribution_to_json
from optuna.trial import FrozenTrial

from optevo.evolution import Offspring, Parent, breed, found
from optevo.evolution.breeding import Genome, Recipe
from optevo.evolution.genes import Value
from optevo.samplers import slots
from optevo.samplers.base import Brood, Generation, Individual, SlotSampler, sign
from optevo.samplers.distributions import Space, decode, encode, gene

Feasible = Callable[[dict[str, Any]], bool]


class RouletteGASampler(SlotSampler):
    """A generational genetic algorithm with roulette selection, segment crossover and elitism (2002.11581).

    Any number of workers may share a study: generation g + 1 is bred whole, by a pure function of the seed and the
    results of generation g, so the evolution does not depend on who trained what, or when. A study of one process
    works as with any sampler: `optuna.create_study(sampler=RouletteGASampler(seed=1)).optimize(objective, 1000)`.

    Values become fitness by one rule, see :mod:`optevo.evolution.scaling`; failed and infeasible trials are worst.
    PRUNED trials count with their last reported value. Enqueued trials become members of the first generation.

    Args:
        search_space: Distributions by name, in the order that crossover cuts. Without it the first generation samples
            each parameter when it is asked for; later ones evolve what all trials of the last generation share, and
            other parameters are inherited from the first parent that has them.
        chromosomes: Names of parameters that are bred together; by default all of them. The paper's are c1 and c2.
        population_size: K.
        generations: Number of generations that are evaluated, T; None for no end.
        selection, crossover, mutation: Probabilities s1, s2, s3 of the operators.
        scaling: `"proportional"` (the paper's f = 1 / v), `"rank"` or `"sigma"`.
        mutation_kind: `"segment"` (the paper's) or `"single"`.
        elites: How many of the best pass unchanged into the next generation.
        duplicates: `"keep"` lets equal individuals appear, as the paper does; `"mutate"` changes a child until it was
            never trained before.
        reuse: Record a known individual with its known value instead of training it again. Set it to False where the
            objective is noisy and should be averaged by evolution itself.
        feasible: A pure function of the parameters; needs `search_space`. What it refuses is bred again, never trained
            (where acceptable individuals are not too rare to be found, see :func:`optevo.evolution.found`).
        seed: Of the whole evolution; None takes one from the study.

    Raises:
        ValueError: An argument is out of its range, or the study was begun with other settings.
    """

    def __init__(
        self,
        *,
        search_space: Mapping[str, BaseDistribution] | None = None,
        chromosomes: Sequence[Sequence[str]] | None = None,
        population_size: int = 32,
        generations: int | None = None,
        selection: float = 0.2,
        crossover: float = 0.7,
        mutation: float = 0.1,
        scaling: str = "proportional",
        mutation_kind: str = "segment",
        elites: int = 1,
        duplicates: str = "keep",
        reuse: bool = True,
        feasible: Feasible | None = None,
        seed: int | None = None,
    ) -> None:
        super().__init__(seed=seed, generations=generations, reuse=reuse)
        if population_size < 1:
            raise ValueError(f"population_size must be at least 1, but is {population_size}.")
        if elites >= population_size > 1:
            raise ValueError(f"elites must be below population_size {population_size}, but is {elites}.")
        if duplicates not in ("keep", "mutate"):
            raise ValueError(f"duplicates must be 'keep' or 'mutate', but is {duplicates!r}.")
        for name, value in (("chromosomes", chromosomes), ("feasible", feasible)):
            if value is not None and search_space is None:
                raise ValueError(f"{name} needs a search_space.")
        self._space = dict(search_space) if search_space is not None else None
        self._chromosomes = [list(names) for names in chromosomes] if chromosomes is not None else None
        self._population_size = population_size
        self._duplicates = duplicates
        self._feasible = feasible
        self._operators: dict[str, Any] = {
            "selection": selection,
            "crossover": crossover,
            "mutation": mutation,
            "scaling": scaling,
            "mutation_kind": mutation_kind,
            "elites": elites,
        }
        self._recipe(self._space or {})

    def settings(self) -> dict[str, Any]:
        space = self._space
        return {
            "sampler": type(self).__name__,
            "population_size": self._population_size,
            "duplicates": self._duplicates,
            "reuse": self._reuse,
            **self._operators,
            "chromosomes": self._chromosomes,
            "search_space": None if space is None else {name: distribution_to_json(d) for name, d in space.items()},
        }

    def fallback_space(self) -> Space:
        return self._space or {}

    def spare(self, space: Space, rng: Any) -> Sequence[Value]:
        if self._space is None or set(space) != set(self._space):
            return super().spare(space, rng)
        return found(self._recipe(space), size=1, rng=rng, accept=self._accept(space))[0].genome

    def identity(self, individual: Individual) -> Any:
        return tuple(individual.genome.items()) if self._space else None

    def identity_of_trial(self, trial: FrozenTrial) -> Any:
        # Parameters beyond the space make two trials different although their genomes are equal.
        if not self._space or set(trial.params) != set(self._space):
            return None
        genome = encode(trial.params, self._space)
        return None if genome is None else tuple(zip(self._space, genome, strict=True))

    def brood(self, study: Study, history: Sequence[Generation]) -> Brood:
        space = self._space if self._space is not None else _common_space(history)
        recipe = self._recipe(space)
        rng = self._rng(study, 0, len(history))
        parents = _parents(history[-1], space, sign(study)) if history else []
        if parents:
            offspring = breed(
                recipe,
                [parent for _, parent in parents],
                size=self._population_size,
                rng=rng,
                accept=self._accept(space),
                taken=self._taken(history, space),
            )
        elif space or not history:
            offspring = found(recipe, size=self._population_size, rng=rng, accept=self._accept(space))
        else:
            offspring = [Offspring((), "random", ())] * self._population_size
        individuals = [
            Individual(
                genome=dict(zip(space, child.genome, strict=True)),
                operator=child.operator,
                parents=tuple(parents[place][0] for place in child.parents),
            )
            for child in offspring
        ]
        return Brood(tuple(individuals), space)

    def _recipe(self, space: Space) -> Recipe:
        names = list(space)
        if self._chromosomes is not None:
            unknown = [name for chromosome in self._chromosomes for name in chromosome if name not in space]
            if unknown:
                raise ValueError(f"chromosomes name {unknown[0]!r}, which the search_space does not have.")
            chromosomes = [tuple(names.index(name) for name in chromosome) for chromosome in self._chromosomes]
        else:
            chromosomes = [tuple(range(len(names)))] if names else []
        return Recipe(
            genes=tuple(gene(distribution) for distribution in space.values()),
            chromosomes=tuple(chromosomes),
            **self._operators,
        )

    def _accept(self, space: Space) -> Callable[[Genome], bool] | None:
        feasible = self._feasible
        if feasible is None:
            return None
        return lambda genome: feasible(decode(genome, space))

    def _taken(self, history: Sequence[Generation], space: Space) -> Callable[[Genome], bool] | None:
        if self._duplicates == "keep":
            return None
        known = {encode(trial.params, space) for generation in history for trial in generation}
        return known.__contains__


def _parents(generation: Generation, space: Space, sign: float) -> list[tuple[int, Parent]]:
    """Numbers and genomes of a generation. A trial's parameters are its genome; those that it never asked for are as it
    claimed. One whose parameters lie outside the space (somebody enqueued it) is no parent."""
    parents = []
    for trial in generation:
        claim = slots.claim_of(trial)
        params = dict(trial.params)
        if claim is not None and isinstance(claim.genome, Mapping) and set(claim.genome) == set(space):
            params = {**decode([claim.genome[name] for name in space], space), **params}
        genome = encode(params, space)
        if genome:
            parents.append((trial.number, Parent(genome, slots.cost(trial, sign=sign))))
    return parents


def _common_space(history: Sequence[Generation]) -> Space:
    """What all trials of the last generation that have parameters share, in the order of the first of them."""
    if not history:
        return {}
    spaces = [trial.distributions for trial in history[-1] if trial.distributions]
    if not spaces:
        return {}
    return {
        name: distribution
        for name, distribution in spaces[0].items()
        if not distribution.single() and all(other.get(name) == distribution for other in spaces[1:])
    }
