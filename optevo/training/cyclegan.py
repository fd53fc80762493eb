"""CycleGAN training (1703.10593), one step at a time."""

from collections.abc import Callable, Iterable, Sequence
from functools import partial
from itertools import chain

import torch
from torch import Tensor, nn

from optevo.data.resident import ResidentImages
from optevo.data.unpaired import UnpairedPlan, unpaired_batch
from optevo.training.average import moving_average
from optevo.training.base import Parts, Training
from optevo.training.engine import Engine
from optevo.training.losses import l1, lsgan, lsgan_discriminator_loss
from optevo.training.pix2pix import CHECK_EVERY, Schedule, check_finite
from optevo.training.replay import ReplayBuffer

Update = Callable[..., Sequence[Tensor]]


class CycleGAN(Training):
    """Two generators, their discriminators and their optimizers.

    Args:
        a_to_b, b_to_a: Generators, (B, C, H, W) in [-1, 1] to the same.
        judge_a, judge_b: Discriminators of real images of A and of B; logits of any shape.
        engine: Device and precision; all networks are moved there.
        learning_rate, betas: Adam's.
        cycle_weight: lambda of Eq. 3 (10).
        identity_weight: Of the identity loss, section 5.2 (5); 0 for none. Needs equal channels on both sides.
        replay: Generated images that each discriminator's history keeps (50).
        seed: Of what the histories give.
        average: Decay of a moving average of the generators' weights, in [0, 1); 0 keeps none.
    """

    LOSSES: tuple[str, ...] = (
        "judge_a", "judge_b", "gan_a", "gan_b", "cycle_a", "cycle_b", "identity_a", "identity_b",
    )  # fmt: skip

    def __init__(
        self,
        *,
        a_to_b: nn.Module,
        b_to_a: nn.Module,
        judge_a: nn.Module,
        judge_b: nn.Module,
        engine: Engine,
        learning_rate: float = 2e-4,
        betas: tuple[float, float] = (0.5, 0.999),
        cycle_weight: float = 10.0,
        identity_weight: float = 5.0,
        replay: int = 50,
        seed: int = 0,
        average: float = 0.0,
    ) -> None:
        self.engine = engine
        # Networks that come from a folder were made to be used, without gradients; here they learn.
        self.a_to_b, self.b_to_a, self.judge_a, self.judge_b = (
            engine.place(module).train().requires_grad_(True) for module in (a_to_b, b_to_a, judge_a, judge_b)
        )
        self.learning_rate = learning_rate
        self.cycle_weight, self.identity_weight = cycle_weight, identity_weight
        self.history_a = ReplayBuffer(size=replay, seed=seed)
        self.history_b = ReplayBuffer(size=replay, seed=seed + 1)

        def adam(*modules: nn.Module) -> torch.optim.Adam:
            parameters: Iterable[nn.Parameter] = chain(*(module.parameters() for module in modules))
            return engine.adam(parameters, learning_rate=learning_rate, betas=betas)

        self.generator_adam = adam(self.a_to_b, self.b_to_a)
        self.judge_adam = adam(self.judge_a, self.judge_b)
        learning = {"a_to_b": self.a_to_b, "b_to_a": self.b_to_a}
        self._averages = {n: moving_average(module, decay=average) for n, module in learning.items()} if average else {}

    def step(self, a: Tensor, b: Tensor) -> Tensor:
        """One update of both generators, then one of both discriminators, on unpaired batches in [-1, 1].

        Returns:
            The losses in the order of `LOSSES`, without their weights, shape `(8,)`, on the device: reading them is
            left to the caller, because on a GPU it would wait for the step.
        """
        return self._step(a, b, update_generators=self._update_generators, update_judges=self._update_judges)

    def stepper(self) -> Callable[[Tensor, Tensor], Tensor]:
        """`step` for many steps in a row; see :meth:`Training.captured`. The histories are drawn from on the host."""
        generators, judges = self.captured(self._update_generators), self.captured(self._update_judges)
        return partial(self._step, update_generators=generators, update_judges=judges)

    def result(self) -> dict[str, nn.Module]:
        """What was trained, `a_to_b` and `b_to_a`: the moving averages, where they are kept."""
        averages = {name: average.module for name, average in self._averages.items()}
        return averages or {"a_to_b": self.a_to_b, "b_to_a": self.b_to_a}

    def parts(self) -> Parts:
        """The four networks, their optimizers and the histories, and the averages, where they are kept."""
        networks = {"a_to_b": self.a_to_b, "b_to_a": self.b_to_a, "judge_a": self.judge_a, "judge_b": self.judge_b}
        networks |= {f"average_{name}": average for name, average in self._averages.items()}
        return Parts(
            modules=networks,
            adams={"generator_adam": self.generator_adam, "judge_adam": self.judge_adam},
            others={"history_a": self.history_a, "history_b": self.history_b},
        )

    def _step(self, a: Tensor, b: Tensor, *, update_generators: Update, update_judges: Update) -> Tensor:
        fake_a, fake_b, generator_losses = update_generators(a, b)
        (judge_losses,) = update_judges(a, b, self.history_a.exchange(fake_a), self.history_b.exchange(fake_b))
        self._take_average()
        return torch.cat((judge_losses, generator_losses))

    def _update_generators(self, a: Tensor, b: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """One Adam step; the fakes of A and of B, and the losses."""
        self._judges_learn(False)
        self.generator_adam.zero_grad(set_to_none=True)
        with self.engine.autocast():
            fake_b, fake_a = self._translate(a, b)
            again_a, again_b = self.b_to_a(fake_b), self.a_to_b(fake_a)
            judged_a, judged_b = self.judge_a(fake_a), self.judge_b(fake_b)
            same_a, same_b = (self.b_to_a(a), self.a_to_b(b)) if self.identity_weight else (a, b)
        gan = torch.stack((lsgan(judged_a.float(), target=1.0), lsgan(judged_b.float(), target=1.0)))
        cycle = torch.stack((l1(again_a.float(), a), l1(again_b.float(), b)))
        identity = torch.stack((l1(same_a.float(), a), l1(same_b.float(), b)))
        more = self._more(a, b, fake_a=fake_a, fake_b=fake_b)
        total = (gan + self.cycle_weight * cycle + self.identity_weight * identity).sum() + more.sum()
        total.backward()
        self.generator_adam.step()
        losses = torch.cat((gan, cycle, identity, more))
        return fake_a.detach().to(a.dtype), fake_b.detach().to(b.dtype), losses.detach()

    def _translate(self, a: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
        """Both generators' outputs, of B and of A, under autocast."""
        return self.a_to_b(a), self.b_to_a(b)

    def _more(self, a: Tensor, b: Tensor, *, fake_a: Tensor, fake_b: Tensor) -> Tensor:
        """Further losses of the generators, weighted, as many as a subclass adds to `LOSSES`."""
        return a.new_zeros(0)

    def _update_judges(self, a: Tensor, b: Tensor, shown_a: Tensor, shown_b: Tensor) -> tuple[Tensor]:
        """One Adam step on real images and shown fakes; the losses."""
        self._judges_learn(True)
        self.judge_adam.zero_grad(set_to_none=True)
        with self.engine.autocast():
            real_a, real_b = self.judge_a(a), self.judge_b(b)
            false_a, false_b = self.judge_a(shown_a), self.judge_b(shown_b)
        losses = torch.stack(
            (
                lsgan_discriminator_loss(real_a.float(), false_a.float()),
                lsgan_discriminator_loss(real_b.float(), false_b.float()),
            )
        )
        losses.sum().backward()
        self.judge_adam.step()
        return (losses.detach(),)

    def _take_average(self) -> None:
        for name, average in self._averages.items():
            average.update_parameters(getattr(self, name))

    def _judges_learn(self, learn: bool) -> None:
        # While the generators learn, gradients only pass through the discriminators; their own are not wanted.
        self.judge_a.requires_grad_(learn)
        self.judge_b.requires_grad_(learn)


def train(
    model: CycleGAN,
    a: ResidentImages,
    b: ResidentImages,
    plan: UnpairedPlan,
    *,
    start: int = 0,
    schedule: Schedule | None = None,
    on_step: Callable[[int], None] | None = None,
) -> Tensor:
    """Follow a plan from step `start` to its end.

    Args:
        model: What is trained, in place.
        a, b: The images of either domain.
        plan: Every random choice about the data, made beforehand: a run that is continued takes the same.
        schedule: Learning rates; constant by default.
        on_step: Called with the number of steps done, after each; may raise to end the training.

    Returns:
        Mean losses over the steps, in the order of `LOSSES`; zeros if there are none.

    Raises:
        DivergedError: A loss became NaN or infinite.
    """
    plan = plan.to(a.index_device, b.index_device)
    total = torch.zeros(len(model.LOSSES), device=model.engine.device)
    steps, advance = len(plan), model.stepper()
    for step in range(start, steps):
        if schedule is not None:
            model.set_rate(schedule.factor(step))
        total += advance(*unpaired_batch(a, b, plan, step))
        if (step + 1) % CHECK_EVERY == 0 or step + 1 == steps:
            check_finite(total, step + 1)
        if on_step is not None:
            on_step(step + 1)
    return total / max(1, steps - start)
