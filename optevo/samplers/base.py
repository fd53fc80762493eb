"""What all samplers share: broods are pure functions of the seed and the results, slots say who trains whom."""

import hashlib
import json
import threading
import time
from abc import abstractmethod
from collections import ChainMap
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from datetime import datetime
from enum import Enum
from functools import cached_property
from typing import Any

import numpy as np
from optuna import Study
from optuna.distributions import BaseDistribution
from optuna.samplers import BaseSampler
from optuna.storages import BaseStorage
from optuna.storages._heartbeat import BaseHeartbeat, is_heartbeat_enabled
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, Trial, TrialState, create_trial

from optevo.evolution import generator
from optevo.evolution.checks import whole
from optevo.samplers import slots
from optevo.samplers.distributions import Space, decode, gene
from optevo.samplers.outages import is_outage
from optevo.samplers.records import add_record, add_user_attrs, claimants
from optevo.samplers.slots import CLAIM, FAILURE, Claim

SETTINGS = "optevo:sampler"

# An endless evolution that has recorded so many known individuals in a row is over: where every child is known with
# probability 0.95 (one parent's copies but for one mutation in 20), it would stop too early once in 5 million times.
REST = 300

CACHES = ("_pasts", "_claimed", "_failures", "_lock")

# System attributes that the record of a known individual has in common with the trial that was trained.
SHARED = (FAILURE, "constraints", "artifacts:")

# Seconds that a trial waits for a rival to leave its slot. Only a race ever waits; too short a wait costs a retry.
RACE = 0.2

Generation = Sequence[FrozenTrial]

# One generation's claims by slot.
Claims = Mapping[int, Sequence[FrozenTrial]]

# Whom a generation is judged against, as its claims say it; None where an individual is judged by itself.
Partner = Mapping[str, Any] | None


class BroodMismatchError(RuntimeError):
    """Another worker bred another generation from the same results: the versions or settings differ."""


@dataclass(frozen=True)
class Individual:
    """One slot of a brood. `genome` holds internal representations by name, or is a hex mask; `parents` are trial
    numbers, and so are `learns_from`: those whose trained networks it begins with, as part of what it is."""

    genome: Mapping[str, Any] | str
    operator: str
    parents: tuple[int, ...] = ()
    learns_from: tuple[int, ...] = ()


@dataclass(frozen=True)
class Brood:
    """A whole generation, bred but not trained.

    `space` orders and types the parameters that it gives its trials; `partner` is whom all of it is judged against.
    """

    individuals: tuple[Individual, ...]
    space: Space
    partner: Partner = None

    @cached_property
    def digest(self) -> str:
        """16 hexadecimal digits that two workers share exactly when they bred the same generation."""
        genomes = (i.genome if isinstance(i.genome, str) else sorted(i.genome.items()) for i in self.individuals)
        bred = [
            [g, i.operator, list(i.parents), *([list(i.learns_from)] if i.learns_from else [])]
            for g, i in zip(genomes, self.individuals, strict=True)
        ]
        text = json.dumps(bred if self.partner is None else [bred, self.partner], sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:16]


@dataclass(frozen=True)
class Frontier:
    """The first generation that is not complete: its brood, and its claims by slot.

    No trial whose id is below `since` belongs to this generation, or ever will. `arriving` are the numbers of trials
    that have begun but not claimed anything yet, where somebody else is at work: a worker alone takes slot by slot.
    """

    generation: int
    brood: Brood
    since: int
    claimed: Claims
    known: Mapping[Any, FrozenTrial]
    arriving: Sequence[int] = ()

    def trials_of(self, slot: int) -> Sequence[FrozenTrial]:
        return self.claimed.get(slot, ())


