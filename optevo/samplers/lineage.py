"""Who descends from whom, and what the operators gave: read from a study's trials alone, for reports."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from optuna import Study
from optuna.trial import FrozenTrial, TrialState

from optevo.samplers import slots
from optevo.samplers.base import sign
from optevo.samplers.slots import Claim, claim_of


@dataclass(frozen=True)
class GenerationSummary:
    """One generation.

    Attributes:
        number: From 0 on.
        trials: Numbers of the canonical trials by slot; None for a slot that is claimed but still open. Slots that
            nobody has claimed yet are missing.
        best, mean: Of the values, in the study's own direction; None where not one slot has a value. Failed and
            infeasible individuals do not count. Of both infinities there is no mean.
        trained, reused, failed: Filled slots by how they were filled: by a training that gave a value, by the record of
            a known individual (also of a known failure), by a failure.
        operator_shares: The part of the claimed slots that each operator made, as Figure 6 of CE-GAN draws it; the
            parts add up to 1.
        better_than_parents: How many children of each operator have a better value than the best of their parents (a
            parent without a value is worse than any). In co-evolution a child and its parents had other partners.
    """

    number: int
    trials: Mapping[int, int | None]
    best: float | None
    mean: float | None
    trained: int
    reused: int
    failed: int
    operator_shares: Mapping[str, float]
    better_than_parents: Mapping[str, int]


@dataclass(frozen=True)
class Lineage:
    """A whole study. `dataclasses.asdict` of it can be written as JSON.

    Attributes:
        generations: The first to the last that anybody has claimed a slot of.
        parents: The parents of every trial with a claim, by trial number; none for those drawn at random.
    """

    generations: Sequence[GenerationSummary]
    parents: Mapping[int, Sequence[int]]

    def ancestry(self, number: int) -> dict[int, list[int]]:
        """A trial and all its ancestors, each with its parents, the trial itself first and then nearest first.

        Raises:
            KeyError: No such trial has a claim.
        """
        found: dict[int, list[int]] = {}
        waiting = [number]
        for each in waiting:
            if each not in found:
                found[each] = list(self.parents[each])
                waiting += found[each]
        return found


def lineage(study: Study) -> Lineage:
    """The generations, operators and ancestors of a study that one of optevo's samplers has run, on any storage.

    Needs no sampler, and may be asked while the study runs. A study of other samplers has no generations.
    """
    trials = study.get_trials(deepcopy=False)
    claims = {trial.number: claim for trial in trials if (claim := claim_of(trial)) is not None}
    if not claims:  # Of another sampler's study, which may have several directions.
        return Lineage(generations=[], parents={})
    costs = {trial.number: slots.cost(trial, sign=sign(study)) for trial in trials}
    by_generation: dict[int, list[FrozenTrial]] = {}
    for trial in trials:
        if trial.number in claims:
            by_generation.setdefault(claims[trial.number].generation, []).append(trial)
    return Lineage(
        generations=[
            _summary(number, members, claims, costs, sign=sign(study))
            for number, members in sorted(by_generation.items())
        ],
        parents={number: list(claim.parents) for number, claim in claims.items()},
    )


def _summary(
    number: int,
    trials: Sequence[FrozenTrial],
    claims: Mapping[int, Claim],
    costs: Mapping[int, float | None],
    *,
    sign: float,
) -> GenerationSummary:
    claimed = slots.claims(trials, generation=number)
    results = {slot: slots.canonical(claimed[slot]) for slot in sorted(claimed)}
    filled = [trial for trial in results.values() if trial is not None]
    values = [cost for trial in filled if (cost := _number(costs[trial.number])) is not None]
    mean = _number(slots.mean(values)) if values else None
    # A slot's operator is the same in each of its claims.
    operators = Counter(claims[claimed[slot][0].number].operator for slot in results)
    trained = [trial for trial in filled if claims[trial.number].reused is None]
    failed = sum(trial.state == TrialState.FAIL for trial in trained)
    better = Counter(claims[t.number].operator for t in filled if _is_better(t.number, claims[t.number], costs))
    return GenerationSummary(
        number=number,
        trials={slot: None if trial is None else trial.number for slot, trial in results.items()},
        best=sign * min(values) if values else None,
        mean=None if mean is None else sign * mean,
        trained=len(trained) - failed,
        reused=len(filled) - len(trained),
        failed=failed,
        operator_shares={operator: count / len(results) for operator, count in operators.items()},
        better_than_parents={operator: better[operator] for operator in operators},
    )


def _is_better(number: int, claim: Claim, costs: Mapping[int, float | None]) -> bool:
    cost = _number(costs[number])
    parents = [_number(costs.get(parent)) for parent in claim.parents]
    return bool(parents) and cost is not None and all(parent is None or cost < parent for parent in parents)


def _number(cost: float | None) -> float | None:
    """NaN, which a pruned trial can report, is no value."""
    return None if cost is None or cost != cost else cost
