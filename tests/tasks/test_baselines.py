"""Baselines cost what they are asked to, on our network and on others, and what is left runs."""

import pytest
import torch
from other_networks import NETWORKS
from torch import nn

from optevo.cost.counted import exact_macs, parameters
from optevo.errors import UsageError
from optevo.networks.magnitude import prune_by_magnitude
from optevo.networks.resnet import ResNetGenerator
from optevo.spaces.resnet import cyclegan
from optevo.tasks.baselines import magnitude_pruned, narrowed
from optevo.tasks.filter_tables import example_of, make_table

SIZE = (24, 16)
EXAMPLE = example_of(3, SIZE)


@pytest.fixture(scope="module")
def wide() -> nn.Module:
    torch.manual_seed(0)
    return ResNetGenerator(cyclegan(ngf=16, blocks=2))


@pytest.mark.parametrize("part", [0.1, 0.25, 0.6])
def test_a_narrowed_network_costs_what_is_asked(wide: nn.Module, part: float) -> None:
    table, wanted = make_table(wide, channels=3, size=SIZE, tie=False), int(part * exact_macs(wide, *EXAMPLE.shape))
    found = narrowed(wide, table, channels=3, macs=wanted, seed=1)
    assert exact_macs(found, *EXAMPLE.shape) == pytest.approx(wanted, rel=0.08)
    factors = {layer.out_channels / whole.out_channels for layer, whole in convolutions(found, wide)[:-1]}
    assert max(factors) - min(factors) < 1 / 16 + 1e-9
    assert found(EXAMPLE).shape == EXAMPLE.shape
    whole = narrowed(wide, table, channels=3, macs=exact_macs(wide, *EXAMPLE.shape), seed=1)
    assert parameters(whole) == parameters(wide)


def test_a_narrowed_network_is_fresh_and_its_seed_s(wide: nn.Module) -> None:
    table, wanted = make_table(wide, channels=3, size=SIZE, tie=True), exact_macs(wide, *EXAMPLE.shape) // 3
    one, again, other = (narrowed(wide, table, channels=3, macs=wanted, seed=seed) for seed in (1, 1, 2))
    weights = [next(network.parameters()) for network in (one, again, other)]
    assert torch.equal(weights[0], weights[1])
    assert not torch.equal(weights[0], weights[2])
    for layer, _ in convolutions(one, wide):
        assert layer.bias.eq(0).all()
        assert layer.weight.std().item() == pytest.approx(0.02, rel=0.2)


@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.parametrize("across", [False, True])
def test_a_pruned_network_costs_what_is_asked(name: str, across: bool) -> None:
    network = NETWORKS[name]()
    before = [parameter.clone() for parameter in network.parameters()]
    whole = exact_macs(network, *EXAMPLE.shape)
    found = magnitude_pruned(network, channels=3, size=SIZE, macs=whole // 2, across=across)
    # These networks have 4 to 16 filters a layer, so one filter is a large step.
    assert exact_macs(found, *EXAMPLE.shape) == pytest.approx(whole / 2, rel=0.2)
    assert found(EXAMPLE).shape == network(EXAMPLE).shape
    assert all(torch.equal(one, two) for one, two in zip(before, network.parameters(), strict=True))
    assert all(parameter.requires_grad for parameter in found.parameters())


def test_the_smallest_filters_go() -> None:
    network = nn.Sequential(nn.Conv2d(3, 4, 1), nn.ReLU(), nn.Conv2d(4, 3, 1))
    with torch.no_grad():
        for filter_, size in enumerate((3.0, 1.0, 4.0, 2.0)):
            network[0].weight[filter_] = size
        network[2].weight.fill_(1.0)
    pruned = prune_by_magnitude(network, EXAMPLE, ratio=0.5)
    assert pruned[0].weight[:, 0, 0, 0].tolist() == [3.0, 4.0]
    assert pruned[2].in_channels == 2


def test_more_than_there_is_is_refused(wide: nn.Module) -> None:
    table = make_table(wide, channels=3, size=SIZE, tie=True)
    for macs in (0, 10**12):
        with pytest.raises(UsageError, match="the whole network has"):
            narrowed(wide, table, channels=3, macs=macs, seed=0)
        with pytest.raises(UsageError, match="the whole network has"):
            magnitude_pruned(wide, channels=3, size=SIZE, macs=macs)


def convolutions(found: nn.Module, whole: nn.Module) -> list[tuple[nn.Module, nn.Module]]:
    """The convolutions of both, side by side."""
    both = zip(found.modules(), whole.modules(), strict=True)
    return [(one, two) for one, two in both if isinstance(two, nn.Conv2d | nn.ConvTranspose2d)]
