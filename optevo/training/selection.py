"""How E-GAN and CE-GAN judge generators, pair them and choose who survives. Equation numbers are CE-GAN's."""

import torch
from torch import Tensor


def critic_fitness(fake: Tensor) -> Tensor:
    """`F_C-GAN = E_z[C(G(z))]` (Eq. 12): (..., B) critic outputs to (...)."""
    return fake.mean(-1)


def quality(fake: Tensor) -> Tensor:
    """`F_q = E_z[D(G(z))]` (Eq. 8), D = sigmoid(C): (..., B) critic outputs to (...), each 0..1."""
    return torch.sigmoid(fake).mean(-1)


def diversity(gradients: list[Tensor]) -> Tensor:
    """`F_d = -log || grad_D (-E[log D(x)] - E[log(1 - D(G(z)))]) ||` (Eq. 9).

    A generator of one kind of image lets D tell real from fake by a few features, and its gradient be large.

    Args:
        gradients: The gradient of D's loss on real images and one generator's, by D's parameters.

    Returns:
        A number, shape ().
    """
    return -torch.stack([gradient.float().square().sum() for gradient in gradients]).sum().sqrt().log()


def greedy_pairs(fitness: Tensor, *, count: int) -> tuple[Tensor, Tensor]:
    """The `count` pairs of individuals with the largest `W = F(G_x) + F(G_y)` (Eq. 11), best pair first.

    Args:
        fitness: (S,), S at least 2.
        count: 0..S * (S - 1) / 2.

    Returns:
        The fitter and the other of each pair, int64 (count,) each; nothing waits for the device.
    """
    p, q = torch.triu_indices(len(fitness), len(fitness), offset=1, device=fitness.device)
    best = (fitness[p] + fitness[q]).argsort(descending=True, stable=True)[:count]
    p, q = p[best], q[best]
    first = fitness[p] >= fitness[q]
    return torch.where(first, p, q), torch.where(first, q, p)


def survivors(fitness: Tensor, *, count: int) -> Tensor:
    """The fittest `count` individuals, best first (Algorithm 2, lines 20 to 22): int64 (count,)."""
    return fitness.argsort(descending=True, stable=True)[:count]
