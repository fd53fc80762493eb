"""Samplers on tables of trained U-Nets: how near to the best do they come, and after how many evaluations?

    python benchmarks/sampler_quality.py --table facades-32 --runs 100 --workers 2

A sampler sees the mean over one half of a table's seeds and is judged by the other half; runs of even and of odd number
see different halves, so that the luck of one does not decide. Regret at n is the judged value of what looked best after
n evaluations, above the best of the table, in units of one seed's standard deviation. The halves disagree a little
about who is best, so that no search, not even an exhaustive one, gets rid of all regret; searched regret is by the half
that the sampler saw, and who finds the best of that has none. Of a fitted table a sampler sees the model with the noise
of one seed, and is judged by the model alone: its searched regret tells of luck. Every call of the objective is an
evaluation, repeated genomes too; RouletteGASampler's records of known individuals call nothing. Half of the candidates
of "screened" are bred and half are random; "screened, bred" has none of the latter and "screened, drawn", which lacks
the genetics, none of the former.

What is done lies in `--work` and is continued; results go to benchmarks/results/sampler-quality-TABLE.json, .md and
.png, as they come out. Results that are there already stay, of samplers that have no runs in `--work`, where the table
and Optuna are still the same: who changes one sampler need not run all.
"""

import argparse
import hashlib
import json
import multiprocessing
import platform
import statistics
import time
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cache, cached_property
from pathlib import Path
from typing import Any

import numpy as np
import optuna
import unet_fitted_table
from optuna.distributions import CategoricalDistribution, IntDistribution
from recording import keep, kept
from unet_table import l_gen_of, without_seed_effects

import optevo
from optevo.evolution.screening import Screening
from optevo.samplers import RouletteGASampler

HERE = Path(__file__).parent
BUDGETS = (64, 128, 256, 512)
TOP = 0.005
BLOCK = 20
SHOWN = 8  # evaluations from which on a picture shows regret


@dataclass(frozen=True)
class Table:
    """A space of which every value is known.

    Attributes:
        genes: Number of values of each gene; a genome is a tuple of indices.
        chromosomes: Numbers of genes that are bred together.
        seen, judged: Quality by both halves of the seeds, shape (rows,), rows in the order of `np.ndindex(*genes)`.
        cost: Of each row, over the original network's.
        unit: What a cost of 1 weighs with gamma = 1, in the unit of quality.
        spread: The standard deviation of one seed.
        fitted: Whether a model is the judge, and `seen` is what it says with one seed's noise.
    """

    genes: tuple[int, ...]
    chromosomes: tuple[int, ...]
    seen: np.ndarray
    judged: np.ndarray
    cost: np.ndarray
    unit: float
    spread: float
    fitted: bool = False

    @cached_property
    def strides(self) -> np.ndarray:
        return np.array([int(np.prod(self.genes[place + 1 :])) for place in range(len(self.genes))])

    def row(self, genome: tuple[int, ...]) -> int:
        return int(np.dot(self.strides, genome))

    def price(self, gamma: float) -> np.ndarray:
        return gamma * self.unit * self.cost


@cache
def load(name: str, half: int) -> Table:
    """A table of `benchmarks/tables`, seen by one half of its seeds (0 the even, 1 the odd ones), judged by the other.

    What a fitted one is judged by is its model; a search sees one seed more.
    """
    shape, unit, loss, cost, spread = content(name)
    if loss.ndim == 1:
        seed = spread * np.random.default_rng(1 + half).standard_normal(len(loss), dtype=np.float32)
        return Table(**shape, seen=loss + seed, judged=loss, cost=cost, unit=unit, spread=spread, fitted=True)
    halves = [np.nanmean(loss[:, start::2], axis=1) for start in (0, 1)]
    return Table(**shape, seen=halves[half], judged=halves[1 - half], cost=cost, unit=unit, spread=spread)


