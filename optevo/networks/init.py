"""How pix2pix initialises its networks."""

import torch
from torch import nn


def init_weights(module: nn.Module, *, std: float = 0.02, generator: torch.Generator | None = None) -> None:
    """Initialise every layer in place as pix2pix (arXiv 1611.07004, section 6.2) and its PyTorch code do.

    Weights of convolutions and linear layers ~ N(0, std), of batch norms ~ N(1, std); every bias is 0.

    Args:
        module: the network; layers are visited in the order of their registration, so one seed gives one network.
        std: standard deviation.
        generator: source of randomness on the module's device; torch's global one by default.
    """
    for layer in module.modules():
        if isinstance(layer, nn.Conv2d | nn.ConvTranspose2d | nn.Linear):
            nn.init.normal_(layer.weight, 0.0, std, generator=generator)
        elif isinstance(layer, nn.BatchNorm2d) and layer.affine:
            nn.init.normal_(layer.weight, 1.0, std, generator=generator)
        else:
            continue
        if layer.bias is not None:
            nn.init.zeros_(layer.bias)
