"""CycleGAN's step against a textbook loop, and its history of generated images."""

import copy
import dataclasses
import itertools

import pytest
import torch
from torch import nn

from optevo.data.resident import ResidentImages
from optevo.data.unpaired import unpaired_plan
from optevo.networks.patchgan import PatchGAN
from optevo.networks.resnet import ResNetGenerator
from optevo.spaces.resnet import cyclegan
from optevo.training.cyclegan import CycleGAN, train
from optevo.training.engine import Engine
from optevo.training.pix2pix import DivergedError, Schedule
from optevo.training.replay import ReplayBuffer

FP32 = Engine(device=torch.device("cpu"), precision="fp32", threads=1)


def networks(seed: int = 0) -> dict[str, nn.Module]:
    torch.manual_seed(seed)
    plan = cyclegan(ngf=4, blocks=2)
    generators = {name: ResNetGenerator(plan) for name in ("a_to_b", "b_to_a")}
    judges = {name: PatchGAN(3, ndf=4, layers=1, norm="instance") for name in ("judge_a", "judge_b")}
    # In double precision: Adam turns rounding errors of biases before a norm, which have no gradient, into whole steps.
    return {name: module.double() for name, module in {**generators, **judges}.items()}


def batches(steps: int, *, size: int = 1):
    torch.manual_seed(7)
    return [tuple(torch.rand(2, size, 3, 16, 16, dtype=torch.float64) * 2 - 1) for _ in range(steps)]


def textbook(parts: dict[str, nn.Module], data, *, identity: float) -> torch.Tensor:
    """CycleGAN as its paper says it, without a history of images."""
    g_ab, g_ba, d_a, d_b = (parts[name] for name in ("a_to_b", "b_to_a", "judge_a", "judge_b"))
    g_opt = torch.optim.Adam(itertools.chain(g_ab.parameters(), g_ba.parameters()), lr=2e-4, betas=(0.5, 0.999))
    d_opt = torch.optim.Adam(itertools.chain(d_a.parameters(), d_b.parameters()), lr=2e-4, betas=(0.5, 0.999))
    losses = []
    for a, b in data:
        g_opt.zero_grad()
        fake_b, fake_a = g_ab(a), g_ba(b)
        gan_a, gan_b = ((d_a(fake_a) - 1) ** 2).mean(), ((d_b(fake_b) - 1) ** 2).mean()
        cycle_a, cycle_b = (g_ba(fake_b) - a).abs().mean(), (g_ab(fake_a) - b).abs().mean()
        same_a, same_b = (g_ba(a) - a).abs().mean(), (g_ab(b) - b).abs().mean()
        (gan_a + gan_b + 10 * (cycle_a + cycle_b) + identity * (same_a + same_b)).backward()
        g_opt.step()
        d_opt.zero_grad()
        judge_a = 0.5 * (((d_a(a) - 1) ** 2).mean() + (d_a(fake_a.detach()) ** 2).mean())
        judge_b = 0.5 * (((d_b(b) - 1) ** 2).mean() + (d_b(fake_b.detach()) ** 2).mean())
        (judge_a + judge_b).backward()
        d_opt.step()
        losses.append([x.item() for x in (judge_a, judge_b, gan_a, gan_b, cycle_a, cycle_b, same_a, same_b)])
    return torch.tensor(losses, dtype=torch.float64)


@pytest.mark.parametrize("size", [1, 2])
def test_step_equals_the_textbook_loop(size: int) -> None:
    parts, data = networks(), batches(5, size=size)
    expected = textbook(copy.deepcopy(parts), data, identity=5.0)
    model = CycleGAN(**parts, engine=FP32, replay=0)
    found = torch.stack([model.step(a, b) for a, b in data])
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-6)
    assert len(CycleGAN.LOSSES) == found.shape[1]


def test_without_the_identity_loss_it_costs_and_changes_nothing() -> None:
    parts, data = networks(), batches(3)
    expected = textbook(copy.deepcopy(parts), data, identity=0.0)
    model = CycleGAN(**parts, engine=FP32, replay=0, identity_weight=0.0)
    found = torch.stack([model.step(a, b) for a, b in data])
    torch.testing.assert_close(found[:, :6], expected[:, :6], rtol=1e-5, atol=1e-6)
    assert (found[:, 6:] < 1e-7).all()


def test_discriminators_are_shown_the_history() -> None:
    """With a history of one image, what is judged as false is either the new image or the one before."""
    parts, data = networks(), batches(12)
    model = CycleGAN(**parts, engine=FP32, replay=1, seed=3)
    shown: list[torch.Tensor] = []
    exchange = model.history_a.exchange
    model.history_a.exchange = lambda images: shown.append(exchange(images)) or shown[-1]  # type: ignore[method-assign]
    fakes = []
    for a, b in data:
        with torch.no_grad():
            fakes.append(model.b_to_a(b))
        model.step(a, b)
    old = [any(torch.allclose(image, fake, atol=1e-6) for fake in fakes[:at]) for at, image in enumerate(shown)]
    assert {True, False} == set(old)


