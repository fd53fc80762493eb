"""Studies of thousands of trials, in seconds."""

import json
from collections.abc import Callable

import optuna
from optuna.storages._rdb import models
from optuna.trial import TrialState
from sqlalchemy import insert, select

from optevo.search.store import open_store


def many_trials(
    url: str, count: int, *, name: str = "many", value: Callable[[int], float] = lambda number: number / 7
) -> None:
    """A study of many trials with 15 parameters each, written in bulk: Optuna takes 10 to 50 ms for each."""
    store = open_store(url)
    study = optuna.create_study(study_name=name, storage=store)._study_id
    with store.engine.begin() as connection:
        now = models.TrialModel.__table__.c.datetime_start.type.python_type(2026, 1, 1)
        trials = [
            {
                "number": n,
                "study_id": study,
                "state": TrialState.COMPLETE,
                "datetime_start": now,
                "datetime_complete": now,
            }
            for n in range(count)
        ]
        connection.execute(insert(models.TrialModel.__table__), trials)
        mine = select(models.TrialModel.trial_id).where(models.TrialModel.study_id == study)
        ids = connection.execute(mine.order_by(models.TrialModel.number)).scalars().all()
        choice = json.dumps({"name": "CategoricalDistribution", "attributes": {"choices": [2, 3, 4]}})
        connection.execute(
            insert(models.TrialParamModel.__table__),
            [
                {"trial_id": i, "param_name": f"g{p}", "param_value": float(i % 3), "distribution_json": choice}
                for i in ids
                for p in range(15)
            ],
        )
        for model in (models.TrialUserAttributeModel, models.TrialSystemAttributeModel):
            rows = [{"trial_id": i, "key": f"k{k}", "value_json": json.dumps([i, k])} for i in ids for k in range(8)]
            connection.execute(insert(model.__table__), rows)
        finite = models.TrialValueModel.TrialValueType.FINITE
        values = [
            {"trial_id": i, "objective": 0, "value": value(number), "value_type": finite}
            for number, i in enumerate(ids)
        ]
        connection.execute(insert(models.TrialValueModel.__table__), values)
