"""The crossover's loss against a value worked by hand."""

import pytest
import torch
from torch import nn

from optevo.training.distillation import distillation_loss, preferred

# Three inputs, images of two pixels. The critic prefers x, y and neither.
X = torch.tensor([[0.0, 0.0], [1.0, 1.0], [2.0, 2.0]])
Y = torch.tensor([[3.0, 1.0], [1.0, 3.0], [5.0, 5.0]])
CHILD = torch.tensor([[1.0, 2.0], [0.0, 0.0], [9.0, 9.0]])
CRITIC_X, CRITIC_Y = torch.tensor([0.5, -1.0, 2.0]), torch.tensor([0.0, 0.0, 2.0])


def loss(child: torch.Tensor) -> torch.Tensor:
    """Both sums of Eq. 10."""
    return distillation_loss(child, X, where=preferred(CRITIC_X, CRITIC_Y)) + distillation_loss(
        child, Y, where=preferred(CRITIC_Y, CRITIC_X)
    )


def test_the_loss_by_hand() -> None:
    # ||(1, 2) - (0, 0)||^2 + ||(0, 0) - (1, 3)||^2; the third input is judged equal and left out.
    assert loss(CHILD).item() == pytest.approx(5 + 10)


def test_images_count_by_all_their_pixels() -> None:
    made = torch.ones(2, 3, 4, 4)
    assert distillation_loss(made, torch.zeros_like(made), where=torch.tensor([True, False])).item() == 48


def test_a_child_that_starts_as_its_first_parent_learns_from_the_second_alone() -> None:
    torch.manual_seed(0)
    x, y = nn.Linear(2, 2), nn.Linear(2, 2)
    noise, critic_x, critic_y = torch.rand(6, 2), torch.rand(6), torch.rand(6)
    made = x(noise)
    both = distillation_loss(made, x(noise).detach(), where=preferred(critic_x, critic_y)) + distillation_loss(
        made, y(noise).detach(), where=preferred(critic_y, critic_x)
    )
    second = distillation_loss(made, y(noise).detach(), where=preferred(critic_y, critic_x))
    whole, part = (torch.autograd.grad(each, x.weight, retain_graph=True)[0] for each in (both, second))
    torch.testing.assert_close(whole, part)
    assert part.abs().max() > 0
