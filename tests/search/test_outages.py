"""The database goes away at any moment: nothing recorded is lost or wrong, and the study ends as if undisturbed."""

import logging
import os
import random
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import optuna
import psycopg
import pytest
from disturbances import unreliable
from optuna.exceptions import StorageInternalError
from optuna.trial import TrialState
from sqlalchemy import event, text
from sqlalchemy.exc import DatabaseError, DBAPIError, IntegrityError, OperationalError, PendingRollbackError
from tcp_postgres import PASSWORD, TcpServer

from optevo import api
from optevo.errors import InterruptedRunError, OptevoError, UsageError
from optevo.samplers import claim_of
from optevo.samplers.outages import is_outage
from optevo.samplers.slots import FAILURE
from optevo.search import living, processes, retrying, store, worker
from optevo.search.processes import PROCESS
from optevo.search.progress import canonical_trials, snapshot
from optevo.search.retrying import Patience
from optevo.search.spec import Spec
from optevo.search.study import Search, open_search
from optevo.search.unet import UNetSystem
from optevo.search.worker import Worker
from optevo.tasks.evaluation import Evaluation


class Arithmetic:
    """A task whose values follow from genome and seed alone, in no time. `between` is called while it trains."""

    def __init__(self, between: Callable[[int], None] = lambda count: None) -> None:
        self.count = 0
        self.between = between

    def evaluate(self, params: Mapping[str, Any], *, seed: int, **_: Any) -> Any:
        self.count += 1
        self.between(self.count)
        values = [value if isinstance(value, int) else ord(str(value)[0]) for value in params.values()]
        value = float(np.random.default_rng([seed, *map(abs, values)]).uniform(1, 2))
        return Evaluation(value=value, metrics={"half": value / 2}, model=None)


def outcome(search: Search) -> tuple[list, list]:
    """Genomes, operators, values and metrics of the canonical trials, of the search and of the final."""
    final = search.final()
    assert final is not None
    done = [(claim_of(t).operator, t.params, t.value, t.user_attrs["half"]) for t in canonical_trials(search)]
    finals = sorted((claim_of(t).slot, t.value) for t in final.get_trials() if t.state == TrialState.COMPLETE)
    return done, finals


def work(url: str, task: Any, stop: threading.Event | None = None) -> Search:
    search = open_search("tiny", url=url)
    Worker(search, task, stop or threading.Event()).run()
    return search


@pytest.fixture(scope="module")
def undisturbed(tiny: Spec, tmp_path_factory: pytest.TempPathFactory) -> tuple[list, list]:
    url = f"sqlite:///{tmp_path_factory.mktemp('undisturbed') / 'optevo.db'}"
    api.create_study("tiny", tiny, storage=url)
    return outcome(work(url, Arithmetic()))


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Retries without the long pauses, Optuna's own too."""
    monkeypatch.setattr(retrying, "FIRST", 0.001)
    monkeypatch.setattr(retrying, "LONGEST", 0.01)
    monkeypatch.setattr("optuna.storages._rdb.storage.time", SimpleNamespace(sleep=lambda seconds: None))


@pytest.mark.parametrize("seed", range(6))
def test_failures_at_any_statement_and_commit_change_nothing(
    seed: int, tiny: Spec, tmp_path: Path, impatient: None, undisturbed: tuple[list, list]
):
    url = f"sqlite:///{tmp_path / 'optevo.db'}"
    search = api.create_study("tiny", tiny, storage=url)
    with unreliable(search.storage.engine, random.Random(seed), often=0.02) as failures:
        Worker(search, Arithmetic(), threading.Event()).run()
    assert {"statement", "commit", "acknowledgement"} <= set(failures)
    found = open_search("tiny", url=url)
    assert outcome(found) == undisturbed
    assert snapshot(found).phase == "done"
    # Nobody's work is left behind, and no slot has two results.
    for study in (found.study, found.final()):
        trials = study.get_trials()
        assert all(trial.state.is_finished() for trial in trials)
        trained = [
            (claim_of(t).generation, claim_of(t).slot)
            for t in trials
            if t.state == TrialState.COMPLETE and claim_of(t).reused is None
        ]
        assert len(trained) == len(set(trained))


