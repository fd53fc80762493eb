"""The networks of pytorch-CycleGAN-and-pix2pix, written down again layer by layer, for state dicts with its names."""

import torch
from torch import Tensor, nn


class Block(nn.Module):
    def __init__(self, width: int, *, statistics: bool) -> None:
        super().__init__()
        self.conv_block = nn.Sequential(
            nn.ReflectionPad2d(1),
            nn.Conv2d(width, width, 3),
            nn.InstanceNorm2d(width, track_running_stats=statistics),
            nn.ReLU(True),
            nn.ReflectionPad2d(1),
            nn.Conv2d(width, width, 3),
            nn.InstanceNorm2d(width, track_running_stats=statistics),
        )

    def forward(self, x: Tensor) -> Tensor:
        return x + self.conv_block(x)


class Generator(nn.Module):
    """`resnet_6blocks` and so on. `statistics`: of norms, as checkpoints of old versions carry them."""

    def __init__(self, ngf: int, blocks: int, *, takes: int = 3, gives: int = 3, statistics: bool = False) -> None:
        super().__init__()

        def norm(width: int) -> list[nn.Module]:
            return [nn.InstanceNorm2d(width, track_running_stats=statistics), nn.ReLU(True)]

        layers = [nn.ReflectionPad2d(3), nn.Conv2d(takes, ngf, 7), *norm(ngf)]
        for width in (ngf, 2 * ngf):
            layers += [nn.Conv2d(width, 2 * width, 3, stride=2, padding=1), *norm(2 * width)]
        layers += [Block(4 * ngf, statistics=statistics) for _ in range(blocks)]
        for width in (4 * ngf, 2 * ngf):
            layers += [
                nn.ConvTranspose2d(width, width // 2, 3, stride=2, padding=1, output_padding=1), *norm(width // 2)
            ]  # fmt: skip
        layers += [nn.ReflectionPad2d(3), nn.Conv2d(ngf, gives, 7), nn.Tanh()]
        self.model = nn.Sequential(*layers)

    def forward(self, x: Tensor) -> Tensor:
        result: Tensor = self.model(x)
        return result


class Discriminator(nn.Module):
    """`basic`: three layers with stride 2."""

    def __init__(self, ndf: int, *, takes: int = 3, layers: int = 3, statistics: bool = False) -> None:
        super().__init__()
        stack: list[nn.Module] = [nn.Conv2d(takes, ndf, 4, stride=2, padding=1), nn.LeakyReLU(0.2, True)]
        width = ndf
        for number in range(1, layers + 1):
            wider = ndf * min(2**number, 8)
            stack += [
                nn.Conv2d(width, wider, 4, stride=2 if number < layers else 1, padding=1),
                nn.InstanceNorm2d(wider, track_running_stats=statistics),
                nn.LeakyReLU(0.2, True),
            ]
            width = wider
        self.model = nn.Sequential(*stack, nn.Conv2d(width, 1, 4, stride=1, padding=1))

    def forward(self, x: Tensor) -> Tensor:
        result: Tensor = self.model(x)
        return result


def without_statistics(network: nn.Module) -> nn.Module:
    """The same network normalising each image by itself, as that code does whatever its checkpoints carry."""
    for layer in network.modules():
        if isinstance(layer, nn.InstanceNorm2d):
            layer.track_running_stats, layer.running_mean, layer.running_var = False, None, None
    return network.eval()


def run_a_little(network: nn.Module) -> None:
    """So that statistics are not the initial ones."""
    network.train()
    with torch.no_grad():
        network(torch.rand(2, next(network.parameters()).shape[1], 32, 32))
