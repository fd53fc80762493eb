"""A database that is away for a while: whoever needs it waits, says so, and goes on where it was.

What is retried is a whole step of the worker, never a single statement: Optuna's calls are transactions, and a step of
several is written so that beginning it again does no harm, also where the first attempt was stored and only its
acknowledgement was lost.
"""

import logging
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

from optevo.errors import InterruptedRunError, OptevoError
from optevo.samplers.outages import is_outage
from optevo.search.store import masked, reason

log = logging.getLogger("optevo.worker")

# Seconds that a worker waits for its database before it gives up.
PATIENCE = 600.0

# Seconds between attempts, the first and the longest; and between the lines that say so.
FIRST, LONGEST = 0.5, 5.0
REMINDER = 15.0

T = TypeVar("T")


class DatabaseAwayError(OptevoError):
    """The database has been away for longer than anybody waits."""


@dataclass
class Patience:
    """What a worker does while its database is away.

    Args:
        url: Of the database; its password is never said.
        stop: Set from outside; ends the waiting.
    """

    url: str
    stop: threading.Event
    _failed: float | None = None  # time.monotonic() of the last failure that anybody here has seen

    def through(self, step: Callable[[], T]) -> T:
        """Do a step that needs the database, from its beginning again after each failure of the database.

        Raises:
            DatabaseAwayError: The database has been away for PATIENCE seconds.
            InterruptedRunError: `stop` was set meanwhile.
        """
        begun = said = None
        pause = FIRST
        while True:
            try:
                result = step()
            except Exception as error:  # Drivers have errors of their own; is_outage knows which to wait for.
                if not is_outage(error):
                    raise
                now = self._failed = time.monotonic()
                begun = begun or now
                self._check(error, now - begun)
                if said is None or now - said >= REMINDER:
                    said = now
                    log.warning("%s: the database does not answer (%s); trying again", masked(self.url), reason(error))
                self.stop.wait(pause)
                pause = min(2 * pause, LONGEST)
            else:
                if begun is not None:
                    log.warning("%s: the database is back after %.0f s", masked(self.url), time.monotonic() - begun)
                return result

    def note(self, error: BaseException) -> None:
        """Remember a failure that somebody else has seen and survived, such as a heartbeat's."""
        if is_outage(error):
            self._failed = time.monotonic()

    def calm(self, seconds: float) -> bool:
        """Whether nobody here has seen the database fail for so long."""
        return self._failed is None or time.monotonic() - self._failed >= seconds

    def _check(self, error: BaseException, waited: float) -> None:
        if self.stop.is_set():
            raise InterruptedRunError("stopped; run the same command again to continue.") from error
        if waited >= PATIENCE:
            raise DatabaseAwayError(
                f"{masked(self.url)}: the database has not answered for {waited:.0f} s ({reason(error)}); what it "
                "holds is complete: bring it back and run the same command again."
            ) from error