@pytest.mark.slow
def test_postgresql_is_restarted_while_individuals_train(
    tiny: Spec,
    postgres: str,
    postgres_server: TcpServer,
    undisturbed: tuple[list, list],
    caplog: pytest.LogCaptureFixture,
):
    api.create_study("tiny", tiny, storage=postgres)
    threads: list[threading.Thread] = []

    def stop_it(count: int) -> None:
        if count in (2, 7):
            thread = threading.Thread(target=postgres_server.restart, kwargs={"seconds": 3})
            threads.append(thread)
            thread.start()
            time.sleep(1)

    with caplog.at_level(logging.WARNING, "optevo.worker"):
        search = work(postgres, Arithmetic(stop_it))
    for thread in threads:
        thread.join()
    assert outcome(search) == undisturbed
    # No individual was trained twice: each result waited for the database.
    assert sum(trial.state == TrialState.FAIL for trial in search.study.get_trials()) == 0
    said = [record.getMessage() for record in caplog.records]
    assert sum("does not answer" in line for line in said) == 2
    assert sum("is back after" in line for line in said) == 2
    assert all("\n" not in line and line.startswith("postgresql+psycopg://") for line in said)


@pytest.mark.slow
def test_connections_are_cut_and_servers_restarted_at_random_moments(
    tiny: Spec,
    postgres: str,
    postgres_server: TcpServer,
    undisturbed: tuple[list, list],
    monkeypatch: pytest.MonkeyPatch,
):
    monkeypatch.setattr(retrying, "PATIENCE", 60.0)
    # Opened while the database answers: who begins while it does not is told so and waits for nothing.
    search = api.create_study("tiny", tiny, storage=postgres)
    over, dice, cuts = threading.Event(), random.Random(5), []

    def cut() -> None:
        while not over.wait(dice.uniform(0.1, 1.0)):
            if len(cuts) % 5 == 4:
                postgres_server.restart(seconds=dice.uniform(0, 1))
            cuts.append(postgres_server.cut())

    thread = threading.Thread(target=cut)
    thread.start()
    try:
        Worker(search, Arithmetic(lambda count: time.sleep(0.3)), threading.Event()).run()
    finally:
        over.set()
        thread.join()
    print(f"{len(cuts)} cuts of {sum(cuts)} connections")
    assert sum(cuts) > 5
    assert outcome(search) == undisturbed


