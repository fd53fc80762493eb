"""The U-Net generator of pix2pix with any channels and any subset of its skip connections."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from optevo.errors import UsageError
from optevo.networks.init import init_weights
from optevo.spaces.unet import UNetArchitecture

LEAK = 0.2
FIRST_DROPOUT_LEVEL = 5  # pix2pix drops out in its blocks of 8 * ngf channels: decoder levels 5..depth-1


class DownBlock(nn.Module):
    """Convolution 4x4, stride 2, then batch norm (the outermost and the innermost level have none).

    (B, in_channels, H, W) -> (B, out_channels, H / 2, W / 2)
    """

    def __init__(self, in_channels: int, out_channels: int, *, norm: bool) -> None:
        super().__init__()
        self.conv = nn.Conv2d(in_channels, out_channels, kernel_size=4, stride=2, padding=1, bias=False)
        self.norm = nn.BatchNorm2d(out_channels) if norm else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        result: Tensor = self.norm(self.conv(x))
        return result


class UpBlock(nn.Module):
    """Transposed convolution 4x4, stride 2, then batch norm and dropout; the outermost has a bias instead.

    (B, in_channels, H, W) -> (B, out_channels, 2 * H, 2 * W)
    """

    def __init__(self, in_channels: int, out_channels: int, *, norm: bool, dropout: float = 0.0) -> None:
        super().__init__()
        self.conv = nn.ConvTranspose2d(in_channels, out_channels, kernel_size=4, stride=2, padding=1, bias=not norm)
        self.norm = nn.BatchNorm2d(out_channels) if norm else nn.Identity()
        self.dropout = nn.Dropout(dropout) if dropout else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        result: Tensor = self.dropout(self.norm(self.conv(x)))
        return result


class UNetGenerator(nn.Module):
    """pix2pix's U-Net (arXiv 1611.07004, with the layers of its PyTorch code) for any `UNetArchitecture`.

    Encoder level k: LeakyReLU(0.2), convolution, batch norm; the outermost has the convolution alone, the innermost no
    batch norm. Decoder level k: ReLU, transposed convolution, batch norm, dropout on levels 5..depth-1; the outermost
    has no batch norm but a bias, and ends in tanh. `encoder[k - 1]` and `decoder[k - 1]` are level k.

    Args:
        architecture: channels a level and skip connections.
        dropout: probability on decoder levels 5..depth-1, in [0, 1). Only in train mode.

    Shapes:
        input (B, input_channels, H, W), H and W multiples of 2**depth, values in [-1, 1];
        output (B, output_channels, H, W), values in (-1, 1).

    Raises:
        UsageError: `dropout` out of range; at the call, a height or width that cannot be halved `depth` times.
    """

    def __init__(self, architecture: UNetArchitecture, *, dropout: float = 0.5) -> None:
        super().__init__()
        if not 0.0 <= dropout < 1.0:
            raise UsageError(f"dropout = {dropout!r}: must be at least 0 and below 1; 0.5 is pix2pix's")
        self.architecture = architecture
        self.encoder = _encoder(architecture)
        self.decoder = _decoder(architecture, dropout=dropout)
        init_weights(self)

    def forward(self, image: Tensor) -> Tensor:
        self._check_size(image)
        innermost = self.architecture.depth - 1
        skips = self.architecture.skips
        kept: dict[int, Tensor] = {}
        x = image
        for level, block in enumerate(self.encoder):
            x = block(x)
            if level < innermost:
                # In place, so the skip carries the leaky output too. The ReLU of the decoder makes that the same
                # function: relu(leaky_relu(x)) = relu(x). Autograd keeps no output of a convolution or batch norm.
                x = F.leaky_relu(x, LEAK, inplace=True)
                if skips[level]:
                    kept[level] = x
        for level in range(innermost, -1, -1):
            if level in kept:
                x = torch.cat((kept.pop(level), x), dim=1)
            x = self.decoder[level](F.relu(x, inplace=True))
        return torch.tanh(x)

    def _check_size(self, image: Tensor) -> None:
        height, width = image.shape[-2:]
        # An exported or compiled graph has its own shape checks; a branch here would only constrain it further.
        # Sizes are no ints while torch.jit traces.
        if not torch.compiler.is_compiling() and isinstance(height, int):
            self.architecture.check_size(height, width)


def _encoder(architecture: UNetArchitecture) -> nn.ModuleList:
    inputs = (architecture.input_channels, *architecture.channels[:-1])
    last = architecture.depth - 1
    return nn.ModuleList(
        DownBlock(inputs[level], outputs, norm=0 < level < last) for level, outputs in enumerate(architecture.channels)
    )


def _decoder(architecture: UNetArchitecture, *, dropout: float) -> nn.ModuleList:
    skips = (*architecture.skips, False)  # the innermost level has only one input
    outputs = (architecture.output_channels, *architecture.channels[:-1])
    drops = range(FIRST_DROPOUT_LEVEL, architecture.depth)  # never the innermost level
    return nn.ModuleList(
        UpBlock(
            channels * (2 if skips[level] else 1),
            outputs[level],
            norm=level > 0,
            dropout=dropout if level + 1 in drops else 0.0,
        )
        for level, channels in enumerate(architecture.channels)
    )
