"""What a compressed translator is compared with, at equal multiply-accumulates: narrower, and pruned by magnitude."""

from collections.abc import Callable

import numpy as np
import torch
from torch import nn

from optevo.cost.counted import exact_macs
from optevo.cost.filters import filter_cost, whole_cost
from optevo.errors import UsageError
from optevo.networks.init import init_weights
from optevo.networks.magnitude import prune_by_magnitude
from optevo.networks.slicing import slice_filters
from optevo.spaces.filters import GroupTable
from optevo.tasks.filter_tables import example_of

HALVINGS = 12  # of the pruning ratio: finer than one filter in a thousand


def narrowed(module: nn.Module, table: GroupTable, *, channels: int, macs: int, seed: int) -> nn.Module:
    """A fresh network of the same layers, all narrowed by one factor, as near to `macs` as whole filters come.

    Args:
        module: The wide network; its weights play no part.
        table: Its group table.
        channels: Of its input images.
        macs: Exact multiply-accumulates that are wanted.
        seed: Of the new weights, N(0, 0.02) as CycleGAN draws them.

    Raises:
        UsageError: The network has fewer multiply-accumulates than wanted.
    """
    _check(macs, whole_cost(table).exact_macs)
    masks = {name: np.arange(table.chromosomes[name]) < count for name, count in _widths(table, macs).items()}
    fresh = slice_filters(module, table.expand(masks), example_of(channels, table.size))
    init_weights(fresh, generator=torch.Generator().manual_seed(seed))
    return fresh


def magnitude_pruned(
    module: nn.Module, *, channels: int, size: tuple[int, int], macs: int, across: bool = False
) -> nn.Module:
    """A trained network pruned by torch-pruning to as near to `macs` as its ratio comes; the weights left stay.

    Args:
        module: The trained network.
        channels: Of its input images.
        size: Height and width of its input images.
        macs: Exact multiply-accumulates that are wanted.
        across: As for :func:`optevo.networks.magnitude.prune_by_magnitude`.

    Raises:
        UsageError: The network cannot be traced, or has fewer multiply-accumulates than wanted.
    """
    example = example_of(channels, size)
    _check(macs, exact_macs(module, *example.shape))

    def pruned(ratio: float) -> tuple[int, nn.Module]:
        smaller = prune_by_magnitude(module, example, ratio=ratio, across=across)
        return exact_macs(smaller, *example.shape), smaller

    return _nearest(pruned, macs)


def _widths(table: GroupTable, macs: int) -> dict[str, int]:
    """Filters kept by chromosome, the same part of each, for the nearest cost."""
    parts = sorted({(count - 0.5) / size for size in table.chromosomes.values() for count in range(1, size + 1)})
    # Of half a filter and a little more, one is kept.
    kept = [
        {name: max(1, int(size * part + 0.5 + 1e-9)) for name, size in table.chromosomes.items()}
        for part in parts
    ]  # fmt: skip
    return min(kept, key=lambda counts: abs(int(filter_cost(table, counts).exact_macs) - macs))


def _nearest(pruned: Callable[[float], tuple[int, nn.Module]], macs: int) -> nn.Module:
    """Halve the interval of ratios; the more is pruned, the less it costs."""
    low, high = 0.0, 1.0
    tried = [pruned(low)]
    for _ in range(HALVINGS):
        ratio = (low + high) / 2
        tried.append(pruned(ratio))
        low, high = (ratio, high) if tried[-1][0] > macs else (low, ratio)
        tried = [min(tried, key=lambda found: abs(found[0] - macs))]
    return tried[0][1]


def _check(macs: int, whole: int) -> None:
    if not 0 < macs <= whole:
        raise UsageError(f"macs = {macs:,}: the whole network has {whole:,}; give a number from 1 to that.")
