"""Whatever dies, stands still or goes away, a study ends as an undisturbed one. benchmarks/chaos.py does more of it."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import disturbances as chaos
import pytest
from disturbances import FINALS, NAME, PAIR, Phases, Plan, Team, Work
from optuna.storages import InMemoryStorage
from tcp_postgres import TcpServer
from tiny_study import tiny_document

from optevo import api
from optevo.samplers import coevolve
from optevo.search.spec import Spec, parse_spec
from optevo.search.store import open_store

# SQLite is a file: it has no server that could go away.
DATABASES = {
    "sqlite": Plan(workers=3, kills=5, freezes=1, gap=0.5),
    "postgresql": Plan(workers=3, kills=5, freezes=1, restarts=1, cuts=2, gap=0.4),
}


@pytest.fixture(params=DATABASES)
def database(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[str, Plan, TcpServer | None]:
    """An empty database, what shall happen to it, and its server if it has one."""
    plan = DATABASES[request.param]
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'optevo.db'}", plan, None
    return request.getfixturevalue("postgres"), plan, request.getfixturevalue("postgres_server")


@pytest.fixture(scope="module")
def spec(facades: Path) -> Spec:
    document = tiny_document(facades)
    document["training"] |= {"steps": 30}
    document["sampler"] |= {"population": 4, "generations": 4}
    return parse_spec(document, source="tests")


@pytest.fixture(scope="module")
def undisturbed(spec: Spec, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    url = f"sqlite:///{tmp_path_factory.mktemp('undisturbed') / 'optevo.db'}"
    api.create_study(NAME, spec, storage=url)
    api.work(NAME, storage=url)
    return chaos.outcome(url)


@pytest.mark.slow
def test_real_training_amid_kills_freezes_restarts_and_cuts(
    database: tuple[str, Plan, TcpServer | None],
    spec: Spec,
    undisturbed: dict[str, Any],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
):
    monkeypatch.delenv("OPTEVO_ARTIFACTS", raising=False)
    url, plan, server = database
    api.create_study(NAME, spec, storage=url, artifacts=str(tmp_path / "artifacts"))
    work = Work(url, tmp_path / "workers.log", deaths=0.004)
    team = Team(replace(plan, computing=True), chaos.started(chaos.train, work), server, phase_of=Phases(url, FINALS))
    seconds = team.run()
    chaos.visit(chaos.train, work)
    print(f"{seconds:.0f} s, {dict(team.happened)}, {dict(team.phases)}")
    print(chaos.trainings(url, FINALS), dict(chaos.said(work.log)))
    assert chaos.outcome(url) == undisturbed
    assert chaos.problems(url, FINALS) == []
    assert {Phases(url, FINALS)(identity) for identity in team.refused} <= {"before its first trial"}
    assert chaos.damaged(url) == []
    assert len(team.killed) >= plan.kills / 2
    assert team.happened["freezes"] == plan.freezes


@pytest.mark.slow
def test_two_populations_amid_kills_freezes_restarts_and_cuts(
    database: tuple[str, Plan, TcpServer | None], tmp_path: Path
):
    alone = InMemoryStorage()
    coevolve(chaos.open_pair(alone), [chaos.meeting(0)] * 2)
    url, plan, server = database
    chaos.open_pair(open_store(url))
    work = Work(url, tmp_path / "workers.log", deaths=0.004, pause=0.5)
    team = Team(plan, chaos.started(chaos.work_on_pair, work), server, phase_of=Phases(url, PAIR))
    seconds = team.run()
    chaos.visit(chaos.work_on_pair, work)
    print(f"{seconds:.0f} s, {dict(team.happened)}, {dict(team.phases)}")
    print(chaos.trainings(url, PAIR), dict(chaos.said(work.log)))
    undisturbed = [chaos.individuals(study) for study in chaos.open_pair(alone)]
    assert [chaos.individuals(study) for study in chaos.open_pair(open_store(url))] == undisturbed
    assert chaos.problems(url, PAIR) == []
    assert {Phases(url, PAIR)(identity) for identity in team.refused} <= {"before its first trial"}
    assert len(team.killed) >= plan.kills / 2
    assert team.happened["freezes"] == plan.freezes
