"""What a child of crossover gains from its parents' networks, in searches on real facades at equal total steps.

    optevo data download facades
    python benchmarks/warm_start.py --data data/facades --out runs/warm-start

Searches that differ in `training.warm_start` alone, one after another in one process, 3 seeds each:

* `none`, the paper's; also the control for teaching as such: the same steps, spent on plain training;
* `inherit` and `distill`;
* `unrelated`: as `distill`, but the teachers are not the child's parents. They are drawn from the same pool of parents
  by the same roulette, its own excepted: only kinship differs.

Compared, always seed by seed:

* children: the crossover children of generation 1 have the same genomes, training seeds and parents in all four, since
  generation 0 trains alike; of each the difference to its plain twin, in the value, in L1 and in L_GAN;
* searches: the best value of each generation, and the generation by which `none`'s last best value is reached;
* critics: whom they prefer among the founders, and whether that is the one nearer to the target;
* finals: the best few trained again plainly, with new seeds. What is inherited helps an individual in the search, but
  does not make its architecture better: this is what a user gets.

An interrupted run is continued. Results go to benchmarks/results/warm-start.json and .md, as they come out.
"""

import argparse
import json
import statistics
import threading
import time
from collections.abc import Mapping, Sequence
from itertools import combinations
from math import sqrt
from pathlib import Path
from typing import Any

import torch
from optuna.trial import FrozenTrial
from recording import RESULTS, hardware, rounded

from optevo import api
from optevo.evolution import Offspring
from optevo.evolution.roulette import probabilities
from optevo.evolution.scaling import SCALINGS
from optevo.samplers import RouletteGASampler, claim_of, slots
from optevo.search.legacies import Legacies
from optevo.search.progress import candidates, canonical_trials, generation_rows
from optevo.search.spec import Spec, parse_spec
from optevo.search.study import Search, open_search
from optevo.search.systems import System
from optevo.search.unet import NETWORKS, UNetSystem, unet_spec
from optevo.search.versions import versions
from optevo.search.worker import open_task, open_worker
from optevo.tasks.unet import UNetTask
from optevo.training.warm_start import verdict

MODES = {"none": "none", "inherit": "inherit", "distill": "distill", "unrelated": "distill"}
METRICS = ("value", "l1_val", "gan_val")
OUTCOMES = ("search_best", "final_best_mean", "final_mean_of_candidates")


