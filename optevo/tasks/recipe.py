"""The recipe search's task: one training of E-GAN's and CE-GAN's kind as an individual asks, judged as it goes."""

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor

from optevo.cost.dcgan import generator_cost
from optevo.data.noise import noise_batches
from optevo.data.resident import ResidentImages
from optevo.errors import UsageError
from optevo.metrics.distribution import Features, fid, kid
from optevo.metrics.unpaired import Inception
from optevo.networks.dcgan import DCGANDiscriminator, DCGANGenerator
from optevo.spaces.dcgan import DCGANArchitecture
from optevo.tasks.evaluation import Evaluation, OnStep, OverBudgetError, Report
from optevo.tasks.recipe_settings import RecipeSearchSettings, assemble, over_budget
from optevo.training.base import Parts, Training
from optevo.training.cegan import CEGAN, train
from optevo.training.checkpoint import load_checkpoint
from optevo.training.continuing import Checkpoints, Saving
from optevo.training.engine import Engine
from optevo.training.history import Patience, VanishedError
from optevo.training.pix2pix import DivergedError
from optevo.training.recipe import Recipe
from optevo.training.validation import evaluated

WINDOWS = 50  # parts of a training by which its history is told


class Curve:
    """What the champion was worth, report by report; a checkpoint keeps it.

    Attributes:
        points: float64 (reports, 2), steps and values.
    """

    def __init__(self) -> None:
        self.points = torch.empty((0, 2), dtype=torch.float64)

    def add(self, step: int, value: float) -> None:
        """Note a report."""
        self.points = torch.cat((self.points, torch.tensor([[step, value]], dtype=torch.float64)))

    def state(self) -> Mapping[str, Tensor]:
        """For a checkpoint."""
        return {"points": self.points}

    def restore(self, state: Mapping[str, Tensor]) -> None:
        """Go on where `state()` was taken."""
        self.points = state["points"].cpu()

    def __iter__(self) -> Iterator[tuple[int, float]]:
        return ((int(step), value) for step, value in self.points.tolist())


class Run(Training):
    """A training and what was reported of it.

    Attributes:
        model: The evolving generators and their discriminator.
        curve: The reports.
    """

    def __init__(self, model: CEGAN) -> None:
        self.model, self.curve = model, Curve()
        self.engine, self.learning_rate = model.engine, model.learning_rate

    def parts(self) -> Parts:
        """The model's, and the curve."""
        parts = self.model.parts()
        return Parts(modules=parts.modules, adams=parts.adams, others={**parts.others, "curve": self.curve})


