"""The PatchGAN discriminator of pix2pix."""

from collections.abc import Callable, Iterator, Mapping
from typing import Any, Literal

import torch
from torch import Tensor, nn

from optevo.errors import UsageError
from optevo.networks.init import init_weights
from optevo.networks.norm import InstanceNorm

LEAK = 0.2
MAX_FACTOR = 8  # channels grow ndf * (1, 2, 4, 8, 8, ...)
NORMS: Mapping[str, Callable[[int], nn.Module]] = {"batch": nn.BatchNorm2d, "instance": InstanceNorm}


class PatchGAN(nn.Module):
    """Judges overlapping patches: 70 x 70 pixels with three layers (arXiv 1611.07004, layers of its PyTorch code).

    A convolution 4x4 with stride 2 and bias; `layers` - 1 more with stride 2 and a norm; one with stride 1 and a norm;
    each followed by LeakyReLU(0.2); last a convolution with stride 1 and bias to one channel. No sigmoid.

    Args:
        input_channels: channels of the judged images; a conditional critic gets input and output concatenated, 3 + 3.
        ndf: channels of the first layer, at least 1.
        layers: convolutions with stride 2, at least 1. Patches are 16, 34, 70, 142, ... pixels for 1, 2, 3, 4, ...
        norm: "batch" (pix2pix), or "instance" without parameters of its own, after convolutions with bias (CycleGAN).

    Attributes:
        shape: the arguments, as JSON knows them.

    Shapes:
        input (B, input_channels, H, W); output (B, 1, H // 2**layers - 2, W // 2**layers - 2), real values (logits):
        30 x 30 for 256 pixels, 6 x 6 for 64.

    Raises:
        UsageError: an argument out of range; at the call, an image of fewer than 3 * 2**layers pixels a side.
    """

    def __init__(
        self, input_channels: int, *, ndf: int = 64, layers: int = 3, norm: Literal["batch", "instance"] = "batch"
    ) -> None:
        super().__init__()
        if norm not in NORMS:
            raise UsageError(f"norm = {norm!r}: must be one of {', '.join(NORMS)}")
        for name, value in (("input_channels", input_channels), ("ndf", ndf), ("layers", layers)):
            if value < 1:
                raise UsageError(f"{name} = {value!r}: must be at least 1; pix2pix has ndf = 64 and layers = 3")
        self.layers = layers
        self.shape: dict[str, Any] = {"input_channels": input_channels, "ndf": ndf, "layers": layers, "norm": norm}
        self.model = nn.Sequential(*_stack(input_channels, ndf=ndf, layers=layers, norm=norm))
        init_weights(self)

    def forward(self, image: Tensor) -> Tensor:
        height, width = image.shape[-2:]
        if not torch.compiler.is_compiling() and isinstance(height, int):  # no int while torch.jit traces
            self.output_size(height=height, width=width)
        result: Tensor = self.model(image)
        return result

    def output_size(self, *, height: int, width: int) -> tuple[int, int]:
        """How many patches, (rows, columns), an image of `height` x `width` pixels has; UsageError if it has none."""
        shrink = 2**self.layers
        for name, value in (("height", height), ("width", width)):
            if value < 3 * shrink:
                raise UsageError(
                    f"{name} = {value}: a PatchGAN with {self.layers} layers needs at least {3 * shrink} pixels; "
                    "use larger images or fewer layers"
                )
        return height // shrink - 2, width // shrink - 2


def _stack(input_channels: int, *, ndf: int, layers: int, norm: str) -> Iterator[nn.Module]:
    yield nn.Conv2d(input_channels, ndf, kernel_size=4, stride=2, padding=1)
    yield nn.LeakyReLU(LEAK, inplace=True)
    channels = ndf
    for layer in range(1, layers + 1):
        wider = ndf * min(2**layer, MAX_FACTOR)
        stride = 2 if layer < layers else 1
        yield nn.Conv2d(channels, wider, kernel_size=4, stride=stride, padding=1, bias=norm == "instance")
        yield NORMS[norm](wider)
        yield nn.LeakyReLU(LEAK, inplace=True)
        channels = wider
    yield nn.Conv2d(channels, 1, kernel_size=4, stride=1, padding=1)