@cache
def content(name: str) -> tuple[dict[str, Any], float, np.ndarray, np.ndarray, float]:
    """Of a table: its shape, the unit of its price, its losses by row (and seed), its costs, and a seed's spread."""
    with np.load(HERE / "tables" / f"{name}.npz") as data:
        about = json.loads(str(data["about"]))
        shape: dict[str, Any] = {name: tuple(about[name]) for name in ("genes", "chromosomes")}
        if name == unet_fitted_table.NAME:
            quality, cost, spread = unet_fitted_table.everything(data)
            return shape, about["unit"], quality, cost, spread
        loss, cost = l_gen_of(data), data["exact_macs"] / about["original_macs"]
    spread = float(np.sqrt(np.nanmean(np.nanvar(loss, axis=1, ddof=1))))
    return shape, about["unit"], without_seed_effects(loss), cost, spread


# Samplers are made of a table, the price of its rows, and a seed.
Make = Callable[[Table, np.ndarray, int], optuna.samplers.BaseSampler]


def space(table: Table, *, ordered: bool) -> dict[str, Any]:
    """Genes as Optuna's parameters: integers where `ordered`, else categories."""
    return {
        f"g{place}": IntDistribution(0, size - 1) if ordered else CategoricalDistribution(tuple(range(size)))
        for place, size in enumerate(table.genes)
    }


def genetic(preset: Any, **settings: Any) -> Make:
    """RouletteGASampler by a preset, the price being known to a model that predicts the rest."""

    def make(table: Table, price: np.ndarray, seed: int) -> RouletteGASampler:
        def known(params: dict[str, Any]) -> float:
            return float(price[table.row(tuple(params.values()))])

        names, ends = list(space(table, ordered=False)), np.cumsum(table.chromosomes)
        return RouletteGASampler(
            preset=preset,
            search_space=space(table, ordered=False),
            chromosomes=[names[end - size : end] for size, end in zip(table.chromosomes, ends, strict=True)],
            price=known if preset == "screened" else None,
            seed=seed,
            **settings,
        )

    return make


@dataclass(frozen=True)
class Entry:
    """A sampler in the comparison.

    Attributes:
        make: Makes it.
        ordered: Whether its genes are integers.
        runs: At most so many seeds; slow samplers get fewer.
        evaluations: At most so many.
    """

    make: Make
    ordered: bool = False
    runs: int = 1_000
    evaluations: int = BUDGETS[-1]


ENTRIES: Mapping[str, Entry] = {
    "random": Entry(lambda table, price, seed: optuna.samplers.RandomSampler(seed=seed)),
    # As the paper's loop does, genomes that appear again are trained again.
    "paper": Entry(genetic("paper", reuse=False)),
    "plain": Entry(genetic("plain")),
    "screened": Entry(genetic("screened")),
    "screened, drawn": Entry(genetic("screened", screening=Screening(immigrants=1.0))),
    "NSGA-II": Entry(lambda table, price, seed: optuna.samplers.NSGAIISampler(seed=seed)),
    "TPE": Entry(lambda table, price, seed: optuna.samplers.TPESampler(seed=seed)),
    "TPE, ordered": Entry(lambda table, price, seed: optuna.samplers.TPESampler(seed=seed), ordered=True),
    "GP": Entry(lambda table, price, seed: optuna.samplers.GPSampler(seed=seed), runs=20, evaluations=128),
    "GP, ordered": Entry(
        lambda table, price, seed: optuna.samplers.GPSampler(seed=seed), ordered=True, runs=20, evaluations=128
    ),
    "screened, bred": Entry(genetic("screened", screening=Screening(immigrants=0.0))),
}
OURS = ("paper", "plain", "screened", "screened, bred", "screened, drawn")


@dataclass(frozen=True)
class Job:
    """One run of one sampler."""

    table: str
    gamma: float
    sampler: str
    seed: int