def specification(arguments: argparse.Namespace, *, seed: int, warm_start: str) -> dict[str, Any]:
    """The paper's channel set over 8 at 32 pixels, over 4 at 64; "plain" breeds from the last generation."""
    size, scale = arguments.size, 256 // arguments.size
    return {
        "seed": seed,
        "data": {"root": str(arguments.data), "direction": "BtoA", "size": size},
        "space": {"channels": [each // scale for each in (64, 128, 256, 512)], "depth": size.bit_length() - 1},
        "training": {
            "steps": arguments.steps,
            "batch_size": 4,
            "discriminator_channels": 64 // scale,
            "discriminator_layers": 3 if size > 32 else 2,
            "warm_start": warm_start,
        },
        "sampler": {"preset": "plain", "population": arguments.population, "generations": arguments.generations},
        "final": {"candidates": 3, "seeds": 3, "steps": arguments.steps},
        "engine": {"device": "cpu", "threads": 1},
    }


class Unrelated(RouletteGASampler):
    """Teachers that are not the child's parents, as good as those: drawn as parents are, from all others."""

    def brood(self, study: Any, history: Sequence[Any]) -> Any:
        trials = {trial.number: trial for generation in history for trial in generation}
        pool = [trials[number] for number in self.breeders(study, history)]
        self._pool = {slots.trained(trial): slots.cost(trial, sign=1.0) for trial in pool}
        self._rng_of_teachers = self._rng(study, "unrelated", len(history))
        return super().brood(study, history)

    def lessons(self, child: Offspring, parents: Sequence[FrozenTrial], **others: Any) -> tuple[int, ...]:
        own = super().lessons(child, parents, **others)
        if not own or "crossover" not in child.operator.split("+"):
            return own
        kin = {slots.trained(trial) for trial in parents}
        strangers = {n: cost for n, cost in self._pool.items() if n not in kin and cost is not None}
        if len(strangers) < 2:
            return ()
        chances = probabilities(SCALINGS["rank"](list(strangers.values())))
        drawn = self._rng_of_teachers.choice(list(strangers), size=2, replace=False, p=chances)
        return tuple(sorted((int(number) for number in drawn), key=lambda number: strangers[number] or 0.0))


class UnrelatedSystem(UNetSystem):
    """The U-Net search with that sampler."""

    def samplers(self, spec: Spec, *, facts: Mapping[str, Any], name: str) -> tuple[RouletteGASampler, ...]:
        (sampler,) = super().samplers(spec, facts=facts, name=name)
        sampler.__class__ = Unrelated
        return (sampler,)


class UnrelatedSearch(Search):
    """A study of that system."""

    @property
    def system(self) -> System:
        return UnrelatedSystem()


def study_name(mode: str, seed: int) -> str:
    return f"{mode}-{seed}"


def opened(url: str, mode: str, seed: int) -> Search:
    search = open_search(study_name(mode, seed), url=url)
    if mode != "unrelated":
        return search
    return UnrelatedSearch(search.name, search.url, search.storage, search.spec, search.record)


def run(url: str, mode: str, seed: int, arguments: argparse.Namespace, stop: threading.Event) -> None:
    """One search to its end, with its final. Its files all stay: nothing is collected."""
    if study_name(mode, seed) not in [row["study"] for row in api.list_studies(storage=url)]:
        document = specification(arguments, seed=seed, warm_start=MODES[mode])
        api.create_study(study_name(mode, seed), parse_spec(document, source=__file__), storage=url)
    begun = time.monotonic()
    trained = open_worker(opened(url, mode, seed), stop=stop).run()
    print(f"{study_name(mode, seed)}: {trained} trainings in {time.monotonic() - begun:.0f} s", flush=True)


def share_of_fitter(trial: FrozenTrial) -> float | None:
    """How much of what a child was taught, or of its weights, came from its fitter teacher; None where nothing did."""
    attributes = trial.user_attrs
    return attributes.get("taught_by_fitter", attributes.get("inherited"))


def heirs(search: Search) -> dict[tuple[int, int], FrozenTrial]:
    """Who really learned, by generation and slot."""
    claims = [(claim_of(trial), trial) for trial in canonical_trials(search) if share_of_fitter(trial) is not None]
    return {(c.generation, c.slot): trial for c, trial in claims if c is not None and c.reused is None}


def metric(trial: FrozenTrial, name: str) -> float:
    return float(trial.value or 0.0) if name == "value" else float(trial.user_attrs[name])


def paired(differences: Sequence[float]) -> dict[str, Any]:
    """Mean, standard error, and how often it was better (smaller)."""
    spread = statistics.stdev(differences) / sqrt(len(differences)) if len(differences) > 1 else None
    mean = statistics.fmean(differences) if differences else None
    return {"n": len(differences), "mean": mean, "error": spread, "better": sum(each < 0 for each in differences)}


def twins(url: str, mode: str, seeds: Sequence[int]) -> dict[str, Any]:
    """Children of generation 1 against those that are plain and otherwise the same."""
    differences: dict[str, list[float]] = {name: [] for name in METRICS}
    ratios = []
    for seed in seeds:
        plain = {}
        for trial in canonical_trials(opened(url, "none", seed)):
            claim = claim_of(trial)
            assert claim is not None
            plain[claim.generation, claim.slot] = trial
        for place, trial in heirs(opened(url, mode, seed)).items():
            if place[0] != 1:
                continue
            twin = plain[place]
            assert twin.params == trial.params
            for name in METRICS:
                differences[name].append(metric(trial, name) - metric(twin, name))
            ratios.append(trial.user_attrs["seconds"] / twin.user_attrs["seconds"])
    return {
        "differences": {name: {**paired(values), "values": values} for name, values in differences.items()},
        "seconds_beside_plain": statistics.median(ratios) if ratios else None,
    }


def course(search: Search) -> dict[str, Any]:
    """One search: its generations, its final, and what its children learned."""
    rows = generation_rows(search)
    best: list[float] = []
    for row in rows:
        best.append(min([row["best"], *best[-1:]]))
    taught = heirs(search)
    parents = {trial.number: trial for trial in search.study.trials}
    better = 0
    for trial in taught.values():
        claim = claim_of(trial)
        assert claim is not None
        better += (trial.value or 0.0) < min(parents[number].value or 0.0 for number in claim.parents)
    shares = [share for trial in taught.values() if (share := share_of_fitter(trial)) is not None]
    final = candidates(search)
    trained = [trial for trial in search.study.trials if "reused_from" not in trial.user_attrs]
    return {
        "best_so_far": best,
        "mean_of_generations": [row["mean"] for row in rows],
        "trained": sum(row["trained"] for row in rows),
        "heirs": len(taught),
        "heirs_better_than_their_parents": better,
        "share_of_the_fitter": statistics.fmean(shares) if shares else None,
        "final_best_mean": min(each.mean for each in final),
        "final_mean_of_candidates": statistics.fmean(each.mean for each in final),
        "search_best": best[-1],
        "seconds": sum(trial.user_attrs.get("seconds", 0.0) for trial in trained),
    }


def judged(url: str, seeds: Sequence[int]) -> dict[str, float]:
    """What critics think of the founders' outputs for the training images, over all pairs of founders of a search.

    Fractions: of the images on which a critic prefers its own generator's output to the other's; on which the fitter
    one's critic, the other's, and both together prefer the fitter one's; on which what both prefer is nearer to the
    target (L1).
    """
    shares: dict[str, list[float]] = {}
    for seed in seeds:
        search = opened(url, "distill", seed)
        task, legacies = open_task(search), open_worker(search).legacies
        assert isinstance(task, UNetTask)
        founders = sorted(search.sampler.history(search.study)[0], key=lambda trial: metric(trial, "value"))
        models = [task.parent(*_left(legacies, search, trial)) for trial in founders]
        source, target = task.train.batch(torch.arange(len(task.train)))
        critics = [model.discriminator.eval() for model in models]
        with torch.inference_mode():
            outputs = [model.generator.eval()(source) for model in models]
            distances = [(output - target).abs().flatten(1).mean(1) for output in outputs]
            said = [[verdict([critic], source, output) for output in outputs] for critic in critics]
        for fitter, other in combinations(range(len(models)), 2):
            by_fitter = said[fitter][fitter] > said[fitter][other]
            by_other = said[other][fitter] > said[other][other]
            both = said[fitter][fitter] + said[other][fitter] > said[fitter][other] + said[other][other]
            for key, found in (
                ("own_preferred", torch.cat((by_fitter, ~by_other))),
                ("fitter_preferred_by_its_critic", by_fitter),
                ("fitter_preferred_by_the_other_critic", by_other),
                ("fitter_preferred_by_both", both),
                ("preferred_by_both_is_nearer", both == (distances[fitter] < distances[other])),
            ):
                shares.setdefault(key, []).append(found.float().mean().item())
    return {"pairs": len(shares["own_preferred"]), **{key: statistics.fmean(each) for key, each in shares.items()}}


def _left(legacies: Legacies, search: Search, trial: FrozenTrial) -> tuple[dict[str, Any], bytes]:
    found, content = legacies.read(search.study, trial.number, NETWORKS)
    return found.params, content


def generation_reached(best: Sequence[float], value: float) -> int | None:
    """The first generation whose best is as good."""
    return next((number for number, each in enumerate(best) if each <= value), None)


def report(url: str, arguments: argparse.Namespace) -> dict[str, Any]:
    seeds = range(arguments.seeds)
    courses = {mode: [course(opened(url, mode, seed)) for seed in seeds] for mode in MODES}
    plain = courses["none"]
    search = opened(url, "distill", 0)
    compared = {}
    for mode in MODES:
        if mode == "none":
            continue
        compared[mode] = {
            "children_of_generation_1": twins(url, mode, seeds),
            **{
                key: paired([one[key] - other[key] for one, other in zip(courses[mode], plain, strict=True)])
                for key in OUTCOMES
            },
            "reaches_the_plain_best_in_generation": [
                generation_reached(one["best_so_far"], other["search_best"])
                for one, other in zip(courses[mode], plain, strict=True)
            ],
        }
    own, strange = courses["distill"], courses["unrelated"]
    compared["distill minus unrelated"] = {
        key: paired([one[key] - other[key] for one, other in zip(own, strange, strict=True)]) for key in OUTCOMES
    }
    return rounded(
        {
            "what": __doc__.splitlines()[0],
            "hardware": hardware(),
            "versions": versions(),
            "precision": search.record.precision,
            "specification": unet_spec(search).model_dump(mode="json", exclude={"data": {"root"}, "seed": True}),
            "seeds": list(seeds),
            "judges": judged(url, seeds),
            "searches": courses,
            "against_none": compared,
        },
        digits=5,
    )


def _cell(found: Mapping[str, Any]) -> str:
    if not found["n"]:
        return "-"
    error = "" if found["error"] is None else f" ± {found['error']:.3f}"
    return f"{found['mean']:+.3f}{error} ({found['better']}/{found['n']})"


def markdown(result: Mapping[str, Any]) -> str:
    """The result as a page."""
    training, sampler = result["specification"]["training"], result["specification"]["sampler"]
    against = result["against_none"]
    modes = [mode for mode in MODES if mode != "none"]
    lines = [
        f"# {result['what']}",
        "",
        f"{result['hardware']['processor']}, {result['precision']}, one thread, "
        + ", ".join(f"{name} {version}" for name, version in result["versions"].items()),
        "",
        f"Facades at {result['specification']['data']['size'][0]} pixels, K = {sampler['population']}, "
        f"T = {sampler['generations']}, {training['steps']} steps an individual, of which a taught child spends a "
        f"quarter on its teachers; {len(result['seeds'])} seeds. Made by `benchmarks/warm_start.py`, which says what "
        "is compared; every figure is in the JSON file beside this page. Smaller is better; ± is the standard error of "
        "the mean, and (b/n) says that b of n pairs were better.",
        "",
        "## Children of generation 1, minus their plain twins (same genome, seed and parents)",
        "",
        "| | value | L1 | L_GAN, by the child's own critic | seconds beside the twin's |",
        "|---|---|---|---|---|",
    ]
    for mode in modes:
        found = against[mode]["children_of_generation_1"]
        cells = [_cell(found["differences"][name]) for name in METRICS]
        ratio = found["seconds_beside_plain"]
        lines.append(f"| {mode} | {' | '.join(cells)} | {'-' if ratio is None else f'{ratio:.2f}'} |")
    found = result["judges"]
    lines += [
        "",
        f"## Critics, in {found['pairs']} pairs of founders, on all training images",
        "",
        f"A critic prefers its own generator's output on {found['own_preferred']:.0%}. The fitter one's critic puts "
        f"the fitter one first on {found['fitter_preferred_by_its_critic']:.0%}, the other's on "
        f"{found['fitter_preferred_by_the_other_critic']:.0%}, both together on "
        f"{found['fitter_preferred_by_both']:.0%}; what both prefer is nearer to the target on "
        f"{found['preferred_by_both_is_nearer']:.0%}.",
    ]
    lines += [
        "",
        "## Whole searches, minus plain ones of the same seed",
        "",
        "| | best value in the search | best of the final (plain, new seeds) | mean of the final's three | "
        "generation that reaches none's last best |",
        "|---|---|---|---|---|",
    ]
    for mode in [*modes, "distill minus unrelated"]:
        found = against[mode]
        cells = [_cell(found[key]) for key in OUTCOMES]
        reached = found.get("reaches_the_plain_best_in_generation", [])
        last = ", ".join("never" if each is None else str(each) for each in reached) or "-"
        lines.append(f"| {mode} | {' | '.join(cells)} | {last} |")
    lines += [
        "",
        "## Each search",
        "",
        "| | best so far, generation by generation | final | children taught | better than all their parents | "
        "share of the fitter parent |",
        "|---|---|---|---|---|---|",
    ]
    for mode, found in result["searches"].items():
        for seed, each in zip(result["seeds"], found, strict=True):
            share = each["share_of_the_fitter"]
            lines.append(
                f"| {mode} {seed} | {', '.join(f'{value:.3f}' for value in each['best_so_far'])} | "
                f"{each['final_best_mean']:.3f} | {each['heirs']} | {each['heirs_better_than_their_parents']} | "
                f"{'-' if share is None else f'{share:.2f}'} |"
            )
    share = "The share is of the inputs on which the fitter teacher taught; for `inherit`, of the weights copied."
    lines += ["", share, ""]
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--out", type=Path, default=Path("runs/warm-start"))
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--size", type=int, choices=(32, 64), default=32)
    parser.add_argument("--steps", type=int, default=400)
    parser.add_argument("--population", type=int, default=8)
    parser.add_argument("--generations", type=int, default=5)
    parser.add_argument("--results", type=Path, default=RESULTS, help="where the JSON file and the page go")
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)
    url = f"sqlite:///{arguments.out / 'optevo.db'}"
    for seed in range(arguments.seeds):
        for mode in MODES:
            run(url, mode, seed, arguments, threading.Event())
    result = report(url, arguments)
    arguments.results.mkdir(parents=True, exist_ok=True)
    (arguments.results / "warm-start.json").write_text(json.dumps(result, indent=1) + "\n")
    (arguments.results / "warm-start.md").write_text(markdown(result))
    print(markdown(result))


if __name__ == "__main__":
    main()