@dataclass
class RecipeTask:
    """Evaluates recipes on images that stay where they are trained.

    Args:
        settings: The specification's part.
        engine: Where and how to train.
        images: The training images, of the specification's size and channels.
        inception: What takes the features that distances are between.
    """

    settings: RecipeSearchSettings
    engine: Engine
    images: ResidentImages
    inception: Inception
    _real: Features | None = field(init=False, default=None)

    def evaluate(
        self,
        params: Mapping[str, Any],
        *,
        seed: int,
        steps: int | None = None,
        on_step: OnStep | None = None,
        report: Report | None = None,
        checkpoints: Checkpoints | None = None,
    ) -> Evaluation:
        """Train and judge one individual: a pure function of the arguments, on one kind of machine.

        Args:
            params: Values of the keys that `[search]` names.
            seed: Of the initial weights, the noise and the order of the images.
            steps: Instead of `training.steps`.
            on_step: Called after each training step; may raise to end the evaluation.
            report: Told each value that the champion is judged at; of a training that goes on, also the earlier ones.
                Where it says True, the training is given up, unless it is finished.
            checkpoints: Where the training is saved, and goes on from.

        Returns:
            The champion's value after the last step, or, where the training was given up (because `report` said so, or
            because gradients had vanished after a first report), the last one reported.

        Raises:
            OverBudgetError: The values contradict each other, or the generator exceeds a budget; before anything is
                built.
            DivergedError: A fitness or loss is not finite, or gradients vanished before the first report.
        """
        try:
            recipe, architecture = assemble(self.settings, dict(params))
        except UsageError as error:
            raise OverBudgetError(f"no such recipe: {error}") from None
        cost = generator_cost(architecture)
        broken = over_budget(cost, self.settings)
        if broken:
            raise OverBudgetError(broken)
        with self.engine.active():
            run = Run(build(recipe, architecture, engine=self.engine, seed=seed))
            ended = self._train(run, params, seed=seed, steps=steps or self.settings.training.steps, on_step=on_step,
                                report=report, checkpoints=checkpoints)  # fmt: skip
        *_, (_, value) = run.curve
        metrics: dict[str, Any] = {
            self.protocol: value,
            "parameters": cost.parameters,
            "exact_macs": cost.exact_macs,
            "literature_macs": cost.literature_macs,
            "steps": len(run.model.history),
            **wins(run.model),
        }
        if ended is not None:
            metrics["ended"] = ended
        return Evaluation(value=value, metrics=metrics, model=run, pruned=ended is not None)

    @property
    def protocol(self) -> str:
        """What a value is, such as `fid_train_5000x50000_32x32_tf`: generated x real images, pixels, resize."""
        quality, size = self.settings.quality, self.settings.data.size
        return f"{quality.metric}_train_{quality.images}x{len(self._chosen())}_{size}x{size}_{self.inception.resize}"

    def value(self, generator: DCGANGenerator, *, seed: int, tick: Callable[[], None] = lambda: None) -> float:
        """The distance of what a generator makes of noise from the real images.

        Args:
            seed: Of the noise.
            tick: Called now and then; may raise to end it.
        """

        def images() -> Iterator[Tensor]:
            for batch in generated(generator, count=self.settings.quality.images, seed=seed):
                tick()
                yield batch

        with evaluated(generator):
            made = self.inception.features(images())
        if self.settings.quality.metric == "fid":
            return fid(made, self.real)
        return kid(made, self.real).mean

    @property
    def real(self) -> Features:
        """Features of the real images; taken once, and kept by their content."""
        if self._real is None:
            self._real = self.inception.features_of(self._chosen())
        return self._real

    def _chosen(self) -> ResidentImages:
        """The real images: spread over all of them, since arrays are often sorted by what they show."""
        count = self.settings.quality.real_images
        if count is None or count >= len(self.images):
            return self.images
        index = np.sort(np.random.default_rng(0).permutation(len(self.images))[:count])
        where = torch.from_numpy(index).to(self.images.index_device)
        images = self.images
        names = [images.names[at] for at in index]
        return ResidentImages(images.images[where], names, images.size, images.device, images.placement)

    def _train(
        self,
        run: Run,
        params: Mapping[str, Any],
        *,
        seed: int,
        steps: int,
        on_step: OnStep | None,
        report: Report | None,
        checkpoints: Checkpoints | None,
    ) -> str | None:
        """Train to the end; why not, where it was given up."""
        training = self.settings.training
        facts = self._facts(params, seed=seed, steps=steps)
        start, saving = 0, None
        if checkpoints is not None:
            found = checkpoints.find(facts)
            start = 0 if found is None else load_checkpoint(found.path, run, facts=facts)
            saving = Saving(checkpoints, run, facts, minutes=training.checkpoint_minutes)
        looks = _Looks(task=self, run=run, seed=seed, steps=steps, tick=on_step or (lambda step: None), report=report)
        try:
            looks.tell_again()
            looks.after(start)  # It may have been interrupted while its champion was judged.
            train(
                run.model,
                self.images,
                steps=steps,
                seed=seed,
                start=start,
                patience=Patience(training.patience, training.tolerance),
                on_step=looks.after if saving is None else lambda step: saving.after(step, lambda: looks.after(step)),
            )
        except _GivenUpError as error:
            return str(error)
        except VanishedError as error:
            if not len(run.curve.points):
                raise
            return str(error)
        finally:
            if checkpoints is not None:
                checkpoints.close()
        return None

    def _facts(self, params: Mapping[str, Any], *, seed: int, steps: int) -> dict[str, Any]:
        """What a checkpoint and the training that goes on from it must have in common."""
        recipe, architecture = assemble(self.settings, dict(params))
        return {
            "recipe": {**asdict(recipe), "mutations": list(recipe.mutations), "betas": list(recipe.betas)},
            "architecture": architecture.to_dict(),
            "quality": self.settings.quality.model_dump(mode="json"),
            "images": len(self.images),
            "precision": self.engine.precision,
            "threads": self.engine.threads,
            "seed": seed,
            "steps": steps,
        }


