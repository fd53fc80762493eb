"""SQLite files for tests, set up once and copied."""

import shutil
from pathlib import Path

import optuna
import pytest

from optevo.search.store import open_store


@pytest.fixture(scope="session")
def empty_database(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("database") / "empty.db"
    storage = open_store(f"sqlite:///{path}")
    optuna.create_study(storage=storage, study_name="other")  # Ids do not begin at 1 in real life either.
    storage.engine.dispose()
    return path


@pytest.fixture
def url(empty_database: Path, tmp_path: Path) -> str:
    """The URL of a database of this test's own."""
    path = tmp_path / "secret-name.db"
    for suffix in ("", "-wal", "-shm"):
        source = empty_database.with_name(empty_database.name + suffix)
        if source.exists():
            shutil.copyfile(source, path.with_name(path.name + suffix))
    return f"sqlite:///{path}"
