"""The U-Net task (2002.11581): build an individual, train it briefly, and judge it."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import torch

from optevo.data.pairs import PairFile
from optevo.data.plan import batch_plan
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
        self, params: Mapping[str, Any], *, seed: int, steps: int | None = None, on_step: OnStep | None = None
    ) -> Evaluation:
        """Train and judge one individual: a pure function of the arguments, on one kind of machine.

        Args:
            params: The genome, by gene name.
            seed: Of the initial weights, the dropout, and the order, crops and flips of the images.
            steps: Instead of `training.steps`.
            on_step: Called after each training step; may raise to end the evaluation.

        Raises:
            OverBudgetError: Before anything is built.
            DivergedError: A loss is not finite.
        """
        architecture = self.space.architecture({name: int(value) for name, value in params.items()})
        cost = cost_of(architecture, self.settings)
        broken = over_budget(cost, self.settings)
        if broken:
            raise OverBudgetError(broken)
        with self.engine.active():
            model = build(architecture, self.settings, engine=self.engine, seed=seed)
            losses = self._train(model, seed=seed, steps=steps or self.settings.training.steps, on_step=on_step)
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
        }
        return Evaluation(value=value, metrics=metrics, model=model)

    def _train(self, model: Pix2Pix, *, seed: int, steps: int, on_step: OnStep | None) -> list[float]:
        plan = batch_plan(
            len(self.train),
            steps=steps,
            batch_size=self.settings.training.batch_size,
            seed=seed,
            jitter_range=self.train.jitter_range,
        )
        losses: list[float] = train(model, self.train, plan, on_step=on_step).tolist()
        return losses

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
