"""Parameters and multiply-accumulates of a built module, counted while it runs once on a throwaway copy."""

import copy
import warnings
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import Tensor, nn


def parameters(module: "nn.Module") -> int:
    """Number of parameters, shared ones once; buffers, such as a batch norm's running statistics, are none."""
    return sum(parameter.numel() for parameter in module.parameters())


def exact_macs(module: "nn.Module", *input_shape: int) -> int:
    """Multiply-accumulates of one forward pass in eval mode, by `torch.utils.flop_counter` (FLOPs / 2).

    Convolutions and matrix products at their true resolution; biases, norms and activations count nothing.

    Args:
        module: left as it is.
        input_shape: of the one input, batch included, e.g. ``1, 3, 256, 256``.
    """
    import torch
    from torch.utils.flop_counter import FlopCounterMode

    throwaway, example = _prepared(module, input_shape)
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        throwaway(example)
    return int(counter.get_total_flops()) // 2


def literature_macs(module: "nn.Module", *input_shape: int) -> int:
    """Operations as most papers on small GANs print them: those of ``thop.profile``, in eval mode.

    It counts a transposed convolution at its output resolution (4 times too much at stride 2) and 4 operations an
    element of an affine norm. thop leaves buffers in the module's state dict, hence the throwaway copy. A layer that is
    no module (a plain function) is not seen.

    Args:
        module: left as it is.
        input_shape: of the one input, batch included, e.g. ``1, 3, 256, 256``.
    """
    throwaway, example = _prepared(module, input_shape)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # thop warns of distutils, at import and later, and of its own rules
        from thop import profile

        operations, _ = profile(throwaway, inputs=(example,), custom_ops=_counters(throwaway), verbose=False)
    return int(operations)  # whole already: a float only because thop adds in float64, exact below 2**53


def _counters(module: "nn.Module") -> dict[type, Any]:
    """How thop counts convolutions of kinds that it does not know, such as optevo's own: as torch's."""
    from thop.profile import register_hooks
    from torch import nn

    unknown = {type(layer) for layer in module.modules()} - set(register_hooks)
    bases = (nn.Conv2d, nn.ConvTranspose2d)
    return {kind: register_hooks[base] for base in bases for kind in unknown if issubclass(kind, base)}


def _prepared(module: "nn.Module", input_shape: tuple[int, ...]) -> "tuple[nn.Module, Tensor]":
    import torch

    throwaway = copy.deepcopy(module).eval()
    like = next(throwaway.parameters(), torch.empty(0))
    return throwaway, torch.zeros(input_shape, dtype=like.dtype, device=like.device)
