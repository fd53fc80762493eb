"""A search for a GAN's recipe with pruning, and what it found against the paper's defaults at equal cost.

    python benchmarks/recipe_search.py --data data/fashion-mnist

1. `studies/tiny-recipes.toml` as a user runs it: Fashion-MNIST at 32 pixels, KID of the champions, hopeless trainings
   given up early by the specification's pruner.
2. The winner and the paper's recipe (CE-GAN's, in networks of the same widths) trained anew with seeds that the search
   never saw: for equal steps, and the paper's also for as many steps as cost what the winner's training cost. Cost is
   processor time without the judging, measured in the runs themselves. Differences are paired: a seed gives all the
   same initial weights and real images.

An interrupted run is continued. Results go to benchmarks/results/recipe-search.json and .md, as they come out.
"""

import argparse
import json
import statistics
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from following import run_to_the_end
from optuna.trial import TrialState
from recording import RESULTS, hardware, keep, kept, rounded, spread

from optevo import api
from optevo.search.progress import canonical_trials
from optevo.search.recipe import open_recipe_task, recipe_spec
from optevo.search.study import Search, open_search
from optevo.search.versions import versions
from optevo.tasks.recipe import RecipeTask
from optevo.training.continuing import LocalCheckpoints
from optevo.training.engine import resolve

NAME = "recipes"
SEEDS = (9_001, 9_002, 9_003)
FOUND, PAPER, LONGER = "found", "paper", "paper, equal cost"


class Timed:
    """Processor seconds of a training's steps, judging left out."""

    def __init__(self) -> None:
        self.seconds, self._step, self._since = 0.0, -1, time.process_time()

    def after(self, step: int) -> None:
        """Called after each step, and again while a champion is judged, with the same number."""
        now = time.process_time()
        if step != self._step:
            self.seconds += now - self._since
        self._step, self._since = step, now


def train(task: RecipeTask, params: Mapping[str, Any], *, seed: int, steps: int, file: Path) -> dict[str, float]:
    """One training, judged at its end. Continued after an interruption; its time then is that of what was left."""
    checkpoints, timed = LocalCheckpoints(file), Timed()
    found = task.evaluate(params, seed=seed, steps=steps, on_step=timed.after, checkpoints=checkpoints)
    checkpoints.remove()
    done = int(found.metrics["steps"])
    return {"seed": seed, "steps": done, "value": found.value, "seconds": timed.seconds, **wins(found.metrics)}


def wins(metrics: Mapping[str, Any]) -> dict[str, float]:
    """Each operator's share of the survivors."""
    return {key: value for key, value in metrics.items() if key.startswith("wins_")}


def compare(found: Search, params: Mapping[str, Any], *, work: Path) -> dict[str, list[dict[str, float]]]:
    """The three trainings with each seed."""
    spec = recipe_spec(found)
    engine = resolve(device=spec.engine.device, precision=found.record.precision, threads=found.record.threads)
    torch.set_num_threads(engine.threads)
    task = open_recipe_task(spec, engine=engine)
    file = work / "trainings.jsonl"
    runs = kept(file)
    steps = spec.training.steps

    def of(arm: str, seed: int, chosen: Mapping[str, Any], count: int) -> dict[str, float]:
        known = next((run for run in runs if (run["arm"], run["seed"]) == (arm, seed)), None)
        if known is None:
            checkpoint = work / f"{arm.replace(', ', '-').replace(' ', '-')}-{seed}.safetensors"
            known = {"arm": arm, **train(task, chosen, seed=seed, steps=count, file=checkpoint)}
            runs.append(known)
            keep(file, known)
            print(f"{arm}, seed {seed}: {known['value']:.5f} after {known['steps']} steps", flush=True)
        return known

    for seed in SEEDS:
        winner, paper = of(FOUND, seed, params, steps), of(PAPER, seed, {}, steps)
        of(LONGER, seed, {}, max(1, round(paper["steps"] * winner["seconds"] / paper["seconds"])))
    return {arm: [run for run in runs if run["arm"] == arm] for arm in (FOUND, PAPER, LONGER)}


def report(found: Search, best: api.BestRecipe, trainings: Mapping[str, list[dict[str, float]]]) -> dict[str, Any]:
    """What the search did and found, and the comparison."""
    trials = canonical_trials(found)
    pruned = [trial for trial in trials if trial.state == TrialState.PRUNED]
    spent = [trial.duration.total_seconds() for trial in trials if trial.duration is not None]
    arms = {}
    for arm, runs in trainings.items():
        values = [run["value"] for run in runs]
        apart = [run["value"] - mine["value"] for run, mine in zip(runs, trainings[FOUND], strict=True)]
        arms[arm] = {"runs": runs, **spread(values), "minus_found": spread(apart)}
    return {
        "what": (__doc__ or "").splitlines()[0],
        "hardware": {**hardware(), "threads": found.record.threads, "precision": found.record.precision},
        "versions": versions(),
        "metric": best.metric,
        "trials": len(trials),
        "pruned": len(pruned),
        "pruned_after_steps": [max(trial.intermediate_values) for trial in pruned if trial.intermediate_values],
        "wall_seconds_of_all_trials": sum(spent),
        "values": [trial.value for trial in trials],
        "found": {"params": best.params, "parameters": best.parameters, "exact_macs": best.exact_macs},
        "final": best.to_dict()["final"],
        "arms": arms,
    }


def markdown(result: Mapping[str, Any]) -> str:
    """The page."""
    chosen = ", ".join(f"{key} = {value}" for key, value in result["found"]["params"].items())
    lines = [
        "# A search for a recipe on Fashion-MNIST, and the paper's recipe at equal cost",
        "",
        f"{result['trials']} trainings, {result['pruned']} of them pruned, after "
        f"{', '.join(map(str, sorted(result['pruned_after_steps'])))} steps; "
        f"{result['wall_seconds_of_all_trials'] / 60:.0f} minutes in all. Found: {chosen}.",
        "",
        f"{result['metric']}, mean and standard error over {len(SEEDS)} seeds that the search never saw:",
        "",
        "| trained | steps | processor seconds | value | above what was found (paired) |",
        "|---|---|---|---|---|",
    ]
    for arm, each in result["arms"].items():
        steps, seconds = (statistics.fmean(run[key] for run in each["runs"]) for key in ("steps", "seconds"))
        apart = "-" if arm == FOUND else shown(each["minus_found"])
        lines.append(f"| {arm} | {steps:,.0f} | {seconds:.0f} | {shown(each)} | {apart} |")
    return "\n".join([*lines, ""])


def shown(value: Mapping[str, float]) -> str:
    """A mean with its error."""
    return f"{value['mean']:.4f} ± {value['standard_error']:.4f}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--spec", default="tiny-recipes")
    parser.add_argument("--out", type=Path, default=Path("runs/recipe-search"))
    parser.add_argument("--workers", type=int, default=2)
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)
    url = f"sqlite:///{(arguments.out / 'optevo.db').absolute()}"
    data = [f"data.root={arguments.data}"]
    run_to_the_end(NAME, arguments.spec, url=url, workers=arguments.workers, overrides=data)
    found = open_search(NAME, url=url)
    best = api.winners(NAME, storage=url)
    assert isinstance(best, api.BestRecipe)
    trainings = compare(found, best.params, work=arguments.out)
    result = rounded(report(found, best, trainings), digits=5)
    (RESULTS / "recipe-search.json").write_text(json.dumps(result, indent=1) + "\n")
    (RESULTS / "recipe-search.md").write_text(markdown(result))
    print(markdown(result))


if __name__ == "__main__":
    main()
