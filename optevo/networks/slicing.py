"""Taking filters out of a trained network (1907.10804): which live or die together, and the smaller network left.

Which channels belong together comes from torch-pruning's dependency graph of the network itself: a residual sum ties
all layers that write into it, a concatenation shifts what its readers see. A masked network has the dead filters'
weights, biases and norm parameters set to zero; a sliced one has them taken out, and computes the same, faster.
"""

import copy
import warnings
import weakref
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from optevo.errors import UsageError
from optevo.spaces.filters import Mask

CONVOLUTIONS = (nn.Conv2d, nn.ConvTranspose2d, nn.Linear)

# Layers whose channels are not independent of each other, or not where torch-pruning looks for them.
MIXING = (nn.PixelShuffle, nn.PixelUnshuffle, nn.ChannelShuffle, nn.GroupNorm, nn.LayerNorm)

# How far a sliced network may be from the masked one, over the largest output.
TOLERANCE = 1e-4


@dataclass(frozen=True)
class FilterGroup:
    """Filters that live or die together.

    Attributes:
        name: Of the layer that writes these channels first.
        size: Number of channels, one bit of a mask each.
        writes: The layers whose output channels they are, norms too, each with its channels for one filter: 1, or
            more where positions were flattened into channels.
        reads: The layers whose input channels they are, likewise.
    """

    name: str
    size: int
    writes: Mapping[str, int]
    reads: Mapping[str, int]

    @property
    def writers(self) -> tuple[str, ...]:
        """Names of all layers whose output channels they are."""
        return tuple(self.writes)

    @property
    def readers(self) -> tuple[str, ...]:
        """Names of the layers whose input channels they are."""
        return tuple(self.reads)


@dataclass(frozen=True)
class Cut:
    """What one layer loses at one of its ends when filters die.

    Attributes:
        layer: Its name; that of a parameter which is in no layer, such as a learned scale.
        take_out: Takes channels out of a layer, in place, or gives a parameter without them; torch-pruning's.
        channels: By group, the channels of the whole layer that each filter takes with it.
    """

    layer: str
    take_out: Callable[[Any, list[int]], Any]
    channels: Mapping[str, Mapping[int, Sequence[int]]]


@dataclass(frozen=True)
class Without:
    """What takes channels out of a parameter that is in no layer."""

    dimension: int

    def __call__(self, whole: nn.Parameter, channels: list[int]) -> nn.Parameter:
        alive = sorted(set(range(whole.shape[self.dimension])) - set(channels))
        return nn.Parameter(whole.detach().index_select(self.dimension, torch.tensor(alive)))


@dataclass(frozen=True)
class Anatomy:
    """All that slicing a network needs to know, whatever the masks and the weights.

    Attributes:
        groups: Its filters' groups, in the order of its layers.
        cuts: What its layers lose.
        outputs: Names of the layers that write the output, whose channels stay.
    """

    groups: tuple[FilterGroup, ...]
    cuts: tuple[Cut, ...]
    outputs: tuple[str, ...]


# By network, with the shape that it was found for. Reading the graph takes seconds, a hundred times what slicing does.
_KNOWN: "weakref.WeakKeyDictionary[nn.Module, tuple[Any, Anatomy]]" = weakref.WeakKeyDictionary()


def anatomy_of(module: nn.Module, example: Tensor) -> Anatomy:
    """Read off the dependency graph once, then remembered for as long as the network lives and keeps its shape.

    Raises:
        UsageError: The network cannot be traced.
    """
    shape = (
        tuple(example.shape),
        tuple((name, type(layer)) for name, layer in module.named_modules()),
        tuple((name, tuple(parameter.shape)) for name, parameter in module.named_parameters()),
    )
    known = _KNOWN.get(module)
    if known is None or known[0] != shape:
        known = _KNOWN[module] = shape, _read_anatomy(module, example)
    return known[1]


