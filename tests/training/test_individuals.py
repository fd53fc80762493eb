"""Rows of matrices that are generators: layout, inheritance and Adam."""

import copy

import pytest
import torch
from torch import nn

from optevo.training.individuals import Individuals, Layout


def network(seed: int) -> nn.Module:
    torch.manual_seed(seed)
    return nn.Sequential(nn.Linear(5, 12), nn.Unflatten(1, (3, 2, 2)), nn.ConvTranspose2d(3, 2, 4, 2, 1))


def test_a_row_is_the_parameters_and_back() -> None:
    module = network(0)
    layout = Layout(module)
    row = layout.row([*module.parameters()]).detach()
    assert row.shape == (len(layout),) == (5 * 12 + 12 + 3 * 2 * 16 + 2,)
    views = layout.views(row)
    for name, parameter in module.named_parameters():
        assert torch.equal(views[name], parameter)
    kernel = views["2.weight"]
    assert kernel.is_contiguous(memory_format=torch.channels_last)
    kernel[1, 1, 3, 2] = 77.0
    assert (row == 77.0).sum() == 1  # the same memory


def test_a_network_with_buffers_is_refused() -> None:
    with pytest.raises(ValueError, match="has buffers"):
        Layout(nn.Sequential(nn.Conv2d(3, 3, 1), nn.BatchNorm2d(3)))


def test_founders_make_what_their_networks_make() -> None:
    modules, noise = [network(0), network(1)], torch.rand(4, 5)
    made = Individuals.founded(modules).images(noise)
    for at, module in enumerate(modules):
        torch.testing.assert_close(made[at], module(noise).detach())


def test_children_inherit_everything_and_leave_their_parents_alone() -> None:
    parents = Individuals.founded([network(0), network(1)])
    for part in parents.state().values():
        part.add_(torch.rand_like(part))
    before = copy.deepcopy(parents.state())
    children = parents.room_for(4)
    children.slice(1, 4).inherit(parents, torch.tensor([1, 0, 1]))
    children.slice(0, 1).inherit(children.slice(1, 4), torch.tensor([2]))
    for name, part in children.state().items():
        assert torch.equal(part, before[name][[1, 1, 0, 1]])
        part.zero_()
        assert torch.equal(parents.state()[name], before[name])


def test_adam_is_torchs_for_every_individual_whatever_its_number_of_steps() -> None:
    modules, noise = [network(0), network(1)], torch.rand(4, 5)
    individuals = Individuals.founded(modules)
    adams = [torch.optim.Adam(module.parameters(), lr=0.01, betas=(0.5, 0.9)) for module in modules]

    def teach(which: list[int]) -> None:
        for at in which:
            adams[at].zero_grad()
            modules[at](noise).square().sum().backward()
            adams[at].step()
        chosen = individuals.slice(which[0], which[-1] + 1)
        leaves = [chosen.parameters(at, grad=True) for at in range(len(chosen))]
        loss = sum(chosen.image(leaf, noise).square().sum() for leaf in leaves)
        gradients = [torch.autograd.grad(loss, [*leaf.values()], retain_graph=True) for leaf in leaves]
        chosen.adam(gradients, learning_rate=0.01, betas=(0.5, 0.9))

    for which in ([0, 1], [1], [0, 1], [1], [0, 1]):
        teach(which)
    assert individuals.steps.tolist() == [3, 5]
    for at, module in enumerate(modules):
        for name, parameter in module.named_parameters():
            torch.testing.assert_close(individuals.parameters(at)[name], parameter.detach(), rtol=1e-5, atol=1e-7)
