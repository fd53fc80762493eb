"""Fitness, pairs and survivors against values worked by hand."""

import math

import pytest
import torch

from optevo.training.selection import critic_fitness, diversity, greedy_pairs, quality, survivors

# Two generators, two images each. D = sigmoid(C): 3/4, 1/2; 1/5, 1/2.
CRITIC = torch.tensor([[math.log(3), 0.0], [-math.log(4), 0.0]], dtype=torch.float64)


def test_fitness_by_hand() -> None:
    assert critic_fitness(CRITIC).tolist() == pytest.approx([math.log(3) / 2, -math.log(4) / 2])  # Eq. 12
    assert quality(CRITIC).tolist() == pytest.approx([(3 / 4 + 1 / 2) / 2, (1 / 5 + 1 / 2) / 2])  # Eq. 8


def test_diversity_by_hand() -> None:
    """Eq. 9 for C(x) = w x + b with w = 0: D = 1/2, so by w the loss has (E[y] - E[x]) / 2, by b 0."""
    w, b = torch.zeros((), requires_grad=True), torch.zeros((), requires_grad=True)
    x, y = torch.tensor([1.0, 2.0]), torch.tensor([4.0, 7.0])
    loss = -torch.log(torch.sigmoid(w * x + b)).mean() - torch.log(1 - torch.sigmoid(w * y + b)).mean()
    gradients = list(torch.autograd.grad(loss, (w, b)))
    assert gradients[0].item() == pytest.approx((5.5 - 1.5) / 2)
    assert diversity(gradients).item() == pytest.approx(-math.log(2))
    # Over several parameters it is one norm: sqrt(9 + 16 + 144) = 13.
    assert diversity([torch.tensor([3.0, 4.0]), torch.tensor([[12.0]])]).item() == pytest.approx(-math.log(13))


def test_pairs_are_the_largest_sums() -> None:
    fitness = torch.tensor([1.0, 5.0, 2.0, 4.0])
    first, second = greedy_pairs(fitness, count=4)
    # Sums: 1+3: 9; 1+2: 7; 0+1 and 2+3: 6 each, the lower number first. The fitter one leads each pair.
    assert list(zip(first.tolist(), second.tolist(), strict=True)) == [(1, 3), (1, 2), (1, 0), (3, 2)]
    first, _ = greedy_pairs(fitness, count=0)
    assert first.tolist() == []


def test_survivors_are_the_fittest_best_first() -> None:
    assert survivors(torch.tensor([1.0, 5.0, -torch.inf, 4.0, 5.0]), count=3).tolist() == [1, 4, 3]
