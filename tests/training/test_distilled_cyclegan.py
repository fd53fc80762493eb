"""Training with teachers: each loss from its definition, teachers left alone, and what learning alone leaves out."""

import copy

import numpy as np
import pytest
import torch
from small_translators import CPU, small_translators
from torch import Tensor, nn

from optevo.networks.slicing import filter_groups, slice_filters
from optevo.training.cyclegan import CycleGAN
from optevo.training.distilled_cyclegan import LAYERS, DistillationWeights, DistilledCycleGAN, Teacher
from optevo.training.image_distillation import (
    feature_matching,
    inner_layers,
    kernel_alignment,
    ssim,
    style,
    tapped,
    total_variation,
)

EXAMPLE = torch.zeros(1, 3, 16, 16)


def images(count: int) -> list[tuple[Tensor, Tensor]]:
    random = torch.Generator().manual_seed(5)
    return [tuple(torch.rand(2, 1, 3, 16, 16, generator=random) * 2 - 1) for _ in range(count)]


def halved(generator: nn.Module) -> nn.Module:
    groups = filter_groups(generator, EXAMPLE)
    return slice_filters(generator, {g.name: np.arange(g.size) % 2 == 0 for g in groups}, EXAMPLE)


def student(weights: DistillationWeights, *, alone: bool = False) -> DistilledCycleGAN:
    pair = small_translators(gain=3.0)
    return DistilledCycleGAN(
        a_to_b=halved(pair.a_to_b),
        b_to_a=halved(pair.b_to_a),
        judge_a=copy.deepcopy(pair.judge_a),
        judge_b=copy.deepcopy(pair.judge_b),
        teachers={"a_to_b": Teacher(pair.a_to_b, pair.judge_b), "b_to_a": Teacher(pair.b_to_a, pair.judge_a)},
        weights=weights,
        alone=alone,
        engine=CPU,
        replay=0,
    )


def only(**weights: float) -> DistillationWeights:
    return DistillationWeights(**{**dict.fromkeys(vars(DistillationWeights()), 0.0), **weights})


def read_by(module: nn.Module, names: list[str], x: Tensor) -> tuple[Tensor, list[Tensor]]:
    with tapped(module, names) as found:
        result = module(x)
    return result, [found[name] for name in names]


@pytest.mark.parametrize("name", ["l1", "ssim", "tv", "features", "style", "alignment"])
@pytest.mark.parametrize("alone", [True, False])
def test_each_loss_is_what_it_says(name: str, alone: bool) -> None:
    model = student(only(**{name: 3.0}), alone=alone)
    pair, ((a, b),) = small_translators(gain=3.0), images(1)
    with torch.no_grad():
        expected = []
        for small, large, judge, x in (
            (model.b_to_a, pair.b_to_a, pair.judge_a, b),
            (model.a_to_b, pair.a_to_b, pair.judge_b, a),
        ):
            names = inner_layers(large, count=LAYERS)
            (output, ours), (target, theirs) = read_by(small, names, x), read_by(large, names, x)
            judged, truth = (read_by(judge, inner_layers(judge), image)[1] for image in (output, target))
            expected.append(
                3.0
                * {
                    "l1": (output - target).abs().mean(),
                    "ssim": 1 - ssim(output, target),
                    "tv": total_variation(output),
                    "features": feature_matching(judged, truth),
                    "style": style(judged, truth),
                    "alignment": torch.stack(
                        [1 - kernel_alignment(x, y) for x, y in zip(ours, theirs, strict=True)]
                    ).mean(),
                }[name].item()
            )
    found = model.step(a, b)
    assert found.shape == (len(DistilledCycleGAN.LOSSES),)
    assert found[-2:].tolist() == pytest.approx(expected, rel=1e-4)
    assert min(expected) > 0
    assert found[:8].any().item() != alone


def test_alone_neither_judges_nor_cycles_and_leaves_the_discriminators_alone() -> None:
    model = student(DistillationWeights(), alone=True)
    before = copy.deepcopy(model.judge_b.state_dict())
    for a, b in images(2):
        model.step(a, b)
    assert all(torch.equal(value, before[name]) for name, value in model.judge_b.state_dict().items())
    assert not model.judge_adam.state


def test_teachers_are_never_changed() -> None:
    model = student(DistillationWeights(style=1.0, tv=1.0))
    before = copy.deepcopy([t.generator.state_dict() for t in model._teachers.values()])
    judges = copy.deepcopy([t.judge.state_dict() for t in model._teachers.values()])
    for a, b in images(2):
        model.step(a, b)
    for teacher, was, judged in zip(model._teachers.values(), before, judges, strict=True):
        for module, state in ((teacher.generator, was), (teacher.judge, judged)):
            assert all(torch.equal(value, state[name]) for name, value in module.state_dict().items())
            assert all(parameter.grad is None for parameter in module.parameters())


@pytest.mark.slow
def test_learning_from_the_teachers_brings_the_students_nearer() -> None:
    model = student(DistillationWeights(), alone=True)
    teacher, ((a, b),) = model._teachers["a_to_b"].generator, images(1)

    def distance() -> float:
        with torch.no_grad():
            return (model.a_to_b(a) - teacher(a)).abs().mean().item()

    before, losses = distance(), [model.step(a, b)[-1].item() for _ in range(40)]
    assert distance() < 0.9 * before
    assert losses[-1] < 0.8 * losses[0]


def test_without_its_weights_nothing_else_changes() -> None:
    """The CycleGAN part of a step with a vanishing distillation is CycleGAN's own step."""
    distilled, pair = student(only(l1=1e-30)), small_translators(gain=3.0)
    plain = CycleGAN(
        a_to_b=halved(pair.a_to_b), b_to_a=halved(pair.b_to_a), judge_a=pair.judge_a, judge_b=pair.judge_b,
        engine=CPU, replay=0,
    )  # fmt: skip
    for a, b in images(2):
        torch.testing.assert_close(distilled.step(a, b)[:8], plain.step(a, b))


def test_weights_are_checked() -> None:
    with pytest.raises(ValueError, match="must not be negative"):
        DistillationWeights(l1=-1)
    with pytest.raises(ValueError, match="nor all 0"):
        only()
