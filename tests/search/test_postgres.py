"""The same study on a real PostgreSQL: the same trials as on SQLite, with several workers at once."""

from pathlib import Path

import pytest

from optevo import api
from optevo.search.progress import canonical_trials
from optevo.search.spec import Spec
from optevo.search.study import open_search


@pytest.mark.slow
def test_postgresql_gives_what_sqlite_gives(tiny: Spec, postgres: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("OPTEVO_ARTIFACTS", str(tmp_path / "artifacts"))
    results = []
    for url, workers in ((f"sqlite:///{tmp_path / 'optevo.db'}", 1), (postgres, 2)):
        api.create_study("tiny", tiny, storage=url)
        api.run_study("tiny", storage=url, workers=workers, on_line=lambda line: None)
        search = open_search("tiny", url=url)
        results.append([(trial.params, trial.value) for trial in canonical_trials(search)])
        results.append([candidate.values for candidate in api.best("tiny", storage=url).candidates])
    assert results[0] == results[2]
    assert results[1] == results[3]
