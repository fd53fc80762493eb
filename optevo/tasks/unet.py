"""The U-Net task (2002.11581): build an individual, train it briefly, and judge it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch

from optevo.data.pairs import PairFile
from optevo.data.plan import Plan, batch_plan
from optevo.data.resident import ResidentPairs, load_pairs
from optevo.networks.patchgan import PatchGAN
from optevo.networks.unet import UNetGenerator
from optevo.spaces.unet import UNetArchitecture, UNetSpace
from optevo.tasks.evaluation import Evaluation as Evaluation
from optevo.tasks.evaluation import OnStep
from optevo.tasks.evaluation import OverBudgetError as OverBudgetError
from optevo.tasks.fitness import cost_of, over_budget, price, space_of
from optevo.tasks.settings import UNetSettings
from optevo.tasks.splits import Splits
from optevo.training.engine import Engine
from optevo.training.pix2pix import DivergedError, Pix2Pix, train
from optevo.training.validation import Validation, validate
from optevo.training.warm_start import Teacher, distill, inherit, networks_from_bytes

VALIDATION_BATCH = 16


def load_split(pairs: list[PairFile], settings: UNetSettings, *, device: torch.device, jitter: bool) -> ResidentPairs:
    """Decode pairs as the specification sees them."""
    data = settings.data
    return load_pairs(
        pairs,
        size=data.size,
        direction=data.direction,
        input_channels=data.input_channels,
        target_channels=data.target_channels,
        device=device,
        jitter=jitter,
    )


@dataclass(frozen=True)
class Heir:
    """A child of crossover, and what its parents have learned.

    Attributes:
        params: Its genome, by gene name.
        parents: The genome and the networks (see :func:`optevo.training.warm_start.networks_to_bytes`) of those that it
            learns from, the fittest first: two for `"distill"`, one for `"inherit"`.
    """

    params: Mapping[str, Any]
    parents: tuple[tuple[Mapping[str, Any], bytes], ...]


@dataclass
class UNetTask:
    """Evaluates individuals of the U-Net space on images that stay where they are trained.

    Args:
        settings: The specification's part.
        engine: Where and how to train.
        train, val: The mini-training and the mini-validation set.
        loss_unit: See :func:`constant_loss`; needed once per study, so that every worker prices alike.
    """

    settings: UNetSettings
    engine: Engine
    train: ResidentPairs
    val: ResidentPairs
    loss_unit: float
    space: UNetSpace = field(init=False)

    def __post_init__(self) -> None:
        self.space = space_of(self.settings)

    @classmethod
    def load(cls, settings: UNetSettings, splits: Splits, *, engine: Engine, loss_unit: float) -> "UNetTask":
        """Decode the images and be ready."""
        jitter = settings.training.jitter
        return cls(
            settings=settings,
            engine=engine,
            train=load_split(splits.train, settings, device=engine.device, jitter=jitter),
            val=load_split(splits.val, settings, device=engine.device, jitter=False),
            loss_unit=loss_unit,
        )

    def evaluate(
        self,
        individual: Mapping[str, Any] | Heir,
        *,
        seed: int,
        steps: int | None = None,
        on_step: OnStep | None = None,
    ) -> Evaluation:
        """Train and judge one individual: a pure function of the arguments, on one kind of machine.

        Args:
            individual: The genome, by gene name; of a child that learns from its parents, with those.
            seed: Of the initial weights, the dropout, and the order, crops and flips of the images.
            steps: Instead of `training.steps`.
            on_step: Called after each training step; may raise to end the evaluation.

        Raises:
            OverBudgetError: Before anything is built.
            DivergedError: A loss is not finite.
        """
        heir = individual if isinstance(individual, Heir) else Heir(individual, ())
        architecture = self._architecture(heir.params)
        cost = cost_of(architecture, self.settings)
        broken = over_budget(cost, self.settings)
        if broken:
            raise OverBudgetError(broken)
        with self.engine.active():
            # Parents first: what their building draws must not come between the child's own draws.
            parents = [self.parent(*parent) for parent in heir.parents]
            model = build(architecture, self.settings, engine=self.engine, seed=seed)
            plan = self._plan(seed=seed, steps=steps or self.settings.training.steps)
            begun, lesson = self._warm_start(model, parents, plan, on_step=on_step)
            losses: list[float] = train(model, self.train, plan, start=begun, on_step=on_step).tolist()
            quality = self._validate(model, seed=seed)
        l_gen = quality.loss(l1_weight=self.settings.training.l1_weight)
        value = l_gen + price(cost, self.settings, loss_unit=self.loss_unit)
        if value != value or value in (float("inf"), float("-inf")):
            raise DivergedError("the validation loss is not finite.")
        metrics = {
            "l1_val": quality.l1,
            "gan_val": quality.gan,
            "l_gen": l_gen,
            "parameters": cost.parameters,
            "exact_macs": cost.exact_macs,
            "literature_macs": cost.literature_macs,
            **dict(zip(Pix2Pix.LOSSES, losses, strict=True)),
            **lesson,
        }
        return Evaluation(value=value, metrics=metrics, model=model)

    def _architecture(self, params: Mapping[str, Any]) -> UNetArchitecture:
        return self.space.architecture({name: int(value) for name, value in params.items()})

    def parent(self, params: Mapping[str, Any], content: bytes) -> Pix2Pix:
        """An earlier individual as it was judged, of its genome and its networks."""
        model = build(self._architecture(params), self.settings, engine=self.engine, seed=0)
        states = networks_from_bytes(content)
        for part, network in model.parts().modules.items():
            network.load_state_dict(states[part])
        return model

    def _warm_start(
        self, model: Pix2Pix, parents: Sequence[Pix2Pix], plan: Plan, *, on_step: OnStep | None
    ) -> tuple[int, dict[str, float]]:
        """Begin with what the parents know. Gives the steps that it took, and metrics of it.

        The discriminator begins as the fitter parent's in either way, as Algorithm 1 begins with the fitter parent. All
        discriminators have one shape; a new one would have fewer steps to learn in than any other individual's, and
        judge a generator that is ahead of it. It makes children harder to please, and their L_GAN higher, not lower.
        """
        training = self.settings.training
        if not parents:
            return 0, {}
        model.discriminator.load_state_dict(parents[0].discriminator.state_dict())
        if training.warm_start == "inherit":
            return 0, {"inherited": inherit(model.generator, parents[0].generator.state_dict())}
        steps = min(training.distillation_steps, len(plan) - 1)
        first, second = (Teacher(parent.generator, parent.discriminator).freeze() for parent in parents)
        taught = distill(
            model,
            (first, second),
            self.train,
            plan,
            steps=steps,
            betas=(training.beta1, training.beta2),
            on_step=on_step,
        ).tolist()
        return steps, {"taught_by_fitter": taught[0], "taught_by_other": taught[1]}

    def _plan(self, *, seed: int, steps: int) -> Plan:
        return batch_plan(
            len(self.train),
            steps=steps,
            batch_size=self.settings.training.batch_size,
            seed=seed,
            jitter_range=self.train.jitter_range,
        )

    def _validate(self, model: Pix2Pix, *, seed: int) -> Validation:
        return validate(
            model.generator,
            model.discriminator,
            self.val,
            engine=self.engine,
            batch_size=VALIDATION_BATCH,
            mode=self.settings.fitness.mode,
            seed=seed,
        )


def build(architecture: UNetArchitecture, settings: UNetSettings, *, engine: Engine, seed: int) -> Pix2Pix:
    """A fresh generator and discriminator with their optimizers; `seed` goes on to drive the dropout."""
    training = settings.training
    engine.seed(seed)
    return Pix2Pix(
        UNetGenerator(architecture, dropout=training.dropout),
        PatchGAN(
            architecture.input_channels + architecture.output_channels,
            ndf=training.discriminator_channels,
            layers=training.discriminator_layers,
        ),
        engine=engine,
        learning_rate=training.learning_rate,
        betas=(training.beta1, training.beta2),
        l1_weight=training.l1_weight,
    )


def constant_loss(train: ResidentPairs, val: ResidentPairs, *, l1_weight: float) -> float:
    """`lambda L1` of the best constant picture: the pixelwise median of the training targets, on the val targets.

    The unit of gamma, because it costs no training and scales with the data as a generator's own loss does.
    """
    _, known = train.batch(torch.arange(len(train), device=train.index_device))
    _, wanted = val.batch(torch.arange(len(val), device=val.index_device))
    return float(l1_weight * (wanted - known.median(dim=0).values).abs().mean())
