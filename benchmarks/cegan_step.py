"""A CE-GAN step through optevo against a straightforward eager fp32 one, and against a single GAN's step.

    python benchmarks/cegan_step.py [--device auto --width 128 --evaluation 256 --steps 1 --rounds 5]

The straightforward implementation (cegan_reference.py) treats one network at a time; optevo's steps are tested to give
the same weights. All train the paper's networks on the same random numbers, in turn, in one process. The operations of
every step are counted while it runs, so that the measured ratios can be held against what counting gives.

On a CPU the time is this process's processor time, so that a neighbour on the machine costs as little as possible; on a
GPU it is wall-clock time. The result goes to benchmarks/results/cegan-step-DEVICE.json (cpu-amx on a CPU with AMX).
"""

import argparse
import json
import statistics
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import torch
from cegan_reference import PlainCEGAN
from recording import RESULTS, device_name, hardware, rounded, versions
from torch.utils.flop_counter import FlopCounterMode

from optevo.networks.dcgan import DCGANDiscriminator, DCGANGenerator
from optevo.spaces.dcgan import DCGANArchitecture, original
from optevo.training.cegan import CEGAN
from optevo.training.engine import Engine, resolve
from optevo.training.recipe import PUBLISHED, Recipe
from optevo.training.step_draws import draw

Step = Callable[[int], None]


def optevo_step(architecture: DCGANArchitecture, recipe: Recipe, engine: Engine, *, captured: bool = True) -> Step:
    """A step by the library, its random numbers included.

    Args:
        captured: On a GPU as one graph, as a training does it; otherwise launch by launch.
    """
    generators, discriminator = networks(architecture, recipe)
    model = CEGAN(generators, discriminator, engine=engine, recipe=recipe)
    real = batch(architecture, recipe, engine.device).contiguous(memory_format=torch.channels_last)
    advance = model.stepper() if captured else model.step

    def step(number: int) -> None:
        advance(real, drawn(architecture, recipe, engine.device, number))
        if number % 50 == 49:
            model.history.read()

    return step


def plain_step(architecture: DCGANArchitecture, recipe: Recipe, device: torch.device) -> Step:
    """A step by the straightforward implementation."""
    generators, discriminator = networks(architecture, recipe)
    model = PlainCEGAN([network.to(device) for network in generators], discriminator.to(device), recipe)
    real = batch(architecture, recipe, device)
    return lambda number: void(model.step(real, drawn(architecture, recipe, device, number)))


def void(_: object) -> None:
    """Nothing is done with what a step says."""


def networks(architecture: DCGANArchitecture, recipe: Recipe) -> tuple[list[DCGANGenerator], DCGANDiscriminator]:
    torch.manual_seed(0)
    return [DCGANGenerator(architecture) for _ in range(recipe.parents)], DCGANDiscriminator(architecture)


def batch(architecture: DCGANArchitecture, recipe: Recipe, device: torch.device) -> torch.Tensor:
    shape = (recipe.real_images, architecture.channels, architecture.size, architecture.size)
    return torch.rand(shape, generator=torch.Generator().manual_seed(1)).mul(2).sub(1).to(device)


def drawn(architecture: DCGANArchitecture, recipe: Recipe, device: torch.device, step: int) -> Any:
    return draw(recipe, latent=architecture.latent, images=1, seed=0, step=step, device=device)


def macs(step: Step) -> int:
    """Multiply-accumulates of one step, backward passes included, after one that is not counted."""
    step(0)
    with FlopCounterMode(display=False) as counter:
        step(1)
    return int(counter.get_total_flops()) // 2


def in_turn(contestants: dict[str, Step], *, rounds: int, steps: int, device: torch.device) -> dict[str, list[float]]:
    """Seconds a step of each in every round, in turn, so that a drift of the machine meets all alike."""
    times: dict[str, list[float]] = {name: [] for name in contestants}
    number = 2
    for _ in range(rounds):
        for name, step in contestants.items():
            step(number)
            settle(device)
            begun = clock(device)
            for at in range(steps):
                step(number + at)
            settle(device)
            times[name].append((clock(device) - begun) / steps)
        number += steps
    return times


