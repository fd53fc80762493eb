"""How a child begins with what its parents know: by hand where it can be, on real networks otherwise."""

import pytest
import torch
from torch import Tensor, nn

from optevo.data.plan import batch_plan
from optevo.data.resident import ResidentImages, ResidentPairs
from optevo.networks.patchgan import PatchGAN
from optevo.networks.unet import UNetGenerator
from optevo.spaces.unet import UNetArchitecture
from optevo.training.engine import resolve
from optevo.training.pix2pix import DivergedError, Pix2Pix
from optevo.training.warm_start import (
    Teacher,
    distill,
    filtered_loss,
    inherit,
    networks_from_bytes,
    networks_to_bytes,
    verdict,
)

CPU = resolve(device="cpu", precision="fp32")
BETAS = (0.5, 0.999)


def critic(weight_of_output: float, bias: float = 0.0) -> nn.Conv2d:
    """A patch is a pixel: the output's value times a weight, plus a bias. The source does not matter."""
    layer = nn.Conv2d(2, 1, kernel_size=1)
    with torch.no_grad():
        layer.weight.copy_(torch.tensor([0.0, weight_of_output]).view(1, 2, 1, 1))
        layer.bias.fill_(bias)
    return layer


def pixels(*images: tuple[float, float]) -> Tensor:
    """Images of one row of two pixels."""
    return torch.tensor(images).view(len(images), 1, 1, 2)


def test_the_verdict_is_the_mean_over_patches_and_both_critics() -> None:
    output = pixels((1.0, 3.0), (0.0, -2.0))
    # Means of the patches: 2 and -1. The first critic says 4 and -2, the second -2 + 10 and 1 + 10.
    found = verdict([critic(2.0), critic(-1.0, bias=10.0)], torch.zeros_like(output), output)
    assert found.tolist() == [(4 + 8) / 2, (-2 + 11) / 2]


def test_the_target_is_chosen_for_each_input_by_hand() -> None:
    x, y = pixels((0, 0), (1, 1), (2, 2)), pixels((3, 1), (1, 3), (5, 5))
    child = pixels((1, 2), (0, 0), (9, 9))
    verdicts = (torch.tensor([0.5, -1.0, 2.0]), torch.tensor([0.0, 0.0, 2.0]))
    # x teaches the first, (1-0)^2 + (2-0)^2; y the second, (0-1)^2 + (0-3)^2; the third is judged equal.
    assert filtered_loss(child, (x, y), verdicts).item() == 5 + 10
    # Fitter or not: whoever is preferred teaches, in either order.
    assert filtered_loss(child, (y, x), verdicts[::-1]).item() == 5 + 10


def test_what_each_critic_has_for_its_own_generator_cancels() -> None:
    """The reason for judging by both: each generator has learned to please its own critic."""
    x, y, source = pixels((1.0, 1.0)), pixels((-1.0, -1.0)), pixels((0.0, 0.0))
    pleased_by_x, pleased_by_y = critic(1.0), critic(-1.0)
    for alone, own, stranger in ((pleased_by_x, x, y), (pleased_by_y, y, x)):
        assert verdict([alone], source, own) > verdict([alone], source, stranger)
    both = [pleased_by_x, pleased_by_y]
    assert verdict(both, source, x) == verdict(both, source, y)


def networks(seed: int, *, channels: tuple[int, ...], skips: tuple[bool, ...]) -> Pix2Pix:
    torch.manual_seed(seed)
    return Pix2Pix(
        UNetGenerator(UNetArchitecture(channels, skips), dropout=0.0), PatchGAN(6, ndf=2, layers=1), engine=CPU
    )


def teacher(seed: int, **architecture) -> Teacher:
    model = networks(seed, **architecture)
    return Teacher(model.generator, model.discriminator).freeze()


def pairs(count: int, *, size: int) -> ResidentPairs:
    random = torch.Generator().manual_seed(5)
    images = torch.randint(0, 256, (2, count, size + 2, size + 2, 3), dtype=torch.uint8, generator=random)
    names = [str(i) for i in range(count)]
    return ResidentPairs(*(ResidentImages(half, names, (size, size), torch.device("cpu"), "device") for half in images))


def weights(module: nn.Module) -> list[Tensor]:
    return [value.clone() for value in module.state_dict().values()]


def lesson(child: Pix2Pix, parents: tuple[Teacher, Teacher], *, steps: int = 6) -> Tensor:
    data = pairs(4, size=8)
    plan = batch_plan(len(data), steps=steps + 2, batch_size=2, seed=3, jitter_range=data.jitter_range)
    return distill(child, parents, data, plan, steps=steps, betas=BETAS)