@dataclass
class _Past:
    """What was computed of a study's complete generations. They never change, so it is kept; it could be thrown away at
    any time, and is when the study turns out to be another one (deleted, and created again under the same id).

    The first `settled` trials are finished, and none of them belongs to a generation that is not complete: nobody need
    look at them again. `broods` has the generations that were bred here: most of those that were complete before are
    not. `identities` are those of the running generation's results."""

    born: datetime | None
    history: list[Generation] = field(default_factory=list)
    broods: dict[int, Brood] = field(default_factory=dict)
    known: dict[Any, FrozenTrial] = field(default_factory=dict)
    identities: dict[int, Any] = field(default_factory=dict)
    recalled: tuple[int, dict[Any, FrozenTrial]] | None = None
    settled: int = 0
    frontier: Frontier | None = None  # as it was last seen
    settings_checked: bool = False

    def settle(self, trials: Sequence[FrozenTrial]) -> None:
        """Pass the trials that no later generation can have."""
        for trial in trials[self.settled :]:
            claim = trial.system_attrs.get(CLAIM)
            if trial.number != self.settled or not trial.state.is_finished():
                return
            if claim and claim["generation"] >= len(self.history):
                return
            self.settled += 1


class Standing(Enum):
    """What a worker that looks for work is told when there is no free slot."""

    WAIT = "others are still training the rest of this generation, or the one that the next is judged against"
    DONE = "every generation is complete"


