"""Workers of one study that get killed, frozen and cut off from their database, at moments that a seed decides.

A long run of it is benchmarks/chaos.py; short ones are tests.
"""

import logging
import multiprocessing
import os
import random
import signal
import sqlite3
import subprocess
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import optuna
from optuna.distributions import CategoricalDistribution
from optuna.study import Study
from optuna.trial import FrozenTrial, Trial, TrialState
from sqlalchemy import Engine, event
from sqlalchemy.exc import OperationalError
from tcp_postgres import TcpServer

from optevo.samplers import CoevolutionSampler, SlotSampler, claim_of, coevolve, partners_of
from optevo.samplers.outages import is_outage
from optevo.samplers.slots import CLAIM, FAILURE
from optevo.search import processes, store
from optevo.search.artifacts import BEGUN, COUNTS, Artifacts, artifacts_url
from optevo.search.processes import PROCESS
from optevo.search.store import open_store
from optevo.search.study import FINAL, open_search
from optevo.tasks.evaluation import Evaluation

# Seconds in which a short run takes a silent worker for dead.
HEARTBEAT, GRACE = 1, 3

# A worker process begins as a copy of one that has loaded everything and opened nothing: that takes no time.
CONTEXT = multiprocessing.get_context("forkserver")
CONTEXT.set_forkserver_preload(
    ["optevo.api", "optevo.search.worker", "optevo.search.collecting", "psycopg", "torch._dynamo"]
)


class Process(Protocol):
    """What `subprocess.Popen` and `multiprocessing.Process` have in common."""

    @property
    def pid(self) -> int | None: ...

    def kill(self) -> None: ...


@dataclass(frozen=True)
class Plan:
    """How many of each happen, in a random order, `gap` seconds apart on average: of the clock, or of the workers' own
    computing, so that a slow or busy machine lets them come as far as a fast one.

    Attributes:
        workers: Processes at any time.
        kills: SIGKILLs from outside.
        freezes: SIGSTOPs, each followed by a SIGCONT after `frozen` seconds.
        restarts: Of PostgreSQL, as by a power cut, each for up to `down` seconds.
        cuts: Of all connections to PostgreSQL.
        outages: Of PostgreSQL, each for `outage` seconds.
        others: More of the caller's own, by name.
        computing: Whether `gap` and `age` count seconds of computing.
        age: Seconds that a process has lived before something happens to it.
        limit: Seconds after which it all counts as stuck.
    """

    workers: int = 4
    kills: int = 0
    freezes: int = 0
    restarts: int = 0
    cuts: int = 0
    outages: int = 0
    others: Mapping[str, int] = field(default_factory=dict)
    gap: float = 1.0
    frozen: float = GRACE + 2.0
    down: float = 1.0
    outage: float = 70.0
    computing: bool = False
    age: float = 0.0
    limit: float = 600.0
    seed: int = 0

    def events(self) -> list[str]:
        """All of them, in their random order."""
        names = ("kills", "freezes", "restarts", "cuts", "outages")
        found = [name for name in names for _ in range(getattr(self, name))]
        found += [name for name, count in self.others.items() for _ in range(count)]
        random.Random(f"order {self.seed}").shuffle(found)
        return found


