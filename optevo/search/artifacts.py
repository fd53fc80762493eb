"""Files that belong to trials: today the sample pictures, one a trained individual; later checkpoints too.

They lie outside the database, in a folder or a bucket (:mod:`optevo.search.artifact_stores`). Which one is settled when
the study is created and stored with it, so a worker on another machine needs no option. What counts is the row in the
database (Optuna's `artifacts:ID`, which its dashboard reads, with size and SHA-256 added), and it is written last:

1. a row says that ID is about to be written, 2. the file goes into the store, 3. the row that makes it count,
4. the trial is told.

Whoever dies on the way leaves nothing that counts, and a row by which :mod:`optevo.search.collecting` finds the rest.

A store that does not answer is tried again, after 0.5, 1, 2, 4 ... seconds and for `PATIENCE` seconds, each time with
a line. If it stays away, the trial is told without its file: the value is the result, a picture is not. The trial gets
the user attribute `artifacts_missing`, and later files are tried once each until the store is back.
"""

import hashlib
import io
import json
import logging
import mimetypes
import os
import time
import uuid
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TypeVar

from optuna.exceptions import UpdateFinishedTrialError
from optuna.trial import Trial
from sqlalchemy.engine import make_url

from optevo.errors import OptevoError
from optevo.search.artifact_stores import (
    ArtifactStore,
    explain,
    is_transient,
    open_url,
    remove_quietly,
    settle_url,
)

log = logging.getLogger("optevo.artifacts")

COUNTS = "artifacts:"  # Optuna's own prefix
BEGUN = "optevo:artifact-begun:"
PATIENCE = 30.0  # seconds; less than what makes a worker count as dead
FIRST_DELAY = 0.5

T = TypeVar("T")


class ArtifactError(OptevoError):
    """An artifact could not be stored, or is not what was stored."""


@dataclass(frozen=True)
class Stored:
    """What the database says of an artifact. Those that the dashboard's own button uploaded have no digest."""

    artifact_id: str
    filename: str
    mimetype: str
    encoding: str | None = None
    size: int | None = None
    sha256: str | None = None

    def check(self, content: bytes, *, where: str) -> None:
        """Raise ArtifactError where the content is not what was stored."""
        if self.sha256 is None:
            return
        if len(content) != self.size:
            found = f"{len(content)} bytes instead of {self.size}"
        elif hashlib.sha256(content).hexdigest() != self.sha256:
            found = "another SHA-256 than was stored with the trial"
        else:
            return
        raise ArtifactError(
            f"artifact {self.artifact_id} ({self.filename}) in {where} is damaged: {found}; bring the store back from "
            "a backup, or delete the file and do without."
        )


@dataclass
class Artifacts:
    """A store, with patience and a check of what comes out of it.

    Args:
        url: As :func:`artifacts_url` gives it.
        patience: Seconds to keep trying.
        sleep: Waits between attempts.
    """

    url: str
    patience: float = PATIENCE
    sleep: Callable[[float], object] = time.sleep
    store: ArtifactStore = field(init=False)
    _away: bool = False

    def __post_init__(self) -> None:
        self.store = open_url(self.url)

    def attach(self, trial: Trial, path: Path) -> Stored | None:
        """Store a file and tie it to a running trial. To be called before the trial is told.

        Returns:
            What was stored; None where the trial has been given to another worker meanwhile.

        Raises:
            ArtifactError: The store stays away, or says no.
        """
        content = path.read_bytes()
        stored = _describe(path.name, content)
        try:
            trial.storage.set_trial_system_attr(trial._trial_id, BEGUN + stored.artifact_id, path.name)
            self._write(stored, content)
            trial.storage.set_trial_system_attr(
                trial._trial_id, COUNTS + stored.artifact_id, json.dumps(asdict(stored))
            )
        except UpdateFinishedTrialError:
            # Nobody will look for this file any more.
            self.remove(stored.artifact_id)
            return None
        return stored

    def read(self, stored: Stored) -> bytes:
        """An artifact's content, as it was stored.

        Raises:
            ArtifactError: It is not there, damaged, or the store stays away.
        """

        def read() -> bytes:
            with self.store.open_reader(stored.artifact_id) as reader:
                return reader.read()

        content = self._patiently(read, f"reading {stored.filename} ({stored.artifact_id})")
        stored.check(content, where=self.url)
        return content

    def remove(self, artifact_id: str) -> bool:
        """Remove an artifact, whether it is there or not. False where the store does not let us now."""
        try:
            remove_quietly(self.store, artifact_id)
        except Exception as error:  # Any driver's error: what is not removed today is found again tomorrow.
            log.warning("artifacts %s: cannot remove %s now (%s)", self.url, artifact_id, explain(error))
            return False
        return True

    def _write(self, stored: Stored, content: bytes) -> None:
        self._patiently(lambda: self.store.write(stored.artifact_id, io.BytesIO(content)), f"storing {stored.filename}")

    def _patiently(self, attempt: Callable[[], T], what: str) -> T:
        """Try until it works, the store says no, or patience ends. A store that was away is tried once."""
        deadline = time.monotonic() + (0 if self._away else self.patience)
        delay = FIRST_DELAY
        while True:
            try:
                result = attempt()
            except Exception as error:  # Whatever a driver raises; is_transient judges it.
                left = deadline - time.monotonic()
                if not is_transient(error) or left <= 0:
                    self._away = is_transient(error)
                    raise ArtifactError(f"artifacts {self.url}: {what} failed ({explain(error)})") from error
                pause = min(delay, left)
                log.warning(
                    "artifacts %s: %s failed (%s); trying again in %.3g s", self.url, what, explain(error), pause
                )
                self.sleep(pause)
                delay *= 2
                continue
            self._away = False
            return result


def artifacts_url(storage: str, *, given: str | Path | None = None, recorded: str | None = None) -> str:
    """Where a study's artifacts lie.

    Args:
        storage: The database's URL.
        given: What a command was told, if anything; it goes first.
        recorded: What was settled when the study was created. It goes before the environment: a worker whose shell
            happens to name another store must not scatter a study's files.

    Returns:
        `given`, else `recorded`, else OPTEVO_ARTIFACTS, else the folder `artifacts` beside a SQLite file, else
        `storage/artifacts`.

    Raises:
        UsageError: No such kind of store.
    """
    chosen = given or recorded or os.environ.get("OPTEVO_ARTIFACTS")
    return settle_url(str(chosen)) if chosen else str(default_folder(storage).absolute())


def url_to_record(*, given: str | None = None) -> str | None:
    """What a new study stores: the URL given or OPTEVO_ARTIFACTS, or None for the default, which follows a SQLite file
    wherever it is moved.

    Raises:
        UsageError: No such kind of store.
    """
    chosen = given or os.environ.get("OPTEVO_ARTIFACTS")
    return settle_url(chosen) if chosen else None


def default_folder(storage: str) -> Path:
    """`artifacts` beside a SQLite file, else `storage/artifacts`."""
    parsed = make_url(storage)
    if parsed.get_backend_name() == "sqlite" and parsed.database:
        return Path(parsed.database).parent / "artifacts"
    return Path("storage/artifacts")


def _describe(name: str, content: bytes) -> Stored:
    kind, encoding = mimetypes.guess_type(name)
    return Stored(
        artifact_id=str(uuid.uuid4()),
        filename=name,
        mimetype=kind or "application/octet-stream",
        encoding=encoding,
        size=len(content),
        sha256=hashlib.sha256(content).hexdigest(),
    )
