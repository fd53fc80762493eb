"""What is read and written for every trial, in as few SQL statements as it takes; by Optuna's own calls elsewhere.

Optuna's storages read whole trials, which takes seven statements, and write each attribute in a transaction of its own.
"""

import json
from collections.abc import Mapping, Sequence
from typing import Any

from optuna import Study
from optuna.storages import BaseStorage, RDBStorage
from optuna.storages._cached_storage import _CachedStorage
from optuna.storages._rdb import models
from optuna.storages._rdb.storage import _create_scoped_session
from optuna.trial import FrozenTrial
from sqlalchemy import insert, select

from optevo.samplers.slots import CLAIM, FAILURE


def claimants(study: Study, *, since: int) -> Sequence[FrozenTrial]:
    """The trials with ids from `since` on that claim a slot, as they are now, by number.

    In SQL they have only what :mod:`optevo.samplers.slots` looks at: number, state, claim and kind of failure.
    """
    database = _database(study._storage)
    if database is not None:
        return _rows(database, study._study_id, since)
    trials = study._storage.get_all_trials(study._study_id, deepcopy=False)
    return [trial for trial in trials if trial._trial_id >= since]


def add_user_attrs(storage: BaseStorage, trial: FrozenTrial, attributes: Mapping[str, Any]) -> None:
    """Set user attributes of a running trial."""
    database = _database(storage)
    if database is None or not attributes.keys().isdisjoint(trial.user_attrs):
        for key, value in attributes.items():
            storage.set_trial_user_attr(trial._trial_id, key, value)
        return
    rows = [{"trial_id": trial._trial_id, "key": k, "value_json": json.dumps(v)} for k, v in attributes.items()]
    with _create_scoped_session(database.scoped_session, True) as session:
        session.execute(insert(models.TrialUserAttributeModel), rows)


def _database(storage: BaseStorage) -> RDBStorage | None:
    backend = storage._backend if isinstance(storage, _CachedStorage) else storage
    return backend if isinstance(backend, RDBStorage) else None


def _rows(database: RDBStorage, study_id: int, since: int) -> list[FrozenTrial]:
    trial, attribute = models.TrialModel, models.TrialSystemAttributeModel
    query = (
        select(trial.trial_id, trial.number, trial.state, attribute.key, attribute.value_json)
        .join(attribute, attribute.trial_id == trial.trial_id)
        .where(trial.study_id == study_id, trial.trial_id >= since, attribute.key.in_((CLAIM, FAILURE)))
        .order_by(trial.trial_id)
    )
    found: dict[int, FrozenTrial] = {}
    with _create_scoped_session(database.scoped_session) as session:
        for trial_id, number, state, key, value in session.execute(query):
            found.setdefault(trial_id, _bare(trial_id, number, state)).system_attrs[key] = json.loads(value)
    return list(found.values())


def _bare(trial_id: int, number: int, state: Any) -> FrozenTrial:
    return FrozenTrial(
        trial_id=trial_id,
        number=number,
        state=state,
        value=None,
        datetime_start=None,
        datetime_complete=None,
        params={},
        distributions={},
        user_attrs={},
        system_attrs={},
        intermediate_values={},
    )
