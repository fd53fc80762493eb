"""Files that belong to trials: a sample picture of each that was trained; its networks, where children learn from them.

They lie outside the database, in a folder or a bucket (:mod:`optevo.search.artifact_stores`). Which one is settled when
the study is created and stored with it, so a worker on another machine needs no option. What counts is the row in the
database (Optuna's `artifacts:ID`, which its dashboard reads, with size and SHA-256 added), and it is written last:

1. a row says that ID is about to be written, 2. the file goes into the store, 3. the row that makes it count,
4. the trial is told.

Whoever dies on the way leaves nothing that counts, and a row by which :mod:`optevo.search.collecting` finds the rest.

A store that does not answer is tried again (:mod:`optevo.search.patient_store`). If it stays away, the trial is told
without its picture: the value is the result, a picture is not. The trial gets the user attribute `artifacts_missing`,
and later files are tried once each until the store is back. For networks see :mod:`optevo.search.legacies`.
"""

import hashlib
import io
import json
import mimetypes
import os
import uuid
from dataclasses import asdict, dataclass
from pathlib import Path

from optuna.exceptions import UpdateFinishedTrialError
from optuna.study import Study
from optuna.trial import FrozenTrial, Trial
from sqlalchemy.engine import make_url

from optevo.search.artifact_stores import settle_url
from optevo.search.patient_store import ArtifactError, PatientStore

COUNTS = "artifacts:"  # Optuna's own prefix
BEGUN = "optevo:artifact-begun:"

CURE = "bring the store back from a backup, or delete the file and do without."


@dataclass(frozen=True)
class Stored:
    """What the database says of an artifact. Those that the dashboard's own button uploaded have no digest."""

    artifact_id: str
    filename: str
    mimetype: str
    encoding: str | None = None
    size: int | None = None
    sha256: str | None = None

    def check(self, content: bytes, *, where: str, cure: str = CURE) -> None:
        """Raise ArtifactError, whose message ends with `cure`, where the content is not what was stored."""
        if self.sha256 is None:
            return
        if len(content) != self.size:
            found = f"{len(content)} bytes instead of {self.size}"
        elif hashlib.sha256(content).hexdigest() != self.sha256:
            found = "another SHA-256 than was stored with the trial"
        else:
            return
        raise ArtifactError(f"artifact {self.artifact_id} ({self.filename}) in {where} is damaged: {found}; {cure}")


class Artifacts(PatientStore):
    """A store, with patience and a check of what comes out of it. Its URL is as :func:`artifacts_url` gives it."""

    def attach(self, trial: Trial, path: Path) -> Stored | None:
        """Store a file and tie it to a running trial. To be called before the trial is told.

        Returns:
            What was stored; None where the trial has been given to another worker meanwhile.

        Raises:
            ArtifactError: The store stays away, or says no.
        """
        return self.attach_content(trial, path.name, path.read_bytes())

    def attach_content(self, trial: Trial, name: str, content: bytes) -> Stored | None:
        """As :meth:`attach`, of a file that need not exist."""
        stored = _describe(name, content)
        try:
            trial.storage.set_trial_system_attr(trial._trial_id, BEGUN + stored.artifact_id, name)
            self._write(stored, content)
            trial.storage.set_trial_system_attr(
                trial._trial_id, COUNTS + stored.artifact_id, json.dumps(asdict(stored))
            )
        except UpdateFinishedTrialError:
            # Nobody will look for this file any more.
            self.remove(stored.artifact_id)
            return None
        return stored

    def attach_to_study(self, study: Study, name: str, content: bytes) -> Stored:
        """Store what belongs to a whole study, and tie it to it. It goes when the study is deleted.

        Raises:
            ArtifactError: The store stays away, or says no.
        """
        stored = _describe(name, content)
        self._write(stored, content)
        study._storage.set_study_system_attr(study._study_id, COUNTS + stored.artifact_id, json.dumps(asdict(stored)))
        return stored

    def read(self, stored: Stored, *, cure: str = CURE) -> bytes:
        """An artifact's content, as it was stored.

        Args:
            cure: What to do where it is damaged.

        Raises:
            ArtifactError: It is not there, damaged, or the store stays away.
        """

        def read() -> bytes:
            with self.store.open_reader(stored.artifact_id) as reader:
                return reader.read()

        content = self.patiently(read, f"reading {stored.filename} ({stored.artifact_id})")
        stored.check(content, where=self.url, cure=cure)
        return content

    def _write(self, stored: Stored, content: bytes) -> None:
        self.patiently(lambda: self.store.write(stored.artifact_id, io.BytesIO(content)), f"storing {stored.filename}")


def stored_files(trial: FrozenTrial) -> list[Stored]:
    """What counts of a trial's files, as the trial says."""
    found = [json.loads(value) for key, value in trial.system_attrs.items() if key.startswith(COUNTS)]
    # null where the dashboard's button removed the file
    known = [{key: each.get(key) for key in Stored.__dataclass_fields__} for each in found if each is not None]
    return [Stored(**each) for each in known]


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
