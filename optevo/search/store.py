"""The SQL store: one RDBStorage a process, set up so that many workers can share it."""

import os
import time
import warnings
from pathlib import Path
from typing import Any

import optuna
from optuna.exceptions import StorageInternalError
from optuna.storages import RDBStorage
from sqlalchemy import Connection, Engine, event
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError, NoSuchModuleError, PendingRollbackError, SQLAlchemyError

from optevo.errors import UsageError
from optevo.search.reading import BulkStorage

DEFAULT_URL = "sqlite:///storage/optevo.db"

# A worker that has not been heard of for GRACE seconds counts as dead, and its individual is given out again.
HEARTBEAT = 10
GRACE = 60

# Seconds that SQLite waits for a lock by itself.
LOCK = 60

# Seconds between looks at an empty database whose tables somebody else creates just now.
SCHEMA_RACES = (0.05, 0.2, 0.5, 1.0, 2.0)
# How SQLite and PostgreSQL say that it has: of the tables, and of the rows with the schema's version.
MADE_BY_ANOTHER = ("already exists", "UNIQUE constraint", "duplicate key")

# libpq's settings: without them a host that swallows packets would be waited for until the system gives up, after
# minutes for a new connection and hours for an open one.
CONNECTION = {
    "connect_timeout": 10,
    "keepalives_idle": 15,
    "keepalives_interval": 5,
    "keepalives_count": 3,
    "tcp_user_timeout": 30_000,  # milliseconds
}


def storage_url(given: str | None = None) -> str:
    """The store's URL: the one given, else OPTEVO_STORAGE, else the SQLite file `storage/optevo.db`.

    A password need not be in it: PostgreSQL's own client takes it from the file that PGPASSFILE names, or `~/.pgpass`.
    Then it is in no list of processes and in no environment.
    """
    return given or os.environ.get("OPTEVO_STORAGE") or DEFAULT_URL


def masked(url: str) -> str:
    """The URL without its passwords, for logs and messages."""
    try:
        parsed = _read(url)
    except (ArgumentError, ValueError):
        return "<not a database URL>"
    hidden = {key: "***" if "password" in key else value for key, value in parsed.query.items()}
    return parsed.set(query=hidden).render_as_string(hide_password=True)


def is_sqlite(url: str) -> bool:
    """Whether it names a file, which one machine has."""
    return _parse(url).get_backend_name() == "sqlite"


def from_anywhere(url: str) -> str:
    """The same store, whatever folder a process is in."""
    parsed = _parse(url)
    if parsed.get_backend_name() != "sqlite" or not parsed.database or parsed.database.startswith("file:"):
        return url
    absolute = parsed.set(database=str(Path(parsed.database).absolute()))
    return absolute.render_as_string(hide_password=False)


def open_store(url: str) -> RDBStorage:
    """Connect, and create the schema in an empty database.

    Raises:
        UsageError: The URL is no database URL, its driver is missing, nothing answers there, or its tables are of
            another version of Optuna.
    """
    # optevo says what it does by itself; Optuna's line for every trial and study would drown it.
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    parsed = _parse(url)
    if parsed.get_backend_name() == "sqlite":
        _make_folder(parsed)
    try:
        with warnings.catch_warnings():
            # Heartbeats are what Optuna calls experimental; the worker runs its own.
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            storage = _connected(url, _engine_options(parsed))
    except (SQLAlchemyError, StorageInternalError, ImportError) as error:
        cure = "start it, or correct the URL (or OPTEVO_STORAGE)"
        if "no password supplied" in str(error):
            cure = "name a password file of mode 600 with PGPASSFILE, whose line HOST:PORT:DATABASE:USER:PASSWORD fits"
        raise UsageError(f"--storage {masked(url)}: the database does not answer ({reason(error)}); {cure}.") from error
    except RuntimeError as error:  # Optuna's, for a schema that is not its own.
        raise UsageError(
            f"--storage {masked(url)}: its tables are of another version of Optuna than this one's "
            f"({optuna.__version__}); `optuna storage upgrade --storage URL` brings older ones up to date, for newer "
            "ones update optuna."
        ) from error
    if parsed.get_backend_name() == "sqlite":
        _share_sqlite(storage.engine)
    elif parsed.get_backend_name() == "postgresql":
        _share_postgresql(storage.engine)
    return storage


