"""Co-evolution (1907.10804): populations in linked studies, each judged against the best of the others."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from optuna import Study
from optuna.storages import BaseStorage
from optuna.trial import FrozenTrial, Trial

from optevo.samplers import slots
from optevo.samplers.base import SETTINGS, Partner, Standing, sign_of
from optevo.samplers.codings import judged
from optevo.samplers.roulette_ga import RouletteGASampler


@dataclass(frozen=True)
class Rival:
    """The individual of another population that a trial is judged against.

    Attributes:
        number: Its trial's number in the other study.
        genome: As it was judged: internal representations by name, or a hexadecimal mask.
        params: Its trial's parameters.
    """

    number: int
    genome: Mapping[str, Any] | str
    params: Mapping[str, Any]


class CoevolutionSampler(RouletteGASampler):
    """:class:`RouletteGASampler` for one of several populations that are judged against each other.

    Every population is a study of its own in one storage, under the names in `populations`, with a sampler of its own.
    Nobody has partners in generation 0. From then on generation t is judged against the best individual of each other
    population: of its generation t where that population comes earlier in `populations`, else of its generation t - 1
    (1907.10804: P's generation t against the best of Q's t - 1, Q's against the best of P's t). The partners belong to
    the claims, and with the genome to what makes a known individual: elites are judged again when a partner changes.

    An objective asks :func:`partners_of` whom to judge its trial against; :func:`optevo.samplers.coevolve` runs all
    studies together, in any number of processes.

    Args:
        populations: Names of the studies in the order in which they take their turns.
        others: As for :class:`RouletteGASampler`.

    Raises:
        ValueError: As :class:`RouletteGASampler`; or fewer than two populations, or one twice.
    """

    def __init__(self, *, populations: Sequence[str], **others: Any) -> None:
        super().__init__(**others)
        if len(populations) < 2 or len(set(populations)) != len(populations):
            raise ValueError(f"populations must name at least two studies, each once, but are {list(populations)}.")
        self._populations = tuple(populations)

    def settings(self) -> dict[str, Any]:
        return {**super().settings(), "populations": list(self._populations)}

    def partner(self, study: Study, generation: int) -> Partner | Standing:
        if study.study_name not in self._populations:
            raise ValueError(
                f"study {study.study_name!r} is none of the sampler's populations {list(self._populations)}."
            )
        if generation == 0:
            return None
        place = self._populations.index(study.study_name)
        chosen: dict[str, Any] = {}
        for other, name in enumerate(self._populations):
            if other == place:
                continue
            best = _best(study._storage, name, generation=generation if other < place else generation - 1)
            if isinstance(best, Standing):
                return best
            if best is not None:
                chosen[name] = {"trial": best.number, "genome": judged(best), "params": dict(best.params)}
        return chosen


def partners_of(trial: Trial | FrozenTrial) -> dict[str, Rival]:
    """Whom a trial is judged against, by the name of the other study; empty in generation 0, and for spares."""
    stored = trial.study._storage.get_trial(trial._trial_id) if isinstance(trial, Trial) else trial
    claim = slots.claim_of(stored)
    partner = claim.partner if claim is not None and claim.partner is not None else {}
    return {name: Rival(chosen["trial"], chosen["genome"], chosen["params"]) for name, chosen in partner.items()}


def _best(storage: BaseStorage, name: str, *, generation: int) -> FrozenTrial | Standing | None:
    """The best of another population's generation once it is complete; None where all of it failed."""
    try:
        study_id = storage.get_study_id_from_name(name)
    except KeyError:
        return Standing.WAIT  # not created yet
    settings = storage.get_study_system_attrs(study_id).get(SETTINGS)
    if settings is None:
        return Standing.WAIT  # not begun yet
    claimed = slots.claims(storage.get_all_trials(study_id, deepcopy=False), generation=generation)
    members = [slots.canonical(claimed.get(slot, ())) for slot in range(settings["population_size"])]
    if any(trial is None for trial in members):
        return Standing.WAIT
    direction = sign_of(storage.get_study_directions(study_id)[0])
    judged = [(slots.cost(t, sign=direction), slot, t) for slot, t in enumerate(members) if t is not None]
    # Of equal ones the lower slot's, whoever trained it; slots differ, so trials are never compared.
    good = [(cost, slot, trial) for cost, slot, trial in judged if cost is not None and cost == cost]
    return min(good)[2] if good else None