def _read_anatomy(module: nn.Module, example: Tensor) -> Anatomy:
    module = copy.deepcopy(module).cpu().eval()
    names = {layer: name for name, layer in module.named_modules()}
    parameters = {parameter: name for name, parameter in module.named_parameters()}
    graph = dependency_graph(module, example)
    roots, outputs = list(CONVOLUTIONS), output_layers(module, graph)
    groups: list[FilterGroup] = []
    cuts: dict[tuple[str, Any], dict[str, Mapping[int, Sequence[int]]]] = {}
    for found in graph.get_all_groups(root_module_types=roots, ignored_layers=outputs):
        writes, reads = _ends(found, names)
        name = min(writes, key=_order(names))
        groups.append(FilterGroup(name=name, size=len(found[0].idxs), writes=writes, reads=reads))
        # Again from the layer that names it: the bits of a mask are its channels.
        first = module.get_submodule(name)
        whole = list(range(groups[-1].size))
        for item in graph.get_pruning_group(first, graph.get_pruner_of_module(first).prune_out_channels, idxs=whole):
            part = item.dep.target.module
            if part in names:
                cuts.setdefault((names[part], item.dep.handler), {})[name] = _by_filter(item)
            elif isinstance(part, nn.Parameter):
                take_out = Without(item.dep.target.pruning_dim)
                cuts.setdefault((parameters[part], take_out), {})[name] = _by_filter(item)
    return Anatomy(
        groups=tuple(sorted(groups, key=lambda group: _order(names)(group.name))),
        cuts=tuple(Cut(layer, handler, channels) for (layer, handler), channels in cuts.items()),
        outputs=tuple(names[layer] for layer in outputs),
    )


def _by_filter(item: Any) -> dict[int, list[int]]:
    """The channels of a layer by the filter that takes them with it."""
    channels: dict[int, list[int]] = {}
    for channel, root in zip(item.idxs, item.root_idxs, strict=True):
        channels.setdefault(root, []).append(channel)
    return channels


def filter_groups(module: nn.Module, example: Tensor) -> list[FilterGroup]:
    """The groups of filters that can be taken out of a network, in the order of its layers.

    Channels of the output are in no group.

    Args:
        module: Any network of convolutions, linear layers and norms.
        example: An input, shape (1, C, H, W).

    Raises:
        UsageError: The network cannot be traced.
    """
    return list(anatomy_of(module, example).groups)


def tied(groups: Sequence[FilterGroup]) -> dict[str, tuple[FilterGroup, ...]]:
    """Groups that share one chromosome, by the name of the first: a residual trunk with its blocks' inner filters.

    A group is inner to a trunk of the same size when the layers that write it read the trunk, and those that read it
    write the trunk. On CycleGAN's generator this gives the five chromosomes of 1907.10804, 640 bits instead of 2,944.
    """
    chromosomes: dict[str, tuple[FilterGroup, ...]] = {}
    for group in groups:
        trunk = next((other for other in groups if other is not group and _is_inner(group, other)), None)
        owner = group if trunk is None else trunk
        chromosomes[owner.name] = (*chromosomes.get(owner.name, ()), group)
    return chromosomes


def mask_filters(module: nn.Module, masks: Mapping[str, Mask], *, groups: Iterable[FilterGroup]) -> nn.Module:
    """A copy in which dead filters give zeros.

    Args:
        module: The network.
        masks: By group name, Boolean of the group's size; False is dead. Groups without a mask keep everything.
        groups: Of :func:`filter_groups`.

    Raises:
        UsageError: A mask of another size, or without a survivor.
    """
    masked = copy.deepcopy(module)
    layers = dict(masked.named_modules())
    with torch.no_grad():
        for group in groups:
            dead = _dead(group, masks)
            for name in group.writers:
                _silence(layers[name], dead)
    return masked


