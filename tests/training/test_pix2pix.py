"""The training step against a plain textbook loop, and everything a training must do besides."""

from pathlib import Path

import pytest
import torch
from torch import nn

from optevo.data.plan import batch_plan
from optevo.data.resident import ResidentImages, ResidentPairs
from optevo.networks.patchgan import PatchGAN
from optevo.networks.unet import UNetGenerator
from optevo.spaces.unet import UNetArchitecture
from optevo.training.checkpoint import load_checkpoint, save_checkpoint
from optevo.training.engine import Engine, resolve
from optevo.training.pix2pix import DivergedError, Pix2Pix, Schedule, train

ARCHITECTURE = UNetArchitecture(channels=(8, 12, 16, 16, 16), skips=(True, True, False, True))
FP32 = Engine(device=torch.device("cpu"), precision="fp32", threads=1)


def networks(seed: int, dropout: float = 0.5) -> tuple[UNetGenerator, PatchGAN]:
    torch.manual_seed(seed)
    return UNetGenerator(ARCHITECTURE, dropout=dropout), PatchGAN(6, ndf=8, layers=2)


def pairs(count: int = 6, size: int = 32) -> ResidentPairs:
    random = torch.Generator().manual_seed(5)
    images = torch.randint(0, 256, (2, count, size + 4, size + 4, 3), dtype=torch.uint8, generator=random)
    names = [str(i) for i in range(count)]
    halves = (ResidentImages(half, names, (size, size), torch.device("cpu"), "device") for half in images)
    return ResidentPairs(*halves)


def plan_for(data: ResidentPairs, *, steps: int, batch_size: int = 2, seed: int = 3):
    return batch_plan(len(data), steps=steps, batch_size=batch_size, seed=seed, jitter_range=data.jitter_range)


def textbook(generator: nn.Module, discriminator: nn.Module, batches, *, l1_weight: float = 100.0):
    """pix2pix as its paper says it, with nothing clever: returns the losses of every step."""
    g_opt = torch.optim.Adam(generator.parameters(), lr=2e-4, betas=(0.5, 0.999))
    d_opt = torch.optim.Adam(discriminator.parameters(), lr=2e-4, betas=(0.5, 0.999))
    criterion, losses = nn.BCEWithLogitsLoss(), []
    for x, y in batches:
        fake = generator(x)
        d_opt.zero_grad()
        pred_fake = discriminator(torch.cat([x, fake.detach()], 1))
        pred_real = discriminator(torch.cat([x, y], 1))
        zeros, ones = torch.zeros_like(pred_fake), torch.ones_like(pred_real)
        d_loss = 0.5 * (criterion(pred_fake, zeros) + criterion(pred_real, ones))
        d_loss.backward()
        d_opt.step()
        g_opt.zero_grad()
        pred = discriminator(torch.cat([x, fake], 1))
        gan, l1 = criterion(pred, ones), (fake - y).abs().mean()
        (gan + l1_weight * l1).backward()
        g_opt.step()
        losses.append([d_loss.item(), gan.item(), l1.item()])
    return torch.tensor(losses)


def test_step_equals_the_textbook_loop():
    data = pairs()
    plan = plan_for(data, steps=6)
    batches = [data.batch(plan.index[i], crop=plan.crop[i], flip=plan.flip[i]) for i in range(6)]
    model = Pix2Pix(*networks(0), engine=FP32)
    generator, discriminator = networks(0)
    torch.manual_seed(11)  # Dropout must draw the same masks in both.
    expected = textbook(generator, discriminator, [(x.contiguous(), y.contiguous()) for x, y in batches])
    torch.manual_seed(11)
    actual = torch.stack([model.step(x, y) for x, y in batches])
    torch.testing.assert_close(actual, expected, rtol=2e-4, atol=2e-5)
    for mine, theirs in zip(model.generator.parameters(), generator.parameters(), strict=True):
        torch.testing.assert_close(mine, theirs, rtol=1e-3, atol=1e-5)


def test_train_returns_the_mean_of_the_plan_s_losses():
    data = pairs()
    plan = plan_for(data, steps=4)
    model = Pix2Pix(*networks(0, dropout=0.0), engine=FP32)
    generator, discriminator = networks(0, dropout=0.0)
    batches = [data.batch(plan.index[i], crop=plan.crop[i], flip=plan.flip[i]) for i in range(4)]
    expected = textbook(generator, discriminator, batches).mean(0)
    torch.testing.assert_close(train(model, data, plan), expected, rtol=2e-4, atol=2e-5)


def test_continuing_from_a_checkpoint_equals_going_on(tmp_path: Path):
    data = pairs()
    plan = plan_for(data, steps=7)
    schedule = Schedule(steps_per_epoch=3, constant=1, decay=2)
    with FP32.active():
        whole = Pix2Pix(*networks(0), engine=FP32)
        torch.manual_seed(1)
        train(whole, data, plan, schedule=schedule)

        class Killed(Exception):
            pass

        broken = Pix2Pix(*networks(0), engine=FP32)

        def stop(step: int) -> None:
            if step == 4:
                save_checkpoint(tmp_path / "c.safetensors", broken, step=step)
                raise Killed

        torch.manual_seed(1)
        with pytest.raises(Killed):
            train(broken, data, plan, schedule=schedule, on_step=stop)
        resumed = Pix2Pix(*networks(99), engine=FP32)
        torch.manual_seed(1234)
        start = load_checkpoint(tmp_path / "c.safetensors", resumed)
        train(resumed, data, plan, start=start, schedule=schedule)
    assert start == 4
    for (name, mine), theirs in zip(
        resumed.generator.state_dict().items(), whole.generator.state_dict().values(), strict=True
    ):
        assert torch.equal(mine, theirs), name


def test_a_loss_that_is_not_a_number_ends_the_training():
    data = pairs()
    model = Pix2Pix(*networks(0), engine=FP32, l1_weight=float("nan"))
    model.generator.decoder[0].conv.bias.data.fill_(float("nan"))
    with pytest.raises(DivergedError, match="no longer finite at step 3"):
        train(model, data, plan_for(data, steps=3))


def test_schedule_is_constant_then_linear():
    schedule = Schedule(steps_per_epoch=10, constant=2, decay=3)
    # pix2pix: 1 - max(0, epoch + 1 - constant) / (decay + 1), epochs counted from 0.
    assert [schedule.factor(step) for step in (0, 19, 20, 30, 40)] == [1.0, 1.0, 0.75, 0.5, 0.25]
    assert Schedule(steps_per_epoch=10, constant=2, decay=0).factor(1000) == 1.0


def test_bf16_trains_to_the_same_l1_as_fp32():
    data = pairs()
    plan = plan_for(data, steps=30)
    results = {}
    for precision in ("fp32", "bf16"):
        engine = resolve(device="cpu", precision=precision)
        model = Pix2Pix(*networks(0, dropout=0.0), engine=engine)
        results[precision] = train(model, data, plan)
    assert results["bf16"][2] == pytest.approx(results["fp32"][2].item(), rel=0.05)
    assert all(p.dtype == torch.float32 for p in model.generator.parameters())
