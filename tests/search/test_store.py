"""An empty database that several open at once, as a team's workers do."""

import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import optuna
import pytest
from optuna.storages import RDBStorage

from optevo.search.store import open_store

MANY = 6


@pytest.mark.parametrize("kind", ["sqlite", "postgresql"])
def test_whoever_comes_first_makes_the_tables_and_the_others_wait(
    kind: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    url = request.getfixturevalue("postgres") if kind == "postgresql" else f"sqlite:///{tmp_path / 'optevo.db'}"
    start = threading.Barrier(MANY)

    def open_it(_: int) -> RDBStorage:
        start.wait()
        return open_store(url)

    with ThreadPoolExecutor(MANY) as pool:
        storages = list(pool.map(open_it, range(MANY)))
    for number, storage in enumerate(storages):
        optuna.create_study(study_name=str(number), storage=storage)
    assert sorted(optuna.get_all_study_names(storages[0])) == [str(number) for number in range(MANY)]
    for storage in storages:
        storage.engine.dispose()
