"""The group table of a user's own generator, made once when a study is created, and refused where it does not hold."""

from dataclasses import replace

import numpy as np
import torch
from torch import Tensor, nn

from optevo.cost.counted import exact_macs, parameters
from optevo.cost.filters import FilterCost, filter_cost, whole_cost
from optevo.errors import UsageError
from optevo.networks.filter_table import group_table
from optevo.networks.slicing import called, check_slicing, slice_filters
from optevo.spaces.filters import GroupTable, Mask


def make_table(module: nn.Module, *, channels: int, size: tuple[int, int], tie: bool, seed: int = 0) -> GroupTable:
    """The chromosomes of a generator and what every mask leaves of it, checked against a few masks really sliced.

    Args:
        module: The generator.
        channels: Of its input images.
        size: Height and width of its input images.
        tie: As for :func:`optevo.networks.filter_table.group_table`.
        seed: Of the masks that are tried.

    Raises:
        UsageError: The network cannot be traced, or sliced, or its cost does not follow from its widths.
    """
    example = example_of(channels, size)
    check_slicing(module, example, seed=seed)
    table = group_table(module, example, tie=tie)
    found, formula = _counted(module, example), whole_cost(table)
    table = replace(
        table,
        other_parameters=found.parameters - formula.parameters,
        other_macs=found.exact_macs - formula.exact_macs,
    )
    rng = np.random.default_rng(seed)
    for _ in range(2):
        masks = {name: random_mask(size, rng) for name, size in table.chromosomes.items()}
        sliced = slice_filters(module, table.expand(masks), example)
        if _counted(sliced, example) != filter_cost(table, table.kept(masks)) or table.other_parameters < 0:
            raise UsageError(
                f"{called(module)}: its parameters or multiply-accumulates do not follow from the widths of its "
                "layers, so it has a layer such as a grouped convolution; give another network."
            )
    return table


def example_of(channels: int, size: tuple[int, int]) -> Tensor:
    """An image to trace a generator with, shape (1, channels, *size); noise, always the same."""
    return torch.rand(1, channels, *size, generator=torch.Generator().manual_seed(0)) * 2 - 1


def random_mask(size: int, rng: np.random.Generator) -> Mask:
    """Every bit is set with probability 0.5, and one surely."""
    mask = rng.random(size) < 0.5
    mask[rng.integers(size)] = True
    return mask


def _counted(module: nn.Module, example: Tensor) -> FilterCost:
    return FilterCost(parameters(module), exact_macs(module, *example.shape))