def test_the_rate_is_set_everywhere() -> None:
    model = CycleGAN(**networks(), engine=FP32)
    model.set_rate(0.25)
    rates = [g["lr"] for adam in (model.generator_adam, model.judge_adam) for g in adam.param_groups]
    assert rates == [pytest.approx(5e-5)] * 2


# The history.


def images(*values: float) -> torch.Tensor:
    return torch.tensor(values).view(-1, 1, 1, 1)


def test_a_history_fills_first_and_then_gives_old_images_half_of_the_time() -> None:
    history = ReplayBuffer(size=20, seed=0)
    assert torch.equal(history.exchange(images(*range(20))), images(*range(20)))
    new, old = 0, 0
    for number in range(20, 2020):
        shown = history.exchange(images(number)).item()
        new, old = new + (shown == number), old + (shown < number)
    assert abs(old - 1000) < 120
    assert new + old == 2000
    assert len(history.images) == 20


def test_a_history_goes_on_from_its_state() -> None:
    history = ReplayBuffer(size=3, seed=1)
    history.exchange(images(*range(5)))
    other = ReplayBuffer(size=3, seed=9)
    other.restore(history.state())
    for number in range(5, 40):
        assert torch.equal(history.exchange(images(number)), other.exchange(images(number)))


def test_an_empty_history_keeps_nothing() -> None:
    history = ReplayBuffer(size=0, seed=0)
    assert torch.equal(history.exchange(images(1, 2)), images(1, 2))
    assert history.images == []
    restored = ReplayBuffer(size=2, seed=0)
    restored.restore(ReplayBuffer(size=2, seed=5).state())
    assert restored.images == []
    with pytest.raises(ValueError, match="size must not be negative"):
        ReplayBuffer(size=-1, seed=0)


# Following a plan.


def test_training_follows_its_plan_and_goes_on_in_its_middle() -> None:
    random = torch.Generator().manual_seed(1)
    a, b = (
        ResidentImages(torch.randint(0, 256, (3, 18, 18, 3), generator=random, dtype=torch.uint8), list("xyz"),
                       (16, 16), torch.device("cpu"), "device")
        for _ in range(2)
    )  # fmt: skip
    plan = unpaired_plan(a, b, steps=5, batch_size=1, seed=4)
    schedule = Schedule(steps_per_epoch=2, constant=1, decay=1)
    models = []
    for cuts in ((0,), (0, 2)):
        parts = {name: module.float() for name, module in networks().items()}
        model = CycleGAN(**parts, engine=FP32, replay=2, seed=6)
        seen: list[int] = []
        for start, stop in zip(cuts, (*cuts[1:], None), strict=True):
            part = dataclasses.replace(plan, index_a=plan.index_a[:stop], index_b=plan.index_b[:stop])
            losses = train(model, a, b, part, start=start, schedule=schedule, on_step=seen.append)
        assert seen == [1, 2, 3, 4, 5]
        assert losses.shape == (8,)
        assert model.generator_adam.param_groups[0]["lr"] == pytest.approx(2e-4 * schedule.factor(4))
        models.append(model)
    for one, other in zip(models[0].a_to_b.parameters(), models[1].a_to_b.parameters(), strict=True):
        assert torch.equal(one, other)


def test_training_says_when_a_loss_is_no_longer_finite() -> None:
    parts = {name: module.float() for name, module in networks().items()}
    with torch.no_grad():
        next(parts["a_to_b"].parameters()).fill_(float("nan"))
    images = ResidentImages(
        torch.zeros(1, 16, 16, 3, dtype=torch.uint8), ["x"], (16, 16), torch.device("cpu"), "device"
    )  # fmt: skip
    plan = unpaired_plan(images, images, steps=2, batch_size=1, seed=0)
    with pytest.raises(DivergedError, match="step 2"):
        train(CycleGAN(**parts, engine=FP32), images, images, plan)


def test_the_average_is_the_weights_mean_by_hand() -> None:
    model = CycleGAN(**networks(), engine=FP32, average=0.3)
    name, kept = "model.1.weight", dict(model.a_to_b.named_parameters())
    steps = []
    for a, b in batches(4):
        model.step(a, b)
        steps.append(kept[name].detach().clone())
    by_hand = steps[0]
    for decay, newest in zip((2 / 11, 3 / 12, 0.3), steps[1:], strict=True):  # 4 / 13 is more than 0.3
        by_hand = decay * by_hand + (1 - decay) * newest
    mean = model.result()["a_to_b"]
    assert torch.allclose(dict(mean.named_parameters())[name], by_hand, rtol=0, atol=1e-12)
    assert not torch.equal(by_hand, kept[name])
    assert not any(parameter.requires_grad for parameter in mean.parameters())


def test_the_average_changes_nothing_about_the_training() -> None:
    plain, kept = (CycleGAN(**networks(), engine=FP32, average=average) for average in (0.0, 0.9))
    for a, b in batches(2):
        assert torch.equal(plain.step(a, b), kept.step(a, b))
    assert plain.result()["b_to_a"] is plain.b_to_a
    assert torch.equal(plain.b_to_a.state_dict()["model.1.weight"], kept.b_to_a.state_dict()["model.1.weight"])