def slice_filters(module: nn.Module, masks: Mapping[str, Mask], example: Tensor) -> nn.Module:
    """A smaller copy, the dead filters really taken out.

    Args:
        module: The network.
        masks: As for :func:`mask_filters`.
        example: An input, shape (1, C, H, W).

    Raises:
        UsageError: The network cannot be traced, a mask of another size, or one without a survivor.
    """
    anatomy = anatomy_of(module, example)
    dead = {group.name: _dead(group, masks).nonzero()[0].tolist() for group in anatomy.groups}
    sliced = copy.deepcopy(module).cpu()
    learning = {name: p.requires_grad for name, p in sliced.named_parameters()}
    layers = dict(sliced.named_modules())
    for cut in anatomy.cuts:
        channels = sorted({channel for group, own in cut.channels.items() for i in dead[group] for channel in own[i]})
        if not channels:
            continue
        if cut.layer in layers:
            cut.take_out(layers[cut.layer], channels)
        else:
            parent, _, own = cut.layer.rpartition(".")
            setattr(layers[parent], own, cut.take_out(getattr(layers[parent], own), channels))
    for name, parameter in sliced.named_parameters():
        parameter.requires_grad_(learning[name])
    return sliced


def check_slicing(module: nn.Module, example: Tensor, *, tries: int = 3, seed: int = 0) -> None:
    """Compare sliced with masked copies for a few random masks.

    Raises:
        UsageError: They disagree, so this network cannot be compressed by masks; it is named, with the layers that are
            known to break.
    """
    rng, why = np.random.default_rng(seed), _known_to_break(module)
    try:
        groups = filter_groups(module, example)
        for _ in range(tries):
            masks = {group.name: _random(group, rng) for group in groups}
            with torch.no_grad():
                expected = mask_filters(module, masks, groups=groups).cpu().eval()(example)
                found = slice_filters(module, masks, example).eval()(example)
            difference = float((found - expected).abs().max() / expected.abs().max().clamp_min(1e-12))
            if not difference <= TOLERANCE:
                raise UsageError(
                    f"{called(module)}: taking filters out changes more than setting them to zero (by "
                    f"{difference:.1e} of the largest output){why}; give another network."
                )
    except UsageError:
        raise
    except Exception as error:  # Whatever a stranger's network, or torch-pruning on it, may raise.
        reason = str(error).strip().splitlines()[0][:160] if str(error).strip() else type(error).__name__
        raise UsageError(
            f"{called(module)}: does not run any more with filters taken out ({reason}){why}; give another network."
        ) from error


def called(module: nn.Module) -> str:
    """What to call a network in a message: its title where it has one, else its class."""
    title = getattr(module, "title", None)
    return title if isinstance(title, str) else type(module).__name__


def dependency_graph(module: nn.Module, example: Tensor) -> Any:
    """torch-pruning's graph of a network on the CPU, whose parameters all want gradients afterwards.

    Raises:
        UsageError: The network cannot be traced.
    """
    import torch_pruning

    if not any(isinstance(layer, CONVOLUTIONS) for layer in module.modules()):
        raise UsageError(
            f"{called(module)}: has no convolution that filters could be taken out of{_known_to_break(module)}."
        )
    try:
        # The graph is read off autograd's, so every parameter must want a gradient.
        module.requires_grad_(True)
        with warnings.catch_warnings(), torch.enable_grad():
            warnings.simplefilter("ignore")  # It warns of every parameter that is no layer's; check_slicing judges.
            graph = torch_pruning.DependencyGraph().build_dependency(
                module, example_inputs=example.cpu(), verbose=False
            )
    except Exception as error:  # Whatever a stranger's network may raise while it is run and traced.
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise UsageError(f"{called(module)}: cannot be traced ({reason}); give another network.") from error
    for name, layer in module.named_modules():
        if isinstance(layer, CONVOLUTIONS) and layer not in graph.module2node:
            raise UsageError(
                f"{called(module)}: cannot be traced: no gradient goes through {name}, so it is not used, or by a "
                "function, or the network leaves torch on its way; give another network."
            )
    return graph


def output_layers(module: nn.Module, graph: Any) -> list[nn.Module]:
    """Layers whose channels nobody reads: they are the output's."""
    last: list[nn.Module] = []
    for layer in module.modules():
        if isinstance(layer, CONVOLUTIONS):
            pruner = graph.get_pruner_of_module(layer)
            group = graph.get_pruning_group(layer, pruner.prune_out_channels, idxs=[0])
            if not any(_reads(dependency) for dependency, _ in group):
                last.append(layer)
    return last


