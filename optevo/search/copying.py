"""A study from one database into another, between SQLite and PostgreSQL in either direction.

By Optuna's own tables in bulk, not a trial at a time: 10,000 `add_trials` take a quarter of an hour. Everything is read
as it was at one moment, and arrives in one transaction: whatever fails on the way, nothing is half there. Numbers,
states, parameters, values, attributes and times stay what they were, so the copy goes on with the same individuals;
only the databases' own ids are given anew. What was running arrives as failed, and its individual is given out again.
"""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any

from optuna.artifacts.exceptions import ArtifactNotFound
from optuna.storages._rdb import models
from optuna.trial import TrialState
from sqlalchemy import Column, Connection, Engine, Table, insert, or_, select
from sqlalchemy.exc import IntegrityError, SQLAlchemyError

from optevo.errors import OptevoError, UsageError
from optevo.search.artifact_stores import explain, open_url, settle_url
from optevo.search.artifacts import COUNTS, artifacts_url
from optevo.search.store import masked, open_store, reason, wait_in_transaction
from optevo.search.study import RECORD

CHUNK = 2000  # rows that are held in memory at once

STUDIES: Table = models.StudyModel.__table__
TRIALS: Table = models.TrialModel.__table__
STUDY_ATTRIBUTES: Table = models.StudyUserAttributeModel.__table__
OF_STUDIES: tuple[Table, ...] = (
    models.StudyDirectionModel.__table__,
    STUDY_ATTRIBUTES,
    models.StudySystemAttributeModel.__table__,
)
# Heartbeats are not among them: nothing in the copy is running.
OF_TRIALS: tuple[Table, ...] = (
    models.TrialParamModel.__table__,
    models.TrialValueModel.__table__,
    models.TrialIntermediateValueModel.__table__,
    models.TrialUserAttributeModel.__table__,
    models.TrialSystemAttributeModel.__table__,
)

Row = dict[str, Any]


@dataclass(frozen=True)
class Copied:
    """What has arrived.

    Attributes:
        trials: Of the search and its final.
        failed: Those of them that were running.
        artifacts: Files that were copied; 0 where both databases use one artifact store.
        missing: Files that the source's artifact store no longer has.
    """

    trials: int = 0
    failed: int = 0
    artifacts: int = 0
    missing: int = 0


def copy_study(name: str, *, source: str, target: str, artifacts: str | None = None) -> Copied:
    """Copy a study with its final and its files. The original stays as it is.

    Args:
        name: Of the study.
        source: URL of the database that has it.
        target: URL of another one. An empty database gets its tables.
        artifacts: Where the copy's files go, a folder or `s3://BUCKET/PREFIX`. By default the copy uses what the
            original was told to use, or where it was told nothing, the target's own default.

    Raises:
        UsageError: The source has no such study, the target has one already, or a database is of another version.
        OptevoError: A database or an artifact store failed; nothing has arrived.
    """
    readable, writable = open_store(source).engine, open_store(target).engine
    _check_names(name, readable, writable, source=source, target=target)
    try:
        with _snapshot(readable) as reader, writable.begin() as writer:
            for connection in (reader, writer):
                wait_in_transaction(connection)
            studies = _studies(reader, name)
            copied = Copied()
            for study, study_name in studies:
                copied = _copy_one(reader, writer, study, study_name, copied)
            place = _place(reader, [study for study, _ in studies])
            here, there = artifacts_url(source, recorded=place), artifacts_url(target, given=artifacts, recorded=place)
            if artifacts is not None:
                _record_place(writer, [study_name for _, study_name in studies], settle_url(artifacts))
            if here != there:
                # Before the end of the transaction: a study that has arrived has all its files.
                copied = _copy_files(_artifact_ids(reader, [study for study, _ in studies]), here, there, copied)
            return copied
    except SQLAlchemyError as error:
        raise OptevoError(
            f"study {name!r}: not copied from {masked(source)} to {masked(target)} ({reason(error)}); nothing of it "
            "has arrived: mend the cause and run again."
        ) from error


def _check_names(name: str, readable: Engine, writable: Engine, *, source: str, target: str) -> None:
    with readable.connect() as reader:
        names = [study_name for _, study_name in _studies(reader, name)]
    if not names:
        raise UsageError(f"study {name!r}: there is none in {masked(source)}; see `optevo study list`.")
    with writable.connect() as writer:
        taken = writer.execute(select(STUDIES.c.study_name).where(STUDIES.c.study_name.in_(names))).scalars().first()
    if taken is not None:
        raise UsageError(
            f"study {taken!r} exists already in {masked(target)}: name another database with --to, or remove it there "
            f"with `optevo study delete {name}`."
        )


@contextmanager
def _snapshot(engine: Engine) -> Iterator[Connection]:
    """A connection that sees one moment; under SQLite because nobody else may write meanwhile."""
    with engine.connect() as connection:
        if engine.dialect.name != "sqlite":
            connection = connection.execution_options(isolation_level="REPEATABLE READ")
        yield connection


