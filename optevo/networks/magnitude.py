"""Magnitude pruning as torch-pruning does it (2301.12900): what a search for masks is compared with."""

import copy

from torch import Tensor, nn

from optevo.networks.slicing import CONVOLUTIONS, anatomy_of


def prune_by_magnitude(module: nn.Module, example: Tensor, *, ratio: float, across: bool = False) -> nn.Module:
    """A smaller copy: of every group of filters, those with the smallest weights are taken out.

    A filter's importance is the L2 norm of its weights, mean over all layers of its group.

    Args:
        module: Any network that :func:`optevo.networks.slicing.filter_groups` can read.
        example: An input, shape (1, C, H, W).
        ratio: Part of the filters that goes, in [0, 1).
        across: Whether the smallest of the whole network go, instead of as many of every group.

    Raises:
        UsageError: The network cannot be traced.
    """
    import torch_pruning

    outputs = anatomy_of(module, example).outputs
    pruned = copy.deepcopy(module).cpu()
    training, learning = pruned.training, {name: p.requires_grad for name, p in pruned.named_parameters()}
    # The pruner reads its own graph off autograd's, so every parameter must want a gradient.
    pruned.eval().requires_grad_(True)
    torch_pruning.pruner.BasePruner(
        pruned,
        example.cpu(),
        importance=torch_pruning.importance.GroupMagnitudeImportance(p=2),
        pruning_ratio=ratio,
        # One filter in twenty survives: looking across groups, the pruner would take whole layers.
        max_pruning_ratio=max(ratio, 0.95),
        global_pruning=across,
        ignored_layers=[pruned.get_submodule(name) for name in outputs],
        root_module_types=list(CONVOLUTIONS),
    ).step()
    for name, parameter in pruned.named_parameters():
        parameter.requires_grad_(learning[name])
    return pruned.train(training)
