"""What one individual takes on this machine, measured on a typical one."""

import resource
import sys
import time
from dataclasses import dataclass

import torch

from optevo.evolution import generator
from optevo.tasks.fitness import cost_of
from optevo.tasks.unet import UNetTask
from optevo.training.warm_start import networks_to_bytes

WARMUP, TIMED = 3, 30
SAMPLE = 101


@dataclass(frozen=True)
class Measured:
    """Seconds of a whole mini-training with its validation, peak memory in bytes, the individual's parameters, and the
    bytes that its networks take where children learn from them."""

    seconds: float
    memory: int
    parameters: int
    networks: int


def measure(task: UNetTask) -> Measured:
    """Train the median of 101 random individuals for up to 30 steps and scale its time up to `training.steps`."""
    rng = generator("estimate")
    genomes = [task.space.random(rng) for _ in range(SAMPLE)]
    costs = [
        (cost_of(task.space.architecture(genome), task.settings).exact_macs, i) for i, genome in enumerate(genomes)
    ]
    typical = genomes[sorted(costs)[SAMPLE // 2][1]]
    steps = min(task.settings.training.steps, WARMUP + TIMED)
    marks: list[float] = []
    begun = time.monotonic()
    found = task.evaluate(typical, seed=0, steps=steps, on_step=lambda _: marks.append(time.monotonic()))
    end = time.monotonic()
    warm = min(WARMUP, len(marks) - 1)
    a_step = (marks[-1] - marks[warm]) / max(1, len(marks) - 1 - warm) if len(marks) > 1 else marks[0] - begun
    rest = (marks[0] - begun) + (end - marks[-1])
    return Measured(
        seconds=rest + a_step * task.settings.training.steps,
        memory=_peak_memory(task),
        parameters=cost_of(task.space.architecture(typical), task.settings).parameters,
        networks=len(networks_to_bytes(found.model)),
    )


def _peak_memory(task: UNetTask) -> int:
    if task.engine.device.type == "cuda":
        return torch.cuda.max_memory_allocated(task.engine.device)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024
