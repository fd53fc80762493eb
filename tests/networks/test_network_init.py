"""pix2pix's initialisation."""

import torch
from torch import nn

from optevo.networks.init import init_weights
from optevo.networks.patchgan import PatchGAN
from optevo.networks.unet import UNetGenerator
from optevo.spaces.unet import original


@torch.no_grad()
def assert_pix2pix(network: nn.Module) -> None:
    convolutions = [layer for layer in network.modules() if isinstance(layer, nn.Conv2d | nn.ConvTranspose2d)]
    norms = [layer for layer in network.modules() if isinstance(layer, nn.BatchNorm2d)]
    weights = torch.cat([layer.weight.flatten() for layer in convolutions])
    scales = torch.cat([layer.weight for layer in norms])
    assert abs(float(weights.mean())) < 5 * 0.02 / weights.numel() ** 0.5
    assert abs(float(weights.std()) - 0.02) < 0.0005
    assert abs(float(scales.mean()) - 1) < 5 * 0.02 / scales.numel() ** 0.5
    assert 0.015 < float(scales.std()) < 0.025
    assert all(not layer.bias.any() for layer in [*convolutions, *norms] if layer.bias is not None)


def test_networks_start_as_pix2pix() -> None:
    assert_pix2pix(UNetGenerator(original(ngf=8)))
    assert_pix2pix(PatchGAN(6, ndf=32))


def test_it_overwrites_everything_and_the_standard_deviation_is_a_setting() -> None:
    network = nn.Sequential(nn.Conv2d(3, 64, 4), nn.BatchNorm2d(64, affine=False), nn.Linear(64, 64))
    for parameter in network.parameters():
        nn.init.constant_(parameter, 7.0)
    init_weights(network, std=0.5)
    for layer in (network[0], network[2]):
        assert isinstance(layer, nn.Conv2d | nn.Linear)
        assert 0.45 < float(layer.weight.detach().std()) < 0.55
        assert not layer.bias.any()  # type: ignore[union-attr]


def test_the_seed_decides_by_either_generator() -> None:
    def drawn(seed: int) -> torch.Tensor:
        network = PatchGAN(3, ndf=4)
        init_weights(network, generator=torch.Generator().manual_seed(seed))
        return nn.utils.parameters_to_vector(network.parameters())

    assert torch.equal(drawn(1), drawn(1))
    assert not torch.equal(drawn(1), drawn(2))
    torch.manual_seed(3)
    first = UNetGenerator(original(ngf=2, depth=3)).state_dict()
    torch.manual_seed(3)
    second = UNetGenerator(original(ngf=2, depth=3)).state_dict()
    assert all(torch.equal(first[name], second[name]) for name in first)
