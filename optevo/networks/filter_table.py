"""The group table of a network: its chromosomes, and what its layers' widths follow from."""

import copy
from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor, nn

from optevo.networks.slicing import CONVOLUTIONS, FilterGroup, filter_groups, tied
from optevo.spaces.filters import GroupTable, Layer, Width


def group_table(module: nn.Module, example: Tensor, *, tie: bool = True) -> GroupTable:
    """Chromosomes and layers of a network.

    Args:
        module: The network.
        example: An input, shape (1, C, H, W); multiply-accumulates are counted for its size.
        tie: Whether a residual trunk and its blocks' inner filters share one chromosome (640 bits for CycleGAN's
            generator, as 1907.10804 has them); else every group has its own (2,944 bits).

    Raises:
        UsageError: The network cannot be traced.
    """
    groups = filter_groups(module, example)
    chromosomes = tied(groups) if tie else {group.name: (group,) for group in groups}
    positions = _positions(module, example)
    return GroupTable(
        chromosomes={name: members[0].size for name, members in chromosomes.items()},
        ties={name: tuple(member.name for member in members) for name, members in chromosomes.items()},
        layers=tuple(
            _layer(name, layer, groups, positions=positions.get(name, 0))
            for name, layer in module.named_modules()
            if any(True for _ in layer.parameters(recurse=False))
        ),
        size=(int(example.shape[-2]), int(example.shape[-1])),
    )


def _layer(name: str, layer: nn.Module, groups: Sequence[FilterGroup], *, positions: int) -> Layer:
    written = {group.name: group.writes[name] for group in groups if name in group.writes}
    if not isinstance(layer, CONVOLUTIONS):
        numbers = sum(parameter.numel() for parameter in layer.parameters(recurse=False))
        channels = sum(group.size * written[group.name] for group in groups if group.name in written)
        # A norm of channels that all live or die; whatever else has parameters keeps them.
        per_channel = numbers // channels if channels and numbers % channels == 0 else 0
        own = Width(0, written) if per_channel else Width(numbers, {})
        return Layer(name, Width(0, {}), own, weights=0, biases=per_channel or 1, positions=0)
    inputs, outputs = _ends_of(layer)
    read = {group.name: group.reads[name] for group in groups if name in group.reads}
    by_name = {group.name: group.size for group in groups}
    apart = layer.groups if isinstance(layer, nn.Conv2d | nn.ConvTranspose2d) else 1
    return Layer(
        name,
        # In a depthwise convolution every output channel has one input channel, whatever is taken out.
        Width(inputs // apart, {}) if apart > 1 else _width(inputs, read, by_name),
        _width(outputs, written, by_name),
        weights=layer.weight.numel() // (inputs // apart * outputs),
        biases=0 if layer.bias is None else 1,
        positions=positions,
    )


def _width(channels: int, times: Mapping[str, int], sizes: Mapping[str, int]) -> Width:
    return Width(channels - sum(sizes[group] * each for group, each in times.items()), times)


def _ends_of(layer: nn.Module) -> tuple[int, int]:
    if isinstance(layer, nn.Linear):
        return layer.in_features, layer.out_features
    assert isinstance(layer, nn.Conv2d | nn.ConvTranspose2d)
    return layer.in_channels, layer.out_channels


def _positions(module: nn.Module, example: Tensor) -> dict[str, int]:
    """At how many places of the example each layer multiplies its weights, over all its calls."""
    found: dict[str, int] = {}

    def counting(name: str) -> Callable[[nn.Module, tuple[Tensor, ...], Tensor], None]:
        def count(layer: nn.Module, given: tuple[Tensor, ...], result: Tensor) -> None:
            # A transposed convolution multiplies at its input's resolution, the others at their output's.
            at = given[0] if isinstance(layer, nn.ConvTranspose2d) else result
            channels = at.shape[-1] if isinstance(layer, nn.Linear) else at.shape[1]
            found[name] = found.get(name, 0) + at.numel() // (len(example) * channels)

        return count

    module = copy.deepcopy(module).cpu().eval()
    for name, layer in module.named_modules():
        if isinstance(layer, CONVOLUTIONS):
            layer.register_forward_hook(counting(name))
    with torch.no_grad():
        module(example.cpu())
    return found
