"""Trials in outline: all that tells how far a study is, of every trial, in one SQL statement.

State, value, times, the slot that it claims, and a few attributes; no parameters, and none of the figures that only a
page about this one trial shows. Of 10,000 trials that is a tenth of the rows.
"""

import json
from collections.abc import Sequence
from itertools import takewhile
from typing import Any

from optuna.storages import RDBStorage
from optuna.storages._rdb.storage import _create_scoped_session
from optuna.trial import FrozenTrial
from sqlalchemy import Select, and_, select, union_all

from optevo.samplers.slots import CLAIM, FAILURE
from optevo.search.reading import SYSTEM_ATTRIBUTES, TRIALS, USER_ATTRIBUTES, VALUES, bare_trial, value_of

USER = ("reused_from", "seconds")
SYSTEM = (CLAIM, FAILURE)


class Outlines:
    """The trials of one study, to be read again and again: what was finished is kept, and read only once.

    Args:
        storage: The database.
        study_id: Optuna's.
    """

    def __init__(self, storage: RDBStorage, *, study_id: int) -> None:
        self._storage = storage
        self._study_id = study_id
        self._finished: list[FrozenTrial] = []  # the first ones, without a gap
        self._since = 0  # the first id that is not among them

    def read(self) -> list[FrozenTrial]:
        """All trials as they are now, by number."""
        with _create_scoped_session(self._storage.scoped_session) as session:
            rows = session.execute(_query(self._study_id, self._since)).all()
        newer = _trials(rows)
        finished = list(takewhile(lambda trial: trial.state.is_finished(), newer))
        if finished:
            self._since = finished[-1]._trial_id + 1
        self._finished += finished
        return [*self._finished, *newer[len(finished) :]]


def _query(study_id: int, since: int) -> Select[Any]:
    trial = TRIALS.c
    mine = and_(trial.study_id == study_id, trial.trial_id >= since)
    ids = select(trial.trial_id).where(mine)
    attributes = union_all(
        *(
            select(table.c.trial_id, table.c.key, table.c.value_json).where(
                table.c.key.in_(keys), table.c.trial_id.in_(ids)
            )
            for table, keys in ((SYSTEM_ATTRIBUTES, SYSTEM), (USER_ATTRIBUTES, USER))
        )
    ).subquery()
    value = VALUES.c
    return (
        select(
            trial.trial_id, trial.number, trial.state, trial.datetime_start, trial.datetime_complete,
            value.value, value.value_type, attributes.c.key, attributes.c.value_json,
        )
        .outerjoin(VALUES, and_(value.trial_id == trial.trial_id, value.objective == 0))
        .outerjoin(attributes, attributes.c.trial_id == trial.trial_id)
        .where(mine)
        .order_by(trial.trial_id)
    )  # fmt: skip


def _trials(rows: Sequence[Any]) -> list[FrozenTrial]:
    """One trial of the rows of each, which differ in their attribute."""
    found: dict[int, FrozenTrial] = {}
    for trial_id, number, state, begun, ended, value, kind, key, text in rows:
        trial = found.get(trial_id)
        if trial is None:
            found[trial_id] = trial = bare_trial(trial_id, number, state, begun, ended)
            if kind is not None:
                trial.value = value_of(value, kind)
        if key is not None:
            attributes = trial.system_attrs if key in SYSTEM else trial.user_attrs
            attributes[key] = json.loads(text)
    return list(found.values())
