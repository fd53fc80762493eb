"""What slicing leaves is built again from its tensors alone, ours and others; what does not fit is refused by name."""

import numpy as np
import pytest
import torch
from other_networks import NETWORKS, Hourglass, Residual, prepared
from torch import Tensor, nn

from optevo.errors import UsageError
from optevo.networks.fitting import check_runs, fit
from optevo.networks.norm import InstanceNorm
from optevo.networks.slicing import filter_groups, slice_filters

EXAMPLE = torch.randn(1, 3, 16, 16, generator=torch.Generator().manual_seed(0))


class Scaled(nn.Module):
    """Not ours: a parameter of its own, a PReLU of every channel and norms without any tensor."""

    def __init__(self) -> None:
        super().__init__()
        self.head, self.norm, self.act = nn.Conv2d(3, 8, 3, 1, 1), nn.InstanceNorm2d(8), nn.PReLU(8)
        self.scale = nn.Parameter(torch.ones(1, 8, 1, 1))
        self.tail = nn.ConvTranspose2d(8, 3, 3, 1, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.tail(self.act(self.norm(self.head(x))) * self.scale)


WHOLE = {**NETWORKS, "scaled": lambda: prepared(Scaled())}
ATTRIBUTES = ("in_channels", "out_channels", "groups", "num_features", "num_parameters")


def sliced_at_random(network: nn.Module, seed: int) -> nn.Module:
    rng = np.random.default_rng(seed)
    masks = {group.name: rng.random(group.size) < 0.5 for group in filter_groups(network, EXAMPLE)}
    for mask in masks.values():
        mask[rng.integers(mask.size)] = True
    return slice_filters(network, masks, EXAMPLE)


@pytest.mark.parametrize("name", WHOLE)
@pytest.mark.parametrize("seed", range(3))
def test_a_whole_network_becomes_the_sliced_one(name: str, seed: int) -> None:
    small = sliced_at_random(WHOLE[name](), seed)
    again = WHOLE[name]()
    fit(again, small.state_dict())
    check_runs(again, channels=(3, 3), size=(16, 16))
    image = torch.randn(2, 3, 24, 16)
    with torch.no_grad():
        assert torch.equal(again(image), small(image))
    for (path, ours), theirs in zip(again.named_modules(), small.modules(), strict=True):
        for attribute in ATTRIBUTES:
            if isinstance(ours, InstanceNorm) and attribute == "num_features":
                continue  # No tensor of it depends on it, so slicing leaves it, and building it again mends it.
            assert getattr(ours, attribute, None) == getattr(theirs, attribute, None), (path, attribute)
    # So it may be sliced again, as its like may.
    with torch.no_grad():
        assert torch.equal(sliced_at_random(again, 7)(image), sliced_at_random(small, 7)(image))


def changed(network: nn.Module, **shapes: tuple[int, ...] | None) -> dict[str, Tensor]:
    weights = dict(network.state_dict())
    for key, shape in shapes.items():
        name = key.replace("__", ".")
        if shape is None:
            del weights[name]
        else:
            weights[name] = torch.zeros(shape)
    return weights


@pytest.mark.parametrize(
    ("shapes", "says"),
    [
        ({"up__bias": None}, r"up\.bias: is missing"),
        ({"more": (3,)}, "more: the network has no such tensor"),
        ({"up__bias": (7,)}, r"up\.bias: has the shape \(7,\), and \(6,\) is built"),
        ({"up__bias": (0,)}, r"up\.bias: has the shape \(0,\)"),
        ({"up__weight": (10, 6, 3, 3)}, r"up\.weight: has the shape \(10, 6, 3, 3\), and \(10, 6, 4, 4\) is built"),
        ({"up__weight": (10, 5, 4, 4), "up__bias": (5,)}, "its layers do not fit each other"),
        ({"first__1__running_mean": (5,)}, "its layers do not fit each other"),
        ({"last__weight": (2, 14, 3, 3), "last__bias": (2,)}, r"gives \(1, 2, 16, 16\) and not \(1, 3, 16, 16\)"),
    ],
)
def test_what_does_not_fit_is_refused_by_name(shapes: dict, says: str) -> None:
    def built(network: nn.Module) -> None:
        fit(network, changed(Hourglass(), **shapes))
        check_runs(network, channels=(3, 3), size=(16, 16))

    with pytest.raises(UsageError, match=says) as error:
        built(Hourglass().eval())
    assert "\n" not in str(error.value)


def test_a_norm_that_mixes_channels_may_not_become_narrower() -> None:
    network = nn.Sequential(nn.Conv2d(3, 4, 1), nn.GroupNorm(1, 4), nn.Conv2d(4, 3, 1))
    narrow = nn.Sequential(nn.Conv2d(3, 2, 1), nn.GroupNorm(1, 2), nn.Conv2d(2, 3, 1))
    with pytest.raises(UsageError, match=r"1\.(weight|bias): has the shape \(2,\), and \(4,\) is built"):
        fit(network, narrow.state_dict())


def test_what_learns_stays_what_learns() -> None:
    network = Residual().requires_grad_(False)
    network.tail[0].requires_grad_(True)
    fit(network, sliced_at_random(prepared(Residual()), 1).state_dict())
    learning = {name for name, parameter in network.named_parameters() if parameter.requires_grad}
    assert learning == {"tail.0.weight", "tail.0.bias"}
    assert not isinstance(network.blocks[0][0], InstanceNorm)
