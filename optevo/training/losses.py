"""The losses of paired translation, each an equation."""

import torch
import torch.nn.functional as F
from torch import Tensor


def discriminator_loss(real: Tensor, fake: Tensor) -> Tensor:
    """`(-E[log D(x, y)] - E[log(1 - D(x, G(x)))]) / 2` on logits: pix2pix halves it to slow D down (1611.07004, 3.3).

    Args:
        real, fake: Logits of any one shape.
    """
    return (bce(real, target=1.0) + bce(fake, target=0.0)) / 2


def generator_loss(fake: Tensor) -> Tensor:
    """`-E[log D(x, G(x))]` on logits, the form that pix2pix trains with."""
    return bce(fake, target=1.0)


def bce(logits: Tensor, *, target: float) -> Tensor:
    """Mean binary cross entropy against one label for all."""
    return F.binary_cross_entropy_with_logits(logits, torch.full_like(logits, target))


def l1(output: Tensor, target: Tensor) -> Tensor:
    """`E[|y - G(x)|]` over all pixels and channels (2002.11581, Eq. 2); images in [-1, 1]."""
    return F.l1_loss(output, target)


def lsgan(logits: Tensor, *, target: float) -> Tensor:
    """`E[(D(x) - target)^2]`, least squares GAN (1611.04076), as CycleGAN trains."""
    return F.mse_loss(logits, torch.full_like(logits, target))


def lsgan_discriminator_loss(real: Tensor, fake: Tensor) -> Tensor:
    """`(E[(D(y) - 1)^2] + E[D(G(x))^2]) / 2`: CycleGAN halves it to slow D down (1703.10593, section 4)."""
    return (lsgan(real, target=1.0) + lsgan(fake, target=0.0)) / 2
