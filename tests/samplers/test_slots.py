"""The bookkeeping, on trials made by hand."""

import itertools
from datetime import datetime

import optuna
import pytest
from optuna.distributions import CategoricalDistribution
from optuna.trial import FrozenTrial, TrialState

from optevo.samplers import BroodMismatchError, Claim, RouletteGASampler, Standing, claim_of
from optevo.samplers.slots import BOUNDS, CLAIM, FAILURE, canonical, claims, cost, holds, is_free

SPACE = {name: CategoricalDistribution([0, 1, 2]) for name in "abcd"}
NOW = datetime(2026, 1, 1)
STATES = {"W": TrialState.WAITING, "R": TrialState.RUNNING, "C": TrialState.COMPLETE, "P": TrialState.PRUNED}


def claim(*, generation: int = 0, slot: int = 0, reused: int | None = None, digest: str = "d") -> Claim:
    return Claim(generation, slot, "random", (1, 2), {"a": 1}, digest, reused=reused)


def trial(number: int, state: str, *, value: float | None = 1.0, claimed: Claim | None = None, **system) -> FrozenTrial:
    """`state`: W, R, C or P; F for a death, or the kind of a failure."""
    attributes = {CLAIM: (claimed or claim()).to_attribute(), **system}
    if state not in STATES and state != "F":
        attributes[FAILURE] = state
    kind = STATES.get(state, TrialState.FAIL)
    return FrozenTrial(
        number=number,
        trial_id=number,
        state=kind,
        value=value if kind in (TrialState.COMPLETE, TrialState.PRUNED) else None,
        datetime_start=None if state == "W" else NOW,
        datetime_complete=NOW if kind.is_finished() else None,
        params={},
        distributions={},
        user_attrs={},
        system_attrs=attributes,
        intermediate_values={},
    )


def row(states: str) -> list[FrozenTrial]:
    return [trial(10 * i + 5, state) for i, state in enumerate(states)]


@pytest.mark.parametrize(
    ("states", "filled_by", "free"),
    [
        ("", None, True),
        ("R", None, False),
        ("W", None, False),
        ("C", 0, False),
        ("P", 0, False),
        ("F", None, True),
        ("FF", None, True),
        ("FC", 1, False),
        ("CF", 0, False),
        ("CC", 0, False),
        ("PC", 0, False),
        ("CP", 0, False),
        ("RC", None, False),  # The lower claim may still become the result.
        ("RF", None, False),
        ("RP", None, False),
        ("CR", 0, False),
        ("FR", None, False),
        ("FRC", None, False),
        ("FCR", 1, False),
        ("RRC", None, False),
        ("FFP", 2, False),
        ("RCF", None, False),
    ],
)
def test_what_fills_a_slot(states, filled_by, free) -> None:
    trials = row(states)
    assert canonical(trials) is (None if filled_by is None else trials[filled_by])
    assert is_free(trials) == free


@pytest.mark.parametrize("states", ["".join(s) for n in range(5) for s in itertools.product("RCPF", repeat=n)])
def test_every_combination_of_states(states) -> None:
    trials = row(states)
    result = canonical(trials)
    if result is not None:
        before = states[: trials.index(result)]
        assert set(before) <= {"F"}, "a lower claim could still become, or is, the result"
        assert states[trials.index(result)] in "CP"
        # Whatever happens to higher claims, and whoever still claims the slot, the result stays.
        for more in "RCPF":
            assert canonical([*trials, trial(999, more)]) is result
            for i, state in enumerate(states):
                if state == "R":
                    assert canonical([*trials[:i], trial(trials[i].number, more), *trials[i + 1 :]]) is result
    else:
        assert set(states) <= {"F"} or "R" in states
    assert is_free(trials) == (set(states) <= {"F"})
    # At most one of the claimants that run holds the slot, unless one of them has not seen the other yet.
    holders = [t for t, state in zip(trials, states, strict=True) if state == "R" and holds(trials, t.number)]
    assert len(holders) <= 1
    if holders:
        assert canonical([t for t in trials if t.state != TrialState.RUNNING]) is None
        assert not any(t.state == TrialState.RUNNING for t in trials[: trials.index(holders[0])])