def clock(device: torch.device) -> float:
    return time.perf_counter() if device.type == "cuda" else time.process_time()


def settle(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="auto")
    for name, default in (
        ("size", 32),
        ("width", 128),
        ("evaluation", 256),
        ("threads", 1),
        ("steps", 1),
        ("rounds", 5),
    ):
        parser.add_argument(f"--{name}", type=int, default=default)
    arguments = parser.parse_args()
    architecture = original(size=arguments.size, ngf=arguments.width, ndf=arguments.width)
    cegan = replace(PUBLISHED["cegan"], evaluation_size=arguments.evaluation)
    gan = PUBLISHED["gan-heuristic"]
    engine = resolve(device=arguments.device, threads=arguments.threads)
    fp32 = replace(engine, precision="fp32")
    contestants: dict[str, Step] = {}
    with engine.active():
        contestants["straightforward fp32"] = plain_step(architecture, cegan, engine.device)
        for each in dict.fromkeys((fp32, engine)):
            contestants[f"optevo {each.precision}"] = optevo_step(architecture, cegan, each)
            contestants[f"single GAN {each.precision}"] = optevo_step(architecture, gan, each)
            if engine.device.type == "cuda":
                contestants[f"optevo {each.precision}, no graph"] = optevo_step(
                    architecture, cegan, each, captured=False
                )
        counted = {name: macs(step) for name, step in contestants.items()}
        times = in_turn(contestants, rounds=arguments.rounds, steps=arguments.steps, device=engine.device)
    medians = {name: statistics.median(values) for name, values in times.items()}
    plain = medians["straightforward fp32"]
    beside = {
        precision: {
            "measured": medians[f"optevo {precision}"] / medians[f"single GAN {precision}"],
            "counted": counted[f"optevo {precision}"] / counted[f"single GAN {precision}"],
            "counted_straightforward": counted["straightforward fp32"] / counted[f"single GAN {precision}"],
        }
        for precision in dict.fromkeys(("fp32", engine.precision))
    }
    result = {
        "what": __doc__.splitlines()[0],
        "hardware": {**hardware(), "device": device_name(engine.device), "threads": engine.threads},
        "amx": engine.device.type == "cpu" and torch.cpu._is_amx_tile_supported(),
        "versions": versions(["optevo", "torch", "numpy"]),
        **vars(arguments),
        "clock": "wall" if engine.device.type == "cuda" else "processor",
        "gmacs_a_step": {name: count / 1e9 for name, count in counted.items()},
        "seconds_a_step": {
            name: {"median": medians[name], "min": min(values), "max": max(values)} for name, values in times.items()
        },
        "straightforward_over_optevo": {
            precision: plain / medians[f"optevo {precision}"] for precision in dict.fromkeys(("fp32", engine.precision))
        },
        "optevo_over_a_single_gan": beside,
    }
    RESULTS.mkdir(exist_ok=True)
    path = RESULTS / f"cegan-step-{engine.device.type}{'-amx' if result['amx'] else ''}.json"
    path.write_text(json.dumps(rounded(result, digits=4), indent=1) + "\n")
    for name, median in medians.items():
        gmacs = counted[name] / 1e9
        print(f"{name:21} {1000 * median:9.3f} ms a step, {gmacs:7.1f} GMAC, {plain / median:.2f} x straightforward")
    for precision, ratio in beside.items():
        print(
            f"{precision}: a CE-GAN step takes {ratio['measured']:.2f} x a single GAN's; counting gives "
            f"{ratio['counted']:.2f} (straightforward: {ratio['counted_straightforward']:.2f})"
        )
    print(path)


if __name__ == "__main__":
    main()
