"""Studies move between databases whole, and go on there with the same individuals."""

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
import optuna
import pytest
from disturbances import SPACE, individuals, meeting, open_pair
from many_trials import many_trials
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.storages import InMemoryStorage
from optuna.storages._rdb import models
from optuna.trial import TrialState
from sqlalchemy import event, func, select
from sqlalchemy.exc import OperationalError

import optevo
from optevo import api
from optevo.errors import OptevoError, UsageError
from optevo.samplers import claim_of, coevolve
from optevo.search import copying
from optevo.search.copying import copy_study
from optevo.search.spec import Spec
from optevo.search.store import open_store
from optevo.search.study import Search, open_search
from optevo.search.worker import Worker
from optevo.tasks.evaluation import Evaluation


class Arithmetic:
    """Values from genome and seed alone; stops the worker after `limit` individuals."""

    def __init__(self, stop: threading.Event, limit: int | None = None) -> None:
        self.stop, self.limit, self.count = stop, limit, 0

    def evaluate(self, params: Any, *, seed: int, **_: Any) -> Any:
        self.count += 1
        if self.count == self.limit:
            self.stop.set()
        value = float(np.random.default_rng([seed, *params.values()]).uniform(1, 2))
        return Evaluation(value=value, metrics={"half": value / 2}, model=None)


def work(url: str, limit: int | None = None) -> None:
    stop = threading.Event()
    worker = Worker(open_search("tiny", url=url), Arithmetic(stop, limit), stop)
    try:
        worker.run()
    except OptevoError:
        assert limit is not None


def contents(url: str, name: str) -> dict[str, Any]:
    """Everything that a study has, but for the ids that the database gives."""
    study = optuna.load_study(study_name=name, storage=open_store(url))
    trials = [{k: v for k, v in vars(trial).items() if k != "_trial_id"} for trial in study.get_trials()]
    for trial in trials:
        trial["_params"] = list(trial["_params"].items())  # in their order
        trial["intermediate_values"] = {k: repr(v) for k, v in trial["intermediate_values"].items()}
    return {
        "directions": study.directions,
        "user": study.user_attrs,
        "system": study._storage.get_study_system_attrs(study._study_id),
        "trials": trials,
    }


def by_slot(search: Search) -> list[Any]:
    """Individuals and values, generation by generation; who was given out twice does not matter."""
    history = search.sampler.history(search.study)
    return [
        [(claim_of(t).genome, claim_of(t).operator, claim_of(t).parents, t.params, t.value) for t in generation]
        for generation in history
    ]


def rich_study(url: str) -> None:
    """One of everything that Optuna stores."""
    study = optuna.create_study(study_name="rich", storage=open_store(url), directions=["minimize", "maximize"])
    study.set_user_attr("who", {"name": "Zoë", "list": [1, None]})
    study._storage.set_study_system_attr(study._study_id, "inner", "x" * 3000)
    space = {"x": FloatDistribution(0, 1), "n": IntDistribution(1, 8, log=True), "c": CategoricalDistribution(["a", 2])}
    study.enqueue_trial({"x": 0.25})
    params = {"x": 0.1 + 0.2, "n": 8, "c": 2}
    study.add_trial(
        optuna.create_trial(values=[float("inf"), -0.0], params=params, distributions=space, user_attrs={"u": 1})
    )
    study.add_trial(optuna.create_trial(state=TrialState.PRUNED, intermediate_values={3: float("nan"), 1: 1e-300}))
    study.add_trial(optuna.create_trial(state=TrialState.FAIL, system_attrs={"s": [1.5]}))
    study.ask(space)  # the enqueued one runs
    study.enqueue_trial({"x": 0.75})


@pytest.fixture
def here(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path / 'here' / 'optevo.db'}"


@pytest.fixture
def there(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path / 'there' / 'optevo.db'}"


