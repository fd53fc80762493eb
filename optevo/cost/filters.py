r"""Parameters and multiply-accumulates of a network with filters taken out, by formula: nothing is built.

With :math:`i` input and :math:`o` output channels left, a layer has :math:`w\,i\,o + b\,o` parameters and multiplies
:math:`w\,i\,o` of them at each of its positions, where :math:`w` is the kernel's area and :math:`b` the numbers of a
bias or an affine norm.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray

from optevo.spaces.filters import GroupTable, Width

Count = TypeVar("Count", int, NDArray[np.int64])


class FilterCost(NamedTuple):
    """What is left: trainable numbers, and multiply-accumulates an image, exactly. Arrays where arrays were given."""

    parameters: Any
    exact_macs: Any


def filter_cost(table: GroupTable, kept: Mapping[str, Count]) -> FilterCost:
    """Count what masks leave of a network.

    Args:
        table: The network's.
        kept: Filters kept by chromosome: whole numbers, or int64 arrays of shape (N,) for N individuals at once.
    """
    by_group = {group: kept[name] for name, groups in table.ties.items() for group in groups}
    parameters: Any = table.other_parameters
    macs: Any = table.other_macs
    for layer in table.layers:
        inputs, outputs = _channels(layer.inputs, by_group), _channels(layer.outputs, by_group)
        weights = layer.weights * inputs * outputs
        parameters = parameters + weights + layer.biases * outputs
        macs = macs + weights * layer.positions
    return FilterCost(parameters, macs)


def whole_cost(table: GroupTable) -> FilterCost:
    """What the network costs with all its filters."""
    return filter_cost(table, dict(table.chromosomes))


def _channels(width: Width, kept: Mapping[str, Any]) -> Any:
    return width.constant + sum(times * kept[group] for group, times in width.times.items())
