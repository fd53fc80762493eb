"""The closed formula equals what is counted on networks really sliced, ours and others; tables survive JSON."""

import json
import subprocess
import sys

import numpy as np
import pytest
import torch
from other_networks import NETWORKS, Hourglass, prepared
from torch import Tensor, nn

from optevo.cost.counted import exact_macs, parameters
from optevo.cost.filters import filter_cost, whole_cost
from optevo.errors import UsageError
from optevo.networks.filter_table import group_table
from optevo.networks.resnet import ResNetGenerator
from optevo.networks.slicing import slice_filters
from optevo.spaces.filters import GroupTable
from optevo.spaces.resnet import cyclegan
from optevo.tasks.filter_tables import make_table, random_mask

SHAPE = (1, 3, 24, 16)
EXAMPLE = torch.randn(SHAPE, generator=torch.Generator().manual_seed(0))


class Flattened(nn.Module):
    """Not ours: positions flattened into the inputs of a linear layer, and what no mask changes beside it."""

    def __init__(self) -> None:
        super().__init__()
        self.head = nn.Sequential(nn.Conv2d(3, 6, 4, 4), nn.PReLU(6), nn.Flatten(), nn.Linear(6 * 24, 10))
        self.tail = nn.Linear(10, 3 * 24)
        self.scale = nn.Parameter(torch.ones(1))
        self.fixed = nn.Parameter(torch.ones(7, 7))

    def forward(self, x: Tensor) -> Tensor:
        image = self.tail(torch.relu(self.head(x))).view(len(x), 3, 6, 4) * self.scale
        return image + (self.fixed @ self.fixed).mean()


CHECKED = {**NETWORKS, "flattened": lambda: prepared(Flattened())}


@pytest.mark.parametrize("name", CHECKED)
@pytest.mark.parametrize("tie", [True, False])
def test_the_formula_equals_what_is_counted(name: str, tie: bool) -> None:
    network = CHECKED[name]()
    table = make_table(network, channels=3, size=(24, 16), tie=tie)
    assert whole_cost(table) == (parameters(network), exact_macs(network, *SHAPE))
    rng = np.random.default_rng(5)
    for _ in range(4):
        masks = {chromosome: random_mask(size, rng) for chromosome, size in table.chromosomes.items()}
        sliced = slice_filters(network, table.expand(masks), EXAMPLE)
        assert filter_cost(table, table.kept(masks)) == (parameters(sliced), exact_macs(sliced, *SHAPE))


def test_many_individuals_are_counted_at_once() -> None:
    table = group_table(NETWORKS["cyclegan"](), EXAMPLE)
    rng = np.random.default_rng(0)
    kept = {name: rng.integers(1, size + 1, 50) for name, size in table.chromosomes.items()}
    found = filter_cost(table, kept)
    assert found.parameters.shape == found.exact_macs.shape == (50,)
    for at in (0, 49):
        one = filter_cost(table, {name: int(counts[at]) for name, counts in kept.items()})
        assert one == (found.parameters[at], found.exact_macs[at])


def test_the_paper_s_chromosomes_and_sizes() -> None:
    network = ResNetGenerator(cyclegan())
    table = group_table(network, torch.zeros(1, 3, 64, 64))
    assert list(table.chromosomes.values()) == [64, 128, 256, 128, 64]
    assert [len(groups) for groups in table.ties.values()] == [1, 1, 10, 1, 1]
    loose = group_table(network, torch.zeros(1, 3, 64, 64), tie=False)
    assert (len(loose.chromosomes), sum(loose.chromosomes.values())) == (14, 2944)
    assert whole_cost(table).parameters == whole_cost(loose).parameters == 11_378_179
    # 49.55 GMACs at 256 pixels (counted), a sixteenth at 64.
    assert whole_cost(table).exact_macs / 1e9 == pytest.approx(49.55 / 16, abs=0.001)


def test_a_bit_of_a_chromosome_decides_about_all_groups_that_it_ties() -> None:
    table = group_table(NETWORKS["cyclegan"](), EXAMPLE)
    trunk = next(name for name, groups in table.ties.items() if len(groups) > 1)
    mask = np.arange(table.chromosomes[trunk]) % 3 == 0
    expanded = table.expand({trunk: mask})
    assert set(expanded) == set(table.ties[trunk])
    assert all(np.array_equal(each, mask) for each in expanded.values())
    assert table.kept({trunk: mask}) == {**table.chromosomes, trunk: int(mask.sum())}


@pytest.mark.parametrize("name", CHECKED)
def test_tables_survive_json(name: str) -> None:
    table = group_table(CHECKED[name](), EXAMPLE)
    assert GroupTable.from_dict(json.loads(json.dumps(table.to_dict()))) == table


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda data: data.pop("ties"), "ties"),
        (lambda data: data.update(format=2), "format 2"),
        (lambda data: data["chromosomes"].update({"first.0": -1}), "-1 is no whole number"),
        (lambda data: data["chromosomes"].update(more=3), "other names"),
        (lambda data: data["ties"].update({"up": ["first.0"]}), "belongs to two chromosomes"),
        (lambda data: data["ties"].update({"up": []}), "no chromosome rules up"),
        (lambda data: data["layers"][0].pop(), "argument"),
        (lambda data: data.update(layers=[["x", [3, {"first.0": "1"}], [1, {}], 1, 1, 1]]), "'1' is no whole number"),
    ],
)
def test_damaged_tables_are_refused(change, says: str) -> None:
    data = json.loads(json.dumps(group_table(prepared(Hourglass()), EXAMPLE).to_dict()))
    change(data)
    with pytest.raises(UsageError, match=f"group table: not readable .*{says}"):
        GroupTable.from_dict(data)


def test_networks_whose_cost_does_not_follow_from_their_widths_are_refused() -> None:
    network = nn.Sequential(nn.Conv2d(3, 8, 3), nn.Conv2d(8, 8, 3, groups=2), nn.Conv2d(8, 3, 3))
    with pytest.raises(UsageError, match="Sequential: "):
        make_table(prepared(network), channels=3, size=(24, 16), tie=True)


def test_tables_and_prices_need_no_torch() -> None:
    code = "import optevo.cost.filters, optevo.tasks.coevolution_price, sys; print('torch' in sys.modules)"
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ran.stdout.strip() == "False"
