"""Which errors say that a database is away for a while, and not that something is wrong."""

from optuna.exceptions import StorageInternalError
from sqlalchemy.exc import DBAPIError, PendingRollbackError
from sqlalchemy.exc import TimeoutError as NoConnectionLeftError

# SQLite has one class of errors for these and for a statement that is wrong, which no waiting would cure.
SQLITE = ("locked", "busy", "is full", "disk i/o error", "unable to open database file")

# SQLSTATE classes of PostgreSQL: connection, resources (disk full, too many connections), operator intervention
# (shutdown, starting up), rolled back (deadlock); a server that is a read-only replica for the moment; a transaction
# that was ended because this process stood still in it.
POSTGRESQL = ("08", "53", "57P", "40", "25006", "25P03")


def is_outage(error: BaseException) -> bool:
    """Whether an error says that the database cannot serve now, but may later with the same request."""
    while isinstance(error, StorageInternalError) and error.__cause__ is not None:
        error = error.__cause__
    if isinstance(error, PendingRollbackError) and error.__context__ is not None:
        # Optuna asked once more on the connection that had just failed.
        error = error.__context__
    if isinstance(error, NoConnectionLeftError):
        return True
    if not isinstance(error, DBAPIError):
        return False
    if error.connection_invalidated:
        return True
    state = getattr(error.orig, "sqlstate", None)
    if state is not None:
        return str(state).startswith(POSTGRESQL)
    kind = type(error.orig)
    if kind.__name__ not in ("OperationalError", "InterfaceError"):
        return False
    return not kind.__module__.startswith("sqlite3") or any(text in str(error.orig).lower() for text in SQLITE)