@pytest.mark.slow
def test_a_real_study_survives_a_restart_of_postgresql(
    tiny: Spec, postgres: str, postgres_server: TcpServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("OPTEVO_ARTIFACTS", str(tmp_path / "artifacts"))
    undisturbed = f"sqlite:///{tmp_path / 'optevo.db'}"
    for url in (undisturbed, postgres):
        api.create_study("tiny", tiny, storage=url)
    api.work("tiny", storage=undisturbed)
    lines: list[str] = []

    def finished() -> int:
        return sum(t.state == TrialState.COMPLETE for t in open_search("tiny", url=postgres).study.get_trials())

    def stop_it() -> None:
        while finished() < 2:
            time.sleep(0.1)
        postgres_server.restart(seconds=4)

    thread = threading.Thread(target=stop_it)
    thread.start()
    state = api.run_study(
        "tiny", storage=postgres, workers=2, on_snapshot=lambda *_: None, on_line=lines.append
    )  # Its own look at the database must survive, too.
    thread.join()
    assert state.phase == "done"
    assert any("does not answer" in line for line in lines), lines
    results = []
    for url in (undisturbed, postgres):
        search = open_search("tiny", url=url)
        results.append([(claim_of(t).operator, t.params, t.value) for t in canonical_trials(search)])
        results.append([candidate.values for candidate in api.best("tiny", storage=url).candidates])
    assert results[:2] == results[2:]


@pytest.mark.slow
def test_a_database_that_stays_away_ends_the_worker_with_one_line(
    tiny: Spec, postgres: str, postgres_server: TcpServer, tmp_path: Path
):
    api.create_study("tiny", tiny, storage=postgres)
    short = "import optevo.search.retrying as r; r.PATIENCE = 2.0; from optevo.cli.main import main; main()"
    with subprocess.Popen(
        [
            sys.executable,
            "-c",
            short,
            "worker",
            "tiny",
            "--storage",
            postgres,
        ],
        stderr=subprocess.PIPE,
        text=True,
        cwd=tmp_path,
    ) as process:
        search = open_search("tiny", url=postgres)
        while not search.study.get_trials():
            time.sleep(0.05)
        restart_later = threading.Thread(target=postgres_server.restart, kwargs={"seconds": 15})
        restart_later.start()
        _, said = process.communicate(timeout=60)
    restart_later.join()
    assert process.returncode == 1, said
    last = said.splitlines()[-1]
    assert last.startswith("optevo: postgresql+psycopg://")
    assert "has not answered for" in last
    assert "run the same command again" in last
    assert PASSWORD not in said
    assert "Traceback" not in said
    # Nothing is broken: what ran is given out again, and the study ends.
    Worker(open_search("tiny", url=postgres), Arithmetic(), threading.Event()).run()
    assert snapshot(open_search("tiny", url=postgres)).phase == "done"


def test_a_database_that_stays_away_is_no_failure_of_the_individual(
    tiny: Spec, tmp_path: Path, impatient: None, monkeypatch: pytest.MonkeyPatch
):
    search = api.create_study("tiny", tiny, storage=f"sqlite:///{tmp_path / 'optevo.db'}")
    monkeypatch.setattr(retrying, "PATIENCE", 0.05)

    def away(*_: Any, **__: Any) -> None:
        raise LOCKED

    monkeypatch.setattr(UNetSystem, "individual", away)
    with pytest.raises(OptevoError, match="has not answered"):
        Worker(search, Arithmetic(), threading.Event()).run()
    (trial,) = search.study.trials
    assert FAILURE not in trial.system_attrs


def test_a_lock_on_sqlite_longer_than_its_timeout(
    tiny: Spec,
    tmp_path: Path,
    undisturbed: tuple[list, list],
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
):
    monkeypatch.setattr(store, "LOCK", 0.2)
    file = tmp_path / "optevo.db"
    url = f"sqlite:///{file}"
    api.create_study("tiny", tiny, storage=url)

    def lock_it(count: int) -> None:
        if count == 3:
            other = sqlite3.connect(file, isolation_level=None, check_same_thread=False)
            other.execute("BEGIN IMMEDIATE")
            threading.Timer(1.5, lambda: other.execute("ROLLBACK")).start()

    with caplog.at_level(logging.WARNING, "optevo.worker"):
        search = work(url, Arithmetic(lock_it))
    assert outcome(search) == undisturbed
    said = [record.getMessage() for record in caplog.records]
    assert "does not answer (database is locked); trying again" in said[0]
    assert "is back after" in said[1]


def test_a_result_that_comes_too_late_is_dropped(
    tiny: Spec, tmp_path: Path, undisturbed: tuple[list, list], caplog: pytest.LogCaptureFixture
):
    """As after an outage that was longer than the heartbeats' grace, where another worker came back first."""
    url = f"sqlite:///{tmp_path / 'optevo.db'}"
    search = api.create_study("tiny", tiny, storage=url)

    def give_away(count: int) -> None:
        if count == 2:
            for trial in search.study.get_trials(states=(TrialState.RUNNING,)):
                search.study._storage.set_trial_state_values(trial._trial_id, TrialState.FAIL)

    with caplog.at_level(logging.WARNING, "optevo.worker"):
        Worker(search, Arithmetic(give_away), threading.Event()).run()
    assert outcome(search) == undisturbed
    assert "given to another worker" in caplog.text


def test_a_slot_that_is_given_away_during_the_claim(
    tiny: Spec, tmp_path: Path, undisturbed: tuple[list, list], monkeypatch: pytest.MonkeyPatch
):
    url = f"sqlite:///{tmp_path / 'optevo.db'}"
    search = api.create_study("tiny", tiny, storage=url)
    sampler, calls = search.sampler, []
    before = sampler.before_trial

    def slow(study: Any, trial: Any) -> None:
        before(study, trial)
        calls.append(trial)
        if len(calls) == 2:
            study._storage.set_trial_state_values(trial._trial_id, TrialState.FAIL)

    monkeypatch.setattr(sampler, "before_trial", slow)
    Worker(search, Arithmetic(), threading.Event()).run()
    assert outcome(search) == undisturbed


def test_after_an_outage_nobody_counts_as_silent_at_once(
    tiny: Spec, tmp_path: Path, impatient: None, monkeypatch: pytest.MonkeyPatch
):
    search = api.create_study("tiny", tiny, storage=f"sqlite:///{tmp_path / 'optevo.db'}")
    looked: list[bool] = []
    monkeypatch.setattr(worker, "sweep", lambda study, *, silent: looked.append(silent))
    one = Worker(search, Arithmetic(), threading.Event())
    one._sweep(search.study)
    one.patience.note(OperationalError("", {}, sqlite3.OperationalError("database is locked")))
    one._sweep(search.study)
    monkeypatch.setattr(worker, "GRACE", 0)
    one._sweep(search.study)
    assert looked == [True, False, True]


def test_a_trial_says_from_its_first_moment_whose_it_is(tiny: Spec, tmp_path: Path):
    search = api.create_study("tiny", tiny, storage=f"sqlite:///{tmp_path / 'optevo.db'}")
    created: list[Any] = []
    storage = search.study._storage
    create = storage.create_new_trial

    def killed(study_id: int, template_trial: Any = None) -> int:
        created.append(create(study_id, template_trial))
        raise KeyboardInterrupt

    storage.create_new_trial = killed
    with pytest.raises(KeyboardInterrupt):
        living.ask(search.study)
    trial = storage.get_trial(created[0])
    assert trial.state == TrialState.RUNNING
    assert trial.system_attrs[PROCESS] == processes.identity()
    living.sweep(search.study)
    assert storage.get_trial(created[0]).state == TrialState.FAIL


def test_files_that_cannot_be_stored_cost_no_result(
    tiny: Spec, tmp_path: Path, undisturbed: tuple[list, list], caplog: pytest.LogCaptureFixture
):
    search = api.create_study("tiny", tiny, storage=f"sqlite:///{tmp_path / 'optevo.db'}")

    def keep(*_: Any) -> None:
        raise RuntimeError("the bucket is gone")

    Worker(search, Arithmetic(), threading.Event(), keep).run()
    assert outcome(search) == undisturbed
    assert "trial 0: its files are not stored (the bucket is gone)" in caplog.text


def failing(error: Exception, *, times: int) -> Callable[[], str]:
    left = iter(range(times))

    def step() -> str:
        if next(left, None) is not None:
            raise error
        return "done"

    return step


LOCKED = OperationalError("SELECT 1", {}, sqlite3.OperationalError("database is locked"))


def test_patience_waits_says_so_and_ends(impatient: None, monkeypatch: pytest.MonkeyPatch, caplog: Any):
    patience = Patience(url="postgresql://me:secret@host/db", stop=threading.Event())
    assert patience.through(failing(LOCKED, times=5)) == "done"
    lines = [record.getMessage() for record in caplog.records]
    assert len(lines) == 2
    assert lines[0] == "postgresql://me:***@host/db: the database does not answer (database is locked); trying again"
    monkeypatch.setattr(retrying, "REMINDER", 0.0)
    caplog.clear()
    patience.through(failing(LOCKED, times=3))
    assert len(caplog.records) == 4
    monkeypatch.setattr(retrying, "PATIENCE", 0.05)
    with pytest.raises(OptevoError, match=r"me:\*\*\*@host/db: the database has not answered for 0 s") as ended:
        patience.through(failing(LOCKED, times=1000))
    assert ended.value.exit_code == 1


def test_the_reason_is_what_broke_the_connection():
    refused = OperationalError("SELECT", {}, psycopg.OperationalError("connection refused"))
    later = PendingRollbackError("Can't reconnect until invalid transaction is rolled back.")
    later.__context__ = refused
    assert store.reason(later) == "connection refused"
    wrapped = StorageInternalError("An exception is raised during the commit.")
    wrapped.__cause__ = later
    assert store.reason(wrapped) == "connection refused"


def test_who_is_asked_to_stop_does_not_wait():
    stop = threading.Event()
    stop.set()
    with pytest.raises(InterruptedRunError):
        Patience(url="sqlite:///x.db", stop=stop).through(failing(LOCKED, times=1))


@pytest.mark.parametrize(
    "error",
    [
        KeyError("trial"),
        ValueError("wrong"),
        OperationalError("SELECT", {}, sqlite3.OperationalError("no such table: trials")),
        DatabaseError("SELECT", {}, sqlite3.DatabaseError("database disk image is malformed")),
        IntegrityError("INSERT", {}, sqlite3.IntegrityError("UNIQUE constraint failed")),
        OperationalError("SELECT", {}, psycopg.errors.InsufficientPrivilege("permission denied")),
        StorageInternalError("no cause"),
    ],
)
def test_what_no_waiting_would_cure_is_raised_at_once(error: Exception):
    assert not is_outage(error)
    with pytest.raises(type(error)):
        Patience(url="sqlite:///x.db", stop=threading.Event()).through(failing(error, times=1))


@pytest.mark.parametrize(
    "error",
    [
        LOCKED,
        OperationalError("INSERT", {}, sqlite3.OperationalError("database or disk is full")),
        OperationalError("INSERT", {}, sqlite3.OperationalError("disk I/O error")),
        OperationalError("INSERT", {}, sqlite3.OperationalError("unable to open database file")),
        OperationalError("INSERT", {}, psycopg.errors.AdminShutdown("terminating connection")),
        OperationalError("INSERT", {}, psycopg.errors.DiskFull("could not extend file")),
        OperationalError("INSERT", {}, psycopg.errors.DeadlockDetected("deadlock detected")),
        OperationalError("INSERT", {}, psycopg.OperationalError("connection refused")),
    ],
)
def test_what_may_pass_is_waited_for(error: Exception):
    assert is_outage(error)
    wrapped = StorageInternalError("An exception is raised during the commit.")
    wrapped.__cause__ = error
    assert is_outage(wrapped)


@pytest.mark.parametrize("room", range(4))
def test_a_full_disk_under_sqlite(
    room: int, tiny: Spec, tmp_path: Path, undisturbed: tuple[list, list], impatient: None, caplog: Any
):
    """SQLite itself says that it is full, wherever in a trial that is; `room` pages are left, and more comes later."""
    url = f"sqlite:///{tmp_path / 'optevo.db'}"
    search = api.create_study("tiny", tiny, storage=url)
    with search.storage.engine.connect() as connection:
        pages = connection.execute(text("PRAGMA page_count")).scalar_one() + room
    attempts: list[bool] = []

    @event.listens_for(search.storage.engine, "checkout")
    def limit(connection: Any, *_: Any) -> None:
        full = sum("does not answer" in record.getMessage() for record in caplog.records)
        attempts.append(bool(full))
        connection.execute(f"PRAGMA max_page_count={pages if sum(attempts) < 500 else 10**6}")

    with caplog.at_level(logging.WARNING, "optevo.worker"):
        Worker(search, Arithmetic(), threading.Event()).run()
    assert "database or disk is full" in caplog.text
    assert outcome(search) == undisturbed


def test_tables_of_another_version_are_refused(tiny: Spec, tmp_path: Path):
    url = f"sqlite:///{tmp_path / 'optevo.db'}"
    api.create_study("tiny", tiny, storage=url)
    with sqlite3.connect(tmp_path / "optevo.db") as connection:
        connection.execute("UPDATE alembic_version SET version_num = 'v9.9.9'")
    with pytest.raises(UsageError, match="another version of Optuna") as refused:
        open_search("tiny", url=url)
    assert "\n" not in str(refused.value)


def test_a_stopped_worker_leaves_though_the_database_is_away(
    tiny: Spec, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
):
    search = api.create_study("tiny", tiny, storage=f"sqlite:///{tmp_path / 'optevo.db'}")

    def stopped(count: int) -> None:
        def away(*_: Any) -> None:
            raise LOCKED

        event.listen(search.storage.engine, "before_cursor_execute", away)
        raise InterruptedRunError("stopped")

    with pytest.raises(InterruptedRunError):
        Worker(search, Arithmetic(stopped), threading.Event()).run()
    assert "trial 0 stays marked as running until it has been silent for 60 s" in caplog.text


@pytest.mark.slow
def test_who_stands_still_in_a_transaction_does_not_stop_the_others(
    postgres: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """As a laptop that is closed in the moment of a claim: it holds the lock under which trials are numbered."""
    monkeypatch.setattr(store, "GRACE", 2)
    study = optuna.create_study(study_name="s", storage=store.open_store(postgres))
    asleep = store.open_store(postgres).engine.connect()
    asleep.execute(text("SELECT * FROM studies FOR UPDATE"))
    study.tell(study.ask(), 1.0)  # It would wait for ever.
    with pytest.raises(DBAPIError) as ended:
        asleep.execute(text("SELECT 1"))
    assert is_outage(ended.value)
    # A copy takes as long as its files take.
    store.wait_in_transaction(asleep := store.open_store(postgres).engine.connect())
    time.sleep(3)
    asleep.execute(text("SELECT 1"))
    asleep.close()


def test_a_process_that_nobody_waits_for_is_gone():
    with subprocess.Popen(["sleep", "100"]) as child:
        identity = processes.identity(child.pid)
        assert not processes.is_gone(identity)
        child.kill()
        os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)  # It is a zombie now, and stays one.
        assert Path(f"/proc/{child.pid}").exists()
        assert processes.is_gone(identity)


def test_who_was_killed_before_the_first_heartbeat_leaves_no_running_trial(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """On another machine, where nobody can see that its process is gone."""
    monkeypatch.setattr(store, "GRACE", 1)
    monkeypatch.setattr(store, "HEARTBEAT", 1)
    study = optuna.create_study(study_name="s", storage=store.open_store(f"sqlite:///{tmp_path / 'optevo.db'}"))
    study._storage.create_new_trial(study._study_id)
    living.sweep(study)
    assert study.trials[0].state == TrialState.RUNNING
    time.sleep(2.5)
    living.sweep(study)
    assert study.trials[0].state == TrialState.FAIL
