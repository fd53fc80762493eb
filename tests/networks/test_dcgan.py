"""CE-GAN's networks: exactly the published ones, other sizes by the same family, batches kept apart."""

import pytest
import torch
from torch import nn

from optevo.cost.counted import parameters
from optevo.errors import UsageError
from optevo.networks.dcgan import DCGANDiscriminator, DCGANGenerator, GroupedBatchNorm
from optevo.spaces.dcgan import DCGANArchitecture, original

SMALL = DCGANArchitecture(generator=(12, 8, 6), discriminator=(6, 8, 12), latent=7)


def test_the_originals_are_the_papers() -> None:
    generator, discriminator = DCGANGenerator(original()), DCGANDiscriminator(original())
    assert parameters(generator) == 3_447_683
    assert parameters(discriminator) == 2_638_209
    # 100 -> 512 -> 256 -> 128 -> 3 without normalisation; 3 -> 128 -> 256 -> 512 with batch norm but after the first.
    kinds = [type(layer).__name__ for layer in generator.model]
    assert kinds == ["Unfolding", "ReLU", *["Doubling", "ReLU"] * 2, "Doubling", "Tanh"]
    kinds = [type(layer).__name__ for layer in discriminator.layers]
    assert kinds == ["Halving", "LeakyReLU", *["Halving", "GroupedBatchNorm", "LeakyReLU"] * 2]
    weights = torch.cat([layer.weight.flatten() for layer in generator.model if isinstance(layer, nn.ConvTranspose2d)])
    assert weights.std().item() == pytest.approx(0.02, rel=0.01)


@pytest.mark.parametrize(("size", "channels"), [(32, 3), (40, 1), (56, 3), (64, 3), (112, 1), (128, 3)])
def test_every_size_of_the_family(size: int, channels: int) -> None:
    architecture = original(size=size, ngf=2, ndf=2, latent=5, channels=channels)
    images = DCGANGenerator(architecture)(torch.rand(3, 5) * 2 - 1)
    assert images.shape == (3, channels, size, size)
    assert images.abs().max() < 1
    assert DCGANDiscriminator(architecture)(images).shape == (3,)


def test_the_generator_equals_one_written_from_the_paper() -> None:
    generator = DCGANGenerator(SMALL)
    first, second, third, last = (layer for layer in generator.model if isinstance(layer, nn.ConvTranspose2d))
    noise = torch.rand(2, 7)
    # The first layer reads one position: a matrix product.
    x = torch.einsum("bz,zchw->bchw", noise, first.weight) + first.bias[:, None, None]
    for layer in (second, third, last):
        x = nn.functional.conv_transpose2d(x.relu(), layer.weight, layer.bias, stride=2, padding=1)
    torch.testing.assert_close(generator(noise), x.tanh())


def test_batches_that_go_together_are_judged_as_if_alone() -> None:
    discriminator, images = DCGANDiscriminator(SMALL), torch.rand(12, 3, 32, 32)
    together = discriminator(images, groups=3)
    alone = torch.cat([discriminator(part) for part in images.split(4)])
    torch.testing.assert_close(together, alone)
    assert not torch.allclose(together, discriminator(images), atol=1e-4)


def test_a_group_is_normalised_by_itself() -> None:
    norm, x = GroupedBatchNorm(3), torch.randn(8, 3, 4, 4) * 5 + 2
    plain = nn.BatchNorm2d(3)
    torch.testing.assert_close(norm(x, groups=2), torch.cat([plain(x[:4]), plain(x[4:])]))
    assert not list(norm.buffers())


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"size": 31}, "size = 31"),
        ({"size": 36}, "multiple of 8"),
        ({"size": 72}, "multiple of 16"),
        ({"size": 256}, "32 to 128"),
        ({"generator": (8, 8)}, "take 3 channel numbers"),
        ({"generator": (8, 8, 0)}, "a width of 0"),
        ({"discriminator": "abc"}, "list of channel numbers"),
        ({"latent": 0}, "a width of 0"),
        ({"channels": 2}, "channels = 2"),
    ],
)
def test_an_architecture_that_cannot_be_is_refused(wrong: dict[str, object], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        DCGANArchitecture(**{**SMALL.to_dict(), **wrong})


def test_an_architecture_comes_back_from_json() -> None:
    assert DCGANArchitecture.from_dict(SMALL.to_dict()) == SMALL
    with pytest.raises(UsageError, match="keys"):
        DCGANArchitecture.from_dict({"size": 32})


def test_noise_of_another_shape_is_refused() -> None:
    with pytest.raises(UsageError, match=r"\(images, 7\)"):
        DCGANGenerator(SMALL)(torch.rand(2, 8))
