"""Writing several attributes of a trial at once."""

from collections.abc import Mapping
from typing import Any

from optuna.storages import BaseStorage, RDBStorage
from optuna.storages._cached_storage import _CachedStorage


def set_user_attrs(storage: BaseStorage, trial_id: int, attributes: Mapping[str, Any]) -> None:
    """Set user attributes; in SQL by one transaction, where Optuna's own call takes one for each."""
    database = storage._backend if isinstance(storage, _CachedStorage) else storage
    if not isinstance(database, RDBStorage):
        for key, value in attributes.items():
            storage.set_trial_user_attr(trial_id, key, value)
        return
    from optuna.storages._rdb import models
    from optuna.storages._rdb.storage import _create_scoped_session

    with _create_scoped_session(database.scoped_session, True) as session:
        for key, value in attributes.items():
            database._set_trial_attr_without_commit(session, models.TrialUserAttributeModel, trial_id, key, value)
