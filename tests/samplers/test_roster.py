"""A given list of individuals."""

import optuna
import pytest
from optuna.distributions import CategoricalDistribution, IntDistribution

from optevo.samplers import RosterSampler, Standing, claim_of

SPACE = {"b": IntDistribution(0, 9), "a": CategoricalDistribution(["x", "y"])}
LIST = [{"a": "x", "b": 3}, {"a": "y", "b": 0}, {"a": "x", "b": 3}]


def test_every_individual_is_trained_once_equal_ones_too_and_then_it_is_over() -> None:
    sampler = RosterSampler(search_space=SPACE, individuals=LIST)
    study = optuna.create_study(sampler=sampler)
    seen = []
    while sampler.next_slot(study) is not Standing.DONE:
        trial = study.ask(SPACE)
        claim = claim_of(study._storage.get_trial(trial._trial_id))
        assert claim is not None
        seen.append((claim.slot, trial.params))
        study.tell(trial, 1.0)
    assert [slot for slot, _ in seen] == [0, 1, 2]
    assert [params for _, params in seen] == LIST
    assert len(study.trials) == 3
    assert [trial.number for trial in sampler.history(study)[0]] == [0, 1, 2]


def test_while_others_train_there_is_nothing_to_do() -> None:
    sampler = RosterSampler(search_space=SPACE, individuals=LIST[:1])
    study = optuna.create_study(sampler=sampler)
    assert sampler.next_slot(study) == 0
    study.ask(SPACE)
    assert sampler.next_slot(study) is Standing.WAIT


def test_a_failed_individual_is_tried_again_as_often_as_its_failure_allows() -> None:
    study = optuna.create_study(sampler=RosterSampler(search_space=SPACE, individuals=LIST[:2]))

    def objective(trial: optuna.Trial) -> float:
        if trial.suggest_categorical("a", ["x", "y"]) == "x":
            raise ArithmeticError
        return trial.suggest_int("b", 0, 9)

    study.optimize(objective, n_trials=4, catch=(ArithmeticError,))
    assert [trial.user_attrs["slot"] for trial in study.trials] == [0, 0, 0, 1]
    assert study.sampler.next_slot(study) is Standing.DONE  # type: ignore[attr-defined]


def test_works_as_an_ordinary_sampler_with_spares_afterwards() -> None:
    study = optuna.create_study(sampler=RosterSampler(search_space=SPACE, individuals=LIST))
    study.optimize(lambda t: t.suggest_int("b", 0, 9) + (t.suggest_categorical("a", ["x", "y"]) == "x"), n_trials=6)
    assert [trial.params for trial in study.trials[:3]] == LIST
    assert [claim_of(trial) is None for trial in study.trials] == [False] * 3 + [True] * 3


@pytest.mark.parametrize(
    ("individuals", "match"),
    [
        ([], "at least one"),
        ([{"a": "x"}], "outside"),
        ([{"a": "z", "b": 1}], "outside"),
        ([{"a": "x", "b": 10}], "'b': 10"),
    ],
)
def test_what_cannot_be_trained_is_refused_at_once(individuals, match) -> None:
    with pytest.raises(ValueError, match=match):
        RosterSampler(search_space=SPACE, individuals=individuals)


def test_another_list_is_refused() -> None:
    study = optuna.create_study(sampler=RosterSampler(search_space=SPACE, individuals=LIST))
    study.ask(SPACE)
    study.sampler = RosterSampler(search_space=SPACE, individuals=LIST[:2])
    with pytest.raises(ValueError, match="was begun with individuals="):
        study.sampler.next_slot(study)