def search(job: Job) -> dict[str, Any]:
    """The rows that a sampler evaluated, in their order."""
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    warnings.simplefilter("ignore")
    table, entry = load(job.table, job.seed % 2), ENTRIES[job.sampler]
    price = table.price(job.gamma)
    value = table.seen + price
    visited: list[int] = []
    names = space(table, ordered=entry.ordered)

    def objective(trial: optuna.Trial) -> float:
        genome = tuple(int(trial._suggest(name, distribution)) for name, distribution in names.items())
        visited.append(table.row(genome))
        return float(value[visited[-1]])

    # A seed of its own for every sampler, so that no two share their first genomes.
    study = optuna.create_study(sampler=entry.make(table, price, 1_000 * list(ENTRIES).index(job.sampler) + job.seed))
    started = time.perf_counter()
    study.optimize(objective, n_trials=entry.evaluations)
    return {**asdict(job), "rows": visited, "seconds": time.perf_counter() - started}


def regrets(table: Table, gamma: float, rows: Sequence[int]) -> np.ndarray:
    """Regret after each evaluation, in seeds' standard deviations."""
    price = table.price(gamma)
    seen, judged = (table.seen + price)[list(rows)], (table.judged + price)[list(rows)]
    # The first of the equally good stays; its judged value is what a user would have got.
    first = np.array([np.argmax(seen == lowest) for lowest in np.minimum.accumulate(seen)])
    return (judged[first] - (table.judged + price).min()) / table.spread


def searched(table: Table, gamma: float, rows: Sequence[int]) -> np.ndarray:
    """Regret after each evaluation by the values that the sampler saw, in seeds' standard deviations."""
    value = table.seen + table.price(gamma)
    return (np.minimum.accumulate(value[list(rows)]) - value.min()) / table.spread


def at_budgets(curves: np.ndarray) -> dict[str, list[float]]:
    """Mean and standard error of curves, shape (runs, evaluations), at the budgets that they reach."""
    reached = {str(n): curves[:, n - 1] for n in BUDGETS if n <= curves.shape[1]}
    return {n: [float(at.mean()), float(at.std(ddof=1) / np.sqrt(len(at)))] for n, at in reached.items()}