def test_everything_arrives(here: str, there: str):
    rich_study(here)
    optuna.create_study(study_name="other", storage=open_store(there)).add_trial(optuna.create_trial(value=1.0))
    copied = copy_study("rich", source=here, target=there)
    assert (copied.trials, copied.failed) == (5, 1)
    before, after = contents(here, "rich"), contents(there, "rich")
    assert [t["state"].name for t in before["trials"]] == ["RUNNING", "COMPLETE", "PRUNED", "FAIL", "WAITING"]
    was_running = after["trials"][0]
    assert was_running["state"] == TrialState.FAIL
    assert was_running["datetime_complete"] >= was_running["_datetime_start"]
    was_running |= {"state": TrialState.RUNNING, "datetime_complete": None}
    assert after == before
    # And the copy is a study like any other.
    study = optuna.load_study(study_name="rich", storage=open_store(there))
    assert study.ask().params == {}
    assert study.trials[-1].number == 4
    assert study.ask().number == 5


@pytest.mark.slow
def test_to_postgresql_and_back_and_on(tiny: Spec, here: str, there: str, postgres: str):
    api.create_study("tiny", tiny, storage=here)
    optuna.create_study(study_name="other", storage=open_store(postgres)).add_trial(optuna.create_trial(value=1.0))
    work(here, limit=6)
    copy_study("tiny", source=here, target=postgres)
    copy_study("tiny", source=postgres, target=there)
    assert contents(there, "tiny") == contents(postgres, "tiny") == contents(here, "tiny")
    for url in (here, postgres, there):
        work(url)
    results = [by_slot(open_search("tiny", url=url)) for url in (here, postgres, there)]
    assert len(results[0]) == 3
    assert results[0] == results[1] == results[2]
    finals = [[c.values for c in api.best("tiny", storage=url).candidates] for url in (here, postgres, there)]
    assert finals[0] == finals[1] == finals[2]
    # A finished study takes its final along.
    optuna.delete_study(study_name="tiny", storage=open_store(there))
    optuna.delete_study(study_name="tiny/final", storage=open_store(there))
    copied = copy_study("tiny", source=postgres, target=there)
    assert contents(there, "tiny/final") == contents(postgres, "tiny/final")
    assert copied.trials == sum(len(contents(there, name)["trials"]) for name in ("tiny", "tiny/final"))


@pytest.mark.slow
def test_two_populations_to_postgresql_and_back_and_on(here: str, there: str, postgres: str):
    alone = open_pair(InMemoryStorage())
    coevolve(alone, [meeting(0)] * 2)
    pair = open_pair(open_store(here))
    coevolve(pair, [meeting(0)] * 2, trials=31)
    place = next(study for study in pair if isinstance(study.sampler.next_slot(study), int))
    place.ask(dict(SPACE))  # Somebody trains on.
    assert copy_study("pair", source=here, target=postgres).failed == 1
    assert copy_study("pair", source=postgres, target=there).failed == 0
    for url in (postgres, there):
        copies = open_pair(open_store(url))
        for study, copy in zip(pair, copies, strict=True):
            mine, other = study.sampler.frontier(study), copy.sampler.frontier(copy)
            assert (mine and mine.brood) == (other and other.brood)
        coevolve(copies, [meeting(0)] * 2)
        assert [individuals(study) for study in copies] == [individuals(study) for study in alone]


def test_two_populations_without_a_common_name_are_copied_one_by_one(here: str, there: str):
    names = ("A2B", "B2A")
    alone = open_pair(InMemoryStorage(), names=names)
    coevolve(alone, [meeting(0)] * 2)
    coevolve(open_pair(open_store(here), names=names), [meeting(0)] * 2, trials=25)
    for name in names:
        copy_study(name, source=here, target=there)
    copies = open_pair(open_store(there), names=names)
    coevolve(copies, [meeting(0)] * 2)
    assert [individuals(study) for study in copies] == [individuals(study) for study in alone]


