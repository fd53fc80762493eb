"""What generators and discriminators of images alone minimise, each an equation on the critic's raw output C(x).

D(x) = sigmoid(C(x)); every expectation is a mean over one batch of outputs, shape (B,). Equation numbers without a
source are CE-GAN's.
"""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

# What a generator minimises: E-GAN's mutations.


def minimax(fake: Tensor) -> Tensor:
    """`E[log(1 - D(G(z)))] / 2` (Eq. 4; 1406.2661): its gradient vanishes where D is sure."""
    return F.logsigmoid(-fake).mean() / 2


def heuristic(fake: Tensor) -> Tensor:
    """`-E[log D(G(z))] / 2` (Eq. 5; 1406.2661, section 3)."""
    return -F.logsigmoid(fake).mean() / 2


def least_squares(fake: Tensor) -> Tensor:
    """`E[(D(G(z)) - 1)^2]` (Eq. 6), with the paper's D, which is a sigmoid."""
    return (torch.sigmoid(fake) - 1).square().mean()


def least_squares_critic(fake: Tensor) -> Tensor:
    """`E[(C(G(z)) - 1)^2]`: LSGAN's own form (1611.04076), without a sigmoid; what the released codes train with."""
    return (fake - 1).square().mean()


def wasserstein(fake: Tensor) -> Tensor:
    """`-E[C(G(z))]` (1701.07875, Eq. 3); also what goes with a hinge discriminator (1705.02894)."""
    return -fake.mean()


def relativistic(fake: Tensor, real: Tensor) -> Tensor:
    """`-E[log sigmoid(C(G(z)) - C(x))]`, the relativistic standard GAN (1807.00734, Eq. 8), image against image."""
    return -F.logsigmoid(fake - real).mean()


# Of the fake outputs alone, and of fake and real ones.
MUTATIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "minimax": minimax,
    "heuristic": heuristic,
    "least_squares": least_squares,
    "least_squares_critic": least_squares_critic,
    "wasserstein": wasserstein,
}
RELATIVE_MUTATIONS: dict[str, Callable[[Tensor, Tensor], Tensor]] = {"relativistic": relativistic}

# What a discriminator minimises.


def discriminator_minimax(real: Tensor, fake: Tensor) -> Tensor:
    """`-E[log D(x)] - E[log(1 - D(G(z)))]` (Eq. 3)."""
    return -F.logsigmoid(real).mean() - F.logsigmoid(-fake).mean()


def discriminator_least_squares(real: Tensor, fake: Tensor) -> Tensor:
    """`E[(C(x) - 1)^2] + E[C(G(z))^2]` (1611.04076, Eq. 9 with labels 0 and 1)."""
    return (real - 1).square().mean() + fake.square().mean()


def discriminator_hinge(real: Tensor, fake: Tensor) -> Tensor:
    """`E[max(0, 1 - C(x))] + E[max(0, 1 + C(G(z)))]` (1705.02894)."""
    return F.relu(1 - real).mean() + F.relu(1 + fake).mean()


def discriminator_wasserstein(real: Tensor, fake: Tensor) -> Tensor:
    """`E[C(G(z))] - E[C(x)]` (1701.07875, Eq. 2): bounded only together with a gradient penalty."""
    return fake.mean() - real.mean()


def discriminator_relativistic(real: Tensor, fake: Tensor) -> Tensor:
    """`-E[log sigmoid(C(x) - C(G(z)))]` (1807.00734, Eq. 7), image against image."""
    return -F.logsigmoid(real - fake).mean()


DISCRIMINATOR_LOSSES: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "minimax": discriminator_minimax,
    "least_squares": discriminator_least_squares,
    "hinge": discriminator_hinge,
    "wasserstein": discriminator_wasserstein,
    "relativistic": discriminator_relativistic,
}


def gradient_penalty(critic: Callable[[Tensor], Tensor], real: Tensor, fake: Tensor, *, mix: Tensor) -> Tensor:
    """`E[(||grad C(u x + (1 - u) y)|| - 1)^2]` (1704.00028, Eq. 3), without its weight (10 there).

    Args:
        critic: (B, C, H, W) to (B,).
        real, fake: x and y, (B, C, H, W).
        mix: u, uniform in [0, 1], (B,).
    """
    u = mix[:, None, None, None]
    between = (u * real + (1 - u) * fake).detach().requires_grad_()
    (slope,) = torch.autograd.grad(critic(between).sum(), between, create_graph=True)
    penalty: Tensor = (slope.flatten(1).norm(dim=1) - 1).square().mean()
    return penalty
