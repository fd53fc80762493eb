"""CycleGAN training of two small translators that learn from two large ones as well, or from them alone."""

import copy
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from optevo.training.captured import is_known
from optevo.training.cyclegan import CycleGAN
from optevo.training.image_distillation import (
    feature_matching,
    features_of,
    inner_layers,
    kernel_alignment,
    ssim,
    style,
    tapped,
    total_variation,
)
from optevo.training.losses import l1

LAYERS = 4  # of a generator whose features are compared, as many as OMGD takes


@dataclass(frozen=True)
class DistillationWeights:
    """What each loss of :mod:`optevo.training.image_distillation` counts; 0 leaves it out and costs nothing.

    Attributes:
        l1, ssim, tv: Of the student's output against the teacher's; `tv` of the student's alone.
        features, style: Of what the teacher's discriminator makes of both outputs.
        alignment: Of features inside the generators.
    """

    l1: float = 10.0
    ssim: float = 10.0
    features: float = 10.0
    style: float = 0.0
    alignment: float = 1.0
    tv: float = 0.0

    def __post_init__(self) -> None:
        if min(vars(self).values()) < 0 or not any(vars(self).values()):
            raise ValueError(f"distillation weights must not be negative, nor all 0, but are {vars(self)}.")


@dataclass(frozen=True)
class Teacher:
    """A trained translator, and the discriminator of what it makes. Frozen."""

    generator: nn.Module
    judge: nn.Module


class DistilledCycleGAN(CycleGAN):
    """CycleGAN's losses plus, for either direction, what the student owes its teacher.

    Args:
        teachers: By direction, "a_to_b" and "b_to_a". They stay as they are.
        weights: Of the distillation's losses.
        alone: Learn from the teachers only, as OMGD does (2108.06908): no cycle, no identity, and discriminators that
            neither judge nor learn. Two passes of the students a step instead of six.
        others: As for :class:`optevo.training.cyclegan.CycleGAN`.
    """

    LOSSES = (*CycleGAN.LOSSES, "distil_a", "distil_b")

    def __init__(
        self,
        *,
        teachers: Mapping[str, Teacher],
        weights: DistillationWeights,
        alone: bool = False,
        **others: Any,
    ) -> None:
        super().__init__(**others)
        self.weights, self.alone = weights, alone
        self._teachers = {name: _frozen(teachers[name], self) for name in ("a_to_b", "b_to_a")}
        self._seen: dict[str, list[Tensor]] = {}

    def step(self, a: Tensor, b: Tensor) -> Tensor:
        """As :meth:`CycleGAN.step`; the losses of `distil_a` and `distil_b` are weighted sums, and those left out 0."""
        return self._step_alone(a, b, update=self._imitate) if self.alone else super().step(a, b)

    def stepper(self) -> Callable[[Tensor, Tensor], Tensor]:
        """As :meth:`CycleGAN.stepper`."""
        if not self.alone:
            return super().stepper()
        return partial(self._step_alone, update=self.captured(self._imitate))

    def captured(
        self, part: Callable[..., Sequence[Tensor]], *, tuned: bool = False
    ) -> Callable[..., Sequence[Tensor]]:
        """As :meth:`Training.captured`; the teachers must be of known kinds, too."""
        teachers = [module for each in self._teachers.values() for module in (each.generator, each.judge)]
        return super().captured(part, tuned=tuned) if all(is_known(module) for module in teachers) else part

    def _step_alone(self, a: Tensor, b: Tensor, *, update: Callable[..., Sequence[Tensor]]) -> Tensor:
        (losses,) = update(a, b)
        self._take_average()
        return losses

    def _imitate(self, a: Tensor, b: Tensor) -> tuple[Tensor]:
        """One Adam step by the teachers alone; all losses."""
        self.generator_adam.zero_grad(set_to_none=True)
        with self.engine.autocast():
            fake_b, fake_a = self._translate(a, b)
        more = self._more(a, b, fake_a=fake_a, fake_b=fake_b)
        more.sum().backward()
        self.generator_adam.step()
        return (torch.cat((more.new_zeros(len(CycleGAN.LOSSES)), more)).detach(),)

    def _translate(self, a: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
        return self._tapped("a_to_b", self.a_to_b, a), self._tapped("b_to_a", self.b_to_a, b)

    def _more(self, a: Tensor, b: Tensor, *, fake_a: Tensor, fake_b: Tensor) -> Tensor:
        owed = [self._owed("b_to_a", b, fake_a.float()), self._owed("a_to_b", a, fake_b.float())]
        self._seen.clear()
        return torch.stack(owed)

    def _tapped(self, direction: str, generator: nn.Module, source: Tensor) -> Tensor:
        """The student's output; what its inner layers read is kept for the alignment."""
        with tapped(generator, self._layers(direction)) as found:
            output: Tensor = generator(source)
        self._seen[direction] = features_of(found, self._layers(direction))
        return output

    def _layers(self, direction: str) -> list[str]:
        # Names are the teacher's: what was sliced out of it has layers of the same names.
        return inner_layers(self._teachers[direction].generator, count=LAYERS) if self.weights.alignment else []

    def _owed(self, direction: str, source: Tensor, output: Tensor) -> Tensor:
        """The weighted sum of one direction's distillation losses."""
        teacher, weights, layers = self._teachers[direction], self.weights, self._layers(direction)
        with torch.no_grad(), self.engine.autocast(), tapped(teacher.generator, layers) as found:
            target = teacher.generator(source)
        target = target.float()
        total = output.new_zeros(())
        if weights.l1:
            total = total + weights.l1 * l1(output, target)
        if weights.ssim:
            total = total + weights.ssim * (1 - ssim(output, target))
        if weights.tv:
            total = total + weights.tv * total_variation(output)
        if weights.features or weights.style:
            with torch.no_grad():
                theirs = self._judged(teacher.judge, target)
            ours = self._judged(teacher.judge, output)
            if weights.features:
                total = total + weights.features * feature_matching(ours, theirs)
            if weights.style:
                total = total + weights.style * style(ours, theirs)
        if weights.alignment:
            pairs = zip(self._seen[direction], features_of(found, layers), strict=True)
            total = total + weights.alignment * torch.stack([1 - kernel_alignment(x, y) for x, y in pairs]).mean()
        return total

    def _judged(self, judge: nn.Module, image: Tensor) -> list[Tensor]:
        """What the inner layers of a discriminator make of an image."""
        layers = inner_layers(judge)
        with self.engine.autocast(), tapped(judge, layers) as found:
            judge(image)
        return features_of(found, layers)


def _frozen(teacher: Teacher, model: CycleGAN) -> Teacher:
    generator, judge = (
        # A copy, because the students' discriminators may be the teachers' own.
        model.engine.place(copy.deepcopy(module)).eval().requires_grad_(False)
        for module in (teacher.generator, teacher.judge)
    )
    return Teacher(generator, judge)
