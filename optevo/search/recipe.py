"""The search for GAN recipes (E-GAN, CE-GAN) as a study: a trial is one training run, judged by its champion."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.pruners import BasePruner
from optuna.samplers import BaseSampler
from optuna.trial import Trial

from optevo.cost.dcgan import generator_cost
from optevo.data.check import check_alone
from optevo.data.collection_files import find_collection
from optevo.errors import UsageError
from optevo.samplers import GuestSampler, RouletteGASampler, SlotSampler
from optevo.samplers.distributions import decode, gene
from optevo.search.pruning import make_pruner
from optevo.search.spec import RecipeSpec, Spec
from optevo.search.systems import PICTURED, Left, System
from optevo.search.unet import genetics
from optevo.tasks.evaluation import Evaluation, OnStep, Report
from optevo.tasks.recipe_settings import REAL, Choices, Range, assemble, over_budget

if TYPE_CHECKING:
    from optevo.reports.pictures import Pixels
    from optevo.search.study import Search
    from optevo.tasks.recipe import RecipeTask
    from optevo.training.continuing import Checkpoints
    from optevo.training.engine import Engine

TRIED = 1_000  # random individuals among which one must be possible
ROWS = 4  # of `PICTURED` samples each

# Optuna's samplers by what a specification says.
GUESTS: Mapping[str, Callable[..., BaseSampler]] = {
    "random": optuna.samplers.RandomSampler,
    "tpe": optuna.samplers.TPESampler,
    "gp": optuna.samplers.GPSampler,
    "cmaes": optuna.samplers.CmaEsSampler,
    "nsgaii": optuna.samplers.NSGAIISampler,
    "qmc": optuna.samplers.QMCSampler,
    "bruteforce": optuna.samplers.BruteForceSampler,
}


class RecipeSystem(System):
    """See the module."""

    populations = ("",)

    def check(self, spec: Spec) -> None:
        spec = _of(spec)
        check_alone(Path(spec.data.root)).demand()
        _check_possible(spec)
        if spec.sampler.name != "roulette":
            _make_guest(spec, seed=0)
        self.pruner(spec)

    def fingerprint(self, spec: Spec, *, root: Path | None = None) -> str:
        return find_collection(root or Path(_of(spec).data.root)).fingerprint

    def facts(self, spec: Spec) -> dict[str, Any]:
        return {}

    def samplers(self, spec: Spec, *, facts: Mapping[str, Any], name: str) -> tuple[SlotSampler, ...]:
        return (make_sampler(_of(spec)),)

    def open_task(
        self,
        spec: Spec,
        *,
        facts: Mapping[str, Any],
        engine: "Engine",
        read_file: Callable[[str], bytes],
        root: Path | None = None,
    ) -> "RecipeTask":
        return open_recipe_task(_of(spec), engine=engine, root=root)

    def individual(self, spec: Spec, trial: Trial, *, facts: Mapping[str, Any], left: Left) -> dict[str, Any]:
        return trial.params

    def evaluate(
        self,
        task: Any,
        individual: Any,
        *,
        seed: int,
        steps: int | None,
        on_step: OnStep,
        report: Report,
        checkpoints: "Checkpoints",
    ) -> Evaluation:
        found: Evaluation = task.evaluate(
            individual, seed=seed, steps=steps, on_step=on_step, report=report, checkpoints=checkpoints
        )
        return found

    def pruner(self, spec: Spec) -> BasePruner:
        settings = _of(spec).pruner
        return make_pruner(settings.name, settings.arguments)

    def pictures(self, trial: Trial, task: Any, evaluation: Evaluation) -> "Mapping[str, Sequence[Pixels]]":
        import torch

        from optevo.models.train import to_pixels
        from optevo.tasks.recipe import generated
        from optevo.training.validation import evaluated

        champion = evaluation.model.model.champion(average=task.settings.quality.average)
        with evaluated(champion):
            pixels = to_pixels(torch.cat(list(generated(champion, count=2 * ROWS * PICTURED, seed=0))))
        across = 2 * PICTURED
        return {f"{row * across + 1}": pixels[row * across : (row + 1) * across] for row in range(ROWS)}

    def files_of(self, trial: Trial, task: Any, evaluation: Evaluation) -> Mapping[str, bytes]:
        from optevo.reports.evolution import figure, table
        from optevo.tasks.recipe import windows

        rows, reports = windows(evaluation.model), list(evaluation.model.curve)
        return {
            "evolution.png": figure(rows, reports, metric=task.protocol),
            "evolution.csv": table(rows).encode(),
        }


def recipe_spec(search: "Search") -> RecipeSpec:
    """The specification of a search for recipes.

    Raises:
        UsageError: The study is of another system.
    """
    if not isinstance(search.spec, RecipeSpec):
        raise UsageError(
            f"study {search.name!r}: is of the system {search.spec.system!r}, and this needs a search for recipes."
        )
    return search.spec


def open_recipe_task(spec: RecipeSpec, *, engine: "Engine", root: Path | None = None) -> "RecipeTask":
    """What trains and judges recipes on this machine, with the images decoded.

    Raises:
        UsageError: An image or Inception's weights cannot be read.
    """
    from optevo.data.collection import load_collection
    from optevo.metrics.unpaired import Inception
    from optevo.tasks.recipe import RecipeTask

    images = load_collection(
        find_collection(root or Path(spec.data.root)),
        size=spec.data.size,
        channels=spec.data.channels,
        device=engine.device,
        most=spec.data.train_images,
    )
    inception = Inception(engine=engine)
    inception.loaded()  # Before anybody begins what could not be judged.
    return RecipeTask(settings=spec, engine=engine, images=images, inception=inception)


def distributions(spec: RecipeSpec) -> dict[str, BaseDistribution]:
    """The search space for Optuna, in the specification's order, which crossover cuts."""
    return {key: _distribution(key, values) for key, values in spec.search.items()}