def _reads(dependency: Any) -> bool:
    return dependency.handler.__name__.endswith("in_channels") and isinstance(dependency.target.module, CONVOLUTIONS)


def _ends(group: Any, names: Mapping[nn.Module, str]) -> tuple[dict[str, int], dict[str, int]]:
    """The layers that write a group's channels (norms too) and those that read them, with their channels a filter."""
    writes: dict[str, int] = {}
    reads: dict[str, int] = {}
    size = len(group[0].idxs)
    for dependency, indices in group:
        name = names.get(dependency.target.module)
        if name is not None:
            (reads if _reads(dependency) else writes)[name] = len(indices) // size
    return writes, reads


def _order(names: Mapping[nn.Module, str]) -> Any:
    places = {name: place for place, name in enumerate(names.values())}
    return places.__getitem__


def _is_inner(group: FilterGroup, trunk: FilterGroup) -> bool:
    if group.size != trunk.size or set(group.writers) & set(trunk.writers):
        return False
    return group.name in trunk.readers and set(group.readers) <= set(trunk.writers)


def _dead(group: FilterGroup, masks: Mapping[str, Mask]) -> Mask:
    mask = np.asarray(masks.get(group.name, np.ones(group.size, dtype=bool)), dtype=bool)
    if mask.shape != (group.size,):
        raise UsageError(f"mask {group.name}: has {mask.size} bits, but the group has {group.size} filters.")
    if not mask.any():
        raise UsageError(f"mask {group.name}: no filter is left; keep at least one.")
    return ~mask


def _silence(layer: nn.Module, dead: Mask) -> None:
    """Set the parameters of output channels to zero, in place."""
    channels = torch.from_numpy(dead)
    weight, bias = getattr(layer, "weight", None), getattr(layer, "bias", None)
    if isinstance(weight, Tensor):
        # A transposed convolution's output channels are the second dimension.
        (weight.transpose(0, 1) if isinstance(layer, nn.ConvTranspose2d) else weight)[channels] = 0
    if isinstance(bias, Tensor):
        bias[channels] = 0


def _known_to_break(module: nn.Module) -> str:
    """The part of a message that names layers which masks are known not to work with."""
    found = [
        f"{name} ({kind})" if name else kind
        for name, layer in module.named_modules()
        if (kind := _breaking_kind(layer)) is not None
    ]
    if found:
        more = f" and {len(found) - 3} more" if len(found) > 3 else ""
        return f": {', '.join(found[:3])}{more} cannot lose single filters"
    return ": it has a layer that mixes channels, such as a functional convolution or a reshaping of channels"


def _breaking_kind(layer: nn.Module) -> str | None:
    if isinstance(layer, MIXING):
        return type(layer).__name__
    if isinstance(layer, nn.Conv2d | nn.ConvTranspose2d) and 1 < layer.groups < max(
        layer.in_channels, layer.out_channels
    ):
        return f"a convolution in {layer.groups} groups"
    if parametrize.is_parametrized(layer):
        return "parametrized weights, such as spectral norm"
    # torch's older spectral norm and weight norm are hooks that compute the weight before each call.
    hooks = (type(hook).__name__ for hook in layer._forward_pre_hooks.values())
    kind = next((hook for hook in hooks if hook in ("SpectralNorm", "WeightNorm")), None)
    if kind is not None:
        return kind
    # torch's own layers with weights are known; any other's weight is used by a function.
    if type(layer).__module__.startswith("torch."):
        return None
    kernels = [
        name
        for name, weight in layer.named_parameters(recurse=False)
        if weight.dim() == 4 and min(weight.shape[:2]) > 1  # not a scale of every channel
    ]
    return f"{type(layer).__name__}, whose {kernels[0]} goes into a functional convolution" if kernels else None


def _random(group: FilterGroup, rng: np.random.Generator) -> Mask:
    mask = rng.random(group.size) < 0.5
    mask[rng.integers(group.size)] = True
    return mask