def test_a_child_comes_nearer_to_its_parents_whatever_their_architectures() -> None:
    parents = (
        teacher(1, channels=(3, 4), skips=(True,)),
        teacher(2, channels=(5, 2), skips=(False,)),
    )
    everything = nn.ModuleList(network for parent in parents for network in (parent.generator, parent.critic))
    before = weights(everything)
    child = networks(3, channels=(4, 3), skips=(True,))
    discriminator = weights(child.discriminator)
    images, _ = pairs(4, size=8).batch(torch.arange(4))

    def distance() -> float:
        child.generator.eval()
        with torch.no_grad():
            made = child.generator(images)
            nearest = torch.stack([(made - p.generator(images)).square().flatten(1).sum(1) for p in parents])
        child.generator.train()
        return nearest.min(0).values.sum().item()

    far = distance()
    shares = lesson(child, parents, steps=60)
    assert distance() < far / 2
    assert shares.sum().item() == pytest.approx(1.0)
    # Nobody but the child's generator has changed, and no optimizer of its training has taken a step.
    assert all(torch.equal(a, b) for a, b in zip(before, weights(everything), strict=True))
    assert all(torch.equal(a, b) for a, b in zip(discriminator, weights(child.discriminator), strict=True))
    assert not child.generator_adam.state
    assert all(parameter.grad is None for parameter in child.generator.parameters())


def test_parents_that_are_judged_equal_teach_nothing() -> None:
    parent = teacher(1, channels=(3, 4), skips=(True,))
    child = networks(3, channels=(4, 3), skips=(True,))
    before = [parameter.detach().clone() for parameter in child.generator.parameters()]
    assert lesson(child, (parent, parent)).tolist() == [0.0, 0.0]
    assert all(torch.equal(a, b) for a, b in zip(before, child.generator.parameters(), strict=True))


def test_a_parent_that_overflows_is_seen() -> None:
    parent, other = teacher(1, channels=(3, 4), skips=(True,)), teacher(2, channels=(3, 4), skips=(True,))
    with torch.no_grad():
        parent.generator.encoder[0].conv.weight.fill_(float("nan"))
    with pytest.raises(DivergedError):
        lesson(networks(3, channels=(4, 3), skips=(True,)), (parent, other))


def test_inheriting_copies_whole_blocks_of_equal_shapes_and_nothing_else() -> None:
    parent = networks(1, channels=(3, 4, 5), skips=(True, False)).generator
    with torch.no_grad():
        for norm in (module for module in parent.modules() if isinstance(module, nn.BatchNorm2d)):
            norm.running_mean.fill_(7.0)
    child = networks(2, channels=(3, 6, 5), skips=(True, False)).generator
    before = {name: value.clone() for name, value in child.state_dict().items()}
    share = inherit(child, parent.state_dict())
    # Level 2 has 6 channels instead of 4: its own convolutions and those that read it differ. encoder.0 (3 to 3) and
    # decoder.0 (3 + 3 to 3) are equal.
    copied = {name for name in before if name.startswith(("encoder.0.", "decoder.0."))}
    for name, value in child.state_dict().items():
        assert torch.equal(value, parent.state_dict()[name] if name in copied else before[name]), name
    sizes = {name: parameter.numel() for name, parameter in child.named_parameters()}
    assert share == pytest.approx(sum(sizes[name] for name in copied) / sum(sizes.values()))
    # A norm of equal size stays behind where its convolution does: decoder.1 gives 3 channels in both.
    assert parent.state_dict()["decoder.1.norm.weight"].shape == before["decoder.1.norm.weight"].shape
    assert not (child.state_dict()["decoder.1.norm.running_mean"] == 7.0).any()


def test_an_equal_architecture_inherits_everything() -> None:
    parent, child = (networks(seed, channels=(3, 4), skips=(True,)) for seed in (1, 2))
    assert inherit(child.generator, parent.generator.state_dict()) == 1.0
    assert all(torch.equal(a, b) for a, b in zip(weights(child.generator), weights(parent.generator), strict=True))


def test_networks_come_back_bit_for_bit() -> None:
    model = networks(1, channels=(3, 4), skips=(True,))
    states = networks_from_bytes(networks_to_bytes(model))
    assert states.keys() == {"generator", "discriminator"}
    for part, module in model.parts().modules.items():
        found = module.state_dict()
        assert states[part].keys() == found.keys()
        assert all(torch.equal(states[part][name], value) for name, value in found.items())