def _studies(reader: Connection, name: str) -> list[tuple[int, str]]:
    """The study, and what belongs to it: NAME/final, or the populations of a co-evolution."""
    belongs = or_(STUDIES.c.study_name == name, STUDIES.c.study_name.startswith(f"{name}/", autoescape=True))
    query = select(STUDIES.c.study_id, STUDIES.c.study_name).where(belongs).order_by(STUDIES.c.study_id)
    return [(study, study_name) for study, study_name in reader.execute(query)]


def _copy_one(reader: Connection, writer: Connection, study: int, name: str, copied: Copied) -> Copied:
    try:
        writer.execute(insert(STUDIES), {"study_name": name})
    except IntegrityError:
        url = writer.engine.url.render_as_string(hide_password=True)
        raise UsageError(f"study {name!r}: somebody else has just made it in {url}.") from None
    new = writer.execute(select(STUDIES.c.study_id).where(STUDIES.c.study_name == name)).scalar_one()
    for table in OF_STUDIES:
        _copy_rows(reader, writer, table, table.c.study_id == study, lambda row: row | {"study_id": new})
    failed, now = [], datetime.now(UTC).replace(tzinfo=None)

    def arrives(row: Row) -> Row:
        if row["state"] == TrialState.RUNNING:
            failed.append(row["number"])
            row |= {"state": TrialState.FAIL, "datetime_complete": now}
        return row | {"study_id": new}

    _copy_rows(reader, writer, TRIALS, TRIALS.c.study_id == study, arrives)
    ids = dict(zip(_trial_ids(reader, study), _trial_ids(writer, new), strict=True))
    for table in OF_TRIALS:
        mine = table.c.trial_id.in_(select(TRIALS.c.trial_id).where(TRIALS.c.study_id == study))
        _copy_rows(reader, writer, table, mine, lambda row: row | {"trial_id": ids[row["trial_id"]]})
    return replace(copied, trials=copied.trials + len(ids), failed=copied.failed + len(failed))


def _copy_rows(reader: Connection, writer: Connection, table: Table, mine: Any, arrives: Callable[[Row], Row]) -> None:
    """Copy a table's rows in the order of their ids, which the target gives anew in the same order."""
    (key,) = table.primary_key
    columns: list[Column[Any]] = [column for column in table.columns if column is not key]
    query = select(*columns).where(mine).order_by(key)
    rows = reader.execute(query, execution_options={"yield_per": CHUNK})
    for chunk in rows.mappings().partitions():
        writer.execute(insert(table), [arrives(dict(row)) for row in chunk])


def _trial_ids(connection: Connection, study: int) -> Sequence[int]:
    query = select(TRIALS.c.trial_id).where(TRIALS.c.study_id == study).order_by(TRIALS.c.trial_id)
    return connection.execute(query).scalars().all()


def _place(reader: Connection, studies: Sequence[int]) -> str | None:
    """The artifact store that the study was created with, if it names one."""
    table = STUDY_ATTRIBUTES
    query = select(table.c.value_json).where(table.c.study_id.in_(studies), table.c.key == RECORD)
    records: list[Mapping[str, Any]] = [json.loads(value) for value in reader.execute(query).scalars()]
    return next((record["artifacts"] for record in records if record.get("artifacts")), None)


def _record_place(writer: Connection, names: Sequence[str], place: str) -> None:
    table = STUDY_ATTRIBUTES
    ours = select(STUDIES.c.study_id).where(STUDIES.c.study_name.in_(names))
    key = table.c.study_user_attribute_id
    query = select(key, table.c.value_json).where(table.c.study_id.in_(ours), table.c.key == RECORD)
    for row, value in writer.execute(query).all():
        record = json.dumps(json.loads(value) | {"artifacts": place})
        writer.execute(table.update().where(key == row).values(value_json=record))


def _artifact_ids(reader: Connection, studies: Sequence[int]) -> list[str]:
    mine = select(TRIALS.c.trial_id).where(TRIALS.c.study_id.in_(studies))
    found: list[str] = []
    for table, belongs in (
        (OF_TRIALS[-1], OF_TRIALS[-1].c.trial_id.in_(mine)),
        (OF_STUDIES[-1], OF_STUDIES[-1].c.study_id.in_(studies)),
    ):
        query = select(table.c.key).where(belongs, table.c.key.startswith(COUNTS, autoescape=True)).distinct()
        found += [key.removeprefix(COUNTS) for key in reader.execute(query).scalars()]
    return sorted(set(found))


def _copy_files(ids: Sequence[str], here: str, there: str, copied: Copied) -> Copied:
    source, target = open_url(here), open_url(there)
    missing = 0
    for artifact_id in ids:
        try:
            with source.open_reader(artifact_id) as content:
                target.write(artifact_id, content)
        except ArtifactNotFound:
            missing += 1
        except Exception as error:  # Whatever a disk or an object store raises.
            raise OptevoError(
                f"artifact {artifact_id}: not copied from {here} to {there} ({explain(error)}); the study has not "
                "arrived either: mend the cause and run again."
            ) from error
    return replace(copied, artifacts=len(ids) - missing, missing=missing)
