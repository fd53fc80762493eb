"""GAN, E-GAN, CE-GAN and CE-GAN-GP on CIFAR-10 under equal iterations: FID and KID of their champions, several seeds.

    python benchmarks/cegan_cifar.py --data cifar10.npz

The paper's recipes and losses with networks of `--width` (the paper's have 128) for `--steps` iterations (100,000
there). FID and KID are those of `--images` generated against as many training images, by the 2015 Inception network
(its weights: OPTEVO_INCEPTION); their names say so, and such numbers do not compare with the paper's. Every training is
saved as it goes in `--work` and continued after an interruption; what is finished is not done again. Differences are
paired: a seed gives all arms the same real batches. With `--every`, champions are judged on the way, too. Results:
benchmarks/results/cegan-cifar10-WIDTH-STEPS.json and .md.
"""

import argparse
import json
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from recording import RESULTS, device_name, hardware, keep, kept, rounded, spread, versions

from optevo.data.collection import load_collection
from optevo.data.collection_files import find_collection
from optevo.metrics.distribution import Kid, fid, kid
from optevo.metrics.unpaired import Inception
from optevo.networks.dcgan import DCGANGenerator
from optevo.tasks.recipe import RecipeTask, generated
from optevo.tasks.recipe_settings import RecipeSearchSettings
from optevo.training.continuing import LocalCheckpoints
from optevo.training.engine import Engine, resolve
from optevo.training.validation import evaluated

ARMS = ("gan-heuristic", "egan", "cegan", "cegan-gp")
NAMED = {"gan-heuristic": "GAN, heuristic loss", "egan": "E-GAN", "cegan": "CE-GAN", "cegan-gp": "CE-GAN-GP"}


class BothDistances(RecipeTask):
    """Takes a champion's features once for FID and KID. Inception takes longer than the training."""

    distance: Kid  # of the champion judged last

    def value(self, generator: DCGANGenerator, *, seed: int, tick: Callable[[], None] = lambda: None) -> float:
        with evaluated(generator):
            made = self.inception.features(generated(generator, count=self.settings.quality.images, seed=seed))
        self.distance = kid(made, self.real)
        return fid(made, self.real)


def settings_of(arm: str, arguments: argparse.Namespace) -> RecipeSearchSettings:
    """What an arm trains."""
    return RecipeSearchSettings.model_validate(
        {
            "data": {"root": str(arguments.data), "size": 32},
            "networks": {"generator_width": arguments.width, "discriminator_width": arguments.width},
            "recipe": {"published": arm},
            "training": {"steps": arguments.steps},
            "quality": {
                "metric": "fid",
                "images": arguments.images,
                "real_images": arguments.images,
                "every": arguments.every or arguments.steps,
            },
        }
    )


def run(arm: str, seed: int, *, arguments: argparse.Namespace, engine: Engine, inception: Inception) -> dict[str, Any]:
    """Train and judge one arm with one seed."""
    settings = settings_of(arm, arguments)
    images = load_collection(find_collection(arguments.data), size=32, channels=3, device=engine.device)
    task = BothDistances(settings, engine, images, inception)
    checkpoints = LocalCheckpoints(arguments.work / f"{arm}-{seed}.safetensors")
    started = time.monotonic()
    made = {
        "hardware": {**hardware(), "device": device_name(engine.device), "precision": engine.precision},
        "versions": versions(["optevo", "torch", "numpy"]),
    }

    def judged(value: float, step: int) -> bool:
        keep(looks_of(arguments), {"arm": arm, "seed": seed, "step": step, "fid": value, "made": made})
        print(f"{arm}, seed {seed}: FID {value:.1f} after {step:,} steps", flush=True)
        return False

    def after(step: int) -> None:
        if step % 500 == 0:
            seconds = time.monotonic() - started
            print(f"{arm}, seed {seed}: step {step:,} of {arguments.steps:,}, {seconds:.0f} s", flush=True)

    found = task.evaluate({}, seed=seed, on_step=after, report=judged, checkpoints=checkpoints)
    protocol = task.protocol.partition("_")[2]
    checkpoints.remove()
    return {
        "arm": arm,
        "seed": seed,
        f"fid_{protocol}": found.value,
        f"kid_{protocol}": task.distance.mean,
        f"kid_spread_{protocol}": task.distance.spread,
        "wins": {key.removeprefix("wins_"): share for key, share in found.metrics.items() if key.startswith("wins_")},
        "ended": found.metrics.get("ended"),
        "seconds": time.monotonic() - started,
        "parameters": found.metrics["parameters"],
        "made": made,
    }


def runs_of(arguments: argparse.Namespace) -> Path:
    """Where finished trainings are kept."""
    return Path(arguments.work / f"{arguments.width}-{arguments.steps}-{arguments.images}.jsonl")


def looks_of(arguments: argparse.Namespace) -> Path:
    """Where the FID of champions is kept, on the way too: of trainings that were never finished it is all there is."""
    return runs_of(arguments).with_suffix(".looks.jsonl")


def curves(looks: Sequence[Mapping[str, Any]]) -> dict[str, list[list[float]]]:
    """Steps and FID of each training that was judged more than once; continued ones tell the same again."""
    found: dict[str, dict[int, float]] = {}
    for look in looks:
        found.setdefault(f"{NAMED[look['arm']]}, seed {look['seed']}", {})[look["step"]] = look["fid"]
    return {name: [list(each) for each in sorted(mine.items())] for name, mine in found.items() if len(mine) > 1}


