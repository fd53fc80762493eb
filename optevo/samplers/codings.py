"""How genomes lie in trials: as parameters of their own, or, for hundreds of bits, as one mask in the claim."""

from abc import ABC, abstractmethod
from collections.abc import Hashable, Mapping, Sequence, Set
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from optuna.distributions import IntDistribution, distribution_to_json
from optuna.trial import FrozenTrial

from optevo.evolution.breeding import Genome
from optevo.evolution.genes import CategoricalGene, Gene
from optevo.samplers import masks, slots
from optevo.samplers.distributions import Space, decode, encode, gene

Written = Mapping[str, Any] | str


class Coding(ABC):
    """Translates between a trial, its claim and the genome that is bred."""

    @property
    @abstractmethod
    def genes(self) -> tuple[Gene, ...]:
        """One for each position of the genome."""

    @property
    @abstractmethod
    def space(self) -> Space:
        """The parameters that an individual gives its trial."""

    @abstractmethod
    def positions(self) -> Mapping[str, Sequence[int]]:
        """The places in the genome of everything that has a name of its own."""

    @abstractmethod
    def write(self, genome: Genome) -> Written:
        """The genome as a claim holds it."""

    @abstractmethod
    def read(self, trial: FrozenTrial) -> Genome | None:
        """The genome of a finished trial; None where it has none of this coding."""

    def key(self, genome: Genome) -> Hashable:
        """What two genomes share exactly when they are equal; small, for a long study keeps thousands."""
        return genome

    @abstractmethod
    def params(self, genome: Genome) -> dict[str, Any]:
        """What a user-given function of an individual is told of a genome."""

    @abstractmethod
    def settings(self) -> dict[str, Any]:
        """JSON-safe: what must be equal for a study to be continued."""


@dataclass(frozen=True)
class ParameterCoding(Coding):
    """Every gene is a parameter of the trial. `space` gives the order; crossover cuts along it."""

    distributions: Space

    @property
    def space(self) -> Space:
        return self.distributions

    @cached_property
    def genes(self) -> tuple[Gene, ...]:
        return tuple(gene(distribution) for distribution in self.distributions.values())

    def positions(self) -> Mapping[str, Sequence[int]]:
        return {name: (place,) for place, name in enumerate(self.distributions)}

    def write(self, genome: Genome) -> dict[str, Any]:
        return dict(zip(self.distributions, genome, strict=True))

    def read(self, trial: FrozenTrial) -> Genome | None:
        """A trial's parameters are its genome (somebody may have enqueued others than it claimed); those that it never
        asked for are as it claimed."""
        if all(name in trial.params for name in self.space):  # As nearly always: thousands are read when one joins.
            return encode(trial.params, self.space)
        params = dict(trial.params)
        claim = slots.claim_of(trial)
        if claim is not None and isinstance(claim.genome, Mapping) and set(claim.genome) == set(self.space):
            params = {**decode([claim.genome[name] for name in self.space], self.space), **params}
        return encode(params, self.space)

    def params(self, genome: Genome) -> dict[str, Any]:
        return decode(genome, self.space)

    def settings(self) -> dict[str, Any]:
        return {"search_space": {name: distribution_to_json(d) for name, d in self.space.items()}}


@dataclass(frozen=True)
class MaskCoding(Coding):
    """Bits in named groups, one hexadecimal string in the claim: 640 parameters a trial would cost seconds an ask.

    The trial's parameters are derived: `keep_NAME` counts a group's ones, so that plots mean something.
    """

    groups: Mapping[str, int]

    @cached_property
    def genes(self) -> tuple[Gene, ...]:
        return (CategoricalGene(2),) * sum(self.groups.values())

    @cached_property
    def space(self) -> Space:
        return {masks.KEEP + name: IntDistribution(0, size) for name, size in self.groups.items()}

    def positions(self) -> Mapping[str, Sequence[int]]:
        starts = masks.starts(self.groups)
        return {name: range(starts[name], starts[name] + size) for name, size in self.groups.items()}

    def write(self, genome: Genome) -> str:
        return masks.to_hex(genome)

    def key(self, genome: Genome) -> str:
        return self.write(genome)

    def read(self, trial: FrozenTrial) -> Genome | None:
        text = masks.written(trial)
        return None if text is None else tuple(masks.from_hex(text, size=len(self.genes)).tolist())

    def params(self, genome: Genome) -> dict[str, Any]:
        return dict(masks.split(genome, self.groups))

    def settings(self) -> dict[str, Any]:
        return {"masks": dict(self.groups)}


def judged(trial: FrozenTrial) -> Written | None:
    """The genome by which a trial got its value: what a person enqueued, else what it claimed; None of a spare."""
    claim = slots.claim_of(trial)
    if claim is None:
        return None
    if isinstance(claim.genome, str):
        return masks.written(trial)
    names = [name for name in claim.genome if name in trial.params]
    return {**claim.genome, **{name: _internal(trial, name) for name in names}}


def _internal(trial: FrozenTrial, name: str) -> Any:
    distribution = trial.distributions[name]
    genome = encode(trial.params, {name: distribution})
    # What lies outside (it was enqueued) has a representation all the same.
    return distribution.to_internal_repr(trial.params[name]) if genome is None else genome[0]


class Tried:
    """All genomes of a history, each trial read once: a history only grows, and its trials never change."""

    def __init__(self) -> None:
        self._coding: Coding | None = None
        self._history: list[Sequence[FrozenTrial]] = []
        self._keys: set[Hashable] = set()

    def __reduce__(self) -> tuple[type["Tried"], tuple[()]]:
        return type(self), ()  # A copy of a sampler starts without what this one has read.

    def keys(self, history: Sequence[Sequence[FrozenTrial]], coding: Coding) -> Set[Hashable]:
        """The keys of all genomes. Where the history does not continue the last call's, all are read again."""
        same = (mine is theirs for mine, theirs in zip(self._history, history, strict=False))
        if coding is not self._coding or len(self._history) > len(history) or not all(same):
            self._coding, self._history, self._keys = coding, [], set()
        genomes = (coding.read(trial) for generation in history[len(self._history) :] for trial in generation)
        self._keys.update(coding.key(genome) for genome in genomes if genome is not None)
        self._history = list(history)
        return self._keys