@pytest.mark.parametrize(("kind", "bound"), BOUNDS.items())
def test_the_bounds_of_failures(kind, bound) -> None:
    state = "F" if kind == "died" else kind
    trials = [trial(i, state) for i in range(bound)]
    assert canonical(trials[:-1]) is None
    assert is_free(trials[:-1])
    assert canonical(trials) is trials[-1]
    assert not is_free(trials)
    assert canonical([*trials[:-1], trial(500, "R"), *[trial(600, state)]]) is None
    # A success before the bound counts instead.
    assert canonical([*trials[:-1], trial(500, "C"), trial(600, state)]).number == 500  # type: ignore[union-attr]


def test_kinds_of_failures_are_counted_apart() -> None:
    mixed = ["error", "out_of_memory", "F", "error"]
    trials = [trial(i, kind) for i, kind in enumerate(mixed)]
    assert canonical(trials) is None
    assert canonical([*trials, trial(4, "F"), trial(5, "out_of_memory")]).number == 5  # type: ignore[union-attr]
    assert canonical([*trials, trial(4, "a kind of a later version")]).number == 4  # type: ignore[union-attr]


def test_a_record_of_a_known_failure_fills_its_slot_at_once() -> None:
    for kind in ("error", "out_of_memory", "F"):
        record = trial(3, kind, claimed=claim(reused=1))
        assert canonical([record]) is record


def test_holds() -> None:
    def held(states: str, mine: int) -> bool:
        return holds(row(states), 10 * mine + 5)

    assert held("R", 0)
    assert held("FR", 1)
    assert held("RR", 0)  # The higher one sees this one, and leaves.
    assert not held("RR", 1)
    assert not held("WR", 1)
    assert not held("CR", 1)
    assert not held("RC", 0)  # Filled while this one was about to claim.
    assert not held("RP", 0)
    assert held("RF", 0)
    assert not held("RFC", 0)
    nan = [trial(0, "R"), trial(1, "nan")]
    assert not holds(nan, 0)


def test_claims_by_slot_in_the_order_of_numbers() -> None:
    trials = [
        trial(4, "C", claimed=claim(slot=1)),
        trial(2, "R", claimed=claim(slot=1)),
        trial(3, "C", claimed=claim(slot=0)),
        trial(1, "C", claimed=claim(generation=1, slot=1)),
        trial(0, "C", **{CLAIM: None}),  # gave its claim back
    ]
    assert {s: [t.number for t in ts] for s, ts in claims(trials, generation=0).items()} == {0: [3], 1: [2, 4]}
    assert claims(trials, generation=7) == {}
    assert claim_of(trials[4]) is None
    assert claim_of(trials[0]) == claim(slot=1)


def test_cost() -> None:
    assert cost(trial(0, "C", value=3.0), sign=1) == 3
    assert cost(trial(0, "C", value=3.0), sign=-1) == -3
    assert cost(trial(0, "P", value=2.0), sign=1) == 2
    assert cost(trial(0, "P", value=None), sign=1) is None
    assert cost(trial(0, "F"), sign=1) is None
    assert cost(trial(0, "C", value=3.0, constraints=[-1.0, 0.0]), sign=1) == 3
    assert cost(trial(0, "C", value=3.0, constraints=[-1.0, 0.1]), sign=1) is None
    assert cost(trial(0, "C", value=3.0, **{"constraints:size": 1.0}), sign=1) is None


# Through a sampler.


def sampler(**settings) -> RouletteGASampler:
    return RouletteGASampler(**{"search_space": SPACE, "population_size": 3, "seed": 1, **settings})


def ask(study: optuna.Study) -> tuple[optuna.Trial, Claim | None]:
    trial = study.ask(SPACE)
    return trial, claim_of(study._storage.get_trial(trial._trial_id))


def test_a_slow_lower_claim_blocks_its_generation_until_it_is_over() -> None:
    study = optuna.create_study(sampler=sampler())
    slow, slow_claim = ask(study)
    assert slow_claim is not None
    assert slow_claim.slot == 0
    for slot in (1, 2):
        quick, quick_claim = ask(study)
        assert quick_claim is not None
        assert quick_claim.slot == slot
        study.tell(quick, 1.0)
    # Everybody else waits, or is a spare.
    for _ in range(3):
        spare, none = ask(study)
        assert none is None
        study.tell(spare, 0.0)
    assert study.sampler.frontier(study).generation == 0  # type: ignore[attr-defined]
    study.tell(slow, 5.0)
    _, next_claim = ask(study)
    assert next_claim is not None
    assert next_claim.generation == 1
    assert [trial.number for trial in study.sampler.history(study)[0]] == [0, 1, 2]  # type: ignore[attr-defined]