@dataclass(frozen=True, kw_only=True)
class _Looks:
    """The moments of a training at which its champion is judged, and who is told.

    Args:
        tick: Called with the number of steps done, after each and while a champion is judged; may raise.
        report: As of :meth:`RecipeTask.evaluate`.
    """

    task: RecipeTask
    run: Run
    seed: int
    steps: int
    tick: OnStep
    report: Report | None

    def tell_again(self) -> None:
        """What a training that goes on was worth before."""
        for step, value in self.run.curve:
            self._tell(value, step)

    def after(self, step: int) -> None:
        """Judge the champion where it is time."""
        self.tick(step)
        quality = self.task.settings.quality
        if not step or (step % quality.every and step < self.steps) or step in dict(self.run.curve):
            return
        champion = self.run.model.champion(average=quality.average)
        value = self.task.value(champion, seed=self.seed, tick=lambda: self.tick(step))
        if not math.isfinite(value):
            raise DivergedError(f"the champion's value is no longer finite at step {step}.")
        self.run.curve.add(step, value)
        self._tell(value, step)

    def _tell(self, value: float, step: int) -> None:
        hopeless = self.report is not None and self.report(value, step)
        # Nothing is saved by giving up what is finished.
        if hopeless and step < self.steps:
            raise _GivenUpError("pruned")


class _GivenUpError(Exception):
    """The training shall not go on; what was reported counts."""


def build(recipe: Recipe, architecture: DCGANArchitecture, *, engine: Engine, seed: int) -> CEGAN:
    """Fresh generators and their discriminator."""
    engine.seed(seed)
    generators = [DCGANGenerator(architecture) for _ in range(recipe.parents)]
    return CEGAN(generators, DCGANDiscriminator(architecture), engine=engine, recipe=recipe)


def generated(generator: DCGANGenerator, *, count: int, seed: int) -> Iterator[Tensor]:
    """Images of a generator, in batches of (B, C, H, W); the noise depends on the seed alone, not on the device."""
    device = next(generator.parameters()).device
    for noise in noise_batches(generator.architecture.latent, count=count, seed=seed):
        yield generator(torch.from_numpy(noise).to(device))


def wins(model: CEGAN) -> dict[str, float]:
    """Each operator's share of the survivors, 0..1 (CE-GAN, Figure 6), as `wins_NAME`."""
    counted = model.history.wins()
    total = max(1, sum(counted.values()))
    return {f"wins_{operator}": count / total for operator, count in counted.items()}


def windows(run: Run) -> list[dict[str, float]]:
    """The whole training in at most `WINDOWS` rows, means over each window of steps.

    A row has `step` (its last), each operator's share of the survivors (Figure 6), the champions' `fitness`, that of
    the crossover's `fitter_parent`, `other_parent` and `child` (Figure 4), the `discriminator_loss`, and the newest
    `value` that was reported, where there is one.
    """
    history, rows = run.model.history, []
    length = max(1, -(-len(history) // WINDOWS))
    champions, crossovers, reports = history.champions(), history.crossovers(), list(run.curve)
    for start in range(0, len(history), length):
        end = min(start + length, len(history))
        counted = history.wins(start=start, end=end)
        total = max(1, sum(counted.values()))
        row = {"step": float(end), **{f"wins_{name}": count / total for name, count in counted.items()}}
        row["fitness"] = champions[start:end].mean().item()
        if crossovers.shape[1]:
            means = crossovers[start:end].mean(dim=(0, 1)).tolist()
            row |= dict(zip(("fitter_parent", "other_parent", "child"), means, strict=True))
        row["discriminator_loss"] = history.discriminator_loss[start:end].mean().item()
        known = [value for step, value in reports if step <= end]
        row["value"] = known[-1] if known else float("nan")
        rows.append(row)
    return rows
