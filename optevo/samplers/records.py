"""What is read and written for every trial, in as few SQL statements as it takes; by Optuna's own calls elsewhere.

Optuna's storages read whole trials, which takes seven statements, and write each attribute in a transaction of its own.
"""

import json
import warnings
from collections.abc import Mapping, Sequence
from typing import Any

from optuna import Study
from optuna.exceptions import ExperimentalWarning, StorageInternalError
from optuna.storages import BaseStorage, RDBStorage, fail_stale_trials
from optuna.storages._cached_storage import _CachedStorage
from optuna.storages._heartbeat import BaseHeartbeat, is_heartbeat_enabled
from optuna.storages._rdb import models
from optuna.storages._rdb.storage import _create_scoped_session
from optuna.trial import FrozenTrial, TrialState
from sqlalchemy import insert, select
from sqlalchemy.orm import Session

from optevo.samplers import slots
from optevo.samplers.slots import CLAIM, FAILURE


def claimants(study: Study, *, since: int) -> Sequence[FrozenTrial]:
    """The trials with ids from `since` on that claim a slot, as they are now, by number.

    In SQL they have only what :mod:`optevo.samplers.slots` looks at: number, state, claim and kind of failure.
    """
    database = _database(study._storage)
    if database is not None:
        with _create_scoped_session(database.scoped_session) as session:
            return _rows(session, study._study_id, since)
    trials = study._storage.get_all_trials(study._study_id, deepcopy=False)
    return [trial for trial in trials if trial._trial_id >= since]


def add_record(study: Study, record: FrozenTrial, *, since: int) -> None:
    """Add a finished trial for the slot that it claims, unless that is filled by now.

    In SQL nobody comes between looking and adding; elsewhere two workers at once may add one each.

    Args:
        study: Where it belongs.
        record: With a claim.
        since: No earlier trial's id claims that slot.
    """
    database, claim = _database(study._storage), record.system_attrs[CLAIM]
    record._validate()
    if database is None:
        _add(study, record)
        return
    try:
        with _create_scoped_session(database.scoped_session) as session:
            # As Optuna locks a study to number a new trial.
            models.StudyModel.find_or_raise_by_id(study._study_id, session, for_update=True)
            rows = _rows(session, study._study_id, since)
            if slots.is_free(slots.claims(rows, generation=claim["generation"]).get(claim["slot"], ())):
                database._get_prepared_new_trial(study._study_id, record, session)
    except StorageInternalError:
        _add(study, record)  # a deadlock; this tries several times


def _add(study: Study, record: FrozenTrial) -> None:
    # Not `Study.add_trial`, which the part of a study that a pruner lets a sampler see does not have.
    study._storage.create_new_trial(study._study_id, template_trial=record)


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


def fail_silent(study: Study) -> None:
    """Declare dead whose heartbeat has been silent for the storage's grace period, so that its slot is given out again.

    Where the storage keeps no heartbeats it does nothing.
    """
    if not is_heartbeat_enabled(study._storage):
        return
    _start_clocks(study)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ExperimentalWarning)
        fail_stale_trials(study)


def _start_clocks(study: Study) -> None:
    """Record a heartbeat for running trials that never had one. Where nobody records another, they are stale later.

    Whoever is killed between making a trial and its first heartbeat would leave it running for ever.
    """
    storage = study._storage
    database = _database(storage)
    if database is None:
        return
    assert isinstance(storage, BaseHeartbeat)
    trials = storage.get_all_trials(study._study_id, deepcopy=False, states=(TrialState.RUNNING,))
    running = {trial._trial_id for trial in trials}
    if not running:
        return
    heartbeat = models.TrialHeartbeatModel
    with _create_scoped_session(database.scoped_session) as session:
        heard = session.execute(select(heartbeat.trial_id).where(heartbeat.trial_id.in_(running))).scalars().all()
    for silent in running.difference(heard):
        storage.record_heartbeat(silent)


def _database(storage: BaseStorage) -> RDBStorage | None:
    backend = storage._backend if isinstance(storage, _CachedStorage) else storage
    return backend if isinstance(backend, RDBStorage) else None


def _rows(session: Session, study_id: int, since: int) -> list[FrozenTrial]:
    trial, attribute = models.TrialModel, models.TrialSystemAttributeModel
    query = (
        select(trial.trial_id, trial.number, trial.state, attribute.key, attribute.value_json)
        .join(attribute, attribute.trial_id == trial.trial_id)
        .where(trial.study_id == study_id, trial.trial_id >= since, attribute.key.in_((CLAIM, FAILURE)))
        .order_by(trial.trial_id)
    )
    found: dict[int, FrozenTrial] = {}
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
