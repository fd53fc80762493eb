"""Validation by hand, and that it leaves the networks as they are."""

import torch
from torch import nn

from optevo.data.resident import ResidentImages, ResidentPairs
from optevo.networks.patchgan import PatchGAN
from optevo.networks.unet import UNetGenerator
from optevo.spaces.unet import UNetArchitecture
from optevo.training.engine import Engine
from optevo.training.validation import Validation, validate

CPU = Engine(device=torch.device("cpu"), precision="fp32", threads=1)


def data(count: int = 5) -> ResidentPairs:
    pixels = torch.randint(0, 256, (2, count, 16, 16, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    names = [str(i) for i in range(count)]
    return ResidentPairs(*(ResidentImages(half, names, (16, 16), torch.device("cpu"), "device") for half in pixels[:2]))


class Logit(nn.Module):
    """A discriminator that always says the same."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.full((len(x), 1, 2, 2), 0.5)


def test_losses_are_means_per_image_whatever_the_batch():
    pairs = data()
    source, target = pairs.batch(torch.arange(5))
    for batch_size in (1, 2, 5):
        found = validate(nn.Identity(), Logit(), pairs, engine=CPU, batch_size=batch_size)
        assert abs(found.l1 - (source - target).abs().mean().item()) < 1e-6
        assert abs(found.gan - torch.log1p(torch.exp(torch.tensor(-0.5))).item()) < 1e-6
    assert Validation(gan=1.5, l1=0.25).loss(l1_weight=100) == 26.5


def test_networks_are_left_as_they_were():
    torch.manual_seed(0)
    generator = UNetGenerator(UNetArchitecture(channels=(4, 4), skips=(True,)))
    discriminator = PatchGAN(6, ndf=2, layers=2)
    before = {name: value.clone() for name, value in generator.state_dict().items()}
    state = torch.get_rng_state()
    eval_mode = validate(generator, discriminator, data(), engine=CPU, batch_size=2)
    habit = validate(generator, discriminator, data(), engine=CPU, batch_size=2, mode="pix2pix", seed=1)
    assert habit == validate(generator, discriminator, data(), engine=CPU, batch_size=2, mode="pix2pix", seed=1)
    assert habit.l1 != eval_mode.l1
    assert generator.training
    assert discriminator.training
    assert torch.equal(torch.get_rng_state(), state)
    for name, value in generator.state_dict().items():
        assert torch.equal(value, before[name]), name
