"""Reading many trials at once gives exactly what Optuna's own reading gives."""

from pathlib import Path
from typing import Any

import optuna
import pytest
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.storages import RDBStorage
from optuna.trial import FrozenTrial, TrialState

from optevo.search.store import open_store

SPACE = {
    "x": FloatDistribution(0, 1),
    "step": FloatDistribution(0, 1, step=0.25),
    "n": IntDistribution(1, 8, log=True),
    "c": CategoricalDistribution(["a", 2, None, True]),
}


def fill(url: str) -> optuna.Study:
    """One of everything that Optuna stores, beside another study whose rows lie between."""
    storage = open_store(url)
    study = optuna.create_study(study_name="rich", storage=storage, directions=["minimize", "maximize"])
    other = optuna.create_study(study_name="other", storage=storage)
    params = {"x": 0.1 + 0.2, "step": 0.75, "n": 8, "c": None}
    study.enqueue_trial({"x": 0.25})
    study.add_trial(
        optuna.create_trial(
            values=[float("inf"), -0.0],
            params=params,
            distributions=SPACE,
            user_attrs={"u": {"deep": [1, None]}, "text": "Zoë"},
            system_attrs={"long": "x" * 3000},
        )
    )
    other.add_trial(optuna.create_trial(value=1.0, params={"x": 0.5}, distributions={"x": FloatDistribution(0, 2)}))
    study.add_trial(optuna.create_trial(values=[1.5, float("-inf")], params=params, distributions=SPACE))
    study.add_trial(optuna.create_trial(state=TrialState.PRUNED, intermediate_values={3: float("nan"), 1: 1e-300}))
    study.add_trial(optuna.create_trial(state=TrialState.FAIL, system_attrs={"s": [1.5]}))
    running = study.ask(SPACE)  # the enqueued one
    running.set_user_attr("half", 0.5)
    study.enqueue_trial({"x": 0.75})
    return study


def everything(trials: list[FrozenTrial]) -> list[dict[str, Any]]:
    found = [dict(vars(trial)) for trial in trials]
    for trial in found:
        for kind in ("_params", "_distributions"):
            trial[kind] = list(trial[kind].items())  # in their order
        # NaN is not equal to itself.
        trial["intermediate_values"] = {step: repr(value) for step, value in trial["intermediate_values"].items()}
    return found


@pytest.mark.parametrize("kind", ["sqlite", "postgresql"])
def test_the_same_trials_as_optuna_reads(kind: str, tmp_path: Path, request: pytest.FixtureRequest):
    url = f"sqlite:///{tmp_path / 'optevo.db'}" if kind == "sqlite" else request.getfixturevalue("postgres")
    study = fill(url)
    mine, plain = open_store(url), RDBStorage(url)
    ids = [trial._trial_id for trial in study.get_trials(deepcopy=False)]
    assert len(ids) == 6
    # All of them; the new ones; the new ones and some that were not finished before; none.
    for included, since in ((set(), -1), (set(), ids[2]), ({ids[0], ids[2], ids[5]}, ids[3]), (set(), ids[-1])):
        here = mine._get_trials(study._study_id, None, included, since)
        there = plain._get_trials(study._study_id, None, included, since)
        assert everything(here) == everything(there)
    chosen = mine._get_trials(study._study_id, None, {ids[0]}, ids[3])
    assert [trial._trial_id for trial in chosen] == [ids[0], *ids[4:]]
    # Through Optuna's cache, too, and once more when trials have been finished and added.
    seen = optuna.load_study(study_name="rich", storage=mine)
    assert [trial.state.name for trial in seen.trials] == [
        "RUNNING", "COMPLETE", "COMPLETE", "PRUNED", "FAIL", "WAITING",
    ]  # fmt: skip
    study.tell(0, [3.0, 4.0])
    study.add_trial(optuna.create_trial(values=[0.0, 0.0]))
    fresh = optuna.load_study(study_name="rich", storage=plain)
    assert everything(seen.get_trials()) == everything(fresh.get_trials())
    assert seen.trials[0].values == [3.0, 4.0]


def test_equal_distributions_are_one_object(tmp_path: Path):
    study = fill(f"sqlite:///{tmp_path / 'optevo.db'}")
    one, two = [trial for trial in study.get_trials(deepcopy=False) if trial.state == TrialState.COMPLETE]
    assert all(one.distributions[name] is two.distributions[name] for name in SPACE)


def test_a_study_that_is_not_there(tmp_path: Path):
    with pytest.raises(KeyError):
        open_store(f"sqlite:///{tmp_path / 'optevo.db'}")._get_trials(7, None, set(), -1)
