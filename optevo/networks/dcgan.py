"""DCGAN's generator and discriminator as CE-GAN and E-GAN use them."""

from collections.abc import Iterator

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from optevo.errors import UsageError
from optevo.networks.halving import Doubling, Halving, Unfolding
from optevo.networks.init import init_weights
from optevo.spaces.dcgan import DCGANArchitecture

LEAK = 0.2


class DCGANGenerator(nn.Module):
    """Noise to images by transposed convolutions (E-GAN, 1803.00657; CE-GAN, section V-B).

    One of `base` x `base` pixels from the noise; `levels` more of 4x4 with stride 2; each with a bias and followed by
    ReLU, the last by tanh. No normalisation: the state dict is weights alone.

    Args:
        architecture: Widths, size and latent numbers.

    Shapes:
        input (B, latent), the paper's noise being uniform in [-1, 1]; output (B, channels, size, size) in (-1, 1).

    Raises:
        UsageError: At the call, noise of another shape.
    """

    def __init__(self, architecture: DCGANArchitecture) -> None:
        super().__init__()
        self.architecture = architecture
        self.model = nn.Sequential(*_generator_layers(architecture))
        init_weights(self)

    def forward(self, noise: Tensor) -> Tensor:
        if noise.ndim != 2 or noise.shape[1] != self.architecture.latent:
            raise UsageError(
                f"noise of shape {tuple(noise.shape)}: this generator takes (images, {self.architecture.latent})"
            )
        result: Tensor = self.model(noise[:, :, None, None])
        return result


class DCGANDiscriminator(nn.Module):
    """Images to one number each, C(x): the critic's output before any sigmoid (CE-GAN, section III-A).

    `levels` convolutions 4x4 with stride 2 and bias, batch norm behind all but the first, LeakyReLU(0.2); then one
    linear layer.

    Args:
        architecture: Widths and size.

    Shapes:
        input (B, channels, size, size) in [-1, 1]; output (B,).
    """

    def __init__(self, architecture: DCGANArchitecture) -> None:
        super().__init__()
        self.architecture = architecture
        self.layers = nn.Sequential(*_discriminator_layers(architecture))
        self.last = nn.Linear(architecture.discriminator[-1] * architecture.base**2, 1)
        init_weights(self)

    def forward(self, images: Tensor, *, groups: int = 1) -> Tensor:
        """C(x) of `groups` batches of equal size that lie one behind the other, each normalised by itself."""
        x = images
        for layer in self.layers:
            x = layer(x, groups=groups) if isinstance(layer, GroupedBatchNorm) else layer(x)
        result: Tensor = self.last(x.flatten(1)).squeeze(1)
        return result


class GroupedBatchNorm(nn.BatchNorm2d):
    """Batch norm that keeps batches apart which go through a network together: (groups * B, C, H, W) to the same.

    Real and generated images, and the images of different generators, must each be normalised by their own mean and
    variance, or judging one would depend on the others. It keeps no running statistics: E-GAN and CE-GAN never judge in
    eval mode, so nothing would read them.
    """

    def __init__(self, channels: int) -> None:
        super().__init__(channels, track_running_stats=False)

    def forward(self, x: Tensor, *, groups: int = 1) -> Tensor:
        parts = [
            F.batch_norm(part, None, None, self.weight, self.bias, training=True, eps=self.eps)
            for part in x.chunk(groups)
        ]
        return parts[0] if groups == 1 else torch.cat(parts)


def _generator_layers(architecture: DCGANArchitecture) -> Iterator[nn.Module]:
    width = architecture.generator[0]
    yield Unfolding(architecture.latent, width, side=architecture.base)
    for narrower in (*architecture.generator[1:], architecture.channels):
        yield nn.ReLU(inplace=True)
        yield Doubling(width, narrower)
        width = narrower
    yield nn.Tanh()


def _discriminator_layers(architecture: DCGANArchitecture) -> Iterator[nn.Module]:
    width = architecture.channels
    for level, wider in enumerate(architecture.discriminator):
        yield Halving(width, wider)
        if level:
            yield GroupedBatchNorm(wider)
        yield nn.LeakyReLU(LEAK, inplace=True)
        width = wider
