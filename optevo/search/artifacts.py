"""Files that belong to trials, such as sample pictures: a folder that the dashboard reads too."""

import os
from pathlib import Path

from optuna.artifacts import FileSystemArtifactStore, upload_artifact
from optuna.trial import Trial
from sqlalchemy.engine import make_url

from optevo.errors import UsageError


def artifacts_folder(url: str, *, given: str | Path | None = None) -> Path:
    """Where a store's artifacts lie: the folder given, else OPTEVO_ARTIFACTS, else `artifacts` beside a SQLite file,
    else `storage/artifacts`."""
    chosen = given or os.environ.get("OPTEVO_ARTIFACTS")
    if chosen:
        return Path(chosen)
    parsed = make_url(url)
    if parsed.get_backend_name() == "sqlite" and parsed.database:
        return Path(parsed.database).parent / "artifacts"
    return Path("storage/artifacts")


def open_artifacts(folder: Path) -> FileSystemArtifactStore:
    """The artifact store in a folder, which is made.

    Raises:
        UsageError: The folder cannot be made.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UsageError(
            f"{folder}: cannot be made for the artifacts ({error.strerror}); name another folder with OPTEVO_ARTIFACTS."
        ) from error
    return FileSystemArtifactStore(folder)


def attach(store: FileSystemArtifactStore, trial: Trial, path: Path) -> None:
    """Copy a file into the store and tie it to a trial. Call it before the trial is told: then a finished trial has
    all its files."""
    upload_artifact(artifact_store=store, file_path=str(path), study_or_trial=trial)