def _distribution(key: str, values: Choices | Range) -> BaseDistribution:
    if not isinstance(values, Range):
        return CategoricalDistribution(values)
    if key in REAL:
        return FloatDistribution(values.low, values.high, log=values.log, step=values.step)
    return IntDistribution(int(values.low), int(values.high), log=values.log, step=int(values.step or 1))


def make_sampler(spec: RecipeSpec) -> SlotSampler:
    """The specification's sampler: the genetic algorithm, or one of Optuna's own."""
    settings, space = spec.sampler, distributions(spec)
    if settings.name == "roulette":
        return RouletteGASampler(
            search_space=space, feasible=lambda params: is_possible(params, spec), seed=spec.seed, **genetics(settings)
        )
    return GuestSampler(
        make=lambda seed: _make_guest(spec, seed=seed),
        name=f"{settings.name} {dict(sorted(settings.arguments.items()))}",
        search_space=space,
        population_size=settings.population,
        generations=settings.generations,
        seed=spec.seed,
    )


def is_possible(params: Mapping[str, Any], spec: RecipeSpec) -> bool:
    """Whether an individual's values go together and keep to the budgets."""
    try:
        _, architecture = assemble(spec, dict(params))
    except UsageError:
        return False
    return over_budget(generator_cost(architecture), spec) is None


def _make_guest(spec: RecipeSpec, *, seed: int) -> BaseSampler:
    settings = spec.sampler
    try:
        return GUESTS[settings.name](seed=seed % 2**32, **settings.arguments)
    except (TypeError, ValueError, ImportError) as error:
        raise UsageError(f"sampler.arguments: {settings.name} does not take them ({error}).") from None


def _check_possible(spec: RecipeSpec) -> None:
    """Refuse a space none of whose individuals can be trained, with what is wrong with one of them."""
    space, rng = distributions(spec), np.random.default_rng(0)
    for _ in range(TRIED):
        params = decode([gene(distribution).draw(rng) for distribution in space.values()], space)
        if is_possible(params, spec):
            return
    try:
        assemble(spec, params)
        reason = "every generator exceeds the budget"
    except UsageError as error:
        reason = str(error)
    raise UsageError(f"search: {TRIED} random individuals cannot be trained, such as {params}: {reason}.")


def _of(spec: Spec) -> RecipeSpec:
    assert isinstance(spec, RecipeSpec)
    return spec
