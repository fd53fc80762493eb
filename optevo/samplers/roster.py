"""A given list of individuals, each trained once: finals with several seeds, baselines, replays."""

from collections.abc import Mapping, Sequence
from typing import Any

from optuna import Study
from optuna.distributions import BaseDistribution, distribution_to_json

from optevo.samplers.base import Brood, Generation, Individual, SlotSampler
from optevo.samplers.distributions import Space, encode


class RosterSampler(SlotSampler):
    """One generation whose members are given, shared by any number of workers with the same bookkeeping.

    Args:
        search_space: Distributions by name.
        individuals: The parameters of every slot. Equal ones are all trained: they are replicas with other seeds.

    Raises:
        ValueError: The list is empty, or an individual lies outside the space.
    """

    def __init__(
        self, *, search_space: Mapping[str, BaseDistribution], individuals: Sequence[Mapping[str, Any]]
    ) -> None:
        super().__init__(seed=0, generations=1, reuse=False)
        self._space = dict(search_space)
        if not individuals:
            raise ValueError("a roster needs at least one individual.")
        genomes = [encode(params, self._space) for params in individuals]
        for params, genome in zip(individuals, genomes, strict=True):
            if genome is None:
                raise ValueError(f"individual {dict(params)} lies outside the search space.")
        self._genomes = [list(genome) for genome in genomes if genome is not None]
        self._members = tuple(
            Individual(genome=dict(zip(self._space, genome, strict=True)), operator="roster")
            for genome in self._genomes
        )

    @property
    def brood_size(self) -> int:
        return len(self._members)

    def settings(self) -> dict[str, Any]:
        return {
            "sampler": type(self).__name__,
            "individuals": self._genomes,
            "search_space": {name: distribution_to_json(d) for name, d in self._space.items()},
        }

    def fallback_space(self) -> Space:
        return self._space

    def brood(self, study: Study, history: Sequence[Generation]) -> Brood:
        return Brood(self._members, self._space)
