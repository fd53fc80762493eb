"""Small studies, worked by hand."""

import json
import math
from dataclasses import asdict
from typing import Any

import optuna
import pytest
from optuna.distributions import IntDistribution
from optuna.trial import TrialState, create_trial

from optevo.samplers import Claim, CoevolutionSampler, RouletteGASampler, coevolve, lineage
from optevo.samplers.slots import CLAIM, FAILURE
from optevo.search.store import open_store


def add(
    study: optuna.Study,
    generation: int,
    slot: int,
    operator: str,
    value: float | None,
    *,
    parents: tuple[int, ...] = (),
    reused: int | None = None,
    failure: str | None = None,
    state: TrialState | None = None,
) -> None:
    claim = Claim(generation, slot, operator, parents, {"x": 1}, "d", reused=reused)
    attributes: dict[str, Any] = {CLAIM: claim.to_attribute(), **({FAILURE: failure} if failure else {})}
    state = state or (TrialState.FAIL if value is None else TrialState.COMPLETE)
    study.add_trial(create_trial(state=state, value=value, system_attrs=attributes))


@pytest.fixture(params=["memory", "sqlite"])
def study(request: pytest.FixtureRequest, url: str) -> optuna.Study:
    """Three founders, one of which fails at once; four children; and one claim of a third generation."""
    study = optuna.create_study(storage=open_store(url) if request.param == "sqlite" else None)
    add(study, 0, 0, "random", 5.0)  # 0
    add(study, 0, 1, "random", None)  # 1: died, and does not count
    add(study, 0, 1, "random", 3.0)  # 2
    add(study, 0, 2, "random", None, failure="nan")  # 3
    study.add_trial(create_trial(value=0.1))  # 4: a spare
    add(study, 1, 0, "elite", 3.0, parents=(2,), reused=2)  # 5
    add(study, 1, 2, "crossover", 4.0, parents=(0, 2))  # 6: better than 0 only
    add(study, 1, 1, "crossover", 2.0, parents=(0, 2))  # 7: better than both
    add(study, 1, 3, "mutation", 9.0, parents=(3,))  # 8: a failure's child
    add(study, 2, 1, "mutation", None, parents=(7,), state=TrialState.RUNNING)  # 9
    return study


def test_generations_worked_by_hand(study: optuna.Study) -> None:
    first, second, third = lineage(study).generations
    assert (first.number, first.trials) == (0, {0: 0, 1: 2, 2: 3})
    assert (first.best, first.mean) == (3.0, 4.0)
    assert (first.trained, first.reused, first.failed) == (2, 0, 1)
    assert first.operator_shares == {"random": 1.0}
    assert first.better_than_parents == {"random": 0}
    assert second.trials == {0: 5, 1: 7, 2: 6, 3: 8}
    assert (second.best, second.mean) == (2.0, 4.5)
    assert (second.trained, second.reused, second.failed) == (3, 1, 0)
    assert second.operator_shares == {"elite": 0.25, "crossover": 0.5, "mutation": 0.25}
    assert second.better_than_parents == {"elite": 0, "crossover": 1, "mutation": 1}
    assert (third.trials, third.best, third.mean) == ({1: None}, None, None)
    assert (third.trained, third.reused, third.failed) == (0, 0, 0)


def test_ancestry_worked_by_hand(study: optuna.Study) -> None:
    found = lineage(study)
    assert found.ancestry(9) == {9: [7], 7: [0, 2], 0: [], 2: []}
    assert list(found.ancestry(9)) == [9, 7, 0, 2]
    assert found.ancestry(5) == {5: [2], 2: []}
    for stranger in (4, 99):
        with pytest.raises(KeyError):
            found.ancestry(stranger)


def test_it_can_be_written_as_json(study: optuna.Study) -> None:
    document = json.loads(json.dumps(asdict(lineage(study))))
    assert document["generations"][1]["operator_shares"]["crossover"] == 0.5
    assert document["parents"]["7"] == [0, 2]