def _connected(url: str, options: dict[str, Any]) -> BulkStorage:
    """The storage; where others create the same tables at this moment, once they have."""
    for pause in (*SCHEMA_RACES, None):
        try:
            return BulkStorage(url, heartbeat_interval=HEARTBEAT, grace_period=GRACE, engine_kwargs=options)
        except SQLAlchemyError as error:
            if pause is None or not any(sign in str(error) for sign in MADE_BY_ANOTHER):
                raise
            time.sleep(pause)
    raise AssertionError("the last attempt returns or raises")


def reason(error: BaseException) -> str:
    """The first line of an error's innermost cause."""
    while True:
        # That a connection must be rolled back is SQLAlchemy's own affair; what broke it is what people can mend.
        cause = error.__context__ if isinstance(error, PendingRollbackError) else error.__cause__
        if cause is None:
            break
        error = cause
    text = str(getattr(error, "orig", None) or error).strip()
    return text.splitlines()[0] if text else type(error).__name__


def _read(url: str) -> URL:
    """What the URL says. Raises ArgumentError or ValueError, whose texts may quote parts of a password."""
    parsed = make_url(url)
    if "@" in (parsed.host or ""):
        # Of postgresql://me:p@ss@host/d SQLAlchemy takes the host to be ss@host, and so would every message.
        raise ArgumentError("an @ in the host")
    return parsed


def _parse(url: str) -> URL:
    try:
        parsed = _read(url)
        parsed.get_dialect()
    except (ArgumentError, ValueError):
        raise UsageError(
            "--storage: not a database URL; write sqlite:///FILE or postgresql+psycopg://USER@HOST/DATABASE (in a "
            "password @ is %40 and / is %2F; better, leave it to a password file, see PGPASSFILE)."
        ) from None
    except (NoSuchModuleError, ImportError) as error:
        raise UsageError(
            f"--storage {masked(url)}: no driver for it ({reason(error)}); for PostgreSQL install optevo[postgres]."
        ) from None
    return parsed


def _make_folder(url: URL) -> None:
    if not url.database or url.database == ":memory:":
        raise UsageError("--storage: a study outlives its process; name a file, as in sqlite:///storage/optevo.db.")
    folder = Path(url.database).parent
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UsageError(
            f"--storage {url.render_as_string()}: cannot make the folder {folder} ({error.strerror})."
        ) from error


def _engine_options(url: URL) -> dict[str, Any]:
    if url.get_backend_name() == "sqlite":
        return {"connect_args": {"timeout": LOCK}}
    options: dict[str, Any] = {"pool_pre_ping": True, "pool_size": 2, "max_overflow": 0}
    if url.get_backend_name() == "postgresql":
        options["connect_args"] = dict(CONNECTION)
    return options


def _share_sqlite(engine: Engine) -> None:
    """Write-ahead log, and the write lock taken at BEGIN.

    SQLite's deferred transactions read before they lock: 58 of 300 claims by 8 processes were double without this.
    """

    @event.listens_for(engine, "connect")
    def _connect(connection: Any, _record: Any) -> None:
        connection.isolation_level = None  # The driver must not begin transactions by itself.
        connection.execute("PRAGMA journal_mode=WAL")
        connection.execute("PRAGMA synchronous=NORMAL")

    @event.listens_for(engine, "begin")
    def _begin(connection: Any) -> None:
        connection.exec_driver_sql("BEGIN IMMEDIATE")

    engine.dispose()


def _share_postgresql(engine: Engine) -> None:
    """A transaction whose process stands still in it is ended by the server: a machine sleeps, or lost its network.

    It may hold the lock under which trials are numbered: everybody else would wait with it, for hours.
    """

    @event.listens_for(engine, "connect")
    def _connect(connection: Any, _record: Any) -> None:
        # Not as a startup parameter, which poolers such as PgBouncer refuse.
        connection.execute(f"SET idle_in_transaction_session_timeout = '{GRACE}s'")
        connection.commit()

    engine.dispose()


def wait_in_transaction(connection: Connection) -> None:
    """Let this transaction stand still for as long as it likes, such as while files are copied."""
    if connection.dialect.name == "postgresql":
        connection.exec_driver_sql("SET LOCAL idle_in_transaction_session_timeout = 0")
