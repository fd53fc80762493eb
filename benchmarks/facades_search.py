"""The U-Net search on real facades against random search and against the original network, at 64 pixels on a CPU.

    optevo data download facades
    python benchmarks/facades_search.py --data data/facades --out runs/facades-64

What it runs, all through the library's own parts, continuing what an interrupted run left:

1. a search: K = 8, T = 5;
2. as many DISTINCT random architectures as the search trained, under the same mini-budget;
3. the best of the search, the winner of its final, and the best of the random ones, trained again with 3 new seeds;
4. the winner and the original network fine-tuned under one budget, 3 seeds each, and judged on the 106 test pairs.

The result goes to benchmarks/results/facades-64.json and .md, as it comes out.
"""

import argparse
import json
import multiprocessing
import os
import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import optuna
from following import run_to_the_end
from recording import RESULTS, hardware

from optevo import api
from optevo.evolution import generator
from optevo.samplers import RosterSampler, slots
from optevo.search.launch import run_together
from optevo.search.progress import canonical_trials, generation_rows
from optevo.search.spec import parse_spec
from optevo.search.study import best_distinct, open_search
from optevo.search.unet import distributions
from optevo.search.versions import versions
from optevo.search.worker import open_worker, training_seed
from optevo.tasks.fitness import cost_of, space_of

NAME = "facades-64"
SEEDS = 3


def specification(data: Path) -> dict[str, Any]:
    """64 pixels, and the paper's channel set over 4."""
    return {
        "seed": 0,
        "data": {"root": str(data), "direction": "BtoA", "size": 64},
        "space": {"channels": [16, 32, 64, 128], "depth": 6},
        "training": {"steps": 400, "batch_size": 4, "discriminator_channels": 32},
        "fitness": {"gamma": 0.1},
        "sampler": {"population": 8, "generations": 5},
        "final": {"candidates": 3, "seeds": 3, "steps": 400},
        "finetune": {"epochs": 20, "decay_epochs": 20, "batch_size": 4, "threads": 1},
        "engine": {"device": "cpu"},
    }


def trained_by(url: str) -> int:
    trials = canonical_trials(open_search(NAME, url=url))
    return sum("reused_from" not in trial.user_attrs for trial in trials)


def distinct_random(url: str, count: int) -> list[dict[str, int]]:
    space = space_of(open_search(NAME, url=url).spec)
    rng, found = generator("random-search"), {}
    while len(found) < count:
        genome = space.random(rng)
        found.setdefault(tuple(genome.values()), genome)
    return list(found.values())


def train_roster(url: str, title: str, individuals: Sequence[dict[str, Any]], seed_key: str, period: int) -> None:
    """One worker's share of a list of individuals; slot s is trained with seed number s modulo `period`."""
    found = open_search(NAME, url=url)
    study = optuna.create_study(
        study_name=f"{NAME}/{title}",
        storage=found.storage,
        sampler=RosterSampler(search_space=distributions(found.spec), individuals=individuals),
        load_if_exists=True,
    )
    open_worker(found).train_all(
        (study,),
        lambda _, claim: training_seed(found.spec.seed, seed_key, claim.slot % period),
        lambda: False,
        steps=None,
    )


def roster(url: str, title: str, individuals: Sequence[dict[str, Any]], *, key: str, period: int, workers: int) -> list:
    """Train a list with several workers; the canonical trial of each slot."""
    context = multiprocessing.get_context("spawn")
    team = [context.Process(target=train_roster, args=(url, title, individuals, key, period)) for _ in range(workers)]
    for process in team:
        process.start()
    for process in team:
        process.join()
        assert process.exitcode == 0
    study = optuna.load_study(study_name=f"{NAME}/{title}", storage=open_search(NAME, url=url).storage)
    claimed = slots.claims(study.get_trials(), generation=0)
    return [slots.canonical(claimed[slot]) for slot in range(len(individuals))]


def models(url: str, out: Path, data: Path, workers: int) -> dict[str, list[dict[str, Any]]]:
    """Fine-tune the winner and the original with each seed, and judge them one after another."""
    commands = []
    for seed in range(SEEDS):
        for label in ("searched", "original"):
            folder = out / "models" / f"{label}-{seed}"
            named = ["--architecture", "original"] if label == "original" else []
            if not folder.exists():
                commands.append(["model", "finetune", NAME, "--seed", str(seed), "--out", str(folder), *named])
    for start in range(0, len(commands), workers):
        run_together(commands[start : start + workers], url=url, on_line=lambda line: print(line, flush=True))
    return {
        label: [api.evaluate(out / "models" / f"{label}-{seed}", data=data, device="cpu") for seed in range(SEEDS)]
        for label in ("searched", "original")
    }


