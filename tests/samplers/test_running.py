"""Evolutions run by `evolve` and `coevolve`: what interrupts them is never held against an individual."""

import logging
import math
import random
import sqlite3
import time
from collections import Counter
from types import SimpleNamespace
from typing import Any

import optuna
import pytest
from disturbances import PAIR, individuals, meeting, open_pair, unreliable
from optuna.storages import InMemoryStorage, RetryHeartbeatStaleTrialCallback
from optuna.study import MaxTrialsCallback
from optuna.trial import Trial, TrialState
from sqlalchemy.exc import OperationalError

from optevo.samplers import RouletteGASampler, base, coevolve, evolve, running
from optevo.samplers.slots import FAILURE, claim_of
from optevo.search import store

SPACE = {f"g{i}": optuna.distributions.CategoricalDistribution([0, 1, 2, 3]) for i in range(4)}


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Heartbeats that are silent after a second, and retries without the long pauses, Optuna's own too."""
    monkeypatch.setattr(store, "HEARTBEAT", 1)
    monkeypatch.setattr(store, "GRACE", 1)
    monkeypatch.setattr(running, "FIRST", 0.001)
    monkeypatch.setattr(running, "LONGEST", 0.01)
    monkeypatch.setattr("optuna.storages._rdb.storage.time", SimpleNamespace(sleep=lambda seconds: None))


def begin(url: str | None) -> optuna.Study:
    sampler = RouletteGASampler(search_space=SPACE, population_size=4, generations=3, duplicates="mutate", seed=2)
    return optuna.create_study(storage=None if url is None else store.open_store(url), study_name="s", sampler=sampler)


def total(trial: Trial) -> float:
    return 1.0 + sum((i + 1) * trial.suggest_categorical(name, [0, 1, 2, 3]) for i, name in enumerate(SPACE))


@pytest.fixture(scope="module")
def undisturbed() -> list[Any]:
    study = begin(None)
    evolve(study, total)
    return individuals(study)


def failures(study: optuna.Study) -> list[str]:
    return [trial.system_attrs.get(FAILURE, "died") for trial in study.trials if trial.state == TrialState.FAIL]


def test_ctrl_c_is_not_held_against_the_individual(url: str, undisturbed: list[Any]) -> None:
    study = begin(url)

    def interrupted(trial: Trial) -> float:
        raise KeyboardInterrupt

    for _ in range(4):  # An error of its own would be its result after three.
        with pytest.raises(KeyboardInterrupt):
            evolve(study, interrupted)
    assert failures(study) == ["died"] * 4
    evolve(study, total)
    assert individuals(study) == undisturbed


def test_an_error_of_the_objective_still_is(url: str) -> None:
    study = begin(url)

    def broken(trial: Trial) -> float:
        raise ValueError("not this one")

    for _ in range(3):
        with pytest.raises(ValueError, match="not this one"):
            evolve(study, broken)
    assert failures(study) == ["error"] * 3
    assert study.sampler.next_slot(study) == 1  # type: ignore[attr-defined]


def test_nan_is_the_result_of_its_individual_at_once() -> None:
    study = begin(None)
    judged: Counter[tuple[int, int]] = Counter()

    def sometimes(trial: Trial) -> float:
        claim = claim_of(study._storage.get_trial(trial._trial_id))
        assert claim is not None
        judged[claim.generation, claim.slot] += 1
        return math.nan if claim.slot == 1 else total(trial)

    evolve(study, sometimes)
    assert set(judged.values()) == {1}
    assert set(failures(study)) == {"nan"}


@pytest.mark.parametrize("callback", [lambda study, trial: study.stop(), MaxTrialsCallback(1)])
def test_a_callback_may_stop_it(callback: Any) -> None:
    study = begin(None)
    assert evolve(study, total, callbacks=[callback]) == 1
    assert evolve(study, total, trials=2) == 2  # And whoever asks again goes on.


