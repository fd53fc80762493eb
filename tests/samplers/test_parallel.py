"""Many workers, some of them killed, evolve what one worker evolves."""

import os
import random
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

import optuna
import pytest
from optuna.exceptions import UpdateFinishedTrialError
from optuna.storages import fail_stale_trials
from optuna.trial import TrialState

from optevo.samplers import RouletteGASampler, Standing, claim_of
from optevo.search import store

optuna.logging.set_verbosity(optuna.logging.ERROR)

SPACE = {f"g{i}": optuna.distributions.CategoricalDistribution([0, 1, 2, 3]) for i in range(8)}
POPULATION, GENERATIONS, WORKERS, KILLS = 6, 5, 4, 5


def sampler(**settings: Any) -> RouletteGASampler:
    return RouletteGASampler(
        **{
            "search_space": SPACE,
            "chromosomes": [list(SPACE)[:5], list(SPACE)[5:]],
            "population_size": POPULATION,
            "generations": GENERATIONS,
            "seed": 11,
            **settings,
        }
    )


def value_of(params: dict[str, int]) -> float:
    return 1.0 + sum((7 * i + 3) * value % 11 for i, value in enumerate(params.values())) / 10


def work(study: optuna.Study, *, seconds: float = 0.0) -> None:
    """As `optevo.search.worker` does, with an objective that takes `seconds` at most."""
    mine = study.sampler
    assert isinstance(mine, RouletteGASampler)
    while (place := mine.next_slot(study)) is not Standing.DONE:
        fail_stale_trials(study)
        if place is Standing.WAIT:
            time.sleep(0.05)
            continue
        trial = study.ask(SPACE)
        if claim_of(study._storage.get_trial(trial._trial_id)) is None:
            study.tell(trial, state=TrialState.FAIL)
            continue
        time.sleep(seconds * random.random())
        # A process that stood still for so long that another one declared its trial dead.
        with suppress(UpdateFinishedTrialError):
            study.tell(trial, value_of(trial.params), skip_if_finished=True)


def evolution(history: Any) -> list[list[tuple[Any, ...]]]:
    """What must not depend on who trained what: genomes, operators and values, slot by slot."""
    return [[(t.params, t.user_attrs["operator"], t.value) for t in generation] for generation in history]


def alone(**settings: Any) -> list[list[tuple[Any, ...]]]:
    """The same evolution by one worker, in memory."""
    mine = sampler(**settings)
    study = optuna.create_study(sampler=mine)
    work(study)
    assert len(mine.history(study)) == GENERATIONS
    return evolution(mine.history(study))


@contextmanager
def nervous_threads() -> Iterator[None]:
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(before)


@pytest.mark.parametrize("seed", range(3))
def test_threads_of_one_process_evolve_what_one_thread_evolves(seed) -> None:
    def goal(trial: optuna.Trial) -> float:
        return value_of({name: trial.suggest_categorical(name, [0, 1, 2, 3]) for name in SPACE})

    study = optuna.create_study(sampler=sampler(seed=seed))
    with nervous_threads():
        while study.sampler.next_slot(study) is not Standing.DONE:  # type: ignore[attr-defined]
            study.optimize(goal, n_trials=16, n_jobs=8)
    history = study.sampler.history(study)  # type: ignore[attr-defined]
    assert len({trial.number for generation in history for trial in generation}) == POPULATION * GENERATIONS
    assert evolution(history) == alone(seed=seed)


def test_threads_of_an_undeclared_space() -> None:
    def goal(trial: optuna.Trial) -> float:
        kind = trial.suggest_categorical("kind", ["a", "b"])
        return 1 + trial.suggest_float("x", 0, 1) + (trial.suggest_int("y", 0, 9) if kind == "b" else 3)

    mine = RouletteGASampler(population_size=4, seed=2)
    study = optuna.create_study(sampler=mine)
    with nervous_threads():
        # Spares do not wait, so nobody knows how many trials it takes.
        while len(history := mine.history(study)) < 4:
            study.optimize(goal, n_trials=16, n_jobs=8)
    single = optuna.create_study(sampler=RouletteGASampler(population_size=4, seed=2))
    single.optimize(goal, n_trials=4 * len(history))
    expected = single.sampler.history(single)  # type: ignore[attr-defined]
    assert [[t.params for t in g] for g in history] == [[t.params for t in g] for g in expected]


def open_study(url: str, **settings: Any) -> optuna.Study:
    return optuna.create_study(
        storage=store.open_store(url), study_name="s", load_if_exists=True, sampler=sampler(**settings)
    )


def start(url: str) -> subprocess.Popen[bytes]:
    code = f"""
import sys
sys.path.insert(0, {os.path.dirname(__file__)!r})
import test_parallel as t
t.store.HEARTBEAT, t.store.GRACE = 1, 2
t.work(t.open_study({url!r}, duplicates="mutate"), seconds=0.3)
"""
    return subprocess.Popen([sys.executable, "-W", "ignore", "-c", code])


def test_processes_that_get_killed_evolve_what_one_process_evolves(url) -> None:
    study = open_study(url, duplicates="mutate")
    dice = random.Random(3)
    workers = [start(url) for _ in range(WORKERS)]
    killed, deadline = 0, time.monotonic() + 120
    try:
        while any(worker.poll() is None for worker in workers):
            assert time.monotonic() < deadline, "the workers wait for something that never comes"
            time.sleep(dice.random() * 0.2)
            done = sum(t.state == TrialState.COMPLETE for t in study.get_trials(deepcopy=False))
            if killed < KILLS and done > 4 * killed:
                victim = dice.randrange(WORKERS)
                workers[victim].kill()
                workers[victim].wait()
                workers[victim] = start(url)
                killed += 1
    finally:
        for worker in workers:
            worker.kill()
            worker.wait()
    assert killed == KILLS
    assert all(worker.returncode == 0 for worker in workers)
    work(study)  # What is left, if anything.
    history = sampler(duplicates="mutate").history(study)
    assert evolution(history) == alone(duplicates="mutate")
    digests: dict[int, set[str]] = {}
    for trial in study.get_trials(deepcopy=False):
        claim = claim_of(trial)
        if claim is not None:
            digests.setdefault(claim.generation, set()).add(claim.digest)
            results = {parent.number for parent in history[claim.generation - 1]} if claim.generation else set()
            assert set(claim.parents) <= results, "bred from a result that no longer counts"
    assert all(len(bred) == 1 for bred in digests.values())
    # A trial that comes late, for a slot that was filled long ago, changes nothing.
    late = study.get_trials(deepcopy=False)[0]
    given = {"params": late.params, "distributions": late.distributions, "system_attrs": late.system_attrs}
    study.add_trial(optuna.create_trial(value=0.0, **given))  # type: ignore[arg-type]
    again = sampler(duplicates="mutate").history(study)
    assert [[t.number for t in generation] for generation in again] == [[t.number for t in g] for g in history]