def report(url: str, retrained: dict[str, list[float]], judged: dict[str, list[dict[str, Any]]]) -> dict[str, Any]:
    found = open_search(NAME, url=url)
    winner = api.best(NAME, storage=url)
    return {
        "what": __doc__.splitlines()[0],
        "hardware": hardware(),
        "versions": versions(),
        "specification": found.spec.model_dump(mode="json", exclude={"data": {"root"}}),
        "precision": found.record.precision,
        "search": generation_rows(found),
        "trained": trained_by(url),
        "winner": {key: value for key, value in winner.to_dict().items() if key != "study"},
        "retrained_with_new_seeds": {
            label: {"values": values, "mean": statistics.fmean(values), "std": statistics.stdev(values)}
            for label, values in retrained.items()
        },
        "finetuned": {
            label: [{key: value for key, value in row.items() if key not in ("folder", "title")} for row in rows]
            for label, rows in judged.items()
        },
    }


def markdown(result: dict[str, Any]) -> str:
    """The result as a page."""
    lines = [
        f"# {result['what']}",
        "",
        f"{result['hardware']['processor']}, {result['hardware']['cores']} cores, {result['precision']}, "
        + ", ".join(f"{name} {version}" for name, version in result["versions"].items()),
        "",
        "Made by `benchmarks/facades_search.py`; every figure is in the JSON file beside this page.",
        "",
        f"## Search: K = 8, T = 5, {result['trained']} architectures trained",
        "",
        "| generation | best value | mean value | trained |",
        "|---|---|---|---|",
        *(f"| {r['generation']} | {r['best']:.3f} | {r['mean']:.3f} | {r['trained']} |" for r in result["search"]),
        "",
        "Value = L_Gen + gamma p, the reciprocal of fitness: smaller is better.",
        "",
        f"## Trained again under the mini-budget, with {SEEDS} new seeds (the same for all)",
        "",
        "| architecture | mean value | standard deviation | values |",
        "|---|---|---|---|",
        *(
            f"| {label} | {r['mean']:.3f} | {r['std']:.3f} | {', '.join(f'{v:.3f}' for v in r['values'])} |"
            for label, r in result["retrained_with_new_seeds"].items()
        ),
        "",
        f"## Fine-tuned under one budget, {SEEDS} seeds, judged on the 106 test pairs",
        "",
        "| model | L1 (mean ± std) | SSIM | PSNR dB | parameters | exact MACs | latency, batch 1 (median) |",
        "|---|---|---|---|---|---|---|",
        *(_model_row(label, rows) for label, rows in result["finetuned"].items()),
        "",
        f"Latency: {result['finetuned']['searched'][0]['latency_protocol']}. L1 of images in [-1, 1].",
        "",
    ]
    return "\n".join(lines)


def _model_row(label: str, rows: list[dict[str, Any]]) -> str:
    def spread(metric: str) -> str:
        values = [value for row in rows for key, value in row.items() if key.startswith(f"{metric}_test")]
        return f"{statistics.fmean(values):.4f} ± {statistics.stdev(values):.4f}"

    median = statistics.median(row["latency_ms_median"] for row in rows)
    return (
        f"| {label} | {spread('l1')} | {spread('ssim')} | {spread('psnr')} | {rows[0]['parameters']:,} | "
        f"{rows[0]['exact_macs'] / 1e6:.1f} M | {median:.2f} ms |"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--out", type=Path, default=Path("runs/facades-64"))
    parser.add_argument("--workers", type=int, default=os.cpu_count() or 1)
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)
    url = f"sqlite:///{arguments.out / 'optevo.db'}"
    spec = parse_spec(specification(arguments.data), source=__file__)
    run_to_the_end(NAME, spec, url=url, workers=arguments.workers)
    count = trained_by(url)
    print(f"the search trained {count} architectures; now as many random ones", flush=True)
    random_trials = roster(
        url, "random", distinct_random(url, count), key="random", period=count, workers=arguments.workers
    )
    found = open_search(NAME, url=url)
    contestants = {
        "best of the search": best_distinct(canonical_trials(found), 1)[0].params,
        "winner of the final": next(
            t.params for t in found.study.get_trials() if t.number == api.best(NAME, storage=url).trial
        ),
        "best of the random": best_distinct(random_trials, 1)[0].params,
    }
    again = roster(
        url,
        "again",
        [params for params in contestants.values() for _ in range(SEEDS)],
        key="again",
        period=SEEDS,
        workers=arguments.workers,
    )
    retrained = {
        label: [trial.value for trial in again[place * SEEDS : (place + 1) * SEEDS]]
        for place, label in enumerate(contestants)
    }
    print(json.dumps(retrained), flush=True)
    judged = models(url, arguments.out, arguments.data, arguments.workers)
    result = report(url, retrained, judged)
    result["architectures"] = {
        label: space_of(found.spec).architecture(params).to_dict()
        | {"exact_macs": cost_of(space_of(found.spec).architecture(params), found.spec).exact_macs}
        for label, params in contestants.items()
    }
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / "facades-64.json").write_text(json.dumps(result, indent=1) + "\n")
    (RESULTS / "facades-64.md").write_text(markdown(result))
    print(markdown(result))


if __name__ == "__main__":
    main()
