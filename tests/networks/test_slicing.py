"""Sliced networks compute what masked ones compute, ours and others."""

import numpy as np
import pytest
import torch
from other_networks import NETWORKS, prepared
from torch import Tensor, nn

from optevo.errors import UsageError
from optevo.networks import slicing
from optevo.networks.resnet import ResNetGenerator
from optevo.networks.slicing import check_slicing, filter_groups, mask_filters, slice_filters, tied
from optevo.spaces.resnet import cyclegan

EXAMPLE = torch.randn(1, 3, 16, 16, generator=torch.Generator().manual_seed(0))


class Shuffled(nn.Module):
    """Known to break: a pixel shuffle deals channels out to places."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Conv2d(3, 16, 3, 2, 1), nn.ReLU(), nn.PixelShuffle(2), nn.Conv2d(4, 3, 1))

    def forward(self, x: Tensor) -> Tensor:
        return self.body(x)


def random_masks(groups, seed: int):
    rng = np.random.default_rng(seed)
    masks = {group.name: rng.random(group.size) < 0.6 for group in groups}
    for mask in masks.values():
        mask[int(rng.integers(len(mask)))] = True
    return masks


@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.parametrize("seed", range(4))
def test_sliced_and_masked_are_the_same_function(name: str, seed: int) -> None:
    network = NETWORKS[name]()
    groups = filter_groups(network, EXAMPLE)
    masks = random_masks(groups, seed)
    image = torch.randn(2, 3, 24, 16, generator=torch.Generator().manual_seed(seed))
    with torch.no_grad():
        masked = mask_filters(network, masks, groups=groups)(image)
        sliced = slice_filters(network, masks, EXAMPLE)
        torch.testing.assert_close(sliced(image), masked, atol=1e-5, rtol=1e-4)
        assert not torch.allclose(masked, network(image), atol=1e-3)
    left, whole = (sum(p.numel() for p in net.parameters()) for net in (sliced, network))
    assert left < whole
    layers = dict(sliced.named_modules())
    for group in groups:
        assert layers[group.name].out_channels == masks[group.name].sum()


def test_the_paper_s_groups_and_chromosomes() -> None:
    network = ResNetGenerator(cyclegan(ngf=4))
    groups = filter_groups(network, EXAMPLE)
    # 64 = 4 x 16: the paper's widths are 16 times these.
    assert [16 * group.size for group in groups] == [64, 128, 256, *[256] * 9, 128, 64]
    assert sum(16 * group.size for group in groups) == 2944
    chromosomes = tied(groups)
    assert [16 * members[0].size for members in chromosomes.values()] == [64, 128, 256, 128, 64]
    assert [len(members) for members in chromosomes.values()] == [1, 1, 10, 1, 1]


def test_everything_alive_changes_nothing() -> None:
    network = NETWORKS["cyclegan"]()
    with torch.no_grad():
        assert torch.equal(slice_filters(network, {}, EXAMPLE)(EXAMPLE), network(EXAMPLE))


def test_the_network_itself_is_left_alone() -> None:
    network = NETWORKS["hourglass"]().train()
    before = {name: value.clone() for name, value in network.state_dict().items()}
    groups = filter_groups(network, EXAMPLE)
    sliced = slice_filters(network, random_masks(groups, 0), EXAMPLE)
    assert sliced.training
    for name, value in network.state_dict().items():
        assert torch.equal(value, before[name])


class Scaled(nn.Module):
    """Has a parameter in no layer that follows the filters."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.last = nn.Conv2d(3, 8, 3, padding=1), nn.Conv2d(8, 3, 3, padding=1)
        self.scale = nn.Parameter(torch.rand(8, 1, 1) + 0.5)

    def forward(self, x: Tensor) -> Tensor:
        return self.last(torch.relu(self.first(x) * self.scale))


def test_a_parameter_of_no_layer_follows_the_filters() -> None:
    network = prepared(Scaled())
    check_slicing(network, EXAMPLE)
    mask = np.arange(8) % 3 == 0
    assert slice_filters(network, {"first": mask}, EXAMPLE).scale.shape == (3, 1, 1)


def test_the_graph_is_read_once_and_again_when_the_network_has_changed(monkeypatch: pytest.MonkeyPatch) -> None:
    read = []
    real = slicing.dependency_graph
    monkeypatch.setattr(slicing, "dependency_graph", lambda *given: read.append(given) or real(*given))
    network = prepared(Scaled())
    for seed in range(3):
        slice_filters(network, random_masks(filter_groups(network, EXAMPLE), seed), EXAMPLE)
    assert len(read) == 1
    network.first, network.last = nn.Conv2d(3, 6, 3, padding=1), nn.Conv2d(6, 3, 3, padding=1)
    network.scale = nn.Parameter(torch.ones(6, 1, 1))
    assert [group.size for group in filter_groups(network, EXAMPLE)] == [6]
    assert len(read) == 2


@pytest.mark.parametrize("name", NETWORKS)
def test_good_networks_pass_the_check(name: str) -> None:
    check_slicing(NETWORKS[name](), EXAMPLE)


@pytest.mark.parametrize(
    ("network", "says"),
    [
        (nn.Sequential(nn.Conv2d(3, 8, 3), nn.GroupNorm(2, 8), nn.Conv2d(8, 3, 3)), "Sequential: "),
        (Shuffled(), r"Shuffled: .* body\.2 \(PixelShuffle\) cannot lose single filters"),
        (
            nn.Sequential(nn.Conv2d(3, 8, 3), nn.Conv2d(8, 8, 3, groups=2), nn.Conv2d(8, 3, 3)),
            r"Sequential: .* 1 \(a convolution in 2 groups\) cannot lose single filters",
        ),
        (nn.Sequential(nn.ReLU()), "Sequential: has no convolution"),
        (nn.Sequential(nn.Conv2d(5, 4, 3), nn.Conv2d(4, 3, 3)), "Sequential: cannot be traced"),
    ],
)
def test_others_are_refused_by_name(network: nn.Module, says: str) -> None:
    with pytest.raises(UsageError, match=says):
        check_slicing(prepared(network), EXAMPLE)


@pytest.mark.parametrize(
    ("mask", "says"),
    [(np.zeros(8, dtype=bool), "no filter is left"), (np.ones(3, dtype=bool), "has 3 bits, but the group has 8")],
)
def test_masks_that_do_not_fit(mask, says: str) -> None:
    network = NETWORKS["hourglass"]()
    with pytest.raises(UsageError, match=f"mask first.0: {says}"):
        slice_filters(network, {"first.0": mask}, EXAMPLE)
