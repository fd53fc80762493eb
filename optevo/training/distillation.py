"""C-filtered knowledge distillation: how a child learns from two generators' outputs (CE-GAN, section IV-B)."""

from torch import Tensor


def preferred(critic: Tensor, other: Tensor) -> Tensor:
    """The indicator of Eq. 10: for which inputs the critic puts one parent's output above the other's.

    Args:
        critic, other: `C(G_x(z))` and `C(G_y(z))`, (B,) each.
    """
    return critic > other


def distillation_loss(child: Tensor, teacher: Tensor, *, where: Tensor) -> Tensor:
    """One of the two sums of `L_C` (Eq. 10): `sum_i ||G_child(z_i) - G_x(z_i)||^2` over the inputs `where` x is better.

    A child that starts as parent x makes x's outputs, so the sum over those has no gradient: the other one teaches.

    Args:
        child, teacher: Outputs for the same inputs, (B, ...).
        where: bool (B,).
    """
    return ((child - teacher).square().flatten(1).sum(1) * where).sum()
