"""The genetic algorithm of 2002.11581 (Algorithm 1) as an Optuna sampler."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from math import inf, isfinite, nan
from typing import Any, Literal

import numpy as np
from optuna import Study
from optuna.distributions import BaseDistribution
from optuna.trial import FrozenTrial

from optevo.evolution import Offspring, Parent, breed, found, immigrants
from optevo.evolution.breeding import Genome, Recipe
from optevo.evolution.checks import whole
from optevo.evolution.screening import Screening, screen
from optevo.samplers import masks as bitmasks
from optevo.samplers import slots
from optevo.samplers.base import Brood, Generation, Individual, Partner, SlotSampler, sign
from optevo.samplers.codings import Coding, MaskCoding, ParameterCoding, Tried
from optevo.samplers.distributions import Space
from optevo.samplers.slots import CLAIM, mean

Feasible = Callable[[dict[str, Any]], bool]
Price = Callable[[dict[str, Any]], float]

# By genome: the number of its first trial, and the genome with its cost.
Evaluated = Mapping[Genome, tuple[int, Parent]]

PRESETS: Mapping[str, Mapping[str, Any]] = {
    # 2002.11581, as it is written.
    "paper": {
        "population_size": 32,
        "founders": "random",
        "scaling": "proportional",
        "mutation_kind": "segment",
        "elites": 1,
        "duplicates": "keep",
        "archive": None,
        "screening": None,
    },
    # The best without a model: pressure that does not depend on how close the values are, and nothing trained twice.
    "plain": {
        "population_size": 32,
        "founders": "random",
        "scaling": "rank",
        "mutation_kind": "segment",
        "elites": 1,
        "duplicates": "mutate",
        "archive": None,
        "screening": None,
    },
    # Children of the best ever found and random genomes, of which a model chooses whom to train. Balanced founders tell
    # it as much as more random ones would, it chooses the better the oftener it is asked, and what it chooses differs.
    "screened": {
        "population_size": 8,
        "founders": "balanced",
        "scaling": "rank",
        "mutation_kind": "segment",
        "elites": 0,
        "duplicates": "mutate",
        "archive": 32,
        "screening": Screening(),
    },
}
"""What the arguments of :class:`RouletteGASampler` are where they are not given."""


class RouletteGASampler(SlotSampler):
    """A generational genetic algorithm with roulette selection, segment crossover and elitism (2002.11581).

    Any number of workers may share a study: generation g + 1 is bred whole, by a pure function of the seed and the
    results of generation g, so the evolution does not depend on who trained what, or when. A study of one process
    works as with any sampler: `optuna.create_study(sampler=RouletteGASampler(seed=1)).optimize(objective, 1000)`.

    Values become fitness by one rule, see :mod:`optevo.evolution.scaling`; failed and infeasible trials are worst.
    PRUNED trials count with their last reported value. Enqueued trials become members of the first generation.

    Three presets: `"paper"` is 2002.11581 as it is written; `"plain"` ranks, and never trains a genome twice;
    `"screened"` breeds many children of the best ever found, draws as many at random, and trains those that differ and
    that a model thinks most of (:mod:`optevo.evolution.screening`). Any argument that is given goes before the
    preset's.

    Args:
        preset: A name in :data:`PRESETS`.
        search_space: Distributions by name, in the order that crossover cuts. Without it the first generation samples
            each parameter when it is asked for; later ones evolve what all trials of the last generation share, and
            other parameters are inherited from the first parent that has them.
        masks: Instead of a search space: sizes of groups of bits by name, for individuals of hundreds of bits. An
            objective reads them with :func:`optevo.samplers.masks_of`; every group keeps at least one bit.
        chromosomes: Names of parameters (of groups, with masks) that are bred together; by default all of them. The
            U-Net paper's are c1 and c2.
        population_size: K.
        founders: How the first generation is drawn: `"random"`, each gene by itself, as the paper does; `"balanced"`,
            so that each value of a gene comes equally often and hardly two genes vary together
            (:func:`optevo.evolution.founders.design`). Balanced ones need a search space or masks.
        generations: Number of generations that are evaluated, T; None for no end.
        selection, crossover, mutation: Probabilities s1, s2, s3 of the operators.
        scaling: `"proportional"` (the paper's f = 1 / v), `"rank"` or `"sigma"`.
        archive: How many of the best individuals ever found are the parents; None for the last generation.
        screening: How many candidates a generation has, and how they are chosen; None trains what is bred.
            Needs a search space or masks, and the package scikit-learn.
        price: A pure function of the parameters: the part of the value that is known without training, such as the cost
            of a network, in the value's unit and sign. Screening predicts only the rest.
        mutation_kind: `"segment"` (the paper's) or `"single"`.
        elites: How many of the best pass unchanged into the next generation.
        duplicates: `"keep"` lets equal individuals appear, as the paper does; `"mutate"` changes a child until it was
            never trained before.
        reuse: Record a known individual with its known value instead of training it again. With False, for noisy
            objectives, it is trained again, and a parent's value is the mean over all its evaluations.
        learn_from: How many of its parents a child of crossover learns from before it is judged: the fittest, whose
            trials its claim names (`claim_of(trial).learns_from`; what the objective makes of them is its own affair).
            They belong to what makes a known individual, as its genome does. 0 for none. Needs a search space or masks,
            and `reuse`: an elite that was trained again would need its parents' parents. Only individuals that can be
            parents now are known then (:meth:`breeders` and the last generation): of others, what children would learn
            from may be gone.
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
        masks: Mapping[str, int] | None = None,
        chromosomes: Sequence[Sequence[str]] | None = None,
        preset: Literal["paper", "plain", "screened"] = "paper",
        population_size: int | None = None,
        founders: Literal["random", "balanced"] | None = None,
        generations: int | None = None,
        selection: float = 0.2,
        crossover: float = 0.7,
        mutation: float = 0.1,
        scaling: str | None = None,
        mutation_kind: str | None = None,
        elites: int | None = None,
        duplicates: str | None = None,
        archive: int | None = None,
        screening: Screening | None = None,
        price: Price | None = None,
        reuse: bool = True,
        learn_from: int = 0,
        feasible: Feasible | None = None,
        seed: int | None = None,
    ) -> None:
        super().__init__(seed=seed, generations=generations, reuse=reuse)
        chosen = _chosen(
            preset,
            population_size=population_size,
            founders=founders,
            scaling=scaling,
            mutation_kind=mutation_kind,
            elites=elites,
            duplicates=duplicates,
            archive=archive,
            screening=screening,
        )
        self._coding = _coding(search_space, masks)
        for name, needs in (
            ("chromosomes", chromosomes),
            ("feasible", feasible),
            ("price", price),
            ("screening", chosen["screening"]),
            ("founders = 'balanced'", chosen["founders"] == "balanced" or None),
            ("learn_from", learn_from or None),
        ):
            if needs is not None and self._coding is None:
                raise ValueError(f"{name} needs a search_space or masks.")
        self.learn_from = whole(learn_from, "learn_from")
        if learn_from < 0 or (learn_from and not reuse):
            raise ValueError(f"learn_from must be 0, or with reuse a number of parents, but is {learn_from}.")
        self._chromosomes = [list(names) for names in chromosomes] if chromosomes is not None else None
        self._population_size: int = chosen["population_size"]
        self._founders: str = chosen["founders"]
        self._duplicates: str = chosen["duplicates"]
        self._archive: int | None = chosen["archive"]
        self._screening: Screening | None = chosen["screening"]
        self._tried = Tried()
        self._price = price
        self._feasible = feasible
        self._operators: dict[str, Any] = {
            "selection": selection,
            "crossover": crossover,
            "mutation": mutation,
            **{name: chosen[name] for name in ("scaling", "mutation_kind", "elites")},
        }
        self._recipe(self._coding or ParameterCoding({}))

    @property
    def brood_size(self) -> int:
        return self._population_size

    def settings(self) -> dict[str, Any]:
        return {
            "sampler": type(self).__name__,
            "population_size": self._population_size,
            "duplicates": self._duplicates,
            "founders": self._founders,
            "reuse": self._reuse,
            **self._operators,
            "archive": self._archive,
            "screening": None if self._screening is None else asdict(self._screening),
            "learn_from": self.learn_from or None,
            "chromosomes": self._chromosomes,
            **({"search_space": None} if self._coding is None else self._coding.settings()),
        }

    def fallback_space(self) -> Space:
        return {} if self._coding is None else self._coding.space

    def express(self, genome: Mapping[str, Any] | str, space: Space, trial: FrozenTrial) -> dict[str, Any] | None:
        if isinstance(genome, str) and isinstance(self._coding, MaskCoding):
            return bitmasks.counts(str(trial.user_attrs.get(bitmasks.MASK, genome)), self._coding.groups)
        return super().express(genome, space, trial)

    def spare(self, space: Space, rng: np.random.Generator, trial: FrozenTrial) -> dict[str, Any]:
        coding = self._coding
        if coding is None or set(space) != set(coding.space):
            return super().spare(space, rng, trial)
        written = coding.write(self._draw(coding, rng))
        return self.express(written, space, trial) or {}

    def prepare_spare(self, study: Study, trial: FrozenTrial) -> None:
        if isinstance(self._coding, MaskCoding):
            # The same draw as `spare` makes for the parameters.
            mask = self._coding.write(self._draw(self._coding, self._rng(study, "spare", trial.number)))
            study._storage.set_trial_system_attr(trial._trial_id, bitmasks.SPARE, mask)

    def identity(self, individual: Individual, partner: Partner) -> Any:
        if self._coding is None:
            return None
        return _frozen(_plain(individual.genome), partner, individual.learns_from)

    def identity_of_trial(self, trial: FrozenTrial) -> Any:
        # Parameters beyond the space make two trials different although their genomes are equal. Those that a trial did
        # not ask for are in its claim.
        if self._coding is None or not set(trial.params) <= set(self._coding.space):
            return None
        genome = self._coding.read(trial)
        if genome is None:
            return None
        written, claim = _plain(self._coding.write(genome)), slots.claim_of(trial)
        return written if claim is None else _frozen(written, claim.partner, claim.learns_from)

    def brood(self, study: Study, history: Sequence[Generation]) -> Brood:
        coding = self._coding or ParameterCoding(_common_space(history))
        recipe = self._recipe(coding)
        rng = self._rng(study, 0, len(history))
        evaluated = self._evaluated(history, coding, sign(study))
        parents = self._parents(history, coding, sign(study), evaluated) if history else []
        if parents:
            bred = [parent for _, parent in parents]
            offspring = self._offspring(study, history, coding, parents=bred, evaluated=evaluated, rng=rng)
        elif recipe.genes or not history:
            size, balanced = self._population_size, self._founders == "balanced"
            offspring = found(recipe, size=size, rng=rng, accept=self._accept(coding), balanced=balanced)
        else:
            offspring = [Offspring((), "random", ())] * self._population_size
        trials = {trial.number: trial for generation in history for trial in generation} if self.learn_from else {}
        individuals = []
        for child in offspring:
            numbers = tuple(parents[place][0] for place in child.parents)
            theirs = [trials[number] for number in numbers] if self.learn_from else []
            learns_from = self.lessons(child, theirs, coding=coding, sign=sign(study))
            individuals.append(Individual(coding.write(child.genome), child.operator, numbers, learns_from))
        return Brood(tuple(individuals), coding.space)

    def lessons(
        self, child: Offspring, parents: Sequence[FrozenTrial], *, coding: Coding, sign: float
    ) -> tuple[int, ...]:
        """Numbers of the trained trials that a child learns from, the fittest first.

        A child of crossover (in any of its chromosomes) has up to four parents, and learns from the fittest of them, as
        the greedy rule chooses (CE-GAN, Eq. 11): if at least two were trained and have a value. Of equal ones the
        earlier in the claim comes first. Whatever has its parent's genome unchanged, an elite or a copy, is its parent:
        it names whom that one learned from. Everybody else learns from nobody.
        """
        if "crossover" in child.operator.split("+"):
            costs = {slots.trained(trial): slots.cost(trial, sign=sign) for trial in parents}
            able = {number: cost for number, cost in costs.items() if cost is not None and isfinite(cost)}
            return tuple(sorted(able, key=able.__getitem__)[: self.learn_from]) if len(able) > 1 else ()
        for parent in parents:
            if coding.read(parent) == child.genome:
                claim = slots.claim_of(parent)
                return () if claim is None else claim.learns_from
        return ()

    def recallable(self, study: Study, history: Sequence[Generation]) -> Generation | None:
        if not self.learn_from:
            return None
        breeders = set(self.breeders(study, history))
        newest = history[-1] if history else ()
        older = (trial for generation in history[:-1] for trial in generation)
        return [*(trial for trial in older if trial.number in breeders), *newest]

    def lecturers(self, study: Study, history: Sequence[Generation]) -> list[int]:
        return self.breeders(study, history) if self.learn_from else []

    def breeders(self, study: Study, history: Sequence[Generation]) -> list[int]:
        """Numbers of the trials that can be parents of generation `len(history)`."""
        coding = self._coding or ParameterCoding(_common_space(history))
        evaluated = self._evaluated(history, coding, sign(study))
        return [number for number, _ in self._parents(history, coding, sign(study), evaluated)] if history else []

    def _offspring(
        self,
        study: Study,
        history: Sequence[Generation],
        coding: Coding,
        *,
        parents: Sequence[Parent],
        evaluated: Evaluated,
        rng: np.random.Generator,
    ) -> list[Offspring]:
        size, screening, recipe = self._population_size, self._screening, self._recipe(coding)
        accept, taken = self._accept(coding), self._taken(history, coding)
        if screening is None:
            return breed(recipe, parents, size=size, rng=rng, accept=accept, taken=taken)
        wanted = max(size, screening.candidates)
        share = round(screening.immigrants * (wanted - recipe.elites))
        drawn = immigrants(recipe, size=share, rng=rng, accept=_both(accept, taken))
        children = breed(recipe, parents, size=wanted - len(drawn), rng=rng, accept=accept, taken=taken) + drawn
        known = {
            genome: parent.cost
            for genome, (_, parent) in evaluated.items()
            if parent.cost is not None and np.isfinite(parent.cost)
        }
        elites, others = children[: recipe.elites], children[recipe.elites :]
        new = [child for child in others if taken is None or not taken(child.genome)]
        chosen = screen(
            new,
            genes=coding.genes,
            parents=[parent.genome for parent in parents],
            known=list(known),
            costs=list(known.values()),
            price=lambda genome: self._priced(coding, genome, sign(study)),
            size=size - len(elites),
            screening=screening,
        )
        # In a space that is nearly used up there are fewer new children than slots.
        return [*elites, *chosen, *others[: size - len(elites) - len(chosen)]]

    def _priced(self, coding: Coding, genome: Genome, sign: float) -> float:
        if self._price is None:
            return 0.0
        params = coding.params(genome)
        given = self._price(params)
        try:
            price = float(given)
        except (TypeError, ValueError, OverflowError):
            price = nan
        if not isfinite(price):
            raise ValueError(f"price must give a finite number, but gives {given!r} of {params}.")
        return sign * price

    def _recipe(self, coding: Coding) -> Recipe:
        positions = coding.positions()
        named = self._chromosomes if self._chromosomes is not None else [list(positions)] if positions else []
        for name in (name for chromosome in named for name in chromosome):
            if name not in positions:
                raise ValueError(f"chromosomes name {name!r}, which the search space does not have.")
        places = (tuple(place for name in names for place in positions[name]) for names in named)
        return Recipe(genes=coding.genes, chromosomes=tuple(places), **self._operators)

    def _draw(self, coding: Coding, rng: np.random.Generator) -> Genome:
        return found(self._recipe(coding), size=1, rng=rng, accept=self._accept(coding))[0].genome

    def _accept(self, coding: Coding) -> Callable[[Genome], bool] | None:
        """Budgets, and for masks: a layer without a single filter would be no network."""
        rules: list[Callable[[Genome], bool]] = []
        if isinstance(coding, MaskCoding):
            pieces = list(coding.positions().values())
            rules.append(lambda genome: all(any(genome[piece[0] : piece[-1] + 1]) for piece in pieces))
        if (feasible := self._feasible) is not None:
            rules.append(lambda genome: feasible(coding.params(genome)))
        return (lambda genome: all(rule(genome) for rule in rules)) if rules else None

    def _parents(
        self, history: Sequence[Generation], coding: Coding, sign: float, evaluated: Evaluated
    ) -> list[tuple[int, Parent]]:
        """Numbers and genomes of those who breed: the last generation, or the best of all. A trial without a genome of
        the coding (somebody enqueued values outside the space) is no parent."""
        if self._archive is not None:
            # Of equal ones whoever was there first, by generation and slot: numbers depend on who trained whom.
            ranked = sorted(evaluated.values(), key=lambda found: _last_if_failed(found[1].cost))
            return ranked[: self._archive]
        genomes = [(trial, coding.read(trial)) for trial in history[-1]]
        if self._reuse:
            return [(t.number, Parent(genome, slots.cost(t, sign=sign))) for t, genome in genomes if genome]
        return [(t.number, evaluated[genome][1]) for t, genome in genomes if genome]

    def _evaluated(self, history: Sequence[Generation], coding: Coding, sign: float) -> Evaluated:
        """Every genome that was judged against the last generation's partner: its first trial's number, and its mean
        cost over all trainings; None where each failed. Where children learn from their parents, the trainings of a
        genome differ by whom they learned from, and the best one stands for it."""
        if not history or (self._archive is None and self._screening is None and self._reuse):
            return {}
        partner = _partner_key(history[-1][0])
        numbers: dict[Genome, int] = {}
        costs: dict[Genome, list[float]] = {}
        best = min if self.learn_from else mean
        for trial in (trial for generation in history for trial in generation):
            genome = coding.read(trial)
            if not genome or _partner_key(trial) != partner:
                continue
            numbers.setdefault(genome, trial.number)
            cost = slots.cost(trial, sign=sign)
            # A record of a known individual is no training of its own.
            if cost is not None and trial.system_attrs[CLAIM]["reused"] is None:
                if self.learn_from and cost < min(costs.get(genome, [inf])):
                    numbers[genome] = trial.number
                costs.setdefault(genome, []).append(cost)
        return {
            genome: (number, Parent(genome, best(costs[genome]) if genome in costs else None))
            for genome, number in numbers.items()
        }

    def _taken(self, history: Sequence[Generation], coding: Coding) -> Callable[[Genome], bool] | None:
        if self._duplicates == "keep":
            return None
        tried = self._tried.keys(history, coding)
        return lambda genome: coding.key(genome) in tried


def _coding(search_space: Space | None, groups: Mapping[str, int] | None) -> Coding | None:
    if search_space is not None and groups is not None:
        raise ValueError("give a search_space or masks, not both.")
    if groups is not None:
        if not groups or min(groups.values()) < 1:
            raise ValueError(
                f"masks need at least one group, and every group at least one bit, but are {dict(groups)}."
            )
        return MaskCoding(dict(groups))
    return None if search_space is None else ParameterCoding(dict(search_space))


def _both(accept: Callable[[Genome], bool] | None, taken: Callable[[Genome], bool] | None) -> Callable[[Genome], bool]:
    """What is accepted and not taken yet."""
    return lambda genome: (accept is None or accept(genome)) and (taken is None or not taken(genome))


def _chosen(preset: str, **given: Any) -> dict[str, Any]:
    """A preset's arguments, but for those that are given."""
    if preset not in PRESETS:
        raise ValueError(f"preset must be one of {', '.join(PRESETS)}, but is {preset!r}.")
    chosen = {**PRESETS[preset], **{name: value for name, value in given.items() if value is not None}}
    for name in ("population_size", "elites", "archive"):
        chosen[name] = None if chosen[name] is None else whole(chosen[name], name)
    _check(chosen)
    return chosen


def _check(chosen: Mapping[str, Any]) -> None:
    size, elites = chosen["population_size"], chosen["elites"]
    if size < 1:
        raise ValueError(f"population_size must be at least 1, but is {size}.")
    if elites >= size:
        raise ValueError(f"elites must be below population_size {size}, but is {elites}.")
    if chosen["founders"] not in ("random", "balanced"):
        raise ValueError(f"founders must be 'random' or 'balanced', but is {chosen['founders']!r}.")
    if chosen["duplicates"] not in ("keep", "mutate"):
        raise ValueError(f"duplicates must be 'keep' or 'mutate', but is {chosen['duplicates']!r}.")
    if chosen["archive"] is not None and chosen["archive"] < 1:
        raise ValueError(f"archive must be at least 1, but is {chosen['archive']}.")


def _last_if_failed(cost: float | None) -> tuple[bool, float]:
    failed = cost is None or cost != cost
    return failed, 0.0 if cost is None or failed else cost


def _plain(genome: Mapping[str, Any] | str) -> Any:
    return genome if isinstance(genome, str) else tuple(genome.items())


def _frozen(genome: Any, partner: Partner, learns_from: tuple[int, ...] = ()) -> Any:
    """A key of the genome, of whom it is judged against (the partner's genome, not the trial that showed it) and of
    whom it learned from (the trials: weights depend on more than a genome)."""
    key = genome
    if partner is not None:
        key = key, tuple((name, repr(chosen["genome"])) for name, chosen in sorted(partner.items()))
    return (key, "learns from", learns_from) if learns_from else key


def _partner_key(trial: FrozenTrial) -> Any:
    claim = slots.claim_of(trial)
    return _frozen(None, None if claim is None else claim.partner)


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
