"""A store that does not answer is tried again, after 0.5, 1, 2, 4 ... seconds and for `PATIENCE` seconds, with a line
each time. One that says no (no such bucket, no permission) is not asked twice."""

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import ClassVar, TypeVar

from optevo.errors import OptevoError
from optevo.search.artifact_stores import Store, explain, is_transient, open_url, remove_quietly

log = logging.getLogger("optevo.artifacts")

PATIENCE = 30.0  # seconds; less than what makes a worker count as dead
FIRST_DELAY = 0.5

T = TypeVar("T")


class ArtifactError(OptevoError):
    """An artifact could not be stored, or is not what was stored."""


@dataclass
class PatientStore:
    """A store, with patience.

    Args:
        url: As :func:`optevo.search.artifact_stores.settle_url` gives it.
        patience: Seconds to keep trying.
        sleep: Waits between attempts.
    """

    HOLDS: ClassVar[str] = "artifacts"  # what messages call its content

    url: str
    patience: float = PATIENCE
    sleep: Callable[[float], object] = time.sleep
    store: Store = field(init=False)
    _away: bool = False

    def __post_init__(self) -> None:
        self.store = open_url(self.url)

    def remove(self, artifact_id: str) -> bool:
        """Remove an artifact, whether it is there or not. False where the store does not let us now."""
        try:
            remove_quietly(self.store, artifact_id)
        except Exception as error:  # Any driver's error: what is not removed today is found again tomorrow.
            log.warning("%s %s: cannot remove %s now (%s)", self.HOLDS, self.url, artifact_id, explain(error))
            return False
        return True

    def patiently(self, attempt: Callable[[], T], what: str) -> T:
        """Try until it works, the store says no, or patience ends. A store that was away is tried once.

        Raises:
            ArtifactError: It did not work; the driver's error is its cause.
            OptevoError: Whatever of this kind `attempt` raises.
        """
        deadline = time.monotonic() + (0 if self._away else self.patience)
        delay = FIRST_DELAY
        while True:
            try:
                result = attempt()
            except OptevoError:  # Ours, and no store's: a local disk is full, say.
                raise
            except Exception as error:  # Whatever a driver raises; is_transient judges it.
                left = deadline - time.monotonic()
                if not is_transient(error) or left <= 0:
                    self._away = is_transient(error)
                    raise ArtifactError(f"{self.HOLDS} {self.url}: {what} failed ({explain(error)})") from error
                pause = min(delay, left)
                log.warning(
                    "%s %s: %s failed (%s); trying again in %.3g s", self.HOLDS, self.url, what, explain(error), pause
                )
                self.sleep(pause)
                delay *= 2
                continue
            self._away = False
            return result