@dataclass
class Member:
    """A worker process, and who it is for others."""

    process: Process
    identity: str | None
    begun: float
    thaw: threading.Timer | None = None
    computed: float = 0.0

    @property
    def frozen(self) -> bool:
        return self.thaw is not None and self.thaw.is_alive()

    def freeze(self, seconds: float) -> None:
        """Stop it, and let it go on then by a clock of its own: whoever stopped it may have to wait for its locks."""
        os.kill(self.process.pid or 0, signal.SIGSTOP)
        self.thaw = threading.Timer(seconds, os.kill, (self.process.pid or 0, signal.SIGCONT))
        self.thaw.daemon = True
        self.thaw.start()

    def kill(self) -> None:
        if self.thaw is not None:
            self.thaw.cancel()
        self.process.kill()

    def compute_seconds(self) -> float:
        """Seconds of a processor that it has used; where it has ended, up to when it was last seen."""
        with suppress(OSError):
            fields = Path(f"/proc/{self.process.pid}/stat").read_text().rpartition(")")[2].split()
            self.computed = max(self.computed, (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK"))
        return self.computed

    @property
    def code(self) -> int | None:
        """Its exit code; minus the signal that killed it; None while it lives."""
        if isinstance(self.process, subprocess.Popen):
            return self.process.poll()
        return self.process.exitcode  # type: ignore[attr-defined, no-any-return]


@dataclass
class Team:
    """Workers, and what happens to them.

    Args:
        plan: What.
        start: Starts the worker of that number.
        server: The PostgreSQL that they use, if any.
        actions: What the plan's `others` do.
        phase_of: Tells how far a process had come, see :class:`Phases`.

    Attributes:
        happened: How often what happened.
        killed: Who was killed.
        phases: How far they had come, looked at before anybody else could clear away what they left.
        refused: Who came while the database was away, and said so and ended; somebody else came then.
    """

    plan: Plan
    start: Callable[[int], Process]
    server: TcpServer | None = None
    actions: Mapping[str, Callable[[], object]] = field(default_factory=dict)
    phase_of: Callable[[str | None], str] | None = None
    happened: Counter[str] = field(default_factory=Counter, init=False)
    killed: list[str | None] = field(default_factory=list, init=False)
    phases: Counter[str] = field(default_factory=Counter, init=False)
    refused: list[str | None] = field(default_factory=list, init=False)
    _members: list[Member] = field(default_factory=list, init=False)
    _started: int = field(default=0, init=False)
    _computed: float = field(default=0.0, init=False)  # by those who are gone
    _busy: threading.Thread | None = field(default=None, init=False)
    _busy_until: float = field(default=0.0, init=False)

    def run(self) -> float:
        """Work until nothing is left to do. Returns the seconds that it took.

        Raises:
            AssertionError: A worker ended by itself with an error, or they never end.
        """
        dice, todo, begun = random.Random(f"moments {self.plan.seed}"), self.plan.events(), time.monotonic()
        self._members = [self._begin() for _ in range(self.plan.workers)]
        due = self._clock() + dice.expovariate(1 / self.plan.gap)
        try:
            while self._alive():
                assert time.monotonic() - begun < self.plan.limit, "the workers wait for something that never comes"
                if todo and self._clock() >= due and self._happens(todo[-1], dice):
                    todo.pop()
                    due = self._clock() + dice.expovariate(1 / self.plan.gap)
                time.sleep(0.01)
        finally:
            for member in self._members:
                member.kill()
            if self._busy is not None:
                self._busy.join()
        return time.monotonic() - begun

    def _clock(self) -> float:
        if not self.plan.computing:
            return time.monotonic()
        return self._computed + sum(member.compute_seconds() for member in self._members)

    def _begin(self) -> Member:
        process = self.start(self._started)
        self._started += 1
        return Member(process, processes.identity(process.pid), time.monotonic())

    def _alive(self) -> bool:
        """Whether anybody works. Who was killed is replaced; who has nothing left to do is not."""
        for place, member in enumerate(self._members):
            if member.code is not None and member.code < 0:
                if member.identity not in self.killed:
                    self._note_killed(member)
                    self.happened["kills when writing"] += 1
                self._computed += member.computed
                self._members[place] = self._begin()
            elif member.code:
                assert self._is_away(), f"a worker ended with exit code {member.code}"
                self.refused.append(member.identity)
                self._computed += member.computed
                self._members[place] = self._begin()
        return any(member.code is None for member in self._members)

    def _happens(self, name: str, dice: random.Random) -> bool:
        """Let it happen; False where it cannot now."""
        if name in ("kills", "freezes"):
            there = [m for m in self._members if m.code is None and not m.frozen]
            there = [m for m in there if self._age(m) >= self.plan.age]
            if not there:
                return False
            victim = dice.choice(there)
            if name == "kills":
                victim.kill()
                while victim.code is None:
                    time.sleep(0.001)
                self._note_killed(victim)
            else:
                victim.freeze(self.plan.frozen)
        else:
            if self._busy is not None and self._busy.is_alive():
                return False
            self._busy = threading.Thread(target=self._action(name, dice))
            self._busy.start()
            self._busy_until = float("inf")
        self.happened[name] += 1
        return True

    def _note_killed(self, member: Member) -> None:
        self.killed.append(member.identity)
        if self.phase_of is not None:
            self.phases[self.phase_of(member.identity)] += 1

    def _age(self, member: Member) -> float:
        return member.compute_seconds() if self.plan.computing else time.monotonic() - member.begun

    def _is_away(self) -> bool:
        """Whether something is, or was a moment ago, done to the database."""
        if self._busy is not None and not self._busy.is_alive():
            self._busy_until = min(self._busy_until, time.monotonic() + 10)
        return time.monotonic() < self._busy_until

    def _action(self, name: str, dice: random.Random) -> Callable[[], object]:
        if name in self.actions:
            return self.actions[name]
        server = self.server
        assert server is not None, f"{name} need a PostgreSQL"
        if name == "cuts":
            return server.cut
        seconds = self.plan.outage if name == "outages" else dice.uniform(0, self.plan.down)
        return lambda: server.restart(seconds=seconds)


# What the workers do.


def hurry() -> None:
    """Shorten the time after which a silent worker counts as dead, in this process."""
    from optevo.search import living, telling, worker

    for module in (store, living):
        module.HEARTBEAT = HEARTBEAT  # type: ignore[attr-defined]
    for module in (store, living, telling, worker):
        module.GRACE = GRACE  # type: ignore[attr-defined]


def log_to(file: Path) -> None:
    """What this process says, a line with its number each."""
    logging.basicConfig(filename=file, level=logging.INFO, format="%(process)d %(name)s %(message)s", force=True)
    optuna.logging.set_verbosity(optuna.logging.ERROR)


def die_when_writing(dice: random.Random, *, often: float) -> None:
    """Kill this process before a statement that writes, or the commit of one: nobody from outside could aim so well."""
    written: list[bool] = []

    def statement(conn: Any, cursor: Any, text: str, *_: Any) -> None:
        if text.startswith(("INSERT", "UPDATE", "DELETE")):
            written.append(True)
            perhaps()

    def commit(*_: Any) -> None:
        if written:
            written.clear()
            perhaps()

    def perhaps() -> None:
        if dice.random() < often:
            os.kill(os.getpid(), signal.SIGKILL)

    event.listen(Engine, "before_cursor_execute", statement)
    event.listen(Engine, "commit", commit)


@contextmanager
def unreliable(engine: Engine, dice: random.Random, *, often: float) -> Iterator[list[str]]:
    """A connection that fails before statements and commits, and after commits: then only the news of them is lost."""
    dialect, failures = engine.dialect, []
    commit = dialect.do_commit

    def fail(kind: str) -> None:
        if dice.random() < often:
            failures.append(kind)
            raise sqlite3.OperationalError("disk I/O error")

    def before(conn: Any, cursor: Any, statement: str, *_: Any) -> None:
        try:
            fail("statement")
        except sqlite3.OperationalError as error:
            raise OperationalError(statement, {}, error) from error

    def do_commit(connection: Any) -> None:
        fail("commit")
        commit(connection)
        fail("acknowledgement")

    event.listen(engine, "before_cursor_execute", before)
    dialect.do_commit = do_commit  # type: ignore[method-assign]
    try:
        yield failures
    finally:
        event.remove(engine, "before_cursor_execute", before)
        del dialect.do_commit


@dataclass(frozen=True)
class Work:
    """What a worker process needs to know; it travels by pickle.

    Attributes:
        url: Of the database.
        log: Where it says what it does.
        deaths: Probability of its death at each statement that writes, and at each commit of one.
        pause: Seconds that the arithmetic takes at most.
        short: Whether silence counts after `GRACE` seconds instead of the product's minute.
        size: Of the pair, where it is not its own default.
        environment: What else it finds there.
    """

    url: str = field(repr=False)
    log: Path
    deaths: float = 0.0
    pause: float = 0.0
    short: bool = True
    size: Mapping[str, int] = field(default_factory=dict)
    environment: Mapping[str, str] = field(default_factory=dict, repr=False)

    def begin(self, number: int) -> None:
        """Be worker `number`."""
        os.environ.pop("OPTEVO_ARTIFACTS", None)
        os.environ.update(self.environment)
        log_to(self.log)
        if self.short:
            hurry()
        if self.deaths:
            die_when_writing(random.Random(number), often=self.deaths)


def be_worker(target: Callable[[Work], None], work: Work, number: int) -> None:
    """Call `target(work)` as worker `number`; its error, if any, goes into the log, and ends it with exit code 1."""
    work.begin(number)
    try:
        target(work)
    except Exception as error:  # Whatever it is, nobody here can mend it.
        logging.exception("worker %d ended: %s", number, error)
        raise SystemExit(1) from None


def started(target: Callable[[Work], None], work: Work) -> Callable[[int], Process]:
    """What starts workers that call `target(work)`."""

    def start(number: int) -> Process:
        process = CONTEXT.Process(target=be_worker, args=(target, work, number))
        process.start()
        return process

    return start


NAME = "chaos"


def train(work: Work) -> None:
    """The product's whole worker, with real training."""
    from optevo import api

    api.work(NAME, storage=work.url)


class Arithmetic:
    """In the task's place: values that follow from genome and seed alone, after a pause that does, too."""

    def __init__(self, pause: float) -> None:
        self.pause = pause

    def evaluate(self, params: Mapping[str, Any], *, seed: int, on_step: Any = None, **_: Any) -> Any:
        rng = np.random.default_rng([seed, *map(abs, map(int, params.values()))])
        value, seconds = float(rng.uniform(1, 2)), self.pause * rng.uniform()
        for step in range(10 if self.pause else 0):
            time.sleep(seconds / 10)
            if on_step is not None:
                on_step(step)
        return Evaluation(value=value, metrics={"half": value / 2}, model=None)


def calculate(work: Work) -> None:
    """The product's worker with arithmetic in the place of training; each individual has a small file."""
    from optevo.search.collecting import Collector
    from optevo.search.living import heartbeat
    from optevo.search.worker import Worker

    search = open_search(NAME, url=work.url)
    artifacts = Artifacts(artifacts_url(search.url, recorded=search.record.artifacts))
    collector = Collector(search, artifacts)
    file = work.log.with_name(f"{os.getpid()}.png")

    def keep(trial: Trial, evaluation: Any) -> None:
        collector.after_individual()
        file.write_bytes(np.float64(evaluation.value).tobytes() * 2000)
        with heartbeat(trial.storage, trial._trial_id):
            artifacts.attach(trial, file)

    task: Any = Arithmetic(work.pause)
    Worker(search, task, threading.Event(), keep).run()


PAIR = ("pair/left", "pair/right")
SPACE = {f"g{i}": CategoricalDistribution([0, 1, 2, 3, 4, 5]) for i in range(6)}


def open_pair(storage: Any, *, names: Sequence[str] = PAIR, generations: int = 6, population: int = 6) -> list[Study]:
    """Two populations that are judged against each other."""
    return [
        optuna.create_study(
            study_name=name,
            storage=storage,
            load_if_exists=True,
            sampler=CoevolutionSampler(
                populations=names,
                search_space=SPACE,
                population_size=population,
                generations=generations,
                scaling="rank",
                duplicates="mutate",
                seed=place,
            ),
        )
        for place, name in enumerate(names)
    ]


def meeting(pause: float) -> Callable[[Trial], float]:
    """An objective of an individual and its partner: be large, and near the other one."""

    def judge(trial: Trial) -> float:
        mine = [trial.suggest_categorical(name, d.choices) for name, d in SPACE.items()]
        trial.set_user_attr("process", processes.identity())
        rivals = list(partners_of(trial).values())
        theirs = [rivals[0].params[name] for name in SPACE] if rivals else [2] * len(SPACE)
        time.sleep(pause * np.random.default_rng(mine).uniform())
        return float(sum((place + 2) * abs(a - b) - a for place, (a, b) in enumerate(zip(mine, theirs, strict=True))))

    return judge


def work_on_pair(work: Work) -> None:
    """One of several processes that co-evolve the pair."""
    coevolve(open_pair(open_store(work.url), **work.size), [meeting(work.pause)] * 2)


def visit(target: Callable[[Work], None], work: Work) -> None:
    """Let one more worker look when the silent ones count as dead: it finds nothing to do, and leaves nothing open.

    Raises:
        AssertionError: It ended with an error.
    """
    time.sleep(GRACE + 1)
    process = CONTEXT.Process(target=be_worker, args=(target, replace(work, deaths=0.0), 0))
    process.start()
    process.join()
    assert process.exitcode == 0, f"see {work.log}"


# What came of it.


def individuals(study: Study) -> list[list[dict[str, Any]]]:
    """What must not depend on who trained what: all that an individual is, its parents named by their slots."""
    assert isinstance(study.sampler, SlotSampler)
    history = study.sampler.history(study)
    places = {t.number: [g, s] for g, generation in enumerate(history) for s, t in enumerate(generation)}
    return [[_individual(trial, places) for trial in generation] for generation in history]


def _individual(trial: FrozenTrial, places: Mapping[int, list[int]]) -> dict[str, Any]:
    claim = claim_of(trial)
    assert claim is not None
    return {
        "genome": claim.genome,
        "params": trial.params,
        "operator": claim.operator,
        "parents": [places[number] for number in claim.parents],
        "partner": {name: [chosen["genome"], chosen["params"]] for name, chosen in (claim.partner or {}).items()},
        "value": trial.value,
    }


def outcome(url: str) -> dict[str, Any]:
    """The canonical individuals of a study, and of its final."""
    search = open_search(NAME, url=url)
    final = search.final()
    assert final is not None, "there is no final"
    return {"search": individuals(search.study), "final": individuals(final)}


def problems(url: str, names: Iterable[str]) -> list[str]:
    """What must never be left behind, whatever happened: work in progress, and failures of individuals."""
    found = []
    for name in names:
        for trial in optuna.load_study(study_name=name, storage=open_store(url)).get_trials(deepcopy=False):
            if not trial.state.is_finished():
                found.append(f"{name}: trial {trial.number} is {trial.state.name}")
            if trial.system_attrs.get(FAILURE, "died") != "died":
                found.append(f"{name}: trial {trial.number} counts as {trial.system_attrs[FAILURE]}")
    return found


def damaged(url: str) -> list[str]:
    """Files that count and are not what was stored."""
    from optevo.search.artifact_rows import artifact_rows, engine_of

    search = open_search(NAME, url=url)
    artifacts = Artifacts(artifacts_url(url, recorded=search.record.artifacts), patience=0)
    found = []
    for study in (search.study, search.final()):
        for row in artifact_rows(engine_of(study), study=study._study_id) if study is not None else []:
            if row.stored is not None:
                try:
                    artifacts.read(row.stored)
                except Exception as error:  # Whatever is wrong with it.
                    found.append(str(error))
    return found


@dataclass
class Phases:
    """How far a process had come with its last trial, from what it has written until now.

    Args:
        url: Of the database.
        names: Of the studies.
    """

    url: str = field(repr=False)
    names: Sequence[str]

    def __call__(self, identity: str | None) -> str:
        try:
            trials = [trial for name in self.names for trial in self._trials(name)]
        except Exception as error:  # Drivers have errors of their own.
            if not is_outage(error):
                raise
            return "while the database was away"
        mine = [t for t in trials if (t.system_attrs.get(PROCESS) or t.user_attrs.get("process")) == identity]
        return _phase(max(mine, key=lambda trial: trial._trial_id) if mine and identity else None)

    def _trials(self, name: str) -> list[FrozenTrial]:
        try:
            return optuna.load_study(study_name=name, storage=self._storage).get_trials(deepcopy=False)
        except KeyError:  # The final has not begun.
            return []

    @cached_property
    def _storage(self) -> Any:
        return open_store(self.url)


def _phase(trial: FrozenTrial | None) -> str:
    if trial is None:
        return "before its first trial"
    if trial.state not in (TrialState.RUNNING, TrialState.FAIL) or FAILURE in trial.system_attrs:
        return "between trials"
    if not trial.system_attrs.get(CLAIM) or "generation" not in trial.user_attrs or not trial.params:
        return "claim"
    keys = set(trial.system_attrs)
    if "half" in trial.user_attrs or "l1_val" in trial.user_attrs or any(key.startswith(COUNTS) for key in keys):
        return "tell"
    return "upload" if any(key.startswith(BEGUN) for key in keys) else "training"


def trainings(url: str, names: Iterable[str]) -> dict[str, int]:
    """How many trials there were, how many of them were lost, and how many were trained for nothing."""
    counts: Counter[str] = Counter()
    for name in names:
        done = Counter()
        for trial in optuna.load_study(study_name=name, storage=open_store(url)).get_trials(deepcopy=False):
            claim = claim_of(trial)
            counts["trials"] += 1
            counts["lost"] += trial.state == TrialState.FAIL
            if claim is not None and claim.reused is None and trial.state == TrialState.COMPLETE:
                done[claim.generation, claim.slot] += 1
        counts["individuals"] += len(done)
        counts["trained twice"] += done.total() - len(done)
    return dict(counts)


def said(log: Path) -> Counter[str]:
    """How often the workers said what."""
    lines = log.read_text().splitlines() if log.exists() else []
    texts = {
        "the database does not answer": "does not answer",
        "the database is back": "is back after",
        "given to another worker": "given to another worker",
        "files are not stored": "files are not stored",
        "artifact store tried again": "trying again in",
    }
    return Counter({name: sum(text in line for line in lines) for name, text in texts.items()})


FINALS = (NAME, NAME + FINAL)
