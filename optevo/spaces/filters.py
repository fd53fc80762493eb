"""Masks over the filters of a network (1907.10804): which bit stands for which filters, and what every layer's widths
follow from. Plain data, made once from the network and stored, so that nobody needs the network to read a mask.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from optevo.errors import UsageError

Mask = NDArray[np.bool_]

FORMAT = 1


@dataclass(frozen=True)
class Width:
    """A number of channels that follows from the filters kept: `constant + sum of times[group] * kept[group]`.

    Attributes:
        constant: Channels in no group, such as the image's.
        times: Channels for each filter of a group: 1, or more behind a layer that flattens positions into channels.
    """

    constant: int
    times: Mapping[str, int]


@dataclass(frozen=True)
class Layer:
    """What the parameters and multiply-accumulates of one layer follow from.

    Attributes:
        name: In the network.
        inputs, outputs: Its widths.
        weights: Numbers for each pair of an input and an output channel: the kernel's area; 0 for a norm.
        biases: Numbers for each output channel: 1 for a bias, 2 for an affine norm.
        positions: At how many places of one image each weight is multiplied.
    """

    name: str
    inputs: Width
    outputs: Width
    weights: int
    biases: int
    positions: int


@dataclass(frozen=True)
class GroupTable:
    """The chromosomes of a network's masks, the filter groups that each bit decides about, and its layers.

    Attributes:
        chromosomes: Their sizes in bits, by name. All that a sampler needs.
        ties: The groups of filters that each chromosome rules: bit i is filter i of all of them.
        layers: Every layer with parameters.
        size: Height and width of the images that the positions are for.
        other_parameters, other_macs: What no mask changes.
    """

    chromosomes: Mapping[str, int]
    ties: Mapping[str, tuple[str, ...]]
    layers: tuple[Layer, ...]
    size: tuple[int, int]
    other_parameters: int = 0
    other_macs: int = 0

    def expand(self, masks: Mapping[str, Mask]) -> dict[str, Mask]:
        """Masks by group, from masks by chromosome. Chromosomes without a mask keep everything.

        Raises:
            UsageError: An unknown chromosome, a mask of another size, or one without a survivor.
        """
        self.check(masks)
        return {group: masks[name] for name, groups in self.ties.items() if name in masks for group in groups}

    def kept(self, masks: Mapping[str, Mask]) -> dict[str, int]:
        """How many filters of every chromosome live. Raises UsageError as :meth:`expand` does."""
        self.check(masks)
        return {name: int(masks[name].sum()) if name in masks else size for name, size in self.chromosomes.items()}

    def check(self, masks: Mapping[str, Mask]) -> None:
        """Refuse masks that are not this network's. Raises UsageError as :meth:`expand` does."""
        for name, mask in masks.items():
            size = self.chromosomes.get(name)
            if size is None:
                raise UsageError(f"mask {name}: no such chromosome; there are {', '.join(self.chromosomes)}.")
            if mask.shape != (size,):
                raise UsageError(f"mask {name}: has {mask.size} bits, but the chromosome has {size}.")
            if not mask.any():
                raise UsageError(f"mask {name}: no filter is left; keep at least one.")

    def to_dict(self) -> dict[str, Any]:
        """The table as JSON knows it."""
        return {
            "format": FORMAT,
            "chromosomes": dict(self.chromosomes),
            "ties": {name: list(groups) for name, groups in self.ties.items()},
            "layers": [_layer_to_list(layer) for layer in self.layers],
            "size": list(self.size),
            "other_parameters": self.other_parameters,
            "other_macs": self.other_macs,
        }

    @classmethod
    def from_dict(cls, data: Any) -> "GroupTable":
        """Read what :meth:`to_dict` wrote. The data is not trusted.

        Raises:
            UsageError: It is no such table, or contradicts itself.
        """
        try:
            if data["format"] != FORMAT:
                raise ValueError(f"format {data['format']!r}")
            height, width = data["size"]
            table = cls(
                chromosomes={_text(name): _count(size, least=1) for name, size in data["chromosomes"].items()},
                ties={_text(name): tuple(map(_text, groups)) for name, groups in data["ties"].items()},
                layers=tuple(_layer_from_list(layer) for layer in data["layers"]),
                size=(_count(height, least=1), _count(width, least=1)),
                other_parameters=_count(data["other_parameters"]),
                other_macs=_count(data["other_macs"]),
            )
            _check_names(table)
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise UsageError(f"group table: not readable ({error}); create the study again.") from None
        return table


def _layer_to_list(layer: Layer) -> list[Any]:
    widths = [[width.constant, dict(width.times)] for width in (layer.inputs, layer.outputs)]
    return [layer.name, *widths, layer.weights, layer.biases, layer.positions]


def _layer_from_list(data: Any) -> Layer:
    name, inputs, outputs, *numbers = data
    return Layer(_text(name), _width(inputs), _width(outputs), *map(_count, numbers))


def _width(data: Any) -> Width:
    constant, times = data
    return Width(_count(constant), {_text(group): _count(each, least=1) for group, each in times.items()})


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError(f"{value!r} is no name")
    return value


def _count(value: Any, *, least: int = 0) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or value < least:
        raise ValueError(f"{value!r} is no whole number from {least}")
    return value


def _check_names(table: GroupTable) -> None:
    if set(table.ties) != set(table.chromosomes):
        raise ValueError("ties and chromosomes have other names")
    groups = [group for tied in table.ties.values() for group in tied]
    if len(set(groups)) != len(groups):
        raise ValueError("a group belongs to two chromosomes")
    used = {group for layer in table.layers for width in (layer.inputs, layer.outputs) for group in width.times}
    if not used <= set(groups):
        raise ValueError(f"no chromosome rules {min(used - set(groups))}")
