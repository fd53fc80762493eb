"""CycleGAN's residual generator with any widths."""

from collections.abc import Iterator

import torch
from torch import Tensor, nn

from optevo.networks.init import init_weights
from optevo.networks.norm import InstanceNorm
from optevo.spaces.resnet import ResNetArchitecture


class ResidualBlock(nn.Module):
    """x + norm(conv(relu(norm(conv(x))))), both convolutions 3 x 3 over reflected borders."""

    def __init__(self, trunk: int, inner: int) -> None:
        super().__init__()
        self.conv_block = nn.Sequential(
            nn.ReflectionPad2d(1),
            nn.Conv2d(trunk, inner, kernel_size=3),
            InstanceNorm(inner),
            nn.ReLU(inplace=True),
            nn.ReflectionPad2d(1),
            nn.Conv2d(inner, trunk, kernel_size=3),
            InstanceNorm(trunk),
        )

    def forward(self, x: Tensor) -> Tensor:
        result: Tensor = x + self.conv_block(x)
        return result


class ResNetGenerator(nn.Module):
    """CycleGAN's generator (arXiv 1703.10593, section 7.2, with the layers of its PyTorch code) of any widths.

    The modules are named as that code names them, so its state dicts fit. Instance norm has no parameters of its own,
    and every convolution has a bias.

    Args:
        architecture: The widths.

    Shapes:
        input (B, input_channels, H, W), H and W multiples of `architecture.multiple`, values in [-1, 1];
        output (B, output_channels, H, W), values in (-1, 1).

    Raises:
        UsageError: At the call, a height or width that does not fit.
    """

    def __init__(self, architecture: ResNetArchitecture) -> None:
        super().__init__()
        self.architecture = architecture
        self.model = nn.Sequential(*_layers(architecture))
        init_weights(self)

    def forward(self, image: Tensor) -> Tensor:
        height, width = image.shape[-2:]
        if not torch.compiler.is_compiling() and isinstance(height, int):  # no int while torch.jit traces
            self.architecture.check_size(height, width)
        result: Tensor = self.model(image)
        return result


def _layers(architecture: ResNetArchitecture) -> Iterator[nn.Module]:
    yield nn.ReflectionPad2d(3)
    yield nn.Conv2d(architecture.input_channels, architecture.stem, kernel_size=7)
    yield from _norm(architecture.stem)
    width = architecture.stem
    for wider in architecture.down:
        yield nn.Conv2d(width, wider, kernel_size=3, stride=2, padding=1)
        yield from _norm(wider)
        width = wider
    for inner in architecture.inner:
        yield ResidualBlock(width, inner)
    for narrower in architecture.up:
        yield nn.ConvTranspose2d(width, narrower, kernel_size=3, stride=2, padding=1, output_padding=1)
        yield from _norm(narrower)
        width = narrower
    yield nn.ReflectionPad2d(3)
    yield nn.Conv2d(width, architecture.output_channels, kernel_size=7)
    yield nn.Tanh()


def _norm(width: int) -> Iterator[nn.Module]:
    yield InstanceNorm(width)
    yield nn.ReLU(inplace=True)