def test_what_was_running_is_given_out_again(tiny: Spec, here: str, there: str):
    search = api.create_study("tiny", tiny, storage=here)
    work(here, limit=2)
    running = search.study.ask(dict(search.sampler.fallback_space()))
    claim = claim_of(search.study._storage.get_trial(running._trial_id))
    assert copy_study("tiny", source=here, target=there).failed == 1
    copy = open_search("tiny", url=there)
    assert copy.sampler.next_slot(copy.study) == claim.slot
    again = copy.study.ask(dict(copy.sampler.fallback_space()))
    assert again.params == running.params


def test_a_study_without_a_seed_keeps_its_own(here: str, there: str):
    from optevo.samplers import RouletteGASampler

    space = {f"g{place}": CategoricalDistribution(list(range(8))) for place in range(4)}

    def more(url: str) -> list[Any]:
        sampler = RouletteGASampler(search_space=space, population_size=4, preset="plain")
        study = optuna.create_study(study_name="free", storage=open_store(url), sampler=sampler, load_if_exists=True)
        study.optimize(lambda t: sum(t.suggest_categorical(n, d.choices) for n, d in space.items()) + 1, n_trials=6)
        return [(trial.params, trial.value) for trial in study.trials]

    more(here)
    copy_study("free", source=here, target=there)
    assert more(here) == more(there)