class SlotSampler(BaseSampler):
    """A sampler whose generations are bred whole and filled slot by slot, by any number of workers.

    Args:
        seed: Of the whole evolution. None takes one from the study's first trial, the same for every worker.
        generations: Number of generations; None for no end (but that of a small space that is used up: nothing new is
            bred any more). Later trials are spares.
        reuse: Whether an individual that is known already is recorded with its known value instead of trained again.
            The record is a finished trial of its own, beside those that `n_trials` counts.

    A trial that finds no free slot, or was never offered one, is a spare: drawn from (seed, trial number), it never
    waits and fills no slot.
    """

    def __init__(self, *, seed: int | None, generations: int | None, reuse: bool) -> None:
        if seed is not None and seed < 0:
            raise ValueError(f"seed must not be negative, but is {seed}.")
        generations = None if generations is None else whole(generations, "generations")
        if generations is not None and generations < 1:
            raise ValueError(f"generations must be at least 1, but is {generations}.")
        self._seed = seed
        self._generations = generations
        self._reuse = reuse
        self._pasts: dict[tuple[BaseStorage, int], _Past] = {}
        # What this process's running trials claimed, so that it need not be read again for every parameter.
        self._claimed: dict[tuple[BaseStorage, int], tuple[Claim, Space] | None] = {}
        # Why running trials of this process are about to fail, where somebody knows better than Optuna.
        self._failures: dict[tuple[BaseStorage, int], str] = {}
        self._lock = threading.RLock()  # `study.optimize(n_jobs=8)` shares one sampler among threads.

    def __getstate__(self) -> dict[str, Any]:
        # A copy starts without the caches, which hold the storage and with it the database's password.
        return {name: value for name, value in self.__dict__.items() if name not in CACHES}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state, _pasts={}, _claimed={}, _failures={}, _lock=threading.RLock())

    # What a sampler of this kind has to say.

    @abstractmethod
    def brood(self, study: Study, history: Sequence[Generation]) -> Brood:
        """Breed generation `len(history)`: a pure function of the settings and the canonical trials of `history`."""

    @property
    @abstractmethod
    def brood_size(self) -> int:
        """The number of individuals in every generation."""

    @abstractmethod
    def settings(self) -> dict[str, Any]:
        """Everything the evolution depends on, JSON-safe: a study that was begun with other settings is refused."""

    def partner(self, study: Study, generation: int) -> Partner | Standing:
        """Whom a generation is judged against; `Standing.WAIT` while that is still open."""
        return None

    def identity(self, individual: Individual, partner: Partner) -> Any:
        """What must be equal for two individuals to have the same value; None where that cannot be known."""
        return None

    def identity_of_trial(self, trial: FrozenTrial) -> Any:
        """As :meth:`identity`, of a finished trial."""
        return None

    def recallable(self, study: Study, history: Sequence[Generation]) -> Generation | None:
        """The trials whose values generation `len(history)` may record again, beside its own; None for all."""
        return None

    def lecturers(self, study: Study, history: Sequence[Generation]) -> list[int]:
        """Numbers of the trials that children in generation `len(history)` may learn from, beside the newest ones."""
        return []

    def express(self, genome: Mapping[str, Any] | str, space: Space, trial: FrozenTrial) -> dict[str, Any] | None:
        """The parameters of a trial's claimed genome; None where it has others than `space`."""
        if not isinstance(genome, Mapping) or set(genome) != set(space):
            return None
        return decode([genome[name] for name in space], space)

    def fallback_space(self) -> Space:
        """The space of trials without a claim."""
        return {}

    def spare(self, space: Space, rng: np.random.Generator, trial: FrozenTrial) -> dict[str, Any]:
        """The parameters of a trial without a claim."""
        return decode([gene(distribution).draw(rng) for distribution in space.values()], space)

    def prepare_spare(self, study: Study, trial: FrozenTrial) -> None:
        """Give a trial without a claim what it needs beyond its parameters."""

    # What a worker asks.

    def next_slot(self, study: Study) -> int | Standing:
        """The slot that the next trial would claim, or why there is none. Records known individuals on the way."""
        glimpse = self._glimpse(study)
        if glimpse is not None:
            return glimpse
        found = self._find(study)
        if found is Standing.WAIT:
            return self._queued(study)
        return found if isinstance(found, Standing) else found[1]

    def history(self, study: Study) -> list[Generation]:
        """The canonical trials of every complete generation, slot by slot."""
        with self._lock:
            trials = _trials(study)
            past = self._past(study, trials)
            self._check_settings(study, past)
            self._catch_up(past, trials)
            return list(past.history)

    def frontier(self, study: Study) -> Frontier | None:
        """The generation that is being trained; None when all are complete, or the next must wait for a partner."""
        found = self._frontier(study)
        return None if isinstance(found, Standing) else found

    def is_late(self, trial: Trial) -> bool:
        """Whether this process's running trial found no slot, and nobody enqueued it: then nobody wants its value."""
        if self._claim_of(trial.study, trial) is not None:
            return False
        return "fixed_params" not in trial.storage.get_trial_system_attrs(trial._trial_id)

    def explain(self, trial: Trial, kind: str) -> None:
        """Say why this process's running trial fails, if it is told to: a key of `optevo.samplers.slots.BOUNDS`.

        Of "died" nothing is held against its individual. Without a word it is an "error".
        """
        self._failures[trial.storage, trial._trial_id] = kind

    # Optuna's interface.

    def before_trial(self, study: Study, trial: FrozenTrial) -> None:
        self._raise_error_if_multi_objective(study)
        try:
            self._claim_slot(study, trial)
        except (Exception, KeyboardInterrupt) as error:
            if not is_outage(error):  # Optuna would leave it running.
                study._storage.set_trial_state_values(trial._trial_id, TrialState.FAIL)
            raise

    def _claim_slot(self, study: Study, trial: FrozenTrial) -> None:
        """Write the claim of a slot into a trial, or what it needs as a spare."""
        _record_heartbeat(study._storage, trial._trial_id)
        self._claimed.pop((study._storage, trial._trial_id), None)
        self._store_settings(study)
        claimed = CLAIM in trial.system_attrs
        if claimed and self._still_holds(study, trial):
            return
        # One that was begun before has its parameters already, which are no other individual's.
        while not trial.params and not isinstance(found := self._find(study, behind=trial.number), Standing):
            frontier, slot = found
            claim = self._claim(frontier, slot)
            study._storage.set_trial_system_attr(trial._trial_id, CLAIM, claim.to_attribute())
            claimed = True
            if self._holds(study, frontier, slot, trial.number):
                add_user_attrs(study._storage, trial, public_attributes(claim))
                self._claimed[study._storage, trial._trial_id] = (claim, frontier.brood.space)
                return
        if claimed:
            study._storage.set_trial_system_attr(trial._trial_id, CLAIM, None)
        self._claimed[study._storage, trial._trial_id] = None
        self.prepare_spare(study, trial)

    def infer_relative_search_space(self, study: Study, trial: FrozenTrial) -> dict[str, BaseDistribution]:
        self._raise_error_if_multi_objective(study)
        claim = self._claim_of(study, trial)
        return dict(self.fallback_space() if claim is None else claim[1])

    def sample_relative(
        self, study: Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        self._raise_error_if_multi_objective(study)
        claim = self._claim_of(study, trial)
        params = None if claim is None else self.express(claim[0].genome, search_space, trial)
        if params is not None:
            return params
        return self.spare(search_space, self._rng(study, "spare", trial.number), trial)

    def sample_independent(
        self, study: Study, trial: FrozenTrial, param_name: str, param_distribution: BaseDistribution
    ) -> Any:
        self._raise_error_if_multi_objective(study)
        found = self._claim_of(study, trial)
        if found is None:
            rng = self._rng(study, "spare", trial.number, param_name)
            internal = gene(param_distribution).draw(rng)
        else:
            claim = found[0]
            rng = self._rng(study, "independent", claim.generation, claim.slot, param_name)
            internal = self._inherit(study, claim, param_name, param_distribution, rng)
        return decode([internal], {param_name: param_distribution})[param_name]

    def after_trial(self, study: Study, trial: FrozenTrial, state: TrialState, values: Sequence[float] | None) -> None:
        key = (study._storage, trial._trial_id)
        self._claimed.pop(key, None)
        # A FAIL that is told was reached by the objective itself. Killed trials never come here.
        if state == TrialState.FAIL and FAILURE not in study._storage.get_trial_system_attrs(trial._trial_id):
            kind = self._failures.get(key, "error")
            study._storage.set_trial_system_attr(trial._trial_id, FAILURE, kind)
        self._failures.pop(key, None)

    def reseed_rng(self) -> None:
        """Nothing to do: every draw is keyed by the slot or the trial number, so parallel trials never draw alike."""

    # How it is done.

    def _find(self, study: Study, *, behind: int = 0) -> tuple[Frontier, int] | Standing:
        """The frontier and its lowest free slot, after one for each arriving trial whose number is below `behind`."""
        while not isinstance(frontier := self._frontier(study), Standing):
            free, known = self._open(frontier)
            if known is None:
                ahead = sum(number < behind for number in frontier.arriving)
                return (frontier, free[min(ahead, len(free) - 1)]) if free else Standing.WAIT
            self._record_known(study, frontier, *known)
        return frontier

    def _queued(self, study: Study) -> int | Standing:
        """The lowest slot whose trial waits to be run, where no other is free: whoever asks next is given it."""
        past = self._pasts[study._storage, study._study_id]
        frontier = past.frontier
        if frontier is None or frontier.generation != len(past.history):
            return Standing.WAIT
        queued = (slot for slot in range(self.brood_size) if slots.is_queued(frontier.trials_of(slot)))
        return next(queued, Standing.WAIT)

    def _glimpse(self, study: Study) -> int | None:
        """The lowest free slot where one query tells it: of a generation bred before, and unlike all others in it."""
        past = self._pasts.get((study._storage, study._study_id))
        if past is None or past.frontier is None or past.frontier.generation != len(past.history):
            return None
        claimed = slots.claims(claimants(study, since=past.frontier.since), generation=past.frontier.generation)
        frontier = replace(past.frontier, claimed=claimed)
        _check_digest(frontier.brood.digest, claimed, frontier.generation)
        free, known = self._open(frontier)
        if known is not None or not free:
            return None
        keys = [self.identity(individual, frontier.brood.partner) for individual in frontier.brood.individuals]
        return free[0] if not self._reuse or keys[free[0]] is None or keys.count(keys[free[0]]) == 1 else None

    def _open(self, frontier: Frontier) -> tuple[list[int], tuple[int, FrozenTrial] | None]:
        """The free slots that need training, and the lowest slot whose value is known already."""
        free: list[int] = []
        waiting = set()
        for slot, individual in enumerate(frontier.brood.individuals):
            key = self.identity(individual, frontier.brood.partner) if self._reuse else None
            if slots.is_free(frontier.trials_of(slot)):
                if key is not None and key in frontier.known:
                    return free, (slot, frontier.known[key])
                if key is None or key not in waiting:
                    free.append(slot)
            if slots.canonical(frontier.trials_of(slot)) is None and key is not None:
                waiting.add(key)
        return free, None

    def _frontier(self, study: Study) -> Frontier | Standing:
        with self._lock:
            trials = _trials(study)
            past = self._past(study, trials)
            self._check_settings(study, past)
            claimed = self._catch_up(past, trials)
            if self._is_over(past.history):
                return Standing.DONE
            generation = len(past.history)
            if not past.broods:
                self._prove(study, past)
            brood = self._bred(study, past, generation)
            if isinstance(brood, Standing):
                return brood
            _check_digest(brood.digest, claimed, generation)
            filled = [trial for trial in slots.results(claimed, size=self.brood_size) if trial is not None]
            everything = ChainMap(self._recalled(study, past), self._known(filled, past.identities))
            since = trials[past.settled]._trial_id if past.settled < len(trials) else 0
            arriving = [trial.number for trial in trials[past.settled :] if _is_arriving(trial)]
            if all(trial.state.is_finished() for row in claimed.values() for trial in row):
                arriving = []
            past.frontier = Frontier(generation, brood, since, claimed, everything, arriving)
            return past.frontier

    def _catch_up(self, past: _Past, trials: Sequence[FrozenTrial]) -> Claims:
        """Take in the generations that have become complete; gives the claims of the first that is not.

        Nothing is bred for that: what a generation holds is in its claims, and breeding hundreds of them again would
        take minutes. Their digests must agree with each other, and with the brood where it was bred here.
        """
        claimed = slots.claims_by_generation(trials[past.settled :])
        while not self._is_over(past.history):
            generation = len(past.history)
            rows = claimed.get(generation, {})
            filled = [trial for trial in slots.results(rows, size=self.brood_size) if trial is not None]
            if len(filled) < self.brood_size:
                break
            _check_digest(_digest_of(past.broods.get(generation), filled), rows, generation)
            for key, trial in self._known(filled, past.identities).items():
                past.known.setdefault(key, trial)
            past.history.append(filled)
            past.identities.clear()
        past.settle(trials)
        return claimed.get(len(past.history), {})

    def _prove(self, study: Study, past: _Past) -> None:
        """Breed the newest complete generation again: who joins a study must breed as those did who began it."""
        generation = len(past.history) - 1
        brood = self._bred(study, past, generation) if generation >= 0 else None
        if isinstance(brood, Brood):
            _check_digest(brood.digest, {trial.number: [trial] for trial in past.history[generation]}, generation)

    def _bred(self, study: Study, past: _Past, generation: int) -> Brood | Standing:
        """A generation's brood, bred from those before it; why it cannot be bred yet."""
        if generation not in past.broods:
            partner = self.partner(study, generation)
            if isinstance(partner, Standing):
                return partner
            brood = replace(self.brood(study, past.history[:generation]), partner=partner)
            assert len(brood.individuals) == self.brood_size
            past.broods[generation] = brood
        return past.broods[generation]

    def _is_over(self, history: Sequence[Generation]) -> bool:
        if self._generations is not None:
            return len(history) >= self._generations
        known = 0
        for generation in reversed(history):
            if any(trial.system_attrs[CLAIM]["reused"] is None for trial in generation):
                return False
            known += len(generation)
            if known >= REST:
                return True
        return False

    def _known(self, filled: Generation, identities: dict[int, Any]) -> dict[Any, FrozenTrial]:
        known: dict[Any, FrozenTrial] = {}
        for trial in filled if self._reuse else ():
            if trial.number not in identities:
                identities[trial.number] = self.identity_of_trial(trial)
            key = identities[trial.number]
            if key is not None:
                known.setdefault(key, trial)
        return known

    def _recalled(self, study: Study, past: _Past) -> dict[Any, FrozenTrial]:
        generation = len(past.history)
        if past.recalled is None or past.recalled[0] != generation:
            trials = self.recallable(study, past.history)
            past.recalled = generation, past.known if trials is None else self._known(trials, {})
        return past.recalled[1]

    def _holds(self, study: Study, frontier: Frontier, slot: int, number: int) -> bool:
        """Whether the claim just written stands. Where a higher number claims the slot too, it either saw this claim
        and is about to leave, or was there first: then this one leaves, so that nobody trains the slot twice."""
        for wait in (0.0, RACE):
            if wait:
                time.sleep(wait)
            claimed = slots.claims(claimants(study, since=frontier.since), generation=frontier.generation)[slot]
            if not slots.holds(claimed, number):
                return False
            if not any(trial.number > number and not trial.state.is_finished() for trial in claimed):
                return True
        return False

    def _claim(self, frontier: Frontier, slot: int) -> Claim:
        individual = frontier.brood.individuals[slot]
        return Claim(
            generation=frontier.generation,
            slot=slot,
            operator=individual.operator,
            parents=individual.parents,
            genome=individual.genome if isinstance(individual.genome, str) else dict(individual.genome),
            digest=frontier.brood.digest,
            partner=frontier.brood.partner,
            learns_from=individual.learns_from,
        )

    def _record_known(self, study: Study, frontier: Frontier, slot: int, known: FrozenTrial) -> None:
        claim = replace(self._claim(frontier, slot), reused=slots.trained(known))
        attributes: dict[str, Any] = {CLAIM: claim.to_attribute()}
        attributes.update({key: value for key, value in known.system_attrs.items() if key.startswith(SHARED)})
        record = create_trial(
            state=known.state,
            values=known.values,
            params=known.params,
            distributions=known.distributions,
            user_attrs={**known.user_attrs, **public_attributes(claim)},
            system_attrs=attributes,
        )
        add_record(study, record, since=frontier.since)

    def _still_holds(self, study: Study, trial: FrozenTrial) -> bool:
        """Whether a trial that comes with a claim (`RetryHeartbeatStaleTrialCallback` copies it) may keep it."""
        claim = _read_claim(study, trial)
        if claim is None:
            return False
        return slots.holds(slots.claims(_trials(study), generation=claim.generation)[claim.slot], trial.number)

    def _claim_of(self, study: Study, trial: FrozenTrial | Trial) -> tuple[Claim, Space] | None:
        key = (study._storage, trial._trial_id)
        if key not in self._claimed:
            # Not asked here: a trial of another process, or of a sampler that never saw `before_trial`.
            claim = _read_claim(study, trial)
            return None if claim is None else (claim, self._space_of(study, claim))
        return self._claimed[key]

    def _space_of(self, study: Study, claim: Claim) -> Space:
        with self._lock:
            past = self._past(study, _trials(study))
            if claim.generation not in past.broods:
                self._catch_up(past, _trials(study))
            brood = self._bred(study, past, claim.generation)
            assert isinstance(brood, Brood)  # There is a claim of it.
            return brood.space

    def _inherit(self, study: Study, claim: Claim, name: str, distribution: BaseDistribution, rng: Any) -> int | float:
        """A parameter outside the common space comes from the first parent that has it, else from a draw."""
        numbers = set(claim.parents)
        parents = {trial.number: trial for trial in _trials(study) if trial.number in numbers}
        for number in claim.parents:
            trial = parents.get(number)
            if trial is not None and trial.distributions.get(name) == distribution:
                internal = distribution.to_internal_repr(trial.params[name])
                if distribution._contains(internal):  # Else somebody enqueued it.
                    return internal
        return gene(distribution).draw(rng)

    def _rng(self, study: Study, *key: int | str) -> np.random.Generator:
        return generator(self.seed_of(study), *key)

    def seed_of(self, study: Study) -> int | str:
        """The seed, or where none was given, a key that every worker reads off the study's first trial."""
        if self._seed is not None:
            return self._seed
        # Not the study's name, which copying a study into another database may change.
        return f"begun {_born(_trials(study))}"

    def _past(self, study: Study, trials: Sequence[FrozenTrial]) -> _Past:
        with self._lock:
            key, born = (study._storage, study._study_id), _born(trials)
            if key not in self._pasts or self._pasts[key].born != born:
                self._pasts[key] = _Past(born)
            return self._pasts[key]

    def _store_settings(self, study: Study) -> None:
        past = self._pasts.get((study._storage, study._study_id)) or self._past(study, _trials(study))
        self._check_settings(study, past)
        if not past.settings_checked:
            mine = {"seed": self._seed, **self.settings()}
            study._storage.set_study_system_attr(study._study_id, SETTINGS, mine)
            past.settings_checked = True

    def _check_settings(self, study: Study, past: _Past) -> None:
        if past.settings_checked:
            return
        mine = {"seed": self._seed, **self.settings()}
        stored = study._storage.get_study_system_attrs(study._study_id).get(SETTINGS)
        if stored is None:
            return
        different = _differences(stored, mine)
        if different:
            raise ValueError(
                f"study {study.study_name!r} was begun with "
                + ", ".join(f"{name}={theirs!r}" for name, theirs, _ in different)
                + "; continue it with that, not with "
                + ", ".join(f"{name}={ours!r}" for name, _, ours in different)
                + "."
            )
        past.settings_checked = True


def public_attributes(claim: Claim) -> dict[str, Any]:
    """The part of a claim that a person should see; the dashboard hides system attributes."""
    attributes = asdict(claim)
    shown = {name: attributes[name] for name in ("generation", "slot", "operator")}
    shown["parents"] = list(claim.parents)
    if claim.partner is not None:
        shown["partner"] = {name: chosen["trial"] for name, chosen in claim.partner.items()}
    if claim.learns_from:
        shown["learns_from"] = list(claim.learns_from)
    if claim.reused is not None:
        shown["reused_from"] = claim.reused
    return shown


def sign(study: Study) -> float:
    """What turns a value of the study into a cost, the smaller the better."""
    return sign_of(study.direction)


def sign_of(direction: StudyDirection) -> float:
    """As :func:`sign`, of a direction."""
    return -1.0 if direction == StudyDirection.MAXIMIZE else 1.0


def _differences(stored: Mapping[str, Any], mine: Mapping[str, Any]) -> list[tuple[str, Any, Any]]:
    """Names of settings that differ, with both values; of mappings only their entries, such as `search_space.c3`."""
    found: list[tuple[str, Any, Any]] = []
    for name in {**stored, **mine}:
        # An argument that is newer than the study is missing there, as if it had been None.
        theirs, ours = stored.get(name), mine.get(name)
        if theirs and ours and isinstance(theirs, Mapping) and isinstance(ours, Mapping):
            found += [(f"{name}.{entry}", *values) for entry, *values in _differences(theirs, ours)]
        elif theirs != ours:
            found.append((name, theirs, ours))
    return found


def _is_arriving(trial: FrozenTrial) -> bool:
    return trial.state == TrialState.RUNNING and not trial.system_attrs.get(CLAIM) and not trial.params


def _born(trials: Sequence[FrozenTrial]) -> datetime | None:
    """When the study's first trial was started; None while there is none, or it is only enqueued."""
    return trials[0].datetime_start if trials else None


def _trials(study: Study) -> list[FrozenTrial]:
    # Not study.get_trials: that may answer from a cache made before this trial wrote its claim.
    return study._storage.get_all_trials(study._study_id, deepcopy=False)


def _read_claim(study: Study, trial: FrozenTrial | Trial) -> Claim | None:
    # The trial that Optuna hands over is a copy from before the claim.
    return slots.claim_of(study._storage.get_trial(trial._trial_id))


def _digest_of(brood: Brood | None, filled: Generation) -> str:
    digest: str = filled[0].system_attrs[CLAIM]["digest"] if brood is None else brood.digest
    return digest


def _check_digest(digest: str, claimed: Claims, generation: int) -> None:
    for trials in claimed.values():
        for trial in trials:
            other = trial.system_attrs[CLAIM]["digest"]
            if other != digest:
                raise BroodMismatchError(
                    f"trial {trial.number} belongs to another brood of generation {generation} "
                    f"({other}, not {digest}): use the same optevo, numpy and sampler settings on every worker."
                )


def _record_heartbeat(storage: BaseStorage, trial_id: int) -> None:
    """A worker killed before its first heartbeat would otherwise leave a trial that never goes stale."""
    if is_heartbeat_enabled(storage):
        assert isinstance(storage, BaseHeartbeat)
        storage.record_heartbeat(trial_id)
