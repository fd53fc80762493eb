"""Optuna's own samplers with optevo's bookkeeping."""

from collections.abc import Callable

import optuna
import pytest
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.samplers import BaseSampler, BruteForceSampler, NSGAIISampler, RandomSampler, TPESampler
from optuna.trial import TrialState

from optevo.samplers import GuestSampler, Standing, claim_of, evolve

SPACE: dict[str, BaseDistribution] = {
    "x": FloatDistribution(-5, 5),
    "n": IntDistribution(1, 64, log=True),
    "kind": CategoricalDistribution(("a", "b")),
}
Make = Callable[[int], BaseSampler]


def tpe(seed: int) -> BaseSampler:
    return TPESampler(seed=seed, n_startup_trials=4)


def sampler(make: Make = tpe, *, seed: int = 1, size: int = 3, generations: int = 5) -> GuestSampler:
    return GuestSampler(
        make=make, name="guest", search_space=SPACE, population_size=size, generations=generations, seed=seed
    )


def objective(trial: optuna.Trial) -> float:
    x, n, kind = (trial._suggest(name, distribution) for name, distribution in SPACE.items())
    return x**2 + abs(n - 8) + (kind == "b")


def run(**settings: int | Make) -> list[dict[str, object]]:
    study = optuna.create_study(sampler=sampler(**settings))  # type: ignore[arg-type]
    evolve(study, objective)
    return [trial.params for trial in study.trials]


@pytest.mark.parametrize(
    "make",
    [
        tpe,
        lambda seed: RandomSampler(seed=seed),
        lambda seed: NSGAIISampler(seed=seed, population_size=4),
    ],
)
def test_one_at_a_time_it_draws_as_the_guest_alone(make: Make) -> None:
    alone = optuna.create_study(sampler=make(1))
    for _ in range(10):
        trial = alone.ask(fixed_distributions=SPACE)
        alone.tell(trial, objective(trial))
    assert run(make=make, size=1, generations=10) == [trial.params for trial in alone.trials]


def test_the_guest_learns_of_constraints() -> None:
    def constrained(trial: optuna.Trial) -> float:
        value = objective(trial)
        trial.set_constraint("small", trial.params["x"])
        return value

    alone, study = optuna.create_study(sampler=tpe(1)), optuna.create_study(sampler=sampler(size=1, generations=30))
    alone.optimize(constrained, n_trials=30)
    evolve(study, constrained)
    assert [trial.params for trial in study.trials] == [trial.params for trial in alone.trials]


def test_results_depend_on_the_seed_alone() -> None:
    assert run() == run()
    assert run() != run(seed=2)


def test_a_worker_that_joins_replays_what_was_drawn() -> None:
    study = optuna.create_study(sampler=sampler())
    study.optimize(lambda trial: objective(trial), n_trials=7)
    other = optuna.load_study(study_name=study.study_name, storage=study._storage, sampler=sampler())
    evolve(other, objective)
    assert [trial.params for trial in other.trials] == run()
    assert sampler().next_slot(other) is Standing.DONE


def test_the_order_of_finishing_does_not_matter() -> None:
    study = optuna.create_study(sampler=sampler())
    while study.sampler.next_slot(study) is not Standing.DONE:  # type: ignore[attr-defined]
        trials = [study.ask(fixed_distributions=SPACE) for _ in range(3)]
        for trial in reversed(trials):
            study.tell(trial, objective(trial))
    assert [trial.params for trial in study.trials] == run()


def test_the_guest_learns_of_failed_and_pruned_trials() -> None:
    seen: list[list[TrialState]] = []

    class Curious(RandomSampler):
        def before_trial(self, study: optuna.Study, trial: optuna.trial.FrozenTrial) -> None:
            seen.append([one.state for one in study.get_trials(deepcopy=False) if one.number != trial.number])

    study = optuna.create_study(sampler=sampler(lambda seed: Curious(seed=seed), size=2, generations=2))
    first, second = (study.ask(fixed_distributions=SPACE) for _ in range(2))
    first.report(3.0, 1)
    study.tell(first, state=TrialState.PRUNED)
    study.tell(second, float("nan"), state=None, skip_if_finished=False)  # a failure; the slot is given out again
    again = study.ask(fixed_distributions=SPACE)
    assert claim_of(study.trials[again.number]) == claim_of(study.trials[second.number])
    study.tell(again, 1.0)
    study.ask(fixed_distributions=SPACE)
    assert seen[-2] == [TrialState.PRUNED, TrialState.COMPLETE]


def test_brute_force_takes_everything_once() -> None:
    space: dict[str, BaseDistribution] = {
        "a": CategoricalDistribution((0.0, 10.0)),
        "b": CategoricalDistribution((1, 2, 3)),
    }
    whole = GuestSampler(
        make=lambda seed: BruteForceSampler(seed=seed), name="all", search_space=space, population_size=6,
        generations=1, seed=0,
    )  # fmt: skip
    study = optuna.create_study(sampler=whole)
    evolve(study, lambda trial: sum(trial._suggest(name, each) for name, each in space.items()))
    assert len({tuple(trial.params.values()) for trial in study.trials}) == 6


def test_another_guest_or_an_empty_space_is_refused() -> None:
    study = optuna.create_study(sampler=sampler())
    study.optimize(objective, n_trials=1)
    other = GuestSampler(make=tpe, name="another", search_space=SPACE, population_size=3, generations=5, seed=1)
    study.sampler = other
    with pytest.raises(ValueError, match="guest='guest'"):
        study.optimize(objective, n_trials=1)
    with pytest.raises(ValueError, match="search space"):
        GuestSampler(make=tpe, name="g", search_space={}, population_size=1, generations=1, seed=0)
    with pytest.raises(ValueError, match="population_size"):
        sampler(size=0)
