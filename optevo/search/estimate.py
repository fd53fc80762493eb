"""What one individual takes on this machine, measured on typical ones."""

import resource
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from itertools import islice

import numpy as np
import torch

from optevo.cost.dcgan import generator_cost
from optevo.cost.filters import filter_cost
from optevo.data.noise import BATCH
from optevo.errors import UsageError
from optevo.evolution import generator
from optevo.samplers.distributions import decode, gene
from optevo.samplers.masks import Mask
from optevo.search.recipe import distributions, is_possible
from optevo.search.spec import RecipeSpec
from optevo.tasks.coevolution import OTHER, CoevolutionTask, Direction
from optevo.tasks.coevolution_price import over_budget
from optevo.tasks.evaluation import Evaluation, OnStep
from optevo.tasks.filter_tables import random_mask
from optevo.tasks.fitness import cost_of
from optevo.tasks.recipe import RecipeTask, build, generated
from optevo.tasks.recipe_settings import assemble
from optevo.tasks.unet import UNetTask
from optevo.training.cegan import train
from optevo.training.warm_start import networks_to_bytes

WARMUP, TIMED = 3, 30
SAMPLE = 101


@dataclass(frozen=True)
class Measured:
    """Means over the typical individuals.

    Attributes:
        seconds: Of a whole mini-training with its validation.
        first_seconds: Of generation 0's, where that is another.
        memory: Peak of the process or the device, in bytes.
        parameters: Of what is trained whole in the end: a winner, or both.
        networks: Bytes of what an individual leaves to children that learn from it; 0 where none do.
    """

    seconds: float
    first_seconds: float
    memory: int
    parameters: int
    networks: int = 0


def measure(task: UNetTask) -> Measured:
    """Train the median of 101 random individuals for up to 30 steps and scale its time up to `training.steps`."""
    rng = generator("estimate")
    genomes = [task.space.random(rng) for _ in range(SAMPLE)]
    costs = [
        (cost_of(task.space.architecture(genome), task.settings).exact_macs, i) for i, genome in enumerate(genomes)
    ]
    typical = genomes[sorted(costs)[SAMPLE // 2][1]]
    found: list[Evaluation] = []
    timed = _time(
        lambda steps, on_step: found.append(task.evaluate(typical, seed=0, steps=steps, on_step=on_step)),
        steps=task.settings.training.steps,
    )
    seconds = timed.seconds(task.settings.training.steps)
    return Measured(
        seconds=seconds,
        first_seconds=seconds,
        memory=_peak_memory(task.engine.device),
        parameters=cost_of(task.space.architecture(typical), task.settings).parameters,
        networks=len(networks_to_bytes(found[0].model)),
    )


def measure_masks(task: CoevolutionTask) -> Measured:
    """As :func:`measure`, of either direction of a co-evolution: the median of 101 random masks, with such a partner.

    Generation 0, which is judged against the whole other teacher, is timed for itself.
    """
    typical = {direction: _typical_masks(task, direction) for direction in OTHER}
    training = task.settings.training
    seconds, first_seconds = 0.0, 0.0
    # The teachers' judgements and the unit of the losses are computed once a worker, not for each individual.
    for direction in OTHER:
        task.verdicts(direction)
        task.unit(direction)

    def timed(direction: Direction, partner: dict[str, Mask] | None, wanted: int) -> float:
        def run(steps: int, on_step: OnStep) -> object:
            return task.evaluate(direction, typical[direction], partner, seed=0, steps=steps, on_step=on_step)

        return _time(run, steps=wanted).seconds(wanted)

    for direction, other in OTHER.items():
        seconds += timed(direction, typical[other], training.steps) / len(OTHER)
        first_seconds += timed(direction, None, training.first_steps) / len(OTHER)
    return Measured(
        seconds=seconds,
        first_seconds=first_seconds,
        memory=_peak_memory(task.engine.device),
        parameters=sum(
            filter_cost(task.tables[direction], task.tables[direction].kept(masks)).parameters
            for direction, masks in typical.items()
        ),
    )


def measure_recipe(task: RecipeTask, spec: RecipeSpec) -> Measured:
    """As :func:`measure`, of the median of 101 random recipes by the generator's exact multiply-accumulates.

    Inception takes a time that grows with the number of images alone, so few of them tell it.
    """
    rng, space = generator("estimate"), distributions(spec)
    drawn = (decode([gene(each).draw(rng) for each in space.values()], space) for _ in range(10 * SAMPLE))
    possible = list(islice((assemble(spec, params) for params in drawn if is_possible(params, spec)), SAMPLE))
    if not possible:
        raise UsageError("search: hardly any individual can be trained; widen the budgets, or what varies.")
    costs = [generator_cost(architecture) for _, architecture in possible]
    typical = sorted(range(len(possible)), key=lambda i: (costs[i].exact_macs, i))[len(possible) // 2]
    steps, quality = spec.training.steps, spec.quality
    with task.engine.active():
        model = build(*possible[typical], engine=task.engine, seed=0)
        timed = _time(
            lambda wanted, on_step: train(model, task.images, steps=wanted, seed=0, on_step=on_step), steps=steps
        )
        champion = model.champion()
        begun = time.monotonic()
        task.inception.features(generated(champion, count=BATCH, seed=0))
        an_image = (time.monotonic() - begun) / BATCH
    seconds = timed.seconds(steps) + -(-steps // quality.every) * quality.images * an_image
    return Measured(
        seconds=seconds,
        first_seconds=seconds,
        memory=_peak_memory(task.engine.device),
        parameters=costs[typical].parameters,
    )


def _typical_masks(task: CoevolutionTask, direction: Direction) -> dict[str, Mask]:
    """The median of random masks by exact multiply-accumulates; of those that the budgets allow, where any are."""
    rng, table, fitness = generator("estimate", direction), task.tables[direction], task.settings.fitness
    drawn = [{name: random_mask(size, rng) for name, size in table.chromosomes.items()} for _ in range(SAMPLE)]
    costs = [filter_cost(table, table.kept(masks)) for masks in drawn]
    fits = [i for i, cost in enumerate(costs) if over_budget(cost, fitness) is None]
    if fits:
        ranked = sorted(fits, key=lambda i: (costs[i].exact_macs, i))
        return drawn[ranked[len(ranked) // 2]]
    # Budgets that hardly any mask keeps: the sampler looks for longer than this; nothing is cheaper than one filter.
    return {name: np.arange(size) == 0 for name, size in table.chromosomes.items()}


@dataclass(frozen=True)
class _Times:
    """Seconds of one step, and of everything else."""

    a_step: float
    rest: float

    def seconds(self, steps: int) -> float:
        return self.rest + self.a_step * steps


def _time(run: Callable[[int, OnStep], object], *, steps: int) -> _Times:
    """Time at most 33 of an evaluation's steps; the first three, in which kernels are chosen, tell nothing."""
    marks: list[float] = []
    begun = time.monotonic()
    run(min(steps, WARMUP + TIMED), lambda _: marks.append(time.monotonic()))
    end = time.monotonic()
    if not marks:
        return _Times(a_step=0.0, rest=end - begun)
    warm = min(WARMUP, len(marks) - 1)
    a_step = (marks[-1] - marks[warm]) / max(1, len(marks) - 1 - warm) if len(marks) > 1 else marks[0] - begun
    return _Times(a_step=a_step, rest=(marks[0] - begun) + (end - marks[-1]))


def _peak_memory(device: torch.device) -> int:
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024