def test_who_comes_late_to_the_last_slot_trains_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    study = begin(None)
    others = [study.ask() for _ in range(4)]
    looks = iter([[3], [3]])  # Free a moment ago.
    look = running._look
    monkeypatch.setattr(running, "_look", lambda studies: next(looks, None) or look(studies))

    def late(trial: Trial) -> float:
        raise AssertionError("a spare is trained")

    def finished(study: optuna.Study, trial: optuna.trial.FrozenTrial) -> None:
        study.stop()

    assert evolve(study, late, callbacks=[finished]) == 0
    assert study.trials[-1].state == TrialState.PRUNED
    # What somebody enqueued is wanted, slot or none.
    study.enqueue_trial({"g0": 3})
    assert evolve(study, total, callbacks=[finished]) == 1
    assert study.trials[-1].params["g0"] == 3
    for trial in others:
        study.tell(trial, total(trial))
    assert len(study.sampler.history(study)) == 1  # type: ignore[attr-defined]


def test_a_claim_that_waits_to_be_tried_again_is(url: str, undisturbed: list[Any]) -> None:
    storage = optuna.storages.RDBStorage(
        url, heartbeat_interval=1, grace_period=1, heartbeat_stale_trial_callback=RetryHeartbeatStaleTrialCallback()
    )
    study = optuna.create_study(storage=storage, study_name="s", sampler=begin(None).sampler)
    study.ask()  # Whoever did this was killed.
    time.sleep(1.5)
    evolve(study, total)
    assert study.trials[0].state == TrialState.FAIL
    assert individuals(study) == undisturbed


def test_a_claim_that_is_tried_again_and_cut_off_at_once_does_not_stay(
    url: str, undisturbed: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    storage = optuna.storages.RDBStorage(
        url, heartbeat_interval=1, grace_period=1, heartbeat_stale_trial_callback=RetryHeartbeatStaleTrialCallback()
    )
    study = optuna.create_study(storage=storage, study_name="s", sampler=begin(None).sampler)
    study.ask()
    time.sleep(1.5)
    record, cut = base._record_heartbeat, iter([True])

    def cut_off(*arguments: Any) -> None:
        if next(cut, False):
            raise OperationalError("", {}, sqlite3.OperationalError("database is locked"))
        record(*arguments)

    monkeypatch.setattr(base, "_record_heartbeat", cut_off)
    evolve(study, total)
    assert individuals(study) == undisturbed


def test_ctrl_c_in_the_middle_of_a_claim_gives_the_slot_back(
    undisturbed: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    study = begin(None)

    def interrupted(*arguments: Any, **settings: Any) -> bool:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(RouletteGASampler, "_holds", interrupted)
        with pytest.raises(KeyboardInterrupt):
            evolve(study, total)
    assert failures(study) == ["died"]
    evolve(study, total)
    assert individuals(study) == undisturbed


def test_a_trial_that_was_given_to_another_worker_meanwhile(
    url: str, undisturbed: list[Any], caplog: pytest.LogCaptureFixture
) -> None:
    study = begin(url)
    numbers: list[int] = []

    def slow(trial: Trial) -> float:
        numbers.append(trial.number)
        if len(numbers) in (2, 5):
            study._storage.set_trial_state_values(trial._trial_id, TrialState.FAIL)
        if len(numbers) == 5:
            trial.set_user_attr("late", True)  # Already here it learns so.
        return total(trial)

    evolve(study, slow)
    assert individuals(study) == undisturbed
    assert caplog.text.count("was given to another worker; its result is dropped") == 2


# Optuna's own heartbeats end with the first that fails.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
@pytest.mark.parametrize("seed", range(3))
def test_a_database_that_fails_anywhere_changes_nothing(seed: int, url: str, caplog: pytest.LogCaptureFixture) -> None:
    alone = open_pair(InMemoryStorage())
    coevolve(alone, [meeting(0)] * 2)
    storage = store.open_store(url)
    pair = open_pair(storage)
    with unreliable(storage.engine, random.Random(seed), often=0.01) as failed, caplog.at_level(logging.WARNING):
        coevolve(pair, [meeting(0)] * 2)
    assert {"statement", "commit", "acknowledgement"} <= set(failed)
    assert "the database does not answer" in caplog.text
    for study, other in zip(pair, alone, strict=True):
        assert individuals(study) == individuals(other)
        assert set(failures(study)) <= {"died"}
        # No value was lost: whatever was trained was told, once the database was there.
        trained = [claim_of(t) for t in study.trials if t.state == TrialState.COMPLETE and claim_of(t).reused is None]
        assert len({(claim.generation, claim.slot) for claim in trained}) == len(trained)
    assert [study.study_name for study in pair] == list(PAIR)
