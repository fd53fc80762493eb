"""How much faster a mini-training step is on sliced translators than on masked ones.

Every second filter of both CycleGAN generators lives. The masked pair is what the released code of 1907.10804 trains:
the whole networks, dead filters set to zero. The sliced pair computes the same function with the dead filters taken
out. Both train in turn, step by step, with whole discriminators, so that a busy machine slows both; the CPU's time is
recorded beside the clock's, because it counts only the own work.

The result goes to benchmarks/results/sliced-step-DEVICE.json.
"""

import argparse
import json
import statistics
import time

import numpy as np
import torch
from recording import RESULTS, device_name, hardware, rounded, versions
from torch import nn

from optevo.networks.patchgan import PatchGAN
from optevo.networks.resnet import ResNetGenerator
from optevo.networks.slicing import filter_groups, mask_filters, slice_filters
from optevo.spaces.resnet import cyclegan
from optevo.training.captured import WARM_UP
from optevo.training.cyclegan import CycleGAN
from optevo.training.engine import Engine, resolve

GOALS = {256: 2.5, 64: 1.8}  # on a CPU


def pairs(*, ngf: int, size: int, engine: Engine) -> dict[str, CycleGAN]:
    """A masked and a sliced pair of the same half-kept generators, ready to train."""
    torch.manual_seed(0)
    whole = [ResNetGenerator(cyclegan(ngf=ngf, blocks=blocks_for(size))) for _ in range(2)]
    example = torch.zeros(1, 3, 64, 64)
    groups = filter_groups(whole[0], example)
    masks = {group.name: np.arange(group.size) % 2 == 0 for group in groups}
    kinds: dict[str, list[nn.Module]] = {
        "masked": [mask_filters(each, masks, groups=groups) for each in whole],
        "sliced": [slice_filters(each, masks, example) for each in whole],
    }
    return {
        name: CycleGAN(
            a_to_b=a_to_b,
            b_to_a=b_to_a,
            judge_a=PatchGAN(3, norm="instance"),
            judge_b=PatchGAN(3, norm="instance"),
            engine=engine,
        )
        for name, (a_to_b, b_to_a) in kinds.items()
    }


def blocks_for(size: int) -> int:
    """CycleGAN's residual blocks."""
    return 9 if size >= 256 else 6


def measure(models: dict[str, CycleGAN], *, size: int, steps: int) -> dict[str, dict[str, list[float]]]:
    """Seconds of each step by the clock and by the CPU, in turn; the first few of each are warm-up."""
    times: dict[str, dict[str, list[float]]] = {name: {"clock": [], "cpu": []} for name in models}
    random = torch.Generator().manual_seed(0)
    steppers = {name: model.stepper() for name, model in models.items()}
    for step in range(steps + WARM_UP + 1):
        for name, model in models.items():
            device = model.engine.device
            a, b = (torch.rand(2, 1, 3, size, size, generator=random) * 2 - 1).to(device)
            begun = time.perf_counter(), time.process_time()
            steppers[name](a, b)
            if device.type == "cuda":
                torch.cuda.synchronize(device)
            if step > WARM_UP:
                times[name]["clock"].append(time.perf_counter() - begun[0])
                times[name]["cpu"].append(time.process_time() - begun[1])
    return times


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", type=int, nargs="+", default=[256, 64])
    parser.add_argument("--ngf", type=int, default=64)
    parser.add_argument("--steps", type=int, default=5)
    parser.add_argument("--device", default="auto")
    parser.add_argument("--precision", default="auto")
    parser.add_argument("--threads", type=int, default=1)
    arguments = parser.parse_args()
    engine = resolve(device=arguments.device, precision=arguments.precision, threads=arguments.threads)
    sizes = {}
    with engine.active():
        for size in arguments.sizes:
            times = measure(pairs(ngf=arguments.ngf, size=size, engine=engine), size=size, steps=arguments.steps)
            medians = {name: {kind: statistics.median(v) for kind, v in each.items()} for name, each in times.items()}
            ratio = {kind: medians["masked"][kind] / medians["sliced"][kind] for kind in ("clock", "cpu")}
            sizes[str(size)] = {
                "blocks": blocks_for(size),
                "median_seconds_a_step": medians,
                "ratio": ratio,
                "goal_on_a_cpu": GOALS.get(size),
                "seconds_a_step": times,
            }
            print(
                f"{size} pixels: masked {medians['masked']['clock']:.3f} s a step, sliced "
                f"{medians['sliced']['clock']:.3f} s: {ratio['clock']:.2f} x (by CPU time {ratio['cpu']:.2f} x)"
            )
    result = {
        "what": __doc__.splitlines()[0],
        "hardware": {**hardware(), "device": device_name(engine.device)},
        "versions": versions(["torch", "torch-pruning"]),
        "ngf": arguments.ngf,
        "precision": engine.precision,
        "threads": engine.threads,
        "steps": arguments.steps,
        "sizes": sizes,
    }
    RESULTS.mkdir(exist_ok=True)
    path = RESULTS / f"sliced-step-{engine.device.type}.json"
    path.write_text(json.dumps(rounded(result, digits=4), indent=1) + "\n")
    print(path)


if __name__ == "__main__":
    main()