def test_a_dead_trials_slot_is_given_out_again_with_the_same_genome() -> None:
    study = optuna.create_study(sampler=sampler())
    _, first = ask(study)
    # What a stale-trial sweep does to a killed worker's trial: no `tell`, no mark.
    study._storage.set_trial_state_values(study.trials[0]._trial_id, TrialState.FAIL)
    again, second = ask(study)
    assert first == second
    assert again.number == 1


def test_another_digest_stops_the_worker_and_says_so() -> None:
    study = optuna.create_study(sampler=sampler())
    asked, mine = ask(study)
    assert mine is not None
    foreign = {**mine.to_attribute(), "digest": "0123456789abcdef"}
    study._storage.set_trial_system_attr(asked._trial_id, CLAIM, foreign)
    with pytest.raises(BroodMismatchError, match=r"trial 0 .* another brood of generation 0 \(0123456789abcdef"):
        study.sampler.next_slot(study)  # type: ignore[attr-defined]
    with pytest.raises(BroodMismatchError):
        study.ask(SPACE)


def waiting(dead: FrozenTrial) -> FrozenTrial:
    """As Optuna's `RetryHeartbeatStaleTrialCallback` enqueues a dead trial again, with all that it had."""
    return optuna.create_trial(
        state=TrialState.WAITING,
        params=dead.params,
        distributions=dead.distributions,
        system_attrs=dead.system_attrs,
    )


def test_a_trial_that_was_handed_a_dead_ones_claim_keeps_it() -> None:
    """Optuna's `RetryHeartbeatStaleTrialCallback` copies the attributes of the trial that it enqueues again."""
    study = optuna.create_study(sampler=sampler())
    _, first = ask(study)
    dead = study.trials[0]
    study._storage.set_trial_state_values(dead._trial_id, TrialState.FAIL)
    study.add_trial(waiting(dead))
    retried, second = ask(study)
    assert second == first
    assert retried.params == dead.params
    _, third = ask(study)
    assert third is not None
    assert third.slot == 1


def dead_and_replaced() -> tuple[optuna.Study, FrozenTrial]:
    """A study of two slots whose first one was filled after a trial had died at it, and that trial."""
    study = optuna.create_study(sampler=sampler(population_size=2))
    ask(study)
    dead = study.trials[0]
    study._storage.set_trial_state_values(dead._trial_id, TrialState.FAIL)
    again, _ = ask(study)
    study.tell(again, 1.0)
    return study, dead


def test_a_handed_claim_of_a_slot_that_was_filled_meanwhile_is_given_up() -> None:
    study, dead = dead_and_replaced()
    study.add_trial(optuna.create_trial(state=TrialState.WAITING, system_attrs=dead.system_attrs))
    _, claimed = ask(study)
    assert claimed is not None
    assert claimed.slot == 1


def test_parameters_of_a_claim_that_is_given_up_fill_no_other_slot() -> None:
    study, dead = dead_and_replaced()
    study.add_trial(waiting(dead))
    retried, claimed = ask(study)
    assert retried.params == dead.params
    assert claimed is None
    assert study.sampler.next_slot(study) == 1  # type: ignore[attr-defined]


def test_a_slot_whose_trial_waits_to_be_run_is_given_to_nobody_else_but_must_be_asked_for() -> None:
    study = optuna.create_study(sampler=sampler(population_size=2))
    ask(study)
    ask(study)
    assert study.sampler.next_slot(study) is Standing.WAIT  # type: ignore[attr-defined]
    first = study.trials[0]
    study._storage.set_trial_state_values(first._trial_id, TrialState.FAIL)
    study.add_trial(optuna.create_trial(state=TrialState.WAITING, system_attrs=first.system_attrs))
    assert study.sampler.next_slot(study) == 0  # type: ignore[attr-defined]
    _, claimed = ask(study)
    assert claimed is not None
    assert claimed.slot == 0
    assert study.sampler.next_slot(study) is Standing.WAIT  # type: ignore[attr-defined]