def summary(name: str, gamma: float, runs: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """One sampler's line."""
    length = min(len(run["rows"]) for run in runs)
    tables = [load(name, run["seed"] % 2) for run in runs]
    curves = np.array([regrets(table, gamma, run["rows"][:length]) for table, run in zip(tables, runs, strict=True)])
    seen = np.array([searched(table, gamma, run["rows"][:length]) for table, run in zip(tables, runs, strict=True)])
    judged = [table.judged + table.price(gamma) for table in tables]
    tops = [set(np.argpartition(value, count := top_of(value))[:count].tolist()) for value in judged]
    hits = [
        next((at for at, row in enumerate(run["rows"], start=1) if row in top), np.inf)
        for run, top in zip(runs, tops, strict=True)
    ]
    within = min(256, length)
    found = [int(np.argmin(value)) in run["rows"][:within] for value, run in zip(judged, runs, strict=True)]
    return {
        "runs": len(runs),
        "evaluations": length,
        "regret": at_budgets(curves),
        "searched_regret": at_budgets(seen),
        "to_top_median": float(np.median(hits)),
        "to_top_90": float(np.percentile(hits, 90, method="higher")),
        "optimum_found": float(np.mean(found)),
        "within_a_spread": float(np.mean(curves[:, within - 1] <= 1)),
        "new": float(np.mean([len(set(run["rows"])) / len(run["rows"]) for run in runs])),
        "seconds": float(np.mean([run["seconds"] for run in runs])),
        "curve": drawn((curves if tables[0].fitted else seen).mean(axis=0)),
    }


def drawn(curve: np.ndarray) -> dict[str, float]:
    """A curve at as many evaluations as a picture on a logarithmic scale shows."""
    at = np.unique(np.geomspace(SHOWN, len(curve), 64).round().astype(int))
    return {str(n): round(float(curve[n - 1]), 4) for n in at}


def top_of(value: np.ndarray) -> int:
    """How many rows are the best 0.5 %."""
    return round(TOP * len(value))


def exhaustive(table: Table, gamma: float) -> float:
    """The regret of who has tried everything: how far the two halves of the seeds disagree."""
    return float(regrets(table, gamma, [int(np.argmin(table.seen + table.price(gamma)))])[-1])


def run_all(jobs: Sequence[Job], *, file: Path, workers: int) -> None:
    """What is missing, in the order given."""
    known = {(run["table"], run["gamma"], run["sampler"], run["seed"]) for run in kept(file)}
    missing = [job for job in jobs if (job.table, job.gamma, job.sampler, job.seed) not in known]
    with multiprocessing.get_context("spawn").Pool(workers) as pool:
        for count, run in enumerate(pool.imap_unordered(search, missing), start=1):
            keep(file, run)
            if count % 50 == 0:
                print(f"{count:,} of {len(missing):,} runs", flush=True)


def share_of_quality(table: Table, gamma: float) -> float:
    """How much of the objective's variance is quality's."""
    quality, price = table.judged.var(), table.price(gamma).var()
    return float(quality / (quality + price))


def report(name: str, gammas: Sequence[float], runs: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Everything, by gamma and sampler."""
    tables = [load(name, half) for half in (0, 1)]
    found: dict[str, Any] = {}
    for gamma in gammas:
        lines = {
            sampler: summary(name, gamma, mine)
            for sampler in ENTRIES
            if (mine := [run for run in runs if run["sampler"] == sampler and run["gamma"] == gamma])
        }
        found[str(gamma)] = {
            "share_of_quality": statistics.fmean(share_of_quality(table, gamma) for table in tables),
            "exhaustive": [exhaustive(table, gamma) for table in tables],
            "samplers": lines,
        }
    return found


def write(name: str, gammas: Sequence[float], runs: Sequence[Mapping[str, Any]]) -> None:
    """JSON, Markdown and picture."""
    stem = HERE / "results" / f"sampler-quality-{name}"
    about = {
        "table": name,
        "sha256": hashlib.sha256((HERE / "tables" / f"{name}.npz").read_bytes()).hexdigest(),
        "optuna": optuna.__version__,
        "optevo": optevo.__version__,
        "python": platform.python_version(),
    }
    results = with_earlier(report(name, gammas, runs), stem.with_suffix(".json"), about)
    kind = "regret" if load(name, 0).fitted else "searched regret"
    picture(results, stem.with_suffix(".png"), kind=kind)
    stem.with_suffix(".json").write_text(json.dumps({**about, "gammas": results}, indent=1) + "\n")
    stem.with_suffix(".md").write_text(markdown(name, results))
    print(markdown(name, results))


def with_earlier(results: dict[str, Any], file: Path, about: Mapping[str, str]) -> dict[str, Any]:
    """Results, and a file's of samplers that were not run now."""
    earlier = json.loads(file.read_text()) if file.exists() else {}
    if any(earlier.get(key) != about[key] for key in ("table", "sha256", "optuna")):
        return results
    for gamma, found in results.items():
        lines = {**earlier["gammas"].get(gamma, {}).get("samplers", {}), **found["samplers"]}
        found["samplers"] = {sampler: lines[sampler] for sampler in ENTRIES if sampler in lines}
    return results


def markdown(name: str, results: Mapping[str, Any]) -> str:
    """The tables."""
    lines = [f"# Samplers on the table {name}", "", (__doc__ or "").split("\n\n")[2].replace("\n", " "), ""]
    for gamma, found in results.items():
        lines += [
            f"## gamma = {gamma} (quality is {100 * found['share_of_quality']:.0f} % of the objective's variance)",
            "",
            "Who has tried everything, as samplers see it, has a regret of "
            + " and ".join(f"{regret:.3f}" for regret in found["exhaustive"])
            + ".",
            "",
            "| sampler | runs | regret at " + " | at ".join(map(str, BUDGETS)) + " | searched regret at "
            + " | at ".join(map(str, BUDGETS)) + " |",
            "|---" * (2 + 2 * len(BUDGETS)) + "|",
        ]  # fmt: skip
        for sampler, line in found["samplers"].items():
            cells = [told(line[key].get(str(n))) for key in ("regret", "searched_regret") for n in BUDGETS]
            lines.append("| " + " | ".join([sampler, str(line["runs"]), *cells]) + " |")
        lines += [
            "",
            "| sampler | evaluations to the best 0.5 %: median | 90th percentile | optimum tried within 256 "
            "| within one spread of it at 256 | genomes that were new | seconds a run |",
            "|---" * 7 + "|",
        ]
        for sampler, line in found["samplers"].items():
            far = f"more than {line['evaluations']}"
            hits = [f"{hit:.0f}" if np.isfinite(hit) else far for hit in (line["to_top_median"], line["to_top_90"])]
            short = "" if line["evaluations"] >= 256 else f" (of {line['evaluations']})"
            shares = [f"{100 * line[key]:.0f} %{short}" for key in ("optimum_found", "within_a_spread")]
            spent = [f"{100 * line['new']:.0f} %", f"{line['seconds']:.1f}{short}"]
            lines.append("| " + " | ".join([sampler, *hits, *shares, *spent]) + " |")
        lines.append("")
    return "\n".join(lines)


def told(value: Sequence[float] | None) -> str:
    """A mean with its error."""
    return "-" if value is None else f"{value[0]:.3f} ± {value[1]:.3f}"


def picture(results: Mapping[str, Any], file: Path, *, kind: str) -> None:
    """The mean of a kind of regret by evaluations."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(1, len(results), figsize=(6.4 * len(results), 4.6), sharey=True, squeeze=False)
    colours = [*pyplot.get_cmap("tab10").colors, "black"]
    for axis, (gamma, found) in zip(axes[0], results.items(), strict=True):
        axis.set_prop_cycle(color=colours)
        for sampler, line in found["samplers"].items():
            style = "-" if sampler in OURS else "--"
            axis.plot([int(n) for n in line["curve"]], list(line["curve"].values()), style, label=sampler)
        axis.set(title=f"gamma = {gamma}", xlabel="evaluations", xscale="log", yscale="log", xlim=(SHOWN, None))
        axis.grid(alpha=0.3)
    axes[0][0].set_ylabel(f"mean {kind}, in standard deviations of a seed")
    axes[0][-1].legend(fontsize=8)
    figure.tight_layout()
    figure.savefig(file, dpi=110)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--table", default="facades-32")
    parser.add_argument("--gammas", type=float, nargs="+", help="by default the table's own")
    parser.add_argument("--samplers", nargs="+", default=list(ENTRIES), choices=list(ENTRIES))
    parser.add_argument("--runs", type=int, default=100)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--work", type=Path, default=Path("runs/sampler-quality"))
    arguments = parser.parse_args()
    gammas = arguments.gammas or gammas_of(arguments.table)
    jobs = [
        Job(arguments.table, gamma, sampler, seed)
        for sampler in arguments.samplers
        for gamma in gammas
        for seed in range(min(arguments.runs, ENTRIES[sampler].runs))
    ]
    # Some seeds of all before more of any, so that an interrupted comparison is one, with fewer seeds.
    jobs.sort(key=lambda job: job.seed // BLOCK)
    file = arguments.work / f"{arguments.table}.jsonl"
    run_all(jobs, file=file, workers=arguments.workers)
    write(arguments.table, gammas, kept(file))


def gammas_of(name: str) -> list[float]:
    """The gammas that a table was made for."""
    with np.load(HERE / "tables" / f"{name}.npz") as data:
        return list(json.loads(str(data["about"]))["gammas"])


if __name__ == "__main__":
    main()