def test_maximized_values_stay_as_they_are() -> None:
    study = optuna.create_study(direction="maximize")
    add(study, 0, 0, "random", 5.0)
    add(study, 0, 1, "random", 3.0)
    add(study, 1, 0, "mutation", 6.0, parents=(0,))
    add(study, 1, 1, "mutation", 4.0, parents=(0,))
    first, second = lineage(study).generations
    assert (first.best, first.mean) == (5.0, 4.0)
    assert second.better_than_parents == {"mutation": 1}


def test_an_infeasible_individual_has_no_value() -> None:
    study = optuna.create_study()
    attributes = {CLAIM: Claim(0, 0, "random", (), {"x": 1}, "d").to_attribute()}
    trial = study.ask()
    study._storage.set_trial_system_attr(trial._trial_id, CLAIM, attributes[CLAIM])
    trial.set_constraint("size", 1.0)
    study.tell(trial, 1.0)
    (only,) = lineage(study).generations
    assert (only.best, only.trained, only.failed) == (None, 1, 0)


@pytest.mark.parametrize(("values", "mean"), [((math.inf, -math.inf), None), ((1e308, 1.7e308), 1.35e308)])
def test_the_mean_of_huge_values(values, mean) -> None:
    study = optuna.create_study()
    for slot, value in enumerate(values):
        trial = study.ask()
        claim = Claim(0, slot, "random", (), {"x": slot}, "d").to_attribute()
        study._storage.set_trial_system_attr(trial._trial_id, CLAIM, claim)
        study.tell(trial, value)
    (only,) = lineage(study).generations
    assert only.mean == (None if mean is None else pytest.approx(mean))


def test_a_study_of_several_objectives_has_no_generations() -> None:
    study = optuna.create_study(directions=["minimize", "maximize"])
    study.optimize(lambda trial: (trial.suggest_float("x", 0, 1), 1.0), n_trials=3)
    assert lineage(study).generations == []


def test_a_study_of_another_sampler_has_no_generations() -> None:
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler())
    study.optimize(lambda trial: trial.suggest_float("x", 0, 1), n_trials=3)
    assert lineage(study).generations == []
    assert lineage(study).parents == {}


def test_a_real_study_agrees_with_its_sampler() -> None:
    space = {"x": IntDistribution(0, 1000)}
    sampler = RouletteGASampler(search_space=space, population_size=6, seed=1)
    study = optuna.create_study(sampler=sampler)
    study.optimize(lambda trial: 1.0 + trial.suggest_int("x", 0, 1000), n_trials=24)
    history = sampler.history(study)
    found = lineage(study)
    for generation, summary in zip(history, found.generations, strict=False):
        assert list(summary.trials.values()) == [trial.number for trial in generation]
        assert summary.best == min(trial.value for trial in generation)
        assert sum(summary.operator_shares.values()) == pytest.approx(1)
        assert summary.trained + summary.reused + summary.failed == 6
    last = history[-1][1].number
    assert set(found.ancestry(last)) <= set(found.parents)


def test_coevolving_populations() -> None:
    names = ("a", "b")
    storage = optuna.storages.InMemoryStorage()
    settings: dict[str, Any] = {"population_size": 4, "generations": 3, "seed": 1}
    studies = [
        optuna.create_study(
            storage=storage,
            study_name=name,
            sampler=CoevolutionSampler(populations=names, search_space={"x": IntDistribution(0, 9)}, **settings),
        )
        for name in names
    ]
    coevolve(studies, [lambda trial: 1.0 + trial.suggest_int("x", 0, 9)] * 2)
    for study in studies:
        found = lineage(study)
        assert [len(generation.trials) for generation in found.generations] == [4, 4, 4]
        assert all(None not in generation.trials.values() for generation in found.generations)
        assert all(set(parents) <= set(found.parents) for parents in found.parents.values())
