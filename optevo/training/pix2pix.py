"""Pix2pix training (1611.07004), one step at a time."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from optevo.data.plan import Plan
from optevo.data.resident import ResidentPairs
from optevo.errors import OptevoError
from optevo.training.base import Parts, Training
from optevo.training.engine import Engine
from optevo.training.losses import discriminator_loss, generator_loss, l1

# A look at the losses makes a GPU's host wait, so divergence is looked for once in so many steps.
CHECK_EVERY = 50


class DivergedError(OptevoError):
    """A loss is NaN or infinite."""


@dataclass(frozen=True)
class Schedule:
    """Learning rate: constant, then linearly down to zero, stepped once an epoch as pix2pix does.

    Args:
        steps_per_epoch: Steps in an epoch.
        constant: Epochs at the full rate.
        decay: Epochs of decay after them; 0 for none.
    """

    steps_per_epoch: int
    constant: int
    decay: int

    def factor(self, step: int) -> float:
        """What the learning rate is multiplied with at `step`, counted from 0."""
        epoch = step // self.steps_per_epoch
        return 1.0 - max(0, epoch + 1 - self.constant) / (self.decay + 1) if self.decay else 1.0


class Pix2Pix(Training):
    """A generator, its discriminator and their optimizers.

    Args:
        generator: Input `(B, C_in, H, W)`, output `(B, C_out, H, W)` in [-1, 1].
        discriminator: Judges `(B, C_in + C_out, H, W)`; logits of any shape.
        engine: Device and precision; both networks are moved there.
        learning_rate, betas: Adam's.
        l1_weight: lambda of Eq. 3 in 2002.11581.
    """

    LOSSES = ("discriminator", "generator_gan", "generator_l1")

    def __init__(
        self,
        generator: nn.Module,
        discriminator: nn.Module,
        *,
        engine: Engine,
        learning_rate: float = 2e-4,
        betas: tuple[float, float] = (0.5, 0.999),
        l1_weight: float = 100.0,
    ) -> None:
        self.engine = engine
        self.generator = engine.place(generator).train()
        self.discriminator = engine.place(discriminator).train()
        self.learning_rate = learning_rate
        self.l1_weight = l1_weight
        self.generator_adam = engine.adam(generator.parameters(), learning_rate=learning_rate, betas=betas)
        self.discriminator_adam = engine.adam(discriminator.parameters(), learning_rate=learning_rate, betas=betas)

    def step(self, source: Tensor, target: Tensor) -> Tensor:
        """One update of D, then one of G, on a batch in [-1, 1].

        Returns:
            The losses in the order of `LOSSES`, shape `(3,)`, on the device: reading them is left to the caller,
            because on a GPU it would wait for the step.
        """
        with self.engine.autocast():
            output = self.generator(source)
        d_loss = self._update_discriminator(source, target, output.detach())
        gan, pixel = self._update_generator(source, target, output)
        return torch.stack((d_loss.detach(), gan.detach(), pixel.detach()))

    def stepper(self) -> Callable[[Tensor, Tensor], Tensor]:
        """`step` for many steps in a row; see :meth:`Training.captured`."""
        captured = self.captured(lambda source, target: [self.step(source, target)])
        return lambda source, target: captured(source, target)[0]

    def parts(self) -> Parts:
        """Both networks and their optimizers."""
        return Parts(
            modules={"generator": self.generator, "discriminator": self.discriminator},
            adams={"generator_adam": self.generator_adam, "discriminator_adam": self.discriminator_adam},
        )

    def _update_discriminator(self, source: Tensor, target: Tensor, output: Tensor) -> Tensor:
        self.discriminator.requires_grad_(True)
        self.discriminator_adam.zero_grad(set_to_none=True)
        with self.engine.autocast():
            # Two passes, not one over both: batch norm must see real and fake batches apart, as pix2pix does.
            fake = self.discriminator(torch.cat((source, output.to(source.dtype)), dim=1))
            real = self.discriminator(torch.cat((source, target), dim=1))
        loss = discriminator_loss(real.float(), fake.float())
        loss.backward()
        self.discriminator_adam.step()
        return loss

    def _update_generator(self, source: Tensor, target: Tensor, output: Tensor) -> tuple[Tensor, Tensor]:
        # D only passes gradients on here; its own are not wanted.
        self.discriminator.requires_grad_(False)
        self.generator_adam.zero_grad(set_to_none=True)
        output = output.to(source.dtype)
        with self.engine.autocast():
            judged = self.discriminator(torch.cat((source, output), dim=1))
        gan, pixel = generator_loss(judged.float()), l1(output, target)
        (gan + self.l1_weight * pixel).backward()
        self.generator_adam.step()
        return gan, pixel


def train(
    model: Pix2Pix,
    data: ResidentPairs,
    plan: Plan,
    *,
    start: int = 0,
    schedule: Schedule | None = None,
    on_step: Callable[[int], None] | None = None,
) -> Tensor:
    """Follow a plan from step `start` to its end.

    Args:
        model: What is trained, in place.
        data: The images; `plan` holds indices into them, crops and flips.
        plan: Every random choice about the data, made beforehand: a run that is continued takes the same.
        schedule: Learning rates; constant by default.
        on_step: Called with the number of steps done, after each; may raise to end the training.

    Returns:
        Mean losses over the steps, shape `(3,)`, in the order of `Pix2Pix.LOSSES`.

    Raises:
        DivergedError: A loss became NaN or infinite.
    """
    plan = plan.to(data.index_device)
    total = torch.zeros(3, device=model.engine.device)
    steps, advance = len(plan.index), model.stepper()
    for step in range(start, steps):
        if schedule is not None:
            model.set_rate(schedule.factor(step))
        source, target = data.batch(plan.index[step], crop=plan.crop[step], flip=plan.flip[step])
        total += advance(source, target)
        if (step + 1) % CHECK_EVERY == 0 or step + 1 == steps:
            check_finite(total, step + 1)
        if on_step is not None:
            on_step(step + 1)
    return total / max(1, steps - start)


def check_finite(total: Tensor, step: int) -> None:
    """Raise DivergedError unless all losses so far are finite."""
    if not torch.isfinite(total).all():
        raise DivergedError(f"the loss is no longer finite at step {step}.")