def report(
    runs: Sequence[Mapping[str, Any]], looks: Sequence[Mapping[str, Any]], arguments: argparse.Namespace
) -> dict[str, Any]:
    """Means, spreads, and each arm's paired difference from the plain GAN."""
    metrics = [key for key in (runs[0] if runs else ()) if key.startswith(("fid_", "kid_")) and "spread" not in key]
    arms: dict[str, Any] = {}
    plain = {each["seed"]: each for each in runs if each["arm"] == ARMS[0]}
    for arm in ARMS:
        mine = [each for each in runs if each["arm"] == arm]
        if not mine:
            continue
        arms[arm] = {"seeds": [each["seed"] for each in mine], "seconds": [each["seconds"] for each in mine]}
        for metric in metrics:
            values = [each[metric] for each in mine]
            apart = [each[metric] - plain[each["seed"]][metric] for each in mine if each["seed"] in plain]
            arms[arm][metric] = {"values": values, **spread(values), "minus_plain": spread(apart) if apart else None}
    return {
        "what": (__doc__ or "").splitlines()[0],
        "made": [*runs, *looks][0]["made"],
        "steps": arguments.steps,
        "images": arguments.images,
        "width": arguments.width,
        "arms": arms,
        "curves": curves(looks),
        "runs": list(runs),
    }


def markdown(result: Mapping[str, Any]) -> str:
    """The page."""
    made = result["made"]["hardware"]
    where = made["processor"] if made["device"] == "cpu" else made["device"]
    lines = [
        "# GAN, E-GAN, CE-GAN and CE-GAN-GP on CIFAR-10 under equal iterations",
        "",
        f"{result['steps']:,} iterations, widths from {result['width']} (the paper: 100,000 and 128), by {where} in "
        f"{made['precision']}.",
    ]
    return "\n".join([*lines, *table(result["arms"]), *ways(result), ""])


def table(arms: Mapping[str, Any]) -> list[str]:
    """Of the finished trainings."""
    if not arms:
        return []
    metrics = [key for key in next(iter(arms.values())) if key.startswith(("fid_", "kid_"))]
    lines = [
        "",
        "Mean and standard error over seeds; in brackets the paired difference from the plain GAN.",
        "",
        "| training | seeds | " + " | ".join(metrics) + " | minutes each |",
        "|---" * (len(metrics) + 3) + "|",
    ]
    for arm, found in arms.items():
        cells = [f"{shown(found[metric])} ({shown(found[metric]['minus_plain'])})" for metric in metrics]
        minutes = statistics.fmean(found["seconds"]) / 60
        lines.append("| " + " | ".join([NAMED[arm], str(len(found["seeds"])), *cells, f"{minutes:.0f}"]) + " |")
    return lines


def ways(result: Mapping[str, Any]) -> list[str]:
    """FID on the way, of the trainings that were judged more than once."""
    lines = []
    for name, curve in result["curves"].items():
        told = ", ".join(f"{fid:.1f} after {step:,.0f}" for step, fid in curve)
        end = "" if curve[-1][0] == result["steps"] else "; not finished"
        images = result["images"]
        lines += ["", f"{name}: FID of {images:,} images against {images:,}: {told} iterations{end}."]
    return lines


def shown(value: Mapping[str, float | None] | None) -> str:
    """A mean with its error."""
    if value is None:
        return "-"
    error = "" if value["standard_error"] is None else f" ± {value['standard_error']:.3g}"
    return f"{value['mean']:.4g}{error}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="an array or folder of CIFAR-10's training images")
    parser.add_argument("--width", type=int, default=32)
    parser.add_argument("--steps", type=int, default=5_000)
    parser.add_argument("--every", type=int, help="judge champions once in so many steps; by default at the end")
    parser.add_argument("--images", type=int, default=5_000)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--device", default="auto")
    parser.add_argument("--arms", nargs="+", choices=ARMS, default=list(ARMS))
    parser.add_argument("--work", type=Path, default=Path("runs/cegan-cifar"))
    parser.add_argument("--write", action="store_true", help="train nothing more")
    arguments = parser.parse_args()
    arguments.work.mkdir(parents=True, exist_ok=True)
    if arguments.write:
        write(report(kept(runs_of(arguments)), kept(looks_of(arguments)), arguments))
        return
    engine = resolve(device=arguments.device, threads=arguments.threads)
    inception = Inception(engine)
    runs = kept(runs_of(arguments))
    done = {(each["arm"], each["seed"]) for each in runs}
    torch.set_num_threads(arguments.threads)
    for seed in range(arguments.seeds):
        for arm in arguments.arms:
            if (arm, seed) in done:
                continue
            runs.append(run(arm, seed, arguments=arguments, engine=engine, inception=inception))
            keep(runs_of(arguments), runs[-1])
    write(report(runs, kept(looks_of(arguments)), arguments))


def write(result: dict[str, Any]) -> None:
    """Into benchmarks/results."""
    result = rounded(result, digits=5)
    stem = RESULTS / f"cegan-cifar10-{result['width']}-{result['steps']}"
    stem.with_suffix(".json").write_text(json.dumps(result, indent=1) + "\n")
    stem.with_suffix(".md").write_text(markdown(result))
    print(markdown(result))


if __name__ == "__main__":
    main()
