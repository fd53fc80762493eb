"""Any sampler of Optuna's, with the bookkeeping of optevo's: many workers, killed trials, one result for one seed."""

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Any

import optuna
from optuna import Study
from optuna.distributions import BaseDistribution, distribution_to_json
from optuna.samplers import BaseSampler
from optuna.storages import BaseStorage, InMemoryStorage
from optuna.trial import Trial, TrialState

from optevo.evolution.checks import whole
from optevo.samplers.base import Brood, Generation, Individual, SlotSampler
from optevo.samplers.distributions import Space, encode


class GuestSampler(SlotSampler):
    """Generations that another sampler draws: the next one when all results of those before it are known.

    A study of its own, in memory, is what the guest sees: it asks for a whole generation, and is told its canonical
    results slot by slot. So what it draws is a pure function of the seed and the results, whoever trained what and
    when, and a worker that joins replays the study to where it is. With `population_size = 1` the guest draws one after
    another, as in an ordinary study of one process.

    Args:
        make: Makes the guest from a seed. It must be deterministic.
        name: Of the guest and its settings: a study that was begun with another is refused.
        search_space: Distributions by name.
        population_size: How many it draws at once, for so many workers.
        generations: Number of generations.
        seed: Of the guest.

    Raises:
        ValueError: An argument is out of its range, or the study was begun with other settings.
    """

    def __init__(
        self,
        *,
        make: Callable[[int], BaseSampler],
        name: str,
        search_space: Mapping[str, BaseDistribution],
        population_size: int,
        generations: int,
        seed: int,
    ) -> None:
        super().__init__(seed=seed, generations=generations, reuse=False)
        population_size = whole(population_size, "population_size")
        if population_size < 1:
            raise ValueError(f"population_size must be at least 1, but is {population_size}.")
        if not search_space:
            raise ValueError("a guest needs a search space of at least one parameter.")
        self._make, self._name, self._space = make, name, dict(search_space)
        self._population_size, self._guest_seed = population_size, seed
        self._replays: dict[tuple[BaseStorage, int], _Replay] = {}

    def __getstate__(self) -> dict[str, Any]:
        return {**super().__getstate__(), "_replays": {}}

    @property
    def brood_size(self) -> int:
        return self._population_size

    def settings(self) -> dict[str, Any]:
        return {
            "sampler": type(self).__name__,
            "guest": self._name,
            "population_size": self._population_size,
            "search_space": {name: distribution_to_json(d) for name, d in self._space.items()},
        }

    def fallback_space(self) -> Space:
        return self._space

    def brood(self, study: Study, history: Sequence[Generation]) -> Brood:
        key = (study._storage, study._study_id)
        replay = self._replays.get(key)
        if replay is None or not replay.fits(history):
            replay = self._replays[key] = _Replay(self._make(self._guest_seed), study, self._space)
        return Brood(replay.generation(history, size=self._population_size), self._space)


def inner_study(**settings: Any) -> Study:
    """A study in memory that nobody need know of: `optuna.create_study` without a line about it."""
    verbosity = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    try:
        return optuna.create_study(storage=InMemoryStorage(), **settings)
    finally:
        optuna.logging.set_verbosity(verbosity)


class _Replay:
    """The study that a guest sees."""

    def __init__(self, guest: BaseSampler, study: Study, space: Space) -> None:
        self._study = inner_study(sampler=guest, direction=study.direction)
        self._space = dict(space)
        self._asked: list[list[Trial]] = []
        self._told: list[Generation] = []

    def fits(self, history: Sequence[Generation]) -> bool:
        """Whether what the guest was told is the beginning of this history: the study may be another one by now."""
        both = zip(self._told, history, strict=False)
        return all(_begun(told) == _begun(generation) for told, generation in both)

    def generation(self, history: Sequence[Generation], *, size: int) -> tuple[Individual, ...]:
        """The guest's draws for generation `len(history)`."""
        while len(self._asked) <= len(history):
            if self._asked:
                self._tell(history[len(self._told)])
            self._asked.append([self._study.ask(fixed_distributions=self._space) for _ in range(size)])
        genomes = [encode(trial.params, self._space) or () for trial in self._asked[len(history)]]
        return tuple(Individual(dict(zip(self._space, genome, strict=True)), "guest") for genome in genomes)

    def _tell(self, generation: Generation) -> None:
        for trial, result in zip(self._asked[len(self._told)], generation, strict=True):
            for step, value in sorted(result.intermediate_values.items()):
                trial.report(value, step)
            for name, violation in result.constraints.items():
                trial.set_constraint(name, violation)
            if result.state == TrialState.COMPLETE:
                self._study.tell(trial, result.values)
            else:
                pruned = result.state == TrialState.PRUNED and result.intermediate_values
                self._study.tell(trial, state=TrialState.PRUNED if pruned else TrialState.FAIL)
        self._told.append(generation)


def _begun(generation: Generation) -> datetime | None:
    return generation[0].datetime_start
