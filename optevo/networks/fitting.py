"""A network made smaller until saved tensors fit: how what was sliced is built again, without tracing anything."""

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from optevo.errors import UsageError
from optevo.networks.slicing import CONVOLUTIONS

# What else torch-pruning takes channels out of with the function staying the same.
NORMS = (nn.BatchNorm2d, nn.InstanceNorm2d)


def fit(module: nn.Module, weights: Mapping[str, Tensor]) -> None:
    """Give a network the tensors of a smaller one with the same layers, in place.

    Convolutions, linear layers, batch and instance norms, PReLUs and single parameters may have become narrower, and
    their attributes (`out_channels`, `groups`, ...) follow. Whether the layers fit each other shows when it runs:
    :func:`check_runs`.

    Args:
        module: The whole network.
        weights: A state dict of it, or of what slicing has left of it.

    Raises:
        UsageError: A tensor is missing, superfluous or of a shape that no slicing leaves; it is named.
    """
    whole = module.state_dict()
    for name in (*weights, *whole):
        if name not in whole or name not in weights:
            raise UsageError(f"{name}: {'the network has no such tensor' if name in weights else 'is missing'}")
    for path, layer in module.named_modules():
        own = {name for name, _ in (*layer.named_parameters(recurse=False), *layer.named_buffers(recurse=False))}
        given = {name: weights[key] for name in own if (key := f"{path}.{name}" if path else name) in weights}
        narrower = {name for name, value in given.items() if value.shape != getattr(layer, name).shape}
        for name in sorted(narrower):
            _narrow(layer, name, given[name], path=path)
        if narrower:
            _describe(layer)
    try:
        module.load_state_dict(dict(weights))
    except RuntimeError as error:
        raise UsageError(str(error).splitlines()[-1].strip()) from None


def check_runs(module: nn.Module, *, channels: tuple[int, int], size: tuple[int, int]) -> None:
    """Run a network once, and let instance norms without parameters, which no tensor describes, learn their width.

    Args:
        module: The network, in eval mode.
        channels: Of the images that it takes and gives.
        size: Their (height, width) in pixels.

    Raises:
        UsageError: Its layers do not fit each other, or it gives other images.
    """

    def learn(layer: nn.Module, given: tuple[Tensor, ...]) -> None:
        if isinstance(layer, nn.InstanceNorm2d) and given and given[0].dim() == 4:
            layer.num_features = int(given[0].shape[1])

    bare = [layer for layer in module.modules() if isinstance(layer, nn.InstanceNorm2d) and not layer.affine]
    handles = [layer.register_forward_pre_hook(learn) for layer in bare if layer.running_mean is None]
    like = next((p for p in module.parameters() if p.is_floating_point()), torch.empty(0))
    try:
        with torch.no_grad():
            result = module(torch.zeros(1, channels[0], *size, dtype=like.dtype, device=like.device))
    except Exception as error:  # A stranger's network may raise anything.
        raise UsageError(f"its layers do not fit each other ({first_line(error)})") from None
    finally:
        for handle in handles:
            handle.remove()
    shape = tuple(result.shape) if isinstance(result, Tensor) else type(result).__name__
    if shape != (1, channels[1], *size):
        raise UsageError(f"gives {shape} and not {(1, channels[1], *size)}")


def first_line(error: Exception) -> str:
    """What an error says, on one line."""
    text = str(error).strip()
    return text.splitlines()[0][:200] if text else type(error).__name__


def _narrow(layer: nn.Module, name: str, value: Tensor, *, path: str) -> None:
    """Put room for a smaller tensor in the place of a tensor."""
    before: Tensor = getattr(layer, name)
    if not _may_become(layer, before, value):
        key = f"{path}.{name}" if path else name
        raise UsageError(f"{key}: has the shape {tuple(value.shape)}, and {tuple(before.shape)} is built")
    room = torch.empty(value.shape, dtype=before.dtype, device=before.device)
    parameter = isinstance(before, nn.Parameter)
    setattr(layer, name, nn.Parameter(room, requires_grad=before.requires_grad) if parameter else room)


def _may_become(layer: nn.Module, before: Tensor, after: Tensor) -> bool:
    """Whether slicing may have left this of a layer's tensor: fewer channels, and the same kernel."""
    if after.dim() != before.dim() or any(not 0 < n <= m for n, m in zip(after.shape, before.shape, strict=True)):
        return False
    if isinstance(layer, (*CONVOLUTIONS, *NORMS, nn.PReLU)):
        return after.shape[2:] == before.shape[2:]
    # A single parameter of the user's own module, such as a scale of every channel.
    return isinstance(before, nn.Parameter) and not type(layer).__module__.startswith("torch.")


def _describe(layer: nn.Module) -> None:
    """Let a layer's attributes say what its tensors are."""
    if isinstance(layer, nn.Conv2d | nn.ConvTranspose2d):
        apart = layer.groups == layer.in_channels == layer.out_channels and layer.groups > 1
        first, second = layer.weight.shape[:2]
        if apart:
            layer.groups = layer.in_channels = layer.out_channels = first
        elif isinstance(layer, nn.ConvTranspose2d):
            layer.in_channels, layer.out_channels = first, second * layer.groups
        else:
            layer.in_channels, layer.out_channels = second * layer.groups, first
    elif isinstance(layer, nn.Linear):
        layer.out_features, layer.in_features = layer.weight.shape
    elif isinstance(layer, nn.PReLU):
        layer.num_parameters = layer.weight.numel()
    elif isinstance(layer, NORMS):
        channels = next(t for t in (layer.weight, layer.running_mean) if t is not None)
        layer.num_features = channels.numel()
