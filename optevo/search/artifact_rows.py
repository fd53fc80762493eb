"""The rows of the database that name artifacts: read as they are now, past every cache, and removed.

Optuna lets nobody change a finished trial, and rightly so for values. That a file is gone has to be written all the
same, or the dashboard would show a broken picture for most of a long study: so these rows, and no others, are removed
by SQL.
"""

import json
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from optuna.storages._rdb.models import StudyModel, TrialModel, TrialSystemAttributeModel
from optuna.study import Study
from sqlalchemy import Engine, delete, or_, select

from optevo.search.artifacts import BEGUN, COUNTS, Artifacts, Stored

log = logging.getLogger("optevo.artifacts")

ROWS = 500  # in one statement; SQLite has a bound


@dataclass(frozen=True)
class Row:
    """A row of the database that names an artifact; `stored` is None while the file is only announced."""

    row_id: int
    trial: int
    artifact_id: str
    stored: Stored | None


def artifact_rows(engine: Engine, *, study: int) -> list[Row]:
    """Every row of a study's trials that names an artifact, as the database has them now."""
    attribute = TrialSystemAttributeModel
    query = (
        select(attribute.trial_system_attribute_id, attribute.trial_id, attribute.key, attribute.value_json)
        .join(TrialModel, TrialModel.trial_id == attribute.trial_id)
        .where(TrialModel.study_id == study)
        .where(or_(attribute.key.like(f"{COUNTS}%"), attribute.key.like(f"{BEGUN}%")))
    )
    with engine.connect() as connection:
        return [_row(*found) for found in connection.execute(query)]


def find_stored(engine: Engine, artifact_id: str) -> tuple[str, Stored] | None:
    """The name of the study that an artifact belongs to, and what is stored of it."""
    attribute = TrialSystemAttributeModel
    query = (
        select(StudyModel.study_name, attribute.value_json)
        .join(TrialModel, TrialModel.study_id == StudyModel.study_id)
        .join(attribute, attribute.trial_id == TrialModel.trial_id)
        .where(attribute.key == COUNTS + artifact_id)
        .limit(1)
    )
    with engine.connect() as connection:
        found = connection.execute(query).first()
    stored = None if found is None else _stored(found[1])
    return None if found is None or stored is None else (found[0], stored)


def remove_all(study: Study, artifacts: Artifacts) -> int:
    """Remove every artifact of a study that is about to be deleted. Returns how many."""
    attributes = study._storage.get_study_system_attrs(study._study_id)
    own = [key.removeprefix(COUNTS) for key in attributes if key.startswith(COUNTS)]
    removed = sum(artifacts.remove(artifact_id) for artifact_id in own)
    return removed + remove(engine_of(study), artifacts, artifact_rows(engine_of(study), study=study._study_id))


def engine_of(study: Study) -> Engine:
    """The database connection under whatever Optuna put in front of it."""
    storage: Any = study._storage
    while not hasattr(storage, "engine"):
        storage = storage._backend
    engine: Engine = storage.engine
    return engine


def remove(engine: Engine, artifacts: Artifacts, rows: Sequence[Row]) -> int:
    """Remove files, then the rows that name them. Returns how many files; what cannot be removed now keeps its rows."""
    gone = {artifact_id for artifact_id in {row.artifact_id for row in rows} if artifacts.remove(artifact_id)}
    _forget(engine, [row.row_id for row in rows if row.artifact_id in gone])
    if gone:
        log.info("artifacts: %d that are no longer needed were removed", len(gone))
    return len(gone)


def _forget(engine: Engine, row_ids: Sequence[int]) -> None:
    attribute = TrialSystemAttributeModel
    for start in range(0, len(row_ids), ROWS):
        with engine.begin() as connection:
            chosen = attribute.trial_system_attribute_id.in_(row_ids[start : start + ROWS])
            connection.execute(delete(attribute).where(chosen))


def _row(row_id: int, trial: int, key: str, value: str) -> Row:
    if key.startswith(BEGUN):
        return Row(row_id, trial, key.removeprefix(BEGUN), None)
    return Row(row_id, trial, key.removeprefix(COUNTS), _stored(value))


def _stored(value: str) -> Stored | None:
    """Optuna keeps JSON within JSON; null where the dashboard's button removed the file."""
    document = json.loads(json.loads(value))
    if document is None:
        return None
    return Stored(**{key: document.get(key) for key in Stored.__dataclass_fields__})
