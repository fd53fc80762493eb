"""The bookkeeping: which trial stands for which individual, read from the trials alone.

An individual is a slot: (generation, slot) of one study. A trial claims a slot by ONE system attribute, before it is
trained. Everything else follows from the trials' states, so no worker keeps any state and none waits for a leader:

* A slot's canonical result is its lowest-numbered trial that fills it, once no lower-numbered claim still runs.
* COMPLETE and PRUNED trials fill their slot. A failure of the individual itself (marked by the worker) fills it too,
  as the worst, when its kind has happened as often as `BOUNDS` says. A trial that just died never counts against the
  individual: its slot is free again; only a high bound catches an individual that kills its workers.
* A record of a known individual (`reused`) fills its slot at once, also where what is known is a failure.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from statistics import fmean
from typing import Any

from optuna.trial import FrozenTrial, TrialState

CLAIM = "optevo:claim"
FAILURE = "optevo:failure"

# After how many trials an individual's failure is its result. "died": killed, stale or interrupted, without a mark.
BOUNDS = {"nan": 1, "over_budget": 1, "out_of_memory": 2, "error": 3, "died": 20}


@dataclass(frozen=True)
class Claim:
    """What a trial stands for. `genome` holds internal representations by parameter name, or is a hex mask.

    `digest` is the brood's: workers that compute another brood are told so instead of mixing two evolutions.
    `reused` is the number of the trial that was really trained, where this one only repeats its value. `learns_from`
    are the trials whose trained networks this individual begins its training with, if it does.
    """

    generation: int
    slot: int
    operator: str
    parents: tuple[int, ...]
    genome: Mapping[str, Any] | str
    digest: str
    partner: Mapping[str, Any] | None = None
    reused: int | None = None
    learns_from: tuple[int, ...] = ()

    def to_attribute(self) -> dict[str, Any]:
        attribute = {**asdict(self), "parents": list(self.parents), "learns_from": list(self.learns_from)}
        if not self.learns_from:
            del attribute["learns_from"]  # as most searches have none at all
        return attribute


def claim_of(trial: FrozenTrial) -> Claim | None:
    """The trial's claim; None for a spare, which fills no slot."""
    attribute = trial.system_attrs.get(CLAIM)
    if not attribute:
        return None
    numbers = {name: tuple(attribute.get(name, ())) for name in ("parents", "learns_from")}
    return Claim(**{**attribute, **numbers})


def trained(trial: FrozenTrial) -> int:
    """The number of the trial that was really trained: its own, but for the record of a known individual."""
    claim = claim_of(trial)
    return trial.number if claim is None or claim.reused is None else claim.reused


def claims(trials: Iterable[FrozenTrial], *, generation: int) -> dict[int, list[FrozenTrial]]:
    """The claims of one generation by slot, each slot's in the order of their numbers."""
    members = (trial for trial in trials if (trial.system_attrs.get(CLAIM) or {}).get("generation") == generation)
    return claims_by_generation(members).get(generation, {})


def claims_by_generation(trials: Iterable[FrozenTrial]) -> dict[int, dict[int, list[FrozenTrial]]]:
    """The claims of every generation by slot, each slot's in the order of their numbers."""
    found: dict[int, dict[int, list[FrozenTrial]]] = {}
    for trial in trials:
        attribute = trial.system_attrs.get(CLAIM)
        if attribute:
            found.setdefault(attribute["generation"], {}).setdefault(attribute["slot"], []).append(trial)
    for generation in found.values():
        for claimed in generation.values():
            claimed.sort(key=lambda trial: trial.number)
    return found


def canonical(claimed: Sequence[FrozenTrial]) -> FrozenTrial | None:
    """The trial that fills the slot for good, or None while that is open."""
    failures: dict[str, int] = {}
    for trial in claimed:
        if not trial.state.is_finished():
            return None
        if trial.state != TrialState.FAIL or (trial.system_attrs.get(CLAIM) or {}).get("reused") is not None:
            return trial
        kind = trial.system_attrs.get(FAILURE, "died")
        failures[kind] = failures.get(kind, 0) + 1
        if failures[kind] >= BOUNDS.get(kind, 1):
            return trial
    return None


def results(claimed: Mapping[int, Sequence[FrozenTrial]], *, size: int) -> list[FrozenTrial | None]:
    """What fills each of a generation's `size` slots, by its claims; None for a slot that is open."""
    return [canonical(claimed.get(slot, ())) for slot in range(size)]


def is_free(claimed: Sequence[FrozenTrial]) -> bool:
    """Nobody has filled the slot, and nobody is at it."""
    return canonical(claimed) is None and all(trial.state == TrialState.FAIL for trial in claimed)


def is_queued(claimed: Sequence[FrozenTrial]) -> bool:
    """Nobody is at the slot, but a trial that `RetryHeartbeatStaleTrialCallback` gave its claim waits to be run."""
    states = {trial.state for trial in claimed}
    return canonical(claimed) is None and TrialState.WAITING in states and TrialState.RUNNING not in states


def holds(claimed: Sequence[FrozenTrial], number: int) -> bool:
    """Whether the claim of trial `number` stands: no lower claim runs, and no other trial has filled the slot.

    A higher claim that still runs does not matter: its owner will see the lower one and give up, or both finish and the
    lower one counts.
    """
    others = [trial for trial in claimed if trial.number != number]
    if any(trial.number < number and not trial.state.is_finished() for trial in others):
        return False
    return canonical([trial for trial in others if trial.state.is_finished()]) is None


def mean(costs: Sequence[float]) -> float:
    """The mean of at least one cost, infinite and huge ones too; NaN where both infinities are among them."""
    try:
        return fmean(costs)
    except (OverflowError, ValueError):
        return sum(cost / len(costs) for cost in costs)


def cost(trial: FrozenTrial, *, sign: float) -> float | None:
    """The canonical value as a cost (the smaller the better), None for a failure. A PRUNED trial counts with its last
    reported value; infeasible ones (a positive constraint) have none."""
    if trial.state == TrialState.FAIL or trial.value is None or any(v > 0 for v in trial.constraints.values()):
        return None
    return sign * trial.value