def test_files_come_along(tiny: Spec, here: str, there: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.delenv("OPTEVO_ARTIFACTS", raising=False)
    api.create_study("tiny", tiny, storage=here)
    api.work("tiny", storage=here)
    copied = api.copy_study("tiny", to=there, storage=here)
    old, new = tmp_path / "here" / "artifacts", tmp_path / "there" / "artifacts"
    files = {path.name: path.read_bytes() for path in old.iterdir()}
    assert files
    assert {path.name: path.read_bytes() for path in new.iterdir()} == files
    assert (copied.artifacts, copied.missing) == (len(files), 0)
    # To a place of its own, which it then remembers. One file is gone.
    next(iter(old.iterdir())).unlink()
    third, place = f"sqlite:///{tmp_path / 'third.db'}", tmp_path / "elsewhere"
    copied = api.copy_study("tiny", to=third, storage=here, artifacts=str(place))
    assert (copied.artifacts, copied.missing) == (len(files) - 1, 1)
    assert len(list(place.iterdir())) == len(files) - 1
    assert open_search("tiny", url=third).record.artifacts == str(place)
    assert open_search("tiny", url=here).record.artifacts is None


def test_files_that_cannot_be_written_stop_it_all(tiny: Spec, here: str, there: str, tmp_path: Path):
    api.create_study("tiny", tiny, storage=here)
    api.work("tiny", storage=here)
    blocked = tmp_path / "blocked"
    blocked.write_text("a file where the folder should be")
    with pytest.raises(OptevoError, match="has not arrived either") as failed:
        copy_study("tiny", source=here, target=there, artifacts=str(blocked))
    assert failed.value.exit_code == 1
    assert rows_in(there) == 0


def rows_in(url: str) -> int:
    """Rows in all tables but those that say the version."""
    with open_store(url).engine.connect() as connection:
        tables = [t for t in models.BaseModel.metadata.sorted_tables if t.name != "version_info"]
        return sum(connection.execute(select(func.count()).select_from(table)).scalar_one() for table in tables)


def test_nothing_arrives_when_the_target_fails_on_the_way(here: str, there: str, monkeypatch: pytest.MonkeyPatch):
    rich_study(here)
    store = open_store(there)

    @event.listens_for(store.engine, "before_cursor_execute")
    def fail(conn: Any, cursor: Any, statement: str, *_: Any) -> None:
        if statement.startswith("INSERT INTO trial_system_attributes"):
            raise OperationalError(statement, {}, OSError("no space left"))

    opened = {here: open_store(here), there: store}
    monkeypatch.setattr(copying, "open_store", lambda url: opened[url])
    with pytest.raises(OptevoError, match=r"no space left.*nothing of it has arrived") as failed:
        copy_study("rich", source=here, target=there)
    assert failed.value.exit_code == 1
    assert "\n" not in str(failed.value)
    assert rows_in(there) == 0


@pytest.mark.slow
def test_nothing_arrives_when_the_copy_is_killed(here: str, postgres: str, tmp_path: Path):
    many_trials(here, 3000)
    slow = (
        "import time, optevo.search.copying as c; c.CHUNK = 50; copy = c._copy_rows\n"
        "def slowly(reader, writer, table, *rest):\n"
        "    copy(reader, writer, table, *rest); print(table.name, flush=True); time.sleep(0.3)\n"
        "c._copy_rows = slowly\n"
        f"c.copy_study('many', source={here!r}, target={postgres!r})"
    )
    for until in ("study_directions", "trials", "trial_user_attributes"):
        with subprocess.Popen([sys.executable, "-c", slow], stdout=subprocess.PIPE, text=True) as process:
            while process.stdout.readline().strip() != until:
                assert process.poll() is None
            process.send_signal(signal.SIGKILL)
        time.sleep(0.3)
        assert rows_in(postgres) == 0
    assert copy_study("many", source=here, target=postgres).trials == 3000


def test_refusals_are_one_line(tiny: Spec, here: str, there: str):
    api.create_study("tiny", tiny, storage=here)
    for name, source, target, says in (
        ("other", here, there, "study 'other': there is none in sqlite:///"),
        ("tiny", here, here, "study 'tiny' exists already in sqlite:///"),
        ("tiny", here, "nonsense", "not a database URL"),
        ("tiny", here, "postgresql+psycopg://me:secret@127.0.0.1:9/db", "the database does not answer"),
    ):
        with pytest.raises(UsageError, match=says) as refused:
            copy_study(name, source=source, target=target)
        assert "\n" not in str(refused.value)
        assert "secret" not in str(refused.value)
    copy_study("tiny", source=here, target=there)
    with pytest.raises(UsageError, match="exists already"):
        copy_study("tiny", source=here, target=there)
    # Its final alone is in the way, too.
    optuna.delete_study(study_name="tiny", storage=open_store(there))
    for url in (here, there):
        optuna.create_study(study_name="tiny/final", storage=open_store(url))
    with pytest.raises(UsageError, match="'tiny/final' exists already"):
        copy_study("tiny", source=here, target=there)


def test_another_version_is_refused(tiny: Spec, here: str, there: str, tmp_path: Path):
    import sqlite3

    api.create_study("tiny", tiny, storage=here)
    open_store(there)
    with sqlite3.connect(tmp_path / "there" / "optevo.db") as connection:
        connection.execute("UPDATE alembic_version SET version_num = 'v9.9.9'")
    with pytest.raises(UsageError, match="another version of Optuna"):
        copy_study("tiny", source=here, target=there)


@pytest.mark.slow
def test_ten_thousand_trials(here: str, there: str, postgres: str):
    many_trials(here, 10_000)
    for source, target in ((here, postgres), (postgres, there)):
        begun = time.monotonic()
        assert copy_study("many", source=source, target=target).trials == 10_000
        kind = target.partition(":")[0]
        print(f"10,000 trials (330,000 rows) copied to {kind} in {time.monotonic() - begun:.1f} s")
        assert rows_in(target) == rows_in(source) > 330_000


def test_the_command(tiny: Spec, here: str, there: str, tmp_path: Path):
    api.create_study("tiny", tiny, storage=here)
    command = [sys.executable, "-m", "optevo", "study", "copy", "tiny", "--storage", here, "--to", there]
    environment = {key: value for key, value in os.environ.items() if key != "OPTEVO_STORAGE"}
    done = subprocess.run(command, capture_output=True, text=True, env=environment, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "copied study tiny: 0 trials" in done.stdout
    again = subprocess.run(command, capture_output=True, text=True, env=environment, cwd=tmp_path)
    assert again.returncode == 2
    assert again.stdout == ""
    assert len(again.stderr.splitlines()) == 1
    assert optevo.copy_study is api.copy_study
