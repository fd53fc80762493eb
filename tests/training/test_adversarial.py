"""Every loss of E-GAN and CE-GAN against a value worked by hand."""

import math

import pytest
import torch

from optevo.training import adversarial as losses

# C = ln 3 and 0: D = 3/4 and 1/2. C = -ln 4: D = 1/5.
FAKE = torch.tensor([math.log(3), 0.0], dtype=torch.float64)
REAL = torch.tensor([0.0, -math.log(4)], dtype=torch.float64)


@pytest.mark.parametrize(
    ("name", "by_hand"),
    [
        ("minimax", (math.log(1 / 4) + math.log(1 / 2)) / 2 / 2),  # Eq. 4
        ("heuristic", -(math.log(3 / 4) + math.log(1 / 2)) / 2 / 2),  # Eq. 5
        ("least_squares", ((1 / 4) ** 2 + (1 / 2) ** 2) / 2),  # Eq. 6
        ("least_squares_critic", ((math.log(3) - 1) ** 2 + 1) / 2),
        ("wasserstein", -math.log(3) / 2),
    ],
)
def test_mutations_by_hand(name: str, by_hand: float) -> None:
    assert losses.MUTATIONS[name](FAKE).item() == pytest.approx(by_hand, rel=1e-12)


def test_the_relativistic_mutation_by_hand() -> None:
    # C(G(z)) - C(x) = ln 3 and ln 4: sigmoids 3/4 and 4/5.
    assert losses.RELATIVE_MUTATIONS["relativistic"](FAKE, REAL).item() == pytest.approx(
        -(math.log(3 / 4) + math.log(4 / 5)) / 2, rel=1e-12
    )


@pytest.mark.parametrize(
    ("name", "by_hand"),
    [
        # Eq. 3: real D = 1/2 and 1/5, fake 1 - D = 1/4 and 1/2.
        ("minimax", -(math.log(1 / 2) + math.log(1 / 5)) / 2 - (math.log(1 / 4) + math.log(1 / 2)) / 2),
        ("least_squares", (1 + (math.log(4) + 1) ** 2) / 2 + math.log(3) ** 2 / 2),
        ("hinge", (1 + 1 + math.log(4)) / 2 + (1 + math.log(3) + 1) / 2),
        ("wasserstein", math.log(3) / 2 + math.log(4) / 2),
        ("relativistic", -(math.log(1 / 4) + math.log(1 / 5)) / 2),
    ],
)
def test_discriminator_losses_by_hand(name: str, by_hand: float) -> None:
    assert losses.DISCRIMINATOR_LOSSES[name](REAL, FAKE).item() == pytest.approx(by_hand, rel=1e-12)


def test_no_loss_overflows_where_the_discriminator_is_sure() -> None:
    sure = torch.tensor([-200.0, 200.0], requires_grad=True)
    for loss in losses.MUTATIONS.values():
        (gradient,) = torch.autograd.grad(loss(sure), sure)
        assert gradient.isfinite().all()
    # What the paper says of the two: minimax gives no gradient where D rejects surely, the heuristic gives all.
    assert torch.autograd.grad(losses.minimax(sure), sure)[0][0] == 0
    assert torch.autograd.grad(losses.heuristic(sure), sure)[0][0].item() == pytest.approx(-1 / 4)


def test_the_gradient_penalty_of_a_linear_critic() -> None:
    """C(x) = <a, x> has the slope a everywhere: (||a|| - 1)^2, and its gradient by a is 2 (1 - 1 / ||a||) a."""
    a = torch.tensor([3.0, 4.0], dtype=torch.float64).view(2, 1, 1).requires_grad_()
    real, fake = torch.rand(2, 5, 2, 1, 1, dtype=torch.float64)
    penalty = losses.gradient_penalty(
        lambda x: (a * x).flatten(1).sum(1), real, fake, mix=torch.rand(5, dtype=torch.float64)
    )
    assert penalty.item() == pytest.approx(16.0)
    torch.testing.assert_close(torch.autograd.grad(penalty, a)[0], 2 * (1 - 1 / 5) * a.detach())


def test_the_gradient_penalty_looks_between_real_and_fake() -> None:
    """C(x) = x^2 / 2 has the slope x, so the penalty tells where it was taken: 3/4 of 2 and 1/4 of 6 is 3."""
    real, fake = torch.full((1, 1, 1, 1), 2.0), torch.full((1, 1, 1, 1), 6.0)
    penalty = losses.gradient_penalty(lambda x: x.square().flatten(1).sum(1) / 2, real, fake, mix=torch.tensor([0.75]))
    assert penalty.item() == pytest.approx((3 - 1) ** 2)
